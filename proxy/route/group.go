package route

import (
	"cmp"
	"slices"

	"github.com/quorate/quorate/fsm"
)

// group is all there is at one context path, on any node and vhost. Its parts
// are ordered by balancer (in order of creation) and then by their first
// candidate, so an election runs over neighbouring memory.
type group struct {
	path  string
	parts []part
	owner *edit
}

// part is what one balancer has at a path, on vhosts with equal aliases.
type part struct {
	balancer *Balancer
	aliases  *aliases
	enabled  int // how many of the candidates are so
	disabled int
	list     []candidate // by key
	owner    *edit
}

// candidate is one context on one vhost of one node.
type candidate struct {
	node    *Node
	context *Context
	key     int64 // number of the node, and place of the context in it: order of registration
	status  status
}

// status is what a context takes: fsm.Effective, and lingering.
type status uint8

const (
	enabled   = status(fsm.EffEnabled)
	disabled  = status(fsm.EffDisabled)
	stopped   = status(fsm.EffStopped)
	lingering = stopped + 1
)

// aliases is the set of names of a vhost.
type aliases struct {
	as    []string // as received
	names []string // in lower case, in order, each once
}

func newAliases(as []string) *aliases {
	names := make([]string, len(as))
	for i, a := range as {
		names[i] = lower(a)
	}
	slices.Sort(names)
	return &aliases{as: as, names: slices.Compact(names)}
}

func (a *aliases) has(host string) bool { return slices.Contains(a.names, host) }

func (a *aliases) equal(b *aliases) bool { return a == b || slices.Equal(a.names, b.names) }

// own returns g if this edit has made it, else a copy.
func (g *group) own(e *edit) *group {
	if g.owner == e {
		return g
	}
	return &group{path: g.path, parts: slices.Clone(g.parts), owner: e}
}

// with returns the group with a candidate more, or in another status.
func (g *group) with(e *edit, x *entry) *group {
	g = g.own(e)
	i := g.find(x)
	if i < 0 {
		g.parts = append(g.parts, part{balancer: x.balancer, aliases: x.aliases, owner: e})
		i = len(g.parts) - 1
	}
	p := &g.parts[i]
	p.own(e)
	at, there := p.find(x.key)
	if there {
		p.count(p.list[at].status, -1)
		p.list[at] = x.candidate
	} else {
		p.list = slices.Insert(p.list, at, x.candidate)
	}
	p.count(x.status, +1)
	g.sort()
	return g
}

// without returns the group with a candidate less, nil if it was the last.
func (g *group) without(e *edit, x *entry) *group {
	g = g.own(e)
	i := g.find(x)
	p := &g.parts[i]
	p.own(e)
	at, _ := p.find(x.key)
	p.count(p.list[at].status, -1)
	p.list = slices.Delete(p.list, at, at+1)
	if len(p.list) == 0 {
		g.parts = slices.Delete(g.parts, i, i+1)
	}
	if len(g.parts) == 0 {
		return nil
	}
	g.sort()
	return g
}

func (g *group) find(x *entry) int {
	return slices.IndexFunc(g.parts, func(p part) bool {
		return p.balancer == x.balancer && p.aliases.equal(x.aliases)
	})
}

func (g *group) sort() {
	if len(g.parts) < 2 {
		return
	}
	slices.SortFunc(g.parts, func(a, b part) int {
		return cmp.Or(cmp.Compare(a.balancer.Number, b.balancer.Number), cmp.Compare(a.list[0].key, b.list[0].key))
	})
}

func (p *part) own(e *edit) {
	if p.owner != e {
		p.list, p.owner = slices.Clone(p.list), e
	}
}

func (p *part) find(key int64) (int, bool) {
	return slices.BinarySearchFunc(p.list, key, func(c candidate, key int64) int { return cmp.Compare(c.key, key) })
}

func (p *part) count(s status, d int) {
	switch s {
	case enabled:
		p.enabled += d
	case disabled:
		p.disabled += d
	}
}
