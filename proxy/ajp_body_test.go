package proxy

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/proxy/ajp/ajptest"
)

// echo answers with what it was sent, as an application that reads to the end.
func echo(c *ajpConn, q *ajptest.Request) bool {
	body, ok := c.body(q)
	if !ok {
		return false
	}
	if !c.say(ajptest.Head(200, "X-Length", q.Header("Content-Length"), "X-Coding", q.Header("Transfer-Encoding"))) {
		return false
	}
	for len(body) > 0 {
		n := min(len(body), 8184)
		if !c.say(ajptest.Body(body[:n])) {
			return false
		}
		body = body[n:]
	}
	return c.say(ajptest.End)
}

// Bodies of every framing reach the worker to the byte, and the connection stays clean:
// what follows on it is right.
func TestAJPBodies(t *testing.T) {
	for _, size := range []int{0, 8 << 10, 64 << 10} {
		r := run(t, func(c *Config) { c.Upstream.AJP = AJP{MaxPacketBytes: size, CPingAfterIdle: time.Minute} })
		w := startAJP(t, echo)
		w.strict = true
		r.register("w1", w.worker, isAJP)
		c := dial(t, r.addr)
		long := strings.Repeat("0123456789abcdef", 64<<10)
		for _, b := range []struct {
			name, head, body, want, length, coding string
		}{
			{"short", "Content-Length: 5\r\n", "hello", "hello", "5", ""},
			{"empty", "Content-Length: 0\r\n", "", "", "0", ""},
			{"none", "", "", "", "", ""},
			{"chunks that are there", "Transfer-Encoding: chunked\r\n", "2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n", "hello", "5", ""},
			{"no bytes in chunks", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n", "", "0", ""},
			{"1 MiB", "Content-Length: 1048576\r\n", long, long, "1048576", ""},
			{"1 MiB in chunks", "Transfer-Encoding: chunked\r\n", "80000\r\n" + long[:512<<10] + "\r\n80000\r\n" + long[512<<10:] + "\r\n0\r\nX-Trailer: 1\r\n\r\n", long, "", "chunked"},
			{"9000 bytes", "Content-Length: 9000\r\n", long[:9000], long[:9000], "9000", ""},
		} {
			sent := make(chan error, 1)
			go func() {
				_, err := io.WriteString(c.Conn, "POST /"+strings.ReplaceAll(b.name, " ", "-")+" HTTP/1.1\r\nHost: localhost\r\n"+b.head+"\r\n"+b.body)
				sent <- err
			}()
			a := c.read("POST")
			if a.StatusCode != 200 || a.text != b.want || a.err != nil || a.Header.Get("X-Length") != b.length || a.Header.Get("X-Coding") != b.coding {
				t.Errorf("%s, packets of %d: %s, %d bytes of %d, %v, length %q, coding %q", b.name, size, a.Status, len(a.text), len(b.want), a.err,
					a.Header.Get("X-Length"), a.Header.Get("X-Coding"))
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
		}
		if w.connections() != 1 {
			t.Errorf("packets of %d: %d connections", size, w.connections())
		}
		r.stop()
	}
}

// A body that comes slowly is asked for in between; the answer may begin before it ends.
func TestAJPSlowBody(t *testing.T) {
	r := run(t, nil)
	w := startAJP(t, func(c *ajpConn, q *ajptest.Request) bool {
		first, err := ajptest.ReadBody(c.r)
		if err != nil || !c.say(ajptest.Head(200), ajptest.Body(string(first)), ajptest.Body("")) {
			return false
		}
		rest, ok := c.ask(100)
		return ok && c.say(ajptest.Body(rest), ajptest.End)
	})
	r.register("w1", w.worker, isAJP)
	c := dial(t, r.addr)
	c.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
	c.send("hello")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != "hello" {
		t.Fatalf("%q, %v", b, err)
	}
	c.send(" world")
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != " world" {
		t.Errorf("%q, %v", rest, err)
	}
}

// Who waits for a word before it sends its body gets ours, once the worker has been
// found alive; not if it is refused.
func TestAJPExpect(t *testing.T) {
	r := run(t, nil)
	w := startAJP(t, echo)
	r.register("w1", w.worker, isAJP)
	for _, framing := range []string{"Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"} {
		c := dial(t, r.addr)
		c.send("POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n" + framing + "\r\n")
		line, err := c.r.ReadString('\n')
		if err != nil || line != "HTTP/1.1 100 Continue\r\n" {
			t.Fatalf("%q, %v", line, err)
		}
		c.r.ReadString('\n')
		if strings.HasPrefix(framing, "C") {
			c.send("hello")
		} else {
			c.send("5\r\nhello\r\n0\r\n\r\n")
		}
		c.read("POST").want(t, 200, "hello")
	}
	for _, q := range w.requests() {
		if q.Header("Expect") != "" {
			t.Error("Expect is sent on")
		}
	}
}

// The worker answers, ends or vanishes while the client's bytes are awaited: the client
// hears of it at once, not when it has sent them.
func TestAJPEarlyAnswer(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(*ajpConn, *ajptest.Request) bool
		status int
	}{
		{"413 and the end", ajpSay(ajptest.Head(413, "Content-Length", "3"), ajptest.Body("big"), ajptest.End), 413},
		{"asks, then 413", func(c *ajpConn, q *ajptest.Request) bool {
			return c.say(ajptest.Ask(100), ajptest.Head(413), ajptest.Body("big"), ajptest.Over)
		}, 413},
		{"vanishes", func(*ajpConn, *ajptest.Request) bool { return false }, 502},
		{"asks and vanishes", func(c *ajpConn, _ *ajptest.Request) bool { c.say(ajptest.Ask(100)); return false }, 502},
		{"rubbish", ajpSay("HTTP/1.1 200 OK\r\n\r\n"), 502},
	} {
		for _, framing := range []string{"Content-Length: 100000\r\n\r\nhalf", "Content-Length: 100000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"} {
			t.Run(c.name+"/"+framing[:1]+framing[len(framing)-1:], func(t *testing.T) {
				t.Parallel()
				r := run(t, nil)
				w := startAJP(t, c.answer)
				r.register("w1", w.worker, isAJP)
				began := time.Now()
				conn := dial(t, r.addr)
				conn.send("POST / HTTP/1.1\r\nHost: localhost\r\n" + framing)
				a := conn.read("POST")
				if a.StatusCode != c.status || c.status == 413 && a.text != "big" {
					t.Errorf("%s %q", a.Status, a.text)
				}
				if d := time.Since(began); d > 10*time.Second {
					t.Errorf("after %s", d)
				}
				conn.Close()
			})
		}
	}
}

// A client that leaves ends the worker's exchange, wherever it is.
func TestAJPClientGone(t *testing.T) {
	ended := make(chan time.Time, 1)
	wait := func(c *ajpConn) bool {
		for {
			if _, err := c.r.ReadByte(); err != nil {
				ended <- time.Now()
				return false
			}
		}
	}
	for _, x := range []struct {
		name, send string
		answer     func(*ajpConn, *ajptest.Request) bool
	}{
		{"before the answer", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", func(c *ajpConn, _ *ajptest.Request) bool { return wait(c) }},
		{"inside the answer", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", func(c *ajpConn, _ *ajptest.Request) bool {
			c.say(ajptest.Head(200), ajptest.Body("some"), ajptest.Body(""))
			return wait(c)
		}},
		{"inside the body", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nhalf", func(c *ajpConn, _ *ajptest.Request) bool {
			ajptest.ReadBody(c.r)
			c.say(ajptest.Ask(8186))
			return wait(c)
		}},
		{"before the body", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n", func(c *ajpConn, _ *ajptest.Request) bool { return wait(c) }},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := run(t, nil)
			arrived := make(chan bool, 1)
			w := startAJP(t, func(c *ajpConn, q *ajptest.Request) bool { arrived <- true; return x.answer(c, q) })
			r.register("w1", w.worker, isAJP)
			c := dial(t, r.addr)
			c.send(x.send)
			<-arrived
			gone := time.Now()
			c.Close()
			select {
			case at := <-ended:
				t.Logf("after %s", at.Sub(gone).Round(time.Millisecond))
			case <-time.After(patience):
				t.Fatal("the worker's exchange goes on")
			}
			eventually(t, "nothing is in flight", func() bool { return r.Stats().InFlight == 0 })
			if r.table.Load().Node("w1").Suspect() {
				t.Error("the node is marked")
			}
		})
	}
}

// Bodies of streams of HTTP/2, with a length and without.
func TestAJPOverHTTP2(t *testing.T) {
	r := runH2(t, func(c *Config) { c.Upstream.AJP.CPingAfterIdle = time.Minute })
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	w := startAJP(t, echo)
	w.strict = true
	r.register("w1", w.worker, isAJP)
	long := strings.Repeat("0123456789abcdef", 32<<10)
	for _, length := range []bool{true, false} {
		body := io.Reader(strings.NewReader(long))
		if !length {
			body = io.MultiReader(body)
		}
		resp, err := client.Post("http://"+r.addr+"/", "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(got) != long || resp.ProtoMajor != 2 {
			t.Errorf("length %v: %d bytes of %d, %v", length, len(got), len(long), err)
		}
		want := ""
		if length {
			want = strconv.Itoa(len(long))
		}
		if resp.Header.Get("X-Length") != want {
			t.Errorf("length %v: Content-Length %q", length, resp.Header.Get("X-Length"))
		}
	}
	// The worker answers while the body is awaited.
	w.does(ajpSay(ajptest.Head(413), ajptest.Body("big"), ajptest.Over))
	body, feed := io.Pipe()
	defer feed.Close()
	resp, err := client.Post("http://"+r.addr+"/", "text/plain", body)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != "big" || resp.StatusCode != 413 {
		t.Errorf("%s %q, %v", resp.Status, got, err)
	}
	resp.Body.Close()
}

// An answer larger than the buffer ends the wait for a body as a small one does.
func TestAJPLargeEarlyAnswerOverHTTP2(t *testing.T) {
	r := runH2(t, nil)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	piece := strings.Repeat("z", 8000)
	w := startAJP(t, func(c *ajpConn, _ *ajptest.Request) bool {
		return c.say(ajptest.Ask(8186)) && c.say(ajptest.Head(200)) &&
			c.say(slices.Repeat([]string{ajptest.Body(piece)}, 5)...) && c.say(ajptest.Over)
	})
	r.register("w1", w.worker, isAJP)
	body, feed := io.Pipe()
	defer feed.Close()
	resp, err := client.Post("http://"+r.addr+"/", "text/plain", body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != strings.Repeat(piece, 5) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
