package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/fsm"
	"github.com/quorate/quorate/proxy/ajp/ajptest"
)

// Answers without a body stay so, whatever the worker sends behind them; the connection
// serves on.
func TestAJPWithoutBody(t *testing.T) {
	r := run(t, func(c *Config) { c.Upstream.AJP.CPingAfterIdle = time.Minute })
	w := startAJP(t, nil)
	r.register("w1", w.worker, isAJP)
	c := dial(t, r.addr)
	for _, x := range []struct {
		method string
		say    []string
		status int
		length string
	}{
		{"HEAD", []string{ajptest.Head(200, "Content-Length", "1234"), ajptest.End}, 200, "1234"},
		{"HEAD", []string{ajptest.Head(200), ajptest.Body("not wanted"), ajptest.End}, 200, ""},
		{"GET", []string{ajptest.Head(304, "Content-Length", "7", "X", "y"), ajptest.End}, 304, "7"},
		{"GET", []string{ajptest.Head(204, "Content-Length", "7"), ajptest.Body("not wanted"), ajptest.End}, 204, ""},
		{"GET", []string{ajptest.Head(205), ajptest.Body("not wanted"), ajptest.End}, 205, "0"},
		{"GET", []string{ajptest.Head(200, "Content-Length", "0"), ajptest.Body(""), ajptest.End}, 200, "0"},
		{"GET", []string{ajptest.Head(103, "Link", "</a>"), ajptest.Head(200), ajptest.End}, 200, ""},
		{"OPTIONS", []string{ajptest.Head(200, "Connection", "close, X-Gone", "X-Gone", "1", "Keep-Alive", "timeout=1", "Trailer", "X", "Upgrade", "h2c", "Content-Length", "0"), ajptest.End}, 200, "0"},
	} {
		w.does(ajpSay(x.say...))
		c.send(x.method + " / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		a := c.read(x.method)
		if a.StatusCode == 103 {
			a = c.read(x.method)
		}
		if a.StatusCode != x.status || a.text != "" || a.err != nil || a.Header.Get("Content-Length") != x.length ||
			a.Header.Get("X-Gone")+a.Header.Get("Keep-Alive")+a.Header.Get("Upgrade")+a.Header.Get("Trailer") != "" {
			t.Errorf("%s %q: %s %v %q %v", x.method, x.say, a.Status, a.Header, a.text, a.err)
		}
	}
	if w.connections() != 1 {
		t.Errorf("%d connections", w.connections())
	}
}

// A flush reaches the client before the end.
func TestAJPStreams(t *testing.T) {
	r := run(t, nil)
	next := make(chan string)
	w := startAJP(t, func(c *ajpConn, _ *ajptest.Request) bool {
		c.say(ajptest.Head(200, "Content-Type", "text/event-stream"), ajptest.Body(""))
		for s := range next {
			c.say(ajptest.Body(s), ajptest.Body(""))
		}
		return c.say(ajptest.End)
	})
	r.register("w1", w.worker, isAJP)
	c := dial(t, r.addr)
	c.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"a", "bc", "def"} {
		next <- s
		b := make([]byte, len(s))
		if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != s {
			t.Fatalf("%q, %v", b, err)
		}
	}
	close(next)
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
}

// What does not fit is refused before a byte of it is written; the connection goes on.
func TestAJPLimits(t *testing.T) {
	r := run(t, func(c *Config) {
		c.Limits = Limits{HeaderBytes: 64 << 10, RequestLineBytes: 64 << 10, Headers: 100}
		c.Upstream.AJP.CPingAfterIdle = time.Minute
	})
	w := startAJP(t, ajpSay(ajptest.Head(200), ajptest.Body("fine"), ajptest.End))
	w.strict = true
	r.register("w1", w.worker, isAJP)
	r.get("/").want(t, 200, "fine")
	many := func(n int) string { return strings.Repeat("X: y\r\n", n-2) + "X: y" } // and X-Request-Id
	for _, x := range []struct {
		target, header string
		status         int
	}{
		{"/" + strings.Repeat("p", 9000), "X: y", 414},
		{"/?" + strings.Repeat("q", 9000), "X: y", 414},
		{"/", "X: " + strings.Repeat("y", 9000), 431},
		{"/", "Cookie: " + strings.Repeat("y", 8100), 431},
		{"/", strings.Repeat("n", 256) + ": y", 400},
		{"/", many(100), 431},
		{"/", many(99), 200},
		{"/" + strings.Repeat("p", 3000), "X: " + strings.Repeat("y", 3000), 200},
	} {
		a := r.get(x.target, x.header)
		if a.StatusCode != x.status {
			t.Errorf("%.10s %.20s: %s", x.target, x.header, a.Status)
		}
	}
	eventually(t, "the connection is kept", func() bool { return w.connections() <= 2 })
	if n := len(w.requests()); n != 3 {
		t.Errorf("%d requests", n)
	}
	if !strings.Contains(r.logs.String(), "request too large for ajp") {
		t.Error("the size that is needed is not told")
	}
}

// A worker that is late to answer CPING is overloaded, not dead: new sessions go to
// another node, one of its own waits, and nothing is marked.
func TestAJPLatePing(t *testing.T) {
	r := run(t, nil)
	release := make(chan bool)
	late := startAJP(t, ajpSay(ajptest.Head(200), ajptest.Body("late"), ajptest.End))
	late.pongs(func(c *ajpConn) bool { <-release; return c.say(ajptest.Pong) })
	quick := startAJP(t, ajpSay(ajptest.Head(200), ajptest.Body("quick"), ajptest.End))
	short := func(n *fsm.NodeConfig) { n.Type, n.Ping = "ajp", 200 }
	r.register("late", late.worker, short)
	r.register("quick", quick.worker, short)
	for range 4 {
		r.get("/").want(t, 200, "quick")
	}
	c := dial(t, r.addr)
	c.send("POST / HTTP/1.1\r\nHost: localhost\r\nCookie: JSESSIONID=a.late\r\nContent-Length: 2\r\n\r\nhi")
	time.AfterFunc(600*time.Millisecond, func() { close(release) })
	c.read("POST").want(t, 200, "late")
	if r.table.Load().Node("late").Suspect() {
		t.Error("it is marked")
	}
}

// A worker that closes instead of answering CPING is left for another one, whatever the
// method; so is one that does not speak AJP.
func TestAJPPingFails(t *testing.T) {
	for name, ping := range map[string]func(*ajpConn) bool{
		"closes": func(*ajpConn) bool { return false },
		"HTTP":   func(c *ajpConn) bool { c.say("HTTP/1.1 400 \r\n\r\n"); return false },
		"more":   func(c *ajpConn) bool { return c.say(ajptest.Pong + "A") },
	} {
		r := run(t, nil)
		broken := startAJP(t, ajpSay(ajptest.Head(200), ajptest.Body("broken"), ajptest.End))
		broken.pongs(ping)
		r.register("w1", broken.worker, isAJP)
		r.do("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi").want(t, 503, "")
		whole := startAJP(t, ajpSay(ajptest.Head(200), ajptest.Body("whole"), ajptest.End))
		r.register("w2", whole.worker, isAJP)
		for range 3 {
			r.do("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi").want(t, 200, "whole")
		}
		if len(broken.requests()) > 0 {
			t.Errorf("%s: it got a request", name)
		}
		if r.table.Load().Node("w1").Suspect() {
			t.Errorf("%s: it is marked", name)
		}
		r.stop()
	}
}

// What may go again: a GET whose connection ended before an answer, not a POST whose
// body was sent, and nothing once the worker has said something.
func TestAJPRetries(t *testing.T) {
	for _, x := range []struct {
		name, request string
		say           string
		want          string
	}{
		{"GET", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "", "whole"},
		{"GET, asked for body", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", ajptest.Ask(10), sayBroken},
		{"GET, half a head", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "AB", sayBroken},
		{"PUT with a body", "PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi", "", sayBroken},
		{"PUT without", "PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", "", "whole"},
		{"POST", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi", "", sayBroken},
	} {
		r := run(t, nil)
		broken := startAJP(t, func(c *ajpConn, _ *ajptest.Request) bool { c.say(x.say); return false })
		whole := startAJP(t, ajpSay(ajptest.Head(200), ajptest.Body("whole"), ajptest.End))
		r.register("w1", broken.worker, isAJP)
		r.register("w2", whole.worker, isAJP)
		raw := strings.Replace(x.request, "\r\n\r\n", "\r\nCookie: JSESSIONID=a.w1\r\n\r\n", 1)
		if a := r.do(raw); !strings.Contains(a.text, x.want) {
			t.Errorf("%s: %s %q", x.name, a.Status, a.text)
		}
		r.stop()
	}
}

// A connection that the worker has closed or written to while it idled is not used.
func TestAJPIdle(t *testing.T) {
	r := run(t, func(c *Config) { c.Upstream.AJP.CPingAfterIdle = time.Minute })
	idle := make(chan func() error, 1)
	w := startAJP(t, func(c *ajpConn, q *ajptest.Request) bool {
		ok := c.say(ajptest.Head(200) + ajptest.Body(q.URI) + ajptest.End)
		switch q.URI {
		case "/closes":
			idle <- c.Close
		case "/talks":
			idle <- func() error { c.say(ajptest.Head(200) + ajptest.Body("stolen") + ajptest.End); return nil }
		}
		return ok
	})
	r.register("w1", w.worker, isAJP)
	c := dial(t, r.addr)
	for _, path := range []string{"/closes", "/talks"} {
		c.send("GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n")
		c.read("GET").want(t, 200, path)
		(<-idle)()
		u := r.targetOf("w1").current.Load()
		eventually(t, "it idles", func() bool { return u.pool.Stats().Idle == 1 })
		c.send("POST /next HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi")
		if a := c.read("POST"); a.text != "/next" {
			t.Errorf("behind %s: %s %q", path, a.Status, a.text)
		}
	}
}

// A wrong secret: every answer is 403 with the end of the connection, CPING works. It is
// passed on, and shown.
func TestAJPSecret(t *testing.T) {
	r := run(t, func(c *Config) { c.Upstream.AJP = AJP{Secret: "s3cret", CPingAfterIdle: time.Minute} })
	wants := func(secret string) func(*ajpConn, *ajptest.Request) bool {
		return func(c *ajpConn, q *ajptest.Request) bool {
			if q.Attributes[0x0c] != secret {
				c.say(ajptest.Head(403), ajptest.Body("go away"), ajptest.Over)
				return false
			}
			return c.say(ajptest.Head(200), ajptest.End)
		}
	}
	w := startAJP(t, wants("another"))
	r.register("w1", w.worker, isAJP)
	why := func() string {
		_, s := r.Table().Why("w1", r.clock)
		return s
	}
	for i := range 3 {
		if s := why(); s != "takes new sessions" {
			t.Errorf("after %d: %s", i, s)
		}
		r.get("/").want(t, 403, "go away")
	}
	if err := r.Check(t.Context(), "w1"); err != nil {
		t.Error(err)
	}
	eventually(t, "it is shown", func() bool { return why() == "answers 403 to everything: wrong AJP secret?" })
	w.does(wants("s3cret"))
	r.get("/").want(t, 200, "")
	eventually(t, "it is not shown any more", func() bool { return why() == "takes new sessions" })
}

// A request for an upgrade goes to the worker's other connector, and what else there is
// by AJP; without such a connector it is a plain request.
func TestAJPUpgrade(t *testing.T) {
	web := startWorker(t, func(c net.Conn, q *received) bool {
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		io.Copy(c, q.r)
		return false
	})
	r := run(t, func(c *Config) {
		c.Upstream.Upgrade = Upgrade{Protocols: []string{"websocket"}, Connectors: map[string]string{"w1": "http://" + web.addr, "w3": "http://" + closedPort(t).addr}}
	})
	w := startAJP(t, ajpSay(ajptest.Head(200), ajptest.Body("by ajp"), ajptest.End))
	r.register("w1", w.worker, isAJP)
	r.get("/").want(t, 200, "by ajp")
	ask := "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
	c := dial(t, r.addr)
	c.send(ask + "\r\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatal(resp, err)
	}
	c.send("hello")
	b := make([]byte, 5)
	if _, err := io.ReadFull(c.r, b); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
	c.Close()
	if q := web.requests(); len(q) != 1 || q[0].value("X-Forwarded-For") == "" {
		t.Errorf("%+v", q)
	}
	for _, other := range []string{"w2", "w3"} {
		r.register(other, startAJP(t, ajpSay(ajptest.Head(200), ajptest.Body("by ajp"), ajptest.End)).worker, isAJP)
	}
	r.do(ask+"Cookie: JSESSIONID=a.w2\r\n\r\n").want(t, 200, "by ajp")
	for _, q := range w.requests() {
		if q.Header("Upgrade") != "" {
			t.Error("Upgrade is sent on")
		}
	}
	// That its other connector is not there says nothing about a node.
	r.load("w1", -1)
	r.load("w2", -1)
	r.do(ask+"Cookie: JSESSIONID=a.w3\r\n\r\n").want(t, 503, "")
	if r.table.Load().Node("w3").Suspect() {
		t.Error("the node is marked")
	}
	_, err = New(Config{Upstream: Upstream{Upgrade: Upgrade{Connectors: map[string]string{"w1": "ws://x:1"}}}})
	if err == nil {
		t.Error("a connector that is none is taken")
	}
}

// What the worker is told of a client's TLS, and of what a trusted proxy says.
func TestAJPClient(t *testing.T) {
	r, addr, _ := runTLS(t, nil)
	w := startAJP(t, ajpSay(ajptest.Head(200), ajptest.End))
	w.strict = true
	r.register("w1", w.worker, isAJP)
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	conn := &rawClient{Conn: c, t: t}
	conn.send("QUERY /?q HTTP/1.0\r\nHost: shop.example.com:8443\r\nConnection: close\r\n\r\n")
	io.ReadAll(c)
	q := w.requests()[0]
	s := c.ConnectionState()
	if q.Method != "QUERY" || q.Protocol != "HTTP/1.0" || !q.TLS || q.ServerName != "shop.example.com" || q.Attributes[8] != tls.CipherSuiteName(s.CipherSuite) ||
		q.KeySize != 128 && q.KeySize != 256 || q.Attribute("AJP_SSL_PROTOCOL") != "TLSv1.3" || q.Attributes[5] != "q" ||
		q.Attribute("AJP_REMOTE_PORT") != fmt.Sprint(c.LocalAddr().(*net.TCPAddr).Port) || q.ServerPort != c.RemoteAddr().(*net.TCPAddr).Port {
		t.Errorf("%+v", q)
	}

	plain := run(t, func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	plain.register("w1", w.worker, isAJP)
	plain.get("/", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https").want(t, 200, "")
	q = w.requests()[1]
	if q.RemoteAddr != "192.0.2.7" || !q.TLS || q.Attribute("AJP_REMOTE_PORT") != "" || q.Header("X-Forwarded-For") != "192.0.2.7" || q.Attributes[8] != "" {
		t.Errorf("%+v", q)
	}
}

// A probe of an ajp node is CPING, by whatever asks for it.
func TestAJPProbe(t *testing.T) {
	r := run(t, func(c *Config) { c.Upstream.Health = Health{Interval: time.Hour} })
	w := startAJP(t, ajpSay(ajptest.Head(200), ajptest.End))
	r.register("w1", w.worker, isAJP)
	host, port, _ := net.SplitHostPort(w.addr)
	if err := errors.Join(r.Check(t.Context(), "w1"), r.CheckAddress(t.Context(), "ajp", host, atoi(t, port))); err != nil {
		t.Error(err)
	}
	w.pongs(func(c *ajpConn) bool { return false })
	if r.Check(t.Context(), "w1") == nil || !r.table.Load().Node("w1").Suspect() {
		t.Error("it does not answer, and is not suspect")
	}
	w.pongs(nil)
	r.get("/").want(t, 200, "") // for want of better, and that clears it
	if r.table.Load().Node("w1").Suspect() {
		t.Error("it has answered")
	}
}
