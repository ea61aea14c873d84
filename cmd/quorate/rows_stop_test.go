package main

import (
	"fmt"
	"testing"
	"time"
)

// Each replica in turn is stopped and started again, as for an update. Users go
// elsewhere when they are told to, and miss nothing.
func TestRollingRestart(t *testing.T) {
	c := startTrio(t)
	c.worker("w1", "/shop")
	c.worker("w2", "/shop")
	var targets []string
	for _, r := range c.replicas {
		targets = append(targets, r.traffic)
	}
	visits := usersConfig{Targets: targets, Rate: 150, Move: true, Session: true, Paths: func(user, n int) string {
		return "/shop/" + []string{"", "?do=slow&for=100ms"}[(user+n)%2]
	}}
	u := startUsers(t, visits)
	visits.Fresh = true
	fresh := startUsers(t, visits)
	u.waitFor(t, 100)
	handed := 0
	restart := func(i int) {
		r, led := c.replicas[i], c.leader() == i
		before := c.status(c.another(i)).Cluster.Term
		asked := time.Now()
		handOver := make(chan time.Duration, 1)
		if led {
			go func() { handOver <- c.until(c.another(i), r.name, asked) }()
		}
		c.stop(i)
		took := time.Since(asked)
		text := "it did not lead"
		if led {
			handed++
			d := <-handOver
			text = fmt.Sprintf("another led after %s", d.Round(time.Millisecond))
			if d == 0 {
				t.Errorf("%s led, and nobody took over before it had ended", r.name)
			}
			if now := c.status(c.another(i)).Cluster.Term; now <= before {
				t.Errorf("term %d, was %d", now, before)
			}
		}
		u.waitFor(t, u.soFar()+100)
		c.start(i)
		c.waitHealthy(0, 1, 2)
		c.waitUp("w1", "w2")
		t.Logf("figure: %s stopped in %s, %s", r.name, took.Round(time.Millisecond), text)
	}
	for i := range c.replicas {
		restart(i)
	}
	if handed == 0 { // it moved by itself each time, before its turn came
		restart(c.leader())
	}
	for what, got := range map[string]*seen{"kept connections": u.end(), "new connections": fresh.end()} {
		t.Logf("figure: each of 3 replicas stopped and started under 150 requests/s on %s: %s; %d connections reset in the kernel's queue, %d changes of address, %d sessions moved", what, got, got.reset, got.moves, got.switched)
		if len(got.failed) > 0 || got.switched > 0 {
			t.Errorf("%s: %d requests failed and %d sessions moved, want none", what, len(got.failed), got.switched)
		}
		// Between the last look at the queue and close the kernel may take another one.
		if most := len(c.replicas) * 2; got.reset > most {
			t.Errorf("%s: %d new connections were reset by 3 stops, want at most %d", what, got.reset, most)
		}
	}
	t.Logf("figure: leadership handed over %d times", handed)
	if handed == 0 {
		t.Error("no leader was stopped")
	}
	c.sameState()
}

// another is the index of a replica that is not i.
func (c *trio) another(i int) int { return (i + 1) % len(c.replicas) }

// until is how long it took for replica i to call another one leader, 0 if that
// one ended first.
func (c *trio) until(i int, leader string, since time.Time) time.Duration {
	gone := c.replicas[c.named(leader)].ended
	for {
		if s, err := c.ask(i); err == nil && s.Cluster.Leader != "" && s.Cluster.Leader != leader {
			return time.Since(since)
		}
		select {
		case <-gone:
			return 0
		case <-time.After(time.Millisecond):
		}
	}
}
