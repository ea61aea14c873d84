package raftnode

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"

	"github.com/quorate/quorate/fsm"
)

// startOver is what to do where the data directory is of no use any more.
func (c *Config) startOver() string {
	const empty = "start again with an empty data directory"
	switch {
	case c.Listen == "":
		return empty + ": workers register again, settings and holds are to be made again"
	case len(c.Join) == 0:
		// It would form a cluster of its own.
		return empty + " and, if there are other replicas, with cluster.join: it joins them as a new replica; remove the old one there (quorate replicas remove)"
	}
	return empty + ": it joins as a new replica; remove the old one there (quorate replicas remove)"
}

// unusable adds to an error met at the start what to do about it. What the operating
// system says (no permission, no space), another process or a newer program is about
// other things than what is in the data directory.
func (c *Config) unusable(err error) error {
	errno, os := errors.AsType[syscall.Errno](err)
	if errors.Is(err, errInUse) || errors.Is(err, fsm.ErrSchema) || os && errno != syscall.ENOENT {
		return err
	}
	return fmt.Errorf("%w: %s", err, c.startOver())
}

// boot is what a replica knows before raft says anything.
type boot struct {
	Applied         // the state after every entry of the own log; Index 0: no command
	Entries  int    // applied from the log
	Last     uint64 // last index of the log, or of the snapshot when that is further
	Snapshot string // the snapshot it began with, "" without one
}

// bootState restores the newest snapshot and applies every entry of the own log,
// committed or not: whatever was acknowledged here is in it, also what this replica did
// not yet know to be committed. A replica routes by it from its first packet on
// (design.md §5). To be called between openStore and raft.NewRaft.
//
// An error means that this replica must not start: an entry or a snapshot of a schema
// version this program does not know (fsm.ErrSchema), or a damaged file.
func bootState(s *logStore) (boot, error) {
	b, err := bootSnapshot(s)
	if err != nil {
		return boot{}, fmt.Errorf("boot state: %w", err)
	}
	if log := s.held(); log.last > b.Last {
		if err := b.replay(s, log.last); err != nil {
			return boot{}, fmt.Errorf("boot state: %w", err)
		}
	}
	return b, nil
}

// replay applies the entries up to last. Reading one takes as long as applying it, so
// both go on at once.
func (b *boot) replay(s *logStore, last uint64) error {
	const chunk = 256
	type command struct {
		index, term uint64
		entry       fsm.Entry
	}
	read := make(chan []command, 4)
	g, ctx := errgroup.WithContext(context.Background())
	g.Go(func() error {
		defer close(read)
		for from := b.Last + 1; from <= last; from += chunk {
			var commands []command
			for i := from; i <= min(last, from+chunk-1); i++ {
				var l raft.Log
				if err := s.GetLog(i, &l); err != nil {
					return fmt.Errorf("read entry %d of the log: %w", i, err)
				}
				if l.Type != raft.LogCommand {
					continue
				}
				e, err := decodeLog(&l)
				if err != nil {
					return err
				}
				commands = append(commands, command{l.Index, l.Term, e})
			}
			select {
			case read <- commands:
			case <-ctx.Done():
				return nil
			}
		}
		return nil
	})
	g.Go(func() (err error) {
		for commands := range read {
			for _, c := range commands {
				if b.Applied, _, err = b.after(c.index, c.term, c.entry); err != nil {
					return err
				}
				b.Entries++
			}
		}
		return nil
	})
	err := g.Wait()
	b.Last = last
	return err
}

// bootSnapshot restores the newest snapshot that can be read, as raft will. An older one
// than the newest serves only if the log leads on from there.
func bootSnapshot(s *logStore) (boot, error) {
	list, err := s.snapshots.List()
	if err != nil {
		return boot{}, fmt.Errorf("list snapshots: %w", err)
	}
	log := s.held()
	begin := boot{Applied: Applied{At: time.Now(), State: fsm.New()}}
	var damage error
	for _, meta := range list {
		a, err := openSnapshot(s.snapshots, meta.ID)
		if errors.Is(err, fsm.ErrSchema) {
			return boot{}, err
		}
		if err != nil {
			damage = errors.Join(damage, err)
			continue
		}
		begin = boot{Applied: a, Last: meta.Index, Snapshot: meta.ID}
		break
	}
	switch {
	case damage != nil && (begin.Snapshot == "" || log.first > begin.Last+1 || log.last < list[0].Index):
		return boot{}, fmt.Errorf("%w; the log (%d to %d) does not reach back", damage, log.first, log.last)
	case !log.empty() && log.first > begin.Last+1:
		return boot{}, fmt.Errorf("entries %d to %d are neither in a snapshot nor in the log", begin.Last+1, log.first-1)
	}
	return begin, nil
}

func openSnapshot(snapshots raft.SnapshotStore, id string) (Applied, error) {
	_, r, err := snapshots.Open(id)
	if err != nil {
		return Applied{}, fmt.Errorf("snapshot %s: %w", id, err)
	}
	defer r.Close()
	a, err := readSnapshot(r)
	if err != nil {
		return Applied{}, fmt.Errorf("snapshot %s: %w", id, err)
	}
	return a, nil
}
