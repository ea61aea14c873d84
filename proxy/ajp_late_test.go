package proxy

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate/fsm"
	"github.com/quorate/quorate/proxy/ajp/ajptest"
)

// Of a worker that falls silent with many connections idle, two are waited for, not all.
func TestAJPManyLate(t *testing.T) {
	const many = 8
	r := run(t, nil) // each connection is asked
	var together sync.WaitGroup
	together.Add(many)
	w := startAJP(t, func(c *ajpConn, _ *ajptest.Request) bool {
		together.Done()
		together.Wait()
		return c.say(ajptest.Head(200, "Content-Length", "0"), ajptest.End)
	})
	var silent atomic.Bool
	var asked atomic.Int64
	w.pongs(func(c *ajpConn) bool {
		if silent.Load() {
			asked.Add(1)
			return true
		}
		return c.say(ajptest.Pong)
	})
	r.register("w1", w.worker, isAJP, func(n *fsm.NodeConfig) { n.Ping = 1000 })
	var clients sync.WaitGroup
	for range many {
		clients.Go(func() { r.get("/").want(t, 200, "") })
	}
	clients.Wait()
	eventually(t, "all connections idle", func() bool { return r.upstream(r.targetOf("w1")).pool.Stats().Idle == many })
	silent.Store(true)
	began := time.Now()
	r.get("/").want(t, 503, sayNoWorker)
	if n := asked.Load(); n != 2 {
		t.Errorf("%d connections were asked, in %s", n, time.Since(began))
	}
	if r.table.Load().Node("w1").Suspect() {
		t.Error("the node is marked")
	}
}
