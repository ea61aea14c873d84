package proxy

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/proxy/route"
)

// This file is the whole of what is done with package http towards workers: one
// try of one request. Another engine replaces forward and leaves the rest.

// failure says why a try gave no answer; nothing has been sent to the client.
type failure struct {
	kind      failureKind
	dial      dialOutcome // with failedDial
	untouched bool        // no byte of the body has been read
	err       error
}

type failureKind uint8

const (
	failedDial   failureKind = iota // no connection, so nothing was sent
	failedFull                      // all connections of the node are busy
	failedEarly                     // the connection ended before a byte of an answer
	failedAnswer                    // what came is no answer
	failedLate                      // no answer in time
	failedBody                      // the client's body failed
	failedLimit                     // more header lines than workers take
)

var (
	errLate   = errors.New("max_request_time is over")
	errSilent = errors.New("the worker fell silent")
	errCut    = errors.New("this replica stops")
	errChatty = errors.New("too many informational answers")
)

// maxInformational is how many 1xx answers are passed on (http-notes.md §3).
const maxInformational = 8

// forward sends the request to the node of d once, and relays the answer. nil: the
// client has been answered, as far as possible.
func (p *Proxy) forward(x *exchange, d *route.Decision) *failure {
	t := p.target(d.Node)
	u := p.upstream(t)
	ctx, cancel := context.WithCancelCause(x.request.Context())
	defer cancel(nil)
	defer context.AfterFunc(p.life, func() { cancel(errCut) })()
	if limit := p.c.Upstream.MaxRequestTime; limit > 0 {
		timer := time.AfterFunc(time.Until(x.start.Add(limit)), func() { cancel(errLate) })
		defer timer.Stop()
	}
	if err := u.take(ctx); err != nil {
		kind := failedLate
		if err == errFull {
			kind = failedFull
		}
		return &failure{kind: kind, err: err}
	}
	defer u.give()

	out, body := p.outgoing(x, d, u)
	if limit := p.c.Limits.Headers; limit > 0 && lines(out) > limit {
		return &failure{kind: failedLimit}
	}
	w := &waiting{p: p, x: x, body: body}
	began := time.Now()
	resp, err := u.transport.RoundTrip(out.WithContext(httptrace.WithClientTrace(ctx, w.trace())))
	w.end()
	if err != nil {
		return p.explain(ctx, x, t, w, body, err)
	}
	defer resp.Body.Close()
	p.answers(t)
	if resp.StatusCode < 200 && (x.upgrade == "" || !names(resp, x.upgrade)) {
		return &failure{kind: failedAnswer, err: errors.New("status " + resp.Status + " out of place")}
	}
	t.requests[class(resp.StatusCode)].Add(1)
	if d.Changed {
		x.moved = true
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		p.tunnel(x, resp)
		return nil
	}
	p.relay(x, resp, u, cancel)
	t.answers.Add(1)
	t.duration.Add(int64(time.Since(began)))
	return nil
}

// outgoing makes the request for the worker.
//
// Package http's transport sends some requests again by itself when a connection
// that it used before breaks: those without a body and with a method that is safe,
// or an Idempotency-Key. A worker must get each request once, so safe requests
// have a body, though an empty one, TRACE, which may not have one, gets a
// connection of its own, and headersFor hides the key.
func (p *Proxy) outgoing(x *exchange, d *route.Decision, u *upstream) (*http.Request, *tryBody) {
	target, header := x.facts.Path.Target, p.headersFor(x)
	if d.Strip {
		var cookies []string
		target, cookies = route.StripSession(&x.facts.Path, x.facts.Cookies, d.Policy)
		if strings.HasPrefix(target, "//") { // of "/;id/x": package http would send "http://x"
			target = "/" + strings.TrimLeft(target, "/")
		}
		delete(header, "Cookie")
		if len(cookies) > 0 {
			header["Cookie"] = cookies
		}
	}
	if x.upgrade != "" {
		header["Connection"], header["Upgrade"] = []string{"Upgrade"}, []string{x.upgrade}
	}
	out := &http.Request{
		Method:        x.request.Method,
		URL:           &url.URL{Scheme: u.config.Type, Host: u.address, Opaque: target}, // the raw bytes
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        header,
		Host:          x.request.Host,
		ContentLength: x.request.ContentLength,
	}
	if !p.c.Upstream.PreserveHost || out.Host == "" {
		out.Host = u.address
	}
	if x.body != nil {
		body := x.body.begin()
		if body == nil { // again has asked: this cannot be
			panic("a body that was read is to be sent again")
		}
		out.Body, out.Trailer = body, body.trailer
		return out, body
	}
	switch out.Method {
	case "GET", "HEAD", "OPTIONS":
		out.Body = empty{}
	case "TRACE":
		out.Close = true
	}
	return out, nil
}

// empty is a body without a byte that is not http.NoBody.
type empty struct{}

func (empty) Read([]byte) (int, error) { return 0, io.EOF }
func (empty) Close() error             { return nil }

// waiting is a request whose answer has not begun.
type waiting struct {
	p     *Proxy
	x     *exchange
	body  *tryBody                    // nil if there is none
	conn  atomic.Pointer[countedConn] // where the request is sent
	begun atomic.Bool                 // a byte of an answer came

	mu    sync.Mutex
	ended bool
	count int
}

func (w *waiting) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GotConn:              w.got,
		GotFirstResponseByte: func() { w.begun.Store(true) },
		Got1xxResponse:       w.informational,
	}
}

func (w *waiting) got(info httptrace.GotConnInfo) {
	if c := countedUnder(info.Conn); c != nil && w.body != nil {
		c.user.Store(w.body)
		w.conn.Store(c)
	}
}

// informational passes a 1xx answer on. 100 is package http's own business.
func (w *waiting) informational(code int, from textproto.MIMEHeader) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count++; w.count > maxInformational {
		return errChatty
	}
	if w.ended || code == http.StatusContinue || !w.x.request.ProtoAtLeast(1, 1) {
		return nil
	}
	h := w.x.writer.Header()
	saved := maps.Clone(h)
	clear(h)
	answerHeaders(h, http.Header(from))
	w.x.extendWrite()
	w.x.writer.WriteHeader(code)
	w.x.written()
	clear(h)
	maps.Copy(h, saved)
	return nil
}

// end keeps informational answers from the writer, and the connection's end from
// the body: the transport may still call.
func (w *waiting) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	if c := w.conn.Load(); c != nil {
		c.user.Store(nil)
	}
}

// explain sorts the error of a try, and notes what it says of the node. Only a
// connection that could not be made says anything (spec/routing.md §0.6).
func (p *Proxy) explain(ctx context.Context, x *exchange, t *target, w *waiting, body *tryBody, err error) *failure {
	f := &failure{kind: failedEarly, untouched: body == nil || body.withdraw(), err: err}
	var dial *dialError
	var timeout net.Error
	switch {
	case x.body != nil && x.body.fault() != nil: // first, since it makes package http think that the client has gone
		f.kind, f.err = failedBody, x.body.fault()
	case x.gone():
	case context.Cause(ctx) == errLate:
		f.kind = failedLate
	case context.Cause(ctx) == errCut:
		f.kind, f.untouched = failedAnswer, false
	case errors.As(err, &dial):
		f.kind, f.dial = failedDial, classifyDial(dial.err)
		p.dialFailed(t, f.dial, dial.err)
	case errors.As(err, &timeout) && timeout.Timeout():
		f.kind = failedLate
	case w.begun.Load():
		f.kind = failedAnswer
	}
	p.log.Debug("try failed", "request", x.id, "worker", t.node.Route, "error", f.err)
	return f
}

var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// relay sends the answer to the client: what one read brings is written at once.
// If the answer breaks off, so does the client's connection.
func (p *Proxy) relay(x *exchange, resp *http.Response, u *upstream, cancel context.CancelCauseFunc) {
	h := x.writer.Header()
	closing := h.Get("Connection") == "close"
	answerHeaders(h, resp.Header)
	if closing || x.body != nil && !x.body.whole() && x.request.ProtoMajor == 1 {
		h["Connection"] = []string{"close"}
	}
	for k := range resp.Trailer {
		h.Add("Trailer", k)
	}
	x.begin(resp.StatusCode)
	if x.request.Method != http.MethodHead {
		if resp.ContentLength < 0 {
			x.control.Flush() // an event stream may have nothing to say yet
		}
		x.written()
		p.copy(x, resp, u, cancel)
		x.extendWrite() // package http writes the end
	}
	for k, v := range resp.Trailer {
		h[k] = v
	}
	if x.body != nil {
		x.body.finish()
	}
}

func (p *Proxy) copy(x *exchange, resp *http.Response, u *upstream, cancel context.CancelCauseFunc) {
	buf := buffers.Get().(*[32 << 10]byte)
	defer buffers.Put(buf)
	silence := time.AfterFunc(u.timeout, func() { cancel(errSilent) })
	defer silence.Stop()
	for left := resp.ContentLength; ; {
		silence.Reset(u.timeout)
		n, err := resp.Body.Read(buf[:])
		silence.Stop()
		if n > 0 {
			x.extendWrite()
			if _, failed := x.writer.Write(buf[:n]); failed != nil {
				p.abort(x, "client", failed)
			}
			left -= int64(n)
			if err == nil && left != 0 {
				x.control.Flush()
			}
			x.written()
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			p.abort(x, "worker", err)
		}
	}
}

// abort breaks an answer off that has begun.
func (p *Proxy) abort(x *exchange, by string, err error) {
	p.log.Debug("answer broken off", "request", x.id, "by", by, "error", err)
	if x.body != nil {
		x.body.finish()
	}
	panic(http.ErrAbortHandler)
}
