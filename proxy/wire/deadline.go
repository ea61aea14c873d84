package wire

import "time"

// past is a deadline that is over at any time.
var past = time.Unix(1, 0)

// SetWriteTimeout sets how long a write may make no progress; 0: for ever. It is for
// the goroutine that writes.
func (c *Conn) SetWriteTimeout(d time.Duration) { c.patience = d }

// Arm makes the next reads end with os.ErrDeadlineExceeded between least and most from
// now. A deadline that lies in that range stays as it is, which costs a comparison; a new
// one is set to the most.
func (c *Conn) Arm(now time.Time, least, most time.Duration) {
	if left := c.readUntil.Sub(now); least <= left && left <= most {
		return
	}
	_ = c.SetReadDeadline(now.Add(most)) // fails only when closed, which the read says
}

// SetReadDeadline is for the goroutine that reads. Zero: no deadline.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readUntil = t
	if c.interrupted {
		return nil
	}
	return c.tcp.SetReadDeadline(t)
}

// SetDeadline bounds reads and writes together, for a handshake. It must be cleared with
// the zero time behind that: writes set deadlines of their own, and only when they block.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.armWrite(t)
}

func (c *Conn) armWrite(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeUntil = t
	if c.interrupted {
		return nil
	}
	return c.tcp.SetWriteDeadline(t)
}

// Interrupt ends what waits in a read or a write, and every later one, at once with
// os.ErrDeadlineExceeded, until Resume. Any goroutine may call it, and so join the one
// that is in there.
func (c *Conn) Interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interrupted = true
	_ = c.tcp.SetDeadline(past) // fails only when closed, which ends everything, too
}

// Resume ends Interrupt: the deadlines that were set last hold again.
func (c *Conn) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.interrupted {
		return
	}
	c.interrupted = false
	_ = c.tcp.SetReadDeadline(c.readUntil) // as above
	_ = c.tcp.SetWriteDeadline(c.writeUntil)
}
