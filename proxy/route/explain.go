package route

import (
	"fmt"
	"slices"
	"strings"
)

// Step is one line of an explanation: what was looked at, and what was found.
type Step struct {
	Step   string // rule, host, context, session, route, domain, choose
	Detail string
}

// Explanation is a decision in words (ux.md §3, replay why).
type Explanation struct {
	Decision Decision
	Steps    []Step
	Outcome  string // "app-2, session moved from app-4"
}

// Explain decides as Decide does and says how. It counts nothing.
func Explain(t *Table, f *Facts) Explanation {
	tr := &trace{}
	var d Decision
	d.decide(t, f, tr)
	return Explanation{Decision: d, Steps: tr.steps, Outcome: d.outcome()}
}

func (d *Decision) outcome() string {
	switch {
	case d.Why == Redirected:
		return fmt.Sprintf("%d to %s", d.Status, d.Location)
	case d.Node == nil:
		return fmt.Sprintf("%d, %s", d.Status, d.Why)
	case d.Changed && d.Strip:
		return fmt.Sprintf("%s, session moved from %s, its id taken out", d.Node.Route, d.Wanted)
	case d.Changed:
		return fmt.Sprintf("%s, session moved from %s", d.Node.Route, d.Wanted)
	}
	return d.Node.Route
}

// trace collects the steps of one decision.
type trace struct{ steps []Step }

func (tr *trace) add(step, format string, args ...any) {
	tr.steps = append(tr.steps, Step{step, fmt.Sprintf(format, args...)})
}

func (tr *trace) rule(r *rule) {
	var where []string
	if len(r.hosts) > 0 {
		where = append(where, strings.Join(r.hosts, ", "))
	}
	if r.PathPrefix != "" {
		where = append(where, r.PathPrefix)
	}
	if where == nil {
		where = []string{"all"}
	}
	does := r.Action
	switch {
	case r.Action == "route" && r.balancer != "":
		does = "only balancer " + r.balancer
	case r.Action == "redirect":
		does = "redirect to " + r.To
	}
	tr.add("rule", "%s: %s", strings.Join(where, " "), does)
}

func (tr *trace) contexts(t *Table, f *Facts, s *search, g *group) {
	if s.byHost {
		if _, known := t.aliases.get(s.host); known {
			tr.add("host", "%s: only contexts of this alias count", s.host)
		} else {
			tr.add("host", "%q is no alias of any worker", s.host)
		}
	}
	if g == nil {
		tr.add("context", "none matches %s", f.Path.Match)
		return
	}
	var all []string
	for p := range prefixes(f.Path.Match) {
		if g, ok := t.paths.get(p); ok && s.any(g) {
			all = append(all, p)
		}
	}
	if len(all) == 1 {
		tr.add("context", "%s: the only one that matches", g.path)
		return
	}
	tr.add("context", "%s: longest of %d that match (%s)", g.path, len(all), strings.Join(all, ", "))
}

// prefixes yields the places where a context can end, the shortest first.
func prefixes(path string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		if !yield("/") {
			return
		}
		for i := 1; i <= len(path) && path != "/"; i++ {
			if (i == len(path) || path[i] == '/') && !yield(path[:i]) {
				return
			}
		}
	}
}

// unavailable says what each worker has at a path that has nothing for this request.
func (tr *trace) unavailable(g *group, e *election) {
	var list []string
	for i := range g.parts {
		if p := &g.parts[i]; e.where.admits(p) {
			for _, c := range p.off {
				list = append(list, fmt.Sprintf("%s on %s", c.status, c.node.Route))
			}
		}
	}
	slices.Sort(list)
	tr.add("choose", "%s is %s", g.path, strings.Join(slices.Compact(list), ", "))
}

func (s status) String() string {
	switch s {
	case enabled:
		return "enabled"
	case disabled:
		return "disabled"
	case stopped:
		return "stopped"
	}
	return "lingering"
}

func (tr *trace) session(e *election) {
	name := e.policy.PathParam
	if e.session.cookie {
		name = e.policy.Cookie
	}
	switch {
	case e.session.id == "":
		tr.add("session", "none")
	case !e.policy.Sticky:
		tr.add("session", "%s, but stickiness is off", name)
	case e.session.route == "":
		tr.add("session", "%s names no worker", name)
	default:
		tr.add("session", "%s names %s", name, e.session.route)
	}
}

func (tr *trace) own(t *Table, e *election, best *candidate) {
	force := "force is off"
	if e.policy.Force {
		force = "force is on"
	}
	switch {
	case e.session.route == "":
		return
	case best != nil:
		tr.add("route", "%s %s", best.node.Route, best.node.state())
		return
	case e.node != nil:
		tr.add("route", "%s; %s", e.whyNot(), force)
	case e.known:
		tr.add("route", "%s is gone, its domain is remembered; %s", e.route, force)
	default:
		tr.add("route", "%s is not known", e.session.route)
		return
	}
	if e.domain != "" {
		tr.add("domain", "%s: %s", e.domain, e.neighbours())
	}
}

// whyNot says why the session's own node does not get the request.
func (e *election) whyNot() string {
	c, r := e.of(e.node), e.node.Route
	switch {
	case slices.Contains(e.tried, e.node):
		return r + " was tried already"
	case c != nil:
		return r + " " + e.node.state()
	}
	for i := range e.parts {
		for _, c := range e.parts[i].off {
			if c.node == e.node {
				return fmt.Sprintf("%s has %s %s", r, c.context.Path, c.status)
			}
		}
	}
	return r + " does not have this context"
}

// neighbours lists the nodes of the route's domain that can take its sessions.
func (e *election) neighbours() string {
	var list []string
	for i := range e.parts {
		p := &e.parts[i]
		for _, cs := range p.lists() {
			for j := range cs {
				if c := &cs[j]; e.where.admits(p) && e.pass(c) == passDomain && !e.avoids(c) {
					list = append(list, c.node.Route)
				}
			}
		}
	}
	if list == nil {
		return "no usable worker"
	}
	return strings.Join(slices.Compact(list), ", ")
}

func (tr *trace) chosen(e *election, best *candidate, why Reason) {
	if best == nil {
		tr.add("choose", "%s", why)
		return
	}
	only := ""
	switch class := best.node.class(); {
	case class&suspect != 0:
		only = "all are suspect; "
	case best.status == disabled && e.pass(best) != passDomain:
		only = "nothing enabled is usable; "
	case class&standby != 0:
		only = "only standby is left; "
	}
	switch {
	case best == e.last:
		tr.add("choose", "%sits own: %s", only, best.node.Route)
	case e.hashed():
		tr.add("choose", "%srendezvous of session %s: %s", only, e.session.base, best.node.Route)
	case best.node.class()&standby != 0:
		tr.add("choose", "%sleast recently elected: %s", only, best.node.Route)
	default:
		tr.add("choose", "%slowest share of its load: %s", only, best.node.Route)
	}
}

// state says in what state a node is, to follow its name.
func (n *Node) state() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.record.Load()
	switch {
	case !n.carried:
		return "has type " + r.Config.Type + ", not in this version"
	case r.New:
		return "is new (no STATUS yet)"
	case n.load < 0:
		return "is down (load -1)"
	case n.suspect:
		return "is suspect"
	case n.load == 0:
		return "is standby"
	}
	return "is up"
}
