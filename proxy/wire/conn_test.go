package wire

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestReadEnds(t *testing.T) {
	both(t, func(t *testing.T, c *Conn, p stream, _ *net.TCPConn) {
		say(t, p, "all")
		p.Close()
		read1(t, c, "all")
		for range 2 {
			if n, err := c.Read(make([]byte, 9)); n != 0 || err != io.EOF {
				t.Fatalf("got %d, %v, want EOF", n, err)
			}
		}
	})
	both(t, func(t *testing.T, c *Conn, p stream, tcp *net.TCPConn) {
		say(t, p, "cut")
		tcp.Close()
		read1(t, c, "cut")
		want := io.EOF
		if c.TLS() != nil {
			want = io.ErrUnexpectedEOF // FIN without close_notify
		}
		for range 2 {
			if n, err := c.Read(make([]byte, 9)); n != 0 || err != want {
				t.Fatalf("got %d, %v, want %v", n, err, want)
			}
		}
	})
}

func TestCloseWrite(t *testing.T) {
	both(t, func(t *testing.T, c *Conn, p stream, tcp *net.TCPConn) {
		if _, err := c.Write([]byte("bye")); err != nil {
			t.Fatal(err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		hear(t, p, "bye")
		if n, err := p.Read(make([]byte, 9)); n != 0 || err != io.EOF {
			t.Fatal(n, err)
		}
		if n, err := tcp.Read(make([]byte, 9)); n != 0 || err != io.EOF {
			t.Fatal("below TLS:", n, err)
		}
		say(t, p, "still here")
		read1(t, c, "still here")
	})
}

// The peer of a Reset must not take what it got for all there is.
func TestReset(t *testing.T) {
	both(t, func(t *testing.T, c *Conn, p stream, tcp *net.TCPConn) {
		if err := c.Reset(); err != nil {
			t.Fatal(err)
		}
		p.SetReadDeadline(time.Now().Add(soon))
		if _, err := p.Read(make([]byte, 9)); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(err)
		}
	})
}

// jam fills both kernels' buffers, so that the next write blocks. TLS knows nothing of it.
func jam(t *testing.T, c *Conn, tcp *net.TCPConn) {
	t.Helper()
	c.TCP().SetWriteBuffer(16 << 10)
	tcp.SetReadBuffer(16 << 10)
	c.SetWriteTimeout(20 * time.Millisecond)
	for size, full := 1<<20, 0; full < 3; {
		n, err := c.write(make([]byte, size))
		switch {
		case err == nil && size > 1:
		case err == nil:
			full = 0
		case err == os.ErrDeadlineExceeded && n < size:
			size = 1 // the last gaps
			full++
		default:
			t.Fatal(n, err)
		}
		if c.Written() > 256<<20 {
			t.Fatal("the peer has endless room")
		}
	}
}

func TestWriteTimeout(t *testing.T) {
	c, p := plain(t)
	jam(t, c, p)
	written := c.Written()
	if n, err := c.Write([]byte("more")); n != 0 || err != os.ErrDeadlineExceeded || c.Written() != written {
		t.Fatal(n, err)
	}
	// What the peer makes room for is written: no deadline is left over.
	var wg sync.WaitGroup
	wg.Go(func() { io.CopyN(io.Discard, p, int64(written)) })
	c.SetWriteTimeout(soon)
	if n, err := c.Write([]byte("more")); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	wg.Wait()
	hear(t, p, "more")
}

// A slow reader is not a dead one: the time-out counts from the last progress.
func TestWriteTimeoutPerProgress(t *testing.T) {
	both(t, func(t *testing.T, c *Conn, p stream, tcp *net.TCPConn) {
		c.TCP().SetWriteBuffer(64 << 10)
		c.SetWriteTimeout(time.Hour)
		var wg sync.WaitGroup
		wg.Go(func() { c.Write(make([]byte, 64<<20)) }) // ends by Reset
		until(t, "a write that blocks", func() bool { return !writeUntil(c).IsZero() })
		tcp.SetReadDeadline(time.Now().Add(soon))
		b := make([]byte, 64<<10)
		for range 3 {
			before := writeUntil(c)
			until(t, "a later deadline", func() bool {
				if _, err := tcp.Read(b); err != nil {
					t.Fatal(err)
				}
				return writeUntil(c).After(before)
			})
		}
		c.Reset()
		wg.Wait()
	})
}

func writeUntil(c *Conn) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writeUntil
}

func TestArm(t *testing.T) {
	c, p := plain(t)
	now := time.Now()
	c.SetReadDeadline(now.Add(soon))
	c.Arm(now, time.Second, time.Minute)
	if left := c.readUntil.Sub(now); left != soon {
		t.Fatalf("%v lies in the range and was set anew to %v", soon, left)
	}
	c.Arm(now, 2*soon, 3*soon)
	if left := c.readUntil.Sub(now); left != 3*soon {
		t.Fatalf("too short, but left at %v", left)
	}
	c.Arm(now, time.Millisecond, 10*time.Millisecond)
	if left := c.readUntil.Sub(now); left != 10*time.Millisecond {
		t.Fatalf("too long, but left at %v", left)
	}
	if n, err := c.Read(make([]byte, 9)); n != 0 || err != os.ErrDeadlineExceeded {
		t.Fatal(n, err)
	}
	c.Arm(time.Now(), soon/2, soon)
	say(t, p, "later")
	read1(t, c, "later")
}

// A pump is joined: it ends, wherever it waits, and the connection is as it was before.
func TestInterrupt(t *testing.T) {
	both(t, func(t *testing.T, c *Conn, p stream, _ *net.TCPConn) {
		until := c.readUntil
		for range 3 {
			got := make(chan error, 1)
			reading := make(chan struct{})
			go func() {
				close(reading)
				_, err := c.Read(make([]byte, 9))
				got <- err
			}()
			<-reading
			c.Interrupt()
			if err := <-got; err != os.ErrDeadlineExceeded {
				t.Fatal(err)
			}
			// Nothing but Resume lets it go on.
			c.Arm(time.Now(), 2*soon, 3*soon)
			c.SetReadDeadline(time.Time{})
			if _, err := c.Read(make([]byte, 9)); err != os.ErrDeadlineExceeded {
				t.Fatal(err)
			}
			if wrote, _, err := c.WriteRead([]byte("x"), make([]byte, 9)); wrote != 0 || err != os.ErrDeadlineExceeded {
				t.Fatal(wrote, err)
			}
			c.SetReadDeadline(until)
			c.Resume()
			say(t, p, "go on")
			read1(t, c, "go on")
			if n, err := c.Write([]byte("so do I")); n != 7 || err != nil {
				t.Fatal(n, err)
			}
			hear(t, p, "so do I")
		}
		c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		c.Interrupt()
		c.Resume()
		if _, err := c.Read(make([]byte, 9)); err != os.ErrDeadlineExceeded {
			t.Fatal("the deadline was lost:", err)
		}
	})
}

func TestInterruptWrite(t *testing.T) {
	c, p := plain(t)
	jam(t, c, p)
	c.SetWriteTimeout(soon)
	for range 3 {
		got := make(chan error, 1)
		go func() {
			_, err := c.Write([]byte("blocks"))
			got <- err
		}()
		c.Interrupt()
		if err := <-got; err != os.ErrDeadlineExceeded {
			t.Fatal(err)
		}
		c.Resume()
	}
}

// A connection whose peer reads nothing closes at once: close_notify is not waited for.
func TestCloseJammed(t *testing.T) {
	c, p := secure(t, tls.VersionTLS13)
	jam(t, c, p.cork.TCPConn)
	c.SetWriteTimeout(soon)
	begun := time.Now()
	c.Close()
	if took := time.Since(begun); took > 2*time.Second {
		t.Fatalf("closing took %v", took)
	}
}

// An uploader who gets an early answer can send on, and read the answer.
func TestLinger(t *testing.T) {
	both(t, func(t *testing.T, c *Conn, p stream, _ *net.TCPConn) {
		say(t, p, "POST")
		read1(t, c, "POST")
		if _, err := c.Write([]byte("413")); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { c.Linger(soon, soon) })
		for range 200 {
			if _, err := p.Write(make([]byte, 64<<10)); err != nil {
				t.Fatal("the uploader's write:", err)
			}
		}
		hear(t, p, "413")
		if n, err := p.Read(make([]byte, 9)); n != 0 || err != io.EOF {
			t.Fatal(n, err)
		}
		p.Close()
		wg.Wait()
		if c.ReadBytes() < 200*64<<10 {
			t.Fatalf("dropped %d bytes only", c.ReadBytes())
		}
		if _, err := c.TCP().Write([]byte{0}); !errors.Is(err, net.ErrClosed) {
			t.Fatal("not closed:", err)
		}
	})
}

func TestLingerBounds(t *testing.T) {
	c, _ := plain(t)
	begun := time.Now()
	c.Linger(soon, 10*time.Millisecond)
	if took := time.Since(begun); took > soon/2 {
		t.Fatalf("%v of silence", took)
	}
	c, p := plain(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			if _, err := p.Write(make([]byte, 1024)); err != nil {
				return
			}
		}
	})
	begun = time.Now()
	c.Linger(50*time.Millisecond, soon)
	if took := time.Since(begun); took > soon/2 {
		t.Fatalf("%v of talk", took)
	}
	wg.Wait()
}

// Both ends of TLS agree on how many bytes there were.
func TestCounts(t *testing.T) {
	a, b := sockets(t)
	c, p := must(New(a)), must(New(b))
	server := tls.Server(p.NetConn(), &tls.Config{Certificates: []tls.Certificate{certificate()}})
	p.Secure(server)
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	client := tls.Client(c.NetConn(), &tls.Config{InsecureSkipVerify: true})
	c.Secure(client)
	if err := errors.Join(client.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	out := bytes.Repeat([]byte("x"), 100_000)
	if n, err := c.Write(out); n != len(out) || err != nil {
		t.Fatal(n, err)
	}
	if _, err := io.ReadFull(p, make([]byte, len(out))); err != nil {
		t.Fatal(err)
	}
	if c.Written() != p.ReadBytes() || c.Written() < uint64(len(out)) {
		t.Fatalf("wrote %d, read %d", c.Written(), p.ReadBytes())
	}
	if p.Stale() || c.Stale() { // reads the session tickets
		t.Fatal("stale")
	}
	if c.ReadBytes() != p.Written() {
		t.Fatalf("read %d, wrote %d", c.ReadBytes(), p.Written())
	}
	p.Close()
	c.Close()
}

// However the network cuts the stream, it is within a record when the plain reading says
// so.
func TestRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []byte
		ends := map[int]bool{0: true}
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, 40), 0, 8).Draw(t, "records") {
			all = append(all, 23, 3, 3, byte(n>>8), byte(n))
			all = append(all, make([]byte, n)...)
			ends[len(all)] = true
		}
		var r records
		for at := 0; at < len(all); {
			n := min(len(all)-at, rapid.IntRange(1, 50).Draw(t, "piece"))
			r.pass(all[at : at+n])
			if at += n; r.within() == ends[at] {
				t.Fatalf("at %d of %d: within is %v", at, len(all), r.within())
			}
		}
	})
}
