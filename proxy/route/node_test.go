package route

import (
	"sync"
	"testing"

	"github.com/quorate/quorate/fsm"
)

func TestInFlight(t *testing.T) {
	w := newWorld()
	w.start(t, 1, "localhost", 100, "/app", "/other")
	first := Decide(w.table, facts("/app"))
	first.Begin()
	other := Decide(w.table, facts("/other"))
	other.Begin()
	check := func(path fsm.Path, want int64) {
		t.Helper()
		if got := w.table.InFlight("w1", path); got != want {
			t.Errorf("%d in flight for %s, want %d", got, path, want)
		}
	}
	check("/app", 1)
	check("/other", 1)
	if n := first.Node.InFlight(); n != 2 || first.Context.InFlight() != 1 || w.table.InFlightAt("w1", 1, "/app") != 1 {
		t.Errorf("node %d, context %d, on the vhost %d", n, first.Context.InFlight(), w.table.InFlightAt("w1", 1, "/app"))
	}

	// Undeployed and deployed again, stopped: the request is still there.
	w.apply(t, app(fsm.OpRemove, "w1", "localhost", "/app"))
	check("/app", 1)
	w.apply(t, app(fsm.OpStop, "w1", "localhost", "/app"))
	check("/app", 1)

	// Registered anew: another node, with the requests of its past.
	w.apply(t,
		fsm.Command{Op: fsm.OpRemove, Origin: fsm.FromWorker, Route: "w1", Whole: true},
		fsm.Command{Op: fsm.OpConfig, Origin: fsm.FromWorker, Route: "w1", Config: config(8001)},
		app(fsm.OpEnable, "w1", "localhost", "/app"))
	if w.table.Node("w1") == first.Node {
		t.Error("the node is the same")
	}
	check("/app", 1)
	first.End()
	other.End()
	check("/app", 0)
	check("/other", 0)
	if n := first.Node.InFlight(); n != 0 {
		t.Errorf("%d in flight on the node", n)
	}
	if w.table.InFlight("w9", "/app") != 0 || w.table.InFlightAt("w9", 1, "/app") != 0 {
		t.Error("requests on a node that is not there")
	}
}

func TestNodeKeepsItsIdentity(t *testing.T) {
	w := newWorld()
	w.start(t, 1, "localhost", 100, "/app")
	n := w.table.Node("w1")
	d := Decide(w.table, facts("/app"))
	d.Begin()
	c := config(8001)
	c.Balancer, c.Domain = "other", "blue"
	w.apply(t, fsm.Command{Op: fsm.OpConfig, Origin: fsm.FromWorker, Route: "w1", Config: c}, report("w1", 7))
	if w.table.Node("w1") != n || n.Elected() != 1 || n.Load() != 7 || !n.Usable() {
		t.Errorf("same %t, elected %d, load %d, usable %t", w.table.Node("w1") == n, n.Elected(), n.Load(), n.Usable())
	}
	if r := n.Record(); r.Config.Domain != "blue" || r.Config.URL() != "http://10.0.0.1:8001" {
		t.Errorf("record %+v", r.Config)
	}
	if !w.table.SetSuspect(n, true) || w.table.SetSuspect(n, true) || !n.Suspect() || n.Usable() {
		t.Error("suspicion is not news, or is news twice")
	}
	if got := w.table.State(); got != w.state {
		t.Error("the table names another state")
	}
	if d := Decide(w.table, facts("/app")); d.Balancer.Name != "other" {
		t.Errorf("balancer %s", d.Balancer.Name)
	}
	if list := w.table.Nodes(); len(list) != 1 || list[0] != n {
		t.Errorf("nodes %v", list)
	}
}

// A load that changes touches nothing but the node.
func TestLoadIsBesideTheTable(t *testing.T) {
	w := fleet(t, 100)
	before := w.table
	w.apply(t, report("w7", 55))
	old, now := before, w.table
	if &old.paths.root.slots[0] != &now.paths.root.slots[0] || &old.nodes.root.slots[0] != &now.nodes.root.slots[0] ||
		&old.aliases.root.slots[0] != &now.aliases.root.slots[0] {
		t.Error("a load was compiled")
	}
	if n := before.Node("w7"); n.Load() != 55 {
		t.Errorf("load %d", n.Load())
	}
}

// Readers of any table, writers of the next: run with -race.
func TestConcurrentUse(t *testing.T) {
	w := fleet(t, 10)
	var current struct {
		sync.Mutex
		table *Table
	}
	current.table = w.table
	stop := make(chan struct{})
	var readers sync.WaitGroup
	list := requests(10, sticky)
	for i := range 3 {
		readers.Go(func() {
			for j := i; ; j++ {
				select {
				case <-stop:
					return
				default:
				}
				current.Lock()
				table := current.table
				current.Unlock()
				f := *list[j&63]
				if d := Decide(table, &f); d.Node != nil {
					d.Begin()
					d.End()
				}
				Explain(table, &f)
				table.Why("w3", 0)
			}
		})
	}
	for i := range 200 {
		switch i % 5 {
		case 0:
			w.apply(t, app(fsm.OpDisable, "w3", "localhost", "/app0-7"))
		case 1:
			w.apply(t, app(fsm.OpEnable, "w3", "localhost", "/app0-7", "/new"))
		case 2:
			w.apply(t, report("w3", i%101))
		case 3:
			w.table.SetSuspect(w.table.Node("w3"), i%2 == 0)
			w.table.Recalculate()
		case 4:
			w.apply(t, app(fsm.OpRemove, "w3", "localhost", "/new"))
		}
		current.Lock()
		current.table = w.table
		current.Unlock()
	}
	close(stop)
	readers.Wait()
	for _, n := range w.table.Nodes() {
		if n.InFlight() != 0 {
			t.Errorf("%s: %d in flight at the end", n.Route, n.InFlight())
		}
	}
}

func TestSince(t *testing.T) {
	for ms, want := range map[int64]string{
		-5: "0s", 0: "0s", 14_000: "14s", 60_000: "1m", 192_000: "3m12s", 3_600_000: "1h", 3_660_000: "1h1m", 525_600_000: "6d2h",
	} {
		if got := since(1000, 1000+ms); got != want {
			t.Errorf("since %d ms: %s, want %s", ms, got, want)
		}
	}
}
