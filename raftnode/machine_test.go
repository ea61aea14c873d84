package raftnode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/raft"

	"github.com/quorate/quorate/fsm"
)

var _ raft.FSM = (*machine)(nil)

// command is the log's entry at index that registers a worker named after it.
func command(t testing.TB, index uint64) *raft.Log {
	t.Helper()
	b, err := fsm.EncodeEntry(registration(fsm.JVMRoute(fmt.Sprintf("w%d", index)), int(index)))
	if err != nil {
		t.Fatal(err)
	}
	return &raft.Log{Index: index, Term: 2, Type: raft.LogCommand, Data: b}
}

// stateAfter applies commands at these indexes to nothing.
func stateAfter(t testing.TB, indexes ...uint64) Applied {
	t.Helper()
	m := newMachine(machineConfig{})
	for _, i := range indexes {
		if err, bad := m.Apply(command(t, i)).(error); bad {
			t.Fatal(err)
		}
	}
	return m.Committed()
}

// diary is what a machine's followers are told.
type diary []string

func (d *diary) config(boot Applied) machineConfig {
	return machineConfig{
		Boot: boot,
		OnApply: func(a Applied, e fsm.Entry, r []fsm.Result) {
			*d = append(*d, fmt.Sprintf("apply %d %s", a.Index, e.Commands[0].Route))
		},
		OnReset: func(a Applied) { *d = append(*d, fmt.Sprintf("reset %d", a.Index)) },
		Fatal:   func(err error) { *d = append(*d, "fatal: "+err.Error()) },
	}
}

func (d *diary) want(t *testing.T, lines ...string) {
	t.Helper()
	if got, want := fmt.Sprint(*d), fmt.Sprint(lines); got != want {
		t.Errorf("told %v, want %v", got, want)
	}
}

func TestMachineApplies(t *testing.T) {
	var d diary
	m := newMachine(d.config(Applied{}))
	if s := m.State(); s.Index != 0 || s.State == nil {
		t.Fatalf("a new machine is at index %d", s.Index)
	}
	for _, i := range []uint64{2, 3, 5} { // 4 is one of raft's own
		r, ok := m.Apply(command(t, i)).([]fsm.Result)
		if !ok || len(r) != 1 || r[0].Code != fsm.OK || !r[0].Changed {
			t.Errorf("entry %d: %+v", i, r)
		}
	}
	d.want(t, "apply 2 w2", "apply 3 w3", "apply 5 w5")
	if s := m.State(); s.Index != 5 || s.Term != 2 || s.State.Node("w5") == nil || s != m.Committed() {
		t.Errorf("state at index %d, term %d", s.Index, s.Term)
	}
	if h, ok := m.HashAt(3); !ok || h != stateAfter(t, 2, 3).State.Hash() {
		t.Errorf("hash at 3: %v, %v", h, ok)
	}
	for _, i := range []uint64{0, 4, 5 + hashesKept} {
		if _, ok := m.HashAt(i); ok {
			t.Errorf("there is a hash at %d", i)
		}
	}
}

func TestMachineKeepsHashes(t *testing.T) {
	m := newMachine(machineConfig{})
	tick := func(i uint64) *raft.Log {
		b, err := fsm.EncodeEntry(fsm.Entry{Schema: fsm.SchemaVersion, Time: int64(i), Commands: []fsm.Command{{Op: fsm.OpTick, Origin: fsm.FromSystem}}})
		if err != nil {
			t.Fatal(err)
		}
		return &raft.Log{Index: i, Term: 1, Data: b}
	}
	for i := uint64(1); i <= hashesKept+1; i++ {
		if err, bad := m.Apply(tick(i)).(error); bad {
			t.Fatal(err)
		}
	}
	_, oldest := m.HashAt(1)
	_, second := m.HashAt(2)
	_, newest := m.HashAt(hashesKept + 1)
	if oldest || !second || !newest {
		t.Errorf("after %d entries: 1 %v, 2 %v, the last %v", hashesKept+1, oldest, second, newest)
	}
}

// An entry this program cannot apply is never skipped.
func TestMachineStops(t *testing.T) {
	damaged := command(t, 3)
	damaged.Data[len(damaged.Data)/2] ^= 1
	e := registration("w3", 3)
	e.Schema = fsm.SchemaVersion + 1
	b, err := fsm.EncodeEntry(e)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		log  *raft.Log
		is   error
	}{
		{"damaged", damaged, fsm.ErrChecksum},
		{"a newer schema", &raft.Log{Index: 3, Term: 2, Data: b}, fsm.ErrSchema},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d diary
			m := newMachine(d.config(Applied{}))
			m.Apply(command(t, 2))
			waits := make(chan error)
			go func() { waits <- m.WaitIndex(t.Context(), 4) }()
			for range 2 { // told once
				if err, _ := m.Apply(c.log).(error); !errors.Is(err, c.is) {
					t.Errorf("apply gives %v", err)
				}
			}
			if err, _ := m.Apply(command(t, 4)).(error); err == nil || m.State().Index != 2 {
				t.Errorf("went on to index %d: %v", m.State().Index, err)
			}
			if _, err := m.Snapshot(); !errors.Is(err, c.is) {
				t.Errorf("snapshot gives %v", err)
			}
			if err := m.Restore(io.NopCloser(&bytes.Buffer{})); !errors.Is(err, c.is) {
				t.Errorf("restore gives %v", err)
			}
			if err := <-waits; !errors.Is(err, c.is) {
				t.Errorf("who waits gets %v", err)
			}
			if len(d) != 2 || d[0] != "apply 2 w2" {
				t.Errorf("told %q", d)
			}
		})
	}
}

func TestMachineWaitIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(machineConfig{})
		m.Apply(command(t, 2))
		if err := m.WaitIndex(t.Context(), 2); err != nil {
			t.Error("an index that was reached:", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan string, 4)
		wait := func(ctx context.Context, index uint64) {
			go func() {
				err := m.WaitIndex(ctx, index)
				got <- fmt.Sprint(index, " ", err == nil, " ", errors.Is(err, context.Canceled))
			}()
			synctest.Wait()
		}
		none := func(when string) {
			t.Helper()
			synctest.Wait()
			select {
			case s := <-got:
				t.Errorf("%s: %q returned", when, s)
			default:
			}
		}
		is := func(want string) {
			t.Helper()
			if s := <-got; s != want {
				t.Errorf("%q, want %q", s, want)
			}
		}
		wait(t.Context(), 4)
		wait(t.Context(), 6)
		wait(ctx, 9)
		m.Apply(command(t, 3))
		none("before index 4")
		m.Apply(command(t, 5)) // beyond 4, which was one of raft's own
		is("4 true false")
		none("before index 6")
		cancel()
		is("9 false true")
		a := stateAfter(t, 2, 3, 5, 8)
		var b bytes.Buffer
		if err := writeSnapshot(&b, a); err != nil {
			t.Fatal(err)
		}
		if err := m.Restore(io.NopCloser(&b)); err != nil { // a snapshot covers it
			t.Fatal(err)
		}
		is("6 true false")
	})
}

func TestMachineSnapshot(t *testing.T) {
	m := newMachine(machineConfig{})
	for i := uint64(2); i < 20; i++ {
		m.Apply(command(t, i))
	}
	snap, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	want := m.Committed()
	m.Apply(command(t, 20)) // what is persisted later stays what it was
	store := raft.NewInmemSnapshotStore()
	_, trans := raft.NewInmemTransport("")
	sink, err := store.Create(1, 25, 3, raft.Configuration{}, 1, trans)
	if err != nil {
		t.Fatal(err)
	}
	if err := snap.Persist(sink); err != nil {
		t.Fatal(err)
	}
	snap.Release()
	_, r, err := store.Open(sink.ID())
	if err != nil {
		t.Fatal(err)
	}
	whole, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}

	var d diary
	other := newMachine(d.config(Applied{}))
	if err := other.Restore(io.NopCloser(bytes.NewReader(whole))); err != nil {
		t.Fatal(err)
	}
	d.want(t, "reset 19")
	got := other.State()
	if got.Index != want.Index || got.Term != want.Term || got.State.Hash() != want.State.Hash() || other.Restores() != 1 {
		t.Errorf("restored index %d, term %d; want %d, %d and the same state", got.Index, got.Term, want.Index, want.Term)
	}
	if h, ok := other.HashAt(19); !ok || h != want.State.Hash() {
		t.Error("no hash at the snapshot's index")
	}

	// Damage anywhere changes nothing.
	for _, at := range []int{0, 5, 15, 21, snapshotHeader + 2, len(whole) / 2, len(whole) - 1} {
		bad := bytes.Clone(whole)
		bad[at] ^= 1
		if err := other.Restore(io.NopCloser(bytes.NewReader(bad))); err == nil {
			t.Errorf("byte %d of %d flipped: restored", at, len(whole))
		}
	}
	if err := other.Restore(io.NopCloser(bytes.NewReader(whole[:len(whole)/2]))); err == nil {
		t.Error("half a snapshot restored")
	}
	if other.State().State.Hash() != want.State.Hash() || other.Restores() != 1 {
		t.Error("a damaged snapshot changed the state")
	}
}

func TestMachineTakesOver(t *testing.T) {
	for _, c := range []struct {
		name  string
		boot  []uint64 // commands in the boot state
		do    func(m *machine)
		want  []string
		at    uint64 // published then
		boots bool   // the boot state is still published
	}{
		{"not before raft's state is there", []uint64{2, 3, 4}, func(m *machine) {
			m.Apply(command(t, 2))
			m.Apply(command(t, 3))
		}, nil, 4, true},
		{"silently where both are equal", []uint64{2, 3}, func(m *machine) {
			m.Apply(command(t, 2))
			m.Apply(command(t, 3))
			m.Apply(command(t, 5))
		}, []string{"apply 5 w5"}, 5, false},
		{"loudly where they differ", []uint64{2, 3, 4}, func(m *machine) {
			m.Apply(command(t, 2))
			m.Apply(command(t, 3))
			m.cut(4, 3)
		}, []string{"reset 3"}, 3, false},
		{"not behind what both have", []uint64{2, 3, 4}, func(m *machine) {
			m.Apply(command(t, 2))
			m.cut(4, 3)
		}, nil, 4, true},
		{"when raft's state has all that is left", []uint64{2, 3, 4}, func(m *machine) {
			m.cut(4, 3)
			m.Apply(command(t, 2))
			m.Apply(command(t, 3))
			m.Apply(command(t, 7))
		}, []string{"reset 3", "apply 7 w7"}, 7, false},
		{"a cut behind the last command means nothing", []uint64{2, 3}, func(m *machine) {
			m.cut(4, 3)
		}, nil, 3, true},
		{"nothing is left", []uint64{2, 3}, func(m *machine) {
			m.cut(2, 0)
		}, []string{"reset 0"}, 0, false},
		{"by a snapshot that is further", []uint64{2, 3}, func(m *machine) {
			restore(t, m, stateAfter(t, 2, 6))
		}, []string{"reset 6"}, 6, false},
		{"not by a snapshot that is behind", []uint64{2, 3}, func(m *machine) {
			restore(t, m, stateAfter(t, 2))
		}, nil, 3, true},
		{"by an older snapshot where the log was emptied", []uint64{2, 3}, func(m *machine) {
			restore(t, m, stateAfter(t, 2))
			m.cut(3, 0)
		}, []string{"reset 2"}, 2, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d diary
			m := newMachine(d.config(stateAfter(t, c.boot...)))
			c.do(m)
			d.want(t, c.want...)
			if got := m.State().Index; got != c.at || m.boot != c.boots {
				t.Errorf("published index %d, boot state %v; want %d, %v", got, m.boot, c.at, c.boots)
			}
		})
	}
}

func restore(t *testing.T, m *machine, a Applied) {
	t.Helper()
	var b bytes.Buffer
	if err := writeSnapshot(&b, a); err != nil {
		t.Fatal(err)
	}
	if err := m.Restore(io.NopCloser(&b)); err != nil {
		t.Fatal(err)
	}
}
