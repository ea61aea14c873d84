package proxy

import (
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/quorate/quorate/proxy/http1"
	"github.com/quorate/quorate/proxy/pool"
	"github.com/quorate/quorate/proxy/route"
	"github.com/quorate/quorate/proxy/wire"
)

// failure says why a try gave no answer; nothing has been sent to the client.
type failure struct {
	kind      failureKind
	dial      dialOutcome // with failedDial
	untouched bool        // no byte of the body was sent or lost: it may go again
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
	failedLimit                     // more header lines than workers take, or more than a packet of AJP holds
	failedGone                      // the client has left, or this replica stops
)

var (
	errLate   = errors.New("max_request_time is over")
	errSilent = errors.New("the worker fell silent")
	errCut    = errors.New("this replica stops")
	errChatty = errors.New("too many informational answers")
	errShort  = errors.New("the connection ended inside the answer")
	errEarly  = errors.New("the connection ended before an answer")
	errHead   = errors.New("head over the limit")
)

const (
	// maxInformational is how many 1xx answers are passed on (http-notes.md §3).
	maxInformational = 8
	// While a worker is silent the client is looked at, first after sliceLeast
	// to sliceMost (http-notes.md §7).
	sliceLeast, sliceMost = 250 * time.Millisecond, 500 * time.Millisecond
	// expectTime is how long a worker may take to say 100 (http-notes.md §7).
	expectTime = time.Second
)

// upConn is a connection to a worker.
type upConn = pool.Conn

// forward sends the request to the node of d, and relays the answer. nil: the
// client has been answered, as far as possible.
//
// It tries again itself only where the request provably did not arrive: an idle
// connection that turns out to be dead (http-notes.md §8).
func (p *Proxy) forward(x *exchange, d *route.Decision) *failure {
	t := p.target(d.Node)
	u := p.upstreamFor(x, t)
	x.tries++
	for proven := false; ; {
		var c *upConn
		if !proven {
			c = u.pool.Get()
		}
		if c == nil {
			began := time.Now()
			var err error
			x.dialling, x.dialled = t, began
			if c, err = u.pool.Open(x.over, x.waits); err == pool.ErrClosed && !t.retired.Load() {
				u = p.upstreamFor(x, t) // it has moved
				continue
			} else if err != nil {
				return p.unconnected(x, t, u, err)
			}
			x.connecting = max(0, x.connecting) + time.Since(began)
		}
		f, more := p.send(x, d, t, u, c)
		if more == resendNext || more == resendOnce && (!proven || c.Reused) {
			proven = proven || more == resendOnce
			continue
		}
		return f
	}
}

// unconnected sorts the error of a connection that was not made.
func (p *Proxy) unconnected(x *exchange, t *target, u *upstream, err error) *failure {
	f := failure{kind: failedDial, untouched: true, err: err}
	var dial *pool.DialError
	switch {
	case x.hasLeft():
		f.kind = failedGone
	case errors.Is(err, pool.ErrFull):
		f.kind = failedFull
	case errors.Is(err, pool.ErrClosed): // removed meanwhile
		f.dial = dialRefused
	case errors.As(err, &dial):
		err = explainTLS(dial.Err)
		f.dial = classifyDial(err)
		if !u.beside { // else the node itself may be well
			p.dialFailed(t, f.dial, err)
		}
	default:
		f.dial = dialLocal
	}
	return x.fails(f)
}

func (x *exchange) fails(f failure) *failure {
	x.failed = f
	x.p.log.Debug("try failed", "request", x.id, "error", f.err)
	return &x.failed
}

// resend says whether the same request may be sent to the same node once more.
type resend uint8

const (
	resendNot  resend = iota
	resendNext        // nothing was sent: take the next connection
	resendOnce        // nothing arrived: on a new connection, once
)

// send is one request on one connection. The connection goes back, or is closed,
// before it returns.
func (p *Proxy) send(x *exchange, d *route.Decision, t *target, u *upstream, c *upConn) (*failure, resend) {
	x.takeBuffers()
	x.held, x.heldOf = c, u.pool
	if u.ajp {
		return p.sendAJP(x, d, t, u, c)
	}
	lines := 0
	x.out, lines = p.appendRequest(x, x.out[:0], d, u, c)
	if limit := x.t.Limits.Headers; limit > 0 && lines > limit {
		x.release(c.Exchanges > 0, -1) // a fresh one has not carried anything: it would count
		return x.fails(failure{kind: failedLimit, err: errManyFields}), resendNot
	}
	w := waiting{x: x, u: u, c: c}
	c.SetWriteTimeout(u.timeout)
	f, more := w.await()
	if f != nil || more != resendNot {
		x.stopPump()
		x.release(false, 0)
		return f, more
	}
	p.answers(t)
	t.requests[class(x.resp.Status)].Add(1)
	x.moved = x.moved || d.Changed
	if x.resp.Status == 101 {
		p.tunnel(x, c, w.head)
		x.release(false, 0)
		return nil, resendNot
	}
	reusable := p.relay(x, &w, nil)
	if x.pump.conn != nil || x.body.present {
		reusable = x.stopPump() && reusable
	}
	t.answers.Add(1)
	x.ended = time.Now()
	t.duration.Add(int64(x.ended.Sub(w.began)))
	reusable = reusable && !x.resp.Close && x.upN == w.used && (x.resp.Minor > 0 || x.resp.KeepAlive)
	x.release(reusable, x.resp.KeepAliveTimeout)
	return nil, resendNot
}

// release ends the exchange's hold of a worker's connection; keepAlive is what the
// worker said, in seconds, -1 nothing.
func (x *exchange) release(reusable bool, keepAlive int) {
	c, from := x.held, x.heldOf
	x.held, x.heldOf = nil, nil
	switch {
	case c == nil:
	case reusable:
		from.Put(c, keepAlive)
	default:
		// Behind a body that the worker does not take it would not see an end.
		from.Drop(c, x.body.cut)
	}
}

// waiting is a request whose answer has not begun.
type waiting struct {
	x     *exchange
	u     *upstream
	c     *upConn
	began time.Time
	head  int // bytes of the answer's head in x.up
	used  int // bytes of x.up that belong to the answer
}

// await sends the request and waits for the head of its answer, which is then in
// x.resp. A failure, or resend, says that there is none; the caller ends pump and
// connection.
func (w *waiting) await() (*failure, resend) {
	x, c, b := w.x, w.c, &w.x.body
	x.upN = 0
	expecting := x.expects()
	w.began = time.Now()
	var n int
	var err error
	if b.inBuffer() {
		x.out = x.appendReady(x.out)
		var wrote int
		for now := w.began; ; now = time.Now() {
			x.arm(c, now, w.began.Add(w.u.timeout))
			wrote, n, err = c.WriteRead(x.out, x.up)
			// On a machine that does not get to it the time may be over before.
			if wrote > 0 || err != os.ErrDeadlineExceeded || w.x.p.isCut() || now.Sub(w.began) > w.u.timeout {
				break
			}
		}
		if f, more, over := w.written(wrote, n, err); over {
			return f, more
		}
	} else {
		if c.Reused && c.Stale() {
			return nil, resendNext
		}
		if !expecting {
			x.out = x.appendReady(x.out)
		}
		if wrote, err := c.Write(x.out); err != nil {
			if wrote == 0 && !b.taken {
				return w.early(err, true), resendOnce
			}
			return w.early(err, expecting), resendNot
		}
		if !expecting {
			b.start, b.taken = b.end, true
			x.startPump(c)
		}
	}
	x.upN = n
	return w.answer(expecting, err != nil)
}

// written sorts what WriteRead says. over: there will be no answer.
func (w *waiting) written(wrote, n int, err error) (f *failure, more resend, over bool) {
	x, c := w.x, w.c
	switch {
	case n > 0 || err == nil:
		return nil, resendNot, false
	case err == wire.ErrStale && c.Reused:
		return nil, resendNext, true
	case err == wire.ErrStale: // closed as soon as it was made: so may be the next
		return x.fails(failure{kind: failedDial, dial: dialBroken, untouched: true, err: err}), resendOnce, true
	case errors.Is(err, os.ErrDeadlineExceeded) && wrote == len(x.out):
		return nil, resendNot, false
	case wrote == 0:
		return w.early(err, true), resendOnce, true
	case wrote == len(x.out) && err == io.EOF && c.Reused && unarrived(c):
		return w.early(errEarly, false), resendOnce, true
	}
	return w.early(err, !x.body.present), resendNot, true
}

// unarrived says whether the peer closed before its kernel had a byte of this
// request. The SYN counts as one (http-notes.md §8).
func unarrived(c *upConn) bool {
	acked, ok := c.Acked()
	return ok && acked <= 1+c.Before
}

// early is a connection that ended before a byte of an answer.
func (w *waiting) early(err error, untouched bool) *failure {
	if w.x.hasLeft() {
		return w.x.fails(failure{kind: failedGone, err: err})
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return w.x.fails(failure{kind: failedLate, err: errSilent})
	}
	return w.x.fails(failure{kind: failedEarly, untouched: untouched, err: err})
}

// arm gives the next read from a worker its time: a slice, or until deadline.
func (x *exchange) arm(c *upConn, now, deadline time.Time) {
	if !x.limit.IsZero() && x.limit.Before(deadline) {
		deadline = x.limit
	}
	if left := deadline.Sub(now); left > sliceMost {
		c.Arm(now, sliceLeast, sliceMost)
	} else {
		left = max(left, time.Millisecond)
		c.Arm(now, left, left)
	}
}

// answer reads until the head of a final answer is there. silent: the first slice of
// the wait is over.
func (w *waiting) answer(expecting, silent bool) (*failure, resend) {
	x, c := w.x, w.c
	since := w.began // of the last progress
	if silent {
		if err := w.slice(&since, &expecting); err != nil {
			return w.unanswered(err), resendNot
		}
	}
	for told := 0; ; {
		x.resp.Reset()
		x.resp.Head = x.method == "HEAD"
		head, err := w.readHead(&since, &expecting)
		if err != nil {
			return w.unanswered(err), resendNot
		}
		if x.firstByte < 0 {
			x.firstByte = time.Since(w.began)
		}
		r := &x.resp
		if r.Status >= 200 || r.Status == 101 {
			if r.Status == 101 && !x.switches() {
				return x.fails(failure{kind: failedAnswer, err: errors.New("status 101 out of place")}), resendNot
			}
			w.head = head
			return nil, resendNot
		}
		if told++; told > maxInformational {
			return x.fails(failure{kind: failedAnswer, err: errChatty}), resendNot
		}
		switch {
		case r.Status != 100:
			if err := x.down.inform(r, x.up); err != nil {
				return x.fails(failure{kind: failedGone, err: err}), resendNot
			}
		case expecting:
			if err := x.down.inform(r, x.up); err != nil {
				return x.fails(failure{kind: failedGone, err: err}), resendNot
			}
			expecting = false
			x.startPump(c)
		}
		x.upN = copy(x.up, x.up[head:x.upN])
	}
}

// readHead reads until a head is parsed, and returns its length.
func (w *waiting) readHead(since *time.Time, expecting *bool) (int, error) {
	x, c := w.x, w.c
	limits := http1.Limits{Line: w.u.headBytes, Header: w.u.headBytes}
	for {
		if x.upN > 0 {
			head, err := x.resp.Parse(x.up[:x.upN], limits)
			if err != nil {
				return 0, err
			}
			if head > 0 {
				return head, nil
			}
			if x.upN == len(x.up) {
				if x.upN >= w.u.headBytes+bufferSize {
					return 0, errHead
				}
				x.growUp()
			}
		}
		now := time.Now()
		deadline := since.Add(w.u.timeout)
		if *expecting {
			deadline = w.began.Add(expectTime)
		}
		x.arm(c, now, deadline)
		n, err := c.Read(x.up[x.upN:])
		x.upN += n
		switch {
		case n > 0:
			*since = time.Now()
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return 0, err
		default:
			if err := w.slice(since, expecting); err != nil {
				return 0, err
			}
		}
	}
}

// slice is what happens each time a worker was silent for a slice: a look at all
// who may end the wait.
func (w *waiting) slice(since *time.Time, expecting *bool) error {
	x, now := w.x, time.Now()
	if m := &x.pump; m.conn != nil {
		if m.ended.Load() && m.fault != nil {
			return m.fault
		}
		if at := time.Unix(0, m.progress.Load()); at.After(*since) {
			*since = at
		}
	}
	err := x.outOfTime(now, *since, w.u.timeout)
	if !*expecting || now.Sub(w.began) < expectTime || err != nil && err != errSilent {
		return err
	}
	*expecting, *since = false, now
	if x.inform100() != nil {
		return errGone
	}
	x.startPump(w.c)
	return nil
}

// unanswered sorts the error of a wait.
func (w *waiting) unanswered(err error) *failure {
	x := w.x
	f := failure{kind: failedAnswer, err: err}
	switch {
	case x.pump.conn != nil && x.pump.ended.Load() && x.pump.fault != nil:
		f.kind, f.err = failedBody, x.pump.fault
		if f.err == errGone {
			f.kind = failedGone
		}
	case err == errGone:
		f.kind = failedGone
	case err == errSilent, err == errLate:
		f.kind = failedLate
	case err == errCut || x.upN > 0 || x.firstByte >= 0: // an interim answer is one, too
	default:
		var bad *http1.Error
		if !errors.As(err, &bad) {
			return w.early(err, !x.body.present)
		}
	}
	return x.fails(f)
}

// growUp makes room for a longer head.
func (x *exchange) growUp() {
	grown := make([]byte, 2*len(x.up))
	copy(grown, x.up[:x.upN])
	x.up = grown
}

// switches says whether a 101 names the protocol that was asked for.
func (x *exchange) switches() bool {
	return x.upgrade != "" && x.resp.ConnUpgrade && strings.EqualFold(view(x.resp.Upgrade.Of(x.up)), x.upgrade)
}

// expects says whether the client waits for a word before it sends its body.
func (x *exchange) expects() bool { return x.req.Expect && x.body.present && !x.body.whole }

// inform100 tells the client to go on with its body.
func (x *exchange) inform100() error {
	if x.down != &x.h1 {
		return nil // package http says it when the body is read
	}
	x.out = append(x.out[:0], "HTTP/1.1 100 Continue\r\n\r\n"...)
	return x.h1.flush()
}
