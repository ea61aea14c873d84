package corpus

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// arrival waits for the next request of the client at any worker.
func (k *talk) arrival() (*workerConn, error) {
	if k.cur != nil {
		if !k.cur.done {
			return nil, errors.New("the request before was not read to its end")
		}
		k.cur.release(true)
		k.cur = nil
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		var c *workerConn
		select {
		case c = <-k.arrivals:
		case err := <-k.readable():
			k.waiting = nil
			return nil, fmt.Errorf("no worker gets a request, but the client is told: %s", k.whatever(err))
		case <-late.C:
			return nil, errors.New("no worker gets a request")
		}
		if k.refused && !strings.HasPrefix(c.head, "GET /marker ") {
			body, broken := c.brokenOff()
			c.release(false)
			if broken {
				continue // the stream that was refused in its body
			}
			return nil, fmt.Errorf("a worker gets a request that was refused:\n%s", escape(c.head+body))
		}
		k.cur = c
		c.SetDeadline(time.Now().Add(patience))
		if k.kept != nil && c != k.kept {
			return nil, errors.New("the request came on another connection of the worker")
		}
		k.kept = nil
		if k.context != "" && c.w.name != k.context {
			return nil, fmt.Errorf("the worker of %s gets:\n%s", c.w.name, escape(c.head))
		}
		k.context = ""
		return c, nil
	}
}

// whatever describes what the client reads where it should not.
func (k *talk) whatever(err error) string {
	if err != nil {
		return err.Error()
	}
	a, err := readAnswer(k.in, "GET")
	if a == nil {
		return err.Error()
	}
	return escape(a.head + a.body)
}

// gets waits for a request, or for more of one, and compares.
func (k *talk) gets(want string) error {
	if k.tunnel {
		b := make([]byte, len(want))
		n, err := io.ReadFull(k.cur.r, b)
		return differ("the worker gets through the tunnel", string(b[:n]), want, err)
	}
	head, body, isHead := strings.Cut(want, "+\r\n\r\n")
	if !isHead {
		got, err := k.cur.body(k.partOf(want))
		return differ("the worker gets", got, want, err)
	}
	c, err := k.arrival()
	if err != nil {
		return err
	}
	shown := showRequest(c.head, c.nth, k.addr, c.w.addr)
	head += "+\r\n\r\n"
	got := ""
	if k.cut && c.chunked && !strings.Contains(head, "Transfer-Encoding: ") {
		shown, got, err = k.unchunked(shown)
	} else {
		got, err = c.body(k.partOf(body))
	}
	if k.sorted {
		shown, head = sortFields(shown), sortFields(head)
	}
	return differ("the worker gets", shown+got, head+body, err)
}

// partOf is how many bytes of the current body a case speaks of; -1: all.
func (k *talk) partOf(body string) int {
	switch c := k.cur; {
	case !c.chunked && int64(len(body)) < c.left:
		return len(body)
	case !c.chunked || strings.HasSuffix(body, "\r\n\r\n"):
		return -1
	case body == "":
		return 0
	}
	size, _, _ := strings.Cut(body, "\r\n")
	n, _ := strconv.ParseInt(size, 16, 32)
	return int(n)
}

// unchunked shows a body that came in chunks, since it came in two packets, as it
// would be sent if it had come in one, with its length. The names of trailers that
// may pass begin with X-Sum in the data files.
func (k *talk) unchunked(head string) (shown, data string, err error) {
	got, err := k.cur.body(-1)
	if err != nil {
		return head, got, err
	}
	end := got
	if !strings.HasPrefix(got, "0\r\n") {
		size, rest, _ := strings.Cut(got, "\r\n")
		n, _ := strconv.ParseInt(size, 16, 32)
		data, end = rest[:n], rest[n+2:]
	}
	for line := range strings.SplitSeq(strings.TrimPrefix(end, "0\r\n"), "\r\n") {
		if line != "" && !strings.HasPrefix(strings.ToLower(line), "x-sum") {
			err = fmt.Errorf("a trailer that must not pass: %s", escape(line))
		}
	}
	return strings.Replace(head, "Transfer-Encoding: chunked\r\n", fmt.Sprintf("Content-Length: %d\r\n", len(data)), 1), data, err
}

// workerClosed waits for quorate to end the connection it has to the worker. What
// is left of a body may come before, but nothing behind a whole request.
func (k *talk) workerClosed() error {
	c := k.cur
	k.cur = nil
	defer c.release(false)
	more := ""
	if c.done {
		b, err := io.ReadAll(io.LimitReader(c.r, 1024))
		if isTimeout(err) {
			return errors.New("the worker's connection is left open")
		}
		more = string(b)
	} else if _, err := io.Copy(io.Discard, c.r); isTimeout(err) {
		return errors.New("the worker's connection is left open")
	}
	if more != "" {
		return fmt.Errorf("the worker's connection should be closed, and brings:\n%s", escape(more))
	}
	return nil
}

// ok is the worker's ordinary answer to a client.
func (k *talk) ok() string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(k.addr), k.addr)
}

func (k *talk) says(text string) error {
	if text == "ok" {
		text = k.ok()
		if strings.HasPrefix(k.cur.head, "HEAD ") {
			text, _, _ = strings.Cut(text, k.addr)
		}
	}
	if _, err := io.WriteString(k.cur, text); err != nil {
		return fmt.Errorf("the worker says: %w", err)
	}
	return nil
}

// next reads one message of the client's. If it must be a refusal, a request that
// comes to a worker meanwhile is an error, but for the beginning of one that is
// then broken off: a body in chunks is sent on as it comes, and its rest may be
// found bad. Otherwise that is the marker, on its way since the answer was.
func (k *talk) next(refusal bool) (*answer, error) {
	for {
		arrivals := k.arrivals
		if !refusal {
			arrivals = nil
		}
		select {
		case err := <-k.readable():
			k.waiting = nil
			if err != nil {
				return nil, err
			}
			method := ""
			if len(k.methods) > 0 {
				method = k.methods[0]
			}
			a, err := readAnswer(k.in, method)
			if a != nil && a.status >= 200 && len(k.methods) > 0 {
				k.methods = k.methods[1:]
			}
			return a, err
		case c := <-arrivals:
			body, broken := c.brokenOff()
			c.release(false)
			if !broken {
				return nil, fmt.Errorf("a worker gets a request:\n%s", escape(showRequest(c.head, c.nth, k.addr, c.w.addr)+body))
			}
		}
	}
}

// getsWord compares what the client gets with a word of the data files.
func (k *talk) getsWord(word string) error {
	switch word {
	case "ok", "ok closed":
		return k.getsOK(word == "ok closed")
	case "(closed)":
		return k.closed()
	case "(broken off)":
		a, err := k.next(false)
		if a != nil && err == nil && a.status == 502 {
			return nil // nothing of it had been sent
		}
		if a != nil && !errors.Is(err, errBrokenOff) {
			return fmt.Errorf("the answer is whole: %s", escape(a.head+a.body))
		}
		k.ended = true
		return nil
	}
	status, then, _ := strings.Cut(word, " ")
	a, err := k.next(then == "closed")
	if err != nil {
		return fmt.Errorf("the client gets no answer: %w", err)
	}
	switch {
	case !slices.Contains(strings.Split(status, "|"), strconv.Itoa(a.status)):
		return fmt.Errorf("the client gets: %s", escape(a.head+a.body))
	case !a.dated || !strings.Contains(a.head, "\r\nContent-Length: "):
		return fmt.Errorf("an answer of quorate's own has Date and Content-Length: %s", escape(a.head+a.body))
	case a.close != (then == "closed"):
		return fmt.Errorf("Connection: close is %t: %s", a.close, escape(a.head+a.body))
	case strings.Contains(a.body, "marker"):
		return fmt.Errorf("the answer has something of a request: %s", escape(a.head+a.body))
	}
	if then == "closed" {
		return k.closed()
	}
	return nil
}

// getsOK compares with the worker's ordinary answer.
func (k *talk) getsOK(closed bool) error {
	head := len(k.methods) > 0 && k.methods[0] == "HEAD"
	a, err := k.next(false)
	if err != nil {
		return fmt.Errorf("the client gets no answer: %w", err)
	}
	want := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n", len(k.addr))
	if closed && a.close {
		want += "Connection: close\r\n"
	}
	want += "\r\n"
	if !head {
		want += k.addr
	}
	if err := differ("the client gets", a.head+a.body, want, nil); err != nil || !closed {
		return err
	}
	return k.closed()
}

// answered compares as many messages as the case shows.
func (k *talk) answered(want string) error {
	if k.tunnel {
		if k.waiting != nil {
			if err := k.settle(); err != nil {
				return err
			}
		}
		b := make([]byte, len(want))
		n, err := io.ReadFull(k.in, b)
		return differ("the client gets through the tunnel", string(b[:n]), want, err)
	}
	got := ""
	for range max(1, strings.Count(want, "HTTP/1.1 ")) {
		a, err := k.next(false)
		if a != nil {
			got += a.head + a.body
			k.tunnel = k.tunnel || a.status == 101
		}
		if errors.Is(err, errBrokenOff) {
			got += "(broken off)"
			k.ended = true
			break
		}
		if err != nil {
			return differ("the client gets", got, want, err)
		}
	}
	return differ("the client gets", got, want, nil)
}

// closed waits for the end of the client's connection, which must come clean.
func (k *talk) closed() error {
	err := k.settle()
	k.ended = true
	if err == io.EOF {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the client's connection ends with %w", err)
	}
	return fmt.Errorf("the client's connection does not end, but brings %s", k.whatever(nil))
}

// differ says how got is not want.
func differ(what, got, want string, err error) error {
	if err != nil {
		return fmt.Errorf("%s:\n%s\n(%w)", what, escape(got), err)
	}
	if got != want {
		return fmt.Errorf("%s:\n%s\nand not:\n%s", what, escape(got), escape(want))
	}
	return nil
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
