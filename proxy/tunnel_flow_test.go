package proxy

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// Who may not be upgraded is sent on as a plain request; what comes behind it is the
// next one.
func TestUpgradeNotAllowed(t *testing.T) {
	r := run(t, func(c *Config) { c.Upstream.Upgrade.Protocols = []string{"websocket", "irc/6.9", "*"} })
	w := startWorker(t, named("w1"))
	r.register("w1", w)
	const connection = "Connection: Upgrade\r\n"
	for name, c := range map[string]struct {
		version, fields, body string
		asked                 string // for by the worker
	}{
		"websocket":              {"1.1", connection + "Upgrade: websocket\r\n", "", "websocket"},
		"with a version":         {"1.1", connection + "Upgrade: irc/6.9\r\n", "", "irc/6.9"},
		"any other":              {"1.1", "Connection: keep-alive, upgrade\r\nUpgrade: foo\r\n", "", "foo"},
		"h2c":                    {"1.1", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n", "", ""},
		"HTTP/2.0":               {"1.1", connection + "Upgrade: HTTP/2.0\r\n", "", ""},
		"http":                   {"1.1", connection + "Upgrade: http\r\n", "", ""},
		"TLS/1.0":                {"1.1", connection + "Upgrade: TLS/1.0\r\n", "", ""},
		"a list":                 {"1.1", connection + "Upgrade: websocket, foo\r\n", "", ""},
		"two lines":              {"1.1", connection + "Upgrade: websocket\r\nUpgrade: foo\r\n", "", ""},
		"not in Connection":      {"1.1", "Upgrade: websocket\r\n", "", ""},
		"HTTP/1.0":               {"1.0", connection + "Upgrade: websocket\r\n", "", ""},
		"with a body":            {"1.1", connection + "Upgrade: websocket\r\nContent-Length: 2\r\n", "hi", ""},
		"with chunks":            {"1.1", connection + "Upgrade: websocket\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", ""},
		"empty":                  {"1.1", connection + "Upgrade: \r\n", "", ""},
		"Connection, no Upgrade": {"1.1", connection, "", ""},
	} {
		before := len(w.requests())
		conn := dial(t, r.addr)
		const next = "GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n"
		conn.send("GET / HTTP/" + c.version + "\r\nHost: localhost\r\n" + c.fields + "\r\n" + c.body + next)
		a := conn.read("GET")
		a.want(t, 200, "w1")
		if !a.Close {
			conn.read("GET").want(t, 200, "w1")
		}
		q := w.requests()[before]
		if q.value("Upgrade") != c.asked || (q.value("Connection") == "Upgrade") != (c.asked != "") || q.value("HTTP2-Settings") != "" {
			t.Errorf("%s: the worker got %q", name, q.head)
		}
	}
}

// Much goes both ways at once, in whatever the client speaks, and each side ends its
// half when it is done.
func TestTunnelCarriesMuch(t *testing.T) {
	const size = 8 << 20
	piece := make([]byte, 128<<10)
	for i := range piece {
		piece[i] = byte(i * i >> 3)
	}
	whole := sha256.New()
	for range size / len(piece) {
		whole.Write(piece)
	}
	want := string(whole.Sum(nil))
	pour := func(c io.Writer) error {
		for range size / len(piece) {
			if _, err := c.Write(piece); err != nil {
				return err
			}
		}
		return nil
	}
	drink := func(c io.Reader) error {
		sum := sha256.New()
		n, err := io.Copy(sum, c)
		if err == nil && (n != size || string(sum.Sum(nil)) != want) {
			err = fmt.Errorf("other bytes, %d of them", n)
		}
		return err
	}
	r, secure, _ := runTLS(t, func(c *Config) { c.Upstream.Upgrade.Protocols = []string{"websocket"} })
	ended := make(chan error, 4)
	r.register("w1", startWorker(t, func(c net.Conn, q *received) bool {
		io.WriteString(c, switched)
		poured := make(chan error, 1)
		go func() {
			poured <- pour(c)
			c.(*net.TCPConn).CloseWrite()
		}()
		ended <- drink(q.r)
		ended <- <-poured
		return false
	}))
	for name, addr := range map[string]string{"plain": r.addr, "TLS": secure} {
		t.Run(name, func(t *testing.T) {
			var c interface {
				net.Conn
				CloseWrite() error
			} = dial(t, addr).Conn.(*net.TCPConn)
			if addr == secure {
				c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
			}
			io.WriteString(c, askWebSocket)
			in := bufio.NewReader(c)
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				if line == "\r\n" {
					break
				}
			}
			poured := make(chan error, 1)
			go func() {
				err := pour(c)
				if err == nil {
					err = c.CloseWrite()
				}
				poured <- err
			}()
			if err := drink(in); err != nil {
				t.Errorf("to the client: %v", err)
			}
			for _, err := range []error{<-poured, <-ended, <-ended} {
				if err != nil {
					t.Error(err)
				}
			}
			eventually(t, "nothing is in flight", func() bool { return r.Stats().InFlight == 0 })
		})
	}
}

// Either side may end its half first, and go on listening.
func TestTunnelHalves(t *testing.T) {
	r, _ := startTunnels(t, nil, func(c net.Conn, q *received) {
		io.WriteString(c, switched+"bye")
		c.(*net.TCPConn).CloseWrite()
		rest, _ := io.ReadAll(q.r)
		if string(rest) != strings.Repeat("late", 1000) {
			t.Errorf("%d bytes behind the end of the worker's half", len(rest))
		}
	})
	c := upgrade(t, r, "")
	if b, err := io.ReadAll(c.r); string(b) != "bye" || err != nil {
		t.Fatalf("%q %v", b, err)
	}
	for range 1000 {
		c.send("late")
	}
	c.Conn.(*net.TCPConn).CloseWrite()
	eventually(t, "nothing is in flight", func() bool { return r.Stats().InFlight == 0 })
}

// A client that takes nothing for the time of a write loses its tunnel: what it gets
// then has no hole.
func TestTunnelStalls(t *testing.T) {
	closed := make(chan bool)
	r, _ := startTunnels(t, func(c *Config) { c.Timeouts.Write = 200 * time.Millisecond }, func(c net.Conn, q *received) {
		io.WriteString(c, switched)
		piece := make([]byte, 64<<10)
		for n, err := 0, error(nil); err == nil; {
			for i := range piece {
				piece[i] = byte(n >> 16)
				n++
			}
			_, err = c.Write(piece)
		}
		close(closed)
	})
	c := upgrade(t, r, "")
	wait(t, closed, "the worker's side ends")
	eventually(t, "nothing is in flight", func() bool { return r.Stats().InFlight == 0 })
	b, err := io.ReadAll(c.r)
	if isTimeout(err) || len(b) == 0 {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	for i, x := range b {
		if x != byte(i>>16) {
			t.Fatalf("a hole at %d of %d", i, len(b))
		}
	}
}
