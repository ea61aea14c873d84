package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/quorate/quorate/fsm"
	"github.com/quorate/quorate/proxy/ajp/ajptest"
)

// ajpWorker is a worker that speaks AJP as a test tells it.
type ajpWorker struct {
	*worker
	strict bool // what it gets must be well-formed

	mu     sync.Mutex
	answer func(c *ajpConn, q *ajptest.Request) bool // false closes the connection
	ping   func(c *ajpConn) bool                     // nil: CPONG
	asked  []*ajptest.Request
	pings  int
}

// ajpConn is a connection of it.
type ajpConn struct {
	net.Conn
	r   *bufio.Reader
	nth int // request on this connection, from 1
}

// say writes packets.
func (c *ajpConn) say(packets ...string) bool {
	for _, p := range packets {
		if _, err := io.WriteString(c, p); err != nil {
			return false
		}
	}
	return true
}

// ask asks for body and returns what comes; ok is false where nothing does.
func (c *ajpConn) ask(n int) (data string, ok bool) {
	if !c.say(ajptest.Ask(n)) {
		return "", false
	}
	b, err := ajptest.ReadBody(c.r)
	return string(b), err == nil
}

// body reads a body as Tomcat does for an application that reads to the end.
func (c *ajpConn) body(q *ajptest.Request) (all string, ok bool) {
	if n := q.Header("Content-Length"); n != "" && n != "0" {
		b, err := ajptest.ReadBody(c.r)
		if err != nil || len(b) == 0 {
			return "", false
		}
		all = string(b)
	}
	for {
		b, ok := c.ask(8186)
		if !ok || b == "" {
			return all, ok
		}
		all += b
	}
}

func ajpSay(packets ...string) func(*ajpConn, *ajptest.Request) bool {
	return func(c *ajpConn, _ *ajptest.Request) bool { return c.say(packets...) }
}

func startAJP(t testing.TB, answer func(*ajpConn, *ajptest.Request) bool) *ajpWorker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &ajpWorker{worker: &worker{}, answer: answer}
	w.serving = func(c net.Conn) { w.serve(&ajpConn{Conn: c, r: bufio.NewReader(c)}) }
	w.start(t, l)
	return w
}

func (w *ajpWorker) serve(c *ajpConn) {
	for {
		q, err := ajptest.ReadRequest(c.r)
		if err == ajptest.ErrPing {
			w.mu.Lock()
			w.pings++
			ping := w.ping
			w.mu.Unlock()
			if ping != nil && !ping(c) || ping == nil && !c.say(ajptest.Pong) {
				return
			}
			continue
		}
		if err != nil {
			var network *net.OpError
			if w.strict && err != io.EOF && !errors.As(err, &network) {
				w.t.Errorf("the worker got: %v", err)
			}
			return
		}
		c.nth++
		w.mu.Lock()
		w.asked = append(w.asked, q)
		answer := w.answer
		w.mu.Unlock()
		if !answer(c, q) {
			return
		}
	}
}

// does sets how it answers from now on.
func (w *ajpWorker) does(answer func(*ajpConn, *ajptest.Request) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = answer
}

// pongs sets how it answers CPING.
func (w *ajpWorker) pongs(ping func(*ajpConn) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ping = ping
}

// pinged is how often it was.
func (w *ajpWorker) pinged() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pings
}

func (w *ajpWorker) requests() []*ajptest.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*ajptest.Request(nil), w.asked...)
}

func isAJP(n *fsm.NodeConfig) { n.Type = "ajp" }

func atoi(t testing.TB, s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Errorf("%q is no number", s)
	}
	return n
}
