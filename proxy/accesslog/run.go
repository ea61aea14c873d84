package accesslog

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"
)

const (
	flushAfter = 100 * time.Millisecond // the age at which a line is written
	retryAfter = time.Second
	tellAfter  = time.Minute     // between two messages about dropped lines
	lastFlush  = 5 * time.Second // for all that waits when Run ends
	atomicSize = 4096            // PIPE_BUF: a write of that size is not torn
)

// Run writes until ctx ends and then what still waits, and closes the file. An output
// that takes nothing any more, say a pipe whose reader was stopped, holds it up for 5 s
// at most; the write it hangs in is then left to the end of the process. The error says
// what could not be written at the end.
func (l *Log) Run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- l.write(ctx.Done()) }()
	// The writer may hang in a write, so it is not the one that tells of the drops.
	minute := time.NewTicker(tellAfter)
	defer minute.Stop()
	told := uint64(0)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-minute.C:
			told = l.tellDropped(told)
		}
	}
	late := time.NewTimer(lastFlush)
	defer late.Stop()
	select {
	case err := <-done:
		l.tellDropped(told)
		return err
	case <-late.C:
	}
	l.tellDropped(told)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	return fmt.Errorf("access log to %s: nothing was taken for %v: up to %d bytes are lost", l.name, lastFlush, l.held)
}

func (l *Log) tellDropped(told uint64) uint64 {
	n := l.Dropped()
	if n > told {
		l.slog.Warn("access log lines dropped", "output", l.name, "lines", n-told, "total", n)
	}
	return n
}

// write is the one goroutine that writes.
func (l *Log) write(stop <-chan struct{}) error {
	age := time.NewTimer(flushAfter)
	age.Stop()
	for ending := false; !ending; {
		select {
		case <-l.begun:
			age.Reset(flushAfter)
			select {
			case <-age.C:
			case <-l.turned:
			case <-l.reopened:
			case <-stop:
				ending = true
			}
			age.Stop()
		case <-l.turned:
		case <-l.reopened:
		case <-stop:
			ending = true
		}
		l.swap()
		for b := l.take(ending); b != nil; b = l.take(ending) {
			l.put(b, stop)
			l.giveBack(b)
		}
	}
	l.swap() // a Reopen that came before the last line was taken
	return l.close()
}

// put writes a buffer, as long as it takes, or until stop: then it tries once more, and
// the lines that were not written whole count as dropped.
func (l *Log) put(b []byte, stop <-chan struct{}) {
	last := false
	for done := 0; done < len(b); {
		if l.swap() {
			// The rest of a line that the old file has in part means nothing in the
			// new one: it gets the whole line.
			done = bytes.LastIndexByte(b[:done], '\n') + 1
		}
		part := l.part(b[done:])
		n, err := l.out.Write(part)
		if err == nil && n < len(part) {
			err = io.ErrShortWrite
		}
		done += n
		l.tell(err)
		if err != nil {
			if last {
				l.dropped.Add(countLines(b[done:]))
				return
			}
			last = !l.wait(stop)
		}
	}
}

// part is what of b one write takes: all of it or, where somebody else's write could
// come between, lines that fit what the system keeps together.
func (l *Log) part(b []byte) []byte {
	if !l.inParts || len(b) <= atomicSize {
		return b
	}
	if end := bytes.LastIndexByte(b[:atomicSize], '\n'); end >= 0 {
		return b[:end+1]
	}
	return b[:bytes.IndexByte(b, '\n')+1]
}

// tell logs the first of some errors, and their end.
func (l *Log) tell(err error) {
	if (err != nil) == l.broken {
		return
	}
	l.broken = err != nil
	if l.broken {
		l.slog.Error("access log not written", "output", l.name, "error", err)
	} else {
		l.slog.Info("access log written again", "output", l.name, "dropped", l.Dropped())
	}
}

// wait is the time between two attempts; false: stop.
func (l *Log) wait(stop <-chan struct{}) bool {
	t := time.NewTimer(retryAfter)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.reopened:
	case <-stop:
		return false
	}
	return true
}

// swap goes over to the file of Reopen, if there is one.
func (l *Log) swap() bool {
	l.mu.Lock()
	f := l.next
	l.next = nil
	l.mu.Unlock()
	if f == nil {
		return false
	}
	if err := l.close(); err != nil {
		l.slog.Warn("access log not closed", "output", l.name, "error", err)
	}
	l.out = f
	return true
}

// close closes a file of ours.
func (l *Log) close() error {
	f, ok := l.out.(*os.File)
	if l.path == "" || !ok {
		return nil
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("close access log: %w", err)
	}
	return nil
}
