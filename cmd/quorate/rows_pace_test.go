package main

// What the rows about other people's trouble share: requests at a fixed rate whatever
// becomes of those before, an application made for the row, and the comparison of what
// users feel with and without the trouble.
//
//	o := c.origin("w1", handler, "/shop")    a web server, registered by raw messages with all replicas
//	got := paced(t, paceConfig{...})         one window of requests
//	compare(t, with, without)                medians of interleaved windows

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// origin is an application that a row brings along.
type origin struct {
	name   string
	port   int
	server *http.Server
	made   atomic.Int64 // connections it ever had
	group  sync.WaitGroup
	hole   hole

	silent  atomic.Bool // it answers nothing any more, the replica's probes neither
	thrifty atomic.Bool // the kernel keeps little of what it sends, not megabytes

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// origin serves, and is registered with every replica that runs. It tells its load
// once: there is nobody behind it who would repeat it.
func (c *trio) origin(name string, h http.Handler, contexts ...string) *origin {
	c.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	o := serveOrigin(c.t, name, l, h)
	c.enlist(name, o.port, contexts...)
	return o
}

func serveOrigin(t testing.TB, name string, l net.Listener, h http.Handler) *origin {
	o := &origin{name: name, port: l.Addr().(*net.TCPAddr).Port, conns: map[net.Conn]bool{}}
	o.hole = hole{Listener: l, fell: make(chan struct{}), over: make(chan struct{})}
	o.server = &http.Server{
		DisableGeneralOptionsHandler: true,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case o.silent.Load():
				<-r.Context().Done()
			case r.RequestURI == "*":
			default:
				w.Header().Set("X-Worker", name)
				h.ServeHTTP(w, r)
			}
		}),
		ConnState: o.track,
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	o.group.Go(func() { o.server.Serve(&o.hole) })
	t.Cleanup(o.stop)
	return o
}

func (o *origin) track(c net.Conn, s http.ConnState) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch s {
	case http.StateNew:
		o.made.Add(1)
		o.conns[c] = true
		if o.thrifty.Load() {
			c.(*net.TCPConn).SetWriteBuffer(32 << 10)
		}
	case http.StateClosed:
		delete(o.conns, c)
	}
}

// reset lets its connections end with a reset.
func (o *origin) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := range o.conns {
		c.(*net.TCPConn).SetLinger(0)
	}
}

// stop closes everything at once. Twice is once.
func (o *origin) stop() {
	o.hole.once.Do(func() { close(o.hole.over) })
	o.server.Close()
	o.group.Wait()
}

// hole is a listener that can cease to accept.
type hole struct {
	net.Listener
	black atomic.Bool
	fell  chan struct{} // closed when nothing is accepted any more
	over  chan struct{}
	once  sync.Once
}

func (h *hole) Accept() (net.Conn, error) {
	c, err := h.Listener.Accept()
	if err == nil && h.black.Load() {
		close(h.fell)
		<-h.over
		c.Close()
		return nil, net.ErrClosed
	}
	return c, err
}

// vanish makes a black hole of it: the queue of who may be accepted is full, so the
// kernel drops every SYN. Connections that are there are closed.
func (o *origin) vanish(t testing.TB) {
	t.Helper()
	o.hole.black.Store(true)
	raw, err := o.hole.Listener.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 0) }); err != nil || e != nil {
		t.Fatal(err, e)
	}
	for n := range 8 {
		c, err := net.DialTimeout("tcp", o.hole.Addr().String(), 300*time.Millisecond)
		if n == 0 {
			<-o.hole.fell
		}
		if isTimeout(err) {
			o.server.SetKeepAlivesEnabled(false)
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Skip("this kernel does not drop a SYN when the queue is full")
}

// enlist registers a worker with every replica that runs, as mod_cluster would.
func (c *trio) enlist(name string, port int, contexts ...string) {
	c.t.Helper()
	for _, r := range c.replicas {
		if !r.running() {
			continue
		}
		mustSend(c.t, r.mcmp, "CONFIG", "/", configOf(name, port))
		for _, path := range contexts {
			mustSend(c.t, r.mcmp, "ENABLE-APP", "/", appOf(name, path))
		}
		mustSend(c.t, r.mcmp, "STATUS", "/", loadOf(name, 100))
	}
}

// paceConfig is one window of an open loop: each request begins at its time, on a
// kept connection that is free or on a new one.
type paceConfig struct {
	Target, Path string
	Rate         float64 // per second
	For          time.Duration
}

// sample is what became of one request.
type sample struct {
	at     time.Duration // since the window began
	took   time.Duration
	worker string
	err    error
}

// pacer keeps the connections from one window to the next.
type pacer struct {
	mu   sync.Mutex
	free []*visitor
}

func (p *pacer) take(target string) *visitor {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, v := range slices.Backward(p.free) {
		if v.c.Targets[0] == target {
			p.free = slices.Delete(p.free, i, i+1)
			return v
		}
	}
	return &visitor{c: &usersConfig{Targets: []string{target}}}
}

func (p *pacer) give(v *visitor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, v)
}

func (p *pacer) close() {
	for _, v := range p.free {
		v.hangUp()
	}
}

// window sends one window and waits for the last answer.
func (p *pacer) window(c paceConfig) []sample {
	n := int(c.Rate * c.For.Seconds())
	samples := make([]sample, n)
	var group sync.WaitGroup
	begin := time.Now()
	for i := range n {
		time.Sleep(time.Until(begin.Add(time.Duration(float64(i) / c.Rate * float64(time.Second)))))
		group.Go(func() {
			v := p.take(c.Target)
			got := &seen{workers: map[string]int{}}
			began := time.Now()
			err := v.ask(c.Path, got)
			s := &samples[i]
			s.at, s.took, s.err = began.Sub(begin), time.Since(began), err
			for w := range got.workers {
				s.worker = w
			}
			p.give(v)
		})
	}
	group.Wait()
	return samples
}

// p99 of durations, which it sorts. 0 of none.
func p99(d []time.Duration) time.Duration { return quantile(d, 0.99) }

func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)-1, int(q*float64(len(d))))]
}

// took are the durations of the samples that ok wants.
func took(samples []sample, ok func(*sample) bool) []time.Duration {
	var list []time.Duration
	for i := range samples {
		if ok == nil || ok(&samples[i]) {
			list = append(list, samples[i].took)
		}
	}
	return list
}

// rounds compares a figure of users in trouble with that of users without, in windows
// that take turns. Chance on a busy machine falls on both, and more rounds are made
// while the medians are apart by more than the limit: what is slow stays slow.
type rounds struct {
	least, most int
	limit       float64
	slack       time.Duration // what the scheduler alone may add
	together    bool          // both at the same time
}

func (r rounds) compare(t testing.TB, what string, with, without func() time.Duration) {
	t.Helper()
	var a, b []time.Duration
	for n := 0; ; n++ {
		var group sync.WaitGroup
		var x, y time.Duration
		group.Go(func() { x = with() })
		if !r.together {
			group.Wait()
		}
		group.Go(func() { y = without() })
		group.Wait()
		a, b = append(a, x), append(b, y)
		x, y = quantile(slices.Clone(a), 0.5), quantile(slices.Clone(b), 0.5)
		good := float64(x) <= r.limit*float64(y)+float64(r.slack)*slowdown
		if n+1 < r.least || n+1 < r.most && !good {
			continue
		}
		t.Logf("figure: %s: p99 %s, without %s: %.2f times (medians of %d windows each)", what,
			x.Round(10*time.Microsecond), y.Round(10*time.Microsecond), float64(x)/float64(y), n+1)
		if !good {
			t.Errorf("%s: p99 %s with, %s without: want at most %.1f times\nwith %v\nwithout %v", what, x, y, r.limit, a, b)
		}
		return
	}
}

// noFailures fails the test if a request of these failed.
func noFailures(t testing.TB, what string, samples []sample) {
	t.Helper()
	var bad []string
	for i := range samples {
		if s := &samples[i]; s.err != nil {
			bad = append(bad, fmt.Sprintf("at %s after %s: %v", s.at.Round(time.Millisecond), s.took.Round(time.Millisecond), s.err))
		}
	}
	if len(bad) > 0 {
		t.Errorf("%s: %d of %d failed: %v", what, len(bad), len(samples), bad[:min(5, len(bad))])
	}
}
