package proxy

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/quorate/quorate/proxy/http1"
)

// Long bodies are moved by the kernel where both sides are plain TCP, in pieces, so
// that deadlines follow the progress; the rest is copied in big pieces.
const (
	spliceLeast = 32 << 10
	spliceMost  = 1 << 20
	bigBuffer   = 64 << 10
)

var bigBuffers = sync.Pool{New: func() any { return new([bigBuffer]byte) }}

// relay sends the answer in x.resp to the client: what one read brings is written
// at once. It returns whether the worker's connection can be used again. If the
// answer breaks off, so does the client's connection. k is nil for a worker of HTTP.
func (p *Proxy) relay(x *exchange, w *waiting, k *link) (reusable bool) {
	r := &x.resp
	kind, length := r.Body()
	said, none := int64(-1), false
	if k != nil && r.Status == 205 {
		kind = http1.NoBody // and whatever comes is dropped
	}
	switch {
	case kind == http1.ByLength:
		said = length
	case kind != http1.NoBody:
	case r.Status == 204: // never with a length, not even for HEAD (RFC 9110 §8.6)
		none = true
	case x.method == "HEAD", r.Status == 304:
		none = true
		if r.HasLength {
			said = r.Length
		}
	default: // Content-Length: 0
		said = 0
	}
	if x.body.present && !x.bodySent() {
		x.closing, x.lingering = true, true // it is answered before it was heard
	}
	if p.draining.Load() {
		x.closing = true
	}
	x.status = r.Status
	w.used = w.head
	if err := x.down.begin(r, x.up, said, none); err != nil {
		return p.broken(x, "client", err)
	}
	if k != nil {
		return p.relayPackets(x, k, said, none || r.Status == 205)
	}
	switch kind {
	case http1.ByLength:
		return p.relayLength(x, w, length)
	case http1.ByChunks:
		return p.relayChunks(x, w)
	case http1.UntilClose:
		return p.relayRest(x, w)
	}
	if err := x.down.end(nil); err != nil {
		return p.broken(x, "client", err)
	}
	return true
}

// broken ends an answer that cannot be completed.
func (p *Proxy) broken(x *exchange, by string, err error) bool {
	p.log.Debug("answer broken off", "request", x.id, "by", by, "error", err)
	x.closedBy, x.cause = by, err
	x.closing, x.broken = true, true
	x.stopPump()
	x.down.abort()
	return false
}

// relayLength relays a body of left bytes.
func (p *Proxy) relayLength(x *exchange, w *waiting, left int64) bool {
	first := int(min(left, int64(x.upN-w.head)))
	w.used += first
	left -= int64(first)
	x.sent += int64(first)
	if err := x.down.write(x.up[w.head:w.used], left > 0); err != nil {
		return p.broken(x, "client", err)
	}
	if left == 0 {
		if err := x.down.end(nil); err != nil {
			return p.broken(x, "client", err)
		}
		return true
	}
	buf := bigBuffers.Get().(*[bigBuffer]byte)
	defer bigBuffers.Put(buf)
	for left > 0 {
		if left >= spliceLeast {
			n, ok, err := p.spliceAnswer(x, w, min(left, spliceMost))
			if ok {
				left -= n
				if err != nil {
					return false
				}
				continue
			}
		}
		n, err := p.more(x, w, buf[:min(left, bigBuffer)])
		if err != nil {
			return p.broken(x, whose(err), err)
		}
		left -= int64(n)
		x.sent += int64(n)
		if err := x.down.write(buf[:n], true); err != nil {
			return p.broken(x, "client", err)
		}
	}
	if err := x.down.end(nil); err != nil {
		return p.broken(x, "client", err)
	}
	return true
}

// spliceAnswer moves up to n bytes in the kernel; ok is false where it cannot.
func (p *Proxy) spliceAnswer(x *exchange, w *waiting, n int64) (moved int64, ok bool, err error) {
	to := x.down.carrier()
	if to == nil || w.c.TLS() != nil {
		return 0, false, nil
	}
	since := time.Now()
	for moved < n {
		x.arm(w.c, time.Now(), since.Add(w.u.timeout))
		k, ok, fromClient, err := w.c.Splice(to, n-moved)
		if !ok {
			return moved, moved > 0, nil
		}
		moved += k
		x.sent += k
		if k > 0 {
			since = time.Now()
		}
		switch {
		case err == nil && k == 0:
			p.broken(x, "worker", errShort)
			return moved, true, errShort
		case err == nil && !x.limit.IsZero() && !time.Now().Before(x.limit):
			p.broken(x, whose(errLate), errLate)
			return moved, true, errLate
		case err == nil:
		case fromClient:
			p.broken(x, "client", err)
			return moved, true, err
		case !errors.Is(err, os.ErrDeadlineExceeded):
			p.broken(x, "worker", err)
			return moved, true, err
		default:
			if err := p.idle(x, w, since); err != nil {
				p.broken(x, whose(err), err)
				return moved, true, err
			}
		}
	}
	return moved, true, nil
}

// more reads from the worker, looking at the client while there is nothing.
// io.EOF before the end is errShort.
func (p *Proxy) more(x *exchange, w *waiting, buf []byte) (int, error) {
	since := time.Now()
	for now := since; ; now = time.Now() {
		if !x.limit.IsZero() && !now.Before(x.limit) {
			return 0, errLate
		}
		x.arm(w.c, now, since.Add(w.u.timeout))
		n, err := w.c.Read(buf)
		switch {
		case n > 0:
			return n, nil
		case err == io.EOF:
			return 0, errShort
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return 0, err
		}
		if err := p.idle(x, w, since); err != nil {
			return 0, err
		}
	}
}

// idle is a slice in which nothing of an answer came.
func (p *Proxy) idle(x *exchange, w *waiting, since time.Time) error {
	now, m := time.Now(), &x.pump
	if m.conn != nil && m.ended.Load() && m.fault != nil {
		if m.fault == errGone {
			return errGone
		}
		w.c.Resume() // the pump has ended the wait: the answer goes on all the same
	}
	return x.outOfTime(now, since, w.u.timeout)
}

// outOfTime says why a silent worker is waited for no longer; nil: it is.
func (x *exchange) outOfTime(now, since time.Time, timeout time.Duration) error {
	switch {
	case x.p.isCut():
		return errCut
	case !x.pumping() && x.down.gone():
		return errGone
	case !x.limit.IsZero() && !now.Before(x.limit):
		return errLate
	case now.Sub(since) >= timeout:
		return errSilent
	}
	return nil
}

// whose fault it is that an answer breaks off.
func whose(err error) string {
	switch err {
	case errGone:
		return "client"
	case errCut, errLate:
		return "quorate"
	}
	return "worker"
}

// relayChunks relays a body in chunks, chunk by chunk as they are read.
func (p *Proxy) relayChunks(x *exchange, w *waiting) bool {
	chunks := &x.chunks
	chunks.Reset(w.u.headBytes)
	for {
		wrote, took, done, err := chunks.Decode(x.up[w.used:w.used], x.up[w.used:x.upN])
		if err != nil {
			return p.broken(x, "worker", err)
		}
		x.sent += int64(wrote)
		piece := x.up[w.used : w.used+wrote]
		w.used += took
		if err := x.down.write(piece, !done); err != nil {
			return p.broken(x, "client", err)
		}
		if done {
			if err := x.down.end(chunks); err != nil {
				return p.broken(x, "client", err)
			}
			return true
		}
		if w.used != x.upN {
			continue
		}
		x.upN, w.used = 0, 0
		n, failed := p.more(x, w, x.up)
		if failed != nil {
			return p.broken(x, whose(failed), failed)
		}
		x.upN = n
	}
}

// relayRest relays a body that ends with the connection.
func (p *Proxy) relayRest(x *exchange, w *waiting) bool {
	x.sent += int64(x.upN - w.head)
	if err := x.down.write(x.up[w.head:x.upN], true); err != nil {
		return p.broken(x, "client", err)
	}
	for {
		n, err := p.more(x, w, x.up)
		if err == errShort { // in order: FIN, and close_notify where there is TLS
			if err := x.down.end(nil); err != nil {
				p.broken(x, "client", err)
			}
			return false
		}
		if err != nil {
			return p.broken(x, whose(err), err)
		}
		x.sent += int64(n)
		if err := x.down.write(x.up[:n], true); err != nil {
			return p.broken(x, "client", err)
		}
	}
}
