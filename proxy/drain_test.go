package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quorate/quorate/fsm"
)

// A stop under load: whoever has a connection gets an answer, and is told that it
// was the last one.
func TestDrain(t *testing.T) {
	r := run(t, nil)
	r.idleGrace = patience // it ends when the last connection does
	w := startWorker(t, func(c net.Conn, q *received) bool {
		time.Sleep(time.Millisecond)
		return named("ok")(c, q)
	})
	r.register("w1", w)
	const clients = 24
	var answers, errs, resets atomic.Int64
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for {
				c, err := net.Dial("tcp", r.addr)
				if errors.Is(err, syscall.ECONNREFUSED) {
					return // the end
				}
				if errors.Is(err, syscall.ECONNRESET) { // the listener closed amid the handshake
					resets.Add(1)
					return
				}
				if err != nil {
					errs.Add(1)
					t.Error(err)
					return
				}
				c.SetDeadline(time.Now().Add(patience))
				in := bufio.NewReader(c)
				for n := 0; ; n++ {
					if _, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
						break
					}
					var resp *http.Response
					if resp, err = http.ReadResponse(in, nil); err != nil {
						break
					}
					if _, err = io.ReadAll(resp.Body); err != nil {
						break
					}
					answers.Add(1)
					if resp.Close || i%2 == 0 && n == 3 { // half of them connect anew now and then
						break
					}
				}
				c.Close()
				if errors.Is(err, syscall.ECONNRESET) && in.Buffered() == 0 {
					// The kernel's queue, between our last look and the close of the listener.
					resets.Add(1)
				} else if err != nil {
					errs.Add(1)
					t.Error(err)
				}
			}
		})
	}
	eventually(t, "traffic", func() bool { return answers.Load() > 200 })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.Drain(ctx); err != nil {
		t.Error(err)
	}
	wg.Wait()
	t.Logf("%d answers, %d errors, %d connections reset unaccepted", answers.Load(), errs.Load(), resets.Load())
	if resets.Load() > clients/4 {
		t.Errorf("%d resets", resets.Load())
	}
	if s := r.Stats(); s.InFlight != 0 || s.ClientConnections != 0 {
		t.Errorf("left: %+v", s)
	}
}

// What takes longer than the time given is cut off; a tunnel lives until then.
func TestDrainDeadline(t *testing.T) {
	r, _ := startTunnels(t, nil, func(c net.Conn, q *received) {
		if strings.Contains(q.line, "/ws") {
			io.WriteString(c, switched)
			io.Copy(c, q.r)
			return
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
		q.r.ReadByte()
	})
	tunnel := upgrade(t, r, "")
	slow := dial(t, r.addr)
	slow.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if _, err := slow.r.ReadString('f'); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- r.Drain(ctx) }()
	tunnel.send("x")
	if b, err := tunnel.r.ReadByte(); b != 'x' {
		t.Errorf("while draining: %q %v", b, err)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "2 requests left") {
		t.Errorf("Drain: %v", err)
	}
	if _, err := io.ReadAll(tunnel.r); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
	if b, err := io.ReadAll(slow.r); err == nil && strings.HasSuffix(string(b), "0\r\n\r\n") {
		t.Errorf("looks whole: %q", b)
	}
	r.stop()
}

// A connection that idles when draining begins may still ask, once.
func TestDrainIdle(t *testing.T) {
	r := run(t, nil)
	r.idleGrace = patience
	w := startWorker(t, named("w1"))
	r.register("w1", w)
	c := dial(t, r.addr)
	c.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if a := c.read("GET"); a.Close {
		t.Error("closes too early")
	}
	ended := make(chan error, 1)
	go func() { ended <- r.Drain(t.Context()) }()
	eventually(t, "it drains", r.draining.Load)
	c.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	a := c.read("GET")
	a.want(t, 200, "w1")
	if !a.Close {
		t.Error("does not say that it closes")
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Before and after Run there is nothing to drain.
func TestDrainWithoutRun(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{Listeners: []Listener{{Listener: l}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		c.Close()
		t.Error("still listens")
	}
}

// A request that waits for a worker (WaitWorker) ends with this replica, even one
// whose body keeps package http from noticing.
func TestStopEndsWaiting(t *testing.T) {
	r := run(t, nil)
	r.register("w1", startWorker(t, named("w1")), func(n *fsm.NodeConfig) { n.WaitWorker = 600 })
	r.load("w1", -1)
	c := dial(t, r.addr)
	c.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n")
	eventually(t, "the request waits", func() bool { return r.Stats().InFlight == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Drain(ctx); err == nil {
		t.Error("nothing was left to drain")
	}
	r.stop()
}
