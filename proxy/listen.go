package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/quorate/quorate/proxy/wire"
)

// A draining listener closes when its accept queue is empty: the kernel resets what
// it still holds. It waits until nothing has come for queueLook, at most queueMost,
// for clients may never cease to come; then it takes what the kernel says is queued,
// and closes as soon as that is nothing, or after queueMost once more.
const (
	queueLook = 2 * time.Millisecond
	queueMost = time.Second
)

// Accepting rests after an error that will not be over at once, like that of a
// process without descriptors: it must not spin.
const acceptRest = 20 * time.Millisecond

// listener is a traffic address: it counts connections, turns those away that are
// over the limit, and gives each of the others a goroutine.
type listener struct {
	net.Listener
	p        *Proxy
	label    string
	tls      *tls.Config // nil: plain
	h1, h2c  bool        // protocols of plain connections; TLS says so itself
	proxied  bool        // a PROXY header comes first
	redirect bool        // everything is sent to https
	h2       *h2Server   // nil: never
	open     atomic.Int64
	ends     time.Time  // when draining closes it at the latest; for the accepting goroutine alone
	files    wire.Files // for the accepting goroutine alone
	closed   sync.Once
	done     chan struct{} // closed with the listener

	mu      sync.Mutex
	clients map[*client]struct{}
}

// listen makes the listener of one traffic address.
func (p *Proxy) listen(c Listener) {
	l := &listener{
		Listener: c.Listener,
		p:        p,
		label:    c.Listener.Addr().String(),
		proxied:  c.ProxyProtocol,
		redirect: c.RedirectToHTTPS,
		done:     make(chan struct{}),
		clients:  map[*client]struct{}{},
	}
	names := c.Protocols
	if len(names) == 0 {
		names = []string{"http/1.1"}
		if c.TLS != nil {
			names = []string{"h2", "http/1.1"}
		}
	}
	l.h1 = slices.Contains(names, "http/1.1")
	h2 := slices.Contains(names, "h2")
	if c.TLS != nil {
		l.tls = c.TLS.Clone()
		l.tls.NextProtos = names
		if p.httpsPort == "" {
			_, p.httpsPort, _ = net.SplitHostPort(l.label)
		}
	} else {
		l.h2c = h2
	}
	if h2 {
		l.h2 = &h2Server{l: l}
	}
	p.listeners = append(p.listeners, l)
}

// serve accepts until the listener is closed.
func (l *listener) serve() error {
	defer l.Close()
	for {
		c, err := l.accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		l.take(c)
	}
}

// take gives a connection its goroutine.
func (l *listener) take(tcp *net.TCPConn) {
	p := l.p
	open := p.clients.Add(1)
	l.open.Add(1)
	conn, err := wire.New(tcp)
	if err != nil {
		tcp.Close()
		l.leave(nil)
		return
	}
	t := p.tuning.Load()
	conn.SetWriteTimeout(t.Timeouts.Write)
	c := &client{l: l, conn: conn, t: t}
	limit := int64(t.Limits.Connections)
	switch {
	case l.files.Scarce(conn):
		p.stats.acceptFailures.Add(1)
		p.complain(errScarce)
		conn.Close()
		l.leave(nil)
		return
	case limit > 0 && open > limit+limit/10+1:
		p.stats.own(ownLimit)
		conn.Close()
		l.leave(nil)
		return
	case limit > 0 && open > limit:
		p.stats.own(ownLimit)
		c.surplus = true
	}
	l.mu.Lock()
	l.clients[c] = struct{}{}
	l.mu.Unlock()
	p.serving.Add(1)
	p.crew.serve(c)
}

// run serves a connection from its first byte to its end, or until it rests.
func (c *client) run() {
	defer c.l.p.serving.Done()
	if c.open() {
		c.serve(false)
	} else {
		c.close()
	}
}

// close is the end of a connection, unless it has been handed over.
func (c *client) close() {
	if c.handedOver {
		return
	}
	c.conn.Close()
	c.account(c.l.p.stats.place())
	c.l.leave(c)
}

// leave is the end of a connection; c is nil if it never got a goroutine.
func (l *listener) leave(c *client) {
	l.open.Add(-1)
	l.p.clients.Add(-1)
	if c != nil {
		l.mu.Lock()
		delete(l.clients, c)
		l.mu.Unlock()
	}
}

// interrupt ends the connections of HTTP/1 that idle, or all.
func (l *listener) interrupt(all bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.clients {
		if c.idle.CompareAndSwap(true, false) || all {
			c.conn.Interrupt()
		}
	}
}

// interrupted undoes interrupt for c. It takes the lock, so that it comes behind it;
// what cut has done stays.
func (l *listener) interrupted(c *client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.p.isCut() {
		c.conn.Resume()
	}
}

// drain ends accepting as soon as the queue is empty.
func (l *listener) drain() {
	d, ok := l.Listener.(interface{ SetDeadline(time.Time) error })
	if !ok || !l.p.isRunning() || d.SetDeadline(time.Now()) != nil {
		l.Close()
	}
}

// accept takes the next connection. While draining it takes what is queued, then
// closes.
func (l *listener) accept() (*net.TCPConn, error) {
	quiet := false // nothing has come for queueLook
	for {
		draining := l.p.draining.Load()
		if draining && !l.goesOn(quiet) {
			l.Close()
			return nil, net.ErrClosed
		}
		c, err := l.Listener.Accept()
		switch {
		case err == nil:
			tcp, ok := c.(*net.TCPConn)
			if !ok {
				c.Close()
				return nil, errors.New("the listener gives no TCP connections")
			}
			return tcp, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			quiet = draining
		case isOneOf(err, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM):
			l.p.stats.acceptFailures.Add(1)
			l.p.complain(err)
			if !sleep(l.p.life, acceptRest) {
				return nil, net.ErrClosed
			}
		case isOneOf(err, syscall.ECONNABORTED, syscall.EINTR, syscall.EPROTO, syscall.EPERM):
		default:
			return nil, err
		}
	}
}

// errScarce: users do not get the last descriptors.
var errScarce = fmt.Errorf("%w: the last are not for users", syscall.EMFILE)

// complain tells of accept's trouble, once a minute.
func (p *Proxy) complain(err error) {
	now := time.Now().Unix()
	if last := p.complained.Load(); now-last >= 60 && p.complained.CompareAndSwap(last, now) {
		p.log.Error("no connection can be accepted", "error", err)
	}
}

// goesOn gives the next Accept of a draining listener its time; false: it is over.
func (l *listener) goesOn(quiet bool) bool {
	now := time.Now()
	if l.ends.IsZero() {
		l.ends = now.Add(queueMost)
	}
	if quiet || now.After(l.ends) {
		tcp, ok := l.Listener.(*net.TCPListener)
		if !ok || !wire.Queued(tcp) || now.After(l.ends.Add(queueMost)) {
			return false
		}
	}
	d, ok := l.Listener.(interface{ SetDeadline(time.Time) error })
	return ok && d.SetDeadline(now.Add(queueLook)) == nil
}

func (l *listener) Close() error {
	err := l.Listener.Close()
	l.closed.Do(func() { close(l.done) })
	return err
}

// part closes a connection in order. Where the client may still be sending it is
// listened to for a while: else it would be reset, and not read its answer
// (RFC 9112 §9.6).
func (l *listener) part(c *wire.Conn, linger bool) {
	p := l.p
	if !linger || p.isCut() {
		return
	}
	limit := int64(p.tuning.Load().Limits.Connections)
	if now := p.lingering.Add(1); limit == 0 || now <= max(limit/10, 16) {
		c.Linger(p.linger, min(p.linger, lingerSilence))
	}
	p.lingering.Add(-1)
}

const (
	// linger is how long the rest of what a client sends is read and dropped
	// before its connection closes, lingerSilence how long nothing may come.
	linger        = 5 * time.Second
	lingerSilence = time.Second
)

// handshake speaks TLS. rest is what came before, behind a PROXY header.
func (c *client) handshake(rest []byte, deadline time.Time) bool {
	l := c.l
	under := c.conn.NetConn()
	if len(rest) > 0 {
		under = &replayed{Conn: under, first: rest}
	}
	t := tls.Server(under, l.tls)
	c.conn.Secure(t) // before the handshake: it has records too
	c.conn.SetDeadline(deadline)
	if err := t.Handshake(); err != nil {
		l.p.log.Debug("TLS handshake failed", "listener", l.label, "client", c.peer.address, "error", err)
		return false
	}
	c.conn.SetDeadline(time.Time{})
	state := t.ConnectionState()
	c.peer.tls = describeTLS(&state)
	if state.NegotiatedProtocol == "h2" && l.h2 != nil {
		if c.surplus {
			c.sendAway(goAwayCalm)
			return false
		}
		c.handedOver = true
		l.h2.hand(c, t)
		return false
	}
	return l.h1
}

// replayed gives again what was read already.
type replayed struct {
	net.Conn
	first []byte
}

func (r *replayed) Read(b []byte) (int, error) {
	if len(r.first) > 0 {
		n := copy(b, r.first)
		r.first = r.first[n:]
		return n, nil
	}
	return r.Conn.Read(b)
}
