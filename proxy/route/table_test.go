package route

import (
	"encoding/binary"
	"strconv"
	"strings"
	"testing"

	"github.com/quorate/quorate/fsm"
	"pgregory.net/rapid"
)

// The table that was updated step by step is the one compiled from the state.
func TestUpdateEqualsCompile(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld()
		older := map[*Table]string{}
		early := w.table
		for i := range rapid.IntRange(1, 25).Draw(rt, "entries") {
			older[w.table] = dump(w.table)
			if i == 12 {
				early = w.table
			}
			w.now += rapid.Int64Range(0, 40_000).Draw(rt, "later")
			var commands []fsm.Command
			for range rapid.IntRange(0, 3).Draw(rt, "commands") {
				commands = append(commands, anyCommand(rt))
			}
			if rapid.IntRange(0, 3).Draw(rt, "reset") == 0 { // what lingers comes from here
				c := anyCommand(rt)
				commands = append(commands,
					fsm.Command{Op: fsm.OpRemove, Origin: fsm.FromWorker, Route: c.Route, Whole: true},
					fsm.Command{Op: fsm.OpConfig, Origin: fsm.FromWorker, Route: c.Route, Config: config(1)})
			}
			w.apply(rt, commands...)
			if rapid.IntRange(0, 9).Draw(rt, "overlay") == 0 {
				// Without a leader; the next entry for the node puts it right.
				c := anyCommand(rt)
				if s, r := fsm.Preview(w.state, c); r.Changed {
					if n := s.Node(c.Route); n != nil {
						w.table = w.table.WithNode(n)
					}
				}
				w.table = w.table.Update(w.state, []fsm.JVMRoute{c.Route}, nil, false)
			}
			want := dump(Compile(w.state, Options{Carries: carries}))
			if got := dump(w.table); got != want {
				rt.Fatalf("updated:\n%s\ncompiled:\n%s", got, want)
			}
		}
		// What readers of older tables see of paths and aliases did not change.
		for table, was := range older {
			if is := dump(table); structure(is) != structure(was) {
				rt.Fatalf("an old table changed, from:\n%s\nto:\n%s", was, is)
			}
		}
		// As if a snapshot came.
		var nodes []fsm.JVMRoute
		var balancers []string
		for _, s := range []*fsm.State{early.State(), w.state} {
			for _, n := range s.Nodes() {
				nodes = append(nodes, n.Route)
			}
			for _, b := range s.Balancers() {
				balancers = append(balancers, b.Name)
			}
		}
		want := dump(Compile(w.state, Options{Carries: carries}))
		if got := dump(early.Update(w.state, nodes, balancers, true)); got != want {
			rt.Fatalf("from a snapshot:\n%s\ncompiled:\n%s", got, want)
		}
	})
}

// structure cuts off what all versions of a table share.
func structure(dump string) string {
	for i := range dump {
		if dump[i:i+6] == "\nnodes" {
			return dump[:i]
		}
	}
	return dump
}

func anyCommand(t *rapid.T) fsm.Command {
	pick := func(name string, from ...string) string { return rapid.SampledFrom(from).Draw(t, name) }
	route := fsm.JVMRoute(pick("route", "w1", "w2", "w3", "w4"))
	c := fsm.Command{Origin: fsm.FromWorker, Route: route}
	switch kind := rapid.IntRange(0, 11).Draw(t, "kind"); kind {
	case 0, 1, 2:
		c.Op = fsm.OpConfig
		c.Config = config(rapid.IntRange(1, 5).Draw(t, "port"))
		c.Config.Balancer = pick("balancer", "x", "y", "")
		c.Config.Domain = pick("domain", "", "blue", "green")
		c.Config.Type = pick("type", "http", "ajp")
		c.Config.StickyForce = rapid.Bool().Draw(t, "force")
		c.Gone = []fsm.JVMRoute{fsm.JVMRoute(pick("gone", "w1", "w2", "w3", "w4"))}
	case 3, 4, 5, 6:
		c.Op = rapid.SampledFrom([]fsm.Op{fsm.OpEnable, fsm.OpEnable, fsm.OpDisable, fsm.OpStop, fsm.OpRemove}).Draw(t, "op")
		if c.Whole = rapid.IntRange(0, 5).Draw(t, "whole") == 0; !c.Whole {
			c.Aliases = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "A", "b", "c"}), 1, 3, rapid.ID).Draw(t, "aliases")
			c.Contexts = rapid.SliceOfNDistinct(rapid.SampledFrom([]fsm.Path{"/", "/a", "/a/b", "/c", "x", "/a/"}), 1, 3, rapid.ID).Draw(t, "contexts")
		}
	case 7, 8:
		c.Op, c.Load = fsm.OpStatus, rapid.IntRange(-1, 3).Draw(t, "load")
	case 9:
		c.Origin, c.By = fsm.FromOperator, "ops"
		c.Op = rapid.SampledFrom([]fsm.Op{fsm.OpHold, fsm.OpDrain, fsm.OpRelease}).Draw(t, "intent")
		c.Context = fsm.Path(pick("context", "", "/a"))
	case 10:
		c.Origin = fsm.FromSystem
		c.Op = rapid.SampledFrom([]fsm.Op{fsm.OpDrop, fsm.OpExpire, fsm.OpTick}).Draw(t, "system")
	case 11:
		s := fsm.DefaultSettings()
		s.Affinity.Cookie = pick("cookie", "", "SID")
		s.UseAlias = pick("use_alias", "auto", "true", "false")
		s.Rules = []fsm.Rule{{PathPrefix: "/" + strconv.Itoa(rapid.IntRange(0, 2).Draw(t, "rule")), Action: "reject", Status: 403}}
		c.Origin, c.Op, c.Settings = fsm.FromOperator, fsm.OpSettings, &s
	}
	return c
}

// A trie is a map, and its older versions stay as they were.
func TestTrie(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		type version struct {
			trie trie[int]
			want map[string]int
		}
		now := version{want: map[string]int{}}
		var all []version
		for range rapid.IntRange(1, 12).Draw(rt, "edits") {
			e := new(edit)
			want := map[string]int{}
			for k, v := range now.want {
				want[k] = v
			}
			for range rapid.IntRange(1, 60).Draw(rt, "steps") {
				key := strings.Repeat("x", rapid.IntRange(0, 2).Draw(rt, "long")*13) + strconv.Itoa(rapid.IntRange(0, 120).Draw(rt, "key"))
				if rapid.IntRange(0, 2).Draw(rt, "remove") == 0 {
					now.trie.remove(e, key)
					delete(want, key)
				} else {
					v := rapid.Int().Draw(rt, "value")
					now.trie.put(e, key, v)
					want[key] = v
				}
			}
			now.want = want
			all = append(all, now)
		}
		for _, v := range all {
			seen := 0
			v.trie.each(func(key string, val int) {
				seen++
				if want, ok := v.want[key]; !ok || want != val {
					rt.Fatalf("%s: %d, want %d, %t", key, val, want, ok)
				}
				if got, ok := v.trie.get(key); !ok || got != val {
					rt.Fatalf("get %s: %d, %t", key, got, ok)
				}
			})
			if seen != len(v.want) || v.trie.size != seen {
				rt.Fatalf("%d keys, size %d, want %d", seen, v.trie.size, len(v.want))
			}
		}
	})
}

// Keys whose hashes agree in all bits share a slot.
func TestTrieCollisions(t *testing.T) {
	end := string(binary.LittleEndian.AppendUint64(nil, seeds[1])) // makes one factor 0
	key := func(name string) string { return "twin" + name + end }
	if hashOf(key("a")) != hashOf(key("b")) {
		t.Fatal("these were meant to collide")
	}
	before, e := trie[int]{}, new(edit)
	before.put(e, "a", 1)
	before.put(e, key("a"), 0)
	before.put(e, key("b"), 1)
	now, e := before, new(edit)
	now.put(e, key("c"), 2)
	now.put(e, key("b"), 9)
	sum := func(x *trie[int]) (sum int) {
		x.each(func(_ string, v int) { sum += v })
		return sum
	}
	if now.size != 4 || sum(&now) != 1+0+9+2 {
		t.Errorf("size %d, sum of values %d", now.size, sum(&now))
	}
	for _, name := range []string{"a", "x", "c", "b"} {
		_, there := now.get(key(name))
		if now.remove(e, key(name)); there == (name == "x") {
			t.Errorf("%s: there %t", name, there)
		}
		if _, ok := now.get(key(name)); ok {
			t.Errorf("%s is still there", name)
		}
	}
	if now.size != 1 || sum(&now) != 1 || before.size != 3 || sum(&before) != 2 {
		t.Errorf("left %d, before %d", now.size, before.size)
	}
}

// The walk along a path finds what a look at every context finds.
func TestLongest(t *testing.T) {
	segment := rapid.SampledFrom([]string{"a", "b", "ab", strings.Repeat("x", 30), ""})
	path := rapid.Custom(func(t *rapid.T) string {
		return "/" + strings.Join(rapid.SliceOfN(segment, 0, 6).Draw(t, "segments"), "/")
	})
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld()
		var paths []string
		for _, p := range rapid.SliceOfN(path, 1, 12).Draw(rt, "contexts") {
			if len(p) <= fsm.MaxContext {
				paths = append(paths, p)
			}
		}
		if len(paths) == 0 {
			return
		}
		w.start(rt, 1, "localhost", 100, paths...)
		for _, p := range rapid.SliceOfN(path, 1, 20).Draw(rt, "requests") {
			want := ""
			for _, c := range paths {
				if len(c) > len(want) && strings.HasPrefix(p, c) && (len(c) == 1 || len(c) == len(p) || p[len(c)] == '/') {
					want = c
				}
			}
			got := ""
			if g := w.table.longest(p, &search{}); g != nil {
				got = g.path
			}
			if got != want {
				rt.Fatalf("%s among %q: %q, want %q", p, paths, got, want)
			}
		}
	})
}
