package proxy

import (
	"net/http"
	"strconv"
	"time"

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
	s := itoa(status) + " " + http.StatusText(status) + "\n\n"
	if sentence != "" {
		s += sentence + "\n"
	}
	if id != "" {
		s += "Request " + id + "\n"
	}
	return s
}

func itoa(n int) string { return strconv.Itoa(n) }

// answer sends an answer of ours.
func (x *exchange) answer(status int, sentence string, closing bool) {
	if closing {
		x.writer.Header().Set("Connection", "close")
	}
	x.plain(status, ownText(status, sentence, x.id))
}

func (x *exchange) plain(status int, text string) {
	h := x.writer.Header()
	if x.body != nil && !x.body.settle() {
		h.Set("Connection", "close")
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", itoa(len(text)))
	h.Set("Cache-Control", "no-store")
	x.begin(status)
	if x.request.Method != http.MethodHead {
		x.writer.Write([]byte(text))
	}
}

// begin sends the status; from here on there is no other answer.
func (x *exchange) begin(status int) {
	x.status = status
	x.extendWrite()
	x.writer.WriteHeader(status)
}

// extendWrite gives the client time to take what is written next.
func (x *exchange) extendWrite() {
	if x.write > 0 {
		x.control.SetWriteDeadline(time.Now().Add(x.write))
	}
}

// written ends what extendWrite began, before a wait for more: package http resets
// an HTTP/2 stream whose deadline passes though nothing is being written.
func (x *exchange) written() {
	if x.write > 0 && x.request.ProtoMajor == 2 {
		x.control.SetWriteDeadline(time.Time{})
	}
}

func (p *Proxy) badRequest(x *exchange) {
	p.stats.own(ownBadRequest)
	x.answer(http.StatusBadRequest, sayMalformed, true)
}

// refuse answers a request that gets no node.
func (p *Proxy) refuse(x *exchange, d *route.Decision) {
	if x.gone() {
		return
	}
	if x.last != nil && (d.Why == route.NoWorker || d.Why == route.Forced) {
		p.fail(x, x.last) // all were tried
		return
	}
	if d.RetryAfter > 0 {
		x.writer.Header().Set("Retry-After", itoa(d.RetryAfter))
	}
	switch d.Why {
	case route.EmptySegment:
		p.badRequest(x)
	case route.NoContext:
		p.stats.own(ownNoContext)
		x.answer(d.Status, sayNothing, false)
	case route.Rejected:
		x.answer(d.Status, "", false)
	case route.Redirected:
		x.writer.Header().Set("Location", d.Location)
		x.answer(d.Status, "", false)
	default:
		p.stats.own(ownUnavailable)
		x.answer(d.Status, sayNoWorker, false)
	}
}

// fail answers a request whose last try failed.
func (p *Proxy) fail(x *exchange, f *failure) {
	if x.gone() && f.err != errBodyLate && f.err != errBodyLarge {
		return
	}
	switch f.kind {
	case failedDial, failedFull:
		p.stats.own(ownConnectFailed)
		x.answer(http.StatusServiceUnavailable, sayNoWorker, false)
	case failedLate:
		p.stats.own(ownTimeout)
		x.answer(http.StatusGatewayTimeout, sayLate, false)
	case failedBody:
		switch f.err {
		case errBodyLarge:
			p.stats.own(ownLimit)
			x.answer(http.StatusRequestEntityTooLarge, "The body is too large.", true)
		case errBodyLate:
			p.stats.own(ownTimeout)
			x.answer(http.StatusRequestTimeout, "The body came too slowly.", true)
		default:
			p.badRequest(x)
		}
	case failedLimit:
		p.stats.own(ownLimit)
		x.answer(http.StatusRequestHeaderFieldsTooLarge, "Too many header lines.", true)
	default:
		p.stats.own(ownConnectFailed)
		x.answer(http.StatusBadGateway, sayBroken, false)
	}
}
