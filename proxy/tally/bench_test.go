package tally_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/quorate/quorate/proxy/tally"
)

func BenchmarkGroup(b *testing.B) {
	g := tally.NewGroup(tally.Shards(), 8)
	for b.Loop() {
		g.Add(1, 3, 1)
	}
}

func BenchmarkHistogram(b *testing.B) {
	h := tally.NewHistogram(tally.Shards(), times...)
	for name, d := range map[string]time.Duration{"800us": 800 * time.Microsecond, "300ms": 300 * time.Millisecond, "1m": time.Minute} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				h.Observe(1, d)
			}
		})
	}
}

// inShards runs f in parallel, each goroutine with a shard of its own.
func inShards(b *testing.B, f func(shard int)) {
	var next atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		shard := int(next.Add(1))
		for pb.Next() {
			f(shard)
		}
	})
}

func BenchmarkParallel(b *testing.B) {
	g, h := tally.NewGroup(tally.Shards(), 1), tally.NewHistogram(tally.Shards(), times...)
	b.Run("group", func(b *testing.B) { inShards(b, func(shard int) { g.Add(shard, 0, 1) }) })
	b.Run("histogram", func(b *testing.B) { inShards(b, func(shard int) { h.Observe(shard, 800*time.Microsecond) }) })

	// Beside it: one word, and prometheus' own histogram.
	var one atomic.Int64
	p := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "x", Help: "X.", Buckets: times})
	b.Run("one-atomic", func(b *testing.B) { inShards(b, func(int) { one.Add(1) }) })
	b.Run("prometheus-histogram", func(b *testing.B) { inShards(b, func(int) { p.Observe(0.0008) }) })
}

func BenchmarkScrape(b *testing.B) {
	h := tally.NewHistogram(64, times...)
	b.ReportAllocs()
	for b.Loop() {
		h.Value()
	}
}
