package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate/fsm"
)

func TestLimits(t *testing.T) {
	head := func(lines int) string {
		var b strings.Builder
		for i := range lines {
			fmt.Fprintf(&b, "X-%d: 1\r\n", i)
		}
		return b.String()
	}
	for _, c := range []struct {
		name    string
		request string
		status  int
		text    string
		closes  bool
		reaches bool
	}{
		{"fits", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 200, "ok", false, true},
		{"line", "GET /" + strings.Repeat("a", 8<<10) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, "414 Request URI Too Long\n\n", true, false},
		{"header bytes", "GET / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 33<<10) + "\r\n\r\n", 431, "", true, false},
		{"far more header bytes", "GET / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 60<<10) + "\r\n\r\n", 431, "", true, false},
		// Host, X-Forwarded-For, -Host, -Proto, -Port, -Server and X-Request-Id are lines too.
		{"headers fit", "GET / HTTP/1.1\r\nHost: localhost\r\n" + head(93) + "\r\n", 200, "ok", false, true},
		{"headers", "GET / HTTP/1.1\r\nHost: localhost\r\n" + head(94) + "\r\n", 431, "Too many header lines.", true, false},
		{"headers of a POST fit", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n" + head(92) + "\r\n", 200, "ok", false, true},
		{"headers of a POST", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n" + head(93) + "\r\n", 431, "Too many header lines.", true, false},
		{"headers with trailers", "POST / HTTP/1.1\r\nHost: localhost\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n" + head(93) + "\r\n0\r\nX: 1\r\n\r\n", 431, "Too many header lines.", true, false},
		{"body fits", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n0123456789", 200, "ok", false, true},
		{"body", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\n\r\n01234567890", 413, "413 Request Entity Too Large\n\n", true, false},
		{"body in chunks", "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n", 413, "", true, false},
		{"CONNECT", "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n", 405, "405 Method Not Allowed\n\n", true, false},
		{"TRACE", "TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "", false, false},
		{"MCMP", "CONFIG / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "", false, false},
		{"MCMP in small letters", "enable-app /* HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "", false, false},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 200, "", false, false},
		{"GET *", "GET * HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "", true, false},
		{"two slashes", "GET //evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 200, "ok", false, true},
		{"dots", "GET /a/../b HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "400 Bad Request\n\nThe request is malformed.\nRequest ", true, false},
		{"Expect", "GET / HTTP/1.1\r\nHost: localhost\r\nExpect: miracles\r\n\r\n", 417, "", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := run(t, func(c *Config) {
				c.Limits = Limits{HeaderBytes: 32 << 10, Headers: 100, RequestLineBytes: 8 << 10, BodyBytes: 10}
				c.DisallowedMethods = []string{"TRACE"}
			})
			w := startWorker(t, say(okHead+"ok"))
			r.register("w1", w)
			a := r.do(c.request)
			a.want(t, c.status, c.text)
			if a.Close != c.closes {
				t.Errorf("closes: %v", a.Close)
			}
			list := w.requests()
			if got := len(list) == 1; got != c.reaches {
				t.Errorf("reached the worker: %v", got)
			}
			if len(list) > 0 && strings.Count(list[0].head, "\n") > 100 {
				t.Errorf("the worker got %d lines", strings.Count(list[0].head, "\n"))
			}
			if c.status == 405 && a.Header.Get("Allow") != "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS" {
				t.Errorf("Allow: %q", a.Header.Get("Allow"))
			}
			if r.table.Load().Node("w1").Suspect() {
				t.Error("the worker is suspect")
			}
		})
	}
}

func TestConnectionLimit(t *testing.T) {
	r := run(t, func(c *Config) { c.Limits.Connections = 2 })
	w := startWorker(t, say(okHead+"ok"))
	r.register("w1", w)
	get := "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
	first, second := dial(t, r.addr), dial(t, r.addr)
	for _, c := range []*rawClient{first, second} {
		c.send(get)
		c.read("GET").want(t, 200, "ok")
	}
	over := dial(t, r.addr)
	over.send(get)
	a := over.read("GET")
	a.want(t, 503, "503 Service Unavailable\n\nToo many connections.\n")
	if !a.Close {
		t.Error("the connection stays")
	}
	over.Close()
	first.Close()
	eventually(t, "there is room again", func() bool { return r.Stats().ClientConnections < 2 })
	c := dial(t, r.addr)
	c.send(get)
	c.read("GET").want(t, 200, "ok")
}

func TestRequestsPerConnection(t *testing.T) {
	r := run(t, func(c *Config) { c.Limits.RequestsPerConnection = 3 })
	w := startWorker(t, say(okHead+"ok"))
	r.register("w1", w)
	c := dial(t, r.addr)
	for i := range 3 {
		c.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		a := c.read("GET")
		a.want(t, 200, "ok")
		if a.Close != (i == 2) {
			t.Errorf("request %d closes: %v", i+1, a.Close)
		}
	}
}

// Times of a client's connection.
func TestClientTimes(t *testing.T) {
	r := run(t, func(c *Config) {
		c.Timeouts = Timeouts{Header: 250 * time.Millisecond, Body: 250 * time.Millisecond, Idle: 250 * time.Millisecond, Write: patience}
	})
	w := startWorker(t, say(okHead+"ok"))
	r.register("w1", w)
	for request, want := range map[string]string{
		"":                        "",
		"\r\n":                    "",
		"GET / HTTP/1.1\r\nHost:": "408 Request Timeout\n\nThe request came too slowly.\nRequest ",
	} {
		c := dial(t, r.addr)
		c.send(request)
		if b, err := io.ReadAll(c.r); err != nil || !strings.Contains(string(b), want) || want == "" && len(b) > 0 {
			t.Errorf("%q: %q %v", request, b, err)
		}
	}
	c := dial(t, r.addr)
	c.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	c.read("GET").want(t, 200, "ok")
	if b, err := io.ReadAll(c.r); err != nil || len(b) > 0 {
		t.Errorf("idle: %q %v", b, err)
	}
	r.do("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab").want(t, 408, "408 Request Timeout\n\nThe body came too slowly.\nRequest ")
	if r.table.Load().Node("w1").Suspect() {
		t.Error("a slow client made the worker suspect")
	}
}

// A connection that rests is served again, ends when it has idled for too long, and
// with the replica.
func TestRest(t *testing.T) {
	const idle = 300 * time.Millisecond
	r := run(t, func(c *Config) { c.Timeouts.Idle = idle })
	r.register("w1", startWorker(t, named("w1")))
	c := dial(t, r.addr)
	ask := func() {
		t.Helper()
		c.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		c.read("GET").want(t, 200, "w1")
	}
	resting := func() bool {
		buf := make([]byte, 1<<20)
		return bytes.Contains(buf[:runtime.Stack(buf, true)], []byte("(*client).rest("))
	}
	for range 3 {
		ask()
		eventually(t, "it rests", resting)
	}
	ask()
	began := time.Now()
	if b, err := io.ReadAll(c.r); err != nil || len(b) > 0 {
		t.Errorf("idle: %q %v", b, err)
	}
	if took := time.Since(began); took < idle-50*time.Millisecond {
		t.Errorf("closed after %s, want %s", took, idle)
	}
	r.Tune(Tuning{Timeouts: Timeouts{Header: patience, Body: patience, Write: patience}})
	c = dial(t, r.addr)
	ask()
	eventually(t, "it rests", resting)
	if err := r.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	if b, err := io.ReadAll(c.r); err != nil || len(b) > 0 {
		t.Errorf("drained: %q %v", b, err)
	}
}

// A worker's pool is full: a request waits for a while, then it is refused, and
// the worker is not to blame.
func TestPoolFull(t *testing.T) {
	r := run(t, func(c *Config) {
		c.Upstream.MaxConnections = 1
		c.Upstream.ConnectTimeout = 300 * time.Millisecond
	})
	release := make(chan bool)
	arrived := make(chan bool, 1)
	w := startWorker(t, func(c net.Conn, q *received) bool {
		arrived <- true
		<-release
		return say(okHead+"ok")(c, q)
	})
	r.register("w1", w)
	first := dial(t, r.addr)
	first.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	wait(t, arrived, "the first request is there")
	r.get("/").want(t, 503, sayNoWorker)
	if n := r.InFlight("w1", "/"); n != 1 {
		t.Errorf("%d in flight", n)
	}
	if list := r.InFlightAll(); len(list) != 1 || list[0] != (InFlight{"w1", "/", 1}) {
		t.Errorf("in flight: %v", list)
	}
	close(release)
	first.read("GET").want(t, 200, "ok")
	if r.table.Load().Node("w1").Suspect() {
		t.Error("the worker is suspect")
	}
	r.get("/").want(t, 200, "ok")
}

func TestReadyPath(t *testing.T) {
	var reasons atomic.Pointer[[]string]
	reasons.Store(new([]string))
	r := run(t, func(c *Config) {
		c.ReadyPath = "/.ready"
		c.NotReady = func() []string { return *reasons.Load() }
	})
	r.get("/.ready").want(t, 200, "ready\n")
	r.get("/.ready?x").want(t, 200, "ready\n")
	r.get("/.ready/x").want(t, 404, "404 Not Found\n\nNothing is deployed at this path.\nRequest ")
	reasons.Store(&[]string{"stopping", "cluster not formed"})
	r.get("/.ready").want(t, 503, "not ready: stopping, cluster not formed\n")
}

// A client that begins a body and falls silent gets its answer, and does not keep
// its connection, whatever the answer is.
func TestBodyNeverComes(t *testing.T) {
	r := run(t, func(c *Config) {
		c.Timeouts.Body = 100 * time.Millisecond
		c.Limits.BodyBytes = 50_000
	})
	w := startWorker(t, nil)
	w.early = true
	w.answer = func(c net.Conn, q *received) bool {
		switch q.target() {
		case "/half":
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
			return false
		case "/early":
			io.WriteString(c, okHead+"ok")
		}
		io.Copy(io.Discard, q.r)
		return false
	}
	r.register("w1", w)
	for _, c := range []struct {
		name, line string
		length     int
		status     int
	}{
		{"too slow", "POST /", 40_000, 408},
		{"too slow to be sent", "POST /early", 40, 408},
		{"early answer", "POST /early", 40_000, 200},
		{"broken answer", "POST /half", 40_000, 200},
		{"method", "CONFIG /", 40_000, 405},
		{"too large", "POST /", 50_001, 413},
		{"malformed", "POST /../x", 40_000, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := dial(t, r.addr)
			client.send(fmt.Sprintf("%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\nab", c.line, c.length))
			a := client.read("POST")
			if a.StatusCode != c.status || !a.Close {
				t.Errorf("%s, closes %v", a.Status, a.Close)
			}
			if b, err := io.ReadAll(client.r); isTimeout(err) || len(b) > 0 {
				t.Errorf("the connection stays: %q %v", b, err)
			}
		})
	}
}

// The rest of a body that nobody reads is not taken for a request; if all of it is
// there the connection lives on.
func TestBodyNotWanted(t *testing.T) {
	const next = "GET /.ready HTTP/1.1\r\nHost: localhost\r\n\r\n"
	r := run(t, func(c *Config) { c.ReadyPath = "/.ready" })
	for _, c := range []struct {
		name, framing, body string
		stays               bool
		status              int
	}{
		{"length", "Content-Length: 5\r\n", "hello", true, 404},
		{"chunks", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", true, 404},
		{"long", "Content-Length: 70000\r\n", strings.Repeat("x", 70000), false, 404},
		{"no chunk", "Transfer-Encoding: chunked\r\n", "x\r\n\r\n", false, 400},
		{"not asked for", "Content-Length: 5\r\nExpect: 100-continue\r\n", "", false, 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := dial(t, r.addr)
			client.send("POST /nowhere HTTP/1.1\r\nHost: localhost\r\n" + c.framing + "\r\n" + c.body + next)
			a := client.read("POST")
			a.want(t, c.status, "")
			if a.Close == c.stays {
				t.Fatalf("closes: %v", a.Close)
			}
			if c.stays {
				client.read("GET").want(t, 200, "ready\n")
				return
			}
			if b, err := io.ReadAll(client.r); isTimeout(err) || len(b) > 0 {
				t.Errorf("%q %v", b, err)
			}
		})
	}
}

// A limit of 0 is none, and does not make another one smaller.
func TestNoLimits(t *testing.T) {
	long := strings.Repeat("x", 2<<20)
	request := func(line, header string) string {
		return "GET /" + line + " HTTP/1.1\r\nHost: localhost\r\nX: " + header + "\r\n\r\n"
	}
	for _, c := range []struct {
		name    string
		limits  Limits
		request string
	}{
		{"line and header", Limits{}, request(long, long)},
		{"line", Limits{HeaderBytes: 1000}, request(long, "")},
		{"header", Limits{RequestLineBytes: 1000}, request("", long)},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := run(t, func(conf *Config) { conf.Limits = c.limits })
			r.register("w1", startWorker(t, say(okHead+"ok")))
			r.do(c.request).want(t, 200, "ok")
		})
	}
}

// A worker that takes some of a long body and then breaks or stalls leaves bytes of it
// in a pipe of the kernel: where the next request begins is not known, so there is none
// on this connection.
func TestBodyLostInPipe(t *testing.T) {
	for _, how := range []string{"resets", "stalls"} {
		t.Run(how, func(t *testing.T) {
			r := run(t, nil)
			release := make(chan struct{})
			w := startWorker(t, nil)
			w.early = true
			w.answer = func(c net.Conn, q *received) bool {
				if strings.HasPrefix(q.target(), "/next") {
					say(okHead+"ok")(c, q)
					return true
				}
				c.(*net.TCPConn).SetReadBuffer(2304)
				<-release
				c.(*net.TCPConn).SetLinger(0)
				return false
			}
			r.register("w1", w, func(c *fsm.NodeConfig) { c.Timeout = 500 })
			// As much as the sockets and the pipe swallow, and a little more.
			const most = 8 << 20
			client := dial(t, r.addr)
			client.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", most))
			sent := 0
			piece := make([]byte, 64<<10)
			for sent+2*len(piece) < most {
				client.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
				n, err := client.Write(piece)
				sent += n
				if err != nil {
					break
				}
			}
			if how == "resets" {
				close(release)
			} else {
				defer close(release)
			}
			client.SetDeadline(time.Now().Add(patience))
			if a := client.read("POST"); a.StatusCode < 500 || !a.Close {
				t.Errorf("%s, closes %v", a.Status, a.Close)
			}
		})
	}
}
