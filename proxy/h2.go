package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/proxy/http1"
	"github.com/quorate/quorate/proxy/wire"
)

// HTTP/2 is package http's: it gets connections one by one that have negotiated h2,
// or began with its preface, so that its parser of HTTP/1 never runs. What it hands
// out is written as a canonical head of HTTP/1.1 and goes the way of all requests,
// through the same checks (http-notes.md §11).

// preface is what a client sends that knows it speaks HTTP/2 (RFC 9113 §3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// isPreface says whether b is, or can become, the preface.
func isPreface(b []byte) bool {
	n := min(len(b), len(preface))
	return n > 0 && string(b[:n]) == preface[:n]
}

// What a client may have on its way to us, for each stream and in all: the second
// bounds the memory that a connection can take.
const (
	streamWindow     = 64 << 10
	connectionWindow = 256 << 10
)

// h2Server serves the HTTP/2 connections of one listener.
type h2Server struct {
	l      *listener
	server *http.Server
	conns  chan net.Conn // to Accept
	closed chan struct{}
	once   sync.Once
	owners sync.Map // net.Conn → *client
}

func newH2Server(l *listener) *h2Server {
	p := l.p
	s := &h2Server{l: l, conns: make(chan net.Conn), closed: make(chan struct{})}
	t := p.c.Tuning
	streams := p.c.MaxStreams
	if streams == 0 {
		streams = 1 << 30
	}
	s.server = &http.Server{
		Handler:                      s,
		DisableGeneralOptionsHandler: true,
		IdleTimeout:                  t.Timeouts.Idle,
		MaxHeaderBytes:               max(t.Limits.HeaderBytes, 1<<10),
		Protocols:                    new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          streams,
			MaxReceiveBufferPerStream:     streamWindow,
			MaxReceiveBufferPerConnection: connectionWindow,
		},
		ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
		ConnState: func(c net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				s.over(c)
			}
		},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			owner, _ := s.owners.Load(c)
			return context.WithValue(ctx, ownerKey{}, owner)
		},
	}
	if t.Limits.HeaderBytes == 0 {
		s.server.MaxHeaderBytes = 1 << 30
	}
	s.server.Protocols.SetHTTP2(l.tls != nil)
	s.server.Protocols.SetUnencryptedHTTP2(l.tls == nil)
	return s
}

type ownerKey struct{}

// hand gives a connection to package http. c is left when it is closed.
func (s *h2Server) hand(c *client, conn net.Conn) {
	s.owners.Store(conn, c)
	select {
	case s.conns <- conn:
	case <-s.closed:
		conn.Close()
		s.over(conn)
	}
}

// over is the end of a connection.
func (s *h2Server) over(conn net.Conn) {
	if c, ok := s.owners.LoadAndDelete(conn); ok {
		c := c.(*client)
		c.account(s.l.p.stats.place())
		s.l.leave(c)
	}
}

// Accept, Close and Addr make s the listener of its server.
func (s *h2Server) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept: package http's Shutdown waits for that.
func (s *h2Server) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// Addr is the address of the listener that the connections come from.
func (s *h2Server) Addr() net.Addr { return s.l.Listener.Addr() }

// handOver gives a plain connection away that began with the preface.
func (c *client) handOver(x *exchange) {
	first := append([]byte(nil), x.in[:x.n]...)
	c.handedOver = true
	c.conn.SetDeadline(time.Time{})
	c.l.h2.hand(c, &replayed{Conn: c.conn.NetConn(), first: first})
}

// ServeHTTP is one exchange on a stream.
func (s *h2Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, _ := r.Context().Value(ownerKey{}).(*client)
	p := s.l.p
	x := p.take()
	h := &h2{x: x, w: w, r: r, control: http.NewResponseController(w), peer: c.peer}
	x.t = p.tuning.Load()
	h.peer.trusted = x.t.trusts(h.peer.addr)
	x.down, x.peer, x.label, x.redirect = h, &h.peer, s.l.label, s.l.redirect
	n := c.streams.Add(1)
	limit := int64(x.t.Limits.RequestsPerConnection)
	h.last = limit > 0 && n >= limit
	if bad := h.read(); bad != nil {
		p.refuseHead(x, bad)
	} else {
		x.start = time.Now()
		p.run(x)
	}
	c.account(x.shard)
	broken := x.broken
	p.give(x)
	if broken {
		panic(http.ErrAbortHandler)
	}
}

// h2 is the client's side of an exchange on an HTTP/2 stream.
type h2 struct {
	x       *exchange
	w       http.ResponseWriter
	r       *http.Request
	control *http.ResponseController
	peer    peer
	none    bool
	last    bool // no more requests on this connection
	stopped atomic.Bool
}

// read writes the request into x.in as a head of HTTP/1.1, and parses it.
func (h *h2) read() *http1.Error {
	x, r := h.x, h.r
	if limit := x.t.Limits.RequestLineBytes; limit > 0 && len(r.Method)+len(r.RequestURI)+len("  HTTP/1.1") > limit {
		return &http1.Error{Status: 414, Reason: "the target is too long"}
	}
	b, bad := http1.AppendHead(x.in[:0], r.Method, r.RequestURI, r.Host)
	if bad != nil {
		return bad
	}
	fields := 1
	for name, values := range r.Header {
		fields += len(values)
		for _, v := range values {
			switch http1.NameOf(name) {
			case http1.Host:
				if len(values) > 1 || v != r.Host {
					return errHostDiffers
				}
				continue
			case http1.ContentLength:
				n, err := strconv.ParseUint(v, 10, 63)
				if len(values) > 1 || err != nil || int64(n) != r.ContentLength {
					return errLengthDiffers
				}
				continue
			}
			if b, bad = http1.AppendHeadField(b, name, v); bad != nil {
				return bad
			}
		}
	}
	if limit := x.t.Limits.Headers; limit > 0 && fields > limit {
		return errManyFields
	}
	switch _, said := r.Header["Content-Length"]; {
	case r.ContentLength < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case r.ContentLength > 0 || said:
		b = http1.AppendField(b, "Content-Length", strconv.FormatInt(r.ContentLength, 10))
	}
	b = append(b, "\r\n"...)
	x.in = b[:cap(b)]
	x.n = len(b)
	n, bad := x.req.Parse(b, http1.Limits{Header: x.t.Limits.HeaderBytes})
	if bad != nil {
		return bad
	}
	if n != len(b) {
		return errOther
	}
	x.head = n
	return nil
}

var (
	errHostDiffers   = &http1.Error{Status: 400, Reason: "Host and :authority differ"}
	errLengthDiffers = &http1.Error{Status: 400, Reason: "Content-Length and frames differ"}
	errManyFields    = &http1.Error{Status: 431, Reason: "too many fields"}
	errOther         = &http1.Error{Status: 400, Reason: "not to be written in HTTP/1.1"}
)

func (h *h2) fill(to []byte) (int, error) {
	h.control.SetReadDeadline(h.x.bodyDeadline(time.Now()))
	if h.stopped.Load() {
		return 0, errBodyOver
	}
	n, err := h.r.Body.Read(to)
	// Package http ends a body whose deadline passes, though nobody reads it.
	if !h.stopped.Load() {
		h.control.SetReadDeadline(time.Time{})
	}
	switch {
	case n > 0:
		return n, nil
	case err == io.EOF:
		return 0, io.EOF
	case h.stopped.Load():
		return 0, errBodyOver
	case errors.Is(err, os.ErrDeadlineExceeded):
		return 0, errBodyLate
	}
	return 0, errGone
}

func (h *h2) interrupt() {
	h.stopped.Store(true)
	h.control.SetReadDeadline(time.Unix(1, 0))
}

func (h *h2) resume() {}

func (h *h2) gone() bool { return h.r.Context().Err() != nil }

func (h *h2) carrier() *wire.Conn { return nil }

func (h *h2) inform(r *http1.Response, b []byte) error {
	if r.Status == 100 { // package http says it when the body is read
		return nil
	}
	h.fields(r, b)
	h.patient()
	h.w.WriteHeader(r.Status)
	h.control.SetWriteDeadline(time.Time{})
	clear(h.w.Header())
	return nil
}

// fields copies the lines that pass.
func (h *h2) fields(r *http1.Response, b []byte) {
	header := h.w.Header()
	for i := range r.Fields {
		if f := &r.Fields[i]; answerPasses(f) {
			name := http.CanonicalHeaderKey(string(f.Name.Of(b)))
			header[name] = append(header[name], string(f.Value.Of(b)))
		}
	}
}

func (h *h2) begin(r *http1.Response, b []byte, length int64, none bool) error {
	h.none = none
	h.fields(r, b)
	header := h.w.Header()
	if header["Content-Type"] == nil {
		header["Content-Type"] = nil // package http would guess one
	}
	if length >= 0 {
		header["Content-Length"] = []string{strconv.FormatInt(length, 10)}
	}
	if h.last || h.x.p.draining.Load() {
		header["Connection"] = []string{"close"} // GOAWAY
	}
	h.patient()
	h.w.WriteHeader(r.Status)
	return nil
}

// patient gives the client time to take what is written next.
func (h *h2) patient() {
	if d := h.x.t.Timeouts.Write; d > 0 {
		h.control.SetWriteDeadline(time.Now().Add(d))
	}
}

func (h *h2) write(b []byte, more bool) error {
	h.patient()
	if !h.none && len(b) > 0 {
		if _, err := h.w.Write(b); err != nil {
			return err
		}
	}
	if more {
		if err := h.control.Flush(); err != nil {
			return err
		}
		// Before a wait for more: package http resets a stream whose deadline
		// passes though nothing is being written.
		h.control.SetWriteDeadline(time.Time{})
	}
	return nil
}

func (h *h2) end(c *http1.Chunked) error {
	h.patient() // package http writes the end
	if c == nil {
		return nil
	}
	header := h.w.Header()
	for i := range c.Fields {
		if f := &c.Fields[i]; http1.TrailerAllowed(f, c.Trailers) {
			name := http.TrailerPrefix + http.CanonicalHeaderKey(string(f.Name.Of(c.Trailers)))
			header[name] = append(header[name], string(f.Value.Of(c.Trailers)))
		}
	}
	return nil
}

func (h *h2) abort() { h.x.broken = true }
