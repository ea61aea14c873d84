package mcmp

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quorate/quorate/fsm"
)

// Listener is one address that workers send their messages to.
type Listener struct {
	net.Listener                // TCP; the Server closes it
	TLS          *tls.Config    // nil: plain
	ClientNames  []string       // names of which a client certificate must carry one; empty: any
	Allowed      []netip.Prefix // sources; empty: loopback only on a loopback address, else everybody
}

// Counters are what one replica knows of its traffic to a worker.
type Counters struct {
	Elected     int64 // times chosen
	Read        int64 // bytes received from it
	Transferred int64 // bytes sent to it
	Connected   int64 // requests it is working on
}

// Config says what a Server needs. The funcs are required and called concurrently.
type Config struct {
	Listeners []Listener
	Tokens    []string // first path segments that let a message in; empty: none is asked for

	MaxMessage     int64         // bytes of a body; default 64 KiB
	IdleTimeout    time.Duration // of a connection between two messages; default 5 min
	ReplyBudget    time.Duration // from a message's last byte to its answer; default 5 s
	Rate           float64       // messages per second and source; default 100, below 0 no limit
	Burst          int           // messages a source may send at once; default 400
	MaxConnections int           // of all listeners; default 4096

	Name      string // of this replica
	Version   string // for VERSION
	StartTime time.Time
	Log       *slog.Logger // default: discard

	// Propose brings a command into the log and returns once it is applied on this
	// replica. ErrNoLeader if no leader has been known for 3 s or it cannot be
	// reached; any other error is answered MEM. A STATUS that changes nothing here,
	// nothing for its worker being on its way, needs no leader: liveness is soft
	// state. It keeps to ctx.
	Propose func(ctx context.Context, c fsm.Command) (fsm.Result, error)
	// State is the state this replica routes by.
	State func() *fsm.State
	// Read returns a state not older than anything acknowledged. Without a quorum:
	// the local one, and how old it is, or an error.
	Read func(ctx context.Context) (s *fsm.State, age time.Duration, err error)
	// Check asks the worker of a route whether it is there, and marks it suspect
	// on this replica or not.
	Check func(ctx context.Context, r fsm.JVMRoute) error
	// CheckAddress does the same for an address that need not be a worker's, and
	// marks nothing. scheme is ajp, http or https.
	CheckAddress func(ctx context.Context, scheme, host string, port int) error
	// InFlight counts the requests a worker is working on for a context, summed
	// over all replicas; one that cannot be reached counts what it last told.
	InFlight func(ctx context.Context, r fsm.JVMRoute, p fsm.Path) int
	// Counters are this replica's own.
	Counters func(r fsm.JVMRoute) Counters
	// Gone says that a worker is silent (Server.Silent, on every replica) or
	// unreachable, so that its route or address may be taken over.
	Gone func(r fsm.JVMRoute) bool
	// Override makes this replica's table honour a DISABLE, STOP, REMOVE or STATUS
	// that could not be committed, until the next applied entry for its node, or
	// until Agreed.
	Override func(c fsm.Command)
	// Agreed ends the overrides of a node: the cluster has agreed on a message of
	// its worker, even one that changed nothing and so made no entry.
	Agreed func(r fsm.JVMRoute)
}

// readTimeout is how long a request may take from its first byte to its last.
const readTimeout = 20 * time.Second

// Server answers MCMP.
type Server struct {
	c       Config
	log     *slog.Logger
	tokens  atomic.Pointer[map[[sha256.Size]byte]bool] // empty: none is asked for
	rate    *limiter
	refused *once // "message refused", by source and type
	strange *once // "worker address is not its source", by route and address
	heard   *heard
	metrics *metrics

	loads sync.Map // fsm.JVMRoute → true: the load in this replica's table is an override

	lingering chan struct{} // one element per connection that waits for its peer's end

	mu    sync.Mutex
	conns map[*conn]struct{} // guarded by mu
	stop  bool               // guarded by mu: no connection waits for another message
}

// New checks c and prepares a Server; it starts nothing.
func New(c Config) (*Server, error) {
	if c.Propose == nil || c.State == nil || c.Read == nil || c.Check == nil || c.CheckAddress == nil ||
		c.InFlight == nil || c.Counters == nil || c.Gone == nil || c.Override == nil || c.Agreed == nil {
		return nil, errors.New("mcmp: every func of Config is required")
	}
	for _, l := range c.Listeners {
		if err := guarded(l, c.Tokens); err != nil {
			return nil, err
		}
	}
	fallback(&c.MaxMessage, 64<<10)
	fallback(&c.IdleTimeout, 5*time.Minute)
	fallback(&c.ReplyBudget, 5*time.Second)
	fallback(&c.Rate, 100)
	fallback(&c.Burst, 400)
	fallback(&c.MaxConnections, 4096)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		c:         c,
		log:       c.Log,
		rate:      newLimiter(c.Rate, c.Burst),
		refused:   newOnce(time.Minute),
		strange:   newOnce(0),
		heard:     newHeard(c.StartTime),
		metrics:   newMetrics(),
		lingering: make(chan struct{}, max(1, c.MaxConnections/10)),
		conns:     map[*conn]struct{}{},
	}
	s.setTokens(c.Tokens)
	return s, nil
}

// SetTokens replaces the tokens while the Server runs. Whether one is asked for at
// all is decided by New.
func (s *Server) SetTokens(tokens []string) error {
	if len(*s.tokens.Load()) == 0 || len(tokens) == 0 {
		return errors.New("mcmp: tokens cannot be begun or ended while running")
	}
	s.setTokens(tokens)
	return nil
}

func (s *Server) setTokens(tokens []string) {
	set := make(map[[sha256.Size]byte]bool, len(tokens))
	for _, t := range tokens {
		set[sha256.Sum256([]byte(t))] = true
	}
	s.tokens.Store(&set)
}

// guarded refuses a listener that anybody could register with (design.md §11).
func guarded(l Listener, tokens []string) error {
	a, err := netip.ParseAddrPort(l.Addr().String())
	loopback := err == nil && a.Addr().Unmap().IsLoopback()
	certificate := l.TLS != nil && l.TLS.ClientAuth == tls.RequireAndVerifyClientCert
	if loopback || certificate || len(l.Allowed) > 0 || len(tokens) > 0 {
		return nil
	}
	return fmt.Errorf("mcmp: %s is not loopback and has no networks, required client certificates or tokens", l.Addr())
}

func fallback[T int | int64 | float64 | time.Duration](v *T, otherwise T) {
	if *v == 0 {
		*v = otherwise
	}
}

// Run serves until ctx ends: then every answer says close, connections that wait
// for a message are closed, and Run returns when the last answer is out. It
// returns an error only if a listener fails by itself.
func (s *Server) Run(ctx context.Context) error {
	var conns sync.WaitGroup
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range s.c.Listeners {
		g.Go(func() error { return s.accept(ctx, l, &conns) })
	}
	g.Go(func() error {
		<-ctx.Done()
		s.hangUp()
		return nil
	})
	err := g.Wait()
	conns.Wait()
	return err
}

// accept hands connections to goroutines of their own. At the end it still takes
// what waits in the kernel's queue: closing at once would reset it.
func (s *Server) accept(ctx context.Context, l Listener, conns *sync.WaitGroup) error {
	defer l.Close()
	defer context.AfterFunc(ctx, func() { endAccept(l.Listener) })()
	pause := time.Duration(0)
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.begin(ctx, l, nc, conns)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept on %s: %w", l.Addr(), err)
		default: // out of descriptors, or a connection that was reset while it waited
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.log.WarnContext(ctx, "accept failed", "listener", l.Addr().String(), "error", err)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
		}
	}
}

// endAccept makes Accept return once the queue is empty.
func endAccept(l net.Listener) {
	if d, ok := l.(interface{ SetDeadline(time.Time) error }); ok && d.SetDeadline(time.Now().Add(20*time.Millisecond)) == nil {
		return
	}
	l.Close()
}

// begin serves a new connection, or closes it when there are too many.
func (s *Server) begin(ctx context.Context, l Listener, nc net.Conn, conns *sync.WaitGroup) {
	c := newConn(s, l, nc)
	s.mu.Lock()
	full := len(s.conns) >= s.c.MaxConnections
	if !full {
		s.conns[c] = struct{}{}
	}
	s.mu.Unlock()
	if full {
		nc.Close()
		s.refuse(ctx, c.source, "", "connections", errors.New("too many connections"))
		return
	}
	conns.Go(func() {
		defer s.end(c)
		c.serve(ctx)
	})
}

func (s *Server) end(c *conn) {
	c.Close()
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// hangUp ends the connections that wait for a message; the others see s.stop
// when they would.
func (s *Server) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop = true
	for c := range s.conns {
		if c.waiting {
			c.SetReadDeadline(time.Unix(1, 0))
		}
	}
}

// refuse logs that a message was refused, at most once a minute per source and
// type.
func (s *Server) refuse(ctx context.Context, source netip.Addr, command, kind string, err error) {
	if s.refused.first(source.String() + " " + kind) {
		s.log.WarnContext(ctx, "message refused", "source", source.String(), "command", command, "type", kind, "error", err)
	}
}
