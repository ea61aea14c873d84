package proxy

import (
	"sync"
	"time"
)

// budgets bound retries, so that a sick worker does not multiply the load on the
// others: per balancer a share of the requests of the last 10 s, and at least 3 a
// second (http-notes.md §8).
type budgets struct {
	mu   sync.Mutex
	list map[string]*budget
}

const (
	budgetSeconds = 10
	budgetLeast   = 3 // per second
)

// budget counts in slots of a second.
type budget struct {
	slots [budgetSeconds]struct {
		second            int64
		requests, retries int
	}
}

func (b *budgets) of(balancer string) *budget {
	if b.list == nil {
		b.list = map[string]*budget{}
	}
	x := b.list[balancer]
	if x == nil {
		x = &budget{}
		b.list[balancer] = x
	}
	return x
}

// note counts a request.
func (b *budgets) note(balancer string) { b.noteAt(balancer, time.Now().Unix()) }

func (b *budgets) noteAt(balancer string, second int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.of(balancer)
	x.advance(second)
	x.slots[second%budgetSeconds].requests++
}

// spend takes one retry, if there is one left.
func (b *budgets) spend(balancer string, share float64) bool {
	return b.spendAt(balancer, share, time.Now().Unix())
}

func (b *budgets) spendAt(balancer string, share float64, second int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.of(balancer)
	x.advance(second)
	requests, retries := 0, 0
	for _, s := range x.slots {
		if second-s.second < budgetSeconds {
			requests += s.requests
			retries += s.retries
		}
	}
	if retries >= max(budgetLeast*budgetSeconds, int(share*float64(requests))) {
		return false
	}
	x.slots[second%budgetSeconds].retries++
	return true
}

func (x *budget) advance(second int64) {
	s := &x.slots[second%budgetSeconds]
	if s.second != second {
		s.second, s.requests, s.retries = second, 0, 0
	}
}
