package mcmp

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TestConnection: one connection carries many messages, also after an error; a
// request to close is honoured; framing errors end it.
func TestConnection(t *testing.T) {
	r := newRig(t, nil)
	c := r.dial(t)
	for _, m := range []struct{ method, target, body, want string }{
		{"INFO", "/", "", "200"},
		{"STATUS", "/", "JVMRoute=w1&Load=5", `500 MEM: Can't read node with "w1" JVMRoute`},
		{"ENABLE-APP", "/", "x", "500 SYNTAX: JVMRoute can't be empty"},
		{"GET", "/", "", "405"},
		{"HEAD", "/", "", "405"},
		{"config", "/", "JVMRoute=w1", "200"},
		{"CONFIG", "*", "JVMRoute=w1", "400"},
		{"STOP-APP", "/*", "JVMRoute=w1", "200"},
		{"INFO", "/", "", "200"},
	} {
		a := c.ask(m.method, m.target, m.body)
		if a.String() != m.want || a.close {
			t.Fatalf("%s: %s, close %v, want %s", m.method, a, a.close, m.want)
		}
		if a.status == 405 && a.header.Get("Allow") != allow {
			t.Errorf("405 with Allow %q", a.header.Get("Allow"))
		}
		if a.header.Get("Date") == "" || a.header.Get("Content-Length") != fmt.Sprint(len(a.body)) && m.method != "HEAD" {
			t.Errorf("%s: header %v", m.method, a.header)
		}
	}
	// two at once, the second closes
	c.say("PING / HTTP/1.1\r\nHost: h\r\n\r\nVERSION / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	if a := c.hear("PING"); a.body != fmt.Sprintf("Type=PING-RSP&State=OK&id=%d\n", started.Unix()) {
		t.Errorf("PING: %q", a.body)
	}
	if a := c.hear("VERSION"); a.body != "release: quorate/1.2.3, protocol: 0.2.1\n" || !a.close || !c.closed() {
		t.Errorf("VERSION: %q, close %v", a.body, a.close)
	}
	c.Close()

	for _, x := range []struct{ raw, want string }{
		{"INFO / HTTP/1.1\nHost: h\r\n\r\n", "400"},
		{head("Content-Length: 3", "Transfer-Encoding: chunked") + "0\r\n\r\n", "400"},
		{head("Transfer-Encoding: gzip"), "501"},
		{"INFO / HTTP/3.0\r\nHost: h\r\n\r\n", "505"},
		{head("Content-Length: 65537") + "x", "500 SYNTAX: The message cannot be parsed: body is longer than 65536 bytes"},
		{"INFO / HTTP/1.0\r\n\r\n", "200"},
	} {
		c := r.dial(t)
		c.say(x.raw)
		if a := c.hear("INFO"); a.String() != x.want || !a.close {
			t.Errorf("%q: %s, close %v", x.raw, a, a.close)
		}
		c.Close()
	}
	// HTTP/1.0 stays if it asks to, and is told so
	c = r.dial(t)
	defer c.Close()
	for range 2 {
		c.say("INFO / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
		if a := c.hear("INFO"); a.status != 200 || a.header.Get("Connection") != "keep-alive" {
			t.Errorf("HTTP/1.0: %v", a.header)
		}
	}
}

// TestWholeUpload: an answer reaches a worker that is still sending a body which
// nobody wants; closing at once would reset its connection.
func TestWholeUpload(t *testing.T) {
	r := newRig(t, nil)
	c := r.dial(t)
	defer c.Close()
	body := strings.Repeat("x", 8<<20)
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(c, fmt.Sprintf("CONFIG / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		c.Conn.(*net.TCPConn).CloseWrite()
		sent <- err
	}()
	if a := c.hear("CONFIG"); a.kind() != typeSyntax || !a.close {
		t.Errorf("answer %s", a)
	}
	if err := <-sent; err != nil {
		t.Errorf("the upload was reset: %v", err)
	}
}

// TestNonASCII: the Java client counts characters, so such a body ends with the connection.
func TestNonASCII(t *testing.T) {
	r := newRig(t, nil)
	r.ask(t, "CONFIG", "/", "JVMRoute=w%C3%A9&Domain=d")
	c := r.dial(t)
	defer c.Close()
	if a := c.ask("INFO", "/", ""); !strings.Contains(a.body, "Name: wé,") || !a.close || !c.closed() {
		t.Errorf("INFO %q, close %v", a.body, a.close)
	}
}

// TestIdle: a connection without a message is closed without a word.
func TestIdle(t *testing.T) {
	r := newRig(t, func(_ *rig, c *Config) { c.IdleTimeout = 50 * time.Millisecond })
	c := r.dial(t)
	defer c.Close()
	if !c.closed() {
		t.Error("an idle connection stays open")
	}
}

// TestAccess: networks, tokens.
func TestAccess(t *testing.T) {
	nets := newRig(t, func(_ *rig, c *Config) {
		c.Listeners[0].Allowed = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	})
	c := nets.dial(t)
	defer c.Close()
	if a := c.ask("CONFIG", "/", "JVMRoute=w1"); a.status != 403 || a.kind() != "" || !a.close || !c.closed() {
		t.Errorf("from a network that is not allowed: %s", a)
	}

	tokens := newRig(t, func(_ *rig, c *Config) { c.Tokens = []string{"s3cret", "other"} })
	for target, want := range map[string]int{
		"/": 403, "/*": 403, "/wrong/": 403, "/s3cre/*": 403, "/s3cretx": 403, "//s3cret/": 403, "/x/s3cret/": 403,
		"/s3cret": 200, "/s3cret/": 200, "/s3cret/*": 200, "/other/*": 200, "http://127.0.0.1:6666/s3cret/": 200,
	} {
		if a := tokens.ask(t, "INFO", target, ""); a.status != want || a.kind() != "" {
			t.Errorf("%s: %s, want %d", target, a, want)
		}
	}
	if n := tokens.State().Nodes(); len(n) != 0 {
		t.Errorf("registered: %v", n)
	}
	if n := tokens.logs.count("message refused"); n != 1 {
		t.Errorf("%d lines for many refusals of one source within a minute, want 1", n)
	}
}

// TestSetTokens: a running server takes others, and none is not among them.
func TestSetTokens(t *testing.T) {
	r := newRig(t, func(_ *rig, c *Config) { c.Tokens = []string{"old", "both"} })
	if err := r.server.SetTokens(nil); err == nil {
		t.Error("tokens ended while running")
	}
	if err := r.server.SetTokens([]string{"both", "new"}); err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]int{"/old/": 403, "/both/": 200, "/new/": 200, "/": 403} {
		if a := r.ask(t, "INFO", target, ""); a.status != want {
			t.Errorf("%s: %s, want %d", target, a, want)
		}
	}
	if err := newRig(t, nil).server.SetTokens([]string{"new"}); err == nil {
		t.Error("tokens begun while running")
	}
}

// TestGuarded: a listener that anybody could register with is refused.
func TestGuarded(t *testing.T) {
	r := newRig(t, nil)
	l := elsewhere{}
	for _, x := range []struct {
		tokens  []string
		allowed []netip.Prefix
		ok      bool
	}{
		{nil, nil, false},
		{[]string{"t"}, nil, true},
		{nil, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, true},
	} {
		c := r.server.c
		c.Tokens, c.Listeners = x.tokens, []Listener{{Listener: l, Allowed: x.allowed}}
		if _, err := New(c); (err == nil) != x.ok {
			t.Errorf("%+v: %v", x, err)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("no funcs, no error")
	}
}

// elsewhere is a listener on an address of the network.
type elsewhere struct{ net.Listener }

func (elsewhere) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 6666} }

// TestRate: over its rate a source waits; GENERAL only beyond the reply budget.
func TestRate(t *testing.T) {
	r := newRig(t, func(_ *rig, c *Config) { c.Rate, c.Burst = 20, 2 })
	c := r.dial(t)
	defer c.Close()
	begin := time.Now()
	for range 5 { // 2 at once, 3 at 20 per second
		if a := c.ask("VERSION", "/", ""); a.status != 200 {
			t.Fatal(a)
		}
	}
	if d := time.Since(begin); d < 140*time.Millisecond {
		t.Errorf("5 messages took %v: nobody waited", d)
	}

	slow := newRig(t, func(_ *rig, c *Config) { c.Rate, c.Burst, c.ReplyBudget = 0.1, 1, time.Second })
	slow.ask(t, "VERSION", "/", "")
	if a := slow.ask(t, "INFO", "/", ""); a.String() != "500 GENERAL: Too many messages from 127.0.0.1" {
		t.Error(a)
	}
}

// TestStop: a message that is being answered gets its answer, with close; who
// waits is closed; new ones find nobody.
func TestStop(t *testing.T) {
	var r *rig
	entered, release := make(chan bool), make(chan bool)
	s, addr := stoppable(t, func(rr *rig, c *Config) {
		r = rr
		r.check = nil
		c.CheckAddress = func(context.Context, string, string, int) error {
			entered <- true
			<-release
			return nil
		}
	})
	r.addr = addr
	idle, busy := r.dial(t), r.dial(t)
	defer idle.Close()
	defer busy.Close()
	idle.ask("VERSION", "/", "")
	done := make(chan answer, 1)
	busy.say("PING / HTTP/1.1\r\nHost: h\r\nContent-Length: 26\r\n\r\nHost=h&Port=80&Scheme=ajp&")
	go func() { done <- busy.hear("PING") }()
	<-entered
	s.cancel()
	if !idle.closed() {
		t.Error("an idle connection stays open at stop")
	}
	select {
	case err := <-s.done:
		t.Fatalf("Run returned (%v) while a message was being answered", err)
	default:
	}
	close(release)
	if a := <-done; a.status != 200 || !a.close {
		t.Errorf("the last answer: %s, close %v", a, a.close)
	}
	if err := <-s.done; err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("somebody still listens")
	}
}

type stopping struct {
	cancel context.CancelFunc
	done   chan error
}

// stoppable starts a rig whose end the test decides.
func stoppable(t *testing.T, change func(*rig, *Config)) (stopping, string) {
	t.Helper()
	l := listen(t)
	r := newRig(t, func(r *rig, c *Config) { change(r, c) })
	c := r.server.c
	c.Listeners = []Listener{{Listener: l}}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return stopping{cancel, done}, l.Addr().String()
}

// TestTooManyConnections: beyond the limit a connection is closed at once.
func TestTooManyConnections(t *testing.T) {
	r := newRig(t, func(_ *rig, c *Config) { c.MaxConnections = 2 })
	a, b := r.dial(t), r.dial(t)
	defer a.Close()
	a.ask("VERSION", "/", "")
	b.ask("VERSION", "/", "")
	c := r.dial(t)
	defer c.Close()
	if _, err := c.r.ReadByte(); err == nil {
		t.Error("the third of two connections is served")
	}
	b.Close()
	eventually(t, "a place is free again", func() bool {
		d := r.dial(t)
		defer d.Close()
		io.WriteString(d, "VERSION / HTTP/1.1\r\nHost: h\r\n\r\n")
		answer, err := readAnswer(d.r, "VERSION")
		return err == nil && answer.status == 200
	})
}

// TestMetrics: one count per message, by command and result.
func TestMetrics(t *testing.T) {
	r := newRig(t, nil)
	r.ask(t, "info", "/", "")
	r.ask(t, "STATUS", "/", "JVMRoute=w1&Load=5")
	r.ask(t, "STATUS", "/", "JVMRoute=w1&Load=x")
	r.ask(t, "FOO", "/", "")
	reg := prometheus.NewPedanticRegistry()
	for _, c := range r.server.Collectors() {
		reg.MustRegister(c)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := ""
			for _, l := range m.GetLabel() {
				labels += " " + l.GetValue()
			}
			got = append(got, fmt.Sprintf("%s%s %d", f.GetName(), labels, int(m.GetCounter().GetValue())+int(m.GetHistogram().GetSampleCount())))
		}
	}
	want := []string{
		"quorate_mcmp_message_duration_seconds INFO 1",
		"quorate_mcmp_message_duration_seconds STATUS 2",
		"quorate_mcmp_messages_total INFO ok 1",
		"quorate_mcmp_messages_total STATUS mem 1",
		"quorate_mcmp_messages_total STATUS syntax 1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
