package proxy

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

const askWebSocket = "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"

const switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: y\r\n\r\n"

func startTunnels(t *testing.T, change func(*Config), talk func(c net.Conn, q *received)) (*rig, *worker) {
	r := run(t, func(c *Config) {
		c.Upstream.Upgrade.Protocols = []string{"websocket"}
		if change != nil {
			change(c)
		}
	})
	w := startWorker(t, func(c net.Conn, q *received) bool {
		talk(c, q)
		return false
	})
	r.register("w1", w)
	return r, w
}

func upgrade(t *testing.T, r *rig, behind string) *rawClient {
	t.Helper()
	c := dial(t, r.addr)
	c.send(askWebSocket + behind)
	head := ""
	for !strings.HasSuffix(head, "\r\n\r\n") {
		line, err := c.r.ReadString('\n')
		if err != nil {
			t.Fatalf("%q %v", head, err)
		}
		head += line
	}
	for _, want := range []string{"HTTP/1.1 101 Switching Protocols\r\n", "Connection: Upgrade\r\n", "Upgrade: WebSocket\r\n", "Sec-WebSocket-Accept: y\r\n"} {
		if !strings.Contains(head, want) {
			t.Errorf("no %q in %q", want, head)
		}
	}
	return c
}

// Bytes behind either head are tunnel data; each side may end its half alone.
func TestTunnel(t *testing.T) {
	r, w := startTunnels(t, nil, func(c net.Conn, q *received) {
		io.WriteString(c, switched+"hello ")
		b := make([]byte, 5)
		io.ReadFull(q.r, b)
		c.Write(b)
		rest, _ := io.ReadAll(q.r) // until the client ends its half
		c.Write(rest)
	})
	c := upgrade(t, r, "early")
	b := make([]byte, 11)
	if _, err := io.ReadFull(c.r, b); err != nil || string(b) != "hello early" {
		t.Fatalf("%q %v", b, err)
	}
	if r.InFlight("w1", "/") != 1 || r.Stats().InFlight != 1 {
		t.Errorf("%d in flight", r.InFlight("w1", "/"))
	}
	c.send("the rest")
	c.Conn.(*net.TCPConn).CloseWrite()
	if rest, err := io.ReadAll(c.r); err != nil || string(rest) != "the rest" {
		t.Errorf("%q %v", rest, err)
	}
	eventually(t, "nothing is in flight", func() bool { return r.Stats().InFlight == 0 && r.InFlight("w1", "/") == 0 })
	q := w.requests()[0]
	if q.value("Connection") != "Upgrade" || q.value("Upgrade") != "websocket" || q.value("Sec-WebSocket-Key") != "x" {
		t.Errorf("the worker got %q", q.head)
	}
	if s := r.Stats(); s.Class[1] != 1 {
		t.Errorf("%+v", s)
	}
}

func TestTunnelRefused(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		status int
	}{
		"plain answer":     {"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403},
		"another protocol": {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 502},
		"no protocol":      {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n", 502},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := startTunnels(t, nil, func(conn net.Conn, _ *received) { io.WriteString(conn, c.answer) })
			r.do(askWebSocket).want(t, c.status, "")
		})
	}
}

func TestTunnelIdles(t *testing.T) {
	r, _ := startTunnels(t, func(c *Config) { c.Upstream.Upgrade.IdleTimeout = 500 * time.Millisecond },
		func(c net.Conn, q *received) {
			io.WriteString(c, switched)
			io.Copy(c, q.r)
		})
	c := upgrade(t, r, "")
	for range 5 { // it lives as long as there is traffic
		time.Sleep(10 * time.Millisecond)
		c.send("x")
		if b, err := c.r.ReadByte(); b != 'x' {
			t.Fatalf("%q %v", b, err)
		}
	}
	if rest, err := io.ReadAll(c.r); len(rest) > 0 || err != nil {
		t.Errorf("%q %v", rest, err)
	}
	eventually(t, "nothing is in flight", func() bool { return r.Stats().InFlight == 0 })
}

// A side that breaks ends both.
func TestTunnelBreaks(t *testing.T) {
	done := make(chan bool)
	r, _ := startTunnels(t, nil, func(c net.Conn, q *received) {
		io.WriteString(c, switched)
		q.r.ReadByte()
		close(done)
	})
	c := upgrade(t, r, "")
	c.Conn.(*net.TCPConn).SetLinger(0)
	c.Close()
	wait(t, done, "the worker's side ends")
	eventually(t, "nothing is in flight", func() bool { return r.Stats().InFlight == 0 })
}
