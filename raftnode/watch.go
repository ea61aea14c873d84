package raftnode

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/quorate/quorate/fsm"
)

// watcher is what the round of reports remembers from one to the next. One goroutine
// uses it.
type watcher struct {
	seen   map[string]seen // members told of
	target uint64          // applied index that some replica had at the last round
}

type seen struct {
	since time.Time // first seen as a member
	told  bool      // "replica joined" was logged
	voter bool
}

// watchPeers compares what the others told with what was known, and says what changed.
func (r *Replica) watchPeers(w *watcher, now time.Time) {
	r.watchMembers(w, now)
	r.watchReach(w, now)
	r.watchIndexes(w, now)
	r.watchHints()
	r.remember()
	hinted := make(map[string]bool)
	for _, h := range r.hints() {
		hinted[h.ID] = true
	}
	r.roster.keep(func(id string) bool { _, member := w.seen[id]; return member || hinted[id] })
}

// watchMembers tells of changes of Raft's configuration.
func (r *Replica) watchMembers(w *watcher, now time.Time) {
	servers := r.servers()
	if w.seen == nil {
		w.seen = make(map[string]seen)
		if r.booted { // who was there before the restart does not join
			for _, m := range servers {
				w.seen[string(m.ID)] = seen{since: now, told: true, voter: m.Suffrage == raft.Voter}
			}
		}
	}
	s := r.Status()
	tell := func(msg, id string) {
		r.log.Info(msg, "name", r.nameOf(id), "id", id, "address", r.address(id), "voters", s.Voters, "failure_tolerance", s.Tolerance)
	}
	member := make(map[string]bool)
	for _, m := range servers {
		id := string(m.ID)
		member[id] = true
		was, ok := w.seen[id]
		if !ok {
			was = seen{since: now, told: id == r.id, voter: m.Suffrage == raft.Voter}
		}
		// Its name comes with its first report.
		if p, _ := r.roster.copy(id); !was.told && (p.name != "" || now.Sub(was.since) > unreachableAfter) {
			was.told = true
			tell("replica joined", id)
		}
		if voter := m.Suffrage == raft.Voter; voter != was.voter {
			was.voter = voter
			if voter {
				tell("replica promoted", id)
			}
		}
		w.seen[id] = was
	}
	for id := range w.seen {
		if !member[id] {
			delete(w.seen, id)
			tell("replica removed", id)
		}
	}
}

// watchReach tells who is gone and who is back.
func (r *Replica) watchReach(w *watcher, now time.Time) {
	for id := range w.seen {
		p, ok := r.roster.copy(id)
		if !ok || id == r.id || p.answered.IsZero() && p.tried.IsZero() || p.down == !p.reachable(now) {
			continue
		}
		r.roster.update(id, func(p *contact) { p.down = !p.down })
		switch {
		case p.down:
			r.log.Info("replica reachable", "name", r.nameOf(id), "id", id, "address", r.address(id))
		case p.report.Stopping:
			r.log.Info("replica left", "name", r.nameOf(id), "id", id, "address", r.address(id))
		default:
			r.log.Warn("replica unreachable", "name", r.nameOf(id), "id", id, "address", r.address(id), "error", p.err)
		}
	}
}

// watchIndexes looks who trails the others and whose state is another one.
func (r *Replica) watchIndexes(w *watcher, now time.Time) {
	target := w.target
	reached := func(index uint64, boot bool) {
		if !boot {
			w.target = max(w.target, index)
		}
	}
	mine := r.report()
	r.noteBehind(mine.AppliedIndex < target, now)
	reached(mine.AppliedIndex, mine.Boot)
	for _, p := range r.roster.all() {
		if _, member := w.seen[p.id]; !member || p.report.ID == "" {
			continue
		}
		reached(p.report.AppliedIndex, p.report.Boot)
		r.roster.update(p.id, func(c *contact) {
			if c.report.AppliedIndex >= target {
				c.behind = time.Time{}
			} else if c.behind.IsZero() {
				c.behind = now
			}
		})
		r.compare(p, now)
	}
}

// noteBehind keeps since when this replica itself trails the others.
func (r *Replica) noteBehind(behind bool, now time.Time) {
	switch {
	case !behind:
		r.behind.Store(nil)
	case r.behind.Load() == nil:
		r.behind.Store(&now)
	}
}

// compare looks whether p's state at the index of its last report was this replica's
// too. Replicas of two schema versions may hold different bytes (design.md §3).
func (r *Replica) compare(p contact, now time.Time) {
	index := p.report.AppliedIndex
	mine, ok := r.machine.HashAt(index)
	if !ok || p.report.Boot || p.report.Schema != fsm.SchemaVersion || p.compared == index {
		return
	}
	equal := p.report.StateHash == mine.String()
	r.roster.update(p.id, func(c *contact) {
		c.compared = index
		switch {
		case equal:
			c.differs = time.Time{}
		case c.differs.IsZero():
			c.differs, c.differsAt = now, index
		}
	})
	if !equal && p.differs.IsZero() {
		r.log.Error("state differs", "index", index, "hash", mine.String(), "peer", r.nameOf(p.id), "peer_hash", p.report.StateHash, "majority", r.majorityAt(index))
	}
}

// majorityAt is the hash that more than half of the members have told for index, "" if none.
func (r *Replica) majorityAt(index uint64) string {
	votes := make(map[string]int)
	if h, ok := r.machine.HashAt(index); ok {
		votes[h.String()]++
	}
	servers := r.servers()
	for _, m := range servers {
		if p, _ := r.roster.copy(string(m.ID)); p.report.AppliedIndex == index && !p.report.Boot {
			votes[p.report.StateHash]++
		}
	}
	for h, n := range votes {
		if n > len(servers)/2 {
			return h
		}
	}
	return ""
}

// remember keeps the others' names and addresses for a start without them.
func (r *Replica) remember() {
	var list []known
	for _, m := range r.servers() {
		if id := string(m.ID); id != r.id {
			p, _ := r.roster.copy(id)
			k := known{ID: id, Name: p.name, Address: p.address}
			for _, old := range r.home.get().Known {
				if old.ID == id && k.Name == "" {
					k.Name = old.Name
				}
				if old.ID == id && k.Address == "" {
					k.Address = old.Address
				}
			}
			list = append(list, k)
		}
	}
	slices.SortFunc(list, func(a, b known) int { return cmp.Compare(a.ID, b.ID) })
	if len(list) == 0 || slices.Equal(list, r.home.get().Known) {
		return
	}
	err := r.home.change(func(is *identity) error {
		is.Known = list
		return nil
	})
	if err != nil {
		r.log.Warn("members not remembered", "error", err)
	}
}

// plain is a short reason for people: "10.0.0.13:7300: connection refused".
func (r *Replica) plain(id string, err error) string {
	if dial, ok := errors.AsType[*dialError](err); ok {
		return dial.Error()
	}
	why := err.Error()
	if errors.Is(err, context.DeadlineExceeded) {
		why = "timeout"
	}
	return r.address(id) + ": " + why
}
