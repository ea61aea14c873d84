//go:build check

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// What a replica with 100 workers of 20 contexts each holds in memory, a minute
// after the last STATUS. The program itself is measured, not the test binary:
// QUORATE_BINARY or bin/quorate, which `make build` makes.
func TestCheckMemory(t *testing.T) {
	const workers, contexts, limit = 100, 20, 60_000_000 / 1024 // KiB
	binary := envOr("QUORATE_BINARY", filepath.Join("..", "..", "bin", "quorate"))
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	c := prepare(t, trioConfig{Binary: binary})
	c.startAll()
	before := c.memory(0)
	ports := farm(t, workers)
	queue := make(chan int)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for k := range queue {
				mcmp, name := c.replicas[k%3].mcmp, fmt.Sprintf("w%d", k)
				messages := [][2]string{{"CONFIG", configOf(name, ports[k])}}
				for n := range contexts {
					messages = append(messages, [2]string{"ENABLE-APP", appOf(name, fmt.Sprintf("/app%d", n))})
				}
				messages = append(messages, [2]string{"STATUS", loadOf(name, 100)})
				for _, m := range messages {
					if a, err := trySend(mcmp, m[0], "/", m[1]); err != nil || a.status != 200 {
						t.Errorf("%s %s: %v, %v", m[0], m[1], a, err)
					}
				}
			}
		})
	}
	for k := range workers {
		queue <- k
	}
	close(queue)
	group.Wait()
	last := time.Now()
	c.sameState()
	for i, r := range c.replicas {
		if s := c.status(i); s.Workers.Usable != workers || s.Workers.Contexts != workers*contexts {
			t.Errorf("%s: %+v, want %d workers and %d contexts", r.name, s.Workers, workers, workers*contexts)
		}
	}
	time.Sleep(time.Until(last.Add(time.Minute))) // what the row says
	for i, r := range c.replicas {
		m := c.memory(i)
		t.Logf("figure: %s with %d workers of %d contexts, a minute after the last STATUS: VmRSS %.1f MiB, RssAnon %.1f MiB (with none: %.1f, %.1f); heap in use %.1f MiB, %v goroutines",
			r.name, workers, contexts, float64(m["VmRSS"])/1024, float64(m["RssAnon"])/1024, float64(before["VmRSS"])/1024, float64(before["RssAnon"])/1024,
			c.metric(i, "go_memstats_heap_inuse_bytes")/(1<<20), c.metric(i, "go_goroutines"))
		if m["VmRSS"] >= limit {
			t.Errorf("%s: VmRSS %d KiB, want under %d", r.name, m["VmRSS"], limit)
		}
	}
}
