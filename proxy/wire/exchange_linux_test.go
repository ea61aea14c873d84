package wire

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestExchange(t *testing.T) {
	both(t, func(t *testing.T, c *Conn, p stream, _ *net.TCPConn) {
		echo(t, p)
		in := make([]byte, 100)
		for range 3 {
			wrote, n, err := c.WriteRead([]byte("ping"), in)
			if wrote != 4 || string(in[:n]) != "ping" || err != nil {
				t.Fatalf("got %d, %q, %v", wrote, in[:n], err)
			}
			if c.Stale() || c.Gone() {
				t.Fatal("an idle connection is not stale")
			}
		}
	})
}

// What happened to an idle connection is seen before anything is written to it.
func TestStale(t *testing.T) {
	events := map[string]func(t *testing.T, p stream, tcp *net.TCPConn){
		"FIN":        func(_ *testing.T, _ stream, tcp *net.TCPConn) { tcp.CloseWrite() },
		"close":      func(_ *testing.T, p stream, _ *net.TCPConn) { p.Close() },
		"RST":        func(_ *testing.T, _ stream, tcp *net.TCPConn) { tcp.SetLinger(0); tcp.Close() },
		"bytes":      func(t *testing.T, p stream, _ *net.TCPConn) { say(t, p, "HTTP/1.1 200 OK\r\n") },
		"one byte":   func(t *testing.T, p stream, _ *net.TCPConn) { say(t, p, "H") },
		"bytes, FIN": func(t *testing.T, p stream, _ *net.TCPConn) { say(t, p, "HTTP/1.1 200 OK\r\n"); p.Close() },
	}
	for name, event := range events {
		for _, used := range []bool{false, true} {
			if used {
				name += " behind an exchange"
			}
			t.Run(name, func(t *testing.T) {
				both(t, func(t *testing.T, c *Conn, p stream, tcp *net.TCPConn) {
					if used {
						go func() { hearQuietly(p, 4); p.Write([]byte("pong")) }()
						if _, n, err := c.WriteRead([]byte("ping"), make([]byte, 9)); n != 4 || err != nil {
							t.Fatal(n, err)
						}
					} else if c.TLS() != nil {
						c.Stale() // takes the session tickets
					}
					before := c.Written()
					event(t, p, tcp)
					until(t, "the event", func() bool { return pending(c) })
					wrote, n, err := c.WriteRead([]byte("ping"), make([]byte, 9))
					if wrote != 0 || n != 0 || err != ErrStale {
						t.Fatalf("got %d, %d, %v, want ErrStale", wrote, n, err)
					}
					if c.TLS() == nil && !c.Stale() {
						t.Fatal("it is stale, and a look takes nothing away")
					}
					if c.Written() != before {
						t.Fatalf("wrote %d bytes to a stale connection", c.Written()-before)
					}
				})
			})
			t.Run("look, "+name, func(t *testing.T) {
				both(t, func(t *testing.T, c *Conn, p stream, tcp *net.TCPConn) {
					event(t, p, tcp)
					until(t, "the event", c.Stale)
				})
			})
		}
	}
}

func hearQuietly(p io.Reader, n int) { _, _ = io.ReadFull(p, make([]byte, n)) }

// pending reports whether the kernel has bytes or an end for us.
func pending(c *Conn) (yes bool) {
	c.raw.Control(func(fd uintptr) { yes = !quiet(fd) })
	return yes
}

// A record that came in one piece with the answer lies inside crypto/tls, where the
// kernel knows nothing of it.
func TestStaleInsideTLS(t *testing.T) {
	for name, cut := range map[string]int{"whole": 0, "all but a byte": 1, "half": 20, "a byte of its head": 30} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+" "+tls.VersionName(version), func(t *testing.T) {
				c, p := secure(t, version)
				answer := p.hold(func() { say(t, p, "pong") })
				planted := p.hold(func() { say(t, p, "HTTP/1.1 200 OK\r\n") })
				if name == "a byte of its head" {
					cut = len(planted) - 1
				}
				go func() {
					hearQuietly(p, 4)
					p.cork.TCPConn.Write(append(answer, planted[:len(planted)-cut]...))
				}()
				if _, n, err := c.WriteRead([]byte("ping"), make([]byte, 9)); n != 4 || err != nil {
					t.Fatal(n, err)
				}
				before := c.Written()
				if wrote, n, err := c.WriteRead([]byte("ping"), make([]byte, 99)); wrote != 0 || n != 0 || err != ErrStale {
					t.Fatalf("got %d, %d, %v, want ErrStale", wrote, n, err)
				}
				if c.Written() != before {
					t.Fatal("something was written")
				}
			})
		}
	}
}

// A request that the socket's buffer does not hold goes out all the same, in one call.
func TestWriteReadPartly(t *testing.T) {
	both(t, func(t *testing.T, c *Conn, p stream, tcp *net.TCPConn) {
		c.SetWriteTimeout(soon)
		c.TCP().SetWriteBuffer(32 << 10)
		tcp.SetReadBuffer(32 << 10)
		out := bytes.Repeat([]byte("0123456789"), 300_000)
		got := make(chan []byte, 1)
		go func() {
			b := make([]byte, len(out))
			io.ReadFull(p, b)
			got <- b
			p.Write([]byte("thanks"))
		}()
		in := make([]byte, 9)
		wrote, n, err := c.WriteRead(out, in)
		if wrote != len(out) || string(in[:n]) != "thanks" || err != nil {
			t.Fatalf("got %d, %q, %v", wrote, in[:n], err)
		}
		if !bytes.Equal(<-got, out) {
			t.Fatal("something else arrived")
		}
		if c.TLS() == nil && (c.Written() != uint64(len(out)) || c.ReadBytes() != 6) {
			t.Fatalf("counted %d and %d", c.Written(), c.ReadBytes())
		}
	})
}

func TestWriteReadDeadline(t *testing.T) {
	both(t, func(t *testing.T, c *Conn, p stream, _ *net.TCPConn) {
		c.Arm(time.Now(), 0, 20*time.Millisecond)
		in := make([]byte, 9)
		wrote, n, err := c.WriteRead([]byte("ping"), in)
		if wrote != 4 || n != 0 || err != os.ErrDeadlineExceeded {
			t.Fatalf("got %d, %d, %v", wrote, n, err)
		}
		for range 2 { // slices of one wait
			c.Arm(time.Now(), 10*time.Millisecond, 20*time.Millisecond)
			if n, err = c.Read(in); n != 0 || err != os.ErrDeadlineExceeded {
				t.Fatal(n, err)
			}
		}
		hear(t, p, "ping")
		say(t, p, "pong")
		c.Arm(time.Now(), soon/2, soon)
		read1(t, c, "pong")

		// A deadline that is over fails before the look.
		c.SetReadDeadline(past)
		if wrote, _, err = c.WriteRead([]byte("ping"), in); wrote != 0 || err != os.ErrDeadlineExceeded {
			t.Fatal(wrote, err)
		}
	})
}

func TestWriteReadEnds(t *testing.T) {
	both(t, func(t *testing.T, c *Conn, p stream, tcp *net.TCPConn) {
		go func() { hearQuietly(p, 4); p.Close() }()
		wrote, n, err := c.WriteRead([]byte("ping"), make([]byte, 9))
		if wrote != 4 || n != 0 || err != io.EOF {
			t.Fatalf("got %d, %d, %v, want EOF", wrote, n, err)
		}
	})
	both(t, func(t *testing.T, c *Conn, p stream, tcp *net.TCPConn) {
		go func() { hearQuietly(p, 4); tcp.SetLinger(0); tcp.Close() }()
		wrote, n, err := c.WriteRead([]byte("ping"), make([]byte, 9))
		if wrote != 4 || n != 0 || !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("got %d, %d, %v, want a reset", wrote, n, err)
		}
	})
}

// A peer that resets while a large request is on its way: the write fails.
func TestWriteReadWriteFails(t *testing.T) {
	both(t, func(t *testing.T, c *Conn, p stream, tcp *net.TCPConn) {
		go func() { hearQuietly(tcp, 1000); tcp.SetLinger(0); tcp.Close() }()
		out := make([]byte, 64<<20)
		wrote, n, err := c.WriteRead(out, make([]byte, 9))
		if wrote >= len(out) || n != 0 || !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Fatalf("got %d, %d, %v", wrote, n, err)
		}
	})
}

func TestGone(t *testing.T) {
	both(t, func(t *testing.T, c *Conn, p stream, tcp *net.TCPConn) {
		say(t, p, "unread")
		until(t, "the bytes", func() bool { return pending(c) })
		if c.Gone() {
			t.Fatal("bytes are no end")
		}
		tcp.CloseWrite()
		until(t, "FIN behind unread bytes", c.Gone)
		read1(t, c, "unread")
	})
	c, p := plain(t)
	var wg sync.WaitGroup
	reading := make(chan struct{})
	wg.Go(func() {
		close(reading)
		if n, err := c.Read(make([]byte, 9)); n != 0 || err != io.EOF {
			t.Error(n, err)
		}
	})
	<-reading
	for range 100 {
		if c.Gone() {
			t.Fatal("nobody has closed")
		}
	}
	p.Close()
	until(t, "FIN while another reads", c.Gone)
	wg.Wait()
	c.Close()
	if !c.Gone() || !c.Stale() {
		t.Fatal("what was closed is gone and stale")
	}
}

// lender counts who has its buffer.
type lender struct {
	b           [64]byte
	held, given atomic.Int32
}

func (l *lender) Take() []byte { l.held.Add(1); return l.b[:] }
func (l *lender) Give()        { l.given.Add(1); l.held.Add(-1) }

func TestReadIdle(t *testing.T) {
	both(t, func(t *testing.T, c *Conn, p stream, _ *net.TCPConn) {
		var l lender
		got := make(chan error, 1)
		var n int
		wait := func() {
			given := l.given.Load()
			go func() {
				var err error
				n, err = c.ReadIdle(&l)
				got <- err
			}()
			until(t, "the wait", func() bool { return l.given.Load() > given && l.held.Load() == 0 })
		}
		wait()
		say(t, p, "GET")
		if err := <-got; err != nil || string(l.b[:n]) != "GET" || l.held.Load() != 1 {
			t.Fatalf("got %q, %v, held %d", l.b[:n], err, l.held.Load())
		}
		l.Give()

		// What is there is read without a wait.
		say(t, p, "HEAD")
		until(t, "bytes", func() bool { return pending(c) })
		if n, err := c.ReadIdle(&l); err != nil || string(l.b[:n]) != "HEAD" {
			t.Fatalf("got %q, %v", l.b[:n], err)
		}
		l.Give()

		c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		wait()
		if err := <-got; n != 0 || err != os.ErrDeadlineExceeded || l.held.Load() != 0 {
			t.Fatalf("got %d, %v, held %d", n, err, l.held.Load())
		}
		c.SetReadDeadline(time.Time{})
		wait()
		c.Interrupt()
		if err := <-got; n != 0 || err != os.ErrDeadlineExceeded || l.held.Load() != 0 {
			t.Fatalf("got %d, %v, held %d", n, err, l.held.Load())
		}
		c.Resume()
		wait()
		p.Close()
		if err := <-got; n != 0 || err != io.EOF || l.held.Load() != 0 {
			t.Fatalf("got %d, %v, held %d", n, err, l.held.Load())
		}
	})
}

// Wait takes nothing, sees what was there before and the end, and can be interrupted.
func TestWait(t *testing.T) {
	both(t, func(t *testing.T, c *Conn, p stream, _ *net.TCPConn) {
		var l lender
		say(t, p, "GET")
		until(t, "bytes", func() bool { return pending(c) })
		before := c.ReadBytes()
		if err := c.Wait(); err != nil || c.ReadBytes() != before {
			t.Fatalf("%v, %d bytes read", err, c.ReadBytes()-before)
		}
		if n, err := c.ReadIdle(&l); err != nil || string(l.b[:n]) != "GET" {
			t.Fatalf("got %q, %v", l.b[:n], err)
		}
		l.Give()
		got := make(chan error, 1)
		wait := func() { go func() { got <- c.Wait() }() }
		c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		wait()
		if err := <-got; err != os.ErrDeadlineExceeded {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Time{})
		wait()
		c.Interrupt()
		if err := <-got; err != os.ErrDeadlineExceeded {
			t.Fatal(err)
		}
		c.Resume()
		wait()
		p.Close()
		if err := <-got; err != nil {
			t.Fatal(err)
		}
		if n, err := c.ReadIdle(&l); n != 0 || err != io.EOF {
			t.Fatalf("got %d, %v", n, err)
		}
	})
}

// Half a record wakes the reader, which must not sit on a buffer until the rest comes.
func TestReadIdlePartRecord(t *testing.T) {
	c, p := secure(t, tls.VersionTLS13)
	record := p.hold(func() { say(t, p, "GET / HTTP/1.1") })
	var l lender
	got := make(chan int, 1)
	go func() {
		n, err := c.ReadIdle(&l)
		if err != nil {
			t.Error(err)
		}
		got <- n
	}()
	for i := range record[:len(record)-1] {
		given, taken := l.given.Load(), c.ReadBytes()
		p.cork.TCPConn.Write(record[i : i+1])
		until(t, "the byte", func() bool {
			return c.ReadBytes() > taken && l.given.Load() > given && l.held.Load() == 0
		})
	}
	p.cork.TCPConn.Write(record[len(record)-1:])
	if n := <-got; string(l.b[:n]) != "GET / HTTP/1.1" || l.held.Load() != 1 {
		t.Fatalf("got %q, held %d", l.b[:n], l.held.Load())
	}
}

// A record that crypto/tls has read ahead makes no edge: it must not be waited for.
func TestReadIdleReadAhead(t *testing.T) {
	c, p := secure(t, tls.VersionTLS13)
	two := p.hold(func() { say(t, p, "one"); say(t, p, "two") })
	p.cork.TCPConn.Write(two)
	read1(t, c, "one")
	var l lender
	if n, err := c.ReadIdle(&l); err != nil || string(l.b[:n]) != "two" {
		t.Fatalf("got %q, %v", l.b[:n], err)
	}
}

// The proof that a request may be sent again: the peer's kernel never had a byte of it.
func TestAcked(t *testing.T) {
	used := func(t *testing.T) (*Conn, *net.TCPConn) {
		c, p := plain(t)
		go func() { hearQuietly(p, 4); p.Write([]byte("pong")) }()
		if _, n, err := c.WriteRead([]byte("ping"), make([]byte, 9)); n != 4 || err != nil {
			t.Fatal(n, err)
		}
		return c, p
	}
	const request = "POST / HTTP/1.1\r\n\r\n"
	t.Run("closed first", func(t *testing.T) {
		c, p := used(t)
		before := c.Written()
		p.Close()
		until(t, "FIN", c.Gone)
		c.Write([]byte(request)) // as a request that crosses the FIN
		until(t, "RST", c.broken)
		if n, err := c.Read(make([]byte, 9)); n != 0 || err != io.EOF {
			t.Fatal(n, err, "want EOF, even behind the RST")
		}
		if acked, ok := c.Acked(); !ok || acked != 1+before {
			t.Fatalf("acknowledged %d, %v, want %d", acked, ok, 1+before)
		}
	})
	reached := func(p *net.TCPConn) func() bool {
		return func() (yes bool) {
			b := make([]byte, 99)
			must(p.SyscallConn()).Control(func(fd uintptr) {
				n, _, _ := unix.Recvfrom(int(fd), b, unix.MSG_PEEK|unix.MSG_DONTWAIT)
				yes = n == len(request)
			})
			return yes
		}
	}
	t.Run("had it, read it, closed", func(t *testing.T) {
		c, p := used(t)
		before := c.Written()
		go func() { hearQuietly(p, len(request)); p.Close() }()
		wrote, n, err := c.WriteRead([]byte(request), make([]byte, 9))
		if wrote != len(request) || n != 0 || err != io.EOF {
			t.Fatal(wrote, n, err)
		}
		if acked, ok := c.Acked(); !ok || acked != 1+before+uint64(len(request)) {
			t.Fatalf("acknowledged %d, %v, want %d", acked, ok, 1+before+uint64(len(request)))
		}
	})
	// RST may come without an acknowledgement of what the kernel had: it proves nothing,
	// and must not look like an end.
	t.Run("had it, closed with unread bytes", func(t *testing.T) {
		c, p := used(t)
		c.Write([]byte(request))
		until(t, "the request", reached(p))
		p.Close()
		if n, err := c.Read(make([]byte, 9)); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(n, err)
		}
	})
}

// What the kernel has accepted and nobody has taken is queued.
func TestQueued(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if Queued(l.(*net.TCPListener)) {
		t.Error("nobody has come")
	}
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !Queued(l.(*net.TCPListener)) {
		t.Error("one waits")
	}
	if c, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if Queued(l.(*net.TCPListener)) {
		t.Error("it was taken")
	}
	l.Close()
	if Queued(l.(*net.TCPListener)) {
		t.Error("it is closed")
	}
}
