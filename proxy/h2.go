package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
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
	frameSize        = 16 << 10 // package http has room for a whole frame
)

// h2Server serves the HTTP/2 connections of one listener. Package http takes its
// limits from a server when a connection begins, so each change of them makes a
// server anew, for the connections to come.
type h2Server struct {
	l      *listener
	owners sync.Map // net.Conn → *client

	mu      sync.Mutex
	servers []*http.Server // the last one serves
}

// server returns the one for a connection that begins now.
func (s *h2Server) server(t *Tuning) *http.Server {
	idle, header := t.Timeouts.Idle, max(t.Limits.HeaderBytes, 1<<10)
	if t.Limits.HeaderBytes == 0 {
		header = 1 << 30
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.servers); n > 0 {
		if last := s.servers[n-1]; last.IdleTimeout == idle && last.MaxHeaderBytes == header {
			return last
		}
	}
	streams := s.l.p.c.MaxStreams
	if streams == 0 {
		streams = 1 << 30
	}
	made := &http.Server{
		Handler:                      s,
		DisableGeneralOptionsHandler: true,
		IdleTimeout:                  idle,
		MaxHeaderBytes:               header,
		Protocols:                    new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          streams,
			MaxReadFrameSize:              frameSize,
			MaxReceiveBufferPerStream:     streamWindow,
			MaxReceiveBufferPerConnection: connectionWindow,
		},
		ErrorLog: slog.NewLogLogger(s.l.p.log.Handler(), slog.LevelDebug),
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
	made.Protocols.SetHTTP2(s.l.tls != nil)
	made.Protocols.SetUnencryptedHTTP2(s.l.tls == nil)
	s.servers = append(s.servers, made)
	return made
}

type ownerKey struct{}

// hand gives a connection to package http, which closes it and then leaves c. While
// it drains the client is told that nothing of what it sends is answered here.
func (s *h2Server) hand(c *client, conn net.Conn) {
	s.owners.Store(conn, c)
	one := oneConn{conn: conn}
	s.server(s.l.p.tuning.Load()).Serve(&one) // the error is what oneConn says, or a stop
	if one.conn != nil {
		c.sendAway(goAway)
		conn.Close()
		s.over(conn)
	}
}

// Frames of a server that takes no stream: SETTINGS, and GOAWAY behind stream 0, by
// which the client knows that all it has sent may be sent elsewhere.
const (
	goAway     = "\x00\x00\x00\x04\x00\x00\x00\x00\x00" + "\x00\x00\x08\x07\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" // NO_ERROR
	goAwayCalm = "\x00\x00\x00\x04\x00\x00\x00\x00\x00" + "\x00\x00\x08\x07\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x0b" // ENHANCE_YOUR_CALM
)

func (c *client) sendAway(frames string) {
	if _, err := c.conn.Write([]byte(frames)); err == nil {
		c.l.part(c.conn, true)
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

// shutdown tells all clients to go, and waits until they have.
func (s *h2Server) shutdown(ctx context.Context) {
	var wg sync.WaitGroup
	for _, server := range s.all() {
		wg.Go(func() { server.Shutdown(ctx) })
	}
	wg.Wait()
}

// close ends all connections at once.
func (s *h2Server) close() {
	for _, server := range s.all() {
		server.Close()
	}
}

// all servers, those of changed limits too. One at least is there to be told.
func (s *h2Server) all() []*http.Server {
	s.server(s.l.p.tuning.Load())
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.servers)
}

// oneConn is a listener that accepts once.
type oneConn struct{ conn net.Conn }

// Accept gives the connection, then says that this was all.
func (o *oneConn) Accept() (net.Conn, error) {
	c := o.conn
	if c == nil {
		return nil, net.ErrClosed
	}
	o.conn = nil
	return c, nil
}

// Close has nothing to close.
func (o *oneConn) Close() error { return nil }

// Addr is asked by nobody.
func (o *oneConn) Addr() net.Addr { return nil }

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
	x.down, x.peer, x.l, x.over = h, &h.peer, s.l, r.Context().Done()
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
	case r.ContentLength < 0, r.ContentLength > 0 && len(r.Trailer) > 0: // only chunks carry trailers
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
		return 0, h.trailers()
	case h.stopped.Load():
		return 0, errBodyOver
	case errors.Is(err, os.ErrDeadlineExceeded):
		return 0, errBodyLate
	}
	return 0, errGone
}

// trailers takes over those that the client has announced and sent, by the rules for
// trailers behind chunks. It returns io.EOF if they are well.
func (h *h2) trailers() error {
	if len(h.r.Trailer) == 0 {
		return io.EOF
	}
	section := []byte("0\r\n")
	for name, values := range h.r.Trailer {
		for _, v := range values {
			var bad *http1.Error
			if section, bad = http1.AppendHeadField(section, name, v); bad != nil {
				return errBodyBad
			}
		}
	}
	section = append(section, "\r\n"...)
	_, took, done, bad := h.x.body.chunks.Decode(nil, section)
	switch {
	case bad != nil && bad.Status == 431:
		return errTrailers
	case bad != nil || !done || took != len(section):
		return errBodyBad
	}
	return io.EOF
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
