package pool

import (
	"sync/atomic"
	"testing"
	"time"
)

func TestNewestFirst(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	p := newPool(t, Config{Address: w.address(), MaxIdle: -1})
	if c := p.Get(); c != nil {
		t.Fatal("a new pool has a connection")
	}
	a, b := open(t, p), open(t, p)
	if a.Reused || a.Exchanges != 0 || a.Before != 0 {
		t.Errorf("a new connection: %+v", a)
	}
	ask(t, a, "1")
	ask(t, b, "2")
	p.Put(a, -1)
	p.Put(b, -1)
	for i, want := range []*Conn{b, a} {
		c := p.Get()
		if c != want {
			t.Fatalf("connection %d is not the one put last", i)
		}
		if !c.Reused || c.Exchanges != 1 || c.Before != 1 {
			t.Errorf("Reused %t, Exchanges %d, Before %d, want true, 1, 1", c.Reused, c.Exchanges, c.Before)
		}
		ask(t, c, "3")
	}
	wantStats(t, p, Stats{Open: 2})
	p.Put(a, -1)
	p.Drop(b, false)
	wantStats(t, p, Stats{Open: 1, Idle: 1})
	if n := w.count(); n != 2 {
		t.Errorf("%d connections were made, want 2", n)
	}
}

func TestGivingBackTwicePanics(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	p := newPool(t, Config{Address: w.address(), MaxIdle: -1})
	c := open(t, p)
	p.Put(c, -1)
	for name, again := range map[string]func(){
		"Put":  func() { p.Put(c, -1) },
		"Drop": func() { p.Drop(c, false) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s of an idle connection went through", name)
				}
			}()
			again()
		}()
	}
	wantStats(t, p, Stats{Open: 1, Idle: 1})
}

func TestAge(t *testing.T) {
	const never = -1
	for _, test := range []struct {
		name       string
		limit      time.Duration
		unknown    time.Duration
		keepAlives []int // of the answers, in turn
		want       time.Duration
	}{
		{"the worker says nothing", 0, 0, []int{never}, 15 * time.Second},
		{"nothing, ajp", 0, 50 * time.Second, []int{never}, 50 * time.Second},
		{"nothing, short ttl", 3 * time.Second, 0, []int{never}, 3 * time.Second},
		{"Tomcat", 0, 0, []int{20}, 18 * time.Second},
		{"WildFly", time.Minute, 0, []int{60}, 58 * time.Second},
		{"the limit is lower", 10 * time.Second, 0, []int{20}, 10 * time.Second},
		{"four seconds", 0, 0, []int{4}, 2 * time.Second},
		{"three seconds", 0, 0, []int{3}, 1500 * time.Millisecond},
		{"one second", 0, 0, []int{1}, 500 * time.Millisecond},
		{"said once", 0, 0, []int{20, never, never}, 18 * time.Second},
		{"said anew", 0, 0, []int{20, 6, never}, 4 * time.Second},
		{"for ever", 0, 0, []int{1 << 60}, (1<<20 - 2) * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorker(t, "127.0.0.1:0", nil)
			p := newPool(t, Config{Address: w.address(), MaxIdle: -1, IdleTimeout: test.limit, DefaultIdle: test.unknown})
			c := open(t, p)
			for _, s := range test.keepAlives {
				p.Put(c, s)
				if p.Get() != c {
					t.Fatal("a connection was not kept")
				}
			}
			p.Put(c, never)
			const margin = 400 * time.Millisecond // of a slow machine
			p.later(test.want - margin)
			if p.Get() != c {
				t.Fatalf("too old before %v", test.want)
			}
			p.Put(c, never)
			p.later(test.want)
			if p.Get() != nil {
				t.Fatalf("not too old after %v", test.want)
			}
			wantStats(t, p, Stats{})
			eventually(t, "connection closed", func() bool { return w.open() == 0 })
		})
	}
}

func TestKeepAliveOfZeroIsNotKept(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	p := newPool(t, Config{Address: w.address(), MaxIdle: -1})
	p.Put(open(t, p), 0)
	wantStats(t, p, Stats{})
}

// The newest is too old by its own word, one below is not.
func TestGetPassesOverTheOld(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	p := newPool(t, Config{Address: w.address(), MaxIdle: -1})
	long, short := open(t, p), open(t, p)
	p.Put(long, 60)
	p.Put(short, 6)
	p.later(10 * time.Second)
	if p.Get() != long {
		t.Fatal("not the one that may idle for long")
	}
	wantStats(t, p, Stats{Open: 1})
}

func TestSweep(t *testing.T) {
	setup := func(t *testing.T, c Config, n int) (*Pool, []*Conn) {
		w := newWorker(t, "127.0.0.1:0", nil)
		c.Address = w.address()
		p := newPool(t, c)
		conns := make([]*Conn, n)
		for i := range conns {
			conns[i] = open(t, p)
			ask(t, conns[i], "1")
		}
		return p, conns
	}
	t.Run("too old", func(t *testing.T) {
		p, c := setup(t, Config{MaxIdle: -1}, 3)
		p.Put(c[0], 20)
		p.Put(c[1], 10)
		p.Put(c[2], 20)
		p.Sweep(time.Now())
		wantStats(t, p, Stats{Open: 3, Idle: 3})
		p.Sweep(time.Now().Add(9 * time.Second))
		wantStats(t, p, Stats{Open: 2, Idle: 2})
		if p.Get() != c[2] || p.Get() != c[0] {
			t.Error("not the ones that may idle for longer, in their order")
		}
	})
	t.Run("closed by the worker", func(t *testing.T) {
		p, c := setup(t, Config{MaxIdle: -1}, 3)
		if _, err := c[1].Write([]byte("c")); err != nil {
			t.Fatal(err)
		}
		for _, c := range c {
			p.Put(c, -1)
		}
		eventually(t, "the closed one found", func() bool {
			p.Sweep(time.Now())
			return p.Stats() == Stats{Open: 2, Idle: 2}
		})
		if p.Get() != c[2] || p.Get() != c[0] {
			t.Error("not the ones that are open, in their order")
		}
	})
	t.Run("unexpected bytes", func(t *testing.T) {
		p, c := setup(t, Config{MaxIdle: -1}, 2)
		ask(t, c[0], "x")
		p.Put(c[0], -1)
		p.Put(c[1], -1)
		eventually(t, "the talkative one found", func() bool {
			p.Sweep(time.Now())
			return p.Stats() == Stats{Open: 1, Idle: 1}
		})
		if p.Get() != c[1] {
			t.Error("not the silent one")
		}
	})
	t.Run("too many", func(t *testing.T) {
		p, c := setup(t, Config{MaxIdle: 2}, 6)
		for _, c := range c {
			p.Put(c, -1)
		}
		p.Sweep(time.Now())
		wantStats(t, p, Stats{Open: 6, Idle: 6}) // a burst may come again
		for range 3 {                            // three are in use now and then
			a, b, c := p.Get(), p.Get(), p.Get()
			p.Put(c, -1)
			p.Put(b, -1)
			p.Put(a, -1)
			p.Sweep(time.Now())
		}
		wantStats(t, p, Stats{Open: 3, Idle: 3})
		if p.Get() != c[5] {
			t.Error("the newest is not there any more")
		}
		p.Put(c[5], -1)
		p.Sweep(time.Now())
		p.Sweep(time.Now())
		wantStats(t, p, Stats{Open: 2, Idle: 2})
	})
	t.Run("none at all", func(t *testing.T) {
		p, c := setup(t, Config{MaxIdle: 0}, 1)
		p.Put(c[0], -1)
		wantStats(t, p, Stats{})
	})
}

func TestBytesAreCounted(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	var sent, received atomic.Int64
	p := newPool(t, Config{Address: w.address(), MaxIdle: -1, Sent: &sent, Received: &received})
	check := func(s, r int64) {
		t.Helper()
		if sent.Load() != s || received.Load() != r {
			t.Errorf("sent %d, received %d, want %d, %d", sent.Load(), received.Load(), s, r)
		}
	}
	c := open(t, p)
	ask(t, c, "1")
	check(0, 0)
	c.Account()
	check(1, 1)
	ask(t, c, "2")
	p.Put(c, -1)
	check(2, 2)
	c = p.Get()
	if c.Before != 2 {
		t.Errorf("Before is %d, want 2", c.Before)
	}
	ask(t, c, "3")
	p.Drop(c, true)
	check(3, 3)
}

func TestClose(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	p := newPool(t, Config{Address: w.address(), MaxIdle: -1, MaxConnections: 2})
	idle, used := open(t, p), open(t, p)
	p.Put(idle, -1)
	if p.Get() != idle {
		t.Fatal("not kept")
	}
	waiting := opening(t, p, nil, nil)
	p.Close()
	if _, err := receive(t, waiting); err != ErrClosed {
		t.Errorf("who waits gets %v", err)
	}
	if _, err := p.Open(nil, nil); err != ErrClosed {
		t.Errorf("who comes later gets %v", err)
	}
	ask(t, used, "1") // an exchange ends in peace
	p.Put(used, -1)
	p.Drop(idle, false)
	p.Close()
	wantStats(t, p, Stats{})
	eventually(t, "connections closed", func() bool { return w.open() == 0 })
}

func TestCloseEndsDials(t *testing.T) {
	g := newGate()
	p := newPool(t, Config{Address: "worker:1", Lookup: g.lookup, ConnectTimeout: time.Hour})
	waiting := opening(t, p, nil, nil)
	<-g.asked
	p.Close()
	p.Wait()
	if _, err := receive(t, waiting); err != ErrClosed {
		t.Errorf("who waits gets %v", err)
	}
	wantStats(t, p, Stats{})
}

func TestCloseClosesWhatIdles(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	p := newPool(t, Config{Address: w.address(), MaxIdle: -1})
	a, b := open(t, p), open(t, p)
	p.Put(a, -1)
	p.Put(b, -1)
	p.Close()
	wantStats(t, p, Stats{})
	if p.Get() != nil {
		t.Error("a closed pool gives connections")
	}
}

func TestNoAllocation(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	var sent, received atomic.Int64
	p := newPool(t, Config{Address: w.address(), MaxIdle: -1, Sent: &sent, Received: &received})
	p.Put(open(t, p), 20)
	if n := testing.AllocsPerRun(1000, func() { p.Put(p.Get(), 20) }); n != 0 {
		t.Errorf("Get and Put allocate %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() { p.Sweep(time.Now()) }); n != 0 {
		t.Errorf("Sweep allocates %v times", n)
	}
}
