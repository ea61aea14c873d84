package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// State is where the Client stands with one balancer.
type State string

const (
	OK    State = "OK"    // every message is sent
	Error State = "ERROR" // nothing but INFO, once a period; the state at the start
	Down  State = "DOWN"  // nothing until Reset or Info
)

// proxy is one balancer and the connection to it.
type proxy struct {
	address string // host:port, also the Host header
	prefix  string
	tls     *tls.Config
	timeout time.Duration
	dial    func(ctx context.Context, network, address string) (net.Conn, error)

	mu    sync.Mutex
	state State // guarded by mu, so that States need not wait for a silent balancer

	// Only with the Client's turn:
	conn       net.Conn // nil: not connected
	replies    *replyReader
	local      net.Addr // of the last connection
	complained bool     // the outage is in the log
}

func newProxy(p Proxy, timeout time.Duration, dial func(context.Context, string, string) (net.Conn, error)) (*proxy, error) {
	host, port, err := net.SplitHostPort(p.Address)
	if err != nil {
		host, port = strings.Trim(p.Address, "[]"), "8000"
	}
	if host == "" {
		return nil, fmt.Errorf("balancer address %q: want host:port", p.Address)
	}
	q := &proxy{address: net.JoinHostPort(host, port), timeout: timeout, dial: dial, state: Error}
	if prefix := strings.Trim(p.Prefix, "/"); prefix != "" {
		q.prefix = "/" + prefix
	}
	if strings.ContainsAny(q.address+q.prefix, " \r\n") {
		return nil, fmt.Errorf("balancer address %q with prefix %q: blank or line end", p.Address, p.Prefix)
	}
	if p.TLS != nil {
		q.tls = p.TLS.Clone()
		if q.tls.ServerName == "" {
			q.tls.ServerName = host
		}
	}
	return q, nil
}

func (p *proxy) current() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

func (p *proxy) become(s State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = s
}

// move changes the state only if it is from.
func (p *proxy) move(from, to State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == from {
		p.state = to
	}
}

// exchange sends r and reads the answer. If no first line comes back, because the
// connection had been closed, the balancer was silent or nobody listened, it tries
// once more at once on a new connection. An answer that breaks off later is not asked
// for again.
func (p *proxy) exchange(ctx context.Context, r request) (reply, error) {
	message := r.wire(p.address, p.prefix)
	rep, begun, err := p.try(ctx, message)
	if err != nil && !begun && ctx.Err() == nil {
		p.hangUp()
		rep, _, err = p.try(ctx, message)
	}
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return rep, err
}

// try is one attempt; begun tells whether a first line was read.
func (p *proxy) try(ctx context.Context, message []byte) (rep reply, begun bool, err error) {
	if p.conn == nil {
		if err := p.connect(ctx); err != nil {
			return rep, false, err
		}
	}
	conn := p.conn
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := conn.Write(message); err != nil {
		return rep, false, err
	}
	line, err := p.replies.line()
	if err != nil {
		return rep, false, unexpected(err)
	}
	rep, err = p.replies.rest(line)
	return rep, true, err
}

func (p *proxy) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	raw, err := p.dial(ctx, "tcp", p.address)
	if err != nil {
		return err
	}
	var conn net.Conn = timedConn{raw, p.timeout}
	if p.tls != nil {
		secured := tls.Client(conn, p.tls)
		if err := secured.HandshakeContext(ctx); err != nil {
			raw.Close()
			return fmt.Errorf("TLS handshake: %w", err)
		}
		conn = secured
	}
	p.conn, p.replies, p.local = conn, newReplyReader(conn), raw.LocalAddr()
	return nil
}

func (p *proxy) hangUp() {
	if p.conn != nil {
		p.conn.Close()
		p.conn, p.replies = nil, nil
	}
}

// localHost is the worker's own address as the way to this balancer shows it.
func (p *proxy) localHost() (string, error) {
	address, ok := p.local.(*net.TCPAddr)
	if !ok {
		return "", fmt.Errorf("no Host is configured and the connection to %s has no IP address", p.address)
	}
	return address.IP.String(), nil
}

// timedConn bounds each single read and write, as Java's socket time-out does: an
// answer that trickles may take longer as a whole.
type timedConn struct {
	net.Conn
	timeout time.Duration
}

func (c timedConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (c timedConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
