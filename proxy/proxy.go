package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/fsm"
	"github.com/quorate/quorate/proxy/route"
)

// Proxy is the data plane of one replica.
type Proxy struct {
	c         Config
	log       *slog.Logger
	table     atomic.Pointer[route.Table] // read by every exchange
	changed   change                      // fires after each new table and each node that is back
	targets   sync.Map                    // *route.Node → *target
	listeners []*listener
	servers   []*http.Server
	stats     *stats
	budgets   budgets

	draining  atomic.Bool
	exchanges count         // requests and tunnels in flight
	served    count         // connections that package http has a goroutine for
	clients   count         // open client connections
	idleGrace time.Duration // how long idle connections are left open by Drain
	linger    time.Duration // how long a client whose body is not wanted may go on sending

	life context.Context // ends when everything is cut: by Run's end, or by Drain's deadline
	cut  context.CancelFunc

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

// linger is how long the rest of a body is read and dropped before its connection
// closes: else the client might not get to read the answer (http-notes.md §6).
const linger = 5 * time.Second

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
	p := &Proxy{
		c:         c,
		log:       c.Log,
		idleGrace: idleGrace,
		linger:    linger,
		followed:  map[fsm.JVMRoute]*target{},
		overlaid:  map[fsm.JVMRoute]*fsm.State{},
	}
	p.life, p.cut = context.WithCancel(context.Background())
	p.stats = newStats()
	p.table.Store(route.Compile(fsm.New(), route.Options{Carries: carries}))
	for _, l := range c.Listeners {
		p.listen(l)
	}
	return p, nil
}

// Run serves the listeners and watches the workers until ctx ends, then cuts off
// what Drain has left. When it returns nothing that it started is running. It
// runs once.
func (p *Proxy) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, len(p.servers))
	for i, s := range p.servers {
		l := p.listeners[i]
		p.watchers.Go(func() {
			if err := l.serve(s); err != nil && !p.draining.Load() && ctx.Err() == nil {
				failed <- fmt.Errorf("serve %s: %w", l.Addr(), err)
			}
		})
	}
	p.startWatching()
	p.watchers.Go(func() { p.recalculate(ctx) })

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	p.stopWatching()
	p.cut()
	cancel()
	p.closeServers()
	p.watchers.Wait()
	p.closeServers() // again: of what was accepted meanwhile
	p.exchanges.wait(context.Background())
	p.served.wait(context.Background())
	p.probes.wait(context.Background())
	p.targets.Range(func(_, t any) bool {
		t.(*target).retire()
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
	grace, cancel := context.WithTimeout(ctx, p.idleGrace)
	p.clients.wait(grace)
	cancel()
	var wg sync.WaitGroup
	for _, s := range p.servers {
		wg.Go(func() { s.Shutdown(ctx) }) // GOAWAY; closes idle connections; waits for the others
	}
	wg.Wait()
	if err := p.exchanges.wait(ctx); err != nil {
		left := p.exchanges.value()
		p.cut()
		p.closeServers()
		return fmt.Errorf("drain with %d requests left: %w", left, err)
	}
	return nil
}

// closeServers closes the listeners and all connections but those of tunnels.
func (p *Proxy) closeServers() {
	for _, s := range p.servers {
		s.Close()
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

func (c *count) add(d int64) (now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += d
	if c.n == 0 && c.zero != nil {
		close(c.zero)
		c.zero = nil
	}
	return c.n
}

func (c *count) value() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func (c *count) wait(ctx context.Context) error {
	for {
		c.mu.Lock()
		if c.n == 0 {
			c.mu.Unlock()
			return nil
		}
		if c.zero == nil {
			c.zero = make(chan struct{})
		}
		zero := c.zero
		c.mu.Unlock()
		select {
		case <-zero:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// isClosed: the end of a listener that was closed on purpose.
func isClosed(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed)
}
