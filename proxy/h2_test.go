package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// runH2 starts a Proxy whose listener takes HTTP/2 by prior knowledge, too.
func runH2(t testing.TB, change func(*Config)) *rig {
	return run(t, func(c *Config) {
		c.Listeners[0].Protocols = []string{"h2", "http/1.1"}
		c.MaxStreams = 20
		if change != nil {
			change(c)
		}
	})
}

// What a client may have on its way is bounded for a stream and for all of them.
func TestHTTP2Settings(t *testing.T) {
	r := runH2(t, nil)
	p := dialH2(t, r.addr, nil)
	p.wait("settings", func() bool { return p.acks == 1 && len(p.windows) > 0 && p.room > 0 })
	for id, want := range map[http2.SettingID]uint32{
		http2.SettingInitialWindowSize:    64 << 10,
		http2.SettingMaxConcurrentStreams: 20,
		http2.SettingMaxFrameSize:         16 << 10,
	} {
		if !slices.Contains(p.windows, http2.Setting{ID: id, Val: want}) {
			t.Errorf("no %v of %d in %v", id, want, p.windows)
		}
	}
	if got := p.room + 65535; got != 256<<10 {
		t.Errorf("the connection has room for %d", got)
	}
	for _, s := range p.windows {
		if s.ID == http2.SettingEnableConnectProtocol && s.Val != 0 {
			t.Error("RFC 8441 is offered")
		}
	}
}

// A body whose length is not known goes in chunks; trailers that were announced go
// behind them.
func TestHTTP2Bodies(t *testing.T) {
	r := runH2(t, nil)
	w := startWorker(t, named("w1"))
	r.register("w1", w)
	p := dialH2(t, r.addr, nil)
	long := strings.Repeat("0123456789abcdef", 1000)
	for i, c := range []struct {
		name     string
		fields   []string
		pieces   int
		trailers []string
		length   string // the worker's Content-Length
		trailer  string
	}{
		{name: "no length", pieces: 12},
		{name: "length", fields: []string{"content-length: 192000"}, pieces: 12, length: "192000"},
		{name: "short", fields: []string{"content-length: 16000"}, pieces: 1, length: "16000"},
		{name: "length 0", fields: []string{"content-length: 0"}, length: "0"},
		{name: "trailers", fields: []string{"trailer: x-sum"}, pieces: 2, trailers: []string{"x-sum: 7"}, trailer: "X-Sum: 7\n"},
		{name: "trailers and length", fields: []string{"trailer: x-sum", "content-length: 16000"}, pieces: 1, trailers: []string{"x-sum: 7"}, trailer: "X-Sum: 7\n"},
		{name: "trailers that may not pass", fields: []string{"trailer: x-sum, x_a, cookie, x-forwarded-for"}, pieces: 1,
			trailers: []string{"x-sum: 7", "x_a: 1", "cookie: a=b", "x-forwarded-for: 6.6.6.6"}, trailer: "X-Sum: 7\n"},
		{name: "trailers not announced", pieces: 1, trailers: []string{"x-sum: 7"}},
		{name: "announced, not sent", fields: []string{"trailer: x-sum"}, pieces: 1},
	} {
		id := uint32(2*i + 1)
		p.ask(id, false, "POST", "/", c.fields...)
		for range c.pieces {
			if err := p.send(id, long); err != nil {
				t.Fatal(err)
			}
		}
		if c.trailers != nil {
			p.headers(id, true, c.trailers...)
		} else {
			p.data(id, true, "")
		}
		if a := p.answer(id); a.status != 200 || a.body != "w1" {
			t.Fatalf("%s: %+v", c.name, a)
		}
		q := w.requests()[i]
		framing := q.value("Content-Length") == c.length && q.value("Transfer-Encoding") == ""
		if c.length == "" {
			framing = q.value("Transfer-Encoding") == "chunked" && q.value("Content-Length") == ""
		}
		if !framing || q.body != strings.Repeat(long, c.pieces) || q.trailer != c.trailer || q.value("Trailer") != "" {
			t.Errorf("%s: %q with %d bytes, trailers %q", c.name, q.head, len(q.body), q.trailer)
		}
	}
}

// Answers without a body, with trailers, and those before the answer.
func TestHTTP2Answers(t *testing.T) {
	r := runH2(t, nil)
	w := startWorker(t, nil)
	w.answer = func(c net.Conn, q *received) bool {
		_, err := io.WriteString(c, map[string]string{
			"/length":   "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
			"/chunked":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
			"/304":      "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nEtag: x\r\n\r\n",
			"/204":      "HTTP/1.1 204 No Content\r\n\r\n",
			"/205":      "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
			"/103":      "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n" + okHead + "ok",
			"/trailers": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\nX-Also: 8\r\nContent-Length: 5\r\nX_A: 1\r\n\r\n",
			"/101":      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
			"/close":    "HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\r\nok",
		}[q.target()])
		return err == nil && q.target() != "/close" && q.target() != "/101"
	}
	r.register("w1", w)
	p := dialH2(t, r.addr, nil)
	for i, c := range []struct {
		method, path string
		status       int
		length, body string
		told         []string
		trailers     string
	}{
		{"HEAD", "/length", 200, "9", "", nil, ""},
		{"HEAD", "/chunked", 200, "", "", nil, ""},
		{"GET", "/304", 304, "9", "", nil, ""},
		{"GET", "/204", 204, "", "", nil, ""},
		{"GET", "/205", 205, "0", "", nil, ""},
		{"GET", "/103", 200, "2", "ok", []string{"103 link: </a>\n", "103 link: </b>\n"}, ""},
		{"GET", "/trailers", 200, "2", "ok", nil, "x-also: 8\nx-sum: 7\n"},
		{"GET", "/101", 502, "", "", nil, ""},
		{"GET", "/close", 200, "", "ok", nil, ""},
	} {
		id := uint32(2*i + 1)
		p.ask(id, true, c.method, c.path)
		a := p.answer(id)
		lines := strings.SplitAfter(a.trailers, "\n")
		slices.Sort(lines)
		ok := a.status == c.status && a.whole && !a.wasReset && slices.Equal(a.informational, c.told) && strings.Join(lines, "") == c.trailers
		if c.status < 500 {
			ok = ok && a.fields["content-length"] == c.length && a.body == c.body
		}
		for _, name := range []string{"connection", "keep-alive", "transfer-encoding", "trailer", "x-hop", "content-type"} {
			ok = ok && (a.fields[name] == "" || c.status >= 500)
		}
		if !ok || a.fields["date"] == "" {
			t.Errorf("%s %s: %+v", c.method, c.path, a)
		}
	}
}

// An answer that comes while the body does is whole; the rest of the body is not
// wanted, which is no error (RFC 9113 §8.1). The connection lives on.
func TestHTTP2EarlyAnswer(t *testing.T) {
	r := runH2(t, func(c *Config) { c.Limits.BodyBytes = 1 << 20 })
	w := startWorker(t, nil)
	w.early = true
	w.answer = func(c net.Conn, q *received) bool {
		switch q.target() {
		case "/early":
			io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 100000\r\nConnection: close\r\n\r\n"+strings.Repeat("n", 100_000))
			c.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, q.r)
		case "/broken":
			return sayReset(c, q)
		case "/reads":
			io.Copy(io.Discard, q.r)
		default:
			return named("w1")(c, q)
		}
		return false
	}
	r.register("w1", w)
	p := dialH2(t, r.addr, nil)
	piece := strings.Repeat("x", 16<<10)
	for i, c := range []struct {
		path   string
		fields []string
		status int
	}{
		{"/early", []string{"content-length: 1000000"}, 413},
		{"/early", nil, 413},
		{"/broken", []string{"content-length: 1000000"}, 502},
		{"/reads", []string{"content-length: 2000000"}, 413}, // over the limit, by length
		{"/reads", nil, 413}, // over the limit, by what comes
	} {
		id := uint32(2*i + 1)
		p.ask(id, false, "POST", c.path, c.fields...)
		for range 122 { // under 2,000,000
			if p.over(id) || slices.Contains(c.fields, "content-length: 1000000") && p.given[id] > 900_000 {
				break
			}
			if err := p.send(id, piece); err != nil {
				t.Fatal(err)
			}
		}
		a := p.answer(id)
		if a.status != c.status || !a.whole {
			t.Errorf("%s %v: status %d, whole %v, reset %v, %d bytes", c.path, c.fields, a.status, a.whole, a.reset, len(a.body))
		}
		p.wait("NO_ERROR", func() bool { return p.stream(id).wasReset })
		if s := p.answer(id); s.reset != http2.ErrCodeNo {
			t.Errorf("%s %v: %v", c.path, c.fields, s.reset)
		}
	}
	p.ask(101, true, "GET", "/")
	if a := p.answer(101); a.body != "w1" {
		t.Errorf("%+v", a)
	}
	eventually(t, "nothing is in flight", func() bool { return r.Stats().InFlight == 0 })
}

// A stream that is reset ends its exchange, wherever that is.
func TestHTTP2ResetEndsExchange(t *testing.T) {
	t.Parallel()
	const soon = 3 * time.Second // a second, and what a busy machine takes
	for name, c := range map[string]struct {
		body   bool // a long one is begun
		answer string
		full   bool // all connections of the worker are busy
		takes  bool // the worker reads the body
		flood  bool // the answer is longer than the client's window
		short  bool // a short body is awaited
	}{
		"waits for the answer":                 {},
		"waits for a connection":               {full: true},
		"waits for a short body":               {short: true},
		"the body is sent on":                  {body: true, takes: true},
		"the worker takes nothing of the body": {body: true},
		"the answer pauses":                    {answer: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"},
		"the answer pauses, the body too":      {body: true, takes: true, answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"},
		"the client takes nothing":             {flood: true, answer: "HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := runH2(t, func(conf *Config) {
				if c.full {
					conf.Upstream.MaxConnections = 1
					conf.Upstream.ConnectTimeout = patience
				}
			})
			arrived, closed := make(chan bool, 2), make(chan bool, 2)
			w := startWorker(t, nil)
			w.early = true
			w.answer = func(conn net.Conn, q *received) bool {
				arrived <- true
				io.WriteString(conn, c.answer)
				switch {
				case c.flood:
					conn.Write(make([]byte, 9_000_000))
				case c.takes || !c.body:
					io.Copy(io.Discard, q.r)
				default: // until the connection ends
					eventually(t, "the worker's connection ends", func() bool {
						return hasEnded(conn.(*net.TCPConn))
					})
				}
				closed <- true
				return false
			}
			r.register("w1", w)
			if c.full {
				other := dial(t, r.addr)
				other.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
				wait(t, arrived, "the other request is there")
			}
			p := dialH2(t, r.addr, nil)
			p.stalled = c.flood
			switch {
			case c.short:
				p.ask(1, false, "POST", "/", "content-length: 5")
			case c.body:
				p.ask(1, false, "POST", "/")
			default:
				p.ask(1, true, "GET", "/")
			}
			before := int64(1)
			switch {
			case c.full:
				before = 2
			case !c.short:
				wait(t, arrived, "the request is there")
			}
			if c.body && !c.takes { // until the buffers on the way are full
				piece := strings.Repeat("x", 16<<10)
				for !p.stuck(1, 500*time.Millisecond) {
					if err := p.send(1, piece); err != nil {
						t.Fatal(err)
					}
				}
			}
			if c.answer != "" {
				p.wait("the answer begins", func() bool { return p.stream(1).body != "" })
			}
			eventually(t, "in flight", func() bool { return int64(r.Stats().InFlight) == before })
			began := time.Now()
			p.cancel(1)
			eventually(t, "the exchange ends", func() bool { return int64(r.Stats().InFlight) == before-1 })
			if !c.full && !c.short {
				wait(t, closed, "the worker's connection ends")
			}
			if took := time.Since(began); took > soon {
				t.Errorf("it took %s", took)
			} else {
				t.Logf("it took %s", took)
			}
		})
	}
}

// A client that waits for 100 gets it when somebody reads.
func TestHTTP2Continue(t *testing.T) {
	r := runH2(t, nil)
	w := startWorker(t, named("w1"))
	r.register("w1", w)
	p := dialH2(t, r.addr, nil)
	p.ask(1, false, "POST", "/", "expect: 100-continue")
	p.wait("100", func() bool { return len(p.stream(1).informational) == 1 })
	p.data(1, true, "hello")
	if a := p.answer(1); a.status != 200 || w.requests()[0].body != "hello" || w.requests()[0].value("Expect") != "" {
		t.Errorf("%+v", a)
	}
	p.ask(3, true, "GET", "/", "expect: miracles")
	if a := p.answer(3); a.status != 417 {
		t.Errorf("%+v", a)
	}
}

func TestHTTP2SlowBody(t *testing.T) {
	r := runH2(t, func(c *Config) { c.Timeouts.Body = 100 * time.Millisecond })
	w := startWorker(t, named("w1"))
	r.register("w1", w)
	p := dialH2(t, r.addr, nil)
	p.ask(1, false, "POST", "/", "content-length: 5")
	p.ask(3, false, "POST", "/")
	for _, id := range []uint32{1, 3} {
		if a := p.answer(id); a.status != 408 {
			t.Errorf("%+v", a)
		}
	}
	p.ask(5, true, "GET", "/")
	if a := p.answer(5); a.body != "w1" {
		t.Errorf("%+v", a)
	}
}

// A stop says GOAWAY, finishes what it has, and closes.
func TestHTTP2Drain(t *testing.T) {
	t.Parallel()
	r := runH2(t, nil)
	release, arrived := make(chan bool), make(chan bool)
	r.register("w1", startWorker(t, func(c net.Conn, q *received) bool {
		arrived <- true
		<-release
		return named("w1")(c, q)
	}))
	p := dialH2(t, r.addr, nil)
	p.ask(1, true, "GET", "/")
	wait(t, arrived, "the request is there")
	ended := make(chan error, 1)
	go func() { ended <- r.Drain(t.Context()) }()
	p.wait("GOAWAY", func() bool { return p.away != nil })
	close(release)
	if a := p.answer(1); a.body != "w1" || !a.whole {
		t.Errorf("%+v", a)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if away, err := p.ended(); away.ErrCode != http2.ErrCodeNo || err != io.EOF {
		t.Errorf("%v %v", away, err)
	}
	if n := r.Stats().ClientConnections; n != 0 {
		t.Errorf("%d connections", n)
	}
}

// Who comes when package http has been told to stop learns that nothing was taken.
func TestHTTP2AfterDrain(t *testing.T) {
	r := runH2(t, nil)
	r.listeners[0].h2.shutdown(t.Context())
	p := dialH2(t, r.addr, nil)
	p.ask(1, true, "GET", "/")
	if away, err := p.ended(); away == nil || away.ErrCode != http2.ErrCodeNo || away.LastStreamID != 0 {
		t.Errorf("%v %v", away, err)
	}
}

// Idle connections end in order; a reload's time holds for those to come.
func TestHTTP2Idle(t *testing.T) {
	t.Parallel()
	r := runH2(t, nil)
	r.register("w1", startWorker(t, named("w1")))
	old := dialH2(t, r.addr, nil)
	old.ask(1, true, "GET", "/")
	old.answer(1)
	tuning := *r.tuning.Load()
	tuning.Timeouts.Idle = 50 * time.Millisecond
	r.Tune(tuning)
	p := dialH2(t, r.addr, nil)
	p.ask(1, true, "GET", "/")
	p.answer(1)
	if away := p.goAway(); away.ErrCode != http2.ErrCodeNo {
		t.Errorf("%v", away)
	}
	old.ask(3, true, "GET", "/")
	if a := old.answer(3); a.body != "w1" {
		t.Errorf("%+v", a)
	}
}

func TestHTTP2RequestsPerConnection(t *testing.T) {
	t.Parallel()
	r := runH2(t, func(c *Config) { c.Limits.RequestsPerConnection = 2 })
	r.register("w1", startWorker(t, named("w1")))
	p := dialH2(t, r.addr, nil)
	for id := uint32(1); id <= 3; id += 2 {
		p.ask(id, true, "GET", "/")
		if a := p.answer(id); a.body != "w1" || a.fields["connection"] != "" {
			t.Errorf("%+v", a)
		}
	}
	if away := p.goAway(); away.ErrCode != http2.ErrCodeNo {
		t.Errorf("%v", away)
	}
}

// The preface may come in pieces; what only begins like it is HTTP/1.
func TestPreface(t *testing.T) {
	r := runH2(t, func(c *Config) {
		for _, names := range [][]string{nil, {"h2"}} {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			c.Listeners = append(c.Listeners, Listener{Listener: l, Protocols: names})
		}
	})
	r.register("w1", startWorker(t, named("w1")))
	both, h1, h2 := r.addr, r.listeners[1].label, r.listeners[2].label

	c := dial(t, both)
	for i := range len(preface) {
		c.send(preface[i : i+1])
	}
	if err := http2.NewFramer(c, c).WriteSettings(); err != nil {
		t.Fatal(err)
	}
	if f, err := http2.NewFramer(nil, c.r).ReadFrame(); err != nil || f.Header().Type != http2.FrameSettings {
		t.Errorf("%v %v", f, err)
	}
	for name, x := range map[string]struct {
		addr, text string
		status     int
	}{
		"P and OST":             {both, "P|OST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 200},
		"PRI and rubbish":       {both, "PRI * HTTP/2.0\r\n|\r\nXX\r\n\r\n", 505},
		"second request":        {both, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n|" + preface, 200},
		"no h2c":                {h1, preface, 505},
		"nothing but h2c":       {h2, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 505},
		"nothing but h2c, POST": {h2, "P|OST / HTTP/1.1\r\n", 505},
	} {
		c := dial(t, x.addr)
		for piece := range strings.SplitSeq(x.text, "|") {
			c.send(piece)
		}
		a := c.read("GET")
		a.want(t, x.status, "")
		if name == "second request" {
			c.read("GET").want(t, 505, "")
		}
		if name == "P and OST" {
			continue
		}
		if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
			t.Errorf("%s: %q %v", name, rest, err)
		}
	}
	p := dialH2(t, h2, nil)
	p.ask(1, true, "GET", "/")
	if a := p.answer(1); a.body != "w1" {
		t.Errorf("%+v", a)
	}
}

// What both sides speak is agreed on in the handshake, or there is none.
func TestALPN(t *testing.T) {
	cert, roots := certificate(t, "127.0.0.1")
	r := run(t, func(c *Config) {
		for _, names := range [][]string{nil, {"http/1.1"}, {"h2"}} {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			c.Listeners = append(c.Listeners, Listener{Listener: l, TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, Protocols: names})
		}
	})
	r.register("w1", startWorker(t, named("w1")))
	for _, c := range []struct {
		listener int
		offered  []string
		agreed   string // "-": none
	}{
		{1, nil, ""}, {1, []string{"http/1.1"}, "http/1.1"}, {1, []string{"h2"}, "h2"}, {1, []string{"http/1.1", "h2"}, "h2"}, {1, []string{"spdy/3"}, "-"},
		{2, nil, ""}, {2, []string{"h2", "http/1.1"}, "http/1.1"}, {2, []string{"h2"}, "-"},
		{3, []string{"h2"}, "h2"}, {3, []string{"http/1.1"}, "closed"}, {3, nil, "closed"},
	} {
		name := fmt.Sprintf("%v offered to %v", c.offered, r.listeners[c.listener].tls.NextProtos)
		conn, err := tls.Dial("tcp", r.listeners[c.listener].label, &tls.Config{RootCAs: roots, NextProtos: c.offered})
		if err != nil {
			if c.agreed != "-" {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		conn.SetDeadline(time.Now().Add(patience))
		got := conn.ConnectionState().NegotiatedProtocol
		switch c.agreed {
		case "h2":
			p := speakH2(t, conn)
			p.ask(1, true, "GET", "/")
			if a := p.answer(1); got != "h2" || a.body != "w1" {
				t.Errorf("%s: %+v", name, a)
			}
		case "", "http/1.1":
			io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || got != c.agreed || resp.StatusCode != 200 {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		case "closed":
			if b, err := io.ReadAll(conn); len(b) > 0 || err != nil {
				t.Errorf("%s: %q %v", name, b, err)
			}
		default:
			t.Errorf("%s: agreed on %q", name, got)
		}
		conn.Close()
	}
}

// Clients that are too many are told so in their own language.
func TestHTTP2Surplus(t *testing.T) {
	r, addr, _ := runTLS(t, func(c *Config) {
		c.Limits.Connections = 1
		c.Listeners[0].Protocols = []string{"h2", "http/1.1"}
	})
	first := dial(t, r.addr)
	first.send("G")
	eventually(t, "the first is there", func() bool { return r.Stats().ClientConnections == 1 })
	for name, dial := range map[string]func() *h2Peer{
		"plain": func() *h2Peer { return dialH2(t, r.addr, nil) },
		"TLS":   func() *h2Peer { return dialH2(t, addr, &tls.Config{InsecureSkipVerify: true}) },
	} {
		p := dial()
		p.ask(1, true, "GET", "/")
		if away, err := p.ended(); away == nil || away.ErrCode != http2.ErrCodeEnhanceYourCalm || away.LastStreamID != 0 {
			t.Errorf("%s: %v %v", name, away, err)
		}
		p.Close()
		eventually(t, "it is gone", func() bool { return r.Stats().ClientConnections == 1 })
	}
}

// What a stop cuts off is not taken for whole.
func TestHTTP2DrainDeadline(t *testing.T) {
	t.Parallel()
	r := runH2(t, nil)
	r.register("w1", startWorker(t, func(c net.Conn, q *received) bool {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
		q.r.ReadByte()
		return false
	}))
	p := dialH2(t, r.addr, nil)
	p.ask(1, true, "GET", "/")
	p.wait("half an answer", func() bool { return p.stream(1).body == "half" })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := r.Drain(ctx); err == nil {
		t.Error("nothing was left")
	}
	p.ended()
	if p.stream(1).whole {
		t.Error("half an answer looks whole")
	}
	r.stop()
}
