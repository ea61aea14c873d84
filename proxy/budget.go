package proxy

import "sync"

// budget bounds the retries of a balancer's requests, so that a sick worker does
// not multiply the load on the others: a share of the requests of the last 10 s,
// and at least 3 a second (http-notes.md §8).
type budget struct {
	requests func() uint64 // so far

	mu      sync.Mutex
	retries uint64 // so far
	at      int    // in past
	past    [budgetSeconds]struct{ requests, retries uint64 }
}

const (
	budgetSeconds = 10
	budgetLeast   = 3 // per second
)

// tick begins another second.
func (b *budget) tick() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.past[b.at].requests, b.past[b.at].retries = b.requests(), b.retries
	b.at = (b.at + 1) % budgetSeconds
}

// spend takes one retry, if there is one left.
func (b *budget) spend(share float64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := &b.past[b.at] // the oldest
	requests, retries := b.requests()-before.requests, b.retries-before.retries
	if retries >= max(budgetLeast*budgetSeconds, uint64(share*float64(requests))) {
		return false
	}
	b.retries++
	return true
}
