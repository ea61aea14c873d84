package pool

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// A dial takes long; a connection that comes back serves who waits for it. The dial
// goes on, and serves the next one.
func TestFreedConnectionIsFirst(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	g := newGate()
	p := newPool(t, Config{Address: "worker:" + w.port(), Lookup: g.lookup, MaxIdle: -1})
	first := opening(t, p, nil, nil)
	g.answers <- answer{list: loopback}
	a, err := receive(t, first)
	if err != nil {
		t.Fatal(err)
	}
	p.where.list = nil // the next dial asks again, and so waits at the gate
	second := opening(t, p, nil, nil)
	wantStats(t, p, Stats{Open: 2, Dials: 1, Waiting: 1})
	p.Put(a, -1)
	c, err := receive(t, second)
	if err != nil || c != a || !c.Reused {
		t.Fatalf("got %v, %v instead of the connection that came back", c, err)
	}
	wantStats(t, p, Stats{Open: 2, Dials: 1})
	g.answers <- answer{list: loopback}
	wantStats(t, p, Stats{Open: 2, Idle: 1})
	b := p.Get()
	if !b.Reused || b.Exchanges != 0 {
		t.Errorf("Reused %t, Exchanges %d of a connection that idled unused, want true, 0", b.Reused, b.Exchanges)
	}
	ask(t, b, "1")
}

// The dial comes first.
func TestOwnDialIsFirst(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	p := newPool(t, Config{Address: w.address(), MaxIdle: -1})
	a := open(t, p)
	b := open(t, p)
	if a == b || b.Reused {
		t.Fatal("not a new connection")
	}
}

// A dial that nobody waits for serves the next one, who starts none of his own.
func TestDialLeftBehindServesTheNext(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	g := newGate()
	p := newPool(t, Config{Address: "worker:" + w.port(), Lookup: g.lookup, MaxIdle: -1})
	cancel := make(chan struct{})
	first := opening(t, p, cancel, nil)
	close(cancel)
	if _, err := receive(t, first); err != ErrGone || !errors.Is(err, context.Canceled) {
		t.Fatalf("who leaves gets %v", err)
	}
	second := opening(t, p, nil, nil)
	wantStats(t, p, Stats{Open: 1, Dials: 1, Waiting: 1})
	g.answers <- answer{list: loopback}
	if _, err := receive(t, second); err != nil {
		t.Fatal(err)
	}
}

// What went wrong before somebody came is not told to him: he gets his own dial.
func TestOldFailureIsNotTold(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	g := newGate()
	p := newPool(t, Config{Address: "worker:" + w.port(), Lookup: g.lookup, MaxIdle: -1})
	cancel := make(chan struct{})
	first := opening(t, p, cancel, nil)
	close(cancel)
	receive(t, first)
	second := opening(t, p, nil, nil)
	g.answers <- answer{err: errNoName}
	g.answers <- answer{list: loopback}
	if _, err := receive(t, second); err != nil {
		t.Fatal(err)
	}
}

// Two dials, one waiter: one may fail.
func TestFailureMattersOnlyToTheLastDial(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	g := newGate()
	p := newPool(t, Config{Address: "worker:" + w.port(), Lookup: g.lookup, MaxIdle: -1})
	cancel := make(chan struct{})
	second := opening(t, p, nil, nil)
	third := opening(t, p, cancel, nil)
	close(cancel)
	receive(t, third)
	wantStats(t, p, Stats{Open: 2, Dials: 2, Waiting: 1})
	g.answers <- answer{err: errNoName}
	wantStats(t, p, Stats{Open: 1, Dials: 1, Waiting: 1})
	g.answers <- answer{err: errNoName}
	if _, err := receive(t, second); !errors.Is(err, errNoName) {
		t.Fatalf("got %v", err)
	}
	wantStats(t, p, Stats{})
}

func TestInOrderOfArrival(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	p := newPool(t, Config{Address: w.address(), MaxIdle: -1, MaxConnections: 1, ConnectTimeout: time.Minute})
	c := open(t, p)
	var waiting []<-chan opened
	cancel := make(chan struct{})
	for range 5 {
		waiting = append(waiting, opening(t, p, nil, nil))
	}
	leaving := opening(t, p, cancel, nil)
	for range 5 {
		waiting = append(waiting, opening(t, p, nil, nil))
	}
	close(cancel)
	receive(t, leaving)
	for i, next := range waiting {
		if i%2 == 0 {
			p.Put(c, -1)
		} else {
			p.Drop(c, true) // its place serves as well
		}
		got, err := receive(t, next)
		if err != nil {
			t.Fatal(err)
		}
		wantStats(t, p, Stats{Open: 1, Waiting: len(waiting) - 1 - i})
		if (got == c) != (i%2 == 0) {
			t.Errorf("waiter %d: the same connection is %t", i, got == c)
		}
		c = got
	}
}

func TestFull(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	p := newPool(t, Config{Address: w.address(), MaxIdle: -1, MaxConnections: 1, ConnectTimeout: 20 * time.Millisecond})
	c := open(t, p)
	if _, err := p.Open(nil, nil); err != ErrFull {
		t.Errorf("got %v, want ErrFull", err)
	}
	wantStats(t, p, Stats{Open: 1})
	p.Put(c, -1)
	if open(t, p) != c {
		t.Error("not the one that came back")
	}
}

func TestClientGone(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	p := newPool(t, Config{Address: w.address(), MaxIdle: -1, MaxConnections: 1, ConnectTimeout: time.Minute})
	c := open(t, p)
	var asked atomic.Int32
	start := time.Now()
	_, err := p.Open(nil, func() bool { return asked.Add(1) == 2 })
	if err != ErrGone || asked.Load() != 2 {
		t.Errorf("got %v after %d questions", err, asked.Load())
	}
	if took := time.Since(start); took < 2*look {
		t.Errorf("asked twice within %v", took)
	}
	wantStats(t, p, Stats{Open: 1})
	p.Put(c, -1)
	wantStats(t, p, Stats{Open: 1, Idle: 1})
}

func TestNoMoreDialsThanAllowed(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	g := newGate()
	p := newPool(t, Config{Address: "worker:" + w.port(), Lookup: g.lookup, MaxIdle: -1, MaxDials: 3, ConnectTimeout: time.Minute})
	var waiting []<-chan opened
	for range 7 {
		waiting = append(waiting, opening(t, p, nil, nil))
	}
	wantStats(t, p, Stats{Open: 3, Dials: 3, Waiting: 7})
	for range 3 {
		<-g.asked
	}
	if len(g.asked) != 0 {
		t.Errorf("%d dials more than allowed", len(g.asked))
	}
	g.answers <- answer{err: errNoName}
	if _, err := receive(t, waiting[0]); !errors.Is(err, errNoName) {
		t.Errorf("the first got %v", err)
	}
	<-g.asked // in its place
	wantStats(t, p, Stats{Open: 3, Dials: 3, Waiting: 6})
	for range 3 { // dials; later ones know the name
		g.answers <- answer{list: loopback}
	}
	for _, next := range waiting[1:] {
		if _, err := receive(t, next); err != nil {
			t.Fatal(err)
		}
	}
	wantStats(t, p, Stats{Open: 6})
}

// More requests than dials meet a worker that answers nothing: nobody waits for
// longer than a dial takes.
func TestNobodyWaitsLongerThanADial(t *testing.T) {
	g := newGate()
	p := newPool(t, Config{Address: "worker:1", Lookup: g.lookup, MaxDials: 1, ConnectTimeout: 200 * time.Millisecond})
	start := time.Now()
	var waiting []<-chan opened
	for range 3 {
		waiting = append(waiting, opening(t, p, nil, nil))
	}
	for i, next := range waiting {
		_, err := receive(t, next)
		if isDialError(t, err); !isTimeout(err) {
			t.Errorf("waiter %d got %v", i, err)
		}
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, os.ErrDeadlineExceeded)
}

// Somebody who leaves, or whose time is over, may be answered at this very moment.
func TestAnsweredAtTheLastMoment(t *testing.T) {
	answered := func(t *testing.T, maxIdle int, err error) (*Pool, *Conn, *waiter) {
		w := newWorker(t, "127.0.0.1:0", nil)
		p := newPool(t, Config{Address: w.address(), MaxIdle: maxIdle})
		c := open(t, p)
		late := newWaiter().(*waiter)
		p.mu.Lock()
		p.queue.push(late)
		if err != nil {
			p.queue.answer(late, nil, err)
		}
		p.mu.Unlock()
		if err == nil {
			p.Put(c, -1)
		}
		return p, c, late
	}
	t.Run("leaves", func(t *testing.T) {
		p, c, late := answered(t, -1, nil)
		if err := p.abandon(late); err != ErrGone {
			t.Errorf("got %v", err)
		}
		if p.Get() != c {
			t.Error("the connection is lost")
		}
	})
	t.Run("leaves, none may idle", func(t *testing.T) {
		p, _, late := answered(t, 0, nil)
		if err := p.abandon(late); err != ErrGone {
			t.Errorf("got %v", err)
		}
		wantStats(t, p, Stats{})
	})
	t.Run("leaves with a failure", func(t *testing.T) {
		p, _, late := answered(t, -1, errNoName)
		if err := p.abandon(late); err != ErrGone {
			t.Errorf("got %v", err)
		}
		wantStats(t, p, Stats{Open: 1})
	})
	t.Run("time is over", func(t *testing.T) {
		p, c, late := answered(t, -1, nil)
		if got, err := p.tooLate(late); got != c || err != nil {
			t.Errorf("got %v, %v", got, err)
		}
	})
	t.Run("time is over with a failure", func(t *testing.T) {
		p, _, late := answered(t, -1, errNoName)
		if got, err := p.tooLate(late); got != nil || err != errNoName {
			t.Errorf("got %v, %v", got, err)
		}
	})
}
