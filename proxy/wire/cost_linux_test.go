package wire

import (
	"crypto/tls"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
	"unsafe"
)

// free fails when f allocates, in whatever goroutine.
func free(t *testing.T, f func()) {
	t.Helper()
	for range 10 {
		f() // what is made once
	}
	if n := testing.AllocsPerRun(200, f); n >= 0.1 {
		t.Errorf("%.2f allocations", n)
	}
}

func TestAllocations(t *testing.T) {
	tests := map[string]func(c *Conn) func(){
		"WriteRead": func(c *Conn) func() {
			out, in := make([]byte, 1024), make([]byte, 4096)
			return func() {
				if wrote, n, err := c.WriteRead(out, in); wrote != len(out) || n != len(out) || err != nil {
					t.Error(wrote, n, err)
				}
			}
		},
		"Write, Read": func(c *Conn) func() {
			out, in := make([]byte, 1024), make([]byte, 4096)
			return func() {
				c.Write(out)
				if n, err := c.Read(in); n != len(out) || err != nil {
					t.Error(n, err)
				}
			}
		},
		"Write, ReadIdle": func(c *Conn) func() {
			l := new(lender)
			return func() {
				c.Write(l.b[:])
				if n, err := c.ReadIdle(l); n != len(l.b) || err != nil {
					t.Error(n, err)
				}
				l.Give()
			}
		},
		"Arm, anew each time": func(c *Conn) func() {
			now := time.Now()
			return func() {
				now = now.Add(time.Second)
				c.Arm(now, soon, soon)
			}
		},
		"Arm": func(c *Conn) func() { return func() { c.Arm(time.Now(), 0, 2*soon) } },
		"Stale": func(c *Conn) func() {
			return func() {
				if c.Stale() {
					t.Error("stale")
				}
			}
		},
		"Gone": func(c *Conn) func() {
			return func() {
				if c.Gone() {
					t.Error("gone")
				}
			}
		},
		"Interrupt, Resume": func(c *Conn) func() { return func() { c.Interrupt(); c.Resume() } },
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			c, p := plain(t)
			echo(t, p)
			free(t, f(c))
		})
	}
	t.Run("Splice", func(t *testing.T) {
		r := newRelay(t)
		const size = 100 << 10
		body, in := make([]byte, size), make([]byte, size)
		free(t, func() {
			if _, err := r.worker.Write(body); err != nil {
				t.Error(err)
			}
			moved, ok, _, err := r.from.Splice(r.to, size)
			if moved != size || !ok || err != nil {
				t.Error(moved, ok, err)
			}
			for n := 0; n < size; {
				k, err := r.client.Read(in)
				if err != nil {
					t.Error(err)
					return
				}
				n += k
			}
		})
	})
	// A write that blocks is armed and disarmed.
	t.Run("Write that blocks", func(t *testing.T) {
		c, p := plain(t)
		c.SetWriteTimeout(soon)
		c.TCP().SetWriteBuffer(256 << 10)
		var wg sync.WaitGroup
		wg.Go(func() {
			b := make([]byte, 64<<10)
			for {
				if _, err := p.Read(b); err != nil {
					return
				}
			}
		})
		b := make([]byte, 8<<20)
		n := testing.AllocsPerRun(20, func() {
			if n, err := c.Write(b); n != len(b) || err != nil {
				t.Error(n, err)
			}
		})
		if n > 0 {
			t.Errorf("%.2f allocations", n)
		}
		c.Close()
		wg.Wait()
	})
}

// What a connection costs that waits for its next request: the Conn, and the stack of the
// goroutine that waits in it. The descriptor of package net is not counted.
func TestIdleMemory(t *testing.T) {
	const pairs = 1000
	var mine, theirs []*net.TCPConn
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	defer listener.Close()
	for range pairs {
		a, b := connect(t, listener)
		mine, theirs = append(mine, a), append(theirs, b)
	}
	measure := func() (heap, stack uint64) {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc, m.StackInuse
	}
	heap, stack := measure()
	var conns []*Conn
	for _, c := range mine {
		conns = append(conns, must(New(c)))
	}
	own, _ := measure()
	l := make([]lender, pairs)
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Go(func() {
			for {
				n, err := c.ReadIdle(&l[i])
				if err != nil {
					return
				}
				c.Write(l[i].b[:n])
				l[i].Give()
			}
		})
	}
	for _, p := range theirs { // none is as it began
		say(t, p, "ping")
		hear(t, p, "ping")
	}
	for i := range l {
		until(t, "the wait", func() bool { return l[i].held.Load() == 0 && l[i].given.Load() > 1 })
	}
	waiting, stacks := measure()
	for _, p := range theirs {
		p.Close()
	}
	wg.Wait()
	perConn := (own - heap) / pairs
	perWait := (waiting - own) / pairs
	perStack := int(stacks-stack) / pairs
	t.Logf("Conn %d bytes (struct %d), waiting heap %d (of it the test's lender %d), stack %d",
		perConn, unsafe.Sizeof(Conn{}), perWait, unsafe.Sizeof(lender{}), perStack)
	if perConn > 700 || perStack > 5000 {
		t.Errorf("an idle connection costs %d bytes and a stack of %d", perConn, perStack)
	}
	runtime.KeepAlive(conns)
}

func BenchmarkExchange(b *testing.B) {
	out, in := make([]byte, 1024), make([]byte, 16<<10)
	b.Run("plain", func(b *testing.B) {
		c, p := plain(b)
		echo(b, p)
		b.ReportAllocs()
		for b.Loop() {
			c.Arm(time.Now(), 0, 2*soon)
			if _, n, err := c.WriteRead(out, in); n != len(out) || err != nil {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("net.Conn without a look", func(b *testing.B) {
		c, p := sockets(b)
		echo(b, p)
		b.ReportAllocs()
		for b.Loop() {
			c.Write(out)
			if n, err := c.Read(in); n != len(out) || err != nil {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("TLS", func(b *testing.B) {
		c, p := secure(b, tls.VersionTLS13)
		echo(b, p)
		b.ReportAllocs()
		for b.Loop() {
			if _, n, err := c.WriteRead(out, in); n != len(out) || err != nil {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("tls.Conn without a look", func(b *testing.B) {
		c, p := secure(b, tls.VersionTLS13)
		echo(b, p)
		b.ReportAllocs()
		for b.Loop() {
			c.TLS().Write(out)
			if n, err := c.TLS().Read(in); n != len(out) || err != nil {
				b.Fatal(n, err)
			}
		}
	})
}

func BenchmarkReadIdle(b *testing.B) {
	c, p := plain(b)
	echo(b, p)
	l := new(lender)
	b.ReportAllocs()
	for b.Loop() {
		c.Write(l.b[:])
		if n, err := c.ReadIdle(l); n == 0 || err != nil {
			b.Fatal(n, err)
		}
		l.Give()
	}
}

func BenchmarkLooks(b *testing.B) {
	for _, kind := range []string{"plain", "TLS"} {
		var c *Conn
		if kind == "TLS" {
			c, _ = secure(b, tls.VersionTLS13)
		} else {
			c, _ = plain(b)
		}
		b.Run("Stale "+kind, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if c.Stale() {
					b.Fatal("stale")
				}
			}
		})
		b.Run("Gone "+kind, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if c.Gone() {
					b.Fatal("gone")
				}
			}
		})
	}
	c, _ := plain(b)
	now := time.Now()
	b.Run("Arm in range", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.Arm(now, 0, 2*soon)
		}
	})
	b.Run("Arm anew", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			now = now.Add(time.Second)
			c.Arm(now, soon, soon)
		}
	})
}

func BenchmarkSplice100KB(b *testing.B) {
	r := newRelay(b)
	const size = 100 << 10
	body, in := make([]byte, size), make([]byte, size)
	b.ReportAllocs()
	for b.Loop() {
		r.worker.Write(body)
		if moved, ok, _, err := r.from.Splice(r.to, size); moved != size || !ok || err != nil {
			b.Fatal(moved, ok, err)
		}
		for n := 0; n < size; {
			k, err := r.client.Read(in)
			if err != nil {
				b.Fatal(err)
			}
			n += k
		}
	}
}
