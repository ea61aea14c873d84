package proxy

import (
	"errors"
	"strconv"
	"time"

	"github.com/quorate/quorate/proxy/ajp"
	"github.com/quorate/quorate/proxy/http1"
	"github.com/quorate/quorate/proxy/route"
)

// What clients are told, without inner names (ux.md §4).
const (
	sayNoWorker  = "No worker can serve this now."
	sayNothing   = "Nothing is deployed at this path."
	sayBroken    = "The worker gave no proper answer."
	sayLate      = "The worker did not answer in time."
	sayMalformed = "The request is malformed."
)

// ownText is the body of an answer of ours.
func ownText(status int, sentence, id string) string {
	s := strconv.Itoa(status) + " " + http1.StatusText(status) + "\n\n"
	if sentence != "" {
		s += sentence + "\n"
	}
	if id != "" {
		s += "Request " + id + "\n"
	}
	return s
}

// answer sends an answer of ours; extra are whole header lines.
func (x *exchange) answer(status int, sentence string, closing bool, extra ...string) {
	x.plain(status, ownText(status, sentence, x.id), closing, extra...)
}

// plain is answer with another text. It is written as a worker would write it, and
// goes the same way.
func (x *exchange) plain(status int, text string, closing bool, extra ...string) {
	x.takeBuffers()
	if x.body.present {
		if closing && !x.body.whole || !x.settle() {
			closing, x.lingering = true, true
		}
	}
	x.closing = x.closing || closing
	x.closedBy = "quorate"
	head := append(x.up[:0], "HTTP/1.1 "...)
	head = http1.AppendUint(head, uint64(status))
	head = append(append(append(head, ' '), http1.StatusText(status)...), "\r\n"...)
	if text != "" {
		head = append(head, "Content-Type: text/plain; charset=utf-8\r\n"...)
	}
	head = append(head, "Cache-Control: no-store\r\n"...)
	for _, line := range extra {
		head = append(append(head, line...), "\r\n"...)
	}
	head = append(head, "\r\n"...)
	x.resp.Reset()
	if n, err := x.resp.Parse(head, http1.Limits{}); err != nil || n == 0 {
		panic("an answer of ours is malformed: " + string(head))
	}
	x.status = status
	none := x.method == "HEAD"
	err := x.down.begin(&x.resp, head, int64(len(text)), none)
	if err == nil && !none {
		x.sent = int64(len(text))
		err = x.down.write([]byte(text), false)
	}
	if err == nil {
		err = x.down.end(nil)
	}
	if err != nil {
		x.broken, x.closedBy, x.cause = true, "client", err
	}
}

// refuseHead answers a head that is malformed, too large or too slow: then closes.
func (p *Proxy) refuseHead(x *exchange, bad *http1.Error) {
	p.stats.counts.Add(x.shard, countInFlight, 1)
	defer p.account(x)
	if x.start.IsZero() {
		x.start = time.Now()
	}
	x.method = view(x.req.Method.Of(x.in))
	x.name()
	x.cause = bad
	x.lingering = true
	switch bad.Status {
	case 414:
		p.stats.own(ownLimit)
		x.answer(414, "The address is too long.", true)
	case 431:
		p.stats.own(ownLimit)
		x.answer(431, "The header is too large.", true)
	case 408:
		p.stats.own(ownTimeout)
		x.answer(408, "The request came too slowly.", true)
	case 405:
		p.stats.own(ownBadRequest)
		x.answer(405, "This method is not allowed.", true, "Allow: "+p.allowed())
	case 400:
		p.stats.own(ownBadRequest)
		x.answer(400, sayMalformed, true)
	default:
		p.stats.own(ownBadRequest)
		x.answer(bad.Status, "", true)
	}
}

func (p *Proxy) badRequest(x *exchange) {
	p.stats.own(ownBadRequest)
	x.lingering = true
	x.answer(400, sayMalformed, true)
}

// refuse answers a request that gets no node.
func (p *Proxy) refuse(x *exchange, d *route.Decision) {
	if x.last != nil && (d.Why == route.NoWorker || d.Why == route.Forced) {
		p.fail(x, x.last) // all were tried
		return
	}
	var extra []string
	if d.RetryAfter > 0 {
		extra = append(extra, "Retry-After: "+strconv.Itoa(d.RetryAfter))
	}
	switch d.Why {
	case route.EmptySegment:
		p.badRequest(x)
	case route.NoContext:
		p.stats.own(ownNoContext)
		x.answer(d.Status, sayNothing, false, extra...)
	case route.Rejected:
		x.answer(d.Status, "", false, extra...)
	case route.Redirected:
		x.answer(d.Status, "", false, append(extra, "Location: "+d.Location)...)
	default:
		p.stats.own(ownUnavailable)
		x.answer(d.Status, sayNoWorker, false, extra...)
	}
}

// fail answers a request whose last try failed.
func (p *Proxy) fail(x *exchange, f *failure) {
	x.cause = f.err
	switch f.kind {
	case failedGone:
		x.left()
	case failedDial, failedFull:
		p.stats.own(ownConnectFailed)
		x.answer(503, sayNoWorker, false)
	case failedLate:
		p.stats.own(ownTimeout)
		x.answer(504, sayLate, false)
	case failedBody:
		p.failBody(x, f.err)
	case failedLimit:
		p.failLimit(x, f.err)
	default:
		p.stats.own(ownConnectFailed)
		x.answer(502, sayBroken, false)
	}
}

// failLimit answers a request that workers would not take.
func (p *Proxy) failLimit(x *exchange, err error) {
	var large *ajp.SizeError
	switch {
	case errors.As(err, &large) && large.Target:
		p.stats.own(ownLimit)
		x.answer(414, "The address is too long.", true)
	case errors.As(err, &large):
		p.stats.own(ownLimit)
		x.answer(431, "The header is too large.", true)
	case err == ajp.ErrName:
		p.badRequest(x)
	default:
		p.stats.own(ownLimit)
		x.answer(431, "Too many header lines.", true)
	}
}

// failBody answers a request whose body failed, if there is anybody to answer.
func (p *Proxy) failBody(x *exchange, err error) {
	x.cause, x.lingering = err, true
	switch err {
	case errBodyLarge:
		p.stats.own(ownLimit)
		x.answer(413, "The body is too large.", true)
	case errBodyLate:
		p.stats.own(ownTimeout)
		x.answer(408, "The body came too slowly.", true)
	case errTrailers:
		p.stats.own(ownLimit)
		x.answer(431, "The trailers are too large.", true)
	case errBodyBad:
		p.badRequest(x)
	default:
		x.left()
	}
}

// left is the end of an exchange whose client has gone: there is no answer.
func (x *exchange) left() {
	x.closedBy, x.broken, x.closing = "client", true, true
	x.down.abort()
}
