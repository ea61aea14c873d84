package proxy

import (
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/proxy/http1"
	"github.com/quorate/quorate/proxy/wire"
)

// h1 is the client's side of an exchange on an HTTP/1 connection.
type h1 struct {
	x       *exchange
	conn    *wire.Conn
	chunked bool // the answer is sent in chunks
	none    bool // the answer has no body
	old     bool // the client speaks HTTP/1.0
	stopped atomic.Bool
	sliced  bool      // fill waits for a slice at most, then says errNoBytes, until a time
	until   time.Time // this one; zero: for ever
}

func (h *h1) fill(to []byte) (int, error) {
	if h.sliced {
		return h.fillSlice(to)
	}
	h.conn.SetReadDeadline(h.x.bodyDeadline(time.Now()))
	n, err := h.conn.Read(to)
	if n > 0 {
		return n, nil
	}
	return 0, h.fault(err)
}

// fillSlice is fill where somebody else has to be looked at in between.
func (h *h1) fillSlice(to []byte) (int, error) {
	now := time.Now()
	if left := h.until.Sub(now); h.until.IsZero() || left > sliceMost {
		h.conn.Arm(now, sliceLeast, sliceMost)
	} else {
		h.conn.SetReadDeadline(h.until)
	}
	n, err := h.conn.Read(to)
	switch {
	case n > 0:
		return n, nil
	case errors.Is(err, os.ErrDeadlineExceeded) && !h.stopped.Load() && (h.until.IsZero() || time.Now().Before(h.until)):
		return 0, errNoBytes
	}
	return 0, h.fault(err)
}

// fault says what an error of reading means.
func (h *h1) fault(err error) error {
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return errGone
	case h.stopped.Load():
		return errBodyOver
	}
	return errBodyLate
}

func (h *h1) interrupt() {
	h.stopped.Store(true)
	h.conn.Interrupt()
}

func (h *h1) resume() {
	if h.stopped.Load() {
		h.stopped.Store(false)
		h.conn.Resume()
	}
}

func (h *h1) gone() bool { return h.conn.Gone() }

func (h *h1) carrier() *wire.Conn {
	if h.conn.TLS() != nil {
		return nil
	}
	return h.conn
}

func (h *h1) inform(r *http1.Response, b []byte) error {
	if h.old {
		return nil
	}
	out := appendStatusLine(h.x.out[:0], r, b)
	out, _ = appendAnswerFields(out, r, b)
	h.x.out = append(out, "\r\n"...)
	return h.flush()
}

func (h *h1) begin(r *http1.Response, b []byte, length int64, none bool) error {
	x := h.x
	h.none = none
	h.chunked = !none && length < 0 && !h.old
	if length < 0 && !none && h.old {
		x.closing = true // the end of the connection is the end of the body
	}
	out := appendStatusLine(x.out[:0], r, b)
	out, dated := appendAnswerFields(out, r, b)
	if !dated {
		out = x.p.appendDate(out)
	}
	switch {
	case h.chunked:
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	case length >= 0:
		out = appendLength(out, length)
	}
	switch {
	case x.closing:
		out = append(out, "Connection: close\r\n"...)
	case h.old:
		out = append(out, "Connection: keep-alive\r\n"...)
	}
	x.out = append(out, "\r\n"...)
	return nil
}

func (h *h1) write(b []byte, more bool) error {
	x := h.x
	switch {
	case h.none || len(b) == 0:
	case h.chunked:
		x.out = http1.AppendChunkHead(x.out, len(b))
		x.out = append(x.out, b...)
		x.out = append(x.out, "\r\n"...)
	case len(x.out) == 0:
		_, err := h.conn.Write(b)
		return err
	default:
		x.out = append(x.out, b...)
	}
	if more {
		return h.flush()
	}
	return nil
}

func (h *h1) end(c *http1.Chunked) error {
	if h.chunked {
		h.x.out = appendTrailers(h.x.out, c)
	}
	return h.flush()
}

func (h *h1) flush() error {
	if len(h.x.out) == 0 {
		return nil
	}
	_, err := h.conn.Write(h.x.out)
	h.x.out = h.x.out[:0]
	return err
}

// abort resets the connection: else a body without a length would look complete.
func (h *h1) abort() {
	h.x.broken = true
	h.conn.Reset()
}
