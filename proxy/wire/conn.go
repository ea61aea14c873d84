// Package wire is one TCP connection as the data path uses it: plain or TLS, with
// deadlines that are set once per phase, no buffer while it idles, a look for what the
// peer did in between, and a count of every raw byte. It knows nothing of HTTP.
//
// An exchange on an upstream connection is one call that parks once:
//
//	WriteRead   look: FIN, RST, bytes nobody asked for ──► ErrStale, nothing was written
//	            write the request
//	            wait                                   ──► os.ErrDeadlineExceeded, go on with Read
//	            read the first bytes of the answer
//
// All four happen under one hold of the descriptor's read side. Between two calls an
// edge of the poller would be lost, and a peer that closed early be waited for until
// the deadline.
//
// In steady state nothing here allocates, apart from crypto/tls itself.
package wire

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrStale: the peer closed the connection, or sent what nobody asked for. Nothing was
// written: what was to be sent may go out on another connection, whatever it is.
var ErrStale = errors.New("connection is stale")

// progress is the most that is written under one write deadline, in bytes.
const progress = 1 << 20

// Conn is a connection. One goroutine reads and one writes at a time; Interrupt, Gone,
// Close, Reset and the counters are for any. Every result that holds bytes (n > 0) has a
// nil error: what ended the stream comes with the next read.
type Conn struct {
	tcp *net.TCPConn
	raw syscall.RawConn
	tls *tls.Conn // nil: plain

	written, taken atomic.Uint64 // raw bytes
	closing        atomic.Bool   // writes no longer wait
	gone           atomic.Bool   // what the last poll said
	cut            atomic.Bool   // the raw stream has ended

	interrupted bool // under mu
	records     records
	mu          sync.Mutex        // of the deadlines in the runtime's poller
	readUntil   time.Time         // written under mu by the reading goroutine, which reads it without
	writeUntil  time.Time         // under mu
	patience    time.Duration     // of a write that makes no progress; 0: none
	limited     *io.LimitedReader // of Splice: made once
	engine      engine
}

// Buffers lends the buffer of ReadIdle.
type Buffers interface {
	Take() []byte // before a read that may find something; never empty
	Give()        // it found nothing
}

// New makes a Conn of c, which it owns from now on.
func New(c *net.TCPConn) (*Conn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("take over the connection with %s: %w", c.RemoteAddr(), err)
	}
	w := &Conn{tcp: c, raw: raw}
	w.engine.bind(w)
	return w, nil
}

// NetConn is what tls.Client and tls.Server are made over, so that raw bytes are counted.
func (c *Conn) NetConn() net.Conn { return (*rawConn)(c) }

// Secure sends all reads and writes through t, which was made over NetConn. It comes
// before the handshake, so that the looks know every record from the first on; the
// handshake must be over before ReadIdle, WriteRead or Stale is called.
func (c *Conn) Secure(t *tls.Conn) { c.tls = t }

// TLS is nil for a plain connection.
func (c *Conn) TLS() *tls.Conn { return c.tls }

// TCP is the connection below.
func (c *Conn) TCP() *net.TCPConn { return c.tcp }

// Written returns the raw bytes the kernel took from us, TLS included.
func (c *Conn) Written() uint64 { return c.written.Load() }

// ReadBytes returns the raw bytes read, TLS included.
func (c *Conn) ReadBytes() uint64 { return c.taken.Load() }

// Read waits for bytes. io.EOF is an orderly end: FIN, or close_notify where TLS is
// spoken. TLS without it was cut off: io.ErrUnexpectedEOF. A deadline that passed is
// os.ErrDeadlineExceeded, and reading may go on after it.
func (c *Conn) Read(b []byte) (int, error) {
	if c.tls == nil {
		return (*rawConn)(c).Read(b)
	}
	return c.readTLS(b)
}

func (c *Conn) readTLS(b []byte) (int, error) {
	n, err := c.tls.Read(b)
	switch {
	case n > 0:
		return n, nil // an error of crypto/tls stays and comes again
	case err == io.EOF && c.cut.Load():
		return 0, io.ErrUnexpectedEOF
	}
	return 0, bare(err)
}

// Write writes all of b. It waits at most the write time-out for each progress.
func (c *Conn) Write(b []byte) (int, error) {
	if c.tls == nil {
		return c.write(b)
	}
	n, err := c.tls.Write(b)
	return n, bare(err)
}

// CloseWrite ends our side of the stream: close_notify and FIN.
func (c *Conn) CloseWrite() error {
	if c.tls != nil {
		c.closing.Store(true)
		_ = c.tls.CloseWrite() // it may be cut off all the same
	}
	return c.tcp.CloseWrite()
}

// Close closes the connection, after close_notify if the kernel takes that at once.
func (c *Conn) Close() error {
	c.closing.Store(true)
	if c.tls != nil {
		return c.tls.Close()
	}
	return c.tcp.Close()
}

// Reset closes the connection with RST, so that the peer knows that what it got was not
// all.
func (c *Conn) Reset() error {
	_ = c.tcp.SetLinger(0) // fails only where Close does
	return c.tcp.Close()
}

// Linger ends our side, then reads and drops what still comes until the peer has closed,
// is silent for that long, or the most is over; then it closes. A peer that is still
// sending would otherwise be reset and might lose the answer (RFC 9112 section 9.6).
func (c *Conn) Linger(most, silence time.Duration) {
	if c.CloseWrite() == nil {
		c.drop(most, silence)
	}
	_ = c.Close() // the connection is over either way
}

func (c *Conn) drop(most, silence time.Duration) {
	now := time.Now()
	end := now.Add(most)
	for ; now.Before(end); now = time.Now() {
		if err := c.SetReadDeadline(now.Add(min(silence, end.Sub(now)))); err != nil {
			return
		}
		if err := c.discard(); err != nil {
			return
		}
	}
}

// bare takes what package net puts around a deadline that passed.
func bare(err error) error {
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return os.ErrDeadlineExceeded
	}
	return err
}

// rawConn is the Conn below TLS.
type rawConn Conn

// Read is for crypto/tls, too: an error that is temporary leaves its state whole.
func (r *rawConn) Read(b []byte) (int, error) {
	c := (*Conn)(r)
	n, err := c.receive(b)
	if n > 0 {
		c.taken.Add(uint64(n))
		if c.tls != nil {
			c.records.pass(b[:n])
		}
		return n, nil
	}
	if err == io.EOF {
		c.cut.Store(true)
	}
	return 0, bare(err)
}

func (r *rawConn) Write(b []byte) (int, error)        { return (*Conn)(r).write(b) }
func (r *rawConn) Close() error                       { return r.tcp.Close() }
func (r *rawConn) LocalAddr() net.Addr                { return r.tcp.LocalAddr() }
func (r *rawConn) RemoteAddr() net.Addr               { return r.tcp.RemoteAddr() }
func (r *rawConn) SetDeadline(t time.Time) error      { return (*Conn)(r).SetDeadline(t) }
func (r *rawConn) SetReadDeadline(t time.Time) error  { return (*Conn)(r).SetReadDeadline(t) }
func (r *rawConn) SetWriteDeadline(t time.Time) error { return (*Conn)(r).armWrite(t) }
