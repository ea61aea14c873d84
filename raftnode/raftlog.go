package raftnode

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// raftLogger hands raft's own lines to slog at DEBUG: what people wait for (leader
// elected, replica unreachable) is told in this program's words elsewhere. An error
// that names no other replica is about this one's disk or snapshots: WARN, unless it is
// the transport's, which calls each end of a connection an error.
type raftLogger struct {
	log  *slog.Logger
	name string
	with []any
	mute bool // nothing above DEBUG
}

func newRaftLogger(l *slog.Logger) hclog.Logger {
	return &raftLogger{log: l.With("from", "raft")}
}

func newTransportLogger(l *slog.Logger) hclog.Logger {
	return &raftLogger{log: l.With("from", "raft"), mute: true}
}

func (l *raftLogger) Log(level hclog.Level, msg string, args ...any) {
	at := slog.LevelDebug
	switch {
	case level == hclog.Trace:
		at -= 4
	case level == hclog.Error && !l.mute && !namesPeer(args):
		at = slog.LevelWarn
	}
	if !l.enabled(at) {
		return
	}
	all := append([]any{}, l.with...)
	for _, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			a = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
		all = append(all, a)
	}
	l.log.Log(context.Background(), at, msg, all...)
}

func namesPeer(args []any) bool {
	for i := 0; i < len(args); i += 2 {
		if args[i] == "peer" || args[i] == "target" {
			return true
		}
	}
	return false
}

func (l *raftLogger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l *raftLogger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *raftLogger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *raftLogger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *raftLogger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *raftLogger) IsTrace() bool { return l.enabled(slog.LevelDebug - 4) }
func (l *raftLogger) IsDebug() bool { return l.enabled(slog.LevelDebug) }
func (l *raftLogger) IsInfo() bool  { return l.enabled(slog.LevelDebug) }
func (l *raftLogger) IsWarn() bool  { return l.enabled(slog.LevelDebug) }
func (l *raftLogger) IsError() bool { return l.enabled(slog.LevelDebug) }

func (l *raftLogger) enabled(at slog.Level) bool { return l.log.Enabled(context.Background(), at) }

func (l *raftLogger) ImpliedArgs() []any { return l.with }
func (l *raftLogger) Name() string       { return l.name }

func (l *raftLogger) With(args ...any) hclog.Logger {
	next := *l
	next.with = append(append([]any{}, l.with...), args...)
	return &next
}

func (l *raftLogger) Named(name string) hclog.Logger {
	if l.name != "" {
		name = l.name + "." + name
	}
	return l.ResetNamed(name)
}

func (l *raftLogger) ResetNamed(name string) hclog.Logger {
	next := *l
	next.name = name
	return &next
}

func (l *raftLogger) SetLevel(hclog.Level)  {}
func (l *raftLogger) GetLevel() hclog.Level { return hclog.Debug }
func (l *raftLogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(nil), "", 0)
}
func (l *raftLogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return slog.NewLogLogger(l.log.Handler(), slog.LevelDebug).Writer()
}
