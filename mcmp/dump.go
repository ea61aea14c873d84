package mcmp

import (
	"bytes"
	"context"
	"fmt"

	"github.com/quorate/quorate/fsm"
)

// dump answers DUMP: the tables as the old balancers print them (spec/mcmp.md §10).
func (s *Server) dump(ctx context.Context, asXML bool) reply {
	st, rep := s.read(ctx)
	if rep.xml = asXML; asXML {
		rep.body = dumpXML(st)
	} else {
		rep.body = dumpText(st)
	}
	return rep
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func dumpText(st *fsm.State) []byte {
	var b bytes.Buffer
	for i, l := range st.Balancers() {
		fmt.Fprintf(&b, "balancer: [%d] Name: %s Sticky: %d [%s]/[%s] remove: %d force: %d Timeout: %d maxAttempts: %d\n",
			i, l.Name, bit(l.Sticky), l.Cookie, l.PathParam, bit(l.StickyDrop), bit(l.StickyForce), l.WaitWorker, l.MaxAttempts)
	}
	nodes := listed(st)
	for _, n := range nodes {
		c := &n.Config
		fmt.Fprintf(&b, "node: [%d:%d],Balancer: %s,JVMRoute: %s,LBGroup: [%s],Host: %s,Port: %d,Type: %s,"+
			"flushpackets: %d,flushwait: %d,ping: %d,smax: %d,ttl: %d,timeout: %d\n",
			n.Number, n.Number, c.Balancer, n.Route, c.Domain, c.Host, c.Port, c.Type,
			c.FlushPackets, c.FlushWait, seconds(c.Ping), c.Smax, seconds(c.TTL), seconds(c.Timeout))
	}
	eachAlias(nodes, func(row int, n *fsm.Node, v *fsm.VHost, alias string) {
		fmt.Fprintf(&b, "host: %d [%s] vhost: %d node: %d\n", row, alias, v.ID, n.Number)
	})
	eachContext(nodes, func(row int, n *fsm.Node, v *fsm.VHost, c *fsm.Context) {
		fmt.Fprintf(&b, "context: %d [%s] vhost: %d node: %d status: %d\n", row, c.Path, v.ID, n.Number, c.Status)
	})
	return b.Bytes()
}

func dumpXML(st *fsm.State) []byte {
	b := bytes.NewBufferString(xmlHeader)
	b.WriteString("<Dump><Balancers>")
	for i, l := range st.Balancers() {
		fmt.Fprintf(b, `<Balancer id="%d" name="%s"><StickySession><Enabled>%d</Enabled><Cookie>%s</Cookie><Path>%s</Path>`+
			`<Remove>%d</Remove><Force>%d</Force></StickySession><Timeout>%d</Timeout><MaxAttempts>%d</MaxAttempts></Balancer>`,
			i, escape(l.Name), bit(l.Sticky), escape(l.Cookie), escape(l.PathParam),
			bit(l.StickyDrop), bit(l.StickyForce), l.WaitWorker, l.MaxAttempts)
	}
	b.WriteString("</Balancers><Nodes>")
	nodes := listed(st)
	for _, n := range nodes {
		c := &n.Config
		fmt.Fprintf(b, `<Node id="%d"><Balancer>%s</Balancer><JVMRoute>%s</JVMRoute><LBGroup>%s</LBGroup>`+
			`<Host>%s</Host><Port>%d</Port><Type>%s</Type><FlushPackets>%d</FlushPackets><FlushWait>%d</FlushWait>`+
			`<Ping>%d</Ping><Smax>%d</Smax><Ttl>%d</Ttl><Timeout>%d</Timeout></Node>`,
			n.Number, escape(c.Balancer), escape(string(n.Route)), escape(c.Domain),
			escape(c.Host), c.Port, escape(c.Type), c.FlushPackets, c.FlushWait,
			seconds(c.Ping), c.Smax, seconds(c.TTL), seconds(c.Timeout))
	}
	b.WriteString("</Nodes><Hosts>")
	eachAlias(nodes, func(row int, n *fsm.Node, v *fsm.VHost, alias string) {
		fmt.Fprintf(b, `<Host id="%d" alias="%s"><Vhost>%d</Vhost><Node>%d</Node></Host>`, row, escape(alias), v.ID, n.Number)
	})
	b.WriteString("</Hosts><Contexts>")
	eachContext(nodes, func(row int, n *fsm.Node, v *fsm.VHost, c *fsm.Context) {
		fmt.Fprintf(b, `<Context id="%d" path="%s"><Vhost>%d</Vhost><Node>%d</Node><Status id="%d">%s</Status></Context>`,
			row, escape(string(c.Path)), v.ID, n.Number, c.Status, c.Status)
	})
	b.WriteString("</Contexts></Dump>")
	return b.Bytes()
}

// version answers VERSION.
func (s *Server) version(asXML bool) reply {
	if asXML {
		return reply{xml: true, body: []byte(xmlHeader + "<version><release>quorate/" + escape(s.c.Version) +
			"</release><protocol>" + protocol + "</protocol></version>\n")}
	}
	return reply{body: []byte("release: quorate/" + s.c.Version + ", protocol: " + protocol + "\n")}
}
