package corpus

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// HTTP/2 by prior knowledge, each case on a Proxy of its own; the marker is stream
// 9001 of the same connection if that is still there. The format: testdata/h2.
func TestH2(t *testing.T) {
	engine(t)
	for _, c := range readFile(t, "h2") {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, c.words, "/")
			if err := r.h2(c); err != nil {
				t.Errorf("%s\n%v", c.place, err)
			}
			if err := r.next(); err != nil {
				t.Error(err)
			}
			r.stop()
		})
	}
}

func (r *rig) h2(c *testCase) (err error) {
	k, err := r.dial()
	if err != nil {
		return err
	}
	told := make(chan error, 1)
	k.waiting = told // who reads is not k
	k.sorted, k.cut = true, true
	h := k.h2(told)
	defer func() {
		k.client.Close()
		h.done.Wait()
		k.waiting = nil
		if again := k.end(); err == nil && !c.has("flood") {
			err = again
		}
	}()
	if !c.has("raw") {
		if _, err := io.WriteString(k.client, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); err != nil {
			return err
		}
		if err := h.send([]string{"SETTINGS"}); err != nil {
			return err
		}
	}
	steps := c.steps
	if c.has("flood") {
		stop := k.swallow()
		defer stop()
	}
	for _, s := range steps {
		var err error
		switch {
		case s.side == sends && c.has("raw"):
			err = k.send(s.text)
		case s.side == sends:
			err = h.send(s.raw)
		case s.side == answers:
			for _, line := range s.raw {
				k.refused = k.refused || strings.HasSuffix(line, " refused")
				err = errors.Join(err, h.answered(line))
			}
		default:
			err = k.step(s)
		}
		if s.side == answers { // and is known
			select {
			case <-told:
			default:
			}
		}
		if err != nil {
			return fmt.Errorf("at %s%s\n%w", s.side, strings.Join(s.raw, "\n"+string(s.side)), err)
		}
	}
	h.mu.Lock()
	gone := h.goaway || h.ended
	h.mu.Unlock()
	if gone || c.has("alone") || c.has("flood") {
		return nil
	}
	return h.mark()
}

// swallow ends the requests of a flood that reach the worker.
func (k *talk) swallow() (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case c := <-k.arrivals:
				c.SetDeadline(time.Now().Add(patience))
				io.WriteString(c, k.ok())
				c.release(true)
			case <-quit:
				return
			}
		}
	}()
	return func() { close(quit); <-done }
}

func (h *h2Client) mark() error {
	h.writing.Lock()
	err := h.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 9001, BlockFragment: h.request("/marker"), EndStream: true, EndHeaders: true})
	h.writing.Unlock()
	if err == nil {
		err = h.k.gets(markerSeen)
	}
	if err == nil {
		err = h.k.says("ok")
	}
	if err == nil {
		err = h.answered("9001 ok")
	}
	if err != nil {
		return fmt.Errorf("the marker: %w", err)
	}
	return nil
}

// answered waits for what a line says of a stream: "1 400", "1 ok", "1 200 body",
// "1 103", "1 reset", "1 refused" (4xx or a reset or the end of the connection),
// "1 trailers: x: y", "1 fields: …"; or of the connection: "goaway".
func (h *h2Client) answered(line string) error {
	if line == "flood" {
		return nil // the next client tells
	}
	if line == "goaway" {
		h.wait(func() bool { return h.goaway })
		h.mu.Lock()
		defer h.mu.Unlock()
		if !h.goaway && (!h.ended || h.late) {
			return errors.New("the connection goes on")
		}
		return nil
	}
	number, want, _ := strings.Cut(line, " ")
	n, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return fmt.Errorf("%q says nothing that is known", line)
	}
	want, text, _ := strings.Cut(want, " ")
	h.mu.Lock()
	s := h.stream(uint32(n))
	h.mu.Unlock()
	status, _ := strconv.Atoi(want)
	if status >= 100 && status < 200 {
		h.wait(func() bool { return len(s.informational) > 0 || s.status > 0 || s.reset })
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(s.informational) == 0 || s.informational[0] != status {
			return fmt.Errorf("stream %d: %+v", n, *s)
		}
		s.informational = s.informational[1:]
		return nil
	}
	if want == "begun" { // the head is there, and no more
		h.wait(func() bool { return s.status > 0 || s.reset })
	} else {
		h.wait(func() bool { return s.whole || s.reset || h.goaway && want == "refused" })
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	got := fmt.Errorf("stream %d: %+v, GOAWAY %t, end %t", n, *s, h.goaway, h.ended)
	if len(s.informational) > 0 {
		return got
	}
	switch {
	case want == "refused":
		if s.whole && s.status >= 400 && s.status < 500 || s.reset || h.goaway || h.ended && !h.late {
			return nil
		}
	case want == "reset|502" && s.whole && s.status == 502:
		return nil
	case want == "reset" || want == "reset|502":
		if s.reset && !s.whole {
			return nil
		}
	case want == "begun":
		if s.status == 200 && !s.whole && !s.reset && s.data == "" {
			return nil
		}
	case want == "ok":
		if s.whole && s.status == 200 && s.data == h.k.addr {
			return nil
		}
	case want == "trailers:" && s.whole:
		if strings.TrimSuffix(s.trailers, "\n") == text {
			return nil
		}
	case want == "fields:" && s.whole:
		lines := slices.DeleteFunc(strings.Split(strings.TrimSuffix(s.fields, "\n"), "\n"), func(l string) bool { return strings.HasPrefix(l, "date: ") })
		slices.Sort(lines)
		if strings.Join(lines, ", ") == text {
			return nil
		}
	case status > 0 && s.whole && s.status == status && (text == "" || s.data == text):
		return nil
	}
	return got
}
