// Package pool keeps the connections to one worker, so that a request seldom pays
// for a new one (http-notes.md §8).
//
//	Get ──► a connection that idles ──────────────┐
//	 │ none                                       ├──► Put: idle again, or straight to who waits
//	Open ─► a dial of its own, or the connection ─┘    Drop: closed
//	        that another exchange gives back first
//
// It promises that a connection is in one hand at a time, that never more than
// MaxConnections are there, dials among them, and that everybody who waits gets an
// answer, in the order of arrival. It does not look into what it hands out: whether
// the worker has closed is known only when something is written, so that look is
// [wire.Conn.WriteRead]'s.
package pool

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/proxy/wire"
)

// Config says where the worker is and how it is spoken to.
type Config struct {
	Address string // host:port; the host is a name, an IPv4 or an IPv6 address

	// TLS of https workers; nil: plain. ServerName and the verification are the
	// caller's. Without a ClientSessionCache the pool makes one of its own.
	TLS *tls.Config

	MaxConnections int           // idle, in use and being made; 0: no limit
	MaxIdle        int           // after a burst; 0: none at all, negative: all
	IdleTimeout    time.Duration // longest age of an idle connection, whatever the worker says; 0: as it says
	DefaultIdle    time.Duration // age where the worker says nothing; default 15 s

	ConnectTimeout time.Duration // for a dial with its handshake, and for the wait for a connection; default 3 s
	WriteTimeout   time.Duration // of the connections, between two steps of progress; 0: none
	UserTimeout    time.Duration // TCP_USER_TIMEOUT; 0: the system's
	MaxDials       int           // at once; default 32: Tomcat's backlog is 100, and a lost SYN costs a second

	DNSTTL time.Duration // between two look-ups of a name; default 1 min
	// Lookup finds the addresses of a name; default: the system's resolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)

	Sent, Received *atomic.Int64 // raw bytes are added to them; nil: not counted
}

// Pool holds the connections to one address of one worker. Its methods may be
// called from any goroutine; the zero value is of no use, see New.
type Pool struct {
	c      Config
	dialer net.Dialer
	born   time.Time          // times within the pool are since then: one clock read, eight bytes
	life   context.Context    // of dials and look-ups
	end    context.CancelFunc // at Close

	waiters sync.Pool      // of *waiter that nobody uses
	running sync.WaitGroup // dials and look-ups

	mu     sync.Mutex
	idle   []*Conn // the newest last. Empty while somebody waits
	unused int     // how many at the front of idle nobody took since the last Sweep
	open   int     // idle, in use, being closed, and dials
	dials  int     // running
	queue  queue   // who waits
	closed bool
	where  where
}

// Conn is a connection to the worker. Whoever got it has it alone, until Put or Drop.
type Conn struct {
	*wire.Conn
	Reused    bool          // it has idled or carried an exchange: the worker may have closed it for its age
	Exchanges int           // it has carried
	Rested    time.Duration // how long it has idled; 0: it has not
	Before    uint64        // Written() when it was handed out: what belongs to earlier exchanges

	pool           *Pool
	held           bool          // handed out; only its holder, or whoever hands it out, touches it
	moves          int           // of the worker, before it was dialled
	age            time.Duration // it may reach idle: by the worker's last word
	expires        time.Duration // since the pool was born; while idle
	sent, received uint64        // already added to Config.Sent and Received
}

// ErrFull: MaxConnections are in use and none came back in time.
var ErrFull = errors.New("all connections of the worker are busy")

// ErrClosed: the worker was removed, or has another address now.
var ErrClosed = errors.New("pool closed: the worker is gone or has moved")

// ErrGone: nobody wants the connection any more. It is a context.Canceled.
var ErrGone = fmt.Errorf("client gone while waiting for a connection: %w", context.Canceled)

// New makes a pool without connections. It starts nothing. To an Address that is
// not host:port no dial succeeds.
func New(c Config) *Pool {
	c.DefaultIdle = orElse(c.DefaultIdle, 15*time.Second)
	c.ConnectTimeout = orElse(c.ConnectTimeout, 3*time.Second)
	c.DNSTTL = orElse(c.DNSTTL, time.Minute)
	if c.MaxDials <= 0 {
		c.MaxDials = 32
	}
	if c.Lookup == nil {
		c.Lookup = lookup
	}
	if c.TLS != nil && c.TLS.ClientSessionCache == nil {
		c.TLS = c.TLS.Clone()
		c.TLS.ClientSessionCache = tls.NewLRUClientSessionCache(c.MaxDials)
	}
	p := &Pool{c: c, born: time.Now(), where: whereIs(c.Address)}
	p.dialer.Control = userTimeout(c.UserTimeout)
	p.life, p.end = context.WithCancel(context.Background())
	p.waiters.New = newWaiter
	return p
}

func orElse(d, other time.Duration) time.Duration {
	if d <= 0 {
		return other
	}
	return d
}

func (p *Pool) elapsed() time.Duration { return time.Since(p.born) }

// Get returns the newest idle connection, or nil: then Open waits for one. Those
// that are too old are closed.
func (p *Pool) Get() *Conn {
	now := p.elapsed()
	for {
		p.mu.Lock()
		last := len(p.idle) - 1
		if last < 0 {
			p.mu.Unlock()
			return nil
		}
		c := p.idle[last]
		p.idle[last] = nil
		p.idle = p.idle[:last]
		if last < p.unused {
			p.unused = last
		}
		p.mu.Unlock()
		if now < c.expires {
			c.Rested = now - (c.expires - c.age)
			c.handOut()
			return c
		}
		p.discard(c, false)
	}
}

func (c *Conn) handOut() {
	c.held = true
	c.Before = c.Written()
}

// Put gives a connection back whose exchange is over to the last byte, both ways,
// and that the worker keeps open. keepAlive are the seconds of the answer's
// `Keep-Alive: timeout`, -1 if it has none: then what it said last holds, since
// Tomcat says it only where it was asked. It must not be idle for longer than two
// seconds less than that, under four seconds half of it: the worker's clock began
// to run before the answer was here.
func (p *Pool) Put(c *Conn, keepAlive int) {
	c.release()
	c.Account()
	c.Reused = true
	c.Exchanges++
	if keepAlive >= 0 {
		c.age = p.age(keepAlive)
	}
	now := p.elapsed()
	p.mu.Lock()
	kept := p.keep(c, now)
	p.mu.Unlock()
	if !kept {
		p.discard(c, false)
	}
}

// release checks that nobody gives back what is not his: else two exchanges would
// share a connection, and one client would read the other's answer.
func (c *Conn) release() {
	if !c.held {
		panic("pool: connection given back twice")
	}
	c.held = false
}

// keep gives a connection to who waits longest, or lets it idle. It says whether
// it did either. p.mu is held.
func (p *Pool) keep(c *Conn, now time.Duration) bool {
	switch {
	case p.closed || c.moves != p.where.moves || c.age <= 0:
		return false
	case p.queue.first != nil:
		p.queue.answer(p.queue.first, c, nil)
	case p.c.MaxIdle == 0:
		return false
	default:
		c.Reused = true
		c.expires = now + c.age
		p.idle = append(p.idle, c)
	}
	return true
}

// age is how long a connection may idle whose worker closes it after so many
// seconds, -1 if it did not say.
func (p *Pool) age(keepAlive int) time.Duration {
	d := p.c.DefaultIdle
	switch {
	case keepAlive >= 4:
		d = time.Duration(min(keepAlive, 1<<20)-2) * time.Second
	case keepAlive >= 0:
		d = time.Duration(keepAlive) * time.Second / 2
	}
	if p.c.IdleTimeout > 0 {
		d = min(d, p.c.IdleTimeout)
	}
	return d
}

// Drop closes a connection that cannot be used again; reset: with RST, so that what
// the worker still sends is not taken for wanted.
func (p *Pool) Drop(c *Conn, reset bool) {
	c.release()
	p.discard(c, reset)
}

// discard closes a connection that is in no hand. Its place is free afterwards, not
// before: the worker must never see more than MaxConnections.
func (p *Pool) discard(c *Conn, reset bool) {
	c.Account()
	if reset {
		c.Conn.Reset()
	} else {
		c.Close()
	}
	p.mu.Lock()
	p.open--
	p.dialForWaiters()
	p.mu.Unlock()
}

// Account adds the bytes moved since the last call to Config.Sent and Received. Put
// and Drop do it; the holder may, where an exchange takes long.
func (c *Conn) Account() {
	add(c.pool.c.Sent, &c.sent, c.Written())
	add(c.pool.c.Received, &c.received, c.ReadBytes())
}

func add(to *atomic.Int64, before *uint64, now uint64) {
	if to != nil && now != *before {
		to.Add(int64(now - *before))
		*before = now
	}
}

// Sweep is called once a second. It closes the idle connections that are too old,
// that the worker has closed, and those over MaxIdle that nobody needed since the
// last call; and it asks for the worker's address where that is due.
func (p *Pool) Sweep(now time.Time) {
	at := now.Sub(p.born)
	p.lookupIfDue(at)
	p.mu.Lock()
	surplus := 0
	if p.c.MaxIdle >= 0 {
		surplus = min(p.unused, len(p.idle)-p.c.MaxIdle)
	}
	p.unused = len(p.idle)
	p.mu.Unlock()
	for i := 0; ; {
		// One at a time: a look is a system call, and requests want the lock.
		p.mu.Lock()
		if i >= len(p.idle) {
			p.mu.Unlock()
			return
		}
		c := p.idle[i]
		good := surplus <= 0 && at < c.expires && !c.Stale()
		if !good {
			p.idle = slices.Delete(p.idle, i, i+1)
			if i < p.unused {
				p.unused--
			}
		}
		p.mu.Unlock()
		if good {
			i++
			continue
		}
		surplus--
		p.discard(c, false)
	}
}

// Close retires the pool: what idles is closed now, what is in use when it comes
// back, dials are cancelled, and who waits gets ErrClosed, as everybody who comes
// later.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	idle := p.idle
	p.idle = nil
	for p.queue.first != nil {
		p.queue.answer(p.queue.first, nil, ErrClosed)
	}
	p.mu.Unlock()
	p.end()
	for _, c := range idle {
		p.discard(c, false)
	}
}

// Wait returns when the dials and look-ups have ended that Close cancelled.
func (p *Pool) Wait() { p.running.Wait() }

// Stats is what a pool holds at one moment.
type Stats struct {
	Open    int // connections: idle, in use, and being made
	Idle    int
	Dials   int // running
	Waiting int // calls of Open
}

// Stats counts.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{Open: p.open, Idle: len(p.idle), Dials: p.dials, Waiting: p.queue.length}
}
