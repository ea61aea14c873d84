package raftnode

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"
)

// pauses notices that this process was stopped for a while (SIGSTOP, a frozen VM): a
// ticker that comes late. Raft counts answers sent before its question, so a leader
// that slept would be told it still leads by answers from before its sleep
// (raft-notes.md, VerifyLeader).
type pauses struct {
	every time.Duration // between two ticks
	late  time.Duration // a tick later than this counts as a pause
	now   func() time.Time

	mu    sync.Mutex
	tick  time.Time // the last one; zero before run
	pause time.Time // when the last pause was noticed
	woke  time.Time // when the last one of longPause or more was
}

// longPause is time enough for the others to elect a leader, and for what this replica
// knows of them to be out of date.
const longPause = time.Second

func newPauses(lease time.Duration) *pauses {
	return &pauses{every: 50 * time.Millisecond, late: lease / 2, now: time.Now}
}

func (p *pauses) run(ctx context.Context) {
	p.mu.Lock()
	p.tick = p.now()
	p.mu.Unlock()
	t := time.NewTicker(p.every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			p.mu.Lock()
			p.look()
			p.tick = p.now()
			p.mu.Unlock()
		}
	}
}

// look notes a pause: also one whose late tick has not come yet. Both clocks count: the
// monotonic one may stand still while a machine sleeps.
func (p *pauses) look() {
	if p.tick.IsZero() {
		return
	}
	now := p.now()
	gap := max(now.Sub(p.tick), now.Round(0).Sub(p.tick.Round(0)))
	if gap >= longPause {
		p.woke = now
	}
	if gap > p.every+p.late {
		p.pause = now
		p.tick = now
	}
}

// awake is how long this process has run since its last long pause, for ever without one.
func (p *pauses) awake() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.look()
	if p.woke.IsZero() {
		return math.MaxInt64
	}
	return p.now().Sub(p.woke)
}

// since reports whether this process was stopped at some moment after t.
func (p *pauses) since(t time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.look()
	return p.pause.After(t)
}

// confirmer asks raft whether this replica still leads. All who wait when a question
// is put share its answer.
type confirmer struct {
	verify func(context.Context) error // raft's question
	pauses *pauses
	lease  time.Duration
	queue  chan func(error)
}

func newConfirmer(verify func(context.Context) error, p *pauses, lease time.Duration) *confirmer {
	return &confirmer{verify: verify, pauses: p, lease: lease, queue: make(chan func(error), 1024)}
}

// add has answer called once, with nil when this replica has led at a moment after
// the call, else with an error that is errNotLeader; or not at all when the term has
// ended. It reports false when too many wait.
func (c *confirmer) add(answer func(error)) bool {
	select {
	case c.queue <- answer:
		return true
	default:
		return false
	}
}

// run answers until ctx ends; what then waits is told errNotLeader.
func (c *confirmer) run(ctx context.Context) {
	for {
		var waiting []func(error)
		select {
		case f := <-c.queue:
			waiting = append(waiting, f)
		case <-ctx.Done():
		}
		waiting = append(waiting, c.waiting()...)
		err := error(errNotLeader)
		if ctx.Err() == nil {
			err = c.ask(ctx)
		}
		for _, answer := range waiting {
			answer(err)
		}
		if ctx.Err() != nil && len(waiting) == 0 {
			return
		}
	}
}

func (c *confirmer) waiting() []func(error) {
	var all []func(error)
	for {
		select {
		case f := <-c.queue:
			all = append(all, f)
		default:
			return all
		}
	}
}

// ask repeats the question until no pause falls between it and its answer. After a
// pause one lease passes first: by then raft itself has stepped down if a quorum has
// not spoken to it since.
func (c *confirmer) ask(ctx context.Context) error {
	for {
		asked := c.pauses.now()
		// A pause shortly before counts too: answers from before it may lie unread.
		if !c.pauses.since(asked.Add(-c.lease)) {
			if err := c.verify(ctx); err != nil {
				return fmt.Errorf("%w: %w", errNotLeader, err) // nothing is in any log
			}
			if !c.pauses.since(asked) {
				return nil
			}
		}
		if sleep(ctx, c.lease) != nil {
			return errNotLeader
		}
	}
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leaderClock is the leader's time (design.md §3): its own clock, unless that is behind
// what the cluster has seen.
type leaderClock struct {
	state   int64     // ms, the state's time at the election
	elected time.Time // with its monotonic reading
}

// at returns Unix ms for a reading of the own clock.
func (c leaderClock) at(own time.Time) int64 {
	return max(own.UnixMilli(), c.state+own.Sub(c.elected).Milliseconds())
}

// busyRoutes counts commands under way per worker. A command for a route that is
// busy is never judged by the state of now.
type busyRoutes struct {
	mu    sync.Mutex
	count map[string]int
}

func (b *busyRoutes) add(routes []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.count == nil {
		b.count = make(map[string]int)
	}
	for _, r := range routes {
		b.count[r]++
	}
}

func (b *busyRoutes) done(routes []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range routes {
		if b.count[r]--; b.count[r] <= 0 {
			delete(b.count, r)
		}
	}
}

func (b *busyRoutes) any(routes []string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range routes {
		if b.count[r] > 0 {
			return true
		}
	}
	return false
}
