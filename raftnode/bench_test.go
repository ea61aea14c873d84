package raftnode

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate/fsm"
)

// BenchmarkPropose has 256 callers change loads on the leader of a trio, and says what
// the disk can do by itself: commands per fdatasync is the figure of design.md §12.
func BenchmarkPropose(b *testing.B) {
	for _, callers := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			c := newTestCluster(b, nil)
			trio := c.trio()
			leader, _ := c.leader(trio)
			for i := range callers {
				must(b, leader, config(fmt.Sprint("app-", i)))
			}
			syncs := syncsPerSecond(b, filepath.Join(c.dir, "sync"))
			var next atomic.Int64
			var all sync.WaitGroup
			b.ResetTimer()
			for i := range callers {
				all.Go(func() {
					w := fmt.Sprint("app-", i)
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						if res, _, err := leader.Propose(context.Background(), status(w, int(n%101))); err != nil || res.Code != fsm.OK {
							b.Error(res, err)
							return
						}
					}
				})
			}
			all.Wait()
			perSecond := float64(b.N) / b.Elapsed().Seconds()
			b.ReportMetric(perSecond, "commands/s")
			b.ReportMetric(perSecond/syncs, "commands/fdatasync")
		})
	}
}

func syncsPerSecond(b *testing.B, path string) float64 {
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	n := 0
	start := time.Now()
	for ; time.Since(start) < 300*time.Millisecond; n++ {
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	return float64(n) / time.Since(start).Seconds()
}
