package main

import (
	"crypto/tls"
	"math"
	"sync"
	"testing"
	"time"
)

// What a client costs that has its answer and keeps its connection. The runtime gives
// memory back to the system when it has collected, which it does by itself each two
// minutes: for that the long version waits, and measures what the system says. This
// one asks the runtime what is in use behind a collection.
func TestIdleConnections(t *testing.T) { idle(t, "", 1000, 0) }

// idle compares what the process holds before n connections and with them.
func idle(t *testing.T, binary string, n int, rest time.Duration) {
	files, err := openFiles()
	if err != nil {
		t.Fatal(err)
	}
	if most := connectionsFor(files) - 100; n > most {
		t.Logf("%d open files carry no %d connections: %d are made", files, n, most)
		n = most
	}
	for _, k := range []struct {
		name   string
		limit  float64 // bytes
		secure bool
	}{{"plain", 5000, false}, {"TLS", 16000, true}} {
		t.Run(k.name, func(t *testing.T) {
			c, secure, how := single(t, binary, "traffic.timeouts.idle=10m")
			c.raw("w1", "/app")
			addr := secure
			if !k.secure {
				addr, how = c.replicas[0].traffic, nil
			}
			visit := request("GET", "/app/bytes/1024", nil)
			warm := gather(t, 64, addr, how)
			warm.ask(t, 3200, visit, 1024)
			warm.leave()
			inUse, rss := c.inUse(0), c.memory(0)["VmRSS"]
			all := come(t, n, addr, how, visit)
			defer all.leave()
			if rest == 0 {
				// Who has a goroutine to rest in is told from the stacks' sum.
				var now float64
				for end := time.Now().Add(patience); ; time.Sleep(500 * time.Millisecond) {
					now = (c.inUse(0) - inUse) / float64(n)
					if now <= k.limit || time.Now().After(end) {
						break
					}
				}
				t.Logf("figure: %d idle %s connections: %.0f bytes each in heap and stacks behind a collection", n, k.name, now)
				if now > k.limit {
					t.Errorf("%.0f bytes per connection, want at most %.0f", now, k.limit)
				}
				return
			}
			time.Sleep(rest) // what the row says
			grown := float64(c.memory(0)["VmRSS"]-rss) * 1024 / float64(n)
			t.Logf("figure: %d idle %s connections, %s after their last request: %.0f bytes of RSS each", n, k.name, rest, grown)
			if grown > k.limit {
				t.Errorf("%.0f bytes of RSS per connection, want at most %.0f", grown, k.limit)
			}
		})
	}
}

// come makes n connections, some at a time, with one request on each.
func come(t testing.TB, n int, addr string, secure *tls.Config, visit []byte) sockets {
	t.Helper()
	all := make(sockets, n)
	const at = 16
	var group sync.WaitGroup
	for k := range at {
		group.Go(func() {
			for i := k; i < n; i += at {
				p, err := tryDial(addr, secure)
				if err != nil {
					t.Error(err)
					return
				}
				all[i] = p
				if _, err := p.ask(visit); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	return all
}

// inUse is what replica i has in heap and stacks, in bytes, when it has collected. To
// ask it is to allocate, so that it does collect.
func (c *trio) inUse(i int) float64 {
	c.t.Helper()
	const collections = "go_gc_duration_seconds_count"
	least := math.Inf(1)
	for until := c.metric(i, collections) + 2; c.metric(i, collections) < until; {
		least = min(least, c.metric(i, "go_memstats_heap_inuse_bytes")+c.metric(i, "go_memstats_stack_inuse_bytes"))
	}
	return least
}
