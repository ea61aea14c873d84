package route

import (
	"cmp"
	"slices"
	"strings"

	"github.com/quorate/quorate/fsm"
)

// group is all there is at one context path, on any node and vhost. Its parts
// are ordered by balancer (in order of creation) and then by their first
// candidate, so a balancer's are neighbours.
type group struct {
	path  string
	parts []part
	owner *edit
	only  [1]part // where parts lie while there is one, which is nearly always
}

// part is what one balancer has at a path, on vhosts with equal aliases.
type part struct {
	balancer *Balancer
	aliases  *aliases
	at       []*rank     // of the nodes of on: all that most elections read
	on       []candidate // what is enabled, by key
	base     int64       // number of the first node of on
	disabled int         // how many of off are so
	off      []candidate // what is not, by key
	owner    *edit
}

// candidate is one context on one vhost of one node.
type candidate struct {
	node    *Node
	context *Context
	key     int64 // number of the node, and place of the context in it: order of registration
	status  status
}

const keyShift = 24 // of the node's number in a key

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
	set   string   // names in one
}

func newAliases(as []string) *aliases {
	names := make([]string, len(as))
	for i, a := range as {
		names[i] = fsm.Lower(a)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return &aliases{as: as, names: names, set: strings.Join(names, ",")} // the protocol has no comma in a name
}

func (a *aliases) has(host string) bool { return slices.Contains(a.names, host) }

func (a *aliases) equal(b *aliases) bool { return a == b || a.set == b.set }

func newGroup(e *edit, path string) *group {
	g := &group{path: path, owner: e}
	g.parts = g.only[:0]
	return g
}

// own returns g if this edit has made it, else a copy.
func (g *group) own(e *edit) *group {
	if g.owner == e {
		return g
	}
	c := newGroup(e, g.path)
	c.parts = append(c.parts, g.parts...)
	return c
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
		p.at = slices.Insert(p.at, at, x.node.rank)
		p.base = p.on[0].node.Number
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
		if len(p.on) > 0 {
			p.base = p.on[0].node.Number
		}
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

// of returns where the first candidate of a node is in on, -1 if none is.
func (p *part) of(n *Node) int {
	// Often all nodes that registered one after the other have the context.
	if i := n.Number - p.base; i >= 0 && i < int64(len(p.on)) && p.on[i].node == n && (i == 0 || p.on[i-1].node != n) {
		return int(i)
	}
	at, _ := find(p.on, n.Number<<keyShift)
	if at < len(p.on) && p.on[at].node == n {
		return at
	}
	return -1
}

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
