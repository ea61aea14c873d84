package route

import (
	"cmp"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
)

// rank is what an election reads of each candidate: one number, the lowest wins.
//
//	class 4 bits │ value 30 bits │ turn 27 bits │ lane 3 bits, always 0
//
// The turn says when the node was last elected: it decides between equal values.
// It counts from the last recalculation, else it would not fit. Between nodes with
// no turn yet the order of registration decides. A value or turn that is too
// large makes the table wide: elections then read both from the nodes, slowly.
type rank struct{ n atomic.Uint64 }

const (
	lanes      = 8 // candidates an election looks at side by side
	turnShift  = 3
	valueShift = turnShift + 27
	classShift = valueShift + 30
)

// class says whether a node can be chosen, the better the lower: the upper bits of
// its rank. Suspicion is a bit beside up or standby: an election takes a suspect
// only if there is nothing better.
type class uint64

const (
	up      class = 0
	standby class = 1
	suspect class = 2
	out     class = 4 // down, new, or of a protocol we do not speak
	gone    class = 8 // removed
)

func (r *rank) class() class { return class(r.n.Load() >> classShift) }

// set returns false if there is not room for value and turn.
func (r *rank) set(c class, value, turn uint64) (fits bool) {
	const mostValue, mostTurn = 1<<(classShift-valueShift) - 1, 1<<(valueShift-turnShift) - 1
	r.n.Store(uint64(c)<<classShift | min(value, mostValue)<<valueShift | min(turn, mostTurn)<<turnShift)
	return value <= mostValue && turn <= mostTurn
}

// lowest returns where the lowest rank of a list is, the first of equals, and the
// rank. It takes no branch that depends on a rank: which is the lowest is what
// changes with each election, and a branch would be guessed wrong.
func lowest(list []*rank) (at int, r uint64) {
	r = uint64(1)<<63 - 1
	rest := list
	for base := 0; len(rest) >= lanes; base += lanes {
		x := (*[lanes]*rank)(rest)
		rest = rest[lanes:]
		m := min(
			min(min(x[0].n.Load(), x[1].n.Load()|1), min(x[2].n.Load()|2, x[3].n.Load()|3)),
			min(min(x[4].n.Load()|4, x[5].n.Load()|5), min(x[6].n.Load()|6, x[7].n.Load()|7)))
		lane := int(m % lanes)
		m &^= lanes - 1
		_, lower := bits.Sub64(m, r, 0)
		at ^= (at ^ (base + lane)) & -int(lower)
		r = min(r, m)
	}
	for i, x := range rest {
		m := x.n.Load()
		_, lower := bits.Sub64(m, r, 0)
		at ^= (at ^ (len(list) - len(rest) + i)) & -int(lower)
		r = min(r, m)
	}
	return at, r
}

// shared is what all versions of a table have in common.
type shared struct {
	clock atomic.Uint64 // elections so far
	start atomic.Uint64 // where turns are counted from, on the clock
	wide  atomic.Int64  // how many nodes have a value or turn that is too large

	mu   sync.Mutex
	free []rank // for nodes to come
}

// rank returns the place of a new node's rank. Those of nodes that registered one
// after the other lie side by side, eight in a cache line: an election over 50
// nodes would else fetch 50 lines.
func (s *shared) rank() *rank {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) == 0 {
		s.free = make([]rank, 64)
	}
	at := &s.free[0]
	s.free = s.free[1:]
	return at
}

// Recalculate closes an interval of the election formula. The data plane calls it
// each Settings.Recalculation milliseconds, jittered.
func (t *Table) Recalculate() {
	type elected struct {
		node *Node
		last uint64
	}
	list := make([]elected, 0, t.nodes.size)
	now := t.shared.clock.Load()
	t.nodes.each(func(_ string, w *worker) { list = append(list, elected{w.node, w.node.last.Load()}) })
	slices.SortFunc(list, func(a, b elected) int { return cmp.Compare(a.last, b.last) })
	// Turns are counted anew, in the same order. Nodes without one keep none, and
	// those elected after now come later.
	never, _ := slices.BinarySearchFunc(list, 1, func(e elected, last uint64) int { return cmp.Compare(e.last, last) })
	later, _ := slices.BinarySearchFunc(list, now+1, func(e elected, last uint64) int { return cmp.Compare(e.last, last) })
	t.shared.start.Store(now - uint64(later-never))
	for i, e := range list {
		e.node.recalculate(now, uint64(max(0, i+1-never)))
	}
}
