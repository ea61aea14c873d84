//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// client is one connection of a raw load. It asks, waits for the whole answer, and
// is then free to ask again.
type client struct {
	number  int // its place in raw.clients
	fd      int // -1: not connected
	request []byte
	sent    int       // bytes of request that are written
	due     time.Time // when it should have been sent; what latency counts from
	busy    bool
	writing bool // registered for writability too
	answer  answer
	echoed  int // websocket: bytes of the frame that came back
	idle    bool
}

// raw is one thread with one epoll set: no scheduler, no timer and no goroutine
// stands between the proxy and the clock.
type raw struct {
	*Job
	to      unix.SockaddrInet4
	epoll   int
	clients []*client // the idle ones first
	free    []*client // with a rate: who can take the next request, oldest first
	buffer  []byte
	want    []byte
	frame   []byte // websocket: what comes back
	asking  bool   // false at the end: the last answers are awaited, nothing new is asked
	binds   uint32

	answered int
	start    time.Time
	sent     int // with a rate: requests that were due and sent since start
	all      []int64
	others   []int64
	counting bool
}

func loadRaw(j *Job) (Result, error) {
	runtime.LockOSThread()
	// Waits end at their time, not up to 50 µs after it.
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return Result{}, fmt.Errorf("timer slack: %w", err)
	}
	l := &raw{Job: j, buffer: make([]byte, 256<<10), want: wantBody(j.Path)}
	to, err := netip.ParseAddrPort(j.Address)
	if err != nil {
		return Result{}, err
	}
	l.to = unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return Result{}, fmt.Errorf("epoll: %w", err)
	}
	defer func() {
		for _, c := range l.clients {
			if c.fd >= 0 {
				unix.Close(c.fd)
			}
		}
		unix.Close(l.epoll)
	}()
	l.all = make([]int64, 0, int(float64(j.Rate)*j.Measure.Seconds()*1.1)+1)
	l.others = make([]int64, 0, cap(l.all))
	if err := l.open(); err != nil {
		return Result{}, err
	}
	return l.run()
}

// open connects all clients; those that will stay idle ask once.
func (l *raw) open() error {
	l.asking = true
	for i := range l.Idle {
		c := &client{number: i, fd: -1, request: l.request(i), idle: true}
		l.clients = append(l.clients, c)
		if err := l.ask(c, time.Now()); err != nil {
			return err
		}
		// A few at a time, so that no backlog overflows.
		for l.answered <= i-64 || i == l.Idle-1 && l.answered <= i {
			if err := l.turn(time.Second, true); err != nil {
				return fmt.Errorf("idle connection %d: %w", i, err)
			}
		}
	}
	for i := range l.Clients {
		c := &client{number: l.Idle + i, fd: -1, request: l.request(i)}
		l.clients = append(l.clients, c)
		if l.Kind == "websocket" {
			if err := l.upgrade(c, i); err != nil {
				return fmt.Errorf("upgrade: %w", err)
			}
		}
		if l.Rate > 0 {
			l.free = append(l.free, c)
		}
	}
	return nil
}

// run makes the load: first the warm-up, then what is measured, then the last answers.
func (l *raw) run() (r Result, err error) {
	l.start = time.Now()
	if l.Rate == 0 {
		for _, c := range l.clients[l.Idle:] {
			if err := l.ask(c, l.start); err != nil {
				return r, err
			}
		}
	}
	if err := l.until(l.start.Add(l.Warm)); err != nil {
		return r, err
	}
	m, err := startMeter(l.PID)
	if err != nil {
		return r, err
	}
	before := l.answered
	l.counting = true
	if err := l.until(m.start.Add(l.Measure)); err != nil {
		return r, err
	}
	if err := m.stop(&r); err != nil {
		return r, err
	}
	r.Requests = l.answered - before
	l.counting = false
	l.asking = false
	patience := l.Patience
	if patience == 0 {
		patience = closeWait
	}
	for end := time.Now().Add(patience); ; {
		left := 0
		for _, c := range l.clients {
			if c.busy {
				left++
			}
		}
		if left == 0 {
			break
		}
		if time.Now().After(end) {
			return r, fmt.Errorf("%d of %d clients: no answer for %s", left, l.Clients, patience)
		}
		if err := l.turn(100*time.Millisecond, false); err != nil {
			return r, err
		}
	}
	r.Total = l.answered
	r.All, r.Others = quantiles(l.all), quantiles(l.others)
	if r.Requests == 0 {
		return r, fmt.Errorf("nothing was answered in the measured time, %d before it, %d after it", before, l.answered-before)
	}
	return r, nil
}

func (l *raw) until(end time.Time) error {
	for {
		now := time.Now()
		if !now.Before(end) {
			return nil
		}
		wait := end.Sub(now)
		if l.Rate > 0 {
			next, err := l.sendDue(now)
			if err != nil {
				return err
			}
			wait = min(wait, next)
		}
		if err := l.turn(wait, false); err != nil {
			return err
		}
	}
}

// sendDue sends what should have been sent by now, as far as a client is free, and
// returns the time to the next one.
func (l *raw) sendDue(now time.Time) (time.Duration, error) {
	for len(l.free) > 0 {
		due := l.start.Add(time.Duration(l.sent) * time.Second / time.Duration(l.Rate))
		if due.After(now) {
			return due.Sub(now), nil
		}
		c := l.free[0]
		l.free = l.free[1:]
		l.sent++
		if err := l.ask(c, due); err != nil {
			return 0, err
		}
	}
	return time.Second, nil
}

// turn waits once for events, at most for wait, and handles them. With must it is an
// error if none comes.
func (l *raw) turn(wait time.Duration, must bool) error {
	var events [256]unix.EpollEvent
	n, err := epollWait(l.epoll, events[:], wait)
	if err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	if n == 0 && must {
		return fmt.Errorf("no answer for %s", wait)
	}
	for _, e := range events[:n] {
		c := l.clients[e.Fd]
		if e.Events&unix.EPOLLOUT != 0 && c.sent < len(c.request) {
			if err := l.write(c); err != nil {
				return err
			}
		}
		if e.Events&^unix.EPOLLOUT != 0 {
			if err := l.read(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// ask sends the request of c, on a new connection if it has none.
func (l *raw) ask(c *client, due time.Time) error {
	c.due, c.sent, c.busy = due, 0, true
	c.answer.reset(l.want)
	c.echoed = 0
	if c.fd < 0 {
		if err := l.connect(c); err != nil {
			return err
		}
		if c.writing {
			return nil // the request goes out when the connection is there
		}
	}
	return l.write(c)
}

func (l *raw) connect(c *client) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if l.NewConn {
		// Each source address has its own ports: one would run out of them.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: source(l.binds)}); err != nil {
			return fmt.Errorf("bind: %w", err)
		}
		l.binds++
	}
	c.fd = fd
	switch err := unix.Connect(fd, &l.to); err {
	case nil:
		return l.watch(c, unix.EPOLL_CTL_ADD, false)
	case unix.EINPROGRESS:
		return l.watch(c, unix.EPOLL_CTL_ADD, true)
	default:
		return fmt.Errorf("connect %s: %w", l.Address, err)
	}
}

// source is one of 200 loopback addresses.
func source(n uint32) [4]byte { return [4]byte{127, 9, 9, byte(1 + n%200)} }

func (l *raw) watch(c *client, op int, writing bool) error {
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(c.number)}
	if writing {
		e.Events |= unix.EPOLLOUT
	}
	c.writing = writing
	if err := unix.EpollCtl(l.epoll, op, c.fd, &e); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

func (l *raw) write(c *client) error {
	for c.sent < len(c.request) {
		n, errno := rawWrite(c.fd, c.request[c.sent:])
		switch errno {
		case 0:
			c.sent += n
		case unix.EINTR:
		case unix.EAGAIN:
			if c.writing {
				return nil
			}
			return l.watch(c, unix.EPOLL_CTL_MOD, true)
		default:
			return fmt.Errorf("write: %w", errno)
		}
	}
	if c.writing {
		return l.watch(c, unix.EPOLL_CTL_MOD, false)
	}
	return nil
}

func (l *raw) read(c *client) error {
	for {
		n, errno := rawRead(c.fd, l.buffer)
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN:
			return nil
		case errno != 0:
			return fmt.Errorf("read after %d bytes of the body: %w", c.answer.got, errno)
		case n == 0:
			return l.ended(c)
		}
		if !c.busy {
			return fmt.Errorf("bytes nobody asked for: %q", cut(l.buffer[:n]))
		}
		done, err := l.take(c, l.buffer[:n])
		if err != nil {
			return err
		}
		if done && !c.answer.close && !l.NewConn {
			return l.finish(c)
		}
		if n < len(l.buffer) {
			return nil
		}
	}
}

// take checks what came for c.
func (l *raw) take(c *client, b []byte) (done bool, err error) {
	if c.sent < len(c.request) {
		return false, fmt.Errorf("an answer before the request was sent: %q", cut(b))
	}
	if l.Kind != "websocket" {
		return c.answer.feed(b, l.Slow)
	}
	if len(b) > len(l.frame)-c.echoed || !bytes.Equal(b, l.frame[c.echoed:c.echoed+len(b)]) {
		return false, fmt.Errorf("wrong frame: %q", cut(b))
	}
	c.echoed += len(b)
	return c.echoed == len(l.frame), nil
}

// ended: the proxy closed the connection, which it may once the answer is there.
func (l *raw) ended(c *client) error {
	if c.busy && (!c.answer.inBody || c.answer.got < len(l.want) || l.Kind == "websocket") {
		return fmt.Errorf("closed after %d bytes of the body (answer begun: %t)", c.answer.got, c.answer.begun())
	}
	if !c.busy {
		return errors.New("closed while it was idle")
	}
	if err := unix.Close(c.fd); err != nil {
		return err
	}
	c.fd = -1
	return l.finish(c)
}

// finish: the answer of c is there and was right.
func (l *raw) finish(c *client) error {
	c.busy = false
	l.answered++
	switch {
	case c.idle || !l.asking:
		return nil
	case l.Rate == 0:
		return l.ask(c, time.Time{})
	}
	if l.counting {
		took := time.Since(c.due).Nanoseconds()
		l.all = append(l.all, took)
		if !c.answer.slow {
			l.others = append(l.others, took)
		}
	}
	l.free = append(l.free, c)
	_, err := l.sendDue(time.Now())
	return err
}

func epollWait(fd int, events []unix.EpollEvent, wait time.Duration) (int, error) {
	ts := unix.NsecToTimespec(max(wait, 0).Nanoseconds())
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(fd), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), uintptr(unsafe.Pointer(&ts)), 0, 0)
	if errno == unix.EINTR {
		return 0, nil
	}
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// These do not block: the sockets are non-blocking.
func rawRead(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), errno
}

func rawWrite(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), errno
}
