// Package tally counts what every exchange counts, without the cores meeting on
// one cache line: a counter is kept in shards, each on lines of its own, and an
// exchange adds to the shard it was given. Only a scrape reads them all.
//
//	exchange of shard 0 ──► [ n ] ─┐
//	exchange of shard 1 ──► [ n ] ─┼─► Value, Metric: the sum, at a scrape
//	exchange of shard 2 ──► [ n ] ─┘
//
// The owner gives each pooled exchange a shard once, say in turn; a sync.Pool hands
// an exchange back to the core that had it before, so that the line stays there. A
// shard is a hint and not a place that is owned: any int will do, two goroutines
// may use the same one, and what one shard adds another may take away.
//
// Adding and observing never allocate, never lock and never fail. A sum is not a
// snapshot: what is added while it is taken may be in it or not, but nothing is
// counted twice or lost.
package tally

import (
	"math/bits"
	"runtime"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// line is the words between two shards: 128 bytes, since processors fetch lines of
// 64 bytes in pairs.
const line = 16

// mostShards bounds the memory of a series on large machines.
const mostShards = 64

// Shards is how many shards fit this process: the next power of two from GOMAXPROCS,
// at most 64.
func Shards() int { return roundUp(runtime.GOMAXPROCS(0)) }

func roundUp(n int) int {
	return min(1<<bits.Len(uint(max(n, 1)-1)), mostShards)
}

// cells are words in shards, laid out shard by shard in whole lines.
type cells struct {
	words  []atomic.Int64
	stride int // words of a shard
	mask   int // shards-1
}

// newCells makes n words in each shard; shards is rounded up to a power of two.
func newCells(shards, n int) cells {
	shards = roundUp(shards)
	stride := (n + line - 1) / line * line
	return cells{words: make([]atomic.Int64, shards*stride), stride: stride, mask: shards - 1}
}

func (c *cells) of(shard int) []atomic.Int64 {
	from := (shard & c.mask) * c.stride
	return c.words[from : from+c.stride]
}

func (c *cells) sum(i int) (n int64) {
	for ; i < len(c.words); i += c.stride {
		n += c.words[i].Load()
	}
	return n
}

// Group is some counters that an exchange adds to together, such as those of one
// worker: they lie side by side, so that up to 16 of them cost one line per shard.
type Group struct{ cells cells }

// NewGroup returns size counters, 0 to size-1, of so many shards, rounded up to a
// power of two.
func NewGroup(shards, size int) *Group { return &Group{newCells(shards, size)} }

// Add adds n, which may be negative, to counter i in a shard: any int. It panics on
// an i that no group of this size has.
func (g *Group) Add(shard, i int, n int64) { g.cells.of(shard)[i].Add(n) }

// Value is the sum of counter i over all shards.
func (g *Group) Value(i int) int64 { return g.cells.sum(i) }

// Metric is the value of counter i as a Prometheus metric of d; kind is
// prometheus.CounterValue or GaugeValue. It panics when labels do not fit d.
func (g *Group) Metric(i int, d *prometheus.Desc, kind prometheus.ValueType, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, kind, float64(g.Value(i)), labels...)
}
