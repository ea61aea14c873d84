package raftnode

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// lines are those r logged that begin like this.
func (r *testReplica) lines(prefix string) []string {
	var list []string
	for _, line := range r.logs.all() {
		if strings.HasPrefix(line, prefix) {
			list = append(list, line)
		}
	}
	return list
}

func TestRefusalIsToldOnce(t *testing.T) {
	var rs refused
	start := time.Now()
	at := func(d time.Duration) time.Time { return start.Add(d) }
	wrong, removed := fmt.Errorf("%w: a", ErrWrongCluster), fmt.Errorf("b: %w", ErrRemoved)
	for i, step := range []struct {
		id   string
		err  error
		at   time.Duration
		want bool
	}{
		{"x", wrong, 0, true},
		{"x", fmt.Errorf("in other words: %w", ErrWrongCluster), time.Second, false},
		{"y", wrong, time.Second, true},
		{"x", removed, time.Second, true},
		{"x", wrong, refusedFor, false},                     // repeated all the time
		{"x", wrong, 2 * refusedFor, true},                  // a minute without it
		{"x", errors.New("neither"), 2 * refusedFor, true},  // in its own words
		{"x", errors.New("neither"), 2 * refusedFor, false}, //
	} {
		if got := rs.note(step.id, "", step.err, at(step.at)); got != step.want {
			t.Errorf("step %d: told %v", i, got)
		}
	}
	for i := range 2 * maxRefused {
		rs.note(fmt.Sprint(i), "", wrong, at(2*refusedFor))
	}
	if n := len(rs.told); n > maxRefused {
		t.Errorf("%d kept", n)
	}
}

// Two clusters under one secret that see each other in gossip, say so, and once.
func TestTwoClustersInOneGossip(t *testing.T) {
	t.Parallel()
	var meet atomic.Bool // else one of them would be added to the cluster of the other
	c := newTestCluster(t, func(c *Config) {
		c.BootstrapExpect, c.Join = 1, nil
		hints := c.Hints
		c.Hints = func() []Hint {
			if !meet.Load() {
				return nil
			}
			return hints()
		}
	})
	one, two := c.start("lb1"), c.start("lb2")
	c.ready(one, two)
	meet.Store(true)
	for _, p := range [][2]*testReplica{{one, two}, {two, one}} {
		me, other := p[0], p[1]
		want := fmt.Sprintf("WARN replica refused name=%s id=%s address=%s error=refused: not the same cluster: %s is of cluster %s, %s of %s",
			other.name, other.ID(), other.Address(), me.name, me.ClusterID(), other.name, other.ClusterID())
		soon(t, "the other cluster is told of", func() bool { return len(me.lines(want)) > 0 })
		for range 3 {
			me.watchHints()
		}
		if got := me.lines("WARN replica refused"); len(got) != 1 {
			t.Errorf("%s: %q", me.name, got)
		}
	}
}

// A call between two clusters is told of by who calls and who is called.
func TestCallFromAnotherCluster(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, func(c *Config) { c.BootstrapExpect, c.Join = 1, nil })
	one := c.start("lb1", func(c *Config) { c.Hints = nil })
	c.ready(one)
	var meet atomic.Bool // else it would be added to the cluster of the other
	two := c.start("lb2", func(c *Config) {
		c.Hints = func() []Hint {
			if !meet.Load() {
				return nil
			}
			return []Hint{{ID: one.ID(), Name: "lb1", Address: one.Address()}}
		}
	})
	c.ready(two)
	meet.Store(true)
	const refused = "WARN replica refused name=%s id=%s address=%s error="
	soon(t, "both tell", func() bool {
		caller := two.lines(fmt.Sprintf(refused+"%s: refused: not the same cluster: ", "lb1", one.ID(), one.Address(), one.Address()))
		called := one.lines(fmt.Sprintf(refused+"refused: not the same cluster: ", "lb2", two.ID(), two.Address()))
		return len(caller) == 1 && len(called) == 1
	})
	for range 3 {
		two.Ask(context.Background())
	}
	for _, r := range []*testReplica{one, two} {
		if got := r.lines("WARN replica refused"); len(got) != 1 {
			t.Errorf("%s: %q", r.name, got)
		}
	}
}

// What a replica that waits knows of the others, whoever of them called.
func TestTrouble(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, nil)
	r := c.open("lb1")
	defer r.Close()
	now := time.Now()
	if got := r.trouble(now); got != "" {
		t.Errorf("of nobody: %q", got)
	}
	r.roster.heard(Report{ID: "2", Name: "lb2"}, now)
	r.roster.answered("2", now)
	r.roster.failed("3", "10.0.0.13:7300: connection refused", now)
	r.refuse("3", "lb3", "10.0.0.13:7300", ErrWrongCluster)
	r.refuse("", "", "10.0.0.14", ErrWrongSecret)
	want := "10.0.0.14: " + ErrWrongSecret.Error() + "; 3: 10.0.0.13:7300: connection refused"
	if got := r.trouble(now); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for i := range 9 {
		r.roster.failed(fmt.Sprint(i), "x", now)
	}
	if got := r.trouble(now); strings.Count(got, ";") != maxTrouble-1 {
		t.Errorf("of many: %s", got)
	}
}
