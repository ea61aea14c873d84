package proxy

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/proxy/wire"
)

// upgradeOf returns the protocol that a request asks for and may have, "" for
// none: then it is a plain request (http-notes.md §9).
func (p *Proxy) upgradeOf(x *exchange) string {
	r := &x.req
	if r.Upgrade.Len() == 0 || r.UpgradeBad || r.Length != 0 || r.Minor == 0 || x.down != &x.h1 {
		return ""
	}
	token := view(r.Upgrade.Of(x.in))
	for i := range len(token) { // one token, perhaps with a version
		if c := token[i]; !isAlnum(c) && strings.IndexByte("!#$%&'*+-.^_`|~/", c) < 0 {
			return ""
		}
	}
	name, _, _ := strings.Cut(token, "/")
	if strings.EqualFold(name, "h2c") || strings.EqualFold(name, "http") || strings.EqualFold(name, "tls") {
		return ""
	}
	for _, allowed := range p.c.Upstream.Upgrade.Protocols {
		if allowed == "*" || strings.EqualFold(allowed, token) {
			return token
		}
	}
	return ""
}

// tunnel carries bytes both ways after a 101, until both ends have said that they
// are done, one of them breaks, the tunnel idles too long, or this replica stops.
// It counts as in flight until then.
func (p *Proxy) tunnel(x *exchange, c *upConn, head int) {
	client := x.h1.conn
	x.status, x.tunnelled, x.closing = 101, true, true
	out := appendStatusLine(x.out[:0], &x.resp, x.up)
	out, _ = appendAnswerFields(out, &x.resp, x.up)
	out = append(out, "Connection: Upgrade\r\nUpgrade: "...)
	out = append(append(out, x.resp.Upgrade.Of(x.up)...), "\r\n\r\n"...)
	x.out = append(out, x.up[head:x.upN]...)
	x.sent += int64(x.upN - head)
	client.TCP().SetKeepAlive(true) // else a client that vanished would keep it for ever
	p.stats.upgraded.Add(1)
	defer p.stats.upgraded.Add(-1)
	if _, err := client.Write(x.out); err != nil {
		x.closedBy, x.cause = "client", err
		return
	}
	behind := x.in[x.body.raw:x.n] // the client did not wait for the 101
	if len(behind) > 0 {
		if _, err := c.Write(behind); err != nil {
			x.closedBy, x.cause = "worker", err
			return
		}
	}
	t := &tunnel{p: p, client: client, worker: c.Conn, idle: p.c.Upstream.Upgrade.IdleTimeout}
	t.moved()
	for _, c := range []*wire.Conn{client, c.Conn} {
		c.SetReadDeadline(time.Time{}) // what the request has left
	}
	p.tunnels.add(t)
	defer p.tunnels.remove(t)
	x.returnBuffers()
	if p.isCut() {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { t.carry(c.Conn, client) })
	x.sent += t.carry(client, c.Conn)
	wg.Wait()
}

// tunnel is a pair of connections that nothing is read into any more.
type tunnel struct {
	p              *Proxy
	client, worker *wire.Conn
	idle           time.Duration // both directions silent; 0: for ever
	last           atomic.Int64  // when something came, Unix ns
	over           atomic.Bool
}

// end breaks both directions off.
func (t *tunnel) end() {
	t.over.Store(true)
	t.client.Interrupt()
	t.worker.Interrupt()
}

// carry copies one direction. An orderly end is passed on as one; anything else
// ends both directions.
func (t *tunnel) carry(to, from *wire.Conn) (moved int64) {
	var b lent
	for {
		t.arm(from)
		n, err := from.ReadIdle(&b)
		if n > 0 {
			moved += int64(n)
			t.moved()
			_, failed := to.Write(b.buf.up[:n])
			full := n == len(b.buf.up)
			b.Give()
			if failed != nil {
				t.end()
				return moved
			}
			if full { // much is coming
				k, ok, err := t.splice(to, from)
				moved += k
				if !ok {
					continue
				}
				if err != nil {
					t.end()
					return moved
				}
				to.CloseWrite()
				return moved
			}
		}
		switch {
		case err == nil:
		case err == io.EOF:
			if to.CloseWrite() != nil {
				t.end()
			}
			return moved
		case errors.Is(err, os.ErrDeadlineExceeded) && !t.over.Load() && !t.tooLong():
		default:
			t.end()
			return moved
		}
	}
}

// lent is a buffer while there is something to carry: wire.Buffers.
type lent struct{ buf *ioBuffers }

func (l *lent) Take() []byte {
	if l.buf == nil {
		l.buf = buffers.Get().(*ioBuffers)
	}
	return l.buf.up
}

func (l *lent) Give() {
	if l.buf != nil {
		buffers.Put(l.buf)
		l.buf = nil
	}
}

// splice moves what comes in the kernel, until the end. ok is false where it
// cannot; an error breaks the tunnel.
func (t *tunnel) splice(to, from *wire.Conn) (moved int64, ok bool, err error) {
	for {
		from.SetReadDeadline(time.Now().Add(sliceLeast))
		n, ok, lost, err := from.Splice(to, spliceMost)
		moved += n
		if n > 0 {
			t.moved()
		}
		switch {
		case !ok:
			from.SetReadDeadline(time.Time{})
			return moved, false, nil
		case lost: // what was in the pipe: nothing may follow it
			return moved, true, err
		case t.over.Load():
			return moved, true, errCut
		case err == nil && n == spliceMost:
		case errors.Is(err, os.ErrDeadlineExceeded):
			from.SetReadDeadline(time.Time{})
			return moved, false, nil // it idles, and others want the pipe
		default:
			return moved, true, err
		}
	}
}

// arm gives a read the time that the tunnel may idle. Without such a time none is set
// for each message: reads have none.
func (t *tunnel) arm(c *wire.Conn) {
	if t.idle > 0 {
		c.SetReadDeadline(time.Unix(0, t.last.Load()).Add(t.idle))
	}
}

// moved notes that something came.
func (t *tunnel) moved() {
	if t.idle > 0 {
		t.last.Store(time.Now().UnixNano())
	}
}

func (t *tunnel) tooLong() bool {
	return t.idle > 0 && time.Since(time.Unix(0, t.last.Load())) >= t.idle
}

// tunnels are those that are open.
type tunnels struct {
	mu   sync.Mutex
	open map[*tunnel]struct{}
}

func (l *tunnels) add(t *tunnel) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		l.open = map[*tunnel]struct{}{}
	}
	l.open[t] = struct{}{}
}

func (l *tunnels) remove(t *tunnel) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, t)
}

// end breaks all tunnels off.
func (l *tunnels) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for t := range l.open {
		t.end()
	}
}
