package accesslog

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/term"
)

const (
	bufferSize = 64 << 10 // of one buffer; a longer line gets one of its own
	mostHeld   = 4 << 20  // bytes of the buffers that wait
	mostSpare  = 4        // buffers kept for later when nothing waits
	longLine   = 16 << 10 // room for a line that is not kept
)

// Config says where lines go and which.
type Config struct {
	Output string       // "stdout", "stderr", or the path of a file, which is made (0640) and appended to
	Writer io.Writer    // if it is there: instead of Output; never closed or reopened
	Format string       // "json", "text"; "auto" or "": text on a terminal, else json
	Fields []string     // "user_agent", "referer": what is added
	Sample float64      // the share of requests with a line, 0 to 1; those that failed always have one
	Log    *slog.Logger // when the output does not work; default: discard
}

// Log takes records from any goroutine and writes them in Run.
type Log struct {
	asText  bool
	extra   extra
	sample  float64
	slog    *slog.Logger
	name    string    // of the output, in messages
	path    string    // of a file that can be opened again; "" for none
	inParts bool      // standard error may write between two parts of a large write
	lines   sync.Pool // of *line

	dropped atomic.Uint64

	mu    sync.Mutex
	open  []byte   // being filled
	full  [][]byte // wait to be written, oldest first
	spare [][]byte // empty
	held  int      // bytes of open, full, and the one being written
	next  *os.File // opened by Reopen, not in use yet
	ended bool     // Run took the last line

	begun    chan struct{} // open was empty and has a line
	turned   chan struct{} // full has one more
	reopened chan struct{} // next was set

	out    io.Writer // the writer's: it alone uses and changes what follows
	broken bool      // the last write ended in an error
}

// Open opens the output. Its error names the key of the configuration.
func Open(c Config) (*Log, error) {
	l := &Log{
		sample: c.Sample, slog: c.Log, name: cmp.Or(c.Output, "writer"), out: c.Writer,
		begun: make(chan struct{}, 1), turned: make(chan struct{}, 1), reopened: make(chan struct{}, 1),
	}
	l.lines.New = func() any { return new(line) }
	if l.slog == nil {
		l.slog = slog.New(slog.DiscardHandler)
	}
	for _, f := range c.Fields {
		switch f {
		case "user_agent":
			l.extra.userAgent = true
		case "referer":
			l.extra.referer = true
		default:
			return nil, fmt.Errorf("access_log.fields: %s: must be user_agent or referer", f)
		}
	}
	if !(c.Sample >= 0 && c.Sample <= 1) {
		return nil, fmt.Errorf("access_log.sample: %v: must be 0 to 1", c.Sample)
	}
	switch c.Format {
	case "", "auto", "text", "json":
	default:
		return nil, fmt.Errorf("access_log.format: %s: must be auto, text or json", c.Format)
	}
	switch {
	case c.Writer != nil:
	case c.Output == "stdout":
		l.out = os.Stdout
	case c.Output == "stderr":
		l.out = os.Stderr
	default:
		f, err := openFile(c.Output)
		if err != nil {
			return nil, fmt.Errorf("access_log.output: %w", err)
		}
		l.out, l.path = f, c.Output
	}
	l.inParts = sharesPipe(l.out)
	l.asText = c.Format == "text" || c.Format != "json" && isTerminal(l.out)
	return l, nil
}

func openFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
}

func isTerminal(w io.Writer) (yes bool) {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	// Not Fd(), which may change how the file is written.
	if raw, err := f.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { yes = term.IsTerminal(int(fd)) })
	}
	return yes
}

// sharesPipe reports whether w is standard output or error and both are one pipe or
// socket, as under systemd or after 2>&1.
func sharesPipe(w io.Writer) bool {
	if w != os.Stdout && w != os.Stderr {
		return false
	}
	a, errA := os.Stdout.Stat()
	b, errB := os.Stderr.Stat()
	return errA == nil && errB == nil && os.SameFile(a, b) && a.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0
}

// Write takes a record, or leaves it out (sampling), or drops it (nothing is free to
// hold it, or Run has ended). It never waits for the output and allocates nothing once
// its buffers are there.
func (l *Log) Write(r *Record) {
	if l.sample < 1 && !r.trouble() && rand.Float64() >= l.sample {
		return
	}
	// Formatting is most of the work and done outside the lock, which is held for the
	// copy of a few hundred bytes.
	n := l.lines.Get().(*line)
	if l.asText {
		n.text(r, l.extra)
	} else {
		n.json(r, l.extra)
	}
	l.add(n.b)
	if cap(n.b) <= longLine {
		l.lines.Put(n)
	}
}

// Dropped is how many lines were not written and never will be.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// add puts one line into the buffer.
func (l *Log) add(b []byte) {
	l.mu.Lock()
	noRoom := len(l.open)+len(b) > cap(l.open)
	turned := noRoom && len(l.open) > 0
	if l.ended || noRoom && !l.turn(len(b)) {
		l.mu.Unlock()
		l.dropped.Add(1)
		return
	}
	begun := len(l.open) == 0
	l.open = append(l.open, b...)
	l.mu.Unlock()
	if turned {
		notify(l.turned)
	}
	if begun {
		notify(l.begun)
	}
}

// turn queues the open buffer and opens another with room for n bytes; false: no more
// may be held. l.mu is held.
func (l *Log) turn(n int) bool {
	size := max(n, bufferSize)
	if l.held+size > mostHeld {
		return false
	}
	if len(l.open) > 0 {
		l.full = append(l.full, l.open)
	} else {
		l.recycle(l.open)
	}
	l.open = nil
	if last := len(l.spare) - 1; last >= 0 && size == bufferSize {
		l.open, l.spare = l.spare[last], l.spare[:last]
	} else {
		l.open = make([]byte, 0, size)
	}
	l.held += cap(l.open)
	return true
}

// take is the oldest buffer with lines; nil: there is none, and if it was to be the
// last, no line is taken any more.
func (l *Log) take(last bool) (b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case len(l.full) > 0:
		b = l.full[0]
		copy(l.full, l.full[1:])
		l.full[len(l.full)-1] = nil
		l.full = l.full[:len(l.full)-1]
	case len(l.open) > 0:
		b, l.open = l.open, nil
	case last:
		l.ended = true
	}
	return b
}

// giveBack is the end of a buffer that take gave.
func (l *Log) giveBack(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recycle(b)
}

func (l *Log) recycle(b []byte) {
	l.held -= cap(b)
	if cap(b) == bufferSize && len(l.spare) < mostSpare {
		l.spare = append(l.spare, b[:0])
	}
}

// Reopen opens the file anew, for whoever has moved the old one away: logrotate and
// SIGUSR1. The writer goes over to it between two lines, as soon as the write it may be
// in ends. On an error the old file stays in use. Other outputs have nothing to reopen.
func (l *Log) Reopen() error {
	if l.path == "" {
		return nil
	}
	f, err := openFile(l.path)
	if err != nil {
		return fmt.Errorf("reopen access log: %w", err)
	}
	l.mu.Lock()
	unused := f // after the end there is nothing to write
	if !l.ended {
		unused, l.next = l.next, f
	}
	l.mu.Unlock()
	if unused != nil {
		unused.Close()
	}
	notify(l.reopened)
	return nil
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func countLines(b []byte) uint64 { return uint64(bytes.Count(b, []byte{'\n'})) }
