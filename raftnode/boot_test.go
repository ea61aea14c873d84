package raftnode

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/quorate/quorate/fsm"
)

// Six times all members are stopped at once, right after an acknowledgement, with
// snapshots and a growing membership in between.
func TestSixFullRestarts(t *testing.T) {
	t.Parallel()
	c := newBareCluster(t, 5, "a", "b", "c")
	acked := c.commit("r0", 6)
	for round := 1; round <= 6; round++ {
		switch round {
		case 2:
			c.start(c.add("d"))
			eventually(t, "d is added", func() bool {
				return c.leader().raft.AddNonvoter("d", "d", 0, 0).Error() == nil
			})
		case 4:
			eventually(t, "d is promoted", func() bool {
				return c.leader().raft.AddVoter("d", "d", 0, 0).Error() == nil
			})
		}
		acked = append(acked, c.commit(fmt.Sprintf("r%d", round), 6)...)
		c.converge()
		c.snapshot(c.members[round%3])
		acked = append(acked, c.commit(fmt.Sprintf("s%d", round), 6)...)
		want := servers(c.leader())
		c.stop(c.members...)

		whole := 0
		for _, m := range c.members {
			c.start(m)
			if missing(m.boot.State, acked) == 0 {
				whole++
			}
		}
		if whole < 2 {
			t.Errorf("round %d: %d boot states have all that was acknowledged, want a majority", round, whole)
		}
		leader := c.leader()
		if n := missing(leader.machine.Committed().State, acked); n != 0 {
			t.Errorf("round %d: %d of %d acknowledged workers are missing", round, n, len(acked))
		}
		if got := servers(leader); !slices.Equal(got, want) {
			t.Errorf("round %d: the members are %v, want %v", round, got, want)
		}
	}
	at := c.converge()
	t.Logf("6 restarts, %d acknowledged workers, index %d", len(acked), at)
	for _, m := range c.members {
		if n := missing(m.machine.Committed().State, acked); n != 0 {
			t.Errorf("%s: %d of %d acknowledged workers are missing", m.id, n, len(acked))
		}
	}
}

func servers(m *bareMember) []string {
	f := m.raft.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	var all []string
	for _, s := range f.Configuration().Servers {
		all = append(all, fmt.Sprint(s.ID, " ", s.Suffrage))
	}
	return all
}

// A replica that is alone after a restart routes by everything in its log, although raft
// cannot know what of it is committed.
func TestBootStateAlone(t *testing.T) {
	t.Parallel()
	c := newBareCluster(t, 1000, "a", "b", "c")
	acked := c.commit("before", 5)
	c.converge()
	c.snapshot(c.leader())
	acked = append(acked, c.commit("after", 20)...)
	leader := c.leader()
	at := leader.machine.Committed().Index
	c.stop(c.members...)

	c.start(leader)
	if n := missing(leader.machine.State().State, acked); n != 0 || leader.boot.Index != at {
		t.Errorf("boot state at %d, %d acknowledged workers missing; want %d and none", leader.boot.Index, n, at)
	}
	if leader.boot.Entries == 0 || leader.boot.Snapshot == "" {
		t.Errorf("%d entries applied behind snapshot %q", leader.boot.Entries, leader.boot.Snapshot)
	}
	if got := leader.machine.Committed(); missing(got.State, acked) == 0 {
		t.Errorf("raft's own state is at %d before there is a quorum", got.Index)
	}

	for _, m := range c.members {
		if m != leader {
			c.start(m)
		}
	}
	acked = append(acked, c.commit("again", 1)...)
	c.converge()
	for _, m := range c.members {
		if n := missing(m.machine.State().State, acked); n != 0 {
			t.Errorf("%s: %d acknowledged workers missing", m.id, n)
		}
		if m.resets != 0 {
			t.Errorf("%s: the table was rebuilt %d times although the boot state was right", m.id, m.resets)
		}
	}
}

// The boot state of a leader that was cut off holds entries that never committed. It is
// given up when the log is cut, without falling back behind what all replicas have.
func TestBootStateGivenUp(t *testing.T) {
	for _, c := range []struct {
		name     string
		snapshot bool
	}{
		{"by the leader's entries", false},
		{"by a snapshot", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			trio := newBareCluster(t, 1, "a", "b", "c")
			acked := trio.commit("before", 10)
			old := trio.diverge(8)
			trio.stop(old)
			later := trio.commit("later", 4)
			if c.snapshot {
				trio.converge()
				trio.snapshot(trio.live()...)
			}

			old.must = acked
			trio.start(old) // still cut off
			if n := missing(old.machine.State().State, acked); n != 0 {
				t.Errorf("%d acknowledged workers missing in the boot state", n)
			}
			if old.machine.State().State.Node("never-0") == nil {
				t.Fatal("the boot state lacks what the log holds")
			}
			trio.heal()
			trio.converge()
			trio.nothingNever()
			if n := missing(old.machine.State().State, append(acked, later...)); n != 0 {
				t.Errorf("%d acknowledged workers missing afterwards", n)
			}
			old.mu.Lock()
			defer old.mu.Unlock()
			if old.resets == 0 || len(old.lost) != 0 {
				t.Errorf("%d resets, on the way %v were not there", old.resets, old.lost)
			}
			t.Logf("boot state at %d given up, %d reset(s)", old.boot.Index, old.resets)
		})
	}
}

// A replica must not start on what it cannot understand.
func TestBootStateRefuses(t *testing.T) {
	good := func(port int) []byte {
		b, err := fsm.EncodeEntry(registration("w1", port))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	newer := func() []byte {
		e := registration("w1", 2)
		e.Schema = fsm.SchemaVersion + 1
		b, err := fsm.EncodeEntry(e)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	damaged := good(2)
	damaged[len(damaged)/2] ^= 1
	for _, c := range []struct {
		name string
		data []byte
		is   error
	}{
		{"a newer schema", newer(), fsm.ErrSchema},
		{"a damaged entry", damaged, fsm.ErrChecksum},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openTestStore(t, t.TempDir())
			if err := s.StoreLogs([]*raft.Log{
				{Index: 1, Term: 1, Type: raft.LogConfiguration},
				{Index: 2, Term: 1, Type: raft.LogCommand, Data: good(1)},
				{Index: 3, Term: 1, Type: raft.LogCommand, Data: c.data},
			}); err != nil {
				t.Fatal(err)
			}
			if _, err := bootState(s); !errors.Is(err, c.is) || !strings.Contains(err.Error(), "entry 3 ") {
				t.Errorf("boot gives %v, want %v of entry 3", err, c.is)
			}
		})
	}
}

// A damaged snapshot is passed over when the log leads on from an older one, or the
// replica says what it lacks.
func TestBootDamagedSnapshot(t *testing.T) {
	for _, c := range []struct {
		name  string
		trail uint64
		fails bool
	}{
		{"the log leads on", 1000, false},
		{"the log does not", 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			one := newBareCluster(t, c.trail, "a")
			m := one.members[0]
			acked := one.commit("first", 4)
			one.snapshot(m)
			acked = append(acked, one.commit("second", 4)...)
			one.snapshot(m)
			acked = append(acked, one.commit("third", 4)...)
			list, err := m.store.snapshots.List()
			if err != nil || len(list) != 2 {
				t.Fatalf("%d snapshots, %v", len(list), err)
			}
			one.stop(m)
			state := filepath.Join(m.dir, "raft", "snapshots", list[0].ID, "state.bin")
			b, err := os.ReadFile(state)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)/2] ^= 1
			if err := os.WriteFile(state, b, 0o600); err != nil {
				t.Fatal(err)
			}

			s := openTestStore(t, m.dir)
			b2, err := bootState(s)
			if c.fails {
				if err == nil || !strings.Contains(err.Error(), list[0].ID) || !strings.Contains(err.Error(), "does not reach back") {
					t.Errorf("boot gives %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if n := missing(b2.State, acked); n != 0 || b2.Snapshot != list[1].ID {
				t.Errorf("from snapshot %s: %d workers missing", b2.Snapshot, n)
			}
		})
	}
}

// Whatever is damaged, the error says what to do; it does not where nothing is.
func TestDamageIsAdvised(t *testing.T) {
	const empty = "start again with an empty data directory"
	entry := func(data []byte) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			s := openTestStore(t, dir)
			if err := s.StoreLogs([]*raft.Log{{Index: 1, Term: 1, Type: raft.LogCommand, Data: data}}); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	file := func(name, text string, mode os.FileMode) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	newer := registration("w1", 1)
	newer.Schema = fsm.SchemaVersion + 1
	unread, err := fsm.EncodeEntry(newer)
	if err != nil {
		t.Fatal(err)
	}
	alone := Config{Name: "lb1"}
	several := Config{Name: "lb1", Listen: "127.0.0.1:0", Secrets: []Secret{testSecret}, Join: []string{"lb2:7301"}}
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, dir string)
		config Config
		says   string // of the error
		ends   string // "" = no advice
	}{
		{"an entry", entry([]byte("garbage")), alone, "boot state: ", empty + ": workers register again, settings and holds are to be made again"},
		{"an entry, in a cluster", entry([]byte("garbage")), several, "boot state: ", empty + ": it joins as a new replica; remove the old one there (quorate replicas remove)"},
		{"the log", file("raft/log.db", "garbage", 0o600), several, "log.db: ", "(quorate replicas remove)"},
		{"replica.json", file("replica.json", "{", 0o600), several, "replica.json: ", "(quorate replicas remove)"},
		{"the id", file("replica.json", `{"id":"x"}`, 0o600), alone, "replica.json: id ", "to be made again"},
		{"a newer schema", entry(unread), several, "version", ""},
		{"a file for a folder", file("raft", "", 0o600), several, "not a directory", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config.Dir = t.TempDir()
			c.damage(t, c.config.Dir)
			_, err := Open(c.config)
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.HasSuffix(err.Error(), c.ends) {
				t.Fatalf("opened: %v", err)
			}
			if c.ends == "" && strings.Contains(err.Error(), empty) {
				t.Errorf("advice that does not help: %v", err)
			}
		})
	}
	first := Config{Listen: "127.0.0.1:0"} // of a cluster that grew: with an empty directory it would form another
	if got := first.startOver(); !strings.Contains(got, "cluster.join") {
		t.Errorf("the first replica is told: %s", got)
	}
}

func TestBootRemovesHalfSnapshots(t *testing.T) {
	dir := t.TempDir()
	half := filepath.Join(dir, "raft", "snapshots", "1-5-1700000000000.tmp")
	if err := os.MkdirAll(half, 0o700); err != nil {
		t.Fatal(err)
	}
	openTestStore(t, dir)
	if _, err := os.Stat(half); !os.IsNotExist(err) {
		t.Errorf("a half snapshot is still there (%v)", err)
	}
}

// From a cold start to the state to route by: opening the log is part of it.
func BenchmarkBoot(b *testing.B) {
	const n, workers, batch = 100_000, 100, 5000
	dir := b.TempDir()
	s := openTestStore(b, dir)
	for from := 0; from < n; from += batch {
		var logs []*raft.Log
		for i := from; i < from+batch; i++ {
			e := registration(fsm.JVMRoute(fmt.Sprintf("w%d", i%workers)), 1+i%workers)
			if i >= workers {
				e.Commands = []fsm.Command{{Origin: fsm.FromWorker, Op: fsm.OpStatus, Route: e.Commands[0].Route, Load: 1 + i*7/workers%100}}
			}
			e.Time += int64(i)
			data, err := fsm.EncodeEntry(e)
			if err != nil {
				b.Fatal(err)
			}
			logs = append(logs, &raft.Log{Index: uint64(i + 1), Term: 1, Type: raft.LogCommand, Data: data})
		}
		if err := s.StoreLogs(logs); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	var open, replay time.Duration
	for b.Loop() {
		start := time.Now()
		s := openTestStore(b, dir)
		open += time.Since(start)
		start = time.Now()
		boot, err := bootState(s)
		if err != nil || boot.Entries != n || len(boot.State.Nodes()) != workers {
			b.Fatalf("%d entries, %v", boot.Entries, err)
		}
		replay += time.Since(start)
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(open.Seconds()/float64(b.N), "s/open")
	b.ReportMetric(replay.Seconds()/float64(b.N), "s/replay")
}
