// Package client is the worker's side of MCMP: what the mod_cluster Java client in
// Tomcat and WildFly sends, byte for byte and in its order, and how it takes every
// answer. The demo runs it; tests judge a balancer by it. It is no better than the
// Java client on purpose: an answer that silences a real worker silences this one.
//
// One period with a balancer that was away, and one with nothing new:
//
//	INFO /          ERROR: ask what the balancer knows; 200 makes it OK
//	CONFIG /        the reset sequence: register again and correct the difference
//	ENABLE-APP /    once per context that INFO did not show enabled
//	STATUS /        JVMRoute=w1&Load=100
//
//	STATUS /        OK
//
// Per balancer a Client is in one of three states (spec/mcmp.md §12.3):
//
//	        200 to INFO                     Type: SYNTAX
//	ERROR ───────────────► OK ───────────────────────────────► DOWN
//	  ▲ ▲                   │                                    │
//	  │ └───────────────────┘ other answer, or I/O failed twice  │
//	  └────────────── Reset, or INFO answered otherwise ─────────┘
//
// In ERROR and DOWN every message but INFO is dropped, not queued: the reset sequence
// of a later period makes up for it. DOWN lasts until an operator calls Reset or Info.
package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrStopped is what all methods that send return after Shutdown.
var ErrStopped = errors.New("worker is stopped")

// errInfo: an INFO answer could not be parsed. It ends the period for all balancers.
var errInfo = errors.New("unreadable INFO answer")

// Config says what a Client needs. A zero optional field means its default.
type Config struct {
	Proxies []Proxy // balancers, told in this order; at least one
	Node    Node
	Hosts   []Host // what is deployed at the start

	// Load is asked once per period, under the Client's lock: -1 unavailable,
	// 0 standby, 1 saturated ... 100 idle. Default: always 100.
	Load func() int

	StatusPeriod  time.Duration // between two periods of Run; default 10 s
	SocketTimeout time.Duration // to connect, and for each read and write; default 20 s
	StopTimeout   time.Duration // a context's requests may take that long to end; default 10 s, negative: no limit

	// RegisterDisabled announces started contexts by DISABLE-APP instead of ENABLE-APP
	// until Enable is called (autoEnableContexts=false).
	RegisterDisabled bool

	Dial func(ctx context.Context, network, address string) (net.Conn, error) // default net.Dialer
	Log  *slog.Logger                                                         // default: discard
}

// Proxy is one balancer.
type Proxy struct {
	Address string      // host:port of its MCMP listener; port 8000 if it has none
	Prefix  string      // path before the "/" of every target, such as a token; may be empty
	TLS     *tls.Config // nil: plain TCP. ServerName defaults to the host of Address
}

// Host is one virtual host of the worker.
type Host struct {
	Name     string   // sent first in every Alias list; case is kept
	Aliases  []string // further names
	Contexts []Context
}

// Context is one application.
type Context struct {
	Path    string // "/shop"; "/" or "" is the root
	Stopped bool   // known, not running
}

func (h Host) names() []string { return append([]string{h.Name}, h.Aliases...) }

// Client is one worker. All its methods may be called at any time from any goroutine;
// messages go out one after the other.
type Client struct {
	route            string
	load             func() int
	period           time.Duration
	stopTimeout      time.Duration
	log              *slog.Logger
	proxies          []*proxy
	turn             chan struct{} // holds a token while somebody sends or changes what follows
	node             Node
	hosts            []Host
	registerDisabled bool
	over             bool

	stopped  chan struct{} // closed by Shutdown
	waiting  sync.Mutex
	finished map[string]chan struct{} // by context path: closed when a request has ended; guarded by waiting
}

// New checks c. It sends nothing.
func New(c Config) (*Client, error) {
	if c.Node.Route == "" {
		return nil, errors.New("worker without a route")
	}
	if c.Node.Port < 1 || c.Node.Port > 65535 {
		return nil, fmt.Errorf("worker %s: port %d is not in 1-65535", c.Node.Route, c.Node.Port)
	}
	if len(c.Proxies) == 0 {
		return nil, fmt.Errorf("worker %s: no balancer to register with", c.Node.Route)
	}
	if c.Node.Type == "" {
		c.Node.Type = "http"
	}
	w := &Client{
		route:            c.Node.Route,
		load:             c.Load,
		period:           orDefault(c.StatusPeriod, 10*time.Second),
		stopTimeout:      orDefault(c.StopTimeout, 10*time.Second),
		log:              c.Log,
		turn:             make(chan struct{}, 1),
		node:             c.Node,
		registerDisabled: c.RegisterDisabled,
		stopped:          make(chan struct{}),
		finished:         make(map[string]chan struct{}),
	}
	if w.load == nil {
		w.load = func() int { return 100 }
	}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	w.log = w.log.With("worker", c.Node.Route)
	for _, h := range c.Hosts {
		if h.Name == "" {
			return nil, fmt.Errorf("worker %s: host without a name", c.Node.Route)
		}
		h.Aliases, h.Contexts = slices.Clone(h.Aliases), slices.Clone(h.Contexts)
		for i := range h.Contexts {
			h.Contexts[i].Path = rootPath(h.Contexts[i].Path)
		}
		w.hosts = append(w.hosts, h)
	}
	timeout := orDefault(c.SocketTimeout, 20*time.Second)
	dial := c.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	for _, p := range c.Proxies {
		q, err := newProxy(p, timeout, dial)
		if err != nil {
			return nil, fmt.Errorf("worker %s: %w", c.Node.Route, err)
		}
		w.proxies = append(w.proxies, q)
	}
	return w, nil
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

func rootPath(path string) string {
	if path == "" {
		return "/"
	}
	return path
}

// Run does one Cycle at once and then one per period, until ctx ends or Shutdown was
// called. It says no goodbye: that is Shutdown's. It closes the connections.
func (c *Client) Run(ctx context.Context) error {
	defer c.Close()
	tick := time.NewTicker(c.period)
	defer tick.Stop()
	for {
		// Cycle's other errors are in the log already, once per outage.
		if err := c.Cycle(ctx); errors.Is(err, errInfo) {
			c.log.WarnContext(ctx, "INFO unreadable", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.stopped:
			return nil
		case <-tick.C:
		}
	}
}

// Cycle is one status period: INFO and the reset sequence for every balancer in ERROR,
// then STATUS to all that are OK. The errors are those of the single messages; they
// have changed the states already and need no other action. An INFO that cannot be
// parsed ends the period for all balancers, as the exception in Java does.
func (c *Client) Cycle(ctx context.Context) error {
	if err := c.take(ctx); err != nil {
		return err
	}
	defer c.release()
	var errs []error
	for _, p := range c.proxies {
		if p.current() != Error {
			continue
		}
		p.hangUp()
		a := c.send(ctx, p, request{command: cmdInfo})
		if a.Err != nil {
			errs = append(errs, a.Err)
			continue
		}
		info, err := ParseInfo(a.Body)
		if err != nil {
			return errors.Join(append(errs, fmt.Errorf("%w from %s: %w", errInfo, p.address, err))...)
		}
		if c.node.Host == "" {
			if c.node.Host, err = p.localHost(); err != nil {
				return err
			}
		}
		// After an error the rest is dropped, for the balancer is no longer OK.
		for _, r := range resetSequence(c.node, c.hosts, info, c.registerDisabled) {
			errs = append(errs, c.send(ctx, p, r).Err)
		}
	}
	for _, a := range c.broadcast(ctx, statusMessage(c.route, c.load())) {
		errs = append(errs, a.Err)
	}
	return errors.Join(errs...)
}

// Close ends the connections once the message under way is answered. A later message
// opens them again.
func (c *Client) Close() {
	c.turn <- struct{}{}
	defer c.release()
	for _, p := range c.proxies {
		p.hangUp()
	}
}

// take waits for the right to send and to change what the Client knows. release must follow.
func (c *Client) take(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case c.turn <- struct{}{}:
		if c.over {
			c.release()
			return ErrStopped
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Client) release() { <-c.turn }

// Answer is what one balancer said to one message.
type Answer struct {
	Proxy string // its address
	Sent  bool   // false: dropped, because the balancer is not OK
	Body  string
	Err   error // a *ReplyError, or why the connection failed
}

// OK tells whether a PING was answered State=OK.
func (a Answer) OK() bool { return pair(a.Body, "State") == "OK" }

// ReplyError is an answer other than 200.
type ReplyError struct {
	Proxy   string // the balancer's address
	Message string // such as "STATUS / JVMRoute=w1&Load=100"
	Status  int    // 500 also if the head could not be understood
	Type    string // SYNTAX, MEM, GENERAL or whatever the header says
	Mess    string
}

func (e *ReplyError) Error() string {
	return fmt.Sprintf("%s to %s: answered %d %s %q", e.Message, e.Proxy, e.Status, e.Type, e.Mess)
}

// broadcast tells every balancer in turn. Only with the turn.
func (c *Client) broadcast(ctx context.Context, r request) []Answer {
	answers := make([]Answer, len(c.proxies))
	for i, p := range c.proxies {
		answers[i] = c.send(ctx, p, r)
	}
	return answers
}

// send exchanges one message with one balancer and moves its state. Only with the turn.
func (c *Client) send(ctx context.Context, p *proxy, r request) Answer {
	a := Answer{Proxy: p.address}
	before := p.current()
	if before != OK && r.command != cmdInfo {
		return a
	}
	if a.Err = ctx.Err(); a.Err != nil {
		return a
	}
	a.Sent = true
	rep, err := p.exchange(ctx, r)
	log := c.log.With("balancer", p.address, "message", r.String())
	switch {
	case err != nil:
		a.Err = fmt.Errorf("%s to %s: %w", r, p.address, err)
		p.become(Error)
		if ctx.Err() != nil {
			break // our own doing, but the message may be lost
		}
		if before == OK || !p.complained {
			log.WarnContext(ctx, "balancer unreachable", "error", err)
		}
		p.complained = true
	case rep.status == 200:
		a.Body = rep.body
		p.become(OK)
		if before != OK {
			log.InfoContext(ctx, "balancer reached")
		}
		p.complained = false
	default:
		a.Err = &ReplyError{p.address, r.String(), rep.status, rep.kind, rep.mess}
		log = log.With("status", rep.status, "type", rep.kind, "mess", rep.mess)
		if rep.kind == "SYNTAX" {
			p.become(Down)
			log.ErrorContext(ctx, "balancer given up")
			break
		}
		p.become(Error)
		if before == OK || !p.complained {
			log.WarnContext(ctx, "message refused")
		}
		p.complained = true
	}
	if err != nil || rep.close || rep.status != 200 {
		p.hangUp()
	}
	return a
}

// failures joins the errors of one message.
func failures(answers []Answer) error {
	var errs []error
	for _, a := range answers {
		errs = append(errs, a.Err)
	}
	return errors.Join(errs...)
}

// pair finds name=value in an answer like Type=PING-RSP&State=OK&id=1.
func pair(body, name string) string {
	for p := range strings.SplitSeq(javaTrim(body), "&") {
		if words := strings.Split(p, "="); len(words) == 2 && words[0] == name {
			return words[1]
		}
	}
	return ""
}
