package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/fsm"
	"github.com/quorate/quorate/proxy/route"
)

// Proxy is the data plane of one replica.
type Proxy struct {
	c          Config
	log        *slog.Logger
	table      atomic.Pointer[route.Table] // read by every exchange
	index      atomic.Uint64               // of the last entry in table, for the access log: stored after it, read before
	changed    change                      // fires after each new table and each node that is back
	targets    sync.Map                    // *route.Node → *target
	tuning     atomic.Pointer[Tuning]
	listeners  []*listener
	stats      *stats
	pool       sync.Pool                 // of *exchange
	links      sync.Pool                 // of *link
	connectors map[string]fsm.NodeConfig // for upgrades, by worker
	tunnels    tunnels
	date       atomic.Pointer[dateLine]
	httpsPort  string // of the first listener with TLS

	clients    atomic.Int64   // open client connections
	serving    sync.WaitGroup // their goroutines, those of HTTP/1
	crew       crew
	lingering  atomic.Int64 // connections that are only listened to any more
	complained atomic.Int64 // when accept's trouble was last told, Unix s

	draining  atomic.Bool
	graceOver atomic.Bool   // while draining: idle connections are closed
	cutting   atomic.Bool   // life has ended
	idleGrace time.Duration // how long idle connections are left open by Drain
	linger    time.Duration // how long a client whose body is not wanted may go on sending
	rest      time.Duration // how long a connection idles before it rests

	life context.Context // ends when everything is cut: by Run's end, or by Drain's deadline
	stop context.CancelFunc

	mu       sync.Mutex                  // serialises all changes of the table
	followed map[fsm.JVMRoute]*target    // the nodes of the table
	overlaid map[fsm.JVMRoute]*fsm.State // what overrides made of the state
	running  bool                        // between start and end of Run
	probes   count                       // probes that run
	watchers sync.WaitGroup              // the loops of Run
}

// idleGrace is how long idle client connections stay open while draining: a
// request that is on its way is still answered (http-notes.md §10).
const idleGrace = 5 * time.Second

// New makes a Proxy with an empty table: Reset and Apply fill it. It starts
// nothing; the listeners accept, in the kernel's queue, and wait for Run.
func New(c Config) (*Proxy, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	u := &c.Upstream
	if u.ConnectTimeout <= 0 {
		u.ConnectTimeout = 3 * time.Second
	}
	if u.MaxResponseHeaderBytes <= 0 {
		u.MaxResponseHeaderBytes = 64 << 10
	}
	if u.Health.Interval <= 0 {
		u.Health.Interval = 5 * time.Second
	}
	if u.Health.Fails <= 0 {
		u.Health.Fails = 1
	}
	switch u.TLS.Verify {
	case "", "full", "ca", "none":
	default:
		return nil, fmt.Errorf("upstream TLS verify %q: must be full, ca or none", u.TLS.Verify)
	}
	switch u.Health.Probe {
	case "", "auto", "options", "get", "head", "tcp", "none":
	default:
		return nil, fmt.Errorf("health probe %q: must be auto, options, get, head, tcp or none", u.Health.Probe)
	}
	connectors, err := parseConnectors(u.Upgrade.Connectors)
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		c:          c,
		connectors: connectors,
		log:        c.Log,
		idleGrace:  idleGrace,
		linger:     linger,
		rest:       restAfter,
		followed:   map[fsm.JVMRoute]*target{},
		overlaid:   map[fsm.JVMRoute]*fsm.State{},
		crew:       crew{work: make(chan *client)},
	}
	p.life, p.stop = context.WithCancel(context.Background())
	p.pool.New = func() any { return p.newExchange() }
	p.links.New = func() any { return p.newLink() }
	p.Tune(c.Tuning)
	p.stats = newStats()
	p.table.Store(route.Compile(fsm.New(), route.Options{Carries: carries}))
	for _, l := range c.Listeners {
		p.listen(l)
	}
	return p, nil
}

// Tune replaces what can change while it runs.
func (p *Proxy) Tune(t Tuning) { p.tuning.Store(&t) }

// Run serves the listeners and watches the workers until ctx ends, then cuts off
// what Drain has left. When it returns nothing that it started is running. It
// runs once.
func (p *Proxy) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, len(p.listeners))
	for _, l := range p.listeners {
		p.watchers.Go(func() {
			if err := l.serve(); err != nil && !p.draining.Load() && ctx.Err() == nil {
				failed <- fmt.Errorf("serve %s: %w", l.Addr(), err)
			}
		})
	}
	p.startWatching()
	p.watchers.Go(func() { p.recalculate(ctx) })
	p.watchers.Go(func() { p.sweep(ctx) })

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	p.stopWatching()
	cancel()
	p.cut()
	p.watchers.Wait()
	p.cut() // again: of what was accepted meanwhile
	p.serving.Wait()
	p.crew.end()
	p.await(context.Background(), func() bool { return p.stats.inFlight() == 0 && p.clients.Load() == 0 })
	p.probes.wait()
	p.targets.Range(func(_, t any) bool {
		t.(*target).retire()
		return true
	})
	p.targets.Range(func(_, t any) bool {
		if u := t.(*target).current.Load(); u != nil {
			u.wait()
		}
		return true
	})
	return err
}

// Drain lets what is in flight end: the accept queue is taken until it is empty,
// then the listeners close; every answer says that its connection closes; idle
// connections are closed after 5 s. When ctx ends before the last exchange and
// tunnel, these are cut off and the error says so.
func (p *Proxy) Drain(ctx context.Context) error {
	p.draining.Store(true)
	for _, l := range p.listeners {
		l.drain()
	}
	for _, l := range p.listeners {
		select {
		case <-l.done:
		case <-ctx.Done():
		}
	}
	var wg sync.WaitGroup
	for _, l := range p.listeners {
		if l.h2 != nil {
			wg.Go(func() { l.h2.shutdown(ctx) }) // GOAWAY; waits for streams
		}
	}
	grace, cancel := context.WithTimeout(ctx, p.idleGrace)
	p.await(grace, func() bool { return p.clients.Load() == 0 })
	cancel()
	p.graceOver.Store(true)
	for _, l := range p.listeners {
		l.interrupt(false)
	}
	wg.Wait()
	err := p.await(ctx, func() bool { return p.stats.inFlight() == 0 })
	if err != nil {
		left := p.stats.inFlight()
		p.cut()
		return fmt.Errorf("drain with %d requests left: %w", left, err)
	}
	return nil
}

// await looks until something is so, or ctx ends.
func (p *Proxy) await(ctx context.Context, so func() bool) error {
	for !so() {
		if !sleep(ctx, 2*time.Millisecond) {
			return ctx.Err()
		}
	}
	return nil
}

// cut ends everything at once: listeners, connections, exchanges, tunnels.
func (p *Proxy) cut() {
	p.cutting.Store(true)
	p.stop()
	for _, l := range p.listeners {
		l.Close()
		l.interrupt(true)
		if l.h2 != nil {
			l.h2.close()
		}
	}
	p.tunnels.end()
}

func (p *Proxy) isCut() bool { return p.cutting.Load() }

// sweep is what is done once a second: connections to workers that idle too long are
// dropped, and retries counted anew.
func (p *Proxy) sweep(ctx context.Context) {
	var s shrink
	for sleep(ctx, time.Second) {
		s.look(p)
		p.crew.shrink()
		for _, b := range *p.stats.balancers.Load() {
			b.budget.tick()
		}
		now := time.Now()
		p.targets.Range(func(_, t any) bool {
			if u := t.(*target).current.Load(); u != nil {
				u.sweep(now)
			}
			return true
		})
	}
}

// shrink collects garbage for the sake of connections that idle: their stacks have
// grown with the last request, and only a collection shrinks them, by half. A
// process that allocates nothing would have one each two minutes alone.
type shrink struct {
	answered uint64
	seconds  int
	left     int // collections that can still shrink something
}

const (
	shrinkClients = 500 // below them it is not worth it
	shrinkSeconds = 30
	shrinkRounds  = 3    // from 16 KiB to 2
	shrinkIdle    = 3000 // requests in that time: few
)

// look is called once a second.
func (s *shrink) look(p *Proxy) {
	if s.seconds++; s.seconds < shrinkSeconds {
		return
	}
	s.seconds = 0
	n := p.Stats().Requests
	busy := n-s.answered > shrinkIdle
	if n != s.answered {
		s.answered, s.left = n, shrinkRounds
	}
	if s.left == 0 || p.clients.Load() < shrinkClients {
		return
	}
	s.left--
	if busy {
		runtime.GC()
	} else {
		debug.FreeOSMemory() // and what the last burst needed goes back
	}
}

// recalculate closes the intervals of the election formula.
func (p *Proxy) recalculate(ctx context.Context) {
	for {
		t := p.table.Load()
		d := time.Duration(t.State().Settings().Recalculation) * time.Millisecond
		if d <= 0 {
			d = 5 * time.Second
		}
		if !sleep(ctx, jittered(d)) {
			return
		}
		p.table.Load().Recalculate()
	}
}

// jittered is d ± 20 %.
func jittered(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// sleep waits; false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// count is a number that can be waited for to be 0.
type count struct {
	mu   sync.Mutex
	n    int64
	zero chan struct{} // someone waits
}

func (c *count) add(d int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += d
	if c.n == 0 && c.zero != nil {
		close(c.zero)
		c.zero = nil
	}
}

func (c *count) value() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func (c *count) wait() {
	for {
		c.mu.Lock()
		if c.n == 0 {
			c.mu.Unlock()
			return
		}
		if c.zero == nil {
			c.zero = make(chan struct{})
		}
		zero := c.zero
		c.mu.Unlock()
		<-zero
	}
}
