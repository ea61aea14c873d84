package proxy

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/fsm"
	"github.com/quorate/quorate/proxy/route"
)

// target is what this replica keeps of one node: its connections, whether it can
// be reached, and what was sent to it. It lives as long as the node.
type target struct {
	node    *route.Node
	retired atomic.Bool // no table has the node any more
	current atomic.Pointer[upstream]
	doubted atomic.Bool  // a probe decides what a dial that timed out means
	worried atomic.Int64 // when worry last had it looked at, Unix ns

	mu    sync.Mutex // guards what follows, and replacing current
	probe *probing   // the one that runs
	fails int        // probes in a row
	err   error      // why it is suspect
	since time.Time  // of the last change between reachable and not
	stop  func()     // ends watching

	sent, received  atomic.Int64     // bytes
	requests        [6]atomic.Uint64 // answers by class
	connectFailures atomic.Uint64
	answers         atomic.Uint64 // how many durations are summed
	duration        atomic.Int64  // ns
}

func newTarget(n *route.Node) *target { return &target{node: n} }

// upstream returns the connections to where the node listens now. A change of
// its address or times makes new ones.
func (p *Proxy) upstream(t *target) *upstream {
	record := t.node.Record()
	config := &record.Config
	if u := t.current.Load(); u != nil {
		if u.seen.Load() == record {
			return u
		}
		if u.config == *config {
			u.seen.Store(record) // a write for each change, none for each request
			return u
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.current.Load()
	if old != nil && old.config == *config {
		return old
	}
	u := p.newUpstream(*config, t)
	u.seen.Store(record)
	t.current.Store(u)
	if t.retired.Load() {
		u.close()
	}
	if old != nil {
		old.close()
	}
	return u
}

// retire closes idle connections, and the others when their exchange ends.
func (t *target) retire() {
	t.retired.Store(true)
	t.mu.Lock()
	defer t.mu.Unlock()
	if u := t.current.Load(); u != nil {
		u.close()
	}
}

// Counters are what this replica knows of its traffic to a worker.
type Counters struct {
	Elected     uint64 // requests sent to it
	Read        uint64 // bytes received from it
	Transferred uint64 // bytes sent to it
	Connected   uint64 // requests in flight
}

// Counters of a worker; zeros if it is unknown.
func (p *Proxy) Counters(r fsm.JVMRoute) Counters {
	t := p.targetOf(r)
	if t == nil {
		return Counters{}
	}
	return Counters{
		Elected:     t.node.Elected(),
		Read:        uint64(t.received.Load()),
		Transferred: uint64(t.sent.Load()),
		Connected:   uint64(max(0, t.node.InFlight())),
	}
}
