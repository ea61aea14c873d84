package corpus

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// worker reads requests raw, and hands each head, with its connection, to the
// conversation of the client that it names in X-Forwarded-For. It repairs nothing:
// what is not a canonical request of a client that exists is a stray.
type worker struct {
	l    net.Listener
	addr string
	name string // what a case calls it: a context

	mu     sync.Mutex
	conns  map[net.Conn]bool
	talks  map[string]*talk // by the address of the client
	strays []string
	ended  bool
	wg     sync.WaitGroup
}

// workerConn is one connection of quorate's. While a conversation has it, nobody
// else reads it.
type workerConn struct {
	net.Conn
	r   *bufio.Reader
	w   *worker
	nth int       // of its requests, from 1
	on  chan bool // the conversation gives it back: go on reading requests?

	head    string // of its current request, as it came
	left    int64  // bytes of the body that are still to come; chunked: unknown
	chunked bool   // the body is in chunks
	done    bool   // the request was read to its end
}

func startWorker(t testing.TB, name string) *worker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{l: l, addr: l.Addr().String(), name: name, conns: map[net.Conn]bool{}, talks: map[string]*talk{}}
	w.wg.Go(w.accept)
	return w
}

func (w *worker) accept() {
	for {
		nc, err := w.l.Accept()
		if err != nil {
			return
		}
		w.mu.Lock()
		if w.ended {
			nc.Close()
		}
		w.conns[nc] = true
		w.mu.Unlock()
		w.wg.Go(func() {
			defer func() {
				nc.Close()
				w.mu.Lock()
				delete(w.conns, nc)
				w.mu.Unlock()
			}()
			(&workerConn{Conn: nc, r: bufio.NewReader(nc), w: w, on: make(chan bool, 1)}).serve()
		})
	}
}

// stop closes everything and returns what belonged to no conversation.
func (w *worker) stop() []string {
	w.l.Close()
	w.mu.Lock()
	w.ended = true
	for c := range w.conns {
		c.Close()
	}
	w.mu.Unlock()
	w.wg.Wait()
	return w.strays
}

func (w *worker) stray(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.strays = append(w.strays, fmt.Sprintf(format, args...))
}

func (w *worker) expect(addr string, t *talk) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.talks[addr] = t
}

func (w *worker) forget(addr string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.talks, addr)
}

func (w *worker) talkOf(addr string) *talk {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.talks[addr]
}

func (c *workerConn) serve() {
	for {
		head, err := readHead(c.r)
		if err != nil {
			if head != "" {
				c.w.stray("half a head: %s", escape(head))
			}
			return
		}
		c.nth++
		c.begin(head)
		t := c.w.talkOf(clientOf(head))
		if t == nil {
			c.stray()
			return
		}
		select {
		case t.arrivals <- c:
		case <-t.over:
			c.stray()
			return
		}
		// A conversation that ends may have given the connection back before.
		on := false
		select {
		case on = <-c.on:
		case <-t.over:
			select {
			case on = <-c.on:
			default:
			}
		}
		if !on {
			return
		}
	}
}

// readHead reads up to the first CRLF CRLF.
func readHead(r *bufio.Reader) (string, error) {
	var b []byte
	for {
		c, err := r.ReadByte()
		if err != nil {
			return string(b), err
		}
		b = append(b, c)
		if bytes.HasSuffix(b, []byte("\r\n\r\n")) {
			return string(b), nil
		}
		if len(b) > 1<<20 {
			return string(b), errors.New("a head without end")
		}
	}
}

// fieldsOf gives the values of a field, in order. Names are compared in any case.
func fieldsOf(head, name string) (values []string) {
	for line := range strings.SplitSeq(head, "\r\n") {
		k, v, ok := strings.Cut(line, ":")
		if ok && strings.EqualFold(k, name) {
			values = append(values, strings.Trim(v, " \t"))
		}
	}
	return values
}

// clientOf is the last address of X-Forwarded-For.
func clientOf(head string) string {
	v := fieldsOf(head, "X-Forwarded-For")
	if len(v) == 0 {
		return ""
	}
	last := v[len(v)-1]
	return strings.Trim(last[strings.LastIndexByte(last, ',')+1:], " \t")
}

func (c *workerConn) begin(head string) {
	c.head, c.left, c.chunked, c.done = head, 0, false, true
	if te := fieldsOf(head, "Transfer-Encoding"); len(te) > 0 {
		c.chunked, c.done = true, false
	}
	if cl := fieldsOf(head, "Content-Length"); len(cl) > 0 && !c.chunked {
		c.left, _ = strconv.ParseInt(cl[0], 10, 64)
		c.done = c.left == 0
	}
}

// body reads n bytes of the body, or to its end if that comes first; n < 0: to its
// end. A body in chunks must be as quorate writes it. It is returned as one chunk,
// with last chunk and trailers if its end was read.
func (c *workerConn) body(n int) (string, error) {
	if c.done {
		return "", nil
	}
	if !c.chunked {
		if n < 0 || int64(n) > c.left {
			n = int(min(c.left, 1<<30))
		}
		b := make([]byte, n)
		m, err := io.ReadFull(c.r, b)
		c.left -= int64(m)
		c.done = c.left == 0
		return string(b[:m]), err
	}
	return c.chunks(n)
}

// chunks reads chunks until it has n bytes of data; n < 0: to the end.
func (c *workerConn) chunks(n int) (string, error) {
	var data bytes.Buffer
	one := func() string {
		if data.Len() == 0 {
			return ""
		}
		return fmt.Sprintf("%x\r\n%s\r\n", data.Len(), data.Bytes())
	}
	for n < 0 || data.Len() < n {
		line, err := c.line()
		if err != nil {
			return one() + line, err
		}
		size, err := strconv.ParseInt(line, 16, 64)
		if err != nil || fmt.Sprintf("%x", size) != strings.ToLower(line) {
			return one() + line, fmt.Errorf("a chunk size of %q", line)
		}
		if size == 0 {
			trailers := ""
			for {
				line, err := c.line()
				if err != nil {
					return one() + "0\r\n" + trailers + line, err
				}
				trailers += line + "\r\n"
				if line == "" {
					c.done = true
					return one() + "0\r\n" + trailers, nil
				}
			}
		}
		if m, err := io.CopyN(&data, c.r, size); err != nil {
			return one() + fmt.Sprintf("(%d of %d bytes)", m, size), err
		}
		var end [2]byte
		if _, err := io.ReadFull(c.r, end[:]); err != nil || string(end[:]) != "\r\n" {
			return one(), fmt.Errorf("behind a chunk came %q, %v", end, err)
		}
	}
	return one(), nil
}

// line reads a line of chunked framing, and leaves CRLF out.
func (c *workerConn) line() (string, error) {
	s, err := c.r.ReadString('\n')
	if err != nil {
		return s, err
	}
	if !strings.HasSuffix(s, "\r\n") || strings.Contains(s[:len(s)-2], "\r") {
		return s, fmt.Errorf("a line of chunked framing is %q", s)
	}
	return s[:len(s)-2], nil
}

// stray is a request of a client that is not there, or no more.
func (c *workerConn) stray() {
	if _, broken := c.brokenOff(); !broken {
		c.w.stray("a request of nobody:\n%s", escape(c.head))
	}
}

// brokenOff reads the rest of a request that nobody should get, and says whether
// its connection ended before it was whole. That may be where a body is bad: it is
// sent on as it comes.
func (c *workerConn) brokenOff() (body string, broken bool) {
	c.SetDeadline(time.Now().Add(patience))
	body, err := c.body(-1)
	return body, !c.done && !isTimeout(err)
}

// release lets the connection go: on to its next request, or closed.
func (c *workerConn) release(on bool) { c.on <- on && c.done }

// reset ends the connection with RST.
func (c *workerConn) reset() {
	c.Conn.(*net.TCPConn).SetLinger(0)
	c.Conn.Close()
}
