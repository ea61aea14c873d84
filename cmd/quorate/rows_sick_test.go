package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// One of four workers is slow, or takes connections and says nothing: whoever is not
// sent to it does not feel it.
func TestSickWorker(t *testing.T) {
	for _, kind := range []sickness{slowAnswers, silence} {
		t.Run(string(kind), func(t *testing.T) {
			sickWorker(t, kind, 700*time.Millisecond, 1500*time.Millisecond, rounds{least: 1, most: 4, limit: 1.5, slack: 20 * time.Millisecond})
		})
	}
}

// A worker whose packets vanish: those who are sent to it wait for one dial, then it
// is known.
func TestBlackHole(t *testing.T) {
	blackHole(t, time.Second, 4*time.Second)
}

type sickness string

const (
	slowAnswers sickness = "slow"
	silence     sickness = "silent"
)

// answerHello is an application of a row.
var answerHello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello\n") })

// sickWorker sends the same traffic to two replicas at the same time: one has a sick
// worker among four, the other has four that are well.
func sickWorker(t *testing.T, kind sickness, slow, window time.Duration, r rounds) {
	var pair [2]*trio
	for i := range pair {
		pair[i] = prepare(t, trioConfig{Replicas: 1, Set: []string{"upstream.response_timeout=" + (2 * slow).String()}})
		pair[i].startAll()
		for _, name := range []string{"w1", "w2", "w3"} {
			pair[i].origin(name, answerHello, "/shop")
		}
	}
	switch kind {
	case slowAnswers:
		pair[0].origin("w4", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(slow):
				io.WriteString(w, "at last\n")
			case <-r.Context().Done():
			}
		}), "/shop")
	case silence:
		pair[0].origin("w4", answerHello, "/shop").silent.Store(true)
	}
	pair[1].origin("w4", answerHello, "/shop")

	const rate = 150
	var sick []sample // of all windows
	measure := func(i int) func() time.Duration {
		users := &pacer{}
		t.Cleanup(users.close)
		first := true
		return func() time.Duration {
			got := users.window(paceConfig{Target: pair[i].replicas[0].traffic, Path: "/shop/", Rate: rate, For: window})
			if i == 0 {
				sick = append(sick, got...)
			} else {
				noFailures(t, "four good workers", got)
			}
			well := func(s *sample) bool {
				return s.err == nil && s.worker != "" && (i == 1 || s.worker != "w4") && (!first || s.at > window/4) // connections are made first
			}
			first = false
			return p99(took(got, well))
		}
	}
	r.together = true
	r.compare(t, fmt.Sprintf("one %s worker of four (%s), requests sent to the others, %d/s", kind, slow, rate), measure(0), measure(1))

	there, failed := 0, 0
	for i := range sick {
		s := &sick[i]
		switch {
		case s.err == nil && s.worker != "w4":
			continue
		case s.err != nil && kind == slowAnswers:
			t.Errorf("a slow worker is no failure: %v", s.err)
		case s.err != nil:
			failed++
		}
		there++
		if s.took < slow {
			t.Errorf("answered by %q after %s: %v", s.worker, s.took, s.err)
		}
	}
	// A silent one is found by its probe after a while, and gets no more.
	if there == 0 || kind == slowAnswers && there < len(sick)/8 {
		t.Errorf("the sick worker got %d of %d requests: nothing was measured", there, len(sick))
	}
	t.Logf("figure: %d of %d requests were sent to the %s worker, %d ended without its answer", there, len(sick), kind, failed)
}

// blackHole registers one beside three good workers, under traffic.
func blackHole(t *testing.T, connect, lasts time.Duration) {
	c := prepare(t, trioConfig{Replicas: 1, Set: []string{"upstream.connect_timeout=" + connect.String()}})
	c.startAll()
	for _, name := range []string{"w1", "w2", "w3"} {
		c.origin(name, answerHello, "/shop")
	}
	const rate = 100
	users := &pacer{}
	defer users.close()
	addr := c.replicas[0].traffic
	before := users.window(paceConfig{Target: addr, Path: "/shop/", Rate: rate, For: time.Second})
	noFailures(t, "before", before)
	c.origin("w4", answerHello, "/shop").vanish(t)
	got := users.window(paceConfig{Target: addr, Path: "/shop/", Rate: rate, For: lasts})
	noFailures(t, "with a black hole", got)

	// The access log tells who was sent there: they were tried twice.
	lines := c.accesses(0, len(before)+len(got))
	sent := 0
	var first, last time.Time
	var slowest time.Duration
	for _, l := range lines {
		if l.Attempts < 2 {
			continue
		}
		if sent++; sent == 1 || l.Time.Before(first) {
			first = l.Time
		}
		if l.Time.After(last) {
			last = l.Time
		}
		slowest = max(slowest, time.Duration(l.Duration*float64(time.Second)))
	}
	well := func(s *sample) bool { return s.took < connect*9/10 }
	a, b := p99(took(got, well)), p99(took(before, nil))
	t.Logf("figure: a black hole beside three workers, dials end after %s: %d of %d requests were sent to it, the slowest answered after %s, the last of them came %s after the first; p99 of the others %s, before %s",
		connect, sent, len(got), slowest.Round(time.Millisecond), last.Sub(first).Round(time.Millisecond), a.Round(10*time.Microsecond), b.Round(10*time.Microsecond))
	if sent == 0 {
		t.Error("the black hole got no request: nothing was measured")
	}
	if slowest > connect+500*time.Millisecond {
		t.Errorf("the slowest answer took %s, want at most %s", slowest, connect+500*time.Millisecond)
	}
	if d := last.Sub(first); d > connect+500*time.Millisecond {
		t.Errorf("requests were sent there for %s, want at most %s", d, connect+500*time.Millisecond)
	}
}

// access is a line of the access log, as far as tests need it.
type access struct {
	Time     time.Time
	Duration float64 // s
	Attempts int
	Worker   string
	Status   int
}

// accesses are the lines of replica i's access log, once there are n.
func (c *trio) accesses(i, n int) (lines []access) {
	c.t.Helper()
	waitFor(c.t, patience, "lines of the access log", func() error {
		b, err := os.ReadFile(filepath.Join(c.dir, c.replicas[i].name+"-access.log"))
		if err != nil {
			return err
		}
		lines = lines[:0]
		for line := range bytes.Lines(b) {
			var l access
			if err := json.Unmarshal(line, &l); err != nil {
				return fmt.Errorf("%s: %w", line, err)
			}
			lines = append(lines, l)
		}
		if len(lines) < n {
			return fmt.Errorf("%d lines, want %d", len(lines), n)
		}
		return nil
	})
	return lines
}
