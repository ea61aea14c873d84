package raftnode

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"pgregory.net/rapid"
)

// The store is what raft expects of each.
var (
	_ raft.LogStore          = (*logStore)(nil)
	_ raft.StableStore       = (*logStore)(nil)
	_ raft.MonotonicLogStore = (*logStore)(nil)
)

func entries(first, last, term uint64) []*raft.Log {
	var logs []*raft.Log
	for i := first; i <= last; i++ {
		logs = append(logs, &raft.Log{Index: i, Term: term, Type: raft.LogCommand, Data: []byte{byte(i)}})
	}
	return logs
}

// snapshot makes an empty snapshot that ends at index.
func snapshot(t interface{ Fatal(...any) }, s raft.SnapshotStore, index, term uint64) {
	_, trans := raft.NewInmemTransport("")
	sink, err := s.Create(1, index, term, raft.Configuration{}, 1, trans)
	if err == nil {
		err = sink.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func openTestStore(t testing.TB, dir string) *logStore {
	t.Helper()
	s, err := openStore(storeConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// show prints a log as "3:1 4:1 5:2", index and term, from index 1 to 60, made-up
// entries in brackets.
func show(t interface{ Fatal(...any) }, s *logStore) string {
	var parts []string
	first, _ := s.FirstIndex()
	last, _ := s.LastIndex()
	for i := uint64(1); i <= 60; i++ {
		var l raft.Log
		err := s.GetLog(i, &l)
		if errors.Is(err, raft.ErrLogNotFound) {
			continue
		}
		if err != nil || l.Index != i {
			t.Fatal("GetLog", i, "gives", l.Index, err)
		}
		text := fmt.Sprintf("%d:%d", i, l.Term)
		if i < first || i > last {
			if l.Type != raft.LogNoop {
				t.Fatal("made-up entry", i, "is a", l.Type)
			}
			text = "[" + text + "]"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}

func TestStoreDeleteRange(t *testing.T) {
	type step func(t *testing.T, s *logStore)
	put := func(first, last, term uint64) step {
		return func(t *testing.T, s *logStore) {
			if err := s.StoreLogs(entries(first, last, term)); err != nil {
				t.Fatal(err)
			}
		}
	}
	snap := func(index, term uint64) step {
		return func(t *testing.T, s *logStore) { snapshot(t, s.snapshots, index, term) }
	}
	del := func(min, max uint64) step {
		return func(t *testing.T, s *logStore) {
			if err := s.DeleteRange(min, max); err != nil {
				t.Fatal(err)
			}
		}
	}
	refuse := func(f func(s *logStore) error) step {
		return func(t *testing.T, s *logStore) {
			if err := f(s); err == nil {
				t.Fatal("not refused")
			}
		}
	}
	for _, c := range []struct {
		name  string
		steps []step
		want  string
	}{
		{"install, divergent and longer", []step{put(1, 3, 1), put(4, 8, 2), snap(6, 3), del(1, 8)},
			"[6:3] [7:0] [8:0]"},
		{"install, then the leader's entries", []step{put(1, 3, 1), put(4, 8, 2), snap(6, 3), del(1, 8), put(7, 7, 3)},
			"7:3"},
		{"install, divergent and shorter", []step{put(1, 3, 1), put(4, 5, 2), snap(7, 3), del(1, 5)},
			"[7:3]"},
		{"install twice", []step{put(1, 8, 1), snap(4, 2), del(1, 8), snap(6, 3), del(0, 0)},
			"[6:3] [7:0] [8:0]"},
		{"install, the log agrees", []step{put(1, 8, 1), snap(6, 1), del(1, 8)},
			"7:1 8:1"},
		{"install, the log agrees and ends there", []step{put(1, 6, 1), snap(6, 1), del(1, 6)},
			"[6:1]"},
		{"install, the log agrees, then a divergent one", []step{put(1, 8, 1), snap(6, 1), del(1, 8), snap(7, 2), del(7, 8)},
			"[7:2] [8:0]"},
		{"the same snapshot again keeps what follows it", []step{put(1, 8, 1), snap(6, 1), del(1, 6), snap(6, 1), del(7, 8)},
			"7:1 8:1"},
		{"other entries from the first one on", []step{put(1, 8, 1), snap(6, 1), del(1, 6), del(7, 8), put(7, 7, 2)},
			"7:2"},
		{"other entries from index 1 on", []step{put(1, 3, 1), del(1, 3), put(1, 1, 2)},
			"1:2"},
		{"compaction", []step{put(1, 8, 1), snap(6, 1), del(1, 4)},
			"5:1 6:1 7:1 8:1"},
		{"suffix", []step{put(1, 8, 1), del(5, 8)},
			"1:1 2:1 3:1 4:1"},
		{"suffix beyond the end", []step{put(1, 8, 1), del(5, 20)},
			"1:1 2:1 3:1 4:1"},
		{"an append ends the log", []step{put(1, 8, 1), put(5, 6, 2)},
			"1:1 2:1 3:1 4:1 5:2 6:2"},
		{"a hole is refused", []step{put(1, 8, 1), refuse(func(s *logStore) error { return s.DeleteRange(3, 4) })},
			"1:1 2:1 3:1 4:1 5:1 6:1 7:1 8:1"},
		{"a gap is refused", []step{put(1, 2, 1), refuse(func(s *logStore) error { return s.StoreLogs(entries(4, 4, 1)) })},
			"1:1 2:1"},
		{"what was made up cannot be built on", []step{put(1, 8, 1), snap(6, 2), del(1, 8), refuse(func(s *logStore) error { return s.StoreLogs(entries(9, 9, 2)) })},
			"[6:2] [7:0] [8:0]"},
		{"nothing to delete", []step{del(1, 8)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openTestStore(t, t.TempDir())
			for _, step := range c.steps {
				step(t, s)
			}
			if got := show(t, s); got != c.want {
				t.Errorf("the log is %q, want %q", got, c.want)
			}
		})
	}
}

func TestStoreContradictsSnapshot(t *testing.T) {
	for _, c := range []struct {
		name        string
		first, last uint64 // of the log, term 1
		snap        place
		want        string
	}{
		{"ends below it", 1, 4, place{6, 1}, "[6:1]"},
		{"another term there", 1, 8, place{6, 2}, "[6:2]"},
		{"agrees", 3, 8, place{6, 1}, "3:1 4:1 5:1 6:1 7:1 8:1"},
		{"follows", 7, 8, place{6, 1}, "7:1 8:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			s := openTestStore(t, dir)
			if err := s.StoreLogs(entries(1, c.last, 1)); err != nil {
				t.Fatal(err)
			}
			if c.first > 1 {
				if err := s.DeleteRange(1, c.first-1); err != nil {
					t.Fatal(err)
				}
			}
			snapshot(t, s.snapshots, c.snap.index, c.snap.term)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if got := show(t, openTestStore(t, dir)); got != c.want {
				t.Errorf("the log is %q, want %q", got, c.want)
			}
		})
	}
}

func TestStoreTellsCuts(t *testing.T) {
	s := openTestStore(t, t.TempDir())
	var cuts []cut
	s.watchCuts(func(from, command uint64) { cuts = append(cuts, cut{from, command}) })
	logs := entries(1, 8, 1)
	logs[4].Type = raft.LogNoop // 5
	for _, err := range []error{
		s.StoreLogs(logs),
		s.DeleteRange(6, 8),           // the last command left is 4
		s.StoreLogs(entries(6, 8, 2)), // nothing cut
		s.StoreLogs(entries(8, 8, 3)), // 8 replaced
		s.DeleteRange(1, 2),           // compaction: nothing cut
		func() error { snapshot(t, s.snapshots, 7, 9); return s.DeleteRange(3, 8) }(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got, want := fmt.Sprint(cuts), fmt.Sprint([]cut{{6, 4}, {8, 7}, {3, 0}}); got != want {
		t.Errorf("cuts %v, want %v", got, want)
	}
}

func TestStoreWatchesTheDisk(t *testing.T) {
	var took []time.Duration
	s, err := openStore(storeConfig{Dir: t.TempDir(), Wrote: func(d time.Duration) { took = append(took, d) }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, ok := s.Writing(); ok {
		t.Error("writing before the first write")
	}
	var during bool
	if err := s.change(func() (cut, error) { _, during = s.Writing(); return cut{}, nil }); err != nil || !during {
		t.Errorf("a write under way is not seen (%v)", err)
	}
	if err := s.StoreLogs(entries(1, 3, 1)); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Writing(); ok || len(took) != 1 || took[0] <= 0 {
		t.Errorf("after one append: writing %v, observed %v", ok, took)
	}
	if _, err := s.Get([]byte("absent")); err == nil || err.Error() != "not found" {
		t.Errorf("an absent key gives %v; raft looks for the text \"not found\"", err)
	}
}

// After a cut raft counts on the removed entries until the next append: if that fails
// the replica must restart.
func TestStoreFailedAppendAfterCut(t *testing.T) {
	var fatal []error
	s, err := openStore(storeConfig{Dir: t.TempDir(), Fatal: func(err error) { fatal = append(fatal, err) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.StoreLogs(entries(1, 5, 1)); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteRange(4, 5); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil { // the disk is gone
		t.Fatal(err)
	}
	if err := s.StoreLogs(entries(4, 4, 2)); err == nil || len(fatal) != 1 {
		t.Errorf("append gives %v, fatal %v", err, fatal)
	}
}

func TestStoreOpenTwice(t *testing.T) {
	dir := t.TempDir()
	openTestStore(t, dir)
	if _, err := openStore(storeConfig{Dir: dir}); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("a second open gives %v", err)
	}
}

// twin is the log as a slice, slow and obvious.
type twin struct {
	logs  []place
	base  place  // the entry before the first one
	snap  place  // newest snapshot
	ghost uint64 // what raft believes in after the log was emptied
}

func (w *twin) term(i uint64) (uint64, bool) {
	for _, l := range append([]place{w.base}, w.logs...) {
		if l.index == i && i != 0 {
			return l.term, true
		}
	}
	return 0, false
}

func (w *twin) agrees() bool {
	term, ok := w.term(w.snap.index)
	return ok && term == w.snap.term
}

// split returns the entries below index and the others.
func (w *twin) split(index uint64) (below, rest []place) {
	for i, l := range w.logs {
		if l.index >= index {
			return w.logs[:i:i], w.logs[i:]
		}
	}
	return w.logs, nil
}

// dropUpTo removes entries from the beginning.
func (w *twin) dropUpTo(index uint64) {
	gone, rest := w.split(index + 1)
	if len(gone) != 0 {
		w.base = gone[len(gone)-1]
	}
	w.logs = rest
}

func (w *twin) show() string {
	var parts []string
	if len(w.logs) == 0 && w.snap.index != 0 {
		parts = append(parts, fmt.Sprintf("[%d:%d]", w.snap.index, w.snap.term))
		for i := w.snap.index + 1; i <= w.ghost; i++ {
			parts = append(parts, fmt.Sprintf("[%d:0]", i))
		}
	}
	for _, l := range w.logs {
		parts = append(parts, fmt.Sprintf("%d:%d", l.index, l.term))
	}
	return strings.Join(parts, " ")
}

// Whatever raft does with the store, it holds what the twin holds, also after a restart.
func TestStoreAgreesWithTwin(t *testing.T) {
	t.Parallel()
	dir, files := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		files++
		path := filepath.Join(dir, fmt.Sprint(files))
		snapshots := raft.NewInmemSnapshotStore()
		open := func() *logStore {
			// No fsync: it is the logic that is tested here.
			bolt, err := raftboltdb.New(raftboltdb.Options{Path: path, NoSync: true})
			if err != nil {
				t.Fatal(err)
			}
			s, err := newLogStore(bolt, snapshots, storeConfig{Cache: 4})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s, w, term := open(), twin{}, uint64(1)
		defer func() { _ = s.Close() }()
		index := func(label string, from, to uint64) uint64 { return rapid.Uint64Range(from, to).Draw(t, label) }
		last := func() uint64 {
			if len(w.logs) == 0 {
				return w.snap.index
			}
			return w.logs[len(w.logs)-1].index
		}
		do := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		write := func(from, to uint64) {
			if len(w.logs) == 0 {
				w.base = w.snap
			}
			w.logs, _ = w.split(from)
			for i := from; i <= to; i++ {
				w.logs = append(w.logs, place{i, term})
			}
			if from <= to {
				w.ghost = 0
			}
			do(s.StoreLogs(entries(from, to, term)))
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) {
				if got, want := show(t, s), w.show(); got != want {
					t.Fatalf("the log is %q, want %q", got, want)
				}
			},
			"append": func(t *rapid.T) {
				if last() > 40 {
					t.Skip("long enough")
				}
				term += index("term", 0, 1)
				write(last()+1, last()+index("n", 1, 5))
			},
			"conflict": func(t *rapid.T) {
				// A leader's entries never differ at or below a snapshot the log agrees with.
				lowest := w.base.index + 1
				if w.agrees() {
					lowest = max(lowest, w.snap.index+1)
				}
				if len(w.logs) == 0 || lowest > last() || w.snap.index > last() {
					t.Skip("nothing to differ in")
				}
				from := index("from", lowest, last())
				term++
				do(s.DeleteRange(from, last()))
				write(from, from+index("n", 0, 3))
			},
			"compact": func(t *rapid.T) {
				if len(w.logs) == 0 {
					t.Skip("empty")
				}
				at := index("at", max(w.logs[0].index, w.snap.index), max(last(), w.snap.index))
				terms, ok := w.term(at)
				if !ok || !w.agrees() && w.snap.index != 0 {
					t.Skip("the log does not hold it")
				}
				w.snap = place{at, terms}
				snapshot(t, snapshots, at, terms)
				upTo := index("up to", w.logs[0].index, at)
				do(s.DeleteRange(w.logs[0].index, upTo))
				if end := last(); upTo == end {
					w.ghost = end
				}
				w.dropUpTo(upTo)
			},
			"install": func(t *rapid.T) {
				if w.snap.index > 40 {
					t.Skip("far enough")
				}
				at := index("at", w.snap.index+1, w.snap.index+8)
				of, ok := w.term(at)
				if !ok || rapid.Bool().Draw(t, "diverges") {
					term++
					of = term
				}
				w.snap = place{at, of}
				snapshot(t, snapshots, at, of)
				if len(w.logs) == 0 {
					return // raft asks for nothing
				}
				do(s.DeleteRange(w.logs[0].index, last()))
				agrees, end := w.agrees(), last()
				if agrees {
					w.dropUpTo(at)
				} else {
					w.logs = nil
				}
				if len(w.logs) == 0 {
					w.ghost = end
				}
			},
			"restart": func(t *rapid.T) {
				do(s.Close())
				s = open()
				w.ghost = 0
				if len(w.logs) != 0 && w.logs[0].index <= w.snap.index && !w.agrees() {
					w.logs = nil
				}
			},
		})
	})
}

func TestStoreTellsThatItCannotWrite(t *testing.T) {
	s, err := openStore(storeConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	disk := failDisk(t, s)
	for _, full := range []bool{false, true, false} {
		disk.full.Store(full)
		next, _ := s.LastIndex()
		err := s.StoreLogs(entries(next+1, next+1, 1))
		if (err != nil) != full {
			t.Errorf("disk full %v: append gives %v", full, err)
		}
		told := s.Unwritten()
		if errors.Is(told, ErrUnwritable) != full || strings.Contains(fmt.Sprint(told), "no space left on device") != full {
			t.Errorf("disk full %v: told %v", full, told)
		}
	}
}

// fullDisk refuses to append while full.
type fullDisk struct {
	raft.LogStore
	full atomic.Bool
}

func (d *fullDisk) StoreLogs(logs []*raft.Log) error {
	if d.full.Load() {
		return syscall.ENOSPC
	}
	return d.LogStore.StoreLogs(logs)
}

// failDisk puts a disk below s that can be full. To be called before raft uses s.
func failDisk(t *testing.T, s *logStore) *fullDisk {
	t.Helper()
	d := &fullDisk{LogStore: s.bolt}
	log, err := raft.NewLogCache(16, d)
	if err != nil {
		t.Fatal(err)
	}
	s.log = log
	return d
}
