package raftnode

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/quorate/quorate/fsm"
)

// Applied is a state and the entry that made it.
type Applied struct {
	Index uint64 // of the last command; entries of raft's own change no state and do not count
	Term  uint64
	At    time.Time // when this replica applied or restored it
	State *fsm.State
}

// machineConfig says who follows a machine. All callbacks are optional, come one at a
// time and in the order of the log, and must call neither raft nor the machine's methods
// that wait. A reader of State sees the state they are told of, or a newer one.
type machineConfig struct {
	Boot Applied // the boot state; zero: none

	// OnApply gets each entry that made the published state out of the one before, and
	// what it did, before anyone who waits for its index goes on.
	OnApply func(Applied, fsm.Entry, []fsm.Result)

	// OnReset gets a state that replaces the published one as a whole.
	OnReset func(Applied)

	// Fatal gets, once, an entry or a snapshot this program cannot apply. Nothing is
	// applied after it; the replica must stop.
	Fatal func(error)
}

// hashesKept is how many indexes back a state hash can be compared (design.md §3).
const hashesKept = 4096

// machine is the raft.FSM: raft's own state, made of committed entries, and the
// published state, which is the boot state until raft's has caught up with it.
//
//	boot state  ─────────────●  index of its last command
//	raft's      ──────────────●──►  published from here on
//
// When the log is cut below the boot state's index, commands of it never committed: then
// raft's state takes over as soon as it has all that is left of them. So routing never
// falls back behind what both states have in common.
type machine struct {
	c         machineConfig
	published atomic.Pointer[Applied]
	committed atomic.Pointer[Applied] // raft's own
	restores  atomic.Uint64

	order  sync.Mutex // held from the first to the last step of a change, callbacks included
	boot   bool       // the boot state is published
	until  uint64     // of the boot state: the command raft's state must reach
	broken error      // why nothing is applied any more

	mu     sync.Mutex // guards what follows, briefly
	hashes [hashesKept]struct {
		index uint64
		hash  fsm.Hash
	}
	waiters []waiter
	failure error // broken, for those who wait
}

type waiter struct {
	index uint64
	done  chan struct{}
}

func newMachine(c machineConfig) *machine {
	m := &machine{c: c}
	nothing := &Applied{At: time.Now(), State: fsm.New()}
	m.committed.Store(nothing)
	m.published.Store(nothing)
	if c.Boot.Index != 0 {
		m.published.Store(&c.Boot)
		m.boot, m.until = true, c.Boot.Index
	}
	return m
}

// State returns the published state: the one to route by.
func (m *machine) State() Applied { return *m.published.Load() }

// Committed returns raft's own state. Until it has caught up with the boot state it is
// older than State's.
func (m *machine) Committed() Applied { return *m.committed.Load() }

// Restores counts the snapshots restored, the one at the start included.
func (m *machine) Restores() uint64 { return m.restores.Load() }

// HashAt returns the hash of the state that the command at index made, if it is among
// the last 4,096 indexes and was applied here.
func (m *machine) HashAt(index uint64) (fsm.Hash, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.hashes[index%hashesKept]
	return h.hash, index != 0 && h.index == index
}

// WaitIndex returns when raft's own state has reached index, the index of a command,
// and the callbacks have been told. A snapshot that covers it will do. It returns ctx's
// error, or why this machine stopped.
func (m *machine) WaitIndex(ctx context.Context, index uint64) error {
	m.mu.Lock()
	if m.failure != nil || m.committed.Load().Index >= index {
		defer m.mu.Unlock()
		return m.failure
	}
	w := waiter{index, make(chan struct{})}
	m.waiters = append(m.waiters, w)
	m.mu.Unlock()

	select {
	case <-w.done:
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.committed.Load().Index >= index {
			return nil
		}
		return m.failure
	case <-ctx.Done():
		m.forget(w)
		return fmt.Errorf("wait for index %d: %w", index, ctx.Err())
	}
}

func (m *machine) forget(w waiter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiters = slices.DeleteFunc(m.waiters, func(o waiter) bool { return o == w })
}

// Apply implements raft.FSM. It returns []fsm.Result, or an error when the entry cannot
// be applied by this program.
func (m *machine) Apply(l *raft.Log) any {
	m.order.Lock()
	defer m.order.Unlock()
	if m.broken != nil {
		return m.broken
	}
	e, err := decodeLog(l)
	if err != nil {
		m.stop(err)
		return err
	}
	now, results, err := m.Committed().after(l.Index, l.Term, e)
	if err != nil {
		m.stop(err)
		return err
	}
	m.committed.Store(&now)
	if m.boot {
		m.takeOver()
	} else {
		m.published.Store(&now)
		if m.c.OnApply != nil {
			m.c.OnApply(now, e, results)
		}
	}
	m.reached(now)
	return results
}

func decodeLog(l *raft.Log) (fsm.Entry, error) {
	e, err := fsm.DecodeEntry(l.Data)
	if err != nil {
		return e, fmt.Errorf("read entry %d of term %d: %w", l.Index, l.Term, err)
	}
	return e, nil
}

// after returns the state after the command at index.
func (a Applied) after(index, term uint64, e fsm.Entry) (Applied, []fsm.Result, error) {
	state, results, err := fsm.Apply(a.State, e)
	if err != nil {
		return a, nil, fmt.Errorf("apply entry %d of term %d: %w", index, term, err)
	}
	return Applied{Index: index, Term: term, At: time.Now(), State: state}, results, nil
}

// Restore implements raft.FSM. The state changes only once the whole snapshot was read.
func (m *machine) Restore(r io.ReadCloser) error {
	defer r.Close()
	m.order.Lock()
	defer m.order.Unlock()
	if m.broken != nil {
		return m.broken
	}
	now, err := readSnapshot(r)
	if err != nil {
		if errors.Is(err, fsm.ErrSchema) {
			m.stop(err)
		}
		return err
	}
	m.restores.Add(1)
	m.committed.Store(&now)
	if m.boot {
		m.takeOver()
	} else {
		m.publish(now)
	}
	m.reached(now)
	return nil
}

// cut learns that the log lost its entries from index from on; command is the last
// command left before them. It is the store's watcher.
func (m *machine) cut(from, command uint64) {
	m.order.Lock()
	defer m.order.Unlock()
	if m.boot && from <= m.until {
		m.until = command
		m.takeOver()
	}
}

// takeOver ends the boot state's time when raft's state has reached what it has to.
func (m *machine) takeOver() {
	now := *m.committed.Load()
	if now.Index < m.until {
		return
	}
	m.boot = false
	if boot := m.published.Load(); boot.Index == now.Index && boot.State.Hash() == now.State.Hash() {
		m.published.Store(&now)
		return
	}
	m.publish(now)
}

func (m *machine) publish(a Applied) {
	m.published.Store(&a)
	if m.c.OnReset != nil {
		m.c.OnReset(a)
	}
}

// reached notes a's hash and lets go those who waited for its index.
func (m *machine) reached(a Applied) {
	hash := a.State.Hash()
	m.mu.Lock()
	defer m.mu.Unlock()
	slot := &m.hashes[a.Index%hashesKept]
	slot.index, slot.hash = a.Index, hash
	m.waiters = slices.DeleteFunc(m.waiters, func(w waiter) bool {
		if w.index > a.Index {
			return false
		}
		close(w.done)
		return true
	})
}

// stop is for an entry that this program cannot apply: skipping it would make this
// replica another one than the rest.
func (m *machine) stop(err error) {
	m.broken = err
	m.mu.Lock()
	m.failure = err
	for _, w := range m.waiters {
		close(w.done)
	}
	m.waiters = nil
	m.mu.Unlock()
	if m.c.Fatal != nil {
		m.c.Fatal(err)
	}
}

// Snapshot implements raft.FSM. The state is immutable, so this takes no time.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	m.order.Lock()
	defer m.order.Unlock()
	if m.broken != nil {
		return nil, m.broken
	}
	return machineSnapshot{*m.committed.Load()}, nil
}

// machineSnapshot is a snapshot's content: a header with the place of the last command,
// which raft does not tell Restore, and the state.
type machineSnapshot struct{ Applied }

// snapshotHeader is "qsn1", index and term as 8 bytes each, big endian, and the CRC32C
// of these 20 bytes.
const snapshotHeader = 24

const snapshotMagic = "qsn1"

// Persist implements raft.FSMSnapshot.
func (s machineSnapshot) Persist(sink raft.SnapshotSink) error {
	if err := writeSnapshot(sink, s.Applied); err != nil {
		_ = sink.Cancel()
		return err
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (machineSnapshot) Release() {}

func writeSnapshot(w io.Writer, a Applied) error {
	b := append(make([]byte, 0, snapshotHeader), snapshotMagic...)
	b = binary.BigEndian.AppendUint64(b, a.Index)
	b = binary.BigEndian.AppendUint64(b, a.Term)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return a.State.WriteSnapshot(w)
}

func readSnapshot(r io.Reader) (Applied, error) {
	b := make([]byte, snapshotHeader)
	if _, err := io.ReadFull(r, b); err != nil {
		return Applied{}, fmt.Errorf("read snapshot: %w", err)
	}
	body, sum := b[:snapshotHeader-4], binary.BigEndian.Uint32(b[snapshotHeader-4:])
	if string(b[:4]) != snapshotMagic || crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != sum {
		return Applied{}, errors.New("read snapshot: header: checksum differs")
	}
	state, err := fsm.ReadSnapshot(r)
	if err != nil {
		return Applied{}, err
	}
	return Applied{
		Index: binary.BigEndian.Uint64(b[4:]),
		Term:  binary.BigEndian.Uint64(b[12:]),
		At:    time.Now(),
		State: state,
	}, nil
}
