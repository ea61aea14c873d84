package route

import (
	"cmp"
	"slices"

	"github.com/quorate/quorate/fsm"
)

// group is all there is at one context path, on any node and vhost. Its parts
// are ordered by balancer (in order of creation) and then by their first
// candidate, so a balancer's are neighbours.
type group struct {
	path  string
	parts []part
	owner *edit
}

// part is what one balancer has at a path, on vhosts with equal aliases.
type part struct {
	balancer *Balancer
	aliases  *aliases
	at       []*standing // of the nodes of on: all that most elections read
	on       []candidate // what is enabled, by key
	off      []candidate // what is not, by key
	disabled int         // how many of off are so
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
		names[i] = fsm.Lower(a)
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

// with returns the group with a candidate more.
func (g *group) with(e *edit, b *Balancer, x *entry) *group {
	g = g.own(e)
	i := g.find(b, x.aliases)
	if i < 0 {
		g.parts = append(g.parts, part{balancer: b, aliases: x.aliases, owner: e})
		i = len(g.parts) - 1
	}
	p := &g.parts[i]
	p.own(e)
	if x.status == enabled {
		at, _ := find(p.on, x.key)
		p.on = slices.Insert(p.on, at, x.candidate)
		p.at = slices.Insert(p.at, at, x.node.standing)
	} else {
		at, _ := find(p.off, x.key)
		p.off = slices.Insert(p.off, at, x.candidate)
	}
	if x.status == disabled {
		p.disabled++
	}
	g.sort()
	return g
}

// without returns the group with a candidate less, nil if it was the last.
func (g *group) without(e *edit, b *Balancer, x *entry) *group {
	g = g.own(e)
	i := g.find(b, x.aliases)
	p := &g.parts[i]
	p.own(e)
	if x.status == enabled {
		at, _ := find(p.on, x.key)
		p.on = slices.Delete(p.on, at, at+1)
		p.at = slices.Delete(p.at, at, at+1)
	} else {
		at, _ := find(p.off, x.key)
		p.off = slices.Delete(p.off, at, at+1)
	}
	if x.status == disabled {
		p.disabled--
	}
	if len(p.on)+len(p.off) == 0 {
		g.parts = slices.Delete(g.parts, i, i+1)
	}
	if len(g.parts) == 0 {
		return nil
	}
	g.sort()
	return g
}

func (g *group) find(b *Balancer, a *aliases) int {
	for i := range g.parts {
		if p := &g.parts[i]; p.balancer == b && p.aliases.equal(a) {
			return i
		}
	}
	return -1
}

func (g *group) sort() {
	if len(g.parts) < 2 {
		return
	}
	slices.SortFunc(g.parts, func(a, b part) int {
		return cmp.Or(cmp.Compare(a.balancer.Number, b.balancer.Number), cmp.Compare(a.first(), b.first()))
	})
}

func (p *part) own(e *edit) {
	if p.owner != e {
		p.at, p.on, p.off, p.owner = roomy(p.at), roomy(p.on), roomy(p.off), e
	}
}

// roomy copies a list with room for one more.
func roomy[T any](list []T) []T { return append(make([]T, 0, len(list)+1), list...) }

// first is the lowest key of the part.
func (p *part) first() int64 {
	if len(p.on) == 0 || len(p.off) > 0 && p.off[0].key < p.on[0].key {
		return p.off[0].key
	}
	return p.on[0].key
}

// lists are all candidates of the part.
func (p *part) lists() [2][]candidate { return [2][]candidate{p.on, p.off} }

// find returns where a key is in a list, or belongs.
func find(list []candidate, key int64) (int, bool) {
	at := 0
	for n := len(list); n > 0; {
		half := (n + 1) / 2
		if list[at+half-1].key < key {
			at += half
		}
		n -= half
	}
	return at, at < len(list) && list[at].key == key
}
