package corpus

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"
)

// patience is how long a test waits for what must come, on a loaded machine.
const patience = 20 * time.Second

const (
	marker     = "GET /marker HTTP/1.1\r\nHost: localhost\r\n\r\n"
	markerSeen = "GET /marker HTTP/1.1\r\nHost: localhost\r\n+\r\n\r\n"
)

// talk is one conversation: a client with an address of its own, and the
// connections of workers that carry its requests.
type talk struct {
	r        *rig
	client   net.Conn
	addr     string // of the client
	in       *bufio.Reader
	waiting  chan error // a Peek that runs, see readable
	methods  []string   // of the requests that were sent and not answered
	arrivals chan *workerConn
	over     chan struct{}

	cur     *workerConn // has the request that is spoken of
	kept    *workerConn // must have the next one
	context string      // its worker must have the first request; "": any
	tunnel  bool        // after 101
	cut     bool        // the first packet is sent in two
	sorted  bool        // fields have no order, and no case: HTTP/2
	refused bool        // HTTP/2: a stream was
	ended   bool        // the client has seen the end of its connection
}

// dial makes a client that nobody else has the address of.
func (r *rig) dial() (*talk, error) {
	k := &talk{r: r, addr: clientAddress(), arrivals: make(chan *workerConn, 8), over: make(chan struct{})}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(k.addr)}, Timeout: patience}
	c, err := d.Dial("tcp", r.addr)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(patience))
	k.client, k.in = c, bufio.NewReader(c)
	for _, w := range r.workers {
		w.expect(k.addr, k)
	}
	return k, nil
}

// end closes the client and returns what came to a worker and was not waited for.
func (k *talk) end() error {
	k.client.Close()
	for _, w := range k.r.workers {
		w.forget(k.addr)
	}
	defer close(k.over)
	if k.waiting != nil {
		<-k.waiting
	}
	if k.cur != nil {
		k.cur.release(!k.tunnel)
	}
	select {
	case c := <-k.arrivals:
		body, broken := c.brokenOff()
		c.release(false)
		if broken {
			return nil
		}
		return fmt.Errorf("a worker got one more request:\n%s", escape(c.head+body))
	default:
		return nil
	}
}

// readable starts to wait for something to read: data, or an end. in is not to be
// used until it has come, or was waited for.
func (k *talk) readable() <-chan error {
	if k.waiting == nil {
		k.waiting = make(chan error, 1)
		go func() {
			_, err := k.in.Peek(1)
			k.waiting <- err
		}()
	}
	return k.waiting
}

// settle waits until the client's reader is free.
func (k *talk) settle() error {
	err := <-k.readable()
	k.waiting = nil
	return err
}

// send writes what the client says.
func (k *talk) send(text string) error {
	if _, err := io.WriteString(k.client, text); err != nil {
		return fmt.Errorf("the client sends: %w", err)
	}
	return nil
}

// run does the steps of a case and the marker behind it. first is how many bytes
// of the first packet go ahead of pause; 0: all in one.
func (k *talk) run(c *testCase, first int, pause func()) error {
	k.context = c.context
	last := c.lastSend()
	pipelined := !c.has("later") && !c.has("alone")
	steps := withDefaults(c.steps)
	for i, s := range steps {
		if s.side == sends && !s.word {
			text := s.text
			k.expectAnswers(text)
			if i == last && pipelined {
				text += marker
			}
			if first > 0 {
				k.cut = true
				err := k.send(text[:first])
				pause()
				if err != nil {
					return err
				}
				text = text[first:]
				first = 0
			}
			// A connection that was refused after the first packet may be gone.
			if err := k.send(text); err != nil {
				return err
			}
			continue
		}
		if err := k.step(s); err != nil {
			return fmt.Errorf("at %s%s\n%w", s.side, strings.Join(s.raw, "\n"+string(s.side)), err)
		}
	}
	if k.ended || c.has("alone") {
		return nil
	}
	if !pipelined {
		if err := k.send(marker); err != nil {
			return err
		}
	}
	return k.mark()
}

// withDefaults adds the ordinary answer where a case ends with a request.
func withDefaults(steps []step) []step {
	if last := steps[len(steps)-1]; last.side == gets && !last.word {
		steps = append(slices.Clone(steps), step{side: says, text: "ok", word: true, raw: []string{"ok"}}, step{side: answers, text: "ok", word: true, raw: []string{"ok"}})
	}
	return steps
}

// expectAnswers notes the methods of well-formed requests, since an answer to HEAD
// has no body.
func (k *talk) expectAnswers(text string) {
	for line := range strings.SplitSeq(text, "\r\n") {
		if word := strings.Split(line, " "); len(word) == 3 && strings.HasPrefix(word[2], "HTTP/1.") {
			k.methods = append(k.methods, word[0])
		}
	}
}

// mark sees that the marker, which was sent, arrives as it is, is answered, and the
// answer comes back.
func (k *talk) mark() error {
	if err := k.gets(markerSeen); err != nil {
		return fmt.Errorf("the marker: %w", err)
	}
	if err := k.says("ok"); err != nil {
		return fmt.Errorf("the marker: %w", err)
	}
	k.methods = nil
	if err := k.getsOK(false); err != nil {
		return fmt.Errorf("the marker: %w", err)
	}
	return nil
}

func (k *talk) step(s step) error {
	switch {
	case s.side == sends && s.text == "(close)":
		return k.client.(*net.TCPConn).CloseWrite()
	case s.side == sends && s.text == "(gone)":
		return k.client.Close()
	case s.side == gets && s.text == "(closed)":
		return k.workerClosed()
	case s.side == gets && s.text == "(kept)":
		k.kept = k.cur
		return nil
	case s.side == gets:
		return k.gets(s.text)
	case s.side == says && s.text == "(close)":
		return k.cur.Conn.(*net.TCPConn).CloseWrite()
	case s.side == says && s.text == "(reset)":
		k.cur.reset()
		return nil
	case s.side == says:
		return k.says(s.text)
	case s.side == answers && s.word:
		return k.getsWord(s.text)
	case s.side == answers:
		return k.answered(s.text)
	}
	return fmt.Errorf("the case says nothing that is known: %q", s.text)
}
