package route

import (
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
	"github.com/quorate/quorate/fsm"
)

// Node is the run-time part of one registration of a worker: all versions of a
// table share it, so it is the same from CONFIG until the node is forgotten. A
// worker that registers anew is a new Node.
type Node struct {
	Number int64 // order of registration
	Route  string

	rank      *rank         // what most elections read, nothing else
	value     atomic.Uint64 // (elected - old) * 1000 / load + lbstatus, 0 of a standby
	last      atomic.Uint64 // when it was last elected, on the counter of the table; 0 never
	routeHash uint64
	shared    *shared
	record    atomic.Pointer[fsm.Node]
	balancer  atomic.Pointer[Balancer]
	inFlight  atomic.Int64
	denied    atomic.Int64 // answers in a row that refuse everybody, see Denies
	tally     *tally       // shared with earlier registrations of the route

	mu      sync.Mutex // guards what follows, and writing rank, value and last
	load    int        // as committed, or as said to this replica without a leader; -1 while new
	enabled int        // contexts that take everything
	carried bool       // this version speaks the node's protocol
	removed bool
	suspect bool
	elected uint64
	old     uint64
	status  uint64 // mod_cluster's lbstatus
	turn    uint64 // last, for the rank
	wide    bool   // value or turn is too large for the rank
}

func (n *Node) class() class { return n.rank.class() }

func newNode(n *fsm.Node, s *shared, t *tally) *Node {
	return &Node{
		Number:    n.Number,
		Route:     string(n.Route),
		rank:      s.rank(),
		routeHash: xxhash.Sum64String(string(n.Route)),
		shared:    s,
		tally:     t,
		load:      -1,
	}
}

// Record returns the node as the state has it now: address, type, times.
func (n *Node) Record() *fsm.Node { return n.record.Load() }

// Suspect says whether this replica has found the node unreachable.
func (n *Node) Suspect() bool { return n.class()&suspect != 0 }

// Load is -1 out of service or not yet reported, 0 standby, 1 busy … 100 idle.
func (n *Node) Load() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.load
}

// Elected counts the requests sent to the node by this replica.
func (n *Node) Elected() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.elected
}

// InFlight counts the node's requests in flight on this replica.
func (n *Node) InFlight() int64 { return n.inFlight.Load() }

// Usable says whether the node takes new sessions now, as seen from this replica.
func (n *Node) Usable() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.usable()
}

func (n *Node) usable() bool { return n.class() <= standby && n.enabled > 0 }

// change runs f, which may write what mu guards, and settles the rank after
// it. A node that becomes usable starts with the mean of the others: its
// share, not everything (design.md §7).
func (n *Node) change(t *Table, f func()) {
	n.mu.Lock()
	was := n.usable()
	f()
	n.settle()
	joins := !was && n.usable()
	n.mu.Unlock()
	if !joins {
		return
	}
	mean := t.meanWithout(n)
	n.mu.Lock()
	n.old, n.status = n.elected, mean
	n.settle()
	n.mu.Unlock()
}

// leave is a change: the registration is over.
func (n *Node) leave() { n.removed, n.enabled = true, 0 }

func (n *Node) settle() {
	var (
		c     class
		value uint64 // a standby is chosen by its last election alone
	)
	switch {
	case n.removed:
		c = gone
	case !n.carried || n.load < 0:
		c = out
	case n.load == 0:
		c = standby
	default:
		value = n.status + n.share()
	}
	if n.suspect {
		c |= suspect
	}
	n.value.Store(value)
	wide := !n.rank.set(c, value, n.turn) && c < out
	if wide != n.wide {
		if n.wide = wide; wide {
			n.shared.wide.Add(1)
		} else {
			n.shared.wide.Add(-1)
		}
	}
}

// share is the node's part of the requests since the last recalculation, per
// unit of load (spec/routing.md §0.4).
func (n *Node) share() uint64 { return (n.elected - n.old) * 1000 / uint64(n.load) }

func (n *Node) count() {
	n.mu.Lock()
	n.elected++
	last := n.shared.clock.Add(1)
	n.last.Store(last)
	n.turn = last - n.shared.start.Load()
	n.settle()
	n.mu.Unlock()
}

// recalculate closes an interval. turn is the node's if it was not elected after now.
func (n *Node) recalculate(now, turn uint64) {
	n.mu.Lock()
	if n.load > 0 {
		n.status = n.share()
	}
	n.old = n.elected
	if last := n.last.Load(); last > now {
		turn = last - n.shared.start.Load()
	}
	n.turn = turn
	n.settle()
	n.mu.Unlock()
}

// Context counts the requests in flight for one context of a worker.
type Context struct {
	Path     fsm.Path
	inFlight atomic.Int64
}

// InFlight counts the context's requests in flight on this replica.
func (c *Context) InFlight() int64 { return c.inFlight.Load() }

// tally keeps the contexts of a route while they are registered, or have
// requests. A worker that registers anew still sees those of its past.
type tally struct {
	mu       sync.Mutex
	contexts map[place]*Context
}

// place names a context of a worker. Those that linger have a vhost below 0.
type place struct {
	vhost int
	path  fsm.Path
}

func newTally() *tally { return &tally{contexts: make(map[place]*Context)} }

func (t *tally) context(p place) *Context {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.contexts[p]
	if c == nil {
		c = &Context{Path: p.path}
		t.contexts[p] = c
	}
	return c
}

// forget drops a context that is gone, unless requests are in flight.
func (t *tally) forget(p place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.contexts[p]; c != nil && c.InFlight() == 0 {
		delete(t.contexts, p)
	}
}

// inFlight sums up the requests at a path, in the places that count.
func (t *tally) inFlight(path fsm.Path, counts func(place) bool) (sum int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p, c := range t.contexts {
		if p.path == path && counts(p) {
			sum += c.InFlight()
		}
	}
	return sum
}
