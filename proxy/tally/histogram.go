package tally

import (
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Histogram counts durations by size and sums them up. A shard is its sum in
// nanoseconds and one word per bucket, the last for what is above all bounds: 14
// bounds fill one line.
type Histogram struct {
	cells  cells
	bounds []time.Duration
	upper  []float64 // bounds as the owner gave them: seconds
}

// NewHistogram returns a histogram of so many shards, rounded up to a power of two.
// bounds are the upper bounds of its buckets in seconds, inclusive as Prometheus has
// them, positive and ascending; it panics when they are not, as prometheus does.
func NewHistogram(shards int, bounds ...float64) *Histogram {
	h := &Histogram{cells: newCells(shards, len(bounds)+2), upper: slices.Clone(bounds)}
	last := time.Duration(0)
	for _, b := range bounds {
		d := time.Duration(b*float64(time.Second) + 0.5)
		if d <= last {
			panic(fmt.Sprintf("tally: bounds %v: not positive and ascending", bounds))
		}
		h.bounds, last = append(h.bounds, d), d
	}
	return h
}

// Observe counts a duration in a shard: any int. A negative one counts as 0: a clock
// that was set back is no reason to take something away.
func (h *Histogram) Observe(shard int, d time.Duration) {
	d = max(d, 0)
	words := h.cells.of(shard)
	bucket := 1 // words[0] is the sum
	// Most requests are short, so the first bounds are asked first.
	for _, b := range h.bounds {
		if d <= b {
			break
		}
		bucket++
	}
	words[bucket].Add(1)
	words[0].Add(int64(d))
}

// Value is how many durations were observed, their sum, and how many of them were
// at most each bound: cumulative, one for each of the bounds.
func (h *Histogram) Value() (count uint64, sum time.Duration, upTo []uint64) {
	upTo = make([]uint64, len(h.bounds))
	for i := range upTo {
		count += uint64(h.cells.sum(1 + i))
		upTo[i] = count
	}
	count += uint64(h.cells.sum(1 + len(h.bounds)))
	return count, time.Duration(h.cells.sum(0)), upTo
}

// Metric is the histogram as a Prometheus metric of d, in seconds. It panics when
// labels do not fit d.
func (h *Histogram) Metric(d *prometheus.Desc, labels ...string) prometheus.Metric {
	count, sum, upTo := h.Value()
	buckets := make(map[float64]uint64, len(upTo))
	for i, n := range upTo {
		buckets[h.upper[i]] = n
	}
	return prometheus.MustNewConstHistogram(d, count, sum.Seconds(), buckets, labels...)
}
