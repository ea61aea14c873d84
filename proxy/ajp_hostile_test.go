package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/proxy/ajp/ajptest"
)

// misbehaviour is what a worker may do wrong. say is sent at once in answer to a
// request.
type misbehaviour struct {
	name   string
	say    string
	closes bool // closes the connection behind it; else it stays open and silent
	reset  bool // closes it with RST
	first  bool // before it has read the body
}

// misbehaviours are those of spec/ajp13.md §13, §14 and §17, and then some. What Ask
// asks for is not read.
func misbehaviours(id string) []misbehaviour {
	var (
		head   = ajptest.Head(200)
		data   = ajptest.Body(id)
		end    = ajptest.End
		over   = ajptest.Over
		good   = head + data + end
		packet = ajptest.Packet
		raw    = func(count string, rest string) string { return packet("\x04\x00\xc8\x00\x00\x00" + count + rest) }
		text   = ajptest.Text
	)
	list := []misbehaviour{
		{name: "two replies", say: good + good},
		{name: "two replies, the second for another", say: good + ajptest.Head(200) + ajptest.Body("stolen") + end},
		{name: "two heads", say: head + head + data + end},
		{name: "a head inside the body", say: head + data + head + data + end},
		{name: "an interim head inside the body", say: head + data + ajptest.Head(103) + end},
		{name: "data behind the end", say: good + data},
		{name: "half a packet behind the end", say: good + "AB\x00"},
		{name: "a byte behind the end", say: good + "\x00"},
		{name: "CPONG behind the end", say: good + ajptest.Pong},
		{name: "asks behind the end", say: good + ajptest.Ask(10)},
		{name: "ends twice", say: good + end},
		{name: "ends twice, and not", say: good + over},
		{name: "HTTP behind the end", say: good + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen"},
		{name: "CPONG for a reply", say: ajptest.Pong},
		{name: "CPONG before the head", say: ajptest.Pong + good},
		{name: "CPONG inside the body", say: head + ajptest.Pong + data + end},
		{name: "the magic of a balancer", say: "\x12\x34\x00\x01\x09"},
		{name: "small letters", say: "ab" + good[2:]},
		{name: "half the magic", say: "AC" + good[2:]},
		{name: "HTTP", say: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"},
		{name: "TLS", say: "\x15\x03\x03\x00\x02\x02\x46"},
		{name: "zeros", say: strings.Repeat("\x00", 100)},
		{name: "an empty packet", say: "AB\x00\x00" + good},
		{name: "an empty packet inside the body", say: head + "AB\x00\x00" + data + end},
		{name: "type 0", say: packet("\x00")},
		{name: "type 2", say: packet("\x02\x02")},
		{name: "type 7", say: packet("\x07")},
		{name: "type 0B", say: packet("\x0b")},
		{name: "type FF inside the body", say: head + packet("\xffstolen") + data + end},
		{name: "data longer than its packet", say: head + packet("\x03\x00\xf9"+id+"\x00") + end},
		{name: "data shorter than its packet", say: head + packet("\x03\x00\x01"+id+"\x00") + end},
		{name: "data without a length", say: head + packet("\x03") + end},
		{name: "data before the head", say: data + good},
		{name: "the end before a head", say: end},
		{name: "the end before a head, and then all", say: end + good},
		{name: "the end behind an interim head", say: ajptest.Head(103) + end},
		{name: "the end of three bytes", say: head + data + packet("\x05\x01\x01")},
		{name: "the end of one byte", say: head + data + packet("\x05")},
		{name: "more lines than there are", say: raw("\x09", "") + data + end},
		{name: "fewer lines than there are", say: raw("\x00", text("X")+text("Y")) + data + end},
		{name: "a line too many", say: raw("\x01", text("X")+text("Y")+text("Z")+text("Z")) + data + end},
		{name: "a string of FFFE", say: raw("\x01", "\xff\xfeX"+text("Y")) + data + end},
		{name: "a string without its end", say: raw("\x01", "\x00\x01XX"+text("Y")) + data + end},
		{name: "a null name", say: raw("\x01", "\xff\xff"+text("Y")) + data + end},
		{name: "an empty name", say: raw("\x01", text("")+text("Y")) + data + end},
		{name: "a colon in a name", say: raw("\x01", text("Evil: yes")+text("Y")) + data + end},
		{name: "a line end in a name", say: raw("\x01", text("X\r\nEvil")+text("yes")) + data + end},
		{name: "a line end in a value", say: raw("\x01", text("X")+text("Y\r\nEvil: yes")) + data + end},
		{name: "a whole answer in a value", say: raw("\x01", text("X")+text("Y\r\n\r\nHTTP/1.1 200 OK\r\nEvil: yes\r\n\r\n")) + data + end},
		{name: "NUL in a value", say: raw("\x01", text("X")+text("Y\x00Z")) + data + end},
		{name: "code A000", say: raw("\x01", "\xa0\x00"+text("Y")) + data + end},
		{name: "code A00C", say: raw("\x01", "\xa0\x0c"+text("Y")) + data + end},
		{name: "status 0", say: ajptest.Head(0) + data + end},
		{name: "status 99", say: ajptest.Head(99) + data + end},
		{name: "status 101", say: ajptest.Head(101, "Upgrade", "websocket", "Connection", "Upgrade") + data + end},
		{name: "status 600", say: ajptest.Head(600) + data + end},
		{name: "status 65535", say: ajptest.Head(65535) + data + end},
		{name: "nine interim heads", say: strings.Repeat(ajptest.Head(103), 9) + good},
		{name: "two lengths", say: ajptest.Head(200, "Content-Length", fmt.Sprint(len(id)), "Content-Length", "3") + data + end},
		{name: "a length that is none", say: ajptest.Head(200, "Content-Length", "-2") + data + end},
		{name: "a list of lengths", say: ajptest.Head(200, "Content-Length", "2, 2") + data + end},
		{name: "less than was declared", say: ajptest.Head(200, "Content-Length", "1000") + data + end},
		{name: "more than was declared", say: ajptest.Head(200, "Content-Length", "1") + data + end},
		{name: "more than nothing was declared", say: ajptest.Head(200, "Content-Length", "0") + data + end},
		{name: "asks twice at once", say: ajptest.Ask(5) + ajptest.Ask(5)},
		{name: "asks on and on", say: strings.Repeat(ajptest.Ask(1), 50), first: true},
		{name: "asks for nothing", say: ajptest.Ask(0), first: true},
		{name: "asks in one byte", say: packet("\x06\x01"), first: true},
		{name: "a head that is too long", say: ajptest.Head(200, "X", strings.Repeat("x", 60<<10), "Y", strings.Repeat("y", 4<<10)) + data + end},
		{name: "does not keep the connection", say: head + data + over},
		{name: "does not keep it, and goes on", say: head + data + over + good},
	}
	// Whatever is cut off, or followed by silence.
	for _, cut := range []struct{ name, say string }{
		{"nothing", ""},
		{"half a head of a packet", "AB\x00"},
		{"half a head", head[:len(head)-2]},
		{"a head", head},
		{"an interim head", ajptest.Head(103)},
		{"half the data", head + data[:len(data)-2]},
		{"all but the byte behind the data", head + data[:len(data)-1]},
		{"data and no end", head + data},
		{"a flush", head + ajptest.Body("")},
		{"half the end", head + data + end[:5]},
		{"asked", ajptest.Ask(3)},
		{"a claim of 65,535 bytes of head", "AB\xff\xff\x04\x00\xc8"},
		{"a claim of 65,531 bytes of data", head + "AB\xff\xff\x03\xff\xfb" + id},
	} {
		list = append(list, misbehaviour{name: cut.name + ", then closes", say: cut.say, closes: true},
			misbehaviour{name: cut.name + ", then resets", say: cut.say, closes: true, reset: true},
			misbehaviour{name: cut.name + ", then is silent", say: cut.say})
	}
	return list
}

// TestAJPHostile: whatever a worker does, nobody sees a byte of anybody else, and a
// connection on which something was wrong never carries another request. Between the
// bad answers there are good ones, which must be right.
func TestAJPHostile(t *testing.T) {
	const clients = 6
	list := misbehaviours("x")
	r := run(t, func(c *Config) {
		c.Upstream.ResponseTimeout = time.Second
		c.Upstream.AJP.CPingAfterIdle = time.Minute
	})
	w := startAJP(t, nil)
	w.does(func(c *ajpConn, q *ajptest.Request) bool {
		id := q.Header("X-Id")
		var m *misbehaviour
		if n := q.Header("X-Bad"); n != "" {
			m = &misbehaviours(id)[atoi(t, n)]
		}
		if m == nil || !m.first {
			body, ok := "", true
			if q.Method == "POST" {
				body, ok = c.body(q)
			}
			if strings.ReplaceAll(body, id, "") != "" {
				t.Errorf("the body of %s has foreign bytes", id)
			}
			if !ok {
				return false
			}
		}
		if m == nil {
			return c.say(ajptest.Head(200, "Content-Length", fmt.Sprint(len(id))) + ajptest.Body(id) + ajptest.End)
		}
		if !c.say(m.say) || m.reset {
			c.Conn.(*net.TCPConn).SetLinger(0)
			return false
		}
		if m.closes {
			return false
		}
		c.SetReadDeadline(time.Now().Add(patience))
		for {
			p, err := ajptest.ReadPacket(c.r)
			if err != nil {
				if n, ok := err.(net.Error); ok && n.Timeout() {
					t.Errorf("%s: the connection stays open", m.name)
				}
				return false
			}
			if len(p) > 1 && p[0] == 2 && bytes.Contains(p, []byte("HTTP/1.1")) {
				t.Errorf("%s: the connection carries another request", m.name)
				return false
			}
		}
	})
	r.register("w1", w.worker, isAJP)
	var wg sync.WaitGroup
	for n := range clients {
		wg.Go(func() {
			for i := range list {
				at := (i*7 + n*len(list)/clients) % len(list) // each in an order of its own
				if len(list)%7 == 0 {
					at = (i + n*len(list)/clients) % len(list)
				}
				if strings.HasSuffix(list[at].name, "then is silent") && at%clients != n {
					continue // it takes its time: once is enough
				}
				for _, bad := range []string{"", fmt.Sprint(at)} {
					hostileRequest(t, r.addr, fmt.Sprintf("<client-%d-%d>", n, i), bad, n%3, list[at].name)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d misbehaviours, %d clients, %d connections", len(list), clients, w.connections())
	if len(list) < 60 {
		t.Error("too few")
	}
	if r.table.Load().Node("w1").Suspect() {
		t.Error("the node is marked")
	}
}

// hostileRequest sends one request and looks at its answer.
func hostileRequest(t *testing.T, addr, id, bad string, kind int, name string) {
	c := dial(t, addr)
	defer c.Close()
	head := " / HTTP/1.1\r\nHost: localhost\r\nX-Id: " + id + "\r\n"
	if bad != "" {
		head += "X-Bad: " + bad + "\r\n"
	}
	method, body := "POST", strings.Repeat(id, 3)
	switch kind {
	case 0:
		method, body = "GET", ""
	case 1:
		body = strings.Repeat(id, 3000)
	}
	if method == "POST" {
		head += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	go io.WriteString(c.Conn, method+head+"\r\n"+body) // the answer says whether it was of use
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		if bad == "" {
			t.Errorf("%s: %v", id, err)
		}
		return
	}
	text, err := io.ReadAll(resp.Body)
	if resp.Header.Get("Evil") != "" || strings.Contains(string(text), "stolen") || strings.Contains(string(text), "client-") && !strings.HasPrefix(id, string(text)) {
		t.Errorf("%s: %s %v %q", name, resp.Status, resp.Header, text)
	}
	if bad == "" && (resp.StatusCode != 200 || err != nil || string(text) != id) {
		t.Errorf("%s: %s %q, %v", id, resp.Status, text, err)
	}
}
