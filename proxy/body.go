package proxy

import (
	"errors"
	"io"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/proxy/http1"
)

// What a client may do wrong with its body.
var (
	errBodyLarge = errors.New("body over the limit")
	errBodyLate  = errors.New("body too slow")
	errBodyBad   = errors.New("chunks are malformed")
	errTrailers  = errors.New("chunk extensions and trailers over the limit")
	errBodyOver  = errors.New("body is not wanted any more")
	errGone      = errors.New("the client has left")
)

// rateGrace is how long a body may be slower than traffic.body_min_rate.
const rateGrace = 5 * time.Second

// What is left of a body that nobody wants is read for the sake of the next
// request if it is little and there; else the connection closes (http-notes.md §6).
const (
	restMost = 64 << 10
	restTime = 50 * time.Millisecond
)

// body is a client's request body as it comes in. What is decoded lies in
// exchange.in, from start to end, until it is sent; what was consumed is never
// sent twice.
type body struct {
	present    bool
	chunked    bool  // its length is not known: it is sent on in chunks
	coded      bool  // it comes in chunks
	start, end int   // of in: decoded, not taken yet
	raw        int   // of in: from here to n nothing was looked at
	left       int64 // bytes still to come from the client, by length
	total      int64 // bytes that came
	whole      bool  // the last byte came, trailers too
	taken      bool  // somebody has read from it: it cannot be sent again
	lost       bool  // bytes of it went with a pipe: where the next request begins is not known
	cut        bool  // it was not sent on to its end
	began      time.Time
	chunks     http1.Chunked
}

func (b *body) reset() {
	b.lost = false
	b.present, b.chunked, b.coded, b.whole, b.taken, b.cut = false, false, false, false, false, false
	b.start, b.end, b.raw, b.left, b.total = 0, 0, 0, 0, 0
	b.began = time.Time{}
	b.chunks.Fields, b.chunks.Trailers = b.chunks.Fields[:0], b.chunks.Trailers[:0]
}

// inBuffer says whether all of it can be sent, and sent again.
func (b *body) inBuffer() bool { return !b.present || b.whole && !b.taken }

// ready are the bytes that are decoded.
func (x *exchange) ready() []byte { return x.in[x.body.start:x.body.end] }

// noteBody finds out what there is of a body behind the head.
func (x *exchange) noteBody() {
	b := &x.body
	b.start, b.end, b.raw = x.head, x.head, x.head
	if x.req.Length == 0 {
		b.whole = true
		return
	}
	b.present, b.chunked = true, x.req.Length < 0
	b.coded = b.chunked && x.down == &x.h1
	if b.chunked {
		b.chunks.Reset(x.t.Limits.HeaderBytes)
		return
	}
	k := int(min(int64(x.n-x.head), x.req.Length))
	b.end, b.raw, b.total = x.head+k, x.head+k, int64(k)
	b.left = x.req.Length - int64(k)
	b.whole = b.left == 0
}

// openBody reads what is to be read before a worker is chosen: a short body whole,
// so that slow uploads hold no worker; of chunks only what is there (http-notes.md
// §7).
func (x *exchange) openBody() error {
	x.noteBody()
	b := &x.body
	if !b.present {
		return nil
	}
	if limit := x.t.Limits.BodyBytes; limit > 0 && x.req.Length > limit {
		return errBodyLarge
	}
	if room := 4 << 10; len(x.in)-x.head < room {
		x.growIn(x.head + room)
	}
	if b.coded {
		return x.decode()
	}
	if b.chunked || x.req.Expect || b.left > int64(len(x.in)-b.end) {
		return nil
	}
	for !b.whole {
		k, err := x.down.fill(x.in[b.end : b.end+int(b.left)])
		b.end += k
		b.left -= int64(k)
		b.total += int64(k)
		b.whole = b.left == 0
		if err != nil && !b.whole {
			return err
		}
		b.raw, x.n = b.end, b.end
	}
	return nil
}

// growIn makes room for size bytes. Strings cut from the old buffer stay good.
func (x *exchange) growIn(size int) {
	grown := make([]byte, max(size, 2*len(x.in)))
	copy(grown, x.in[:x.n])
	x.in = grown
}

// decode takes chunks apart that are there, in place.
func (x *exchange) decode() error {
	b := &x.body
	wrote, took, done, err := b.chunks.Decode(x.in[b.end:b.end], x.in[b.raw:x.n])
	b.end += wrote
	b.raw += took
	b.whole = done
	b.total += int64(wrote)
	if err != nil {
		if err.Status == 431 {
			return errTrailers
		}
		return errBodyBad
	}
	if limit := x.t.Limits.BodyBytes; limit > 0 && b.total > limit {
		return errBodyLarge
	}
	return nil
}

// readBody returns bytes of the body: what is decoded first, then from the client.
// io.EOF follows the last. Only one goroutine reads.
func (x *exchange) readBody(to []byte) (int, error) {
	b := &x.body
	b.taken = true
	for {
		if b.start < b.end {
			n := copy(to, x.in[b.start:b.end])
			b.start += n
			return n, nil
		}
		if b.whole {
			return 0, io.EOF
		}
		if !b.coded {
			if !b.chunked && int64(len(to)) > b.left {
				to = to[:b.left]
			}
			n, err := x.down.fill(to)
			b.total += int64(n)
			if !b.chunked {
				b.left -= int64(n)
				b.whole = b.left == 0
			} else if limit := x.t.Limits.BodyBytes; limit > 0 && b.total > limit {
				return 0, errBodyLarge
			}
			if err == io.EOF && b.chunked {
				b.whole = true
			}
			if n > 0 || b.whole && !b.chunked {
				return n, nil
			}
			return 0, err
		}
		// All that was decoded is taken: the room behind the head is free.
		if b.raw == x.n {
			b.raw, x.n = x.head, x.head
			n, err := x.down.fill(x.in[x.n:])
			if err != nil {
				return 0, err
			}
			x.n += n
		}
		b.start, b.end = x.head, x.head
		if err := x.decode(); err != nil {
			return 0, err
		}
	}
}

// bodyDeadline is until when more of the body has to come; zero: whenever.
func (x *exchange) bodyDeadline(now time.Time) (deadline time.Time) {
	b := &x.body
	if b.began.IsZero() {
		b.began = now
	}
	if d := x.t.Timeouts.Body; d > 0 {
		deadline = now.Add(d)
	}
	if rate := x.t.BodyMinRate; rate > 0 {
		due := b.began.Add(rateGrace + time.Duration(float64(b.total)/float64(rate)*float64(time.Second)))
		if deadline.IsZero() || due.Before(deadline) {
			deadline = due
		}
	}
	return deadline
}

// settle deals with a body that nobody wants: if what is left is little and there
// it is read. True: the connection can go on.
func (x *exchange) settle() bool {
	b := &x.body
	switch {
	case !b.present:
		return true
	case b.lost:
		return false
	case x.req.Expect: // whether it comes is the client's choice now
		return false
	case b.whole:
		return true
	case b.left > restMost:
		return false
	}
	if x.down != &x.h1 {
		return true // HTTP/2 ends the stream alone
	}
	t := *x.t
	t.Timeouts.Body, t.BodyMinRate = restTime, 0
	saved := x.t
	x.t = &t
	defer func() { x.t = saved }()
	began := time.Now()
	into := x.up
	for read := 0; read <= restMost; {
		n, err := x.readBody(into)
		read += n
		if err == io.EOF {
			return true
		}
		if err != nil || time.Since(began) > 2*restTime {
			return false
		}
	}
	return false
}

// pump sends a body on that does not fit the buffer, while the answer is awaited
// and relayed by the goroutine of the exchange, which joins it before any buffer
// or connection goes back.
type pump struct {
	x        *exchange
	conn     *upConn       // nil: no pump runs
	done     chan struct{} // one send at the end of run
	last     atomic.Bool   // what is being sent is the last of it
	ended    atomic.Bool
	progress atomic.Int64 // when bytes were last sent on, Unix ns
	fault    error        // the client's; read after ended
	failed   error        // the worker's; read after ended
}

// startPump sends the rest of the body to c.
func (x *exchange) startPump(c *upConn) {
	m := &x.pump
	m.conn, m.fault, m.failed = c, nil, nil
	m.last.Store(false)
	m.ended.Store(false)
	m.progress.Store(time.Now().UnixNano())
	go x.pumped()
}

// stopPump ends the pump if it still runs, and waits for it. It returns whether
// the body was sent to its end.
func (x *exchange) stopPump() bool {
	m := &x.pump
	if m.conn == nil {
		return x.body.whole
	}
	if !m.hasEnded() {
		x.down.interrupt()
		m.conn.Interrupt()
	}
	<-m.done
	m.conn.Resume() // it may have been sent to its end all the same
	m.conn = nil
	x.down.resume()
	x.body.cut = m.fault != nil || m.failed != nil
	return !x.body.cut
}

// pumping says whether the pump is the one to notice that the client leaves: it reads
// from it, or will soon. A worker that takes nothing keeps it from that.
func (x *exchange) pumping() bool {
	m := &x.pump
	return m.conn != nil && !m.ended.Load() && time.Now().UnixNano()-m.progress.Load() < int64(sliceLeast)
}

// bodySent says whether the worker has got the body to its end.
func (x *exchange) bodySent() bool {
	m := &x.pump
	if m.conn == nil {
		return x.body.whole
	}
	return m.hasEnded() && m.fault == nil && m.failed == nil
}

// lastMost is how long the pump may take to say that what it sent was the last.
const lastMost = 100 * time.Millisecond

// hasEnded says whether the pump has ended. A worker may answer the last byte before
// the pump, which sent it, has run again.
func (m *pump) hasEnded() bool {
	var began time.Time
	for n := 0; !m.ended.Load(); n++ {
		switch {
		case !m.last.Load():
			return false
		case n < 50:
			runtime.Gosched()
			continue
		case n == 50:
			began = time.Now()
		case time.Since(began) > lastMost:
			return false
		}
		time.Sleep(50 * time.Microsecond)
	}
	return true
}

// run is the pump's goroutine.
func (m *pump) run() {
	m.fault, m.failed = m.send()
	m.ended.Store(true)
	if m.fault != nil {
		m.conn.Interrupt() // whoever waits for the answer is to hear of it
	}
	m.done <- struct{}{}
}

// chunkRoom is kept free before a piece of body for the head of its chunk.
const chunkRoom = 16

func (m *pump) send() (fault, failed error) {
	x, b := m.x, &m.x.body
	buf := bigBuffers.Get().(*[bigBuffer]byte)
	defer bigBuffers.Put(buf)
	for {
		if !b.chunked && b.start == b.end && b.left >= spliceLeast {
			if handled, fault, failed := m.splice(); handled {
				if fault != nil || failed != nil || b.whole {
					return fault, failed
				}
				continue
			}
		}
		n, err := x.readBody(buf[chunkRoom : len(buf)-2])
		m.last.Store(b.whole && b.start == b.end)
		if n > 0 {
			piece := buf[chunkRoom : chunkRoom+n]
			if b.chunked {
				piece = frame(buf[:], n)
			}
			if _, err := m.conn.Write(piece); err != nil {
				return nil, err
			}
			m.progress.Store(time.Now().UnixNano())
		}
		if err == io.EOF {
			if b.chunked {
				_, err = m.conn.Write(x.lastChunk(buf[:0]))
			} else {
				err = nil
			}
			return nil, err
		}
		if err != nil {
			return err, nil
		}
		if !b.chunked && b.whole && b.start == b.end {
			return nil, nil
		}
	}
}

// frame makes a chunk of the n bytes behind chunkRoom, in place.
func frame(buf []byte, n int) []byte {
	var head [chunkRoom]byte
	h := http1.AppendChunkHead(head[:0], n)
	from := chunkRoom - len(h)
	copy(buf[from:], h)
	buf[chunkRoom+n], buf[chunkRoom+n+1] = '\r', '\n'
	return buf[from : chunkRoom+n+2]
}

// hasTrailers says whether something comes behind a body that may pass: it needs
// chunks of ours to be carried.
func (x *exchange) hasTrailers() bool {
	c := &x.body.chunks
	for i := range c.Fields {
		if http1.TrailerAllowed(&c.Fields[i], c.Trailers) {
			return true
		}
	}
	return false
}

// lastChunk ends a body in chunks: with the trailers that may pass.
func (x *exchange) lastChunk(to []byte) []byte {
	return appendTrailers(to, &x.body.chunks)
}

// appendTrailers appends the last chunk and the trailers of c that may pass.
func appendTrailers(to []byte, c *http1.Chunked) []byte {
	to = append(to, "0\r\n"...)
	if c != nil {
		for i := range c.Fields {
			if f := &c.Fields[i]; http1.TrailerAllowed(f, c.Trailers) {
				to = http1.AppendField(to, view(f.Name.Of(c.Trailers)), f.Value.Of(c.Trailers))
			}
		}
	}
	return append(to, "\r\n"...)
}

// splice moves a long body in the kernel; handled is false where it cannot.
func (m *pump) splice() (handled bool, fault, failed error) {
	x, b := m.x, &m.x.body
	from := x.down.carrier()
	if from == nil {
		return false, nil, nil
	}
	now := time.Now()
	from.SetReadDeadline(x.bodyDeadline(now))
	// The end is copied: of what is spliced nobody knows when it was the last.
	n, ok, workers, err := from.Splice(m.conn.Conn, min(b.left-spliceLeast/2, spliceMost))
	if !ok {
		return false, nil, nil
	}
	b.taken = true
	b.left -= n
	b.total += n
	b.whole = b.left == 0
	b.lost = err != nil
	m.progress.Store(time.Now().UnixNano())
	switch {
	case err == nil && n > 0:
		return true, nil, nil
	case workers:
		return true, nil, err
	case n > 0 && errors.Is(err, os.ErrDeadlineExceeded) && !x.h1.stopped.Load():
		b.lost = false // slow, not late: the pipe is empty, and the next piece has its own time
		return true, nil, nil
	}
	return true, x.h1.fault(err), nil
}

// appendReady appends what is decoded, framed for the worker, and takes it.
func (x *exchange) appendReady(to []byte) []byte {
	b := &x.body
	n := b.end - b.start
	if !b.chunked || b.whole && !x.hasTrailers() {
		return append(to, x.ready()...)
	}
	if n > 0 {
		to = http1.AppendChunkHead(to, n)
		to = append(append(to, x.ready()...), "\r\n"...)
	}
	if b.whole {
		to = x.lastChunk(to)
	}
	return to
}
