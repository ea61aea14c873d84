package raftnode

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/quorate/quorate/fsm"
)

// manage is the leader's hand on the membership, twice a second until its term ends. It
// makes at most one change at a time, so that each is judged by what the last one made.
func (l *leadership) manage() {
	caught := make(map[string]int) // looks in a row at which a non-voter was up to date
	for {
		if change := l.next(time.Now(), caught); change != nil {
			if err := change(); err != nil && l.ctx.Err() == nil {
				l.r.log.Debug("membership not changed", "error", err)
			}
		}
		l.raiseSchema(time.Now())
		if sleep(l.ctx, 500*time.Millisecond) != nil {
			return
		}
	}
}

// next is the change the cluster needs most, nil if none.
func (l *leadership) next(now time.Time, caught map[string]int) func() error {
	r := l.r
	s := r.machine.Committed()
	servers := r.servers()
	member := make(map[string]bool)
	voters := 0
	for _, m := range servers {
		member[string(m.ID)] = true
		if m.Suffrage == raft.Voter {
			voters++
		}
	}

	if voters < r.wanted() {
		for _, m := range servers {
			if id := string(m.ID); m.Suffrage != raft.Voter {
				if !r.upToDate(id, s, now) {
					caught[id] = 0
				} else if caught[id]++; caught[id] >= 2 {
					return func() error { return l.wait(r.raft.AddVoter(m.ID, m.Address, 0, time.Second)) }
				}
			}
		}
	}

	for _, p := range r.roster.all() {
		if member[p.id] || !p.reachable(now) || p.report.ID != p.id || p.report.Stopping {
			continue
		}
		if err := r.unwelcome(p, s.State, now); err != nil {
			r.refuse(p.id, p.name, p.address, err)
			continue
		}
		id := raft.ServerID(p.id)
		return func() error { return l.wait(r.raft.AddNonvoter(id, raft.ServerAddress(id), 0, time.Second)) }
	}
	return nil
}

// unwelcome says why a live replica that is no member must not become one. That TLS
// took it and it told its own id is settled: its report came over the cluster connection.
func (r *Replica) unwelcome(p contact, s *fsm.State, now time.Time) error {
	switch {
	case s.Barred(p.id):
		return fmt.Errorf("%w: delete its data directory to bring it back", ErrRemoved)
	case p.report.ClusterID != "" && p.report.ClusterID != s.ClusterID():
		return otherCluster(r.c.Name, s.ClusterID(), p.name, p.report.ClusterID)
	case p.report.Promise != nil && p.report.Promise.ClusterID != s.ClusterID():
		return errors.New("promised itself to other replicas")
	case p.report.Schema < s.Schema():
		return fmt.Errorf("its program reads entries up to version %d, the cluster writes %d", p.report.Schema, s.Schema())
	case p.name == r.c.Name:
		return fmt.Errorf("replica.name: %s is %w (%s)", p.name, ErrNameTaken, r.listening)
	}
	for _, m := range r.servers() {
		q, _ := r.roster.copy(string(m.ID))
		if string(m.ID) != r.id && q.name == p.name && q.reachable(now) {
			return fmt.Errorf("replica.name: %s is %w (%s)", p.name, ErrNameTaken, q.address)
		}
	}
	return nil
}

// upToDate reports whether a non-voter is there and has what the cluster had a moment ago.
func (r *Replica) upToDate(id string, s Applied, now time.Time) bool {
	p, _ := r.roster.copy(id)
	return p.reachable(now) && p.err == "" && !p.report.Stopping && !p.report.Boot && p.report.AppliedIndex+128 >= s.Index
}

// wanted is how many voters the cluster should have.
func (r *Replica) wanted() int {
	if n := r.State().State.Settings().Voters; n > 0 {
		return n
	}
	return r.c.WantedVoters
}

// raiseSchema has entries written in the newest version every member can read.
func (l *leadership) raiseSchema(now time.Time) {
	lowest := fsm.SchemaVersion
	for _, m := range l.r.servers() {
		if string(m.ID) == l.r.id {
			continue
		}
		p, _ := l.r.roster.copy(string(m.ID))
		if !p.reachable(now) || p.report.Schema == 0 {
			return
		}
		lowest = min(lowest, p.report.Schema)
	}
	if lowest <= l.r.machine.Committed().State.Schema() {
		return
	}
	cmd := l.r.systemCommand(fsm.OpSchema)
	cmd.Version = lowest
	if _, _, err := l.propose(l.ctx, cmd, false); err != nil && l.ctx.Err() == nil {
		l.r.log.Debug("schema version not raised", "error", err)
	}
}
