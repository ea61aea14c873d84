package accesslog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// sink is an output that can be told to fail, to hang, or to take a part.
type sink struct {
	mu   sync.Mutex
	got  bytes.Buffer
	n    int           // writes
	fail func() error  // asked before each write
	most int           // bytes one write takes with an error; 0: all
	hang chan struct{} // a write waits until it is closed
}

var errFull = errors.New("no space left on device")

func (s *sink) Write(b []byte) (int, error) {
	if s.hang != nil {
		<-s.hang
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	if s.fail != nil {
		if err := s.fail(); err != nil {
			if s.most > 0 && len(b) > s.most {
				s.got.Write(b[:s.most])
				return s.most, err
			}
			return 0, err
		}
	}
	return s.got.Write(b)
}

func (s *sink) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.String()
}

// run runs a log inside a synctest bubble; stop ends it and gives Run's error.
func run(t *testing.T, l *Log) (stop func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	synctest.Wait()
	return func() error { cancel(); return <-done }
}

func open(t testing.TB, c Config) *Log {
	t.Helper()
	l, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// numbered writes records whose Index counts from first.
func numbered(l *Log, first, n int) {
	for i := range n {
		r := usual()
		r.Index = uint64(first + i)
		l.Write(&r)
	}
}

// indexes reads lines back; each must be whole.
func indexes(t *testing.T, text string) (list []int) {
	t.Helper()
	for s := range strings.Lines(text) {
		var r struct {
			Index int
			ID    string `json:"request_id"`
		}
		if err := json.Unmarshal([]byte(s), &r); err != nil || r.ID != usual().RequestID {
			t.Fatalf("line %q: %v", s, err)
		}
		list = append(list, r.Index)
	}
	return list
}

// inOrder wants the indexes 0 to n-1.
func inOrder(t *testing.T, text string, n int) {
	t.Helper()
	list := indexes(t, text)
	if len(list) != n {
		t.Fatalf("%d lines, want %d", len(list), n)
	}
	for i, index := range list {
		if i != index {
			t.Fatalf("line %d has index %d", i, index)
		}
	}
}

func TestFlushByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &sink{}
		l := open(t, Config{Writer: out, Sample: 1})
		stop := run(t, l)
		for round := range 3 {
			time.Sleep(time.Hour) // an idle log sleeps as well
			numbered(l, 2*round, 1)
			time.Sleep(flushAfter - 1)
			numbered(l, 2*round+1, 1)
			synctest.Wait()
			inOrder(t, out.text(), 2*round)
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			inOrder(t, out.text(), 2*round+2)
		}
		if out.n != 3 {
			t.Errorf("%d writes", out.n)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestFlushFullBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &sink{}
		l := open(t, Config{Writer: out, Sample: 1})
		stop := run(t, l)
		begun, n := time.Now(), 0
		for round := range 5 {
			before := len(out.text())
			for len(out.text()) == before {
				numbered(l, n, 1)
				n++
				synctest.Wait() // and no time passes
			}
			// The buffer that is full, and the line that did not fit.
			if wrote := len(out.text()) - before; wrote <= bufferSize || wrote > bufferSize+500 {
				t.Errorf("round %d: a write after %d bytes", round, wrote)
			}
			inOrder(t, out.text(), n)
		}
		if time.Since(begun) > 0 {
			t.Errorf("it took %v", time.Since(begun))
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A line longer than a buffer goes the same way.
func TestLongLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &sink{}
		l := open(t, Config{Writer: out, Sample: 1, Fields: []string{"referer"}})
		stop := run(t, l)
		want := 0
		for i := range 10 {
			r := usual()
			r.Index = uint64(i)
			if i%3 == 1 {
				r.Referer = strings.Repeat("\x01", bufferSize)
			}
			l.Write(&r)
			want++
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		inOrder(t, out.text(), want)
		if l.held != 0 {
			t.Errorf("%d bytes held at the end", l.held)
		}
	})
}

// An output that hangs costs lines and a bounded amount of memory, never a request; when
// it goes on, what was held comes whole and in order.
func TestSlowOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &sink{hang: make(chan struct{})}
		var told bytes.Buffer
		l := open(t, Config{Writer: out, Sample: 1, Fields: []string{"referer"}, Log: slog.New(slog.NewTextHandler(&told, nil))})
		stop := run(t, l)
		const size, n = 6000, 3 * mostHeld / 6000
		for i := range n {
			r := usual()
			r.Index, r.Referer = uint64(i), strings.Repeat("x", size)
			l.Write(&r)
		}
		if l.held > mostHeld {
			t.Errorf("%d bytes held", l.held)
		}
		dropped := int(l.Dropped())
		if dropped == 0 || dropped > n*9/10 {
			t.Errorf("%d of %d dropped", dropped, n)
		}
		time.Sleep(tellAfter)
		synctest.Wait()
		if want := fmt.Sprintf(`level=WARN msg="access log lines dropped" output=writer lines=%d total=%d`, dropped, dropped); !strings.Contains(told.String(), want) {
			t.Errorf("told %q, want %q", told.String(), want)
		}
		close(out.hang)
		synctest.Wait()
		inOrder(t, out.text(), n-dropped)
		numbered(l, n-dropped, 5)
		if err := stop(); err != nil {
			t.Error(err)
		}
		inOrder(t, out.text(), n-dropped+5)
		if l.held != 0 || len(l.spare) > mostSpare {
			t.Errorf("%d bytes held at the end, %d buffers spare", l.held, len(l.spare))
		}
		if strings.Count(told.String(), "dropped") != 1 {
			t.Errorf("told %q", told.String())
		}
	})
}

// The end of Run waits for a reader that is slow, not for one that is stopped.
func TestEndWithStuckOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &sink{hang: make(chan struct{})}
		l := open(t, Config{Writer: out, Sample: 1})
		stop := run(t, l)
		numbered(l, 0, 3)
		begun := time.Now()
		err := stop()
		if took := time.Since(begun); err == nil || took != lastFlush {
			t.Errorf("Run ended after %v with %v", took, err)
		}
		numbered(l, 3, 2)
		if l.Dropped() != 2 {
			t.Errorf("%d dropped after the end", l.Dropped())
		}
		close(out.hang) // the write that hangs goes on
		synctest.Wait()
		inOrder(t, out.text(), 3)
	})
}

func TestEndFlushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &sink{}
		l := open(t, Config{Writer: out, Sample: 1})
		numbered(l, 0, 500) // before Run
		stop := run(t, l)
		numbered(l, 500, 500)
		if err := stop(); err != nil {
			t.Error(err)
		}
		inOrder(t, out.text(), 1000)
		numbered(l, 1000, 3)
		if l.Dropped() != 3 {
			t.Errorf("%d dropped after the end", l.Dropped())
		}
	})
}

func TestWriteError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := true
		var told bytes.Buffer
		// Each attempt takes 10 bytes and fails: lines are cut anywhere.
		out := &sink{most: 10}
		out.fail = func() error {
			if broken {
				return errFull
			}
			return nil
		}
		l := open(t, Config{Writer: out, Sample: 1, Log: slog.New(slog.NewTextHandler(&told, nil))})
		stop := run(t, l)
		for range 2 {
			numbered(l, 0, 5)
			time.Sleep(5 * retryAfter)
			synctest.Wait()
			if out.n != 5 || out.got.Len() != 50 {
				t.Errorf("%d attempts brought %d bytes", out.n, out.got.Len())
			}
			out.mu.Lock()
			broken = false
			out.mu.Unlock()
			time.Sleep(retryAfter)
			synctest.Wait()
			inOrder(t, out.text(), 5)
			out.mu.Lock()
			broken, out.n = true, 0
			out.got.Reset()
			out.mu.Unlock()
		}
		if n := strings.Count(told.String(), `level=ERROR msg="access log not written"`); n != 2 {
			t.Errorf("told %d times:\n%s", n, told.String())
		}
		if n := strings.Count(told.String(), `level=INFO msg="access log written again"`); n != 2 {
			t.Errorf("told %d times:\n%s", n, told.String())
		}
		// Broken to the end: the lines count as dropped, and Run ends at once.
		out.most = 0
		numbered(l, 5, 7)
		begun := time.Now()
		if err := stop(); err != nil || time.Since(begun) > 0 {
			t.Errorf("Run ended after %v with %v", time.Since(begun), err)
		}
		if l.Dropped() != 7 {
			t.Errorf("%d dropped", l.Dropped())
		}
	})
}

// An output that claims to have taken all, but did not, is tried again.
func TestShortWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &sink{most: 100}
		n := 0
		out.fail = func() error { n++; return nil }
		l := open(t, Config{Writer: shortOnce{out}, Sample: 1})
		stop := run(t, l)
		numbered(l, 0, 2)
		time.Sleep(2 * retryAfter)
		if err := stop(); err != nil {
			t.Error(err)
		}
		inOrder(t, out.text(), 2)
	})
}

// shortOnce leaves out the end of the first write.
type shortOnce struct{ *sink }

func (s shortOnce) Write(b []byte) (int, error) {
	if s.sink.n == 0 {
		b = b[:len(b)/3]
	}
	return s.sink.Write(b)
}

func TestSample(t *testing.T) {
	ok, gone, broken, told := usual(), usual(), usual(), usual()
	gone.Status, broken.Status, told.Error = 499, 500, "x"
	for _, c := range []struct {
		sample   float64
		low, top int // of 2000 of each that may be left out
	}{{0, 0, 0}, {0.1, 120, 280}, {1, 2000, 2000}} {
		l := open(t, Config{Writer: io.Discard, Sample: c.sample, Format: "json"})
		lines := func(r *Record) int {
			for range 2000 {
				l.Write(r)
			}
			n := 0
			for b := l.take(false); b != nil; b = l.take(false) {
				n += int(countLines(b))
				l.giveBack(b)
			}
			return n
		}
		for _, r := range []*Record{&ok, &gone} {
			if n := lines(r); n < c.low || n > c.top {
				t.Errorf("sample %v: %d lines of 2000 with status %d", c.sample, n, r.Status)
			}
		}
		for _, r := range []*Record{&broken, &told} {
			if n := lines(r); n != 2000 {
				t.Errorf("sample %v: %d lines of 2000 failures (%d, %s)", c.sample, n, r.Status, r.Error)
			}
		}
		if l.Dropped() != 0 {
			t.Errorf("sample %v: %d count as dropped", c.sample, l.Dropped())
		}
	}
}

func TestOpenErrors(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing", "access.log")
	for _, c := range []struct {
		c    Config
		want string
	}{
		{Config{Output: "stdout", Sample: 1, Fields: []string{"user_agent", "cookie"}}, "access_log.fields: cookie: must be user_agent or referer"},
		{Config{Output: "stdout", Sample: 1.5}, "access_log.sample: 1.5: must be 0 to 1"},
		{Config{Output: "stdout", Format: "combined"}, "access_log.format: combined: must be auto, text or json"},
		{Config{Output: missing}, "access_log.output: open " + missing + ": no such file or directory"},
	} {
		if _, err := Open(c.c); err == nil || err.Error() != c.want {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

// In parts, no write is larger than what a pipe keeps together, but for one long line,
// and each ends with a line.
func TestParts(t *testing.T) {
	l := open(t, Config{Writer: io.Discard, Sample: 1, Fields: []string{"referer"}})
	l.inParts = true
	for i := range 50 {
		r := usual()
		r.Index = uint64(i)
		if i == 20 {
			r.Referer = strings.Repeat("x", 2*atomicSize)
		}
		l.Write(&r)
	}
	b := l.take(false)
	text := ""
	for rest := b; len(rest) > 0; {
		p := l.part(rest)
		if len(p) > atomicSize && countLines(p) != 1 || p[len(p)-1] != '\n' {
			t.Fatalf("a part of %d bytes with %d lines", len(p), countLines(p))
		}
		text, rest = text+string(p), rest[len(p):]
	}
	if text != string(b) {
		t.Error("the parts are not the whole")
	}
	l.inParts = false
	if p := l.part(b); len(p) != len(b) {
		t.Errorf("a file gets %d of %d bytes", len(p), len(b))
	}
	if sharesPipe(io.Discard) {
		t.Error("a writer of ours is taken for standard output")
	}
}

func TestFormatAuto(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if l := open(t, Config{Writer: w, Format: "auto"}); l.asText {
		t.Error("text into a pipe")
	}
	if l := open(t, Config{Writer: w, Format: "text"}); !l.asText {
		t.Error("json where text was asked for")
	}
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no terminal:", err)
	}
	defer terminal.Close()
	for format, text := range map[string]bool{"": true, "auto": true, "text": true, "json": false} {
		if l := open(t, Config{Writer: terminal, Format: format}); l.asText != text {
			t.Errorf("format %q on a terminal: text is %v", format, l.asText)
		}
	}
}
