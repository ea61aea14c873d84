//go:build !linux

package wire

import (
	"net"
	"time"
)

// Where the poller cannot be asked the way Linux can, the same calls work without the
// looks: a stale connection shows in its write or read, and no proof is ever given.

type engine struct{}

func (*engine) bind(*Conn) {}

// ReadIdle waits for bytes. The caller has the buffer when, and only when, n > 0.
func (c *Conn) ReadIdle(b Buffers) (int, error) {
	n, err := c.Read(b.Take())
	if n == 0 {
		b.Give()
	}
	return n, err
}

// Wait leaves the waiting to ReadIdle.
func (c *Conn) Wait() error { return nil }

// WriteRead writes out, waits, and reads into in.
func (c *Conn) WriteRead(out, in []byte) (wrote, n int, err error) {
	if wrote, err = c.Write(out); err == nil {
		n, err = c.Read(in)
	}
	return wrote, n, err
}

// Stale knows of no look.
func (c *Conn) Stale() bool { return false }

// Gone knows of no poll.
func (c *Conn) Gone() bool { return false }

// Queued knows of no poll.
func Queued(*net.TCPListener) bool { return false }

// Acked: the system does not say.
func (c *Conn) Acked() (uint64, bool) { return 0, false }

func (c *Conn) broken() bool { return false }

func (c *Conn) receive(b []byte) (int, error) { return c.tcp.Read(b) }

func (c *Conn) write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		if c.patience > 0 {
			_ = c.armWrite(time.Now().Add(c.patience)) // fails only when closed
		}
		var k int
		k, err = c.tcp.Write(b[n:min(len(b), n+progress)])
		n += k
		c.written.Add(uint64(k))
	}
	return n, bare(err)
}

func (c *Conn) discard() error {
	n, err := c.tcp.Read(make([]byte, 4096))
	c.taken.Add(uint64(n))
	return err
}
