package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/fsm"
)

// What the client sends is what the worker gets, byte for byte.
func TestTargetIsSentRaw(t *testing.T) {
	r := run(t, nil)
	w := startWorker(t, named("w1"))
	r.register("w1", w)
	f, err := os.Open("testdata/targets")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sent, refused := 0, 0
	for scan := bufio.NewScanner(f); scan.Scan(); {
		target, want, _ := strings.Cut(scan.Text(), "  ")
		if target == "" || strings.HasPrefix(target, "# ") {
			continue
		}
		a := r.get(target)
		if want == "400" {
			refused++
			if a.StatusCode != 400 {
				t.Errorf("%s: status %d, want 400", target, a.StatusCode)
			}
			continue
		}
		sent++
		if want == "" {
			want = target
		}
		list := w.requests()
		if a.StatusCode != 200 || len(list) != sent {
			t.Fatalf("%s: status %d %q, %d requests at the worker", target, a.StatusCode, a.text, len(list))
		}
		if got := list[sent-1].line; got != "GET "+want+" HTTP/1.1" {
			t.Errorf("%s: the worker got %q", target, got)
		}
	}
	if len(w.requests()) != sent {
		t.Errorf("%d requests at the worker, want %d", len(w.requests()), sent)
	}
	t.Logf("%d targets sent, %d refused", sent, refused)
}

// Package http's transport would send some of these twice.
func TestWorkerGetsEachRequestOnce(t *testing.T) {
	for _, c := range []struct{ name, request string }{
		{"GET", "GET /%d HTTP/1.1\r\nHost: localhost\r\n\r\n"},
		{"HEAD", "HEAD /%d HTTP/1.1\r\nHost: localhost\r\n\r\n"},
		{"OPTIONS", "OPTIONS /%d HTTP/1.1\r\nHost: localhost\r\n\r\n"},
		{"TRACE", "TRACE /%d HTTP/1.1\r\nHost: localhost\r\n\r\n"},
		{"DELETE", "DELETE /%d HTTP/1.1\r\nHost: localhost\r\n\r\n"},
		{"POST", "POST /%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"},
		{"POST with a key", "POST /%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nIdempotency-Key: 1\r\n\r\n"},
		{"POST with another key", "POST /%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nX-Idempotency-Key: 1\r\n\r\n"},
		{"POST with a body", "POST /%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"},
		{"PUT with a body", "PUT /%d HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := run(t, nil)
			w := startWorker(t, func(c net.Conn, q *received) bool {
				if q.nth > 1 { // take it on a connection that was used before, and say nothing
					return false
				}
				_, err := io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
				return err == nil
			})
			r.register("w1", w)
			client := dial(t, r.addr)
			method, _, _ := strings.Cut(c.request, " ")
			const n = 6
			failed := 0
			for i := range n {
				client.send(fmt.Sprintf(c.request, i))
				if a := client.read(method); a.StatusCode != 204 {
					failed++
				}
			}
			seen := map[string]int{}
			for _, q := range w.requests() {
				seen[q.target()]++
			}
			for i := range n {
				if seen[fmt.Sprintf("/%d", i)] != 1 {
					t.Errorf("the worker got them so often: %v", seen)
					break
				}
			}
			if failed == 0 && method != "TRACE" {
				t.Error("no connection was used again: this shows nothing")
			}
		})
	}
}

func TestBodies(t *testing.T) {
	r := run(t, nil)
	w := startWorker(t, say(okHead+"ok"))
	r.register("w1", w)
	big := strings.Repeat("0123456789", 100_000)
	for _, c := range []struct{ name, request, body, length, coding, trailer string }{
		{"length", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0005\r\n\r\nhello", "hello", "5", "", ""},
		{"no body", "POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", "", "", "", ""},
		{"GET", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "", "", "", ""},
		{"GET with a body", "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi", "hi", "2", "", ""},
		{"DELETE with a body", "DELETE / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi", "hi", "2", "", ""},
		{"chunks", "PUT / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", "hello!", "6", "", ""},
		{"trailers", "PUT / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-Forwarded-For\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
			"hello", "", "chunked", "X-Forwarded-For: \nX-Sum: 7\n"},
		{"long", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + big, big, "1000000", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(w.requests())
			r.do(c.request).want(t, 200, "ok")
			list := w.requests()
			if len(list) != before+1 {
				t.Fatalf("%d requests at the worker", len(list)-before)
			}
			q := list[before]
			if q.body != c.body {
				t.Errorf("body of %d bytes %.20q, want %d", len(q.body), q.body, len(c.body))
			}
			if q.value("Content-Length") != c.length || q.value("Transfer-Encoding") != c.coding {
				t.Errorf("framing: length %q, coding %q", q.value("Content-Length"), q.value("Transfer-Encoding"))
			}
			if strings.Contains(c.trailer, "X-Sum") != strings.Contains(q.trailer, "X-Sum: 7") || strings.Contains(q.trailer, "Forwarded") {
				t.Errorf("trailers %q", q.trailer)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	const early = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
	for _, c := range []struct {
		name, method, worker string
		status               int
		text                 string
		check                func(t *testing.T, a *reply)
	}{
		{"length", "GET", okHead + "ok", 200, "ok", nil},
		{"chunks", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, "ok", nil},
		{"until close", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok", 200, "ok", nil},
		{"no reason", "GET", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", 200, "ok", nil},
		{"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", 200, "", func(t *testing.T, a *reply) {
			if a.Header.Get("Content-Length") != "1234" {
				t.Errorf("length %q", a.Header.Get("Content-Length"))
			}
		}},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", nil},
		{"304", "GET", "HTTP/1.1 304 Not Modified\r\nEtag: \"x\"\r\n\r\n", 304, "", func(t *testing.T, a *reply) {
			if a.Header.Get("Etag") != `"x"` {
				t.Error("no Etag")
			}
		}},
		{"hop by hop", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=20\r\nX-End: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nok", 200, "ok",
			func(t *testing.T, a *reply) {
				if a.Header.Get("X-Hop")+a.Header.Get("Keep-Alive")+a.Header.Get("Connection") != "" || a.Header.Get("X-End") != "1" || len(a.Header["Set-Cookie"]) != 2 {
					t.Errorf("headers %v", a.Header)
				}
				if _, ok := a.Header["Content-Type"]; ok {
					t.Error("a content type was made up")
				}
			}},
		{"trailers", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n", 200, "ok", func(t *testing.T, a *reply) {
			if a.Trailer.Get("X-Sum") != "7" {
				t.Errorf("trailers %v", a.Trailer)
			}
		}},
		{"hints first", "GET", early + okHead + "ok", 103, "", nil},
		{"nine hints", "GET", strings.Repeat(early, 9) + okHead + "ok", 0, "", nil},
		{"not HTTP", "GET", "SSH-2.0-x\r\n\r\n", 502, "502 Bad Gateway\n\nThe worker gave no proper answer.\nRequest ", nil},
		{"two lengths", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!", 502, "", nil},
		{"101 not asked for", "GET", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 502, "", nil},
		{"head too long", "GET", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 70<<10) + "\r\nContent-Length: 2\r\n\r\nok", 502, "", nil},
		{"5xx is the worker's own", "GET", "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nX-Own: 1\r\n\r\nbusy", 503, "busy", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := run(t, nil)
			w := startWorker(t, func(conn net.Conn, _ *received) bool {
				_, err := io.WriteString(conn, c.worker)
				return err == nil && !strings.Contains(c.worker, "Connection: close")
			})
			r.register("w1", w)
			client := dial(t, r.addr)
			client.send(c.method + " / HTTP/1.1\r\nHost: localhost\r\n\r\n")
			if c.status == 0 { // eight are passed on, then it is over
				for range maxInformational {
					if a := client.read(c.method); a.StatusCode != 103 {
						t.Fatalf("status %d", a.StatusCode)
					}
				}
				client.read(c.method).want(t, 502, "")
				return
			}
			a := client.read(c.method)
			a.want(t, c.status, c.text)
			if c.check != nil {
				c.check(t, a)
			}
			if c.status == 103 {
				if a.Header.Get("Link") == "" {
					t.Error("no Link")
				}
				client.read(c.method).want(t, 200, "ok")
			}
			if r.table.Load().Node("w1").Suspect() {
				t.Error("an answer made the worker suspect")
			}
			if n := len(w.requests()); n != 1 {
				t.Errorf("the worker got %d requests", n)
			}
		})
	}
}

// A client that cannot tell must be told by the connection that an answer broke off.
func TestAnswerBreaksOff(t *testing.T) {
	for name, head := range map[string]string{
		"length": "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
		"chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
	} {
		for _, version := range []string{"1.1", "1.0"} {
			t.Run(name+" "+version, func(t *testing.T) {
				r := run(t, nil)
				breakOff := make(chan bool)
				w := startWorker(t, func(c net.Conn, _ *received) bool {
					io.WriteString(c, head)
					<-breakOff
					return false
				})
				r.register("w1", w)
				other := startWorker(t, named("w2"))
				r.register("w2", other)
				r.load("w2", 0)
				c := dial(t, r.addr)
				c.send("GET / HTTP/" + version + "\r\nHost: localhost\r\n\r\n")
				resp, err := http.ReadResponse(c.r, nil)
				if err != nil {
					t.Fatal(err)
				}
				half := make([]byte, 4)
				if _, err := io.ReadFull(resp.Body, half); err != nil || string(half) != "half" {
					t.Fatalf("%q %v: what is there must come at once", half, err)
				}
				close(breakOff)
				if _, err := io.ReadAll(resp.Body); err == nil {
					t.Error("half an answer looks whole")
				}
				if len(other.requests()) != 0 {
					t.Error("an answer that had begun was asked for again")
				}
				if r.table.Load().Node("w1").Suspect() {
					t.Error("a failed request made its worker suspect")
				}
			})
		}
	}
}

func TestSlowWorker(t *testing.T) {
	slow := func(_ net.Conn, q *received) bool {
		q.r.ReadByte() // until the connection ends
		return false
	}
	mute := func(c net.Conn, q *received) bool {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
		q.r.ReadByte()
		return false
	}
	for _, c := range []struct {
		name   string
		answer func(net.Conn, *received) bool
		change func(*Config)
		config func(*fsm.NodeConfig)
		status int
	}{
		{"response_timeout", slow, func(c *Config) { c.Upstream.ResponseTimeout = 300 * time.Millisecond }, nil, 504},
		{"CONFIG's Timeout", slow, nil, func(n *fsm.NodeConfig) { n.Timeout = 300 }, 504},
		{"max_request_time", slow, func(c *Config) { c.Upstream.MaxRequestTime = 300 * time.Millisecond }, nil, 504},
		{"between two reads", mute, func(c *Config) { c.Upstream.ResponseTimeout = 300 * time.Millisecond }, nil, 200},
		{"max_request_time amid the answer", mute, func(c *Config) { c.Upstream.MaxRequestTime = 300 * time.Millisecond }, nil, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := run(t, c.change)
			w := startWorker(t, c.answer)
			if c.config == nil {
				c.config = func(*fsm.NodeConfig) {}
			}
			r.register("w1", w, c.config)
			a := r.get("/")
			if a.StatusCode != c.status || (c.status == 200) == (a.err == nil) {
				t.Errorf("%s %q %v", a.Status, a.text, a.err)
			}
			if c.status == 504 {
				a.want(t, 504, "504 Gateway Timeout\n\nThe worker did not answer in time.\nRequest ")
			}
			if n := len(w.requests()); n != 1 {
				t.Errorf("the worker got %d requests", n)
			}
			if r.table.Load().Node("w1").Suspect() {
				t.Error("a slow answer made the worker suspect")
			}
		})
	}
}

// A client that leaves ends what its worker does for it.
func TestClientLeaves(t *testing.T) {
	for _, name := range []string{"waiting", "reading"} {
		t.Run(name, func(t *testing.T) {
			r := run(t, nil)
			var once sync.Once
			arrived, closed := make(chan bool), make(chan bool)
			w := startWorker(t, func(c net.Conn, q *received) bool {
				if name == "reading" {
					io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
				}
				once.Do(func() { close(arrived) })
				q.r.ReadByte() // until the connection ends
				close(closed)
				return false
			})
			r.register("w1", w)
			c := dial(t, r.addr)
			c.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
			wait(t, arrived, "the request reaches the worker")
			if name == "reading" {
				if _, err := c.r.ReadString('f'); err != nil {
					t.Fatal(err)
				}
			}
			c.Close()
			wait(t, closed, "the worker's connection is closed")
			eventually(t, "nothing is in flight", func() bool { return r.Stats().InFlight == 0 && r.InFlight("w1", "/") == 0 })
		})
	}
}

func wait(t testing.TB, ch <-chan bool, what string) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(patience):
		t.Fatalf("not within %s: %s", patience, what)
	}
}

// Each piece of an event stream comes when the worker writes it.
func TestStreaming(t *testing.T) {
	r := run(t, nil)
	next := make(chan string)
	defer func() {
		if t.Failed() {
			close(next)
		}
	}()
	w := startWorker(t, func(c net.Conn, _ *received) bool {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
		for s := range next {
			fmt.Fprintf(c, "%x\r\n%s\r\n", len(s), s)
		}
		io.WriteString(c, "0\r\n\r\n")
		return true
	})
	r.register("w1", w)
	c := dial(t, r.addr)
	c.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(resp.Body)
	for i := range 5 {
		text := fmt.Sprintf("data: %d\n", i)
		next <- text
		if got, err := lines.ReadString('\n'); got != text {
			t.Fatalf("%q %v", got, err)
		}
	}
	close(next)
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("%q %v", rest, err)
	}
}

// Expect is the worker's to grant.
func TestExpectContinue(t *testing.T) {
	r := run(t, nil)
	w := startWorker(t, nil)
	w.early = true
	w.answer = func(c net.Conn, q *received) bool {
		if q.target() == "/no" {
			io.WriteString(c, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
			return false
		}
		io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
		if !q.readBody() {
			return false
		}
		return say(okHead+"ok")(c, q)
	}
	r.register("w1", w)
	c := dial(t, r.addr)
	c.send("POST /yes HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	if a := c.read("POST"); a.StatusCode != 100 {
		t.Fatalf("status %d, want 100", a.StatusCode)
	}
	c.send("hello")
	c.read("POST").want(t, 200, "ok")
	if q := w.requests()[0]; q.body != "hello" || q.value("Expect") != "100-continue" {
		t.Errorf("%q with body %q", q.head, q.body)
	}
	c = dial(t, r.addr)
	c.send("POST /no HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	a := c.read("POST")
	a.want(t, 401, "no")
	if !a.Close {
		t.Error("the body was not sent, yet the connection stays")
	}
}

// An answer that comes before the body is done is relayed at once.
func TestEarlyAnswer(t *testing.T) {
	for name, limit := range map[string]time.Duration{"body in time": patience, "no limit of time": 0} {
		t.Run(name, func(t *testing.T) { testEarlyAnswer(t, limit) })
	}
}

func testEarlyAnswer(t *testing.T, limit time.Duration) {
	r := run(t, func(c *Config) { c.Timeouts.Body = limit })
	w := startWorker(t, nil)
	w.early = true
	w.answer = func(c net.Conn, q *received) bool {
		if q.target() == "/" {
			io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
			c.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, q.r)
			return false
		}
		return sayReset(c, q)
	}
	r.register("w1", w)
	for target, status := range map[string]int{"/": 413, "/reset": 502} {
		c := dial(t, r.addr)
		began := time.Now()
		c.send("POST " + target + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nfirst")
		a := c.read("POST")
		a.want(t, status, "")
		if !a.Close {
			t.Errorf("%s: the rest of the body would be taken for a request", target)
		}
		if took := time.Since(began); took > patience/2 {
			t.Errorf("%s: answered after %s", target, took)
		}
	}
	eventually(t, "nothing is in flight", func() bool { return r.Stats().InFlight == 0 })
}

// A worker answers as soon as it has the last byte of a long body, often before who
// sent that can say so: both connections are good for the next request all the same.
func TestLongBodiesKeepConnections(t *testing.T) {
	r := run(t, nil)
	w := startWorker(t, named("w1"))
	w.quiet = true
	r.register("w1", w)
	c := dial(t, r.addr)
	body := strings.Repeat("0123456789", 6000)
	var chunked strings.Builder
	for i := 0; i < len(body); i += 1000 {
		chunked.WriteString("3e8\r\n" + body[i:i+1000] + "\r\n")
	}
	for n := range 150 {
		text := []string{
			"Content-Length: 20000\r\n\r\n" + body[:20000], // copied
			"Content-Length: 60000\r\n\r\n" + body,         // spliced
			"Transfer-Encoding: chunked\r\n\r\n" + chunked.String() + "0\r\n\r\n",
		}[n%3]
		c.send("POST / HTTP/1.1\r\nHost: localhost\r\n" + text)
		a := c.read("POST")
		a.want(t, 200, "w1")
		if a.Close {
			t.Fatalf("answer %d closes the connection", n)
		}
	}
	if n := w.connections(); n != 1 {
		t.Errorf("%d connections to the worker, want 1", n)
	}
}
