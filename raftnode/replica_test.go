package raftnode

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/fsm"
)

func TestTrioForms(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, nil)
	trio := c.trio()
	leader, others := c.leader(trio)
	for _, r := range trio {
		if id := r.ClusterID(); id != trio[0].ClusterID() {
			t.Errorf("%s is of cluster %s, %s of %s", r.name, id, trio[0].name, trio[0].ClusterID())
		}
		if s := r.Status(); s.Voters != 3 || s.Wanted != 3 || s.Quorum != 2 || !s.Voter || s.LeaderName != leader.name {
			t.Errorf("%s: %+v", r.name, s)
		}
		if p := r.home.get().Promise; p != nil {
			t.Errorf("%s keeps its promise after the fact: %+v", r.name, p)
		}
		soon(t, r.name+" tells what people wait for", func() bool {
			all := strings.Join(r.logs.all(), "\n")
			return strings.Contains(all, "cluster formed cluster="+r.ClusterID()+" voters=3") &&
				strings.Contains(all, "leader elected leader="+leader.name) &&
				strings.Count(all, "replica joined name=lb") == 2
		})
	}
	for i, r := range others {
		w := []string{"w1", "w2"}[i]
		register(t, r, w)
		if got := loadOf(r, w); got != 50 {
			t.Errorf("%s acknowledged %s with load 50 and shows %d", r.name, w, got)
		}
	}
	equalStates(t, trio)
	if n := leader.State().State.Settings().Voters; n != 3 {
		t.Errorf("auto voters were recorded as %d", n)
	}
	for _, r := range trio {
		soon(t, r.name+" has no problem", func() bool { return len(r.Problems()) == 0 })
		m := r.Members()
		names := []string{m[0].Name, m[1].Name, m[2].Name}
		if !slices.Equal(names, []string{"lb1", "lb2", "lb3"}) || !m[0].Reachable || !m[1].Reachable || !m[2].Reachable {
			t.Errorf("members of %s: %+v", r.name, m)
		}
	}
}

// equalStates waits until all have applied the same and compares what they hold.
func equalStates(t *testing.T, list []*testReplica) {
	t.Helper()
	soon(t, "all at one index", func() bool {
		for _, r := range list {
			if r.State().Index != list[0].State().Index {
				return false
			}
		}
		return true
	})
	for _, r := range list {
		s := r.State().State
		if s.Hash() != list[0].State().State.Hash() || s.Hash() != s.HashFromNothing() {
			t.Errorf("%s holds another state than %s", r.name, list[0].name)
		}
	}
}

func TestProposeAndRead(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, nil)
	trio := c.trio()
	leader, others := c.leader(trio)
	register(t, others[0], "w1")

	t.Run("a follower's answer is applied there, and read everywhere", func(t *testing.T) {
		for i := range 20 {
			r := trio[i%3]
			must(t, r, status("w1", i))
			if got := loadOf(r, "w1"); got != i {
				t.Fatalf("%s acknowledged load %d and shows %d", r.name, i, got)
			}
			s, err := trio[(i+1)%3].Read(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Node("w1").Load; got != i {
				t.Fatalf("read after load %d was acknowledged gives %d", i, got)
			}
		}
	})

	t.Run("what changes nothing makes no entry", func(t *testing.T) {
		must(t, leader, status("w1", 70))
		equalStates(t, trio)
		before := leader.State().Index
		for _, r := range trio {
			for range 3 {
				if res, index := must(t, r, status("w1", 70)); res.Changed || index != before {
					t.Errorf("%s: %+v at %d", r.name, res, index)
				}
				if res, index := must(t, r, config("w1")); res.Changed || index != before {
					t.Errorf("%s: %+v at %d", r.name, res, index)
				}
			}
			res, _, err := r.Propose(context.Background(), status("nobody", 1))
			if err != nil || res.Code != fsm.Mem {
				t.Errorf("%s about a worker nobody knows: %+v, %v", r.name, res, err)
			}
		}
		if after := leader.State().Index; after != before {
			t.Errorf("entries for nothing: index %d, then %d", before, after)
		}
	})

	t.Run("one message through three replicas, one after the other", func(t *testing.T) {
		equalStates(t, trio)
		before := leader.applied(fsm.OpStatus)
		for _, r := range trio {
			must(t, r, status("w1", 33))
		}
		equalStates(t, trio)
		if n := leader.applied(fsm.OpStatus) - before; n != 1 {
			t.Errorf("%d entries, not one", n)
		}
	})

	t.Run("one message through three replicas at once", func(t *testing.T) {
		equalStates(t, trio)
		before := leader.changes("w1")
		for round := range 10 {
			var all sync.WaitGroup
			for _, r := range trio {
				all.Go(func() { must(t, r, status("w1", 40+round)) })
			}
			all.Wait()
		}
		equalStates(t, trio)
		if n := leader.changes("w1") - before; n != 10 {
			t.Errorf("10 loads told three times each made %d changes with one event each", n)
		}
	})

	t.Run("the budget goes along", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
		defer cancel()
		if _, _, err := others[0].Propose(ctx, status("w1", 99)); err == nil {
			t.Error("taken without any time left")
		}
		if got := loadOf(others[0], "w1"); got == 99 {
			t.Error("proposed after its deadline")
		}
	})
	equalStates(t, trio)
}

// changes counts commands that changed worker w and made one event.
func (r *testReplica) changes(w fsm.JVMRoute) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, res := range r.results {
		if res.Changed && slices.Contains(res.Nodes, w) && len(res.Events) == 1 {
			n++
		}
	}
	return n
}

func TestLeaderKilled(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, nil)
	trio := c.trio()
	leader, others := c.leader(trio)
	register(t, leader, "w1")
	equalStates(t, trio)

	killed := time.Now()
	c.kill(leader)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, _, err := others[0].Propose(ctx, status("w1", 99)); err == nil || time.Since(killed) > 2*time.Second {
		t.Errorf("a budget of 100ms without a leader: %v after %v", err, time.Since(killed))
	}
	done := make(chan time.Duration, 2)
	for i, cmd := range []fsm.Command{
		status("w1", 7),
		{Op: fsm.OpEnable, Route: "w1", Aliases: []string{"localhost"}, Contexts: []fsm.Path{"/new"}},
	} {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			if _, _, err := others[i].Propose(ctx, cmd); err != nil {
				t.Errorf("%s after the kill: %v", cmd.Op, err)
			}
			done <- time.Since(killed)
		}()
	}
	t.Logf("kill of the leader to acknowledged: %v, %v", <-done, <-done)
	equalStates(t, others)
	if got := loadOf(others[0], "w1"); got != 7 {
		t.Errorf("load %d, not 7", got)
	}
	soon(t, "the killed one is reported", func() bool {
		for _, p := range others[0].Problems() {
			if p.Code == "replica_unreachable" && p.Replica == leader.name && strings.HasSuffix(p.Detail, ": connection refused") {
				return others[0].Status().Tolerance == 0
			}
		}
		return false
	})

	back := c.start(leader.name)
	soon(t, "it is back with what it missed", func() bool { return loadOf(back, "w1") == 7 })
	soon(t, "no problem is left", func() bool { return len(others[0].Problems()) == 0 })
}

// A replica whose disk is full learns of nothing new. It says so at once, since a slow
// replica delays what workers tell the others.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, nil)
	disks := map[string]*fullDisk{}
	var trio []*testReplica
	for _, name := range []string{"lb1", "lb2", "lb3"} {
		r := c.open(name)
		disks[name] = failDisk(t, r.store)
		c.run(r)
		trio = append(trio, r)
	}
	c.ready(trio...)
	leader, others := c.leader(trio)
	register(t, leader, "w1")
	equalStates(t, trio)

	full := others[0]
	disks[full.name].full.Store(true)
	must(t, leader, status("w1", 7))
	soon(t, "the disk is seen to be full", func() bool { return full.store.Unwritten() != nil })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, _, err := full.Propose(ctx, status("w1", 8)); !errors.Is(err, ErrUnwritable) || errors.Is(err, ErrUnknown) {
		t.Errorf("a command to a replica with a full disk: %v", err)
	}
	if _, err := full.Read(ctx); !errors.Is(err, ErrUnwritable) {
		t.Errorf("a read from it: %v", err)
	}
	must(t, others[1], status("w1", 9))

	disks[full.name].full.Store(false)
	soon(t, "it has what it missed", func() bool { return full.store.Unwritten() == nil && loadOf(full, "w1") == 9 })
	must(t, full, status("w1", 10))
	equalStates(t, trio)
}

func TestHandOver(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, nil)
	trio := c.trio()
	leader, others := c.leader(trio)
	register(t, leader, "w1")

	leader.handing.Add(1) // what a leader believes of itself meanwhile proves nothing
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := leader.Read(ctx); err == nil {
		t.Error("read while leadership is on its way to another")
	}
	leader.handing.Add(-1)

	start := time.Now()
	if err := leader.HandOver(context.Background()); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	must(t, leader, status("w1", 12)) // it forwards now
	t.Logf("hand-over %v, with the next message %v", took, time.Since(start))
	next, _ := c.leader(trio)
	if next == leader {
		t.Error("it leads again")
	}
	c.stop(leader)
	must(t, others[0], status("w1", 13))
	soon(t, "it left, and that is no alarm", func() bool {
		all := strings.Join(others[0].logs.all(), "\n")
		return strings.Contains(all, "INFO replica left name="+leader.name)
	})

	// One voter is gone: the other one is the heir, whatever its place among the voters.
	if err := next.HandOver(context.Background()); err != nil {
		t.Error(err)
	}
	if id := next.leader.view().id; id == next.ID() || id == leader.ID() {
		t.Errorf("leadership went to %s", next.nameOf(id))
	}
}

func TestAloneAfterRestart(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, nil)
	trio := c.trio()
	_, others := c.leader(trio)
	register(t, others[0], "w1")
	must(t, others[1], status("w1", 77))
	equalStates(t, trio)
	want := others[0].State()
	for _, r := range trio {
		c.stop(r)
	}
	for _, name := range []string{"lb1", "lb2", "lb3"} {
		r := c.open(name)
		if got := r.State(); got.Index != want.Index || got.State.Hash() != want.State.Hash() {
			t.Errorf("%s opens with index %d, not %d, or another state", name, got.Index, want.Index)
		}
		c.run(r)
		start := time.Now()
		_, _, err := r.Propose(context.Background(), config("w2"))
		if !errors.Is(err, ErrNoLeader) || time.Since(start) > noLeaderFor/2 {
			t.Errorf("%s alone after %v: %v", name, time.Since(start), err)
		}
		must(t, r, status("w1", 77)) // changes nothing: needs no leader
		if _, err := r.Read(context.Background()); !errors.Is(err, ErrNoLeader) {
			t.Errorf("read: %v", err)
		}
		soon(t, "it says what is wrong", func() bool {
			var codes []string
			for _, p := range r.Problems() {
				codes = append(codes, p.Code+" "+p.Replica)
			}
			gone := slices.DeleteFunc([]string{"lb1", "lb2", "lb3"}, func(n string) bool { return n == name })
			return slices.Equal(codes, []string{"no_leader ", "replica_unreachable " + gone[0], "replica_unreachable " + gone[1]})
		})
		if name == "lb3" {
			waitsAfterPause(t, r)
		}
		c.stop(r)
	}
}

// waitsAfterPause: r, which answers at once for want of a leader, is stopped and goes on.
// What it knew before is no reason not to wait for the leader of now.
func waitsAfterPause(t *testing.T, r *testReplica) {
	t.Helper()
	r.pauses.mu.Lock()
	r.pauses.tick = r.pauses.tick.Add(-5 * time.Second)
	r.pauses.mu.Unlock()
	const budget = 200 * time.Millisecond
	ctx, cancel := context.WithTimeout(context.Background(), budget)
	defer cancel()
	start := time.Now()
	if _, err := r.Read(ctx); !errors.Is(err, ErrNoLeader) || time.Since(start) < budget {
		t.Errorf("read after a pause: %v after %v, of %v", err, time.Since(start), budget)
	}
}

func TestJoinAndPromotion(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, nil)
	trio := c.trio()
	leader, _ := c.leader(trio)
	register(t, leader, "w1")

	// A joiner needs join and secret, nothing else.
	joiner := func(c *Config) { c.BootstrapExpect = 0 }
	four := c.start("lb4", joiner)
	soon(t, "the fourth has the state", func() bool { return loadOf(four, "w1") == 50 })
	if s := four.Status(); s.Role != "non-voter" || s.Voter || s.Voters != 3 || s.Wanted != 3 {
		t.Errorf("the fourth: %+v", s)
	}
	must(t, four, status("w1", 51))

	settings := *leader.State().State.Settings()
	settings.Voters = 5
	must(t, four, fsm.Command{Op: fsm.OpSettings, Origin: fsm.FromOperator, Settings: &settings})
	soon(t, "it is promoted", func() bool { return four.Status().Voter })
	soon(t, "few voters are reported", func() bool {
		return slices.ContainsFunc(leader.Problems(), func(p Problem) bool { return p.Code == "few_voters" && p.Detail == "4 of 5 voters" })
	})

	same := c.open("other-directory", joiner, func(c *Config) { c.Name = "lb1" })
	c.run(same)
	if err := c.gone(same); !errors.Is(err, ErrNameTaken) {
		t.Errorf("a second lb1 ends with: %v", err)
	} else {
		t.Log(err)
	}
}

func TestOneGrowsToThree(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, nil)
	one := c.start("lb1", func(c *Config) { c.BootstrapExpect, c.Join, c.WantedVoters = 1, nil, 3 })
	c.ready(one)
	for _, name := range []string{"lb2", "lb3"} {
		r := c.start(name, func(c *Config) { c.BootstrapExpect = 0 })
		soon(t, name+" votes", func() bool { return r.Status().Voter })
	}
	soon(t, "three voters", func() bool { s := one.Status(); return s.Voters == 3 && s.Tolerance == 1 })
}

func TestStandalone(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, nil)
	alone := func(c *Config) { c.Listen, c.Secrets, c.Join = "", nil, nil }
	r := c.start("lb1", alone)
	c.ready(r)
	register(t, r, "w1")
	if s := r.Status(); !s.Standalone || s.Voters != 1 || s.Wanted != 1 || s.Role != "leader" || r.Address() != "" {
		t.Errorf("%+v", s)
	}
	if p := r.Problems(); len(p) != 0 {
		t.Errorf("%+v", p)
	}
	id := r.ID()
	c.stop(r)
	r = c.start("lb1", alone)
	if loadOf(r, "w1") != 50 || r.ID() != id {
		t.Error("it forgot")
	}
	c.ready(r)
	must(t, r, status("w1", 3))
}

func TestOtherSecretIsRefused(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, nil)
	trio := c.trio()
	stranger := c.start("lb9", func(c *Config) { c.Secrets = []Secret{NewSecret()} })
	soon(t, "it is told why", func() bool {
		p, _ := stranger.roster.copy(trio[0].ID())
		return strings.HasSuffix(p.err, ErrWrongSecret.Error())
	})
	soon(t, "it says so while it waits", func() bool {
		return slices.ContainsFunc(stranger.lines("INFO waiting for replicas"), func(line string) bool {
			return strings.Contains(line, "; lb1: "+trio[0].Address()+": "+ErrWrongSecret.Error())
		})
	})
	soon(t, "those who refused it tell of it", func() bool {
		return len(trio[0].lines("WARN replica refused name= id= address=127.0.0.1 error="+ErrWrongSecret.Error())) == 1
	})
	if n := len(trio[0].Members()); n != 3 || stranger.ClusterID() != "" {
		t.Errorf("%d members, stranger of cluster %q", n, stranger.ClusterID())
	}
}

func TestInit(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, nil)
	one, two := c.start("lb1"), c.start("lb2") // lb3 never comes
	soon(t, "they wait", func() bool {
		all := strings.Join(two.logs.all(), "\n")
		return strings.Contains(all, "waiting for replicas have=2 want=3 seeds=[seed:7301]")
	})
	if _, _, err := one.Propose(context.Background(), config("w1")); !errors.Is(err, ErrNoLeader) {
		t.Errorf("before there is a cluster: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	id, err := one.Init(ctx)
	if err != nil {
		t.Fatal(err)
	}
	register(t, one, "w1")
	soon(t, "the other joins", func() bool { return two.ClusterID() == id && loadOf(two, "w1") == 50 })
	if _, err := two.Init(ctx); !errors.Is(err, ErrFormed) {
		t.Errorf("init twice: %v", err)
	}
}

func TestPromiseIsKept(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, nil)
	r := c.start("lb1")
	p := Promise{ClusterID: "x", Replicas: []string{"00000000-0000-0000-0000-000000000000", "11", r.ID()}}
	slices.Sort(p.Replicas)
	if err := r.promised(p.Replicas[0], p); err != nil {
		t.Fatal(err)
	}
	other := p
	other.ClusterID = "y"
	for name, err := range map[string]error{
		"the same again":    r.promised(p.Replicas[0], p),
		"another":           r.promised(p.Replicas[0], other),
		"by one not lowest": r.promised("11", p),
	} {
		if ok := name != "another"; (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	c.stop(r)
	r = c.start("lb1")
	if !r.home.get().Promise.equal(&p) {
		t.Error("forgotten over a restart")
	}
	if err := r.promised(p.Replicas[0], other); err == nil {
		t.Error("given twice")
	}
}

func TestDirectoryIsTaken(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, nil)
	r := c.start("lb1")
	_, err := Open(r.c)
	if err == nil || !strings.Contains(err.Error(), "in use by process ") {
		t.Errorf("opened twice: %v", err)
	}
	c.stop(r)
	again, err := Open(r.c)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestLogIsGone(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, nil)
	r := c.start("lb1", func(c *Config) { c.BootstrapExpect, c.Join = 1, nil })
	c.ready(r)
	c.stop(r)
	if err := os.RemoveAll(r.c.Dir + "/raft"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(r.c); !errors.Is(err, ErrLostLog) {
		t.Errorf("opened without its log: %v", err)
	}
}

// Under a new id it would serve on the old one's log, and the old one would be missed as
// a voter for ever.
func TestIdentityIsGone(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, nil)
	r := c.start("lb1", func(c *Config) { c.BootstrapExpect, c.Join = 1, nil })
	c.ready(r)
	c.stop(r)
	file := filepath.Join(r.c.Dir, "replica.json")
	was, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the refusal itself must not make one
		_, err := Open(r.c)
		if !errors.Is(err, ErrLostIdentity) || !strings.Contains(err.Error(), "put replica.json back, or start again with an empty data directory") {
			t.Errorf("opened without replica.json: %v", err)
		}
	}
	if err := os.WriteFile(file, was, 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := Open(r.c)
	if err != nil || again.ID() != r.ID() {
		t.Fatalf("with replica.json put back: %v", err)
	}
	again.Close()
}

// Nothing is lost where the log is empty: a start that ended early leaves one.
func TestEmptyLogWithoutIdentity(t *testing.T) {
	dir := t.TempDir()
	if err := openTestStore(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Open(Config{Dir: dir, Name: "lb1"})
	if err != nil {
		t.Fatal(err)
	}
	id := r.ID()
	r.Close()
	if r, err = Open(Config{Dir: dir, Name: "lb1"}); err != nil || r.ID() != id {
		t.Fatalf("opened again: %v", err)
	}
	r.Close()
}

// The figure of the issue: registration at one replica to routing at the others.
func TestLatencyOfFollowers(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, nil)
	trio := c.trio()
	_, others := c.leader(trio)
	const n, callers = 500, 10
	for i := range callers {
		register(t, others[0], fmt.Sprint("app-", i))
	}
	var mu sync.Mutex
	var answered, everywhere []time.Duration
	var all sync.WaitGroup
	for c := range callers {
		all.Go(func() {
			for i := range n / callers {
				start := time.Now()
				_, index := must(t, others[0], status(fmt.Sprint("app-", c), i))
				took := time.Since(start)
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				for _, r := range trio {
					if err := r.machine.WaitIndex(ctx, index); err != nil {
						t.Error(err)
					}
				}
				cancel()
				mu.Lock()
				answered, everywhere = append(answered, took), append(everywhere, time.Since(start)-took)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	slices.Sort(answered)
	slices.Sort(everywhere)
	t.Logf("%d commands through a follower: acknowledged p50 %v, p99 %v; from then on everywhere p50 %v, p99 %v",
		n, answered[n/2], answered[n*99/100], everywhere[n/2], everywhere[n*99/100])
	if p99 := everywhere[n*99/100]; p99 > time.Second {
		t.Errorf("p99 %v: the goal is 50 ms on a machine that does nothing else", p99)
	}
}

// More than are expected: the lowest ids form, the rest join.
func TestFourAtOnce(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, nil)
	four := []*testReplica{c.start("lb1"), c.start("lb2"), c.start("lb3"), c.start("lb4")}
	c.ready(four...)
	for _, r := range four {
		soon(t, r.name+" sees three voters and one more", func() bool {
			return len(r.Members()) == 4 && r.Status().Voters == 3 && r.ClusterID() == four[0].ClusterID()
		})
	}
}

func TestDuplicateStops(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, nil)
	trio := c.trio()
	copied := filepath.Join(c.dir, "copy")
	if err := os.CopyFS(copied, os.DirFS(trio[0].c.Dir)); err != nil {
		t.Fatal(err)
	}
	second := c.open("copy", func(c *Config) { c.Name = "lb1" })
	c.run(second)
	if err := c.gone(second); !errors.Is(err, ErrDuplicateID) {
		t.Errorf("the copy ends with: %v", err)
	}
	must(t, trio[1], config("w1"))
}
