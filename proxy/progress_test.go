package proxy

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A client that is slow, but steady, is not late: neither by timeouts.body nor by
// body_min_rate, though its body is moved by the kernel.
func TestSlowUpload(t *testing.T) {
	r := run(t, func(c *Config) { c.Timeouts.Body = 500 * time.Millisecond })
	r.register("w1", startWorker(t, named("w1")))
	const size, piece = 100 << 10, 2 << 10
	c := dial(t, r.addr)
	c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", size))
	for sent := 0; sent < size; sent += piece {
		c.send(strings.Repeat("x", piece))
		time.Sleep(20 * time.Millisecond)
	}
	c.read("POST").want(t, 200, "w1")
}

// A tunnel in which one direction streams does not idle.
func TestTunnelStreams(t *testing.T) {
	const idle = 300 * time.Millisecond
	r := run(t, func(c *Config) { c.Upstream.Upgrade = Upgrade{Protocols: []string{"websocket"}, IdleTimeout: idle} })
	r.register("w1", startWorker(t, func(c net.Conn, _ *received) bool {
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		b := make([]byte, 64<<10)
		for end := time.Now().Add(3 * idle); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if _, err := c.Write(b); err != nil {
				return false
			}
		}
		return false
	}))
	c := dial(t, r.addr)
	began := time.Now()
	c.send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	n, err := io.Copy(io.Discard, c.r)
	if took := time.Since(began); took < 3*idle {
		t.Errorf("cut after %s and %d bytes: %v", took, n, err)
	}
}

// A request whose answer has begun, if only by a 1xx, is sent to nobody else.
func TestNoRetryBehindHints(t *testing.T) {
	r := run(t, nil)
	bad := func(c net.Conn, _ *received) bool {
		io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
		return false
	}
	w1, w2 := startWorker(t, bad), startWorker(t, bad)
	r.register("w1", w1)
	r.register("w2", w2)
	c := dial(t, r.addr)
	c.send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	b, _ := io.ReadAll(c.r)
	if n := len(w1.requests()) + len(w2.requests()); n != 1 || strings.Count(string(b), " 103 ") != 1 || !strings.Contains(string(b), " 502 ") {
		t.Errorf("%d requests were sent, the client got %q", n, b)
	}
}

// Who accepts and closes is not dialled again and again.
func TestDialsAreBounded(t *testing.T) {
	r := run(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var made atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			made.Add(1)
			c.Close()
		}
	}()
	r.register("w1", &worker{addr: l.Addr().String()})
	for range 100 {
		before := made.Load()
		if a := r.get("/"); a.StatusCode < 502 {
			t.Fatal(a.Status)
		}
		if n := made.Load() - before; n > 3 {
			t.Fatalf("%d connections for one request", n)
		}
	}
}

// max_request_time ends an answer that flows, too.
func TestLimitWhileBytesFlow(t *testing.T) {
	const limit = 300 * time.Millisecond
	for _, framing := range []string{"Transfer-Encoding: chunked\r\n", "Content-Length: 99999999999\r\n"} {
		r := run(t, func(c *Config) { c.Upstream.MaxRequestTime = limit })
		r.register("w1", startWorker(t, func(c net.Conn, _ *received) bool {
			io.WriteString(c, "HTTP/1.1 200 OK\r\n"+framing+"\r\n")
			b := fmt.Appendf(nil, "%x\r\n%s\r\n", 64<<10, strings.Repeat("x", 64<<10))
			for {
				if _, err := c.Write(b); err != nil {
					return false
				}
			}
		}))
		c := dial(t, r.addr)
		began := time.Now()
		c.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		io.Copy(io.Discard, c.r)
		if took := time.Since(began); took < limit/2 || took > patience/2 {
			t.Errorf("%s ended after %s", framing, took)
		}
	}
}

// A client that has said that it sends no more still gets an answer that is there at
// once (http-notes.md §7).
func TestHalfClosedClientIsAnswered(t *testing.T) {
	r := run(t, nil)
	r.register("w1", closedPort(t))
	c := dial(t, r.addr)
	c.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	c.Conn.(*net.TCPConn).CloseWrite()
	c.read("GET").want(t, 503, "")
}
