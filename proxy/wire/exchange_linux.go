package wire

import (
	"io"
	"os"
	"syscall"
	"time"
)

// engine is the state of the one read and the one write that may run. The functions the
// poller calls are bound once, because a closure for each call would be an allocation.
type engine struct {
	onRead, onWrite func(uintptr) bool
	onLook, onPoll  func(uintptr)

	// Of the read.
	in    []byte  // WriteRead: where the answer goes
	idle  Buffers // ReadIdle
	wrote int     // WriteRead
	n     int
	err   error

	// Of the write.
	left     []byte
	writeErr error

	fd    int32   // while now is set
	now   bool    // reads of the network do not wait: they run inside onRead or onLook
	what  task    // of onRead
	quiet bool    // what onLook saw
	one   [1]byte // a look on TLS must have room for what is not to be there
	armed bool    // a write has set a deadline
	moved bool    // and the kernel took bytes since
}

type task uint8

const (
	waiting  task = iota // ReadIdle
	peeking              // Wait
	sending              // WriteRead before its write
	reading              // WriteRead behind it
	dropping             // Linger
)

func (e *engine) bind(c *Conn) {
	e.onRead, e.onWrite = c.onRead, c.onWrite
	e.onLook, e.onPoll = c.onLook, c.onPoll
}

// ReadIdle waits for bytes without holding a buffer: it is taken when there may be
// something to read and given back when there was nothing. The caller has it when, and
// only when, n > 0.
func (c *Conn) ReadIdle(b Buffers) (n int, err error) {
	e := &c.engine
	e.what, e.idle = waiting, b
	err = c.raw.Read(e.onRead)
	n = e.n
	if err == nil {
		err = e.err
	}
	e.idle, e.n, e.err = nil, 0, nil
	return n, bare(err)
}

// Wait waits until there is something to read, or an end, and leaves it there. It needs
// so little stack that the smallest one is enough.
func (c *Conn) Wait() error {
	c.engine.what = peeking
	return bare(c.raw.Read(c.engine.onRead))
}

// WriteRead is one exchange on an upstream connection: look, write out, wait, read into
// in. A read deadline that is over fails it before the look: Arm first.
//
//	ErrStale                    the look found FIN, RST or bytes: nothing was written
//	wrote < len(out), other     the write failed
//	os.ErrDeadlineExceeded      wrote = len(out): go on with Read
//	other                       the answer's first read failed; io.EOF: closed
func (c *Conn) WriteRead(out, in []byte) (wrote, n int, err error) {
	e := &c.engine
	e.what, e.left, e.in = sending, out, in
	err = c.raw.Read(e.onRead)
	wrote, n = e.wrote, e.n
	if err == nil {
		err = e.err
	}
	if e.what == sending {
		e.left = nil // the deadline was over
	}
	e.in, e.wrote, e.n, e.err = nil, 0, 0, nil
	return wrote, n, bare(err)
}

// onRead runs with the read side of the descriptor held and the poller's edge reset.
// false: wait for the next edge and call again.
func (c *Conn) onRead(fd uintptr) bool {
	e := &c.engine
	switch e.what {
	case waiting:
		b := e.idle.Take()
		e.n, e.err = c.try(fd, b)
		if e.n == 0 {
			e.idle.Give()
		}
	case peeking:
		return !quiet(fd)
	case sending:
		out := e.left
		e.left = nil // from here on it is the write's
		if !c.look(fd) {
			e.err = ErrStale
			return true
		}
		e.wrote, e.err = c.send(fd, out)
		e.what = reading
		return e.err != nil
	case reading:
		e.n, e.err = c.try(fd, e.in)
	case dropping:
		e.n, e.err = drop(fd, progress, 0)
		c.taken.Add(uint64(e.n))
	}
	if e.err == syscall.EAGAIN {
		e.err = nil
		return false
	}
	return true
}

// try is Read, but for EAGAIN where it would wait.
func (c *Conn) try(fd uintptr, b []byte) (int, error) {
	e := &c.engine
	e.now, e.fd = true, int32(fd)
	n, err := c.Read(b)
	e.now = false
	return n, err
}

// look reports whether nothing has come, not even an end. In TLS that takes a read: what
// crypto/tls read ahead counts, session tickets do not.
func (c *Conn) look(fd uintptr) bool {
	if c.tls == nil {
		return quiet(fd)
	}
	_, err := c.try(fd, c.engine.one[:])
	return err == syscall.EAGAIN && !c.records.within()
}

// send writes b: at once if the kernel takes it, which it nearly always does.
func (c *Conn) send(fd uintptr, b []byte) (int, error) {
	if c.tls != nil {
		return c.Write(b)
	}
	n, err := write(fd, b)
	if n > 0 {
		c.written.Add(uint64(n))
	}
	if err == nil && n == len(b) {
		return n, nil
	}
	if err != nil && err != syscall.EAGAIN {
		return 0, c.failed("write to", err)
	}
	more, err := c.write(b[n:])
	return n + more, err
}

// receive reads from the network.
func (c *Conn) receive(b []byte) (int, error) {
	if !c.engine.now {
		return c.tcp.Read(b)
	}
	n, err := read(uintptr(c.engine.fd), b)
	switch {
	case err == syscall.EAGAIN:
		return 0, syscall.EAGAIN
	case err != nil:
		return 0, c.failed("read from", err)
	case n == 0 && len(b) > 0:
		return 0, io.EOF
	}
	return n, nil
}

// write writes all of b to the network.
func (c *Conn) write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	e := &c.engine
	e.left, e.writeErr = b, nil
	err := c.raw.Write(e.onWrite)
	if err == nil {
		err = e.writeErr
	}
	n := len(b) - len(e.left)
	e.left, e.writeErr = nil, nil
	if e.armed {
		e.armed = false
		_ = c.armWrite(time.Time{}) // fails only when closed
	}
	return n, bare(err)
}

func (c *Conn) onWrite(fd uintptr) bool {
	e := &c.engine
	for len(e.left) > 0 {
		n, err := write(fd, e.left[:min(len(e.left), progress)])
		if n > 0 {
			c.written.Add(uint64(n))
			e.left = e.left[n:]
			e.moved = true
			continue
		}
		if err != syscall.EAGAIN {
			e.writeErr = c.failed("write to", err)
			return true
		}
		if c.closing.Load() {
			e.writeErr = os.ErrDeadlineExceeded
			return true
		}
		if c.patience > 0 && (e.moved || !e.armed) {
			e.armed, e.moved = true, false
			_ = c.armWrite(time.Now().Add(c.patience)) // fails only when closed
		}
		return false
	}
	return true
}

// Stale is the look alone, for a connection that nobody reads: closed, bytes in the
// kernel, or inside crypto/tls. It needs no deadline.
func (c *Conn) Stale() bool {
	c.engine.quiet = false
	err := c.raw.Control(c.engine.onLook)
	return err != nil || !c.engine.quiet
}

func (c *Conn) onLook(fd uintptr) { c.engine.quiet = c.look(fd) }

// Gone reports whether the peer has closed or reset the connection, even behind bytes
// that were not read. It does not wait, and another goroutine may be reading.
func (c *Conn) Gone() bool {
	return c.raw.Control(c.engine.onPoll) != nil || c.gone.Load()
}

func (c *Conn) onPoll(fd uintptr) { c.gone.Store(hungUp(fd)) }

// Acked returns how much the peer's kernel has acknowledged in the life of a connection
// that we opened: tcpi_bytes_acked, which counts the SYN as one byte. false: the system
// does not say. It must be asked before Close.
func (c *Conn) Acked() (acked uint64, ok bool) {
	err := c.raw.Control(func(fd uintptr) { acked = bytesAcked(fd) })
	return acked, err == nil && acked > 0
}

// broken reports whether the connection is of no use in either direction.
func (c *Conn) broken() (yes bool) {
	err := c.raw.Control(func(fd uintptr) { yes = dead(fd) })
	return err != nil || yes
}

// discard drops what the network brings next. io.EOF: nothing will come.
func (c *Conn) discard() error {
	e := &c.engine
	e.what = dropping
	err := c.raw.Read(e.onRead)
	n := e.n
	if err == nil {
		err = e.err
	}
	e.n, e.err = 0, nil
	if err == nil && n == 0 {
		return io.EOF
	}
	return bare(err)
}
