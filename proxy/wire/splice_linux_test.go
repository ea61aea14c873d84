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
)

// relay is worker ── from ═splice═ to ── client.
type relay struct {
	worker, client *net.TCPConn
	from, to       *Conn
}

func newRelay(t testing.TB) relay {
	from, worker := plain(t)
	to, client := plain(t)
	to.SetWriteTimeout(soon)
	return relay{worker: worker, client: client, from: from, to: to}
}

func TestSplice(t *testing.T) {
	r := newRelay(t)
	body := bytes.Repeat([]byte("0123456789"), 500_000) // several re-armed steps
	var wg sync.WaitGroup
	wg.Go(func() { r.worker.Write(body); r.worker.Write([]byte("the next answer")) })
	got := make(chan []byte, 1)
	wg.Go(func() {
		b := make([]byte, len(body))
		io.ReadFull(r.client, b)
		got <- b
	})
	moved, ok, fromDst, err := r.from.Splice(r.to, int64(len(body)))
	if moved != int64(len(body)) || !ok || fromDst || err != nil {
		t.Fatal(moved, ok, fromDst, err)
	}
	wg.Wait()
	if !bytes.Equal(<-got, body) {
		t.Fatal("something else arrived")
	}
	read1(t, r.from, "the next answer")
	if r.from.ReadBytes() != uint64(len(body)+15) || r.to.Written() != uint64(len(body)) {
		t.Fatalf("counted %d and %d", r.from.ReadBytes(), r.to.Written())
	}
	if moved, ok, _, err := r.from.Splice(r.to, 0); moved != 0 || !ok || err != nil {
		t.Fatal(moved, ok, err)
	}
}

func TestSpliceLeavesNoDeadline(t *testing.T) {
	t.Parallel()
	r := newRelay(t)
	r.to.SetWriteTimeout(time.Nanosecond)
	r.worker.Write([]byte("move"))
	until(t, "bytes", func() bool { return pending(r.from) })
	r.from.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if moved, _, _, err := r.from.Splice(r.to, 4); moved != 4 || err != nil {
		t.Fatal(moved, err)
	}
	if _, err := r.from.Read(make([]byte, 9)); err != os.ErrDeadlineExceeded {
		t.Fatal(err)
	}
	// Now the write deadline would be over, too.
	if n, err := r.to.Write([]byte("and plainly")); n != 11 || err != nil {
		t.Fatal(n, err)
	}
}

func TestSpliceEOF(t *testing.T) {
	for _, n := range []int64{-1, 10} {
		r := newRelay(t)
		r.worker.Write([]byte("short"))
		r.worker.CloseWrite()
		moved, ok, fromDst, err := r.from.Splice(r.to, n)
		if moved != 5 || !ok || fromDst || err != nil {
			t.Fatal(moved, ok, fromDst, err)
		}
		hear(t, r.client, "short")
	}
}

// A wait in slices loses nothing.
func TestSpliceSlices(t *testing.T) {
	r := newRelay(t)
	var total int64
	for i := range 5 {
		if i%2 == 1 {
			r.worker.Write([]byte("part"))
		}
		r.from.Arm(time.Now(), 5*time.Millisecond, 10*time.Millisecond)
		moved, ok, fromDst, err := r.from.Splice(r.to, 1000)
		if !ok || fromDst || err != os.ErrDeadlineExceeded {
			t.Fatal(moved, ok, fromDst, err)
		}
		total += moved
	}
	for ; total < 8; total += 4 { // what came behind a deadline on a slow machine
		r.from.Arm(time.Now(), soon, soon)
		if moved, _, _, err := r.from.Splice(r.to, 4); moved != 4 || err != nil {
			t.Fatal(moved, err)
		}
	}
	hear(t, r.client, "partpart")
}

func TestSpliceBreaks(t *testing.T) {
	t.Run("worker resets", func(t *testing.T) {
		r := newRelay(t)
		r.worker.Write([]byte("part"))
		go func() { hearQuietly(r.client, 4); r.worker.SetLinger(0); r.worker.Close() }()
		moved, ok, fromDst, err := r.from.Splice(r.to, 100)
		if moved != 4 || !ok || fromDst || !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(moved, ok, fromDst, err)
		}
	})
	t.Run("worker resets, client has ended its side", func(t *testing.T) {
		r := newRelay(t)
		r.client.CloseWrite()
		go func() { r.worker.SetLinger(0); r.worker.Close() }()
		_, ok, fromDst, err := r.from.Splice(r.to, 100)
		if !ok || fromDst || !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(ok, fromDst, err)
		}
	})
	t.Run("client resets", func(t *testing.T) {
		r := newRelay(t)
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				if _, err := r.worker.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		})
		go func() { hearQuietly(r.client, 1000); r.client.SetLinger(0); r.client.Close() }()
		_, ok, fromDst, err := r.from.Splice(r.to, -1)
		if !ok || !fromDst || !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Fatal(ok, fromDst, err)
		}
		r.from.Close()
		wg.Wait()
	})
	t.Run("client reads nothing", func(t *testing.T) {
		r := newRelay(t)
		r.to.SetWriteTimeout(50 * time.Millisecond)
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				if _, err := r.worker.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		})
		for {
			r.from.Arm(time.Now(), 5*time.Millisecond, 10*time.Millisecond)
			_, ok, fromDst, err := r.from.Splice(r.to, -1)
			if !ok || err != os.ErrDeadlineExceeded {
				t.Fatal(ok, fromDst, err)
			}
			if fromDst {
				break
			}
		}
		r.from.Close()
		wg.Wait()
	})
	t.Run("interrupted", func(t *testing.T) {
		for _, which := range []string{"from", "to"} {
			r := newRelay(t)
			type result struct {
				fromDst bool
				err     error
			}
			got := make(chan result, 1)
			go func() {
				_, _, fromDst, err := r.from.Splice(r.to, -1)
				got <- result{fromDst, err}
			}()
			if which == "from" {
				r.from.Interrupt()
			} else {
				r.to.Interrupt()
				r.worker.Write([]byte("wakes it"))
			}
			if g := <-got; g.err != os.ErrDeadlineExceeded || g.fromDst != (which == "to") {
				t.Fatalf("%s: %+v", which, g)
			}
		}
	})
}

// A client that reads slowly gets all, though it may take longer than the write time-out;
// and waiting for the worker takes nothing from the time of a write.
func TestSpliceRearms(t *testing.T) {
	r := newRelay(t)
	r.to.SetWriteTimeout(time.Hour)
	var wg sync.WaitGroup
	wg.Go(func() { r.worker.Write(make([]byte, 64<<20)) })
	wg.Go(func() { r.from.Splice(r.to, -1) })
	until(t, "a deadline", func() bool { return !writeUntil(r.to).IsZero() })
	if writeUntil(r.to).Before(r.from.readUntil.Add(time.Hour)) {
		t.Error("a write might begin late, and have less than its time")
	}
	r.from.Interrupt()
	r.worker.Close()
	r.to.Reset()
	wg.Wait()

	r = newRelay(t)
	r.from.SetReadDeadline(time.Time{})
	r.to.SetWriteTimeout(time.Hour)
	wg.Go(func() { r.worker.Write(make([]byte, 64<<20)) })
	wg.Go(func() { r.from.Splice(r.to, -1) })
	r.client.SetReadDeadline(time.Now().Add(soon))
	b := make([]byte, 64<<10)
	for range 3 {
		before := writeUntil(r.to)
		until(t, "a later deadline", func() bool {
			if _, err := r.client.Read(b); err != nil {
				t.Fatal(err)
			}
			return writeUntil(r.to).After(before)
		})
	}
	r.client.Close()
	r.from.Interrupt()
	r.to.Interrupt()
	r.worker.Close()
	wg.Wait()
}

func TestSpliceLimit(t *testing.T) {
	var wg sync.WaitGroup
	var relays []relay
	for range maxSplices {
		r := newRelay(t)
		relays = append(relays, r)
		wg.Go(func() {
			if _, ok, _, err := r.from.Splice(r.to, -1); !ok || err != os.ErrDeadlineExceeded {
				t.Error(ok, err)
			}
		})
	}
	until(t, "all of them", func() bool { return splices.Load() == maxSplices })
	r := newRelay(t)
	r.worker.Write([]byte("copy"))
	if moved, ok, _, err := r.from.Splice(r.to, 4); moved != 0 || ok || err != nil {
		t.Fatal("one too many ran")
	}
	read1(t, r.from, "copy")
	for _, r := range relays {
		r.from.Interrupt()
	}
	wg.Wait()
	r.worker.Write([]byte("move"))
	if moved, ok, _, err := r.from.Splice(r.to, 4); moved != 4 || !ok || err != nil {
		t.Fatal("a place was not given back:", moved, ok, err)
	}
}

func TestSplicePlainOnly(t *testing.T) {
	s, _ := secure(t, tls.VersionTLS13)
	c, _ := plain(t)
	for _, pair := range [][2]*Conn{{s, c}, {c, s}} {
		if moved, ok, _, err := pair[0].Splice(pair[1], 4); moved != 0 || ok || err != nil {
			t.Fatal(moved, ok, err)
		}
	}
}

// Readers, writers and those who only look meet on one connection, as an exchange with a
// pump has them.
func TestTogether(t *testing.T) {
	both(t, func(t *testing.T, c *Conn, p stream, _ *net.TCPConn) {
		echo(t, p)
		c.SetWriteTimeout(soon)
		const total = 1 << 20
		var wg sync.WaitGroup
		var done atomic.Bool
		wg.Go(func() {
			for sent := 0; sent < total; sent += 4096 {
				if _, err := c.Write(make([]byte, 4096)); err != nil {
					t.Error(err)
					return
				}
			}
		})
		wg.Go(func() {
			b := make([]byte, 4096)
			for got := 0; got < total; {
				c.Arm(time.Now(), soon/2, soon)
				n, err := c.Read(b)
				if err != nil {
					t.Error(err)
					break
				}
				got += n
			}
			done.Store(true)
		})
		wg.Go(func() {
			for !done.Load() {
				if c.Gone() {
					t.Error("nobody is gone")
				}
				if c.Written() > 8*total || c.ReadBytes() > 8*total {
					t.Error("counted too much")
				}
			}
		})
		wg.Wait()
	})
}
