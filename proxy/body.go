package proxy

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// What a client may do wrong with its body.
var (
	errBodyLarge = errors.New("body over the limit")
	errBodyLate  = errors.New("body too slow")
	errBodyOver  = errors.New("body is not wanted any more")
)

// rateGrace is how long a body may be slower than traffic.body_min_rate.
const rateGrace = 5 * time.Second

// What is left of a body that nobody wants is read for the sake of the next
// request if it is little and there; else the connection closes (http-notes.md §6).
const (
	restMost = 64 << 10
	restTime = 50 * time.Millisecond
)

// body reads a client's body for one exchange, within the limits of time, rate
// and size. One try after another may read it, the next only if the former has
// not begun to: what was consumed is never sent twice.
type body struct {
	request *http.Request
	control *http.ResponseController
	c       *Config

	reader atomic.Pointer[tryBody] // the try that has begun to read
	cut    atomic.Bool             // a read was ended by interrupt
	over   atomic.Bool             // nobody may read any more

	mu      sync.Mutex // held while reading
	began   time.Time  // of the first read; zero: untouched
	n       int64
	failure error       // the client's fault, or io.EOF
	trailer http.Header // of the try that reads
}

// tryBody is the body as one try has it.
type tryBody struct {
	*body
	closed bool        // guarded by mu
	broken atomic.Bool // its connection has ended
}

// begin gives the body to the next try; nil if an earlier one has read from it.
func (b *body) begin() *tryBody {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.began.IsZero() {
		return nil
	}
	b.trailer = make(http.Header)
	for k := range b.request.Trailer {
		if trailerAllowed(k) {
			b.trailer[k] = nil
		}
	}
	return &tryBody{body: b}
}

// withdraw takes the body back, and says whether the try has left it untouched.
func (t *tryBody) withdraw() bool {
	if !t.mu.TryLock() {
		return false // it reads
	}
	defer t.mu.Unlock()
	t.closed = true
	return t.began.IsZero()
}

// Read implements io.Reader for the transport.
func (t *tryBody) Read(buf []byte) (int, error) {
	b := t.body
	b.mu.Lock()
	defer b.mu.Unlock()
	if t.closed || t.ended() {
		return 0, errBodyOver
	}
	if b.failure != nil {
		return 0, b.failure
	}
	now := time.Now()
	b.reader.Store(t)
	if d := b.c.Timeouts.Body; d > 0 {
		b.control.SetReadDeadline(now.Add(d))
	}
	if t.ended() { // again, since the line above undoes what interrupt and finish did
		b.control.SetReadDeadline(time.Time{})
		return 0, errBodyOver
	}
	if b.began.IsZero() {
		b.began = now
	}
	n, err := b.request.Body.Read(buf)
	b.n += int64(n)
	late, most := errors.Is(err, os.ErrDeadlineExceeded), b.c.Timeouts.Body
	switch limit, rate := b.c.Limits.BodyBytes, b.c.BodyMinRate; {
	case late && most > 0 && time.Since(now) >= most:
		err = errBodyLate // before broken: package http has told the transport already
	case late || err != nil && err != io.EOF && t.broken.Load():
		err = errBodyOver // by interrupt or finish
	case limit > 0 && b.n > limit:
		err = errBodyLarge
	case err == nil && rate > 0 && b.slow(rate):
		err = errBodyLate
	case err == io.EOF:
		for k := range b.trailer {
			b.trailer[k] = b.request.Trailer[k]
		}
	}
	b.failure = err
	if err != nil || b.request.ProtoMajor == 2 {
		// What follows is waiting, for the answer or for the worker to take more. A
		// deadline that passes then would look as if the client had gone, and ends
		// the body of an HTTP/2 stream though nobody reads it.
		b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// ended says whether nothing may be read any more. It needs no lock.
func (t *tryBody) ended() bool { return t.over.Load() || t.broken.Load() }

func (b *body) slow(rate int64) bool {
	took := time.Since(b.began)
	return took > rateGrace && float64(b.n) < took.Seconds()*float64(rate)
}

// Close implements io.Closer. The transport may call it while it still reads:
// withdraw and finish end a try.
func (t *tryBody) Close() error { return nil }

// fault is what the client did wrong; nil if nothing.
func (b *body) fault() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failure == io.EOF || b.failure == errBodyOver {
		return nil
	}
	return b.failure
}

// interrupt ends a read that waits for the client, since the connection of this
// try has ended: the transport returns only when the body does.
func (t *tryBody) interrupt() {
	t.broken.Store(true)
	if t.mu.TryLock() { // nobody reads; the next read sees it
		t.mu.Unlock()
		return
	}
	if t.reader.Load() != t {
		return
	}
	t.cut.Store(true)
	t.control.SetReadDeadline(time.Unix(1, 0))
	t.mu.Lock()
	t.control.SetReadDeadline(time.Time{}) // the connection may live on
	t.mu.Unlock()
}

// finish ends all reading and says whether the body was read to its end. It
// waits for a read that runs: the connection goes back to package http.
func (b *body) finish() (whole bool) {
	b.over.Store(true)
	if !b.mu.TryLock() {
		b.control.SetReadDeadline(time.Unix(1, 0))
		b.mu.Lock()
		b.control.SetReadDeadline(time.Time{})
	}
	defer b.mu.Unlock()
	return b.failure == io.EOF
}

// settle ends all reading and says whether the connection can take another
// request. HTTP/2 keeps requests apart by itself.
func (b *body) settle() bool {
	if b.finish() || b.request.ProtoMajor != 1 {
		return true
	}
	if len(b.request.Header["Expect"]) > 0 {
		return false // reading would ask the client for it
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failure != nil {
		return false
	}
	b.control.SetReadDeadline(time.Now().Add(restTime))
	_, err := io.CopyN(io.Discard, b.request.Body, restMost+1)
	b.control.SetReadDeadline(time.Time{})
	if err != io.EOF {
		err = errBodyOver
	}
	b.failure = err
	return err == io.EOF
}

// whole says whether the body has been read to its end.
func (b *body) whole() bool {
	if !b.mu.TryLock() {
		return false // it is being read
	}
	defer b.mu.Unlock()
	return b.failure == io.EOF
}
