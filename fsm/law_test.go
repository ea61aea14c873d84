package fsm

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// The laws that hold for any entries. Names are few, so that commands meet.

var (
	someRoutes = rapid.SampledFrom([]JVMRoute{"w1", "w2", "w3", "w4"})
	someAlias  = rapid.SampledFrom([]string{"a", "A", "b", "c"})
	somePath   = rapid.SampledFrom([]Path{"/", "/x", "/y"})
)

func someCommand(t *rapid.T) Command {
	c := Command{
		Origin: FromWorker, Replica: rapid.SampledFrom([]string{"lb1", "lb2"}).Draw(t, "replica"), Source: "10.0.0.9",
		Op:    rapid.OneOf(rapid.SampledFrom([]Op{OpConfig, OpEnable, OpStop, OpRemove, OpStatus}), rapid.Map(rapid.IntRange(1, 16), func(i int) Op { return Op(i) })).Draw(t, "op"),
		Route: someRoutes.Draw(t, "route"),
	}
	if id := rapid.IntRange(0, 20).Draw(t, "id"); id <= 12 {
		c.ID[3] = byte(id)
	}
	switch c.Op {
	case OpConfig:
		c.Config = &NodeConfig{
			Balancer: rapid.SampledFrom([]string{"", "one", "Two"}).Draw(t, "balancer"),
			Domain:   rapid.SampledFrom([]string{"", "blue"}).Draw(t, "domain"),
			Type:     "http", Host: rapid.SampledFrom([]string{"h1", "h2", "h3"}).Draw(t, "host"), Port: 8080,
			Cookie: rapid.SampledFrom([]string{"SID", "JSESSIONID"}).Draw(t, "cookie"),
		}
		c.Gone = rapid.SliceOfN(someRoutes, 0, 3).Draw(t, "gone")
		if rapid.IntRange(0, 3).Draw(t, "apps") == 0 {
			c.Aliases = rapid.SliceOfN(someAlias, 1, 3).Draw(t, "aliases")
			c.Contexts = rapid.SliceOfN(somePath, 1, 3).Draw(t, "contexts")
		}
	case OpEnable, OpDisable, OpStop, OpRemove:
		if c.Whole = rapid.IntRange(0, 3).Draw(t, "whole") == 0; !c.Whole {
			c.Aliases = rapid.SliceOfN(someAlias, 1, 3).Draw(t, "aliases")
			c.Contexts = rapid.SliceOfN(somePath, 1, 3).Draw(t, "contexts")
		}
	case OpStatus:
		c.Load = rapid.IntRange(-1, 3).Draw(t, "load")
	case OpDrain, OpHold, OpRelease, OpDrop, OpExpire:
		c.By, c.Reason = "ops", rapid.SampledFrom([]string{"", "r"}).Draw(t, "reason")
		c.Context = rapid.OneOf(rapid.Just(Path("")), somePath).Draw(t, "context")
		if c.Context != "" {
			c.Alias = rapid.OneOf(rapid.Just(""), someAlias).Draw(t, "alias")
		}
	case OpForm:
		c.ClusterID = rapid.SampledFrom([]string{"", "c1", "c2"}).Draw(t, "cluster")
		c.Settings = someSettings(t)
	case OpSettings:
		c.Settings = someSettings(t)
	case OpSchema:
		c.Version = uint16(rapid.IntRange(0, 1).Draw(t, "version"))
	case OpBar:
		c.ReplicaID = rapid.SampledFrom([]string{"r1", "r2"}).Draw(t, "replica id")
	}
	return c
}

func someSettings(t *rapid.T) *Settings {
	s := DefaultSettings()
	s.MaxWorkers = rapid.IntRange(0, 3).Draw(t, "workers")
	s.MaxAliases = rapid.IntRange(0, 3).Draw(t, "aliases")
	s.MaxContexts = rapid.IntRange(0, 4).Draw(t, "contexts")
	s.RemoveDelay = rapid.SampledFrom([]int64{0, 1, 10_000}).Draw(t, "delay")
	if rapid.Bool().Draw(t, "set") {
		n, yes := 3, true
		s.MaxAttempts, s.Affinity.Force = &n, &yes
		s.Rules = []Rule{{Hosts: []string{"h"}, Action: "reject", Status: 403}}
	}
	return &s
}

func someEntries(t *rapid.T) []Entry {
	now := int64(rapid.IntRange(0, 1000).Draw(t, "start"))
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Entry {
		now += int64(rapid.SampledFrom([]int{-5, 0, 1, 500, 9_999, 30_000, 300_000}).Draw(t, "later"))
		return Entry{Schema: 1, Time: now, Commands: rapid.SliceOfN(rapid.Custom(someCommand), 1, 6).Draw(t, "commands")}
	}), 1, 12).Draw(t, "entries")
}

func mustApply(t testing.TB, s *State, e Entry) (*State, []Result) {
	t.Helper()
	next, results, err := Apply(s, e)
	if err != nil {
		t.Fatal(err)
	}
	return next, results
}

// Every state is in itself consistent, its hash is the one computed from
// nothing, and no state changes once it is there.
func TestStatesNeverChange(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := New()
		states, images := []*State{s}, [][]byte{snapshot(t, s)}
		for _, e := range someEntries(r) {
			s, _ = mustApply(t, s, e)
			checkState(t, s)
			states, images = append(states, s), append(images, snapshot(t, s))
		}
		for i, s := range states {
			if !bytes.Equal(images[i], snapshot(t, s)) {
				r.Fatalf("state %d is another than it was", i)
			}
		}
	})
}

// The entries alone decide: through the codec, in one entry or in several of
// the same time.
func TestSameEntriesSameHash(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		a, b, c := New(), New(), New()
		for _, e := range someEntries(r) {
			var whole, split []Result
			a, whole = mustApply(t, a, e)

			raw, err := EncodeEntry(e)
			if err != nil {
				r.Fatal(err)
			}
			decoded, err := DecodeEntry(raw)
			if err != nil {
				r.Fatal(err)
			}
			var again []Result
			b, again = mustApply(t, b, decoded)
			if !reflect.DeepEqual(whole, again) {
				r.Fatalf("results %+v, then %+v", whole, again)
			}

			for _, command := range e.Commands {
				var one []Result
				c, one = mustApply(t, c, Entry{Schema: 1, Time: e.Time, Commands: []Command{command}})
				split = append(split, one...)
			}
			if !reflect.DeepEqual(whole, split) {
				r.Fatalf("results %+v, one by one %+v", whole, split)
			}
			if a.Hash() != b.Hash() || a.Hash() != c.Hash() {
				r.Fatalf("hashes %s, %s, %s", a.Hash(), b.Hash(), c.Hash())
			}
		}
	})
}

// A snapshot at any point changes nothing that follows.
func TestSnapshotAnywhere(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		a, b := New(), New()
		for _, e := range someEntries(r) {
			if rapid.Bool().Draw(r, "restore") {
				restored, err := ReadSnapshot(bytes.NewReader(snapshot(t, b)))
				if err != nil {
					r.Fatal(err)
				}
				b = restored
			}
			var ra, rb []Result
			a, ra = mustApply(t, a, e)
			b, rb = mustApply(t, b, e)
			if !reflect.DeepEqual(ra, rb) {
				r.Fatalf("results %+v, after a snapshot %+v", ra, rb)
			}
			if a.Hash() != b.Hash() || printState(a) != printState(b) || !bytes.Equal(snapshot(t, a), snapshot(t, b)) {
				r.Fatalf("state\n%s\nafter a snapshot\n%s", printState(a), printState(b))
			}
		}
	})
}

// A command that comes twice does what it does once: with its id by the dedupe
// window, without by what commands mean.
func TestTwiceIsOnce(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := New()
		for _, e := range someEntries(r) {
			for _, c := range e.Commands {
				if c.Op == OpRemove && len(c.Aliases) > 1 {
					c.Aliases = c.Aliases[:1] // more may mean another vhost when the first is gone
				}
				one, first := mustApply(t, s, Entry{Schema: 1, Time: e.Time, Commands: []Command{c}})
				two, second := mustApply(t, one, Entry{Schema: 1, Time: e.Time, Commands: []Command{c}})
				resync := c.Op == OpStatus && first[0].Code == Mem && first[0].Changed
				if c.ID != (CommandID{}) || !resync {
					if second[0].Changed || one.Hash() != two.Hash() {
						r.Fatalf("%+v\ndid %+v\nthen %+v", c, first[0], second[0])
					}
				}
				if c.ID != (CommandID{}) && (second[0].Code != first[0].Code || second[0].Mess != first[0].Mess) {
					r.Fatalf("result %+v, retry %+v", first[0], second[0])
				}
				s = one
			}
		}
	})
}

// Preview says what Apply does.
func TestPreviewAgrees(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := New()
		for _, e := range someEntries(r) {
			s, _ = mustApply(t, s, e)
			c := someCommand(r)
			before := snapshot(t, s)
			seen, result := Preview(s, c)
			if !bytes.Equal(before, snapshot(t, s)) {
				r.Fatal("Preview changed the state")
			}
			c.ID = CommandID{}
			next, results := mustApply(t, s, Entry{Schema: 1, Time: s.Time(), Commands: []Command{c}})
			if !reflect.DeepEqual(result, results[0]) || seen.Hash() != next.Hash() {
				r.Fatalf("preview %+v, apply %+v", result, results[0])
			}
			if result.Changed == (next.Hash() == s.Hash()) {
				r.Fatalf("Changed is %v, hash %s then %s", result.Changed, s.Hash(), next.Hash())
			}
		}
	})
}

// What a Result leaves out has not changed, and what did not change says so.
func TestResultsAreComplete(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := New()
		for _, e := range someEntries(r) {
			next, results := mustApply(t, s, e)
			nodes, balancers, settings, changed := map[JVMRoute]bool{}, map[string]bool{}, false, false
			for _, x := range results {
				for _, n := range x.Nodes {
					nodes[n] = true
				}
				for _, b := range x.Balancers {
					balancers[b] = true
				}
				settings = settings || x.Settings
				changed = changed || x.Changed
				if !x.Changed && (len(x.Nodes)+len(x.Balancers)+len(x.Events) > 0 || x.Settings) {
					r.Fatalf("unchanged, but %+v", x)
				}
			}
			for _, route := range []JVMRoute{"w1", "w2", "w3", "w4"} {
				_, before := s.Remembered(route)
				_, after := next.Remembered(route)
				if (s.Node(route) != next.Node(route) || before != after) && !nodes[route] {
					r.Fatalf("%s changed, results name %v", route, nodes)
				}
			}
			for _, name := range []string{"mycluster", "one", "two"} {
				if s.Balancer(name) != next.Balancer(name) && !balancers[name] {
					r.Fatalf("%s changed, results name %v", name, balancers)
				}
			}
			if !settings && s.Settings() != next.Settings() {
				r.Fatal("settings changed, no result says so")
			}
			if !changed && printState(s) != printState(next) {
				r.Fatalf("no result says that\n%s\nbecame\n%s", printState(s), printState(next))
			}
			s = next
		}
	})
}

// A tick at Due changes something; one before it does nothing.
func TestDueIsWhenSomethingHappens(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := New()
		for _, e := range someEntries(r) {
			s, _ = mustApply(t, s, e)
			due := s.Due()
			if due == 0 {
				if _, x := mustApply(t, s, Entry{Schema: 1, Time: s.Time() + 1<<40}); x[0].Changed {
					r.Fatalf("nothing was due, but %+v", x)
				}
				continue
			}
			if due <= s.Time() && s.Time() > 1 {
				r.Fatalf("due %d at %d", due, s.Time())
			}
			if _, x := mustApply(t, s, Entry{Schema: 1, Time: due - 1}); x[0].Changed {
				r.Fatalf("1 ms before %d: %+v", due, x)
			}
			if _, x := mustApply(t, s, Entry{Schema: 1, Time: due}); !x[0].Changed {
				r.Fatalf("nothing at %d", due)
			}
		}
	})
}

// The dedupe window has an end, also within one moment.
func TestDedupeWindowIsBounded(t *testing.T) {
	s := New()
	e := Entry{Schema: 1, Time: 1000}
	for i := range seenMost + 10 {
		c := Command{Op: OpStatus, Route: "w1"}
		copy(c.ID[:], fmt.Sprintf("%016d", i+1))
		e.Commands = append(e.Commands, c)
	}
	s, _ = mustApply(t, s, e)
	if s.seen.len() != seenMost || s.seen.get(e.Commands[9].ID) != nil || s.seen.get(e.Commands[10].ID) == nil {
		t.Fatalf("%d in the window of %d", s.seen.len(), seenMost)
	}
	s, _ = mustApply(t, s, Entry{Schema: 1, Time: 1000 + seenFor})
	if s.seen.len() != 0 {
		t.Fatalf("%d left after the window", s.seen.len())
	}
	if s.Hash() != s.HashFromNothing() {
		t.Fatal("hash differs from one computed from nothing")
	}
}
