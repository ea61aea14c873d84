package wire

import (
	"errors"
	"io"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

// maxSplices is how many may run at once. The pipes of one user share 64 MiB by default;
// beyond that they shrink to 8 KiB, and moving costs more than copying.
const maxSplices = 32

// spliceStep is the most that goes under one write deadline, in bytes. Larger steps are
// not faster, and a client that reads slowly has to take a whole one in its time.
const spliceStep = 256 << 10

// splices counts what runs in the process: the pipes are its, not a connection's.
var splices atomic.Int32

// Splice moves n bytes from c to dst inside the kernel; n < 0: until EOF. moved < n
// without an error is EOF.
//
//	ok false                nothing was done: one is not plain, or maxSplices run. Copy.
//	os.ErrDeadlineExceeded  the read deadline of c: go on when it is armed again
//	fromDst                 the write failed or made no progress in its time-out; what was in
//	                        the pipe is lost: close both
//
// c must be armed for reading: the write time-out of dst begins there. The caller sends
// first what it has read itself.
func (c *Conn) Splice(dst *Conn, n int64) (moved int64, ok, fromDst bool, err error) {
	if runtime.GOOS != "linux" || c.tls != nil || dst.tls != nil {
		return 0, false, false, nil
	}
	if splices.Add(1) > maxSplices {
		splices.Add(-1)
		return 0, false, false, nil
	}
	defer splices.Add(-1)
	if c.limited == nil {
		c.limited = &io.LimitedReader{R: c.tcp}
	}
	for err == nil && moved != n {
		step := int64(spliceStep)
		if n > 0 {
			step = min(step, n-moved)
		}
		if dst.patience > 0 {
			// A write begins before the read deadline, or never.
			until := time.Now()
			if c.readUntil.After(until) {
				until = c.readUntil
			}
			_ = dst.armWrite(until.Add(dst.patience)) // fails only when closed, which the write says
		}
		c.limited.N = step
		var k int64
		k, err = dst.tcp.ReadFrom(c.limited)
		moved += k
		c.taken.Add(uint64(k))
		dst.written.Add(uint64(k))
		if k < step {
			break
		}
	}
	if err != nil {
		fromDst = blame(dst, err)
	}
	if dst.patience > 0 {
		_ = dst.armWrite(time.Time{}) // as above
	}
	return moved, true, fromDst, bare(err)
}

// blame reports whether err, which does not say so itself, is of the writing side.
func blame(dst *Conn, err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		dst.mu.Lock()
		defer dst.mu.Unlock()
		return dst.interrupted || !dst.writeUntil.IsZero() && !time.Now().Before(dst.writeUntil)
	}
	return errors.Is(err, syscall.EPIPE) || dst.broken()
}
