package proxy

import (
	"sync"

	"github.com/quorate/quorate/fsm"
	"github.com/quorate/quorate/proxy/route"
)

// carries says which workers requests can be sent to.
func carries(typ string) bool { return typ == "http" || typ == "https" || typ == "ajp" }

// change tells everyone who waits that something changed.
type change struct {
	mu sync.Mutex
	ch chan struct{}
}

// next returns a channel that the next fire closes. Take it before looking at
// what may change.
func (c *change) next() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ch == nil {
		c.ch = make(chan struct{})
	}
	return c.ch
}

func (c *change) fire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ch != nil {
		close(c.ch)
		c.ch = nil
	}
}

// Table returns the table that routes now. It is never nil.
func (p *Proxy) Table() *route.Table { return p.table.Load() }

// Reset makes the table that of s, whatever was before; index is that of the last
// entry in s. Nodes that stay keep their counters.
func (p *Proxy) Reset(index uint64, s *fsm.State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.overlaid)
	old := p.table.Load()
	var routes []fsm.JVMRoute
	var balancers []string
	for _, from := range []*fsm.State{old.State(), s} {
		for _, n := range from.Nodes() {
			routes = append(routes, n.Route)
		}
		for _, b := range from.Balancers() {
			balancers = append(balancers, b.Name)
		}
	}
	p.publish(old.Update(s, routes, balancers, true), routes)
	p.index.Store(index)
}

// Apply takes the table to s, the state after the entry at index with these
// results. When it returns requests are routed by it.
func (p *Proxy) Apply(index uint64, s *fsm.State, results []fsm.Result) {
	var routes []fsm.JVMRoute
	var balancers []string
	settings := false
	for i := range results {
		r := &results[i]
		routes = append(routes, r.Nodes...)
		balancers = append(balancers, r.Balancers...)
		settings = settings || r.Settings
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range routes {
		delete(p.overlaid, r)
	}
	p.publish(p.table.Load().Update(s, routes, balancers, settings), routes)
	p.index.Store(index)
}

// Override makes this replica's table honour a command that could not be agreed
// on, until an entry for its node is applied or Agreed is called (spec/mcmp.md §0.8).
// Later overrides of the node build on earlier ones.
func (p *Proxy) Override(c fsm.Command) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.table.Load()
	before, ok := p.overlaid[c.Route]
	if !ok {
		before = t.State()
	}
	after, result := fsm.Preview(before, c)
	if result.Code != fsm.OK || !result.Changed {
		return
	}
	if n := after.Node(c.Route); n != nil {
		p.overlaid[c.Route] = after
		p.publish(t.WithNode(n), []fsm.JVMRoute{c.Route})
	}
}

// Agreed ends what Override did for a worker: its word is committed again. An
// entry that changes the node ends it too, but a command that changes nothing
// makes no entry.
func (p *Proxy) Agreed(r fsm.JVMRoute) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.overlaid[r]; !ok {
		return
	}
	delete(p.overlaid, r)
	t := p.table.Load()
	routes := []fsm.JVMRoute{r}
	p.publish(t.Update(t.State(), routes, nil, false), routes)
}

// publish brings a table into use, and the nodes of these routes under watch.
// p.mu is held.
func (p *Proxy) publish(t *route.Table, routes []fsm.JVMRoute) {
	for _, r := range routes { // before the table, so that each of its nodes has a target
		p.follow(r, t.Node(string(r)))
	}
	p.table.Store(t)
	p.changed.fire()
}

// follow makes the target of a route that of node; nil: it has none any more.
func (p *Proxy) follow(r fsm.JVMRoute, node *route.Node) {
	old := p.followed[r]
	if old != nil && old.node == node {
		return
	}
	if old != nil {
		delete(p.followed, r)
		p.targets.Delete(old.node)
		p.unwatch(old)
		old.retire()
	}
	if node != nil {
		t := newTarget(node)
		p.followed[r] = t
		p.targets.Store(node, t)
		p.watch(t)
	}
}

// target returns what this replica keeps of a node of a table. A node that was
// removed a moment ago gets one of its own, for the exchange that still has it.
func (p *Proxy) target(n *route.Node) *target {
	if t, ok := p.targets.Load(n); ok {
		return t.(*target)
	}
	t := newTarget(n)
	t.retired.Store(true)
	return t
}

// targetOf returns the target of a route, nil if it is unknown or removed.
func (p *Proxy) targetOf(r fsm.JVMRoute) *target {
	n := p.table.Load().Node(string(r))
	if n == nil {
		return nil
	}
	return p.target(n)
}

// InFlight counts this replica's requests in flight for a context of a worker.
func (p *Proxy) InFlight(r fsm.JVMRoute, path fsm.Path) int {
	return int(p.table.Load().InFlight(r, path))
}

// InFlight is the number of requests in flight for one context of a worker.
type InFlight struct {
	Route    fsm.JVMRoute
	Path     fsm.Path
	Requests int
}

// InFlightAll lists the contexts that have requests in flight on this replica.
func (p *Proxy) InFlightAll() []InFlight {
	var list []InFlight
	t := p.table.Load()
	for _, n := range t.Nodes() {
		if n.InFlight() == 0 {
			continue
		}
		seen := map[fsm.Path]bool{}
		for _, v := range n.Record().VHosts {
			for _, c := range v.Contexts {
				if k := t.InFlight(fsm.JVMRoute(n.Route), c.Path); k > 0 && !seen[c.Path] {
					seen[c.Path] = true
					list = append(list, InFlight{fsm.JVMRoute(n.Route), c.Path, int(k)})
				}
			}
		}
	}
	return list
}
