package wire

import (
	"fmt"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls below never wait: package net made the descriptors non-blocking.

func read(fd uintptr, b []byte) (int, error) { return transfer(unix.SYS_READ, fd, b) }

func write(fd uintptr, b []byte) (int, error) { return transfer(unix.SYS_WRITE, fd, b) }

// briefly is up to how many bytes the scheduler is not told of a transfer.
const briefly = 64 << 10

// transfer is read(2) or write(2). The scheduler need not know of a short one: it is
// work like any other. Told of it, the runtime's monitor takes the processor away from
// calls that last 20 µs, as a write does that delivers to a peer on this machine, and
// looks every 20 µs for the next.
func transfer(call, fd uintptr, b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	do := unix.Syscall
	if len(b) <= briefly {
		do = unix.RawSyscall
	}
	for {
		n, _, e := do(call, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch e {
		case 0:
			return int(n), nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, syscall.EAGAIN // as a constant, which is no allocation
		default:
			return 0, e
		}
	}
}

// quiet reports whether there is neither a byte nor an end to be read.
func quiet(fd uintptr) bool {
	_, err := drop(fd, 1, unix.MSG_PEEK)
	return err == syscall.EAGAIN
}

// drop has the kernel drop what it received, or with MSG_PEEK only look at it. MSG_TRUNC
// needs no room to copy to, tcp(7).
func drop(fd uintptr, most, flags int) (int, error) {
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_RECVFROM, fd, 0, uintptr(most),
			uintptr(flags)|unix.MSG_TRUNC|unix.MSG_DONTWAIT, 0, 0)
		switch e {
		case 0:
			return int(n), nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, syscall.EAGAIN // as a constant, which is no allocation
		default:
			return 0, e
		}
	}
}

// hungUp sees a FIN even behind unread bytes, which a peek would not.
func hungUp(fd uintptr) bool { return poll(fd, unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) }

// Queued says, without waiting, whether a connection waits to be accepted.
func Queued(l *net.TCPListener) bool {
	raw, err := l.SyscallConn()
	if err != nil {
		return false // closed
	}
	queued := false
	err = raw.Control(func(fd uintptr) { queued = poll(fd, unix.POLLIN) })
	return err == nil && queued
}

// dead sees RST, and that both sides were closed; a peer that only ended its own is not
// dead.
func dead(fd uintptr) bool { return poll(fd, unix.POLLHUP|unix.POLLERR) }

func poll(fd uintptr, events int16) bool {
	for {
		p := [1]unix.PollFd{{Fd: int32(fd), Events: events}}
		n, err := unix.Poll(p[:], 0)
		if err != unix.EINTR {
			return err != nil || n > 0 && p[0].Revents&events != 0
		}
	}
}

// bytesAcked is 0 where the kernel does not say: what we opened has its SYN acknowledged.
func bytesAcked(fd uintptr) uint64 {
	info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0
	}
	return info.Bytes_acked
}

func (c *Conn) failed(what string, err error) error {
	return fmt.Errorf("%s %s: %w", what, c.tcp.RemoteAddr(), err)
}
