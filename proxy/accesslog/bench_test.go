package accesslog

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
)

// running is a log that is written, until the test ends.
func running(tb testing.TB, c Config) *Log {
	l := open(tb, c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	return l
}

func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector sync.Pool forgets on purpose")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties the pool
	usual, failed := usual(), failed()
	for _, c := range []Config{
		{Writer: io.Discard, Sample: 1, Format: "json", Fields: []string{"user_agent", "referer"}},
		{Writer: io.Discard, Sample: 1, Format: "text", Fields: []string{"user_agent", "referer"}},
		{Writer: io.Discard, Sample: 0.5, Format: "json"},
	} {
		l := running(t, c)
		for range 2000 {
			l.Write(&failed)
		}
		// Fewer lines than fit the buffers, so that a slow writer drops none.
		if n := testing.AllocsPerRun(1000, func() {
			l.Write(&usual)
			l.Write(&failed)
		}); n != 0 {
			t.Errorf("%+v: %v allocations", c, n)
		}
		if l.Dropped() != 0 {
			t.Errorf("%d dropped", l.Dropped())
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	usual, failed := usual(), failed()
	file := func(b *testing.B) string { return filepath.Join(b.TempDir(), "access.log") }
	for _, c := range []struct {
		name string
		r    *Record
		c    Config
	}{
		{"json", &usual, Config{Writer: io.Discard, Sample: 1}},
		{"json-all-fields", &failed, Config{Writer: io.Discard, Sample: 1, Fields: []string{"user_agent", "referer"}}},
		{"json-file", &usual, Config{Sample: 1}},
		{"text", &usual, Config{Writer: io.Discard, Sample: 1, Format: "text"}},
		{"sampled-0.01", &usual, Config{Writer: io.Discard, Sample: 0.01}},
	} {
		b.Run(c.name, func(b *testing.B) {
			if c.c.Writer == nil {
				c.c.Output = file(b)
			}
			l := running(b, c.c)
			b.ReportAllocs()
			for b.Loop() {
				l.Write(c.r)
			}
			b.ReportMetric(float64(l.Dropped())/float64(b.N), "dropped/op")
			if c.c.Output != "" {
				os.Truncate(c.c.Output, 0)
			}
		})
	}
	b.Run("parallel", func(b *testing.B) {
		l := running(b, Config{Writer: io.Discard, Sample: 1})
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				l.Write(&usual)
			}
		})
		b.ReportMetric(float64(l.Dropped())/float64(b.N), "dropped/op")
	})
}

func BenchmarkFormat(b *testing.B) {
	r := usual()
	var n line
	b.Run("json", func(b *testing.B) {
		for b.Loop() {
			n.json(&r, extra{})
		}
		b.SetBytes(int64(len(n.b)))
	})
	b.Run("text", func(b *testing.B) {
		for b.Loop() {
			n.text(&r, extra{})
		}
	})
}
