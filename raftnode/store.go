package raftnode

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// storeConfig says where a replica keeps its log and who watches it.
type storeConfig struct {
	Dir    string       // the data directory, locked by the caller; log and snapshots lie in its folder raft
	Retain int          // snapshots kept; default 2
	Cache  int          // newest entries kept in memory; default 512
	Logger hclog.Logger // raft's; default: discard

	// Wrote gets the time each append took, its fsync included. Optional.
	Wrote func(time.Duration)

	// Fatal gets a failed append after which raft's memory and the log differ: the
	// replica must restart. Optional.
	Fatal func(error)
}

// logStore is raft's log and its stable store (term and vote), and knows its snapshots.
// It is the outermost store: what it decides no cache may answer otherwise.
//
//	raft ─► logStore ─► raft.LogCache ─► raft-boltdb (fsync at each write)
//
// It differs from a plain store where hashicorp/raft goes wrong (design.md §5,
// hashicorp/raft#697). After a snapshot was installed raft asks for the whole log to
// be deleted, but believes in its old last index until the next append:
//
//	the log agrees with the snapshot   what follows its index is kept (Raft, Figure 13,
//	at its index                       rule 6): it may be acknowledged already
//	it does not                        all goes. Until the next append GetLog answers the
//	                                   snapshot's index with the snapshot's term, and the
//	                                   indexes above it, up to the old last one, with term 0
//
// So the leader's next message finds the predecessor it names, and nothing else that
// could be taken for an entry. Such a replica cannot be elected, so it never ships what
// it made up: the lost tail's term is below the term in which the snapshot's last entry
// was committed, and a majority has an entry of that term. Should it try all the same,
// its first append would leave a gap and is refused.
type logStore struct {
	bolt      *raftboltdb.BoltStore
	log       *raft.LogCache // over bolt
	snapshots raft.SnapshotStore
	wrote     func(time.Duration)
	fatal     func(error)
	onCut     func(from, command uint64)
	writing   atomic.Pointer[time.Time] // start of the write under way
	unwritten atomic.Pointer[error]     // why the last append failed; nil: it did not

	write sync.Mutex // one at a time: raft's main loop and its snapshot loop
	stale uint64     // tail cut, nothing appended since: the last index raft believes in; under write

	mu     sync.RWMutex // guards what follows; never held during a write
	extent extent
}

// extent is what the log holds, without its entries.
type extent struct {
	first, last uint64 // both 0: empty
	base        place  // the entry before first, where known
	ghost       uint64 // of an emptied log: the last index raft believes in
}

func (e extent) empty() bool { return e.last == 0 }

// place names an entry of the log.
type place struct{ index, term uint64 }

// openStore opens, or makes, the log and the snapshots below c.Dir. A log that
// contradicts the newest snapshot is emptied: a crash came between the installation of
// the snapshot and the deletion of the log.
func openStore(c storeConfig) (_ *logStore, err error) {
	if c.Retain == 0 {
		c.Retain = 2
	}
	if c.Cache == 0 {
		c.Cache = 512
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	dir := filepath.Join(c.Dir, "raft")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	if err := removeHalfSnapshots(dir); err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, c.Retain, c.Logger)
	if err != nil {
		return nil, fmt.Errorf("open snapshots in %s: %w", dir, err)
	}
	path := filepath.Join(dir, "log.db")
	defer func() {
		if p := recover(); p != nil { // bbolt's word for some kinds of damage
			err = fmt.Errorf("open %s: %v", path, p)
		}
	}()
	bolt, err := raftboltdb.New(raftboltdb.Options{
		Path: path,
		BoltOptions: &bbolt.Options{
			Timeout:        200 * time.Millisecond, // of the file's own lock; the directory's was taken before
			NoFreelistSync: true,
			FreelistType:   bbolt.FreelistMapType,
		},
		MsgpackUseNewTimeFormat: true,
	})
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return nil, fmt.Errorf("%s: %w by another process", path, errInUse)
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	s, err := newLogStore(bolt, snapshots, c)
	if err != nil {
		_ = bolt.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return s, nil
}

// removeHalfSnapshots removes what a crash left of a snapshot being written; raft never
// does.
func removeHalfSnapshots(dir string) error {
	half, err := filepath.Glob(filepath.Join(dir, "snapshots", "*.tmp"))
	for _, d := range half {
		err = errors.Join(err, os.RemoveAll(d))
	}
	return err
}

func newLogStore(bolt *raftboltdb.BoltStore, snapshots raft.SnapshotStore, c storeConfig) (*logStore, error) {
	log, err := raft.NewLogCache(c.Cache, bolt)
	if err != nil {
		return nil, err
	}
	s := &logStore{bolt: bolt, log: log, snapshots: snapshots, wrote: c.Wrote, fatal: c.Fatal}
	if s.extent.first, err = bolt.FirstIndex(); err != nil {
		return nil, err
	}
	if s.extent.last, err = bolt.LastIndex(); err != nil {
		return nil, err
	}
	newest, err := s.newest()
	if err != nil {
		return nil, err
	}
	if !s.extent.empty() && newest.index+1 == s.extent.first {
		s.extent.base = newest
	}
	bad, err := s.contradicts(newest)
	if err == nil && bad {
		_, err = s.clear(newest)
		s.extent.ghost = 0 // raft has not started: it believes what it will read
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// contradicts: the log begins at or below the snapshot's index and ends below it, or has
// another term there.
func (s *logStore) contradicts(snapshot place) (bool, error) {
	e := s.held()
	if e.empty() || e.first > snapshot.index {
		return false, nil
	}
	if e.last < snapshot.index {
		return true, nil
	}
	term, err := s.termAt(snapshot.index)
	return term != snapshot.term, err
}

// watchCuts has f called after entries at the end of the log were removed: from is the
// first of them, command the last command that is left in the log, 0 if none is. To be
// called before raft starts; f must not call the store.
func (s *logStore) watchCuts(f func(from, command uint64)) { s.onCut = f }

// Writing says since when a write to the disk has been under way.
func (s *logStore) Writing() (since time.Time, ok bool) {
	if t := s.writing.Load(); t != nil {
		return *t, true
	}
	return time.Time{}, false
}

// Close waits for a write under way.
func (s *logStore) Close() error {
	s.write.Lock()
	defer s.write.Unlock()
	return s.bolt.Close()
}

// IsMonotonic makes raft drop the old log when a snapshot is installed. Without, entries
// that never committed stay below the snapshot and are shipped when this replica leads.
func (s *logStore) IsMonotonic() bool { return true }

// FirstIndex returns the first index, 0 when the log is empty.
func (s *logStore) FirstIndex() (uint64, error) { return s.held().first, nil }

// LastIndex returns the last index, 0 when the log is empty.
func (s *logStore) LastIndex() (uint64, error) { return s.held().last, nil }

// GetLog reads one entry, raft.ErrLogNotFound if there is none.
func (s *logStore) GetLog(index uint64, l *raft.Log) error {
	e := s.held()
	if !e.empty() {
		return s.log.GetLog(index, l)
	}
	newest, err := s.newest()
	switch {
	case err != nil:
		return err
	case newest.index == 0, index < newest.index:
		return raft.ErrLogNotFound
	case index == newest.index:
		*l = raft.Log{Type: raft.LogNoop, Index: index, Term: newest.term}
		return nil
	case index <= e.ghost:
		*l = raft.Log{Type: raft.LogNoop, Index: index, Term: 0}
		return nil
	}
	return raft.ErrLogNotFound
}

// StoreLog appends one entry.
func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs appends entries and returns when they are on the disk. What it writes is
// the end of the log: entries held at and above the first index are removed. A gap is
// refused.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	for i, l := range logs {
		if l.Index != logs[0].Index+uint64(i) {
			return fmt.Errorf("append to the log: entry %d follows entry %d", l.Index, logs[i-1].Index)
		}
	}
	return s.change(func() (cut, error) { return s.append(logs) })
}

func (s *logStore) append(logs []*raft.Log) (cut, error) {
	e, from := s.held(), logs[0].Index
	if e.empty() {
		newest, err := s.newest()
		if err != nil {
			return cut{}, err
		}
		e = extent{first: newest.index + 1, last: newest.index, base: newest}
	}
	if from > e.last+1 || from < e.first {
		return cut{}, fmt.Errorf("append to the log: entry %d does not follow entry %d", from, e.last)
	}
	var c cut
	if from <= e.last {
		var err error
		if c, err = s.cutTail(from); err != nil {
			return c, err
		}
	}
	start := time.Now()
	err := s.log.StoreLogs(logs)
	if s.wrote != nil {
		s.wrote(time.Since(start))
	}
	if err != nil {
		err = fmt.Errorf("append entries %d to %d to the log: %w", from, logs[len(logs)-1].Index, err)
		s.unwritten.Store(&err)
		if s.stale != 0 && s.fatal != nil {
			// raft goes on as if it had the entries just removed, and could be elected by them.
			s.fatal(fmt.Errorf("%w (raft still counts on entry %d)", err, s.stale))
		}
		return c, err
	}
	s.stale = 0
	s.unwritten.Store(nil)
	s.hold(extent{first: e.first, last: logs[len(logs)-1].Index, base: e.base})
	return c, nil
}

// Unwritten returns why the last append failed, wrapped in ErrUnwritable, until one
// succeeds: a leader keeps trying, and begins each term with an entry.
func (s *logStore) Unwritten() error {
	if err := s.unwritten.Load(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnwritable, *err)
	}
	return nil
}

// DeleteRange removes entries from min to max, both included, at the beginning or at the
// end of the log. The whole log is asked for when a snapshot was installed, and emptied
// only where it contradicts the newest snapshot (see logStore).
func (s *logStore) DeleteRange(min, max uint64) error {
	return s.change(func() (cut, error) {
		e := s.held()
		switch {
		case e.empty(), max < e.first, min > e.last, min > max:
			return cut{}, nil
		case min <= e.first && max >= e.last:
			return s.deleteAll()
		case min <= e.first:
			return cut{}, s.cutHead(max)
		case max >= e.last:
			return s.cutTail(min)
		}
		return cut{}, fmt.Errorf("delete entries %d to %d of a log from %d to %d: it would leave a gap", min, max, e.first, e.last)
	})
}

// deleteAll is asked for by an installed snapshot, by a snapshot of our own up to the
// last entry, and by a leader whose entries differ from the first one on. In the last
// case the log may begin just behind the snapshot and so agree with it: its entries are
// kept here and replaced by the append that follows.
func (s *logStore) deleteAll() (cut, error) {
	newest, err := s.newest()
	if err != nil {
		return cut{}, err
	}
	agrees, err := s.agrees(newest)
	if err != nil {
		return cut{}, err
	}
	if !agrees {
		return s.clear(newest)
	}
	if newest.index < s.held().first {
		return cut{}, nil
	}
	return cut{}, s.cutHead(newest.index)
}

// agrees: the log holds, or follows, the snapshot's last entry.
func (s *logStore) agrees(snapshot place) (bool, error) {
	e := s.held()
	if snapshot.index == 0 || snapshot.index > e.last {
		return false, nil
	}
	if snapshot.index < e.first {
		return snapshot == e.base, nil
	}
	term, err := s.termAt(snapshot.index)
	return term == snapshot.term, err
}

// cutHead removes the entries up to index, which the newest snapshot covers.
func (s *logStore) cutHead(index uint64) error {
	e := s.held()
	term, err := s.termAt(index)
	if err != nil {
		return err
	}
	if err := s.log.DeleteRange(e.first, index); err != nil {
		return fmt.Errorf("delete entries %d to %d of the log: %w", e.first, index, err)
	}
	if index == e.last {
		s.hold(extent{ghost: e.last})
		return nil
	}
	s.hold(extent{first: index + 1, last: e.last, base: place{index, term}})
	return nil
}

// cutTail removes the entries from index on.
func (s *logStore) cutTail(index uint64) (cut, error) {
	e := s.held()
	command, err := s.lastCommand(e.first, index-1)
	if err != nil {
		return cut{}, err
	}
	if err := s.log.DeleteRange(index, e.last); err != nil {
		return cut{}, fmt.Errorf("delete entries %d to %d of the log: %w", index, e.last, err)
	}
	s.stale = max(s.stale, e.last)
	if index == e.first {
		s.hold(extent{})
	} else {
		s.hold(extent{first: e.first, last: index - 1, base: e.base})
	}
	return cut{index, command}, nil
}

// clear removes everything. The log stands at the newest snapshot then.
func (s *logStore) clear(newest place) (cut, error) {
	e := s.held()
	if err := s.log.DeleteRange(e.first, e.last); err != nil {
		return cut{}, fmt.Errorf("delete entries %d to %d of the log: %w", e.first, e.last, err)
	}
	if newest.index == 0 {
		s.stale = max(s.stale, e.last)
	}
	s.hold(extent{ghost: e.last})
	return cut{from: e.first}, nil
}

// cut says which entries at the end of the log were removed, and what is the last
// command before them.
type cut struct{ from, command uint64 }

// change runs f as the only writer, on the clock of the hung-disk watch.
func (s *logStore) change(f func() (cut, error)) error {
	s.write.Lock()
	now := time.Now()
	s.writing.Store(&now)
	c, err := f()
	s.writing.Store(nil)
	s.write.Unlock()
	if c.from != 0 && s.onCut != nil {
		s.onCut(c.from, c.command)
	}
	return err
}

func (s *logStore) held() extent {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.extent
}

func (s *logStore) hold(e extent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.extent = e
}

// newest returns where the newest snapshot ends, zero without one.
func (s *logStore) newest() (place, error) {
	list, err := s.snapshots.List()
	if err != nil {
		return place{}, fmt.Errorf("list snapshots: %w", err)
	}
	if len(list) == 0 {
		return place{}, nil
	}
	return place{list[0].Index, list[0].Term}, nil
}

func (s *logStore) termAt(index uint64) (uint64, error) {
	var l raft.Log
	if err := s.log.GetLog(index, &l); err != nil {
		return 0, fmt.Errorf("read entry %d of the log: %w", index, err)
	}
	return l.Term, nil
}

// lastCommand returns the index of the last command from first to last, 0 without one.
func (s *logStore) lastCommand(first, last uint64) (uint64, error) {
	for i := last; i >= first; i-- {
		var l raft.Log
		if err := s.log.GetLog(i, &l); err != nil {
			return 0, fmt.Errorf("read entry %d of the log: %w", i, err)
		}
		if l.Type == raft.LogCommand {
			return i, nil
		}
	}
	return 0, nil
}

// Set implements raft.StableStore.
func (s *logStore) Set(key, value []byte) error {
	return s.change(func() (cut, error) { return cut{}, s.bolt.Set(key, value) })
}

// Get implements raft.StableStore. raft knows an absent key by its error's text.
func (s *logStore) Get(key []byte) ([]byte, error) { return s.bolt.Get(key) }

// SetUint64 implements raft.StableStore.
func (s *logStore) SetUint64(key []byte, value uint64) error {
	return s.change(func() (cut, error) { return cut{}, s.bolt.SetUint64(key, value) })
}

// GetUint64 implements raft.StableStore.
func (s *logStore) GetUint64(key []byte) (uint64, error) { return s.bolt.GetUint64(key) }
