package admin

import (
	"cmp"
	"fmt"
	"html/template"
	"slices"
	"time"

	"github.com/quorate/quorate/fsm"
)

// page is what manager.html shows: the state, or why a request failed.
//
// Fields named Line or Head hold what scripts look for, in httpd's words: the
// template sets them without markup inside (spec/mcmp.md §13).
type page struct {
	Product string // quorate/<version>
	Replica string
	Style   template.CSS

	Failed, Mess, Continue string

	Stale               string // how long no quorum has confirmed this
	Refresh, Dump, Info string // links
	Groups              []group
}

// group is an LBGroup.
type group struct {
	Domain string
	Links  []action
	Nodes  []nodeView
}

type action struct{ Text, Href string }

type nodeView struct {
	Head        string
	Status, Why string
	Links       []action
	Line        string
	Hosts       []hostView
}

type hostView struct {
	ID       int
	Contexts []contextView
	Aliases  []string
}

type contextView struct {
	Line   string
	Status string // ENABLED, DISABLED, STOPPED
	Note   string // whose word that is; "" for an enabled one
	Links  []action
}

// flushWords are INFO's.
var flushWords = [...]string{"Off", "On", "Auto"}

// model is the page of a state.
func (m *manager) model(st *fsm.State, age time.Duration) page {
	p := page{
		Refresh: m.link("refresh", "10"),
		Dump:    m.link("Cmd", "DUMP", "Range", "ALL"),
		Info:    m.link("Cmd", "INFO", "Range", "ALL"),
	}
	if age > 0 {
		p.Stale = age.Round(time.Second).String()
	}
	p.Groups = m.groups(slices.DeleteFunc(st.Nodes(), func(n *fsm.Node) bool { return n.Removed != 0 }))
	return p
}

// groups sorts nodes by LBGroup; inside of one they keep their order.
func (m *manager) groups(nodes []*fsm.Node) (groups []group) {
	slices.SortStableFunc(nodes, func(a, b *fsm.Node) int { return cmp.Compare(a.Config.Domain, b.Config.Domain) })
	for _, n := range nodes {
		d := n.Config.Domain
		if last := len(groups) - 1; last < 0 || groups[last].Domain != d {
			groups = append(groups, group{Domain: d, Links: m.links("Nodes", 0, "Range", "DOMAIN", "Domain", d)})
		}
		g := &groups[len(groups)-1]
		g.Nodes = append(g.Nodes, m.node(n))
	}
	return groups
}

func (m *manager) node(n *fsm.Node) nodeView {
	seen := m.Seen(n)
	if seen.Node != nil {
		n = seen.Node
	}
	c, ok := &n.Config, "NOTOK"
	if seen.OK {
		ok = "OK"
	}
	v := nodeView{
		Head:   fmt.Sprintf("Node %s (%s):", n.Route, c.URL()),
		Status: seen.Status,
		Why:    seen.Why,
		Links:  m.links("Contexts", 0, "Range", "NODE", "JVMRoute", string(n.Route)),
		// Flushwait, Ping and Ttl have INFO's units: httpd prints microseconds here.
		Line: fmt.Sprintf("Balancer: %s,LBGroup: %s,Flushpackets: %s,Flushwait: %d,Ping: %d,Smax: %d,Ttl: %d,"+
			"Status: %s,Elected: %d,Read: %d,Transferred: %d,Connected: %d,Load: %d",
			c.Balancer, c.Domain, flushWords[c.FlushPackets], c.FlushWait, c.Ping/1000, c.Smax, c.TTL/1000,
			ok, seen.Elected, seen.Read, seen.Transferred, seen.Connected, n.Load),
	}
	for i := range n.VHosts {
		h := &n.VHosts[i]
		host := hostView{ID: h.ID, Aliases: h.Aliases}
		for k := range h.Contexts {
			host.Contexts = append(host.Contexts, m.context(n, h, &h.Contexts[k]))
		}
		v.Hosts = append(v.Hosts, host)
	}
	return v
}

func (m *manager) context(n *fsm.Node, h *fsm.VHost, c *fsm.Context) contextView {
	status := n.Effective(c).String()
	v := contextView{
		Line:   fmt.Sprintf("%s, Status: %s Request: %d", c.Path, status, m.Requests(n.Route, h.ID, c.Path)),
		Status: status,
		Note:   note(n, c),
	}
	without := operations["ENABLE-APP"] // nothing to lift
	switch c.Hold.Mode {
	case fsm.HoldDrain:
		without = operations["DISABLE-APP"]
	case fsm.HoldAll:
		without = operations["STOP-APP"]
	}
	if len(h.Aliases) > 0 {
		v.Links = m.links("", without, "Range", "CONTEXT", "JVMRoute", string(n.Route), "Alias", h.Aliases[0], "Context", string(c.Path))
	}
	return v
}

// note says who wants a context not to be enabled.
func note(n *fsm.Node, c *fsm.Context) string {
	switch {
	case c.Hold.Mode != fsm.HoldNone && c.Hold.Mode >= n.Hold.Mode:
		text := participle(c.Hold.Mode) + " by " + c.Hold.By + " since " + time.UnixMilli(c.Hold.Since).UTC().Format(time.RFC3339)
		if c.Status != fsm.Enabled {
			text += "; the worker says " + c.Status.String()
		}
		return text
	case n.Hold.Mode != fsm.HoldNone:
		return participle(n.Hold.Mode) + " with its node"
	case c.Status != fsm.Enabled:
		return "the worker says so"
	}
	return ""
}

// links are the three commands for what the pairs name, but for one of them.
func (m *manager) links(what string, without fsm.Op, pairs ...string) []action {
	if !m.AllowCmd {
		return nil
	}
	if what != "" {
		what = " " + what
	}
	var out []action
	for _, word := range [...]struct{ text, cmd string }{{"Enable", "ENABLE-APP"}, {"Disable", "DISABLE-APP"}, {"Stop", "STOP-APP"}} {
		if operations[word.cmd] != without {
			out = append(out, action{word.text + what, m.link(append([]string{"Cmd", word.cmd}, pairs...)...)})
		}
	}
	return out
}
