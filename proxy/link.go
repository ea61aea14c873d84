package proxy

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/quorate/quorate/proxy/ajp"
	"github.com/quorate/quorate/proxy/http1"
	"github.com/quorate/quorate/proxy/route"
	"github.com/quorate/quorate/proxy/wire"
)

// link is an exchange by AJP/1.3: another carrier below the same exchange. What the
// worker says of an answer's head becomes one of HTTP/1.1, so that nothing above knows
// the difference. It alternates strictly, on the goroutine of the exchange.
type link struct {
	waiting
	stream  ajp.Stream
	request ajp.Forward
	in      []byte // what the worker sent
	at, n   int    // of in: taken, filled
	out     []byte // a body packet
	wanted  int    // by the worker of the body, at most
	heard   bool   // it has sent something
	lost    error  // the connection has ended; said when what came before is taken
	refused bool   // the client's body will not come, though the worker asks for it
	here    here
	lookout lookout
}

// pingMost is the most that a worker may take to say that it is there.
const pingMost = 3 * time.Second

var (
	errPing    = errors.New("CPING: the answer is none of ajp")
	errNoPong  = errors.New("CPING: no answer in time")
	errNoBytes = errors.New("nothing of the body is there yet")
	errOver    = errors.New("more body than was declared")
)

// takeLink makes x ready for an exchange by AJP on c.
func (p *Proxy) takeLink(x *exchange, u *upstream, c *upConn) *link {
	k := p.links.Get().(*link)
	k.waiting = waiting{x: x, u: u, c: c}
	k.at, k.n, k.wanted, k.heard, k.lost, k.refused = 0, 0, 0, false, nil, false
	return k
}

func (p *Proxy) newLink() *link {
	size := p.c.Upstream.AJP.packet()
	k := &link{in: make([]byte, max(size, bufferSize)), out: make([]byte, size)}
	k.lookout.k = k
	return k
}

// giveLink puts it back. Nothing may point to its buffers any more.
func (p *Proxy) giveLink(k *link) {
	k.x.h1.sliced = false
	k.waiting, k.lost = waiting{}, nil
	if len(k.in) > max(len(k.out), bufferSize) {
		k.in = make([]byte, max(len(k.out), bufferSize))
	}
	p.links.Put(k)
}

// sendAJP is send for a worker that speaks AJP.
func (p *Proxy) sendAJP(x *exchange, d *route.Decision, t *target, u *upstream, c *upConn) (*failure, resend) {
	k := p.takeLink(x, u, c)
	defer p.giveLink(k)
	out, err := p.appendForward(x, x.out[:0], d, k)
	x.out = out
	if err != nil {
		x.release(true, -1) // nothing was written
		p.log.Info("request too large for ajp", "request", x.id, "worker", t.node.Route, "error", err.Error())
		return x.fails(failure{kind: failedLimit, err: err}), resendNot
	}
	c.SetWriteTimeout(u.timeout)
	if after := p.c.Upstream.AJP.CPingAfterIdle; c.Exchanges == 0 || c.Rested > after || after <= 0 {
		if f, more := k.ping(d); f != nil || more != resendNot {
			x.release(false, 0)
			return f, more
		}
	}
	f, more := k.await()
	if f != nil || more != resendNot {
		x.release(false, 0)
		return f, more
	}
	p.answers(t)
	t.requests[class(x.resp.Status)].Add(1)
	x.moved = x.moved || d.Changed
	reusable := p.relay(x, &k.waiting, k)
	t.answers.Add(1)
	x.ended = time.Now()
	t.duration.Add(int64(x.ended.Sub(k.began)))
	t.node.Denies(x.resp.Status == 403 && k.stream.Refuses())
	x.release(reusable && k.stream.Reusable() && k.at == k.n && !k.refused, -1)
	return nil, resendNot
}

// ping asks whether the worker is there. One that is late is overloaded, not dead: a
// session waits for its own node as long as for an answer, any other request tries one
// more connection, however many idle, then goes elsewhere, and nothing is marked
// (ajp13.md §10).
func (k *link) ping(d *route.Decision) (*failure, resend) {
	x, c := k.x, k.c
	limit := shorter(milliseconds(k.u.config.Ping), pingMost)
	fresh := c.Exchanges == 0
	own := fresh && x.wanted != "" && x.wanted == d.Node.Route
	if own {
		limit = k.u.timeout
	}
	k.began = time.Now()
	x.arm(c, k.began, k.began.Add(limit))
	_, n, err := c.WriteRead([]byte(ajp.Ping), k.in)
	for {
		k.n += n
		if got := string(k.in[:min(k.n, len(ajp.Pong))]); k.n > len(ajp.Pong) || got != ajp.Pong[:len(got)] {
			return x.fails(failure{kind: failedDial, dial: dialBroken, untouched: true, err: errPing}), resendOnce
		}
		now := time.Now()
		switch {
		case k.n == len(ajp.Pong):
			k.n = 0
			return nil, resendNot
		case err == wire.ErrStale && c.Reused:
			return nil, resendNext
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			return x.fails(failure{kind: failedDial, dial: dialBroken, untouched: true, err: err}), resendOnce
		}
		switch err := x.outOfTime(now, k.began, limit); {
		case err == errSilent && own:
			return x.fails(failure{kind: failedLate, err: errNoPong}), resendNot
		case err == errSilent:
			more := resendOnce
			if x.late == k.u {
				more = resendNot
			}
			x.late = k.u
			return x.fails(failure{kind: failedDial, dial: dialBroken, untouched: true, err: errNoPong}), more
		case err != nil:
			return k.unanswered(err), resendNot
		}
		x.arm(c, now, k.began.Add(limit))
		n, err = c.Read(k.in[k.n:])
	}
}

// await sends the request and waits for the head of its answer, which is then in
// x.resp. A failure, or resend, says that there is none; the caller ends the
// connection.
func (k *link) await() (*failure, resend) {
	x, c, b := k.x, k.c, &k.x.body
	x.upN = 0
	k.began = time.Now()
	first := 0
	if k.stream.Due() {
		first = min(b.end-b.start, len(k.out)-ajp.BodyHead)
		if first > 0 {
			x.out = ajp.AppendBody(x.out, x.in[b.start:b.start+first])
		}
	}
	if k.stream.Due() && first == 0 { // the client's bytes come next
		if c.Reused && c.Stale() {
			return nil, resendNext
		}
		if wrote, err := c.Write(x.out); err != nil {
			f := k.early(err, wrote == 0)
			if wrote == 0 {
				return f, resendOnce
			}
			return f, resendNot
		}
	} else {
		var wrote, n int
		var err error
		for now := k.began; ; now = time.Now() {
			x.arm(c, now, k.began.Add(k.u.timeout))
			wrote, n, err = c.WriteRead(x.out, k.in)
			if wrote > 0 || err != os.ErrDeadlineExceeded || x.p.isCut() || now.Sub(k.began) > k.u.timeout {
				break
			}
		}
		if f, more, over := k.written(wrote, n, err); over {
			return f, more
		}
		k.n, k.heard = n, n > 0
		if first > 0 {
			b.start, b.taken = b.start+first, true
			k.stream.Sent(first)
		}
		if err != nil { // the first slice of the wait is over
			if err := x.outOfTime(time.Now(), k.began, k.u.timeout); err != nil {
				return k.failed(err), resendNot
			}
		}
	}
	return k.answer(), resendNot
}

// answer waits until the head of a final answer is there.
func (k *link) answer() *failure {
	x := k.x
	for told := 0; ; {
		event, head, status, err := k.next()
		if err != nil {
			return k.failed(err)
		}
		if x.firstByte < 0 {
			x.firstByte = time.Since(k.began)
		}
		if event != ajp.Headers {
			continue
		}
		if err := k.parse(head, status); err != nil {
			return x.fails(failure{kind: failedAnswer, err: err})
		}
		if status >= 200 {
			k.head = x.upN
			return nil
		}
		if told++; told > maxInformational {
			return x.fails(failure{kind: failedAnswer, err: errChatty})
		}
		if status != 100 { // that is ours to say
			if err := x.down.inform(&x.resp, x.up); err != nil {
				return x.fails(failure{kind: failedGone, err: err})
			}
		}
	}
}

// failed sorts the error of a wait for a head.
func (k *link) failed(err error) *failure {
	switch err {
	case errBodyLarge, errBodyLate, errBodyBad, errTrailers:
		return k.x.fails(failure{kind: failedBody, err: err})
	case errGone, errSilent, errLate:
		return k.unanswered(err)
	}
	if k.heard || err == errCut {
		return k.x.fails(failure{kind: failedAnswer, err: err})
	}
	return k.early(err, !k.x.body.present)
}

// parse writes a head of the worker as one of HTTP/1.1, and reads it by the rules for
// these.
func (k *link) parse(payload []byte, status int) error {
	x := k.x
	head := append(x.up[:0], "HTTP/1.1 "...)
	head = http1.AppendUint(head, uint64(status))
	head = append(append(append(head, ' '), http1.StatusText(status)...), "\r\n"...)
	head, err := ajp.AppendFields(head, payload)
	if err != nil {
		return err
	}
	head = append(head, "\r\n"...)
	x.up, x.upN = head[:cap(head)], len(head)
	x.resp.Reset()
	x.resp.Head = x.method == "HEAD"
	n, bad := x.resp.Parse(head, http1.Limits{Header: k.u.headBytes})
	switch {
	case bad != nil:
		return bad
	case n != len(head):
		return errHead
	}
	return nil
}

// next returns what the worker says next; what it asks of the body it gets on the way.
func (k *link) next() (ajp.Event, []byte, int, error) {
	for {
		event, piece, n, took, err := k.stream.Next(k.in[k.at:k.n])
		k.at += took
		switch {
		case err != nil:
			return event, nil, 0, err
		case event == ajp.Ask:
			k.wanted = n
			continue
		case event != ajp.More:
			return event, piece, n, nil
		case k.lost != nil:
			return event, nil, 0, k.lost
		}
		if k.x.status != 0 { // what came so far is the client's
			if err := k.x.down.write(nil, true); err != nil {
				return event, nil, 0, clientError{err}
			}
		}
		if k.stream.Owes() {
			err = k.feed()
		} else {
			err = k.read()
		}
		if err != nil {
			return event, nil, 0, err
		}
	}
}

// read waits for bytes of the worker, looking at the client while there are none.
func (k *link) read() error {
	x, since := k.x, time.Now()
	k.makeRoom()
	for now := since; ; now = time.Now() {
		x.arm(k.c, now, since.Add(k.u.timeout))
		n, err := k.c.Read(k.in[k.n:])
		switch {
		case n > 0:
			k.n += n
			k.heard = true
			return nil
		case err == io.EOF && k.heard:
			return errShort
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		}
		if err := x.outOfTime(time.Now(), since, k.u.timeout); err != nil {
			return err
		}
	}
}

// makeRoom has at least one byte behind what is there, and all that the packet needs
// which has begun: a peer's size of packets is not to be trusted.
func (k *link) makeRoom() {
	rest := k.in[k.at:k.n]
	need := k.stream.Need(rest)
	if len(rest) > 0 && k.at+max(need, len(rest)+1) <= len(k.in) {
		return
	}
	if need > len(k.in) {
		grown := make([]byte, need)
		k.at, k.n = 0, copy(grown, rest)
		k.in = grown
		return
	}
	k.at, k.n = 0, copy(k.in, rest)
}

// look reads what the worker has sent, if it has, without waiting.
func (k *link) look() {
	if k.lost != nil || !k.c.Stale() {
		return
	}
	k.makeRoom()
	if k.n == len(k.in) {
		return
	}
	k.c.SetReadDeadline(time.Now().Add(sliceLeast)) // something is there, if only an end
	n, err := k.c.Read(k.in[k.n:])
	k.n += n
	k.heard = k.heard || n > 0
	switch {
	case n > 0 || errors.Is(err, os.ErrDeadlineExceeded):
	case err == io.EOF:
		k.lost = errShort
	default:
		k.lost = err
	}
}

// clientError is of the client's connection.
type clientError struct{ error }

// relayPackets relays the body of the answer in x.resp, of which length bytes are
// awaited; -1: as many as come. none: whatever comes is dropped.
func (p *Proxy) relayPackets(x *exchange, k *link, length int64, none bool) bool {
	left := length
	for {
		event, piece, _, err := k.next()
		if gone, ok := err.(clientError); ok {
			return p.broken(x, "client", gone.error)
		}
		if err != nil {
			return p.broken(x, k.whose(err), err)
		}
		switch event {
		case ajp.Data:
			if none {
				continue
			}
			if length >= 0 {
				if left -= int64(len(piece)); left < 0 {
					return p.broken(x, "worker", errOver)
				}
			}
			x.sent += int64(len(piece))
			if err := x.pass(piece, length >= 0); err != nil {
				return p.broken(x, "client", err)
			}
		case ajp.End:
			if !none && length >= 0 && left != 0 {
				return p.broken(x, "worker", errShort)
			}
			if err := x.down.end(nil); err != nil {
				return p.broken(x, "client", err)
			}
			return true
		}
	}
}

// passAtOnce is from how many bytes on they are not gathered with others.
const passAtOnce = 8 << 10

// pass sends bytes of an answer on. What is there together goes together, but x.out is
// not to grow: packets may be larger than it.
func (x *exchange) pass(piece []byte, known bool) error {
	if known && len(piece) > passAtOnce {
		if err := x.down.write(nil, true); err != nil {
			return err
		}
		return x.down.write(piece, false)
	}
	for len(piece) > passAtOnce {
		if err := x.down.write(piece[:passAtOnce], true); err != nil {
			return err
		}
		piece = piece[passAtOnce:]
	}
	return x.down.write(piece, len(x.out) > passAtOnce)
}

// whose fault it is that an answer breaks off.
func (k *link) whose(err error) string {
	switch err {
	case errBodyLarge, errBodyLate, errBodyBad, errTrailers:
		return "client"
	}
	return whose(err)
}
