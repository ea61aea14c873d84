package route

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/quorate/quorate/fsm"
	"pgregory.net/rapid"
)

// One node's absence moves its own sessions and no other, on all replicas alike.
func TestRendezvousIsStable(t *testing.T) {
	const nodes, sessions = 10, 2000
	a, b := newWorld(), newWorld()
	for i := range nodes {
		a.start(t, i, "localhost", 100, "/app")
	}
	for i := nodes - 1; i >= 0; i-- { // another order of registration, another history
		b.start(t, i, "localhost", 1+i*7, "/app")
	}
	home := func(w *world, i int) string {
		d := Decide(w.table, facts("/app", fmt.Sprintf("JSESSIONID=%x.lost", i*7919)))
		d.Begin()
		defer d.End()
		return d.Node.Route
	}
	before, count := make([]string, sessions), map[string]int{}
	for i := range before {
		before[i] = home(a, i)
		count[before[i]]++
		if other := home(b, i); other != before[i] {
			t.Fatalf("session %d: %s here, %s there", i, before[i], other)
		}
	}
	for route, n := range count {
		if n < sessions/nodes*7/10 || n > sessions/nodes*13/10 {
			t.Errorf("%s has %d of %d sessions", route, n, sessions)
		}
	}
	if len(count) != nodes {
		t.Errorf("only %d nodes have sessions", len(count))
	}
	a.table.SetSuspect(a.table.Node("w3"), true)
	for i := range before {
		switch now := home(a, i); {
		case before[i] == "w3" && now == "w3":
			t.Fatalf("session %d stays on the suspect", i)
		case before[i] != "w3" && now != before[i]:
			t.Fatalf("session %d moved from %s to %s", i, before[i], now)
		}
	}
}

// The hash is part of the agreement between replicas: these never change.
func TestMixIsFixed(t *testing.T) {
	if got, want := mix(1, 2), uint64(0xe85028e6b31f8e7a); got != want {
		t.Errorf("mix(1, 2) = %#x, want %#x", got, want)
	}
	w := newWorld()
	for i := range 5 {
		w.start(t, i, "localhost", 100, "/app")
	}
	for session, want := range map[string]string{"8F": "w4", "A1B2C3": "w4", "0": "w3"} {
		if got := Decide(w.table, facts("/app", "JSESSIONID="+session+".lost")).Node.Route; got != want {
			t.Errorf("session %s on %s, want %s", session, got, want)
		}
	}
}

// The shortcut of elect for requests without a session chooses as the long way does.
func TestShortcut(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld()
		for i := range rapid.IntRange(1, 6).Draw(rt, "nodes") {
			w.start(rt, i, "localhost", rapid.IntRange(-1, 2).Draw(rt, "load"), "/app")
		}
		for range rapid.IntRange(1, 30).Draw(rt, "requests") {
			f := facts("/app")
			for _, n := range w.table.Nodes() {
				switch rapid.IntRange(0, 9).Draw(rt, "what") {
				case 0:
					w.table.SetSuspect(n, !n.Suspect())
				case 1:
					f.Avoid(n)
				case 2:
					w.table.Recalculate()
				case 3:
					op := rapid.SampledFrom([]fsm.Op{fsm.OpDisable, fsm.OpEnable, fsm.OpStop}).Draw(rt, "op")
					w.apply(rt, app(op, n.Route, "localhost", "/app"))
				case 4: // more than a rank can say, or a little less
					w.table.shared.clock.Add(1 << rapid.IntRange(25, 28).Draw(rt, "elections"))
					n.change(w.table, func() { n.elected += 1 << rapid.IntRange(18, 24).Draw(rt, "elected") })
					n.count()
				}
			}
			wide := int64(0)
			for _, n := range w.table.Nodes() {
				if n.wide {
					wide++
				}
			}
			if wide != w.table.shared.wide.Load() {
				rt.Fatalf("%d nodes are wide, counted %d", wide, w.table.shared.wide.Load())
			}
			g, _ := w.table.paths.get("/app")
			e := election{table: w.table, tried: f.tried, parts: g.parts}
			long, longPass := e.electAny(passes)
			short, shortPass := e.elect(passes)
			if long != short || longPass != shortPass {
				rt.Fatalf("elect %v in pass %d, electAny %v in pass %d", short, shortPass, long, longPass)
			}
			if d := Decide(w.table, f); d.Node != nil {
				d.Begin()
			}
		}
	})
}

// The scan without branches finds the first of the lowest.
func TestLowest(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ranks := make([]rank, 40)
		for i := range ranks {
			class := rapid.SampledFrom([]class{up, up, standby, suspect, out}).Draw(rt, "class")
			ranks[i].set(class, rapid.Uint64Range(0, 2).Draw(rt, "value"), rapid.Uint64Range(0, 2).Draw(rt, "turn"))
		}
		var list []*rank
		for range rapid.IntRange(1, 30).Draw(rt, "candidates") {
			list = append(list, &ranks[rapid.IntRange(0, len(ranks)-1).Draw(rt, "rank")])
		}
		want := 0
		for i, r := range list {
			if r.n.Load() < list[want].n.Load() {
				want = i
			}
		}
		if at, r := lowest(list); at != want || r != list[want].n.Load() {
			rt.Fatalf("%d, %x; want %d, %x", at, r, want, list[want].n.Load())
		}
	})
}

// Between equals the least recently elected wins, also over many intervals.
func TestTurnsOutlastIntervals(t *testing.T) {
	w := newWorld()
	const nodes = 5
	for i := range nodes {
		w.start(t, i, "localhost", 0, "/app") // standby: the turn alone decides
	}
	for i := range 40 {
		d := Decide(w.table, facts("/app"))
		d.Begin()
		if want := "w" + strconv.Itoa(i%nodes); d.Node.Route != want {
			t.Fatalf("request %d to %s, want %s", i, d.Node.Route, want)
		}
		if i%3 == 0 {
			w.table.Recalculate()
		}
	}
	if first := w.table.Node("w0").turn; first > 2*nodes {
		t.Errorf("turn %d of %d nodes: not counted anew", first, nodes)
	}
}

// The share of each node is its load's, over many intervals.
func TestProportional(t *testing.T) {
	w := newWorld()
	loads := []int{20, 90, 1, 55}
	total := 0
	for i, load := range loads {
		w.start(t, i, "localhost", load, "/app")
		total += load
	}
	const requests = 20_000
	for i := range requests {
		if i%700 == 0 {
			w.table.Recalculate()
		}
		d := Decide(w.table, facts("/app"))
		d.Begin()
		d.End()
	}
	const intervals = requests/700 + 1 // each may give a node one more or less
	for i, n := range w.table.Nodes() {
		want := requests * loads[i] / total
		if got := int(n.Elected()); got < want-intervals || got > want+intervals {
			t.Errorf("%s, load %d: %d requests, want %d", n.Route, loads[i], got, want)
		}
	}
}
