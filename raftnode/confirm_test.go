package raftnode

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

const testLease = 250 * time.Millisecond

func TestConfirmationIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		verify := func(ctx context.Context) error { asked++; return sleep(ctx, 10*time.Millisecond) }
		p := newPauses(testLease)
		c := newConfirmer(verify, p, testLease)
		ctx, end := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { p.run(ctx) })
		all.Go(func() { c.run(ctx) })
		time.Sleep(time.Second)

		var answers sync.WaitGroup
		wait := func() {
			answers.Add(1)
			c.add(func(err error) {
				if err != nil {
					t.Error(err)
				}
				answers.Done()
			})
		}
		wait()
		synctest.Wait() // its question is out: whoever comes now needs the next one
		for range 100 {
			wait()
		}
		answers.Wait()
		if asked != 2 {
			t.Errorf("%d questions for 101 that wait, not 2", asked)
		}

		end()
		all.Wait()
		late := make(chan error, 1)
		if c.add(func(err error) { late <- err }) {
			c.run(ctx)
			if err := <-late; !errors.Is(err, errNotLeader) {
				t.Errorf("after the term: %v", err)
			}
		}
	})
}

// A process that was stopped must not believe answers from before.
func TestConfirmationAfterPause(t *testing.T) {
	for _, test := range []struct {
		name  string
		pause time.Duration // how late the clock is found to be
		takes time.Duration
	}{
		{"none", 0, 0},
		{"a late tick", testLease/2 - time.Millisecond, 0},
		{"a pause", testLease, testLease},
		{"a long one", time.Hour, testLease},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPauses(testLease)
				var jump atomic.Int64 // as if nothing had run meanwhile
				p.now = func() time.Time { return time.Now().Add(time.Duration(jump.Load())) }
				ctx, end := context.WithCancel(t.Context())
				var all sync.WaitGroup
				all.Go(func() { p.run(ctx) })
				time.Sleep(time.Second)
				synctest.Wait()

				jump.Store(int64(test.pause))
				c := newConfirmer(func(context.Context) error { return nil }, p, testLease)
				start := time.Now()
				if err := c.ask(ctx); err != nil {
					t.Error(err)
				}
				took := time.Since(start)
				if min := test.takes; took < min || min == 0 && took > 0 {
					t.Errorf("confirmed after %v, not %v", took, test.takes)
				}
				end()
				all.Wait()
			})
		})
	}
}

func TestAwake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPauses(testLease)
		var jump atomic.Int64
		p.now = func() time.Time { return time.Now().Add(time.Duration(jump.Load())) }
		time.Sleep(time.Minute)
		if got := p.awake(); got != math.MaxInt64 {
			t.Errorf("before it runs: %v", got)
		}
		ctx, end := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { p.run(ctx) })
		time.Sleep(time.Second)
		synctest.Wait()
		jump.Add(int64(longPause / 2))
		if got := p.awake(); got != math.MaxInt64 {
			t.Errorf("after a short pause: %v", got)
		}
		jump.Add(int64(longPause))
		if got := p.awake(); got != 0 {
			t.Errorf("just after a long pause: %v", got)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		jump.Add(int64(longPause / 2))
		if got := p.awake(); got != time.Second+longPause/2 {
			t.Errorf("after a short pause later on: %v", got)
		}
		end()
		all.Wait()
	})
}

// The question was out when the process was stopped: its answer proves nothing.
func TestPauseDuringTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPauses(testLease)
		var jump atomic.Int64
		p.now = func() time.Time { return time.Now().Add(time.Duration(jump.Load())) }
		ctx, end := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { p.run(ctx) })
		time.Sleep(time.Second)
		asked := 0
		c := newConfirmer(func(context.Context) error {
			if asked++; asked == 1 {
				jump.Store(int64(time.Second))
			}
			return nil
		}, p, testLease)
		start := time.Now()
		if err := c.ask(ctx); err != nil || asked != 2 || time.Since(start) < testLease {
			t.Errorf("believed after %d questions and %v: %v", asked, time.Since(start), err)
		}
		end()
		all.Wait()
	})
}

// Nothing of what waited is in any log: its asker tries again under the next leader.
func TestTermEndsAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPauses(testLease)
		p.pause = time.Now().Add(time.Second) // as if noticed just when it is asked
		ctx, end := context.WithTimeout(t.Context(), testLease/2)
		defer end()
		c := newConfirmer(func(context.Context) error { return nil }, p, testLease)
		if err := c.ask(ctx); !errors.Is(err, errNotLeader) || outcomeOf(errorOf(reasonOf(err))) != notTaken {
			t.Errorf("got %v", err)
		}
		c.verify = func(context.Context) error { return raft.ErrLeadershipLost }
		p.pause = time.Time{}
		if err := c.ask(t.Context()); outcomeOf(err) != notTaken {
			t.Errorf("got %v", err)
		}
	})
}

func TestLeaderClock(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	for _, test := range []struct {
		name        string
		state, want int64
		own         time.Time
	}{
		{"its own clock", 900_000, 1_000_500, now.Add(500 * time.Millisecond)},
		{"the cluster's, where its own is behind", 2_000_000, 2_000_500, now.Add(500 * time.Millisecond)},
		{"never below the state", 2_000_000, 2_000_000, now},
	} {
		if got := (leaderClock{state: test.state, elected: now}).at(test.own); got != test.want {
			t.Errorf("%s: %d, not %d", test.name, got, test.want)
		}
	}
}
