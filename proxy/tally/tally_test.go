package tally_test

import (
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/quorate/quorate/proxy/tally"
	"pgregory.net/rapid"
)

// times are the bounds of http_request_duration_seconds.
var times = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}

func TestShards(t *testing.T) {
	for procs, want := range map[int]int{1: 1, 2: 2, 3: 4, 4: 4, 9: 16, 64: 64, 200: 64} {
		before := runtime.GOMAXPROCS(procs)
		got := tally.Shards()
		runtime.GOMAXPROCS(before)
		if got != want {
			t.Errorf("Shards with GOMAXPROCS %d = %d, want %d", procs, got, want)
		}
	}
}

// Any int is a shard, and a sum knows none of them.
func TestAnyShard(t *testing.T) {
	for _, shards := range []int{-1, 0, 1, 2, 3, 7, 64, 1000} {
		g, h := tally.NewGroup(shards, 20), tally.NewHistogram(shards, times...)
		for shard := -70; shard <= 70; shard++ {
			g.Add(shard, 0, 2)
			g.Add(shard+1, 0, -1)
			g.Add(shard, 19, 3)
			h.Observe(shard, time.Second)
		}
		if g.Value(0) != 141 || g.Value(1) != 0 || g.Value(19) != 3*141 {
			t.Errorf("%d shards: counters %d %d %d", shards, g.Value(0), g.Value(1), g.Value(19))
		}
		if n, sum, _ := h.Value(); n != 141 || sum != 141*time.Second {
			t.Errorf("%d shards: histogram has %d, %v", shards, n, sum)
		}
	}
}

// A histogram in shards says what counting each duration against each bound says,
// in seconds as Prometheus compares them.
func TestHistogramAgainstPlain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bounds := rapid.SliceOfN(rapid.SampledFrom(times), 0, 20).Draw(t, "bounds")
		slices.Sort(bounds)
		bounds = slices.Compact(bounds)
		ours := tally.NewHistogram(rapid.IntRange(1, 9).Draw(t, "shards"), bounds...)
		sum := time.Duration(0)
		near := rapid.Custom(func(t *rapid.T) time.Duration { // exactly at a bound, or one beside it
			s := rapid.SampledFrom(times).Draw(t, "bound")
			return time.Duration(s*float64(time.Second)+0.5) + time.Duration(rapid.IntRange(-1, 1).Draw(t, "beside"))
		})
		any := rapid.Custom(func(t *rapid.T) time.Duration { return time.Duration(rapid.Int64Range(0, 1<<36).Draw(t, "ns")) })
		counts := make([]uint64, len(bounds))
		list := rapid.SliceOf(rapid.OneOf(near, any)).Draw(t, "durations")
		for i, d := range list {
			ours.Observe(i, d)
			sum += d
			for j, b := range bounds {
				if d.Seconds() <= b {
					counts[j]++
				}
			}
		}
		n, total, upTo := ours.Value()
		if n != uint64(len(list)) || total != sum || !slices.Equal(upTo, counts) {
			t.Fatalf("%d, %v, %v; want %d, %v, %v", n, total, upTo, len(list), sum, counts)
		}
	})
}

func TestMetrics(t *testing.T) {
	g, h := tally.NewGroup(4, 2), tally.NewHistogram(4, 0.1, 1)
	g.Add(1, 0, 5)
	g.Add(2, 1, 7)
	h.Observe(0, 100*time.Millisecond) // a bound is in its bucket
	h.Observe(1, 101*time.Millisecond)
	h.Observe(3, time.Minute)
	h.Observe(3, -time.Minute)
	all := prometheus.NewRegistry()
	all.MustRegister(collector(func(ch chan<- prometheus.Metric) {
		ch <- g.Metric(0, prometheus.NewDesc("c_total", "C.", []string{"listener"}, nil), prometheus.CounterValue, ":80")
		ch <- g.Metric(1, prometheus.NewDesc("g", "G.", nil, nil), prometheus.GaugeValue)
		ch <- h.Metric(prometheus.NewDesc("h_seconds", "H.", []string{"balancer"}, nil), "b")
	}))
	want := `# HELP c_total C.
# TYPE c_total counter
c_total{listener=":80"} 5
# HELP g G.
# TYPE g gauge
g 7
# HELP h_seconds H.
# TYPE h_seconds histogram
h_seconds_bucket{balancer="b",le="0.1"} 2
h_seconds_bucket{balancer="b",le="1"} 3
h_seconds_bucket{balancer="b",le="+Inf"} 4
h_seconds_sum{balancer="b"} 60.201
h_seconds_count{balancer="b"} 4
`
	page := httptest.NewRecorder()
	promhttp.HandlerFor(all, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	if got := page.Body.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

type collector func(chan<- prometheus.Metric)

func (collector) Describe(chan<- *prometheus.Desc)      {}
func (f collector) Collect(ch chan<- prometheus.Metric) { f(ch) }

func TestBadBounds(t *testing.T) {
	for _, bounds := range [][]float64{{0}, {-1}, {1, 1}, {2, 1}, {1e-12}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("bounds %v were taken", bounds)
				}
			}()
			tally.NewHistogram(1, bounds...)
		}()
	}
}

// A scrape in the middle sees no bucket above the count, and nothing is lost.
func TestTogether(t *testing.T) {
	const writers, each = 8, 2000
	g, h := tally.NewGroup(4, 1), tally.NewHistogram(4, times...)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				g.Add(w, 0, 1)
				h.Observe(w, time.Duration(i)*time.Millisecond)
			}
		})
	}
	seen := int64(0)
	for seen < writers*each/2 {
		v := g.Value(0)
		if v < seen {
			t.Fatalf("a counter went from %d back to %d", seen, v)
		}
		seen = v
		n, _, upTo := h.Value()
		if !slices.IsSorted(upTo) || upTo[len(upTo)-1] > n {
			t.Fatalf("buckets %v of %d", upTo, n)
		}
	}
	all.Wait()
	n, sum, _ := h.Value()
	if g.Value(0) != writers*each || n != writers*each || sum != writers*each*(each-1)/2*time.Millisecond {
		t.Errorf("counter %d, histogram %d, %v", g.Value(0), n, sum)
	}
}

func TestAllocations(t *testing.T) {
	g, h := tally.NewGroup(4, 8), tally.NewHistogram(4, times...)
	if n := testing.AllocsPerRun(1000, func() {
		g.Add(2, 3, 1)
		h.Observe(3, time.Millisecond)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
