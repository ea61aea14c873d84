package route

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/quorate/quorate/fsm"
)

// world is a state machine and the table that follows it, as a replica has them.
type world struct {
	state *fsm.State
	table *Table
	now   int64
	local bool // a node was laid over the table
}

// fataler is a *testing.T or a *rapid.T.
type fataler interface {
	Helper()
	Fatal(args ...any)
}

func newWorld() *world {
	s := fsm.New()
	return &world{state: s, table: Compile(s, Options{Carries: carries}), now: 1_000_000}
}

// carries knows all types but one.
func carries(typ string) bool { return typ != "ajp" }

// apply makes one entry of the commands and updates the table with its results.
func (w *world) apply(t fataler, commands ...fsm.Command) []fsm.Result {
	t.Helper()
	next, results, err := fsm.Apply(w.state, fsm.Entry{Schema: fsm.SchemaVersion, Time: w.now, Commands: commands})
	if err != nil {
		t.Fatal(err)
	}
	var (
		nodes     []fsm.JVMRoute
		balancers []string
		settings  bool
	)
	for _, r := range results {
		nodes = append(nodes, r.Nodes...)
		balancers = append(balancers, r.Balancers...)
		settings = settings || r.Settings
	}
	w.state = next
	w.table = w.table.Update(next, nodes, balancers, settings)
	return results
}

// config is what CONFIG says by default, as a client sends it: no force.
func config(port int) *fsm.NodeConfig {
	return &fsm.NodeConfig{
		Balancer: "mycluster", Type: "http", Host: "10.0.0.1", Port: port, Ping: 10_000, TTL: 60_000, Smax: -1,
		Sticky: true, Cookie: "JSESSIONID", PathParam: "jsessionid", MaxAttempts: 1,
	}
}

func report(route string, load int) fsm.Command {
	return fsm.Command{Op: fsm.OpStatus, Origin: fsm.FromWorker, Route: fsm.JVMRoute(route), Load: load}
}

func app(op fsm.Op, route, aliases string, paths ...string) fsm.Command {
	c := fsm.Command{Op: op, Origin: fsm.FromWorker, Route: fsm.JVMRoute(route), Aliases: strings.Split(aliases, ",")}
	for _, p := range paths {
		c.Contexts = append(c.Contexts, fsm.Path(p))
	}
	return c
}

// start registers a worker that serves some paths at some load.
func (w *world) start(t fataler, number int, aliases string, load int, paths ...string) string {
	route := "w" + strconv.Itoa(number)
	w.apply(t,
		fsm.Command{Op: fsm.OpConfig, Origin: fsm.FromWorker, Route: fsm.JVMRoute(route), Config: config(8000 + number)},
		app(fsm.OpEnable, route, aliases, paths...),
		report(route, load))
	return route
}

// facts of a request for a path, without a host.
func facts(path string, cookies ...string) *Facts {
	p, why := ParsePath(path, PathOptions{})
	if why != None {
		panic(path + ": " + why.String())
	}
	f := NewFacts("", p, cookies)
	return &f
}

// dump writes all of a table but the counters, to compare two.
func dump(t *Table) string {
	var b strings.Builder
	var lines []string
	sorted := func(title string) {
		slices.Sort(lines)
		fmt.Fprintf(&b, "%s\n  %s\n", title, strings.Join(lines, "\n  "))
		lines = nil
	}
	t.paths.each(func(path string, g *group) {
		for i, p := range g.parts {
			for j, at := range p.at {
				if at != p.on[j].node.rank {
					lines = append(lines, "on and at differ")
				}
			}
			for j, c := range slices.Concat(p.on, p.off) {
				lines = append(lines, fmt.Sprintf("%s %d %s#%d %v %d/%d %d: %s %x %s %s", path, i, p.balancer.Name, p.balancer.Number,
					p.aliases.names, len(p.on), p.disabled, j, c.node.Route, c.key, c.status, c.context.Path))
			}
		}
	})
	sorted(fmt.Sprintf("paths %d", t.paths.size))
	t.nodes.each(func(route string, w *worker) {
		n := w.node
		lines = append(lines, fmt.Sprintf("%s %d load %d enabled %d removed %t class %d", route, n.Number, n.load, n.enabled, n.removed, n.class()))
	})
	sorted("nodes")
	t.aliases.each(func(a string, n int) { lines = append(lines, fmt.Sprint(a, n)) })
	sorted("aliases")
	for _, x := range t.balancers {
		lines = append(lines, fmt.Sprintf("%d %s %+v", x.Number, x.Name, *x.Policy()))
	}
	sorted("balancers")
	fmt.Fprintln(&b, t.depths, t.deepest, t.rules)
	return b.String()
}
