package mcmp

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// conn is one connection of a worker. Only its own goroutine touches it, but for
// waiting.
type conn struct {
	net.Conn
	s       *Server
	l       Listener
	r       *bufio.Reader
	source  netip.Addr
	waiting bool // guarded by s.mu: no byte of the next request is there
	first   bool // no request has been read
}

func newConn(s *Server, l Listener, nc net.Conn) *conn {
	c := &conn{Conn: nc, s: s, l: l, first: true}
	if a, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil {
		c.source = a.Addr().Unmap().WithZone("")
	}
	return c
}

// serve answers the messages of a connection one after the other.
func (c *conn) serve(ctx context.Context) {
	deny := c.denied()
	if c.l.TLS != nil {
		t := tls.Server(c.Conn, c.l.TLS)
		c.Conn = t
		t.SetDeadline(time.Now().Add(readTimeout))
		if err := t.Handshake(); err != nil {
			c.s.refuse(ctx, c.source, "", "handshake", err)
			return
		}
		t.SetDeadline(time.Time{})
		if deny == "" {
			deny = c.stranger(t.ConnectionState().PeerCertificates)
		}
	}
	c.r = bufio.NewReader(c.Conn)
	for c.exchange(ctx, deny) {
	}
}

// denied says why the source may not send messages, or "".
func (c *conn) denied() string {
	allowed := c.l.Allowed
	if len(allowed) == 0 {
		local, err := netip.ParseAddrPort(c.LocalAddr().String())
		if err != nil || !local.Addr().Unmap().IsLoopback() || c.source.IsLoopback() {
			return ""
		}
	}
	if slices.ContainsFunc(allowed, func(p netip.Prefix) bool { return p.Contains(c.source) }) {
		return ""
	}
	return "source is not allowed"
}

// stranger says that a client's certificate carries none of the names wanted.
// Whether there must be a certificate is for the TLS configuration to say.
func (c *conn) stranger(chain []*x509.Certificate) string {
	if len(c.l.ClientNames) == 0 || len(chain) == 0 {
		return ""
	}
	names := append([]string{chain[0].Subject.CommonName}, chain[0].DNSNames...)
	for _, ip := range chain[0].IPAddresses {
		names = append(names, ip.String())
	}
	if slices.ContainsFunc(names, func(n string) bool {
		return slices.ContainsFunc(c.l.ClientNames, func(want string) bool { return strings.EqualFold(n, want) })
	}) {
		return ""
	}
	return "client certificate has no allowed name"
}

// exchange reads a request and answers it; it says whether another may follow.
func (c *conn) exchange(ctx context.Context, deny string) bool {
	if !c.wait(deny) {
		return false
	}
	req, err := readHead(c.r, c.begun)
	if err != nil {
		return c.reject(ctx, "", err)
	}
	if deny == "" && !c.s.admits(req.path) {
		deny = "first path segment is no token"
	}
	if deny != "" {
		return c.reject(ctx, req.method, &httpError{403, deny})
	}
	if err := readBody(c.r, req, c.s.c.MaxMessage); err != nil {
		return c.reject(ctx, req.method, err)
	}
	rep := c.answer(ctx, req)
	// The Java client counts characters, not bytes: what is not ASCII ends with the
	// connection (spec/mcmp.md §12.3).
	rep.close = rep.close || req.close || ctx.Err() != nil || !isASCII(string(rep.body))
	rep.stays = req.keepAlive
	if err := c.send(rep, req.method == "HEAD"); err != nil || rep.close {
		return false
	}
	c.first = false
	return true
}

// answer makes the answer to a complete request.
func (c *conn) answer(ctx context.Context, req *request) (rep reply) {
	method := canonical(req.method)
	if method == "" {
		c.s.refuse(ctx, c.source, req.method, "405", errors.New("no method of MCMP"))
		return reply{status: http.StatusMethodNotAllowed}
	}
	if req.path == "*" {
		return reply{status: http.StatusBadRequest}
	}
	defer func() {
		if p := recover(); p != nil {
			c.s.log.ErrorContext(ctx, "message panicked", "source", c.source.String(), "command", method, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			rep = refusalReply(&Error{typeGeneral, "GENERAL: Internal error"})
			rep.close = true
		}
	}()
	return c.s.message(context.WithoutCancel(ctx), c.source, method, req)
}

// admits says whether the target's first segment is a token, if one is needed.
func (s *Server) admits(path string) bool {
	tokens := *s.tokens.Load()
	if len(tokens) == 0 {
		return true
	}
	segment, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return tokens[sha256.Sum256([]byte(segment))]
}

// wait arms the deadline for the first byte of the next request; false when no
// further one is wanted.
func (c *conn) wait(deny string) bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	d := c.s.c.IdleTimeout
	switch {
	case c.s.stop && !c.first:
		return c.r.Buffered() > 0 // it was sent before the answer that says close could be
	case c.s.stop: // it was in the accept queue: its first message is on the way
		d = time.Second
	case deny != "":
		d = readTimeout
	}
	c.waiting = !c.s.stop
	c.SetReadDeadline(time.Now().Add(d))
	return true
}

// begun arms the deadline for the rest of a request.
func (c *conn) begun() {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.waiting = false
	c.SetReadDeadline(time.Now().Add(readTimeout))
}

// reject ends the connection because of err: with its status if there is a
// request to answer, else silently.
func (c *conn) reject(ctx context.Context, method string, err error) bool {
	var h *httpError
	rep := reply{close: true}
	switch {
	case errors.As(err, &h):
		rep.status = h.status
		rep.body = []byte(h.why + "\n")
		c.s.refuse(ctx, c.source, method, strconv.Itoa(h.status), err)
	case errors.Is(err, errTooLong):
		e := unreadable("body is longer than %d bytes", c.s.c.MaxMessage)
		rep = refusalReply(e)
		rep.close = true
		c.s.refuse(ctx, c.source, method, e.Type, e)
	case errors.Is(err, os.ErrDeadlineExceeded):
		rep.status = http.StatusRequestTimeout
		c.s.refuse(ctx, c.source, method, "408", err)
	default: // the peer is gone, or idle
		return false
	}
	if c.send(rep, method == "HEAD") == nil {
		c.linger()
	}
	return false
}

// linger lets an answer reach a peer that is still sending: closing with unread
// bytes would reset the connection (RFC 9112 §9.6).
func (c *conn) linger() {
	select {
	case c.s.lingering <- struct{}{}:
		defer func() { <-c.s.lingering }()
	default:
		return
	}
	if w, ok := c.Conn.(interface{ CloseWrite() error }); !ok || w.CloseWrite() != nil {
		return
	}
	end := time.Now().Add(5 * time.Second)
	for buf := make([]byte, 4096); ; {
		c.SetReadDeadline(earliest(time.Now().Add(time.Second), end))
		if _, err := c.Read(buf); err != nil {
			return
		}
	}
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// send writes a reply in one piece.
func (c *conn) send(rep reply, headOnly bool) error {
	c.SetWriteDeadline(time.Now().Add(readTimeout))
	_, err := c.Write(rep.encode(time.Now(), headOnly))
	return err
}

// reply is an answer before it is bytes.
type reply struct {
	status int    // 0: 200
	xml    bool   // text/xml
	body   []byte // sent as it is
	err    *Error // Version, Type, Mess
	stale  bool   // Age is sent: the state is not confirmed by a quorum
	age    time.Duration
	close  bool
	stays  bool // say so to an HTTP/1.0 client
}

// refusalReply is the 500 of an error.
func refusalReply(e *Error) reply {
	return reply{status: http.StatusInternalServerError, err: e, body: []byte(e.Mess + "\n")}
}

// encode writes status line, header and body. The Java client wants a blank
// after the code and no 1xx (spec/mcmp.md §12.3).
func (r reply) encode(now time.Time, headOnly bool) []byte {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	body := r.body
	if headOnly {
		body = nil
	}
	b := make([]byte, 0, 256+len(body))
	b = fmt.Appendf(b, "HTTP/1.1 %d %s\r\nDate: %s\r\n", r.status, http.StatusText(r.status), now.UTC().Format(http.TimeFormat))
	if r.err != nil {
		b = fmt.Appendf(b, "Version: %s\r\nType: %s\r\nMess: %s\r\n", protocol, r.err.Type, r.err.Mess)
	}
	if r.status == http.StatusMethodNotAllowed {
		b = append(b, "Allow: "+allow+"\r\n"...)
	}
	if r.stale {
		b = fmt.Appendf(b, "Age: %d\r\n", int64(r.age.Seconds()))
	}
	if r.close {
		b = append(b, "Connection: close\r\n"...)
	} else if r.stays {
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	b = fmt.Appendf(b, "Content-Type: %s\r\nContent-Length: %d\r\n\r\n", r.contentType(), len(body))
	return append(b, body...)
}

func (r reply) contentType() string {
	if r.xml {
		return "text/xml"
	}
	return "text/plain"
}
