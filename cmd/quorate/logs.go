package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/quorate/quorate/config"
)

// logs is the replica's own log, with what can change while it runs.
type logs struct {
	*slog.Logger
	level *slog.LevelVar
	file  *logFile // nil: standard output or error
}

// logs opens what section `log` says.
func (g *globals) logs(c *config.Config) (*logs, error) {
	l := &logs{level: new(slog.LevelVar)}
	if err := l.setLevel(c.Log.Level); err != nil {
		return nil, err
	}
	out := io.Writer(g.stderr)
	switch c.Log.Output {
	case "stderr":
	case "stdout":
		out = g.stdout
	default:
		l.file = &logFile{path: c.Log.Output}
		if err := l.file.reopen(); err != nil {
			return nil, fmt.Errorf("log.output: %w", err)
		}
		out = l.file
	}
	var h slog.Handler
	if c.Log.Format == "text" || c.Log.Format == "auto" && isTerminal(out) {
		h = slog.NewTextHandler(out, &slog.HandlerOptions{Level: l.level})
	} else {
		h = slog.NewJSONHandler(out, &slog.HandlerOptions{Level: l.level, ReplaceAttr: inSeconds})
	}
	l.Logger = slog.New(h).With("replica", c.Replica.Name)
	return l, nil
}

// setLevel takes debug, info, warn or error.
func (l *logs) setLevel(text string) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(text)); err != nil {
		return fmt.Errorf("log.level: %w", err)
	}
	l.level.Set(level)
	return nil
}

// reopen is for whoever has moved the file away.
func (l *logs) reopen() error {
	if l.file == nil {
		return nil
	}
	return l.file.reopen()
}

func (l *logs) close() {
	if l.file != nil {
		l.file.file.Close()
	}
}

// inSeconds prints durations as everywhere in quorate's JSON: seconds, as numbers.
func inSeconds(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.Float64Value(a.Value.Duration().Seconds())
	}
	return a
}

// logFile is a file that can be opened again under its name.
type logFile struct {
	path string

	mu   sync.Mutex
	file *os.File // guarded by mu
}

func (f *logFile) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.file.Write(b)
}

// reopen goes over to the file that path names now; on an error the old one stays.
func (f *logFile) reopen() error {
	next, err := os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file != nil {
		f.file.Close()
	}
	f.file = next
	return nil
}
