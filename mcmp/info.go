package mcmp

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"slices"

	"github.com/quorate/quorate/fsm"
)

// protocol is the version of MCMP.
const protocol = "0.2.1"

const xmlHeader = "<?xml version=\"1.0\" standalone=\"yes\" ?>\n"

// info answers INFO from one state (spec/mcmp.md §0.6).
func (s *Server) info(ctx context.Context, asXML bool) reply {
	st, rep := s.read(ctx)
	if rep.xml = asXML; asXML {
		rep.body = infoXML(st, s.c.Counters)
	} else {
		rep.body = infoText(st, s.c.Counters)
	}
	return rep
}

// listed are the nodes INFO and DUMP show.
func listed(st *fsm.State) []*fsm.Node {
	return slices.DeleteFunc(st.Nodes(), func(n *fsm.Node) bool { return n.Removed != 0 })
}

// seconds is the unit of Ping, Ttl and Timeout.
func seconds(ms int64) int64 { return ms / second }

// infoText prints Node lines, then a Vhost line per alias, then Context lines.
// The last number in brackets is a line's place in its section.
func infoText(st *fsm.State, counters func(fsm.JVMRoute) Counters) []byte {
	var b bytes.Buffer
	nodes := listed(st)
	for _, n := range nodes {
		c, k := &n.Config, counters(n.Route)
		fmt.Fprintf(&b, "Node: [%d],Name: %s,Balancer: %s,LBGroup: %s,Host: %s,Port: %d,Type: %s,"+
			"Flushpackets: %s,Flushwait: %d,Ping: %d,Smax: %d,Ttl: %d,"+
			"Elected: %d,Read: %d,Transfered: %d,Connected: %d,Load: %d\n",
			n.Number, n.Route, c.Balancer, c.Domain, c.Host, c.Port, c.Type,
			flushWords[c.FlushPackets], c.FlushWait, seconds(c.Ping), c.Smax, seconds(c.TTL),
			k.Elected, k.Read, k.Transferred, k.Connected, n.Load)
	}
	eachAlias(nodes, func(row int, n *fsm.Node, v *fsm.VHost, alias string) {
		fmt.Fprintf(&b, "Vhost: [%d:%d:%d], Alias: %s\n", n.Number, v.ID, row, alias)
	})
	eachContext(nodes, func(row int, n *fsm.Node, v *fsm.VHost, c *fsm.Context) {
		fmt.Fprintf(&b, "Context: [%d:%d:%d], Context: %s, Status: %s\n", n.Number, v.ID, row, c.Path, c.Status)
	})
	return b.Bytes()
}

// infoXML prints the same as §9.3 has it: a line break after the declaration only.
func infoXML(st *fsm.State, counters func(fsm.JVMRoute) Counters) []byte {
	b := bytes.NewBufferString(xmlHeader)
	nodes := listed(st)
	b.WriteString("<Info><Nodes>")
	for _, n := range nodes {
		c, k := &n.Config, counters(n.Route)
		fmt.Fprintf(b, `<Node id="%d" name="%s"><Balancer>%s</Balancer><LBGroup>%s</LBGroup>`+
			`<Host>%s</Host><Port>%d</Port><Type>%s</Type>`+
			`<Flushpackets>%s</Flushpackets><Flushwait>%d</Flushwait><Ping>%d</Ping><Smax>%d</Smax><Ttl>%d</Ttl>`+
			`<Elected>%d</Elected><Read>%d</Read><Transfered>%d</Transfered><Connected>%d</Connected><Load>%d</Load></Node>`,
			n.Number, escape(string(n.Route)), escape(c.Balancer), escape(c.Domain),
			escape(c.Host), c.Port, escape(c.Type),
			flushWords[c.FlushPackets], c.FlushWait, seconds(c.Ping), c.Smax, seconds(c.TTL),
			k.Elected, k.Read, k.Transferred, k.Connected, n.Load)
	}
	b.WriteString("</Nodes><Vhosts>")
	eachAlias(nodes, func(_ int, n *fsm.Node, v *fsm.VHost, alias string) {
		fmt.Fprintf(b, `<Vhost id="%d" alias="%s"><Node id="%d"/></Vhost>`, v.ID, escape(alias), n.Number)
	})
	b.WriteString("</Vhosts><Contexts>")
	eachContext(nodes, func(row int, n *fsm.Node, v *fsm.VHost, c *fsm.Context) {
		fmt.Fprintf(b, `<Context id="%d"><Status id="%d">%s</Status><Context>%s</Context><Node id="%d"/><Vhost id="%d"/></Context>`,
			row, c.Status, c.Status, escape(string(c.Path)), n.Number, v.ID)
	})
	b.WriteString("</Contexts></Info>")
	return b.Bytes()
}

// eachAlias visits the aliases in the order of INFO, numbered from 0.
func eachAlias(nodes []*fsm.Node, visit func(row int, n *fsm.Node, v *fsm.VHost, alias string)) {
	row := 0
	for _, n := range nodes {
		for i := range n.VHosts {
			for _, a := range n.VHosts[i].Aliases {
				visit(row, n, &n.VHosts[i], a)
				row++
			}
		}
	}
}

// eachContext visits the contexts in the order of INFO, numbered from 0.
func eachContext(nodes []*fsm.Node, visit func(row int, n *fsm.Node, v *fsm.VHost, c *fsm.Context)) {
	row := 0
	for _, n := range nodes {
		for i := range n.VHosts {
			for j := range n.VHosts[i].Contexts {
				visit(row, n, &n.VHosts[i], &n.VHosts[i].Contexts[j])
				row++
			}
		}
	}
}

// escape makes s fit for XML, in text and in attributes.
func escape(s string) string {
	var b bytes.Buffer
	xml.EscapeText(&b, []byte(s))
	return b.String()
}
