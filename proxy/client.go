package proxy

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/proxy/http1"
	"github.com/quorate/quorate/proxy/wire"
)

// client is a client's connection. One goroutine at a time serves it from accept to
// close; while it idles this is all that is kept of it.
type client struct {
	l        *listener
	conn     *wire.Conn
	x        *exchange // the request that is being read or answered; nil while idle
	t        *Tuning   // by which peer.trusted was found
	peer     peer
	requests int
	dry      bool          // at the last look nothing was there, not even inside TLS
	now      time.Time     // when the last request ended
	idle     atomic.Bool   // nothing of a request is there: it may be closed
	in, out  atomic.Uint64 // bytes that are accounted for

	surplus    bool         // over the limit: it is told so, and closed
	handedOver bool         // package http closes it
	streams    atomic.Int64 // requests of HTTP/2
}

// A connection that idles for so long, or twice as long, gets a new goroutine to rest
// in. The stack of the one that worked has grown to 4 KB or more, and the runtime
// halves a stack only while less than a quarter of it is in use, which the frames that
// wait exceed. The new one waits in 2 KB (http-notes.md §12). To begin a rest costs 25
// µs, mostly for being woken: so clients that ask all the time are spared. It does not
// come late, for a crowd that comes and then idles must not have large stacks all at
// once: what a process has had it gives back late.
const restAfter = time.Second

// serve answers requests until the connection ends, and closes it; or until it rests.
// rested: it has done so, and something has come.
func (c *client) serve(rested bool) {
	for ; ; rested = false {
		begun, idles := c.await(rested)
		if idles {
			c.l.p.serving.Add(1)
			go c.rest()
			return
		}
		if !begun || !c.answer() {
			c.close()
			return
		}
	}
}

// rest waits for the next request as long as a connection may idle, then serves.
func (c *client) rest() {
	defer c.l.p.serving.Done()
	c.arm(c.l.p.tuning.Load())
	if c.conn.Wait() != nil {
		c.close()
		return
	}
	c.serve(true)
}

// Take and Give are wire.Buffers: a buffer is held only when there is something to
// read.
func (c *client) Take() []byte {
	if c.x == nil {
		c.x = c.l.p.take()
	}
	return c.x.in
}

// Give is the end of Take where there was nothing.
func (c *client) Give() {
	c.l.p.pool.Put(c.x) // as it was
	c.x, c.dry = nil, true
}

// await waits for the beginning of a request. begun: it is there, else there will be
// none; idles: it may yet come.
func (c *client) await(rested bool) (begun, idles bool) {
	if c.x != nil {
		return true, false // it came behind the last one
	}
	p := c.l.p
	t := p.tuning.Load()
	rests := !rested && c.requests > 0 && (t.Timeouts.Idle <= 0 || t.Timeouts.Idle > 2*p.rest)
	if rests {
		c.conn.Arm(c.now, p.rest, 2*p.rest)
	} else {
		c.arm(t)
	}
	c.idle.Store(true)
	if p.draining.Load() && p.graceOver.Load() || p.isCut() {
		return false, false
	}
	c.dry = false
	n, err := c.conn.ReadIdle(c)
	for rests && n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && c.idle.Load() {
		if c.dry {
			return false, true
		}
		c.conn.Arm(time.Now(), p.rest, 2*p.rest) // it was over before the look
		n, err = c.conn.ReadIdle(c)
	}
	if !c.idle.CompareAndSwap(true, false) && n > 0 {
		// Taken for idle, and interrupted, while a request came: it is answered.
		c.l.interrupted(c)
	}
	if n == 0 || err != nil {
		c.account(c.l.p.stats.place())
		if c.x != nil {
			c.Give()
		}
		return false, false
	}
	c.x.n = n
	return true, false
}

// arm gives the client its time to begin a request.
func (c *client) arm(t *Tuning) {
	wait, now := t.Timeouts.Idle, c.now
	if c.requests == 0 {
		wait, now = t.Timeouts.Header, time.Now()
	}
	if c.surplus {
		wait = min(wait, time.Second)
	}
	if wait > 0 {
		c.conn.Arm(now, wait, wait+wait/16)
	} else {
		c.conn.SetReadDeadline(time.Time{})
	}
}

// answer reads one request to its end, and answers it. It returns whether the
// connection is good for another.
func (c *client) answer() bool {
	x, p := c.x, c.l.p
	c.requests++
	if t := p.tuning.Load(); c.t != t {
		c.t = t
		c.peer.trusted = t.trusts(c.peer.addr)
	}
	x.t, x.peer, x.l = c.t, &c.peer, c.l
	x.h1.conn, x.down = c.conn, &x.h1
	x.h1.chunked, x.h1.none = false, false
	switch {
	case c.surplus && c.l.h2c && isPreface(x.in[:x.n]):
		c.sendAway(goAwayCalm)
		return c.end(x, false)
	case c.surplus:
		c.turnAway(x)
		return c.end(x, true)
	}
	if !c.readHead(x) {
		return c.end(x, !c.handedOver)
	}
	x.h1.old = x.req.Minor == 0
	x.closing = x.req.Close || x.h1.old && !x.req.KeepAlive
	if limit := x.t.Limits.RequestsPerConnection; limit > 0 && c.requests >= limit {
		x.closing = true
	}
	if p.draining.Load() {
		x.closing = true
	}
	p.run(x)
	c.now = x.ended
	c.account(x.shard)
	if x.tunnelled || x.broken {
		return c.end(x, false)
	}
	if x.closing {
		// Who did not say itself that this was all may be sending more, and so is
		// who has.
		x.lingering = x.lingering || !x.req.Close && !x.h1.old || x.n > x.body.raw || c.conn.Stale()
		return c.end(x, true)
	}
	rest := copy(x.in, x.in[x.body.raw:x.n])
	if rest == 0 {
		c.x = nil
		p.give(x)
		return true
	}
	x.clear()
	x.n = rest
	return true
}

// end gives everything back. serve closes the connection.
func (c *client) end(x *exchange, orderly bool) bool {
	linger := x.lingering
	orderly = orderly && !x.broken && !x.tunnelled
	c.x = nil
	x.p.give(x)
	if orderly {
		c.l.part(c.conn, linger)
	}
	return false
}

// account adds the connection's bytes to the sums.
func (c *client) account(shard int) {
	in, out, counts := c.conn.ReadBytes(), c.conn.Written(), c.l.p.stats.counts
	counts.Add(shard, countReceived, int64(in-c.in.Swap(in))) // streams may swap in any order: the sum is right
	counts.Add(shard, countSent, int64(out-c.out.Swap(out)))
}

// readHead reads on until the head is whole. False: the connection ends; it has
// been answered if there was something to answer.
func (c *client) readHead(x *exchange) bool {
	p := c.l.p
	limits := http1.Limits{Line: x.t.Limits.RequestLineBytes, Header: x.t.Limits.HeaderBytes}
	for first := true; ; first = false {
		if c.l.h2c && c.requests == 1 && isPreface(x.in[:x.n]) {
			if x.n >= len(preface) {
				c.handOver(x)
				return false
			}
		} else {
			n, bad := x.req.Parse(x.in[:x.n], limits)
			if !c.l.h1 {
				bad = errOnlyHTTP2
			}
			if bad != nil {
				p.refuseHead(x, bad)
				return false
			}
			if n > 0 {
				x.head = n
				x.start = time.Now()
				return true
			}
		}
		if x.n == len(x.in) {
			x.growIn(2 * x.n)
		}
		if first {
			if d := x.t.Timeouts.Header; d > 0 {
				c.conn.SetReadDeadline(time.Now().Add(d))
			} else {
				c.conn.SetReadDeadline(time.Time{})
			}
		}
		k, err := c.conn.Read(x.in[x.n:])
		x.n += k
		if k > 0 {
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && x.req.Started() && !p.isCut() {
			x.start = time.Now()
			p.refuseHead(x, lateHead)
			return false
		}
		x.broken = true
		return false
	}
}

var errOnlyHTTP2 = &http1.Error{Status: 505, Reason: "HTTP/2 is spoken here, and nothing else"}

var lateHead = &http1.Error{Status: 408, Reason: "the head came too slowly"}

// open learns who the client is, and speaks TLS if the listener does; false: the
// connection is to be closed, or has been handed over.
func (c *client) open() bool {
	l := c.l
	t := l.p.tuning.Load()
	c.t = t
	var deadline time.Time
	if d := t.Timeouts.Header; d > 0 {
		deadline = time.Now().Add(d)
	}
	remote := c.conn.TCP().RemoteAddr().(*net.TCPAddr).AddrPort()
	var rest []byte
	if l.proxied {
		from := remote.Addr().Unmap()
		if !t.trusts(from.WithZone("")) {
			return false
		}
		src, local, behind, err := wire.ReadProxyHeader(c.conn, deadline)
		if err != nil {
			l.p.log.Debug("no PROXY header", "listener", l.label, "from", from, "error", err)
			return false
		}
		if !local {
			remote = src
		}
		rest = behind
	}
	c.know(remote, t)
	if l.tls == nil {
		if len(rest) > 0 {
			x := l.p.take()
			x.n = copy(x.in, rest)
			c.x = x
		}
		return true
	}
	return c.handshake(rest, deadline)
}

func (c *client) know(remote netip.AddrPort, t *Tuning) {
	a := remote.Addr().Unmap().WithZone("")
	c.peer = peer{addr: a, address: a.String(), trusted: t.trusts(a), secure: c.l.tls != nil, port: remote.Port(), local: c.conn.TCP().LocalAddr()}
}

// turnAway tells a client that there are too many.
func (c *client) turnAway(x *exchange) {
	x.start = time.Now()
	c.l.p.stats.counts.Add(x.shard, countInFlight, 1)
	defer c.l.p.account(x)
	x.method = "GET"
	x.name()
	x.lingering = true
	x.answer(503, "Too many connections.", true, "Retry-After: 1")
}
