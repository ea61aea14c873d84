package route

import (
	"net/http"
	"strings"
	"time"

	"github.com/quorate/quorate/fsm"
)

// Decision says where a request goes, or what it is answered.
type Decision struct {
	Node     *Node     // nil: no node
	Context  *Context  // set with Node
	Balancer *Balancer // nil if none was chosen
	Policy   *Policy   // Balancer's, at this moment; set with Balancer
	Path     string    // path of the longest context, "" if there is none

	Why        Reason // None with Node
	Status     int    // answer without Node
	RetryAfter int    // s; 0: no such header
	Location   string // of a redirect
	// Wait is how long the answer may wait for a change of state that makes a
	// node usable (WaitWorker).
	Wait time.Duration

	Session string // the session's id without its route, "" if there is none
	Wanted  string // the session's route, "" if there is none
	Sticky  bool   // Node is the session's own
	Changed bool   // Node is not the session's own
	Strip   bool   // the session id must not be sent: see StripSession
}

// Begin counts the choice: the node was elected, and a request is in flight for
// node and context until End. Decide itself counts nothing.
//
// A drain must see a request that an older table let through: begin first, then
// look whether the table is still the same, and if not, end and decide again.
func (d *Decision) Begin() {
	d.Node.inFlight.Add(1)
	d.Context.inFlight.Add(1)
	d.Node.count()
}

// End is for the end of the exchange, or before it goes to another node.
func (d *Decision) End() {
	d.Context.inFlight.Add(-1)
	d.Node.inFlight.Add(-1)
}

// Decide chooses the node of a request: rule → contexts → balancer → session,
// route → the session's own node, or an election (spec/routing.md §0.1 to §0.5).
// It only reads, and allocates nothing.
func Decide(t *Table, f *Facts) (d Decision) {
	d.decide(t, f, nil)
	return d
}

// Decide is the function Decide for a data path that decides in place: the copy of
// a result costs a fifteenth of the whole.
func (d *Decision) Decide(t *Table, f *Facts) {
	*d = Decision{}
	d.decide(t, f, nil)
}

// decide is Decide. A trace hears each step; nil costs nothing.
func (d *Decision) decide(t *Table, f *Facts, tr *trace) {
	var r *rule
	if len(t.rules) > 0 {
		r = t.rule(f.host, f.Path.Match)
	}
	e := election{table: t, tried: f.tried}
	if len(t.balancers) == 1 {
		e.enter(f, t.balancers[0]) // now: so session and contexts wait for memory side by side
	}
	g := t.find(&e.where, f.host, f.Path.Match, r)
	if f.Path.Collapsed != "" && !t.agrees(f, r, g) {
		d.refuse(EmptySegment, http.StatusBadRequest)
		return
	}
	if r != nil {
		if tr != nil {
			tr.rule(r)
		}
		switch r.Action {
		case "reject":
			d.refuse(Rejected, orElse(r.Status, http.StatusNotFound))
			return
		case "redirect":
			d.refuse(Redirected, http.StatusFound)
			if r.Status >= 300 && r.Status <= 399 {
				d.Status = r.Status
			}
			d.Location = r.To
			return
		}
	}
	if tr != nil {
		tr.contexts(t, f, &e.where, g)
	}
	if g == nil {
		d.refuse(NoContext, orElse(t.settings.NoContextStatus, http.StatusNotFound))
		return
	}
	d.Path = g.path

	ok := t.chooseBalancer(&e, f, g)
	d.Session, d.Wanted = e.session.base, e.session.route
	if !ok {
		if tr != nil {
			tr.unavailable(g, &e)
		}
		d.refuse(Unavailable, orElse(t.settings.UnavailableStatus, http.StatusServiceUnavailable))
		d.RetryAfter = 1
		return
	}
	d.Balancer, d.Policy = e.balancer, e.policy
	best := t.own(&e)
	d.Wanted = e.wants()
	if best == nil && e.node != nil {
		e.domain = e.node.domain()
	}
	if tr != nil {
		tr.session(&e)
		tr.own(t, &e, best)
	}
	if best == nil {
		best, d.Why = e.failOver()
		if tr != nil {
			tr.chosen(&e, best, d.Why)
		}
	}
	if best == nil {
		d.refuse(d.Why, http.StatusServiceUnavailable)
		if e.elected {
			d.Wait = e.policy.WaitWorker
		}
		return
	}
	d.Node, d.Context, d.Sticky = best.node, best.context, best.node == e.node
	d.Changed = d.Wanted != "" && !d.Sticky && d.Node.Route != d.Wanted
	d.Strip = e.policy.Remove && e.known && d.Changed && (e.domain == "" || d.Node.domain() != e.domain)
}

func (d *Decision) refuse(why Reason, status int) { d.Why, d.Status = why, status }

func orElse(status, fallback int) int {
	if status == 0 {
		return fallback
	}
	return status
}

// agrees says whether rule and context are the same with and without the empty
// segments of the path (http-notes.md §4, rule 5).
func (t *Table) agrees(f *Facts, r *rule, g *group) bool {
	if t.rule(f.host, f.Path.Collapsed) != r {
		return false
	}
	return t.find(&search{}, f.host, f.Path.Collapsed, r) == g
}

// chooseBalancer fills in e for the first balancer, in order of creation, in which
// the session's route names a node and the path has eligible contexts; else for
// that of the first eligible context (spec/routing.md §0.3). It returns false if
// no context is eligible.
func (t *Table) chooseBalancer(e *election, f *Facts, g *group) bool {
	b := g.parts[0].balancer
	if b != g.parts[len(g.parts)-1].balancer {
		return t.chooseAmong(e, f, g)
	}
	if e.balancer != b {
		if e.balancer != nil { // a balancer that is gone, of which something is left
			*e = election{table: t, tried: e.tried, where: e.where}
		}
		e.enter(f, b)
	}
	e.parts = g.parts
	return e.anyEligible()
}

// chooseAmong is chooseBalancer where there are several.
func (t *Table) chooseAmong(e *election, f *Facts, g *group) (ok bool) {
	first := int64(0)
	for rest := g.parts; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].balancer == rest[0].balancer {
			n++
		}
		x := election{table: t, tried: e.tried, where: e.where, parts: rest[:n]}
		x.enter(f, rest[0].balancer)
		rest = rest[n:]
		switch key, eligible := x.firstEligible(); {
		case eligible && x.named:
			*e = x
			return true
		case eligible && (!ok || key < first):
			*e, ok, first = x, true, key
		case !ok && e.session.id == "":
			e.session = x.session // to be told, should none be eligible
		}
	}
	return ok
}

// enter reads the session as one balancer does. No balancer has been entered yet.
func (e *election) enter(f *Facts, b *Balancer) {
	e.balancer, e.policy = b, b.Policy()
	e.session.read(f, e.policy)
	if !e.policy.Sticky {
		e.session.route = ""
	}
	if e.session.route != "" {
		e.lookUp()
	}
}

func (e *election) anyEligible() bool {
	for i := range e.parts {
		p := &e.parts[i]
		if e.where.admits(p) && (len(p.on) > 0 || p.disabled > 0 && e.session.id != "") {
			return true
		}
	}
	_, ok := e.firstEligible()
	return ok
}

// firstEligible returns the lowest key of what is eligible.
func (e *election) firstEligible() (key int64, ok bool) {
	for i := range e.parts {
		p := &e.parts[i]
		if !e.where.admits(p) {
			continue
		}
		for _, list := range p.lists() {
			for j := range list {
				if c := &list[j]; e.eligible(c) && (!ok || c.key < key) {
					key, ok = c.key, true
					break // the others of the list come later
				}
			}
		}
	}
	return key, ok
}

// eligible is rule 4 of spec/routing.md §0.2, but for what needs the domain.
func (e *election) eligible(c *candidate) bool {
	switch c.status {
	case enabled:
		return true
	case disabled:
		return e.session.id != ""
	case lingering:
		return e.node == c.node
	}
	return false
}

// lookUp finds what the table knows of the session's route: a node of this
// balancer, or the domain that a removed node had.
func (e *election) lookUp() {
	if e.meet(e.session.route) || e.policy.Delimiter == "" {
		return
	}
	e.ranked = e.session.route
	for r, rest := e.nextRanked(e.ranked); r != "" || rest != ""; r, rest = e.nextRanked(rest) {
		if !e.known {
			e.meet(r)
		} else if e.member(r) != nil {
			e.named = true
		}
	}
}

// nextRanked cuts the first route off a ranked list.
func (e *election) nextRanked(list string) (route, rest string) {
	route, rest, _ = strings.Cut(list, e.policy.Delimiter)
	return route, rest
}

// member returns the node of a route if it is one of this balancer.
func (e *election) member(r string) *Node {
	if w, ok := e.table.nodes.get(r); ok && w.balancer == e.balancer {
		return w.node
	}
	return nil
}

// meet takes one route; false if it says nothing to the table.
func (e *election) meet(r string) bool {
	w, ok := e.table.nodes.get(r)
	if ok && w.balancer == e.balancer {
		e.node, e.known, e.named, e.route = w.node, true, true, r
		return true
	}
	if d, ok := e.table.remembered(r); ok {
		e.known, e.domain, e.route = true, d, r
		return true
	}
	return false
}

// own returns the context of the session's own node, if both can take the
// request. With ranked routes it is that of the first that can.
func (t *Table) own(e *election) *candidate {
	if e.session.route == "" {
		return nil
	}
	if e.node != nil {
		c := e.of(e.node)
		switch class := e.node.class(); {
		case c == nil || class >= out || e.avoids(c):
		case class <= standby:
			return c
		default:
			e.last = c // suspect: for want of better
		}
	}
	for r, rest := e.nextRanked(e.ranked); r != "" || rest != ""; r, rest = e.nextRanked(rest) {
		if n := e.member(r); n != nil {
			if c := e.of(n); c != nil && n.class() <= standby && !e.avoids(c) {
				e.node, e.route = n, r
				return c
			}
		}
	}
	return nil
}

// of returns the strongest context of a node here that serves its own sessions.
func (e *election) of(n *Node) (best *candidate) {
	if n == nil {
		return nil
	}
	for i := range e.parts {
		p := &e.parts[i]
		if !e.where.admits(p) {
			continue
		}
		if at := p.of(n); at >= 0 {
			return &p.on[at]
		}
		at, _ := find(p.off, n.Number<<keyShift)
		for ; at < len(p.off) && p.off[at].node == n; at++ {
			c := &p.off[at]
			if c.status != stopped && (best == nil || c.status < best.status) {
				best = c
			}
		}
	}
	return best
}

func (t *Table) remembered(r string) (domain string, ok bool) {
	if w, there := t.nodes.get(r); there && w.balancer != nil {
		return "", false // a node of another balancer
	}
	return t.state.Remembered(fsm.JVMRoute(r))
}
