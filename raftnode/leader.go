package raftnode

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// leaderView is who leads, as this replica knows it.
type leaderView struct {
	id    string          // "" while no leader is known
	while context.Context // ends when id changes
}

// leaderWatch keeps the view and says when waiting for a leader is of no use.
type leaderWatch struct {
	mu    sync.Mutex
	now   leaderView
	end   context.CancelFunc // of now.while
	since time.Time          // when id became what it is
	lost  time.Time          // since when there is no leader that answers; zero: there is one
}

func newLeaderWatch(now time.Time) *leaderWatch {
	w := &leaderWatch{lost: now, since: now}
	w.now.while, w.end = context.WithCancel(context.Background())
	return w
}

func (w *leaderWatch) view() leaderView {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// knownSince is when the view became what it is.
func (w *leaderWatch) knownSince() (id string, since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now.id, w.since
}

// lostSince is since when no leader is known; zero while one is.
func (w *leaderWatch) lostSince() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now.id != "" {
		return time.Time{}
	}
	return w.lost
}

// set makes id the leader known from now on. It returns the one before and how long
// there was none.
func (w *leaderWatch) set(id string, now time.Time) (before string, took time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before = w.now.id
	if id == before {
		return before, 0
	}
	if !w.lost.IsZero() {
		took = now.Sub(w.lost)
	}
	w.end()
	w.now.id = id
	w.now.while, w.end = context.WithCancel(context.Background())
	w.since = now
	switch {
	case id != "":
		w.lost = time.Time{}
	case w.lost.IsZero():
		w.lost = now
	}
	return before, took
}

// missed notes that id, the leader, did not answer.
func (w *leaderWatch) missed(id string, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now.id == id && w.lost.IsZero() {
		w.lost = now
	}
}

// reached notes that id answered.
func (w *leaderWatch) reached(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now.id == id && id != "" {
		w.lost = time.Time{}
	}
}

// hopeless reports that no election that would help can be running: there has been no
// leader that answers for noLeaderFor, or there is none and too few voters are there
// to elect one. Both count from when this process was last awake: what it knew before a
// pause says nothing of now.
func (w *leaderWatch) hopeless(now time.Time, awake time.Duration, mayElect func(time.Time) bool) bool {
	w.mu.Lock()
	id, lost := w.now.id, w.lost
	w.mu.Unlock()
	if lost.IsZero() || awake < noLeaderFor {
		return false
	}
	return now.Sub(lost) >= noLeaderFor || id == "" && !mayElect(now)
}

// mayElect reports whether a quorum of voters is within reach of this replica, as far
// as it knows.
func (r *Replica) mayElect(now time.Time) bool {
	voters, there := 0, 0
	for _, s := range r.servers() {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		p, _ := r.roster.copy(string(s.ID))
		if string(s.ID) == r.id || p.tried.IsZero() || p.reachable(now) {
			there++
		}
	}
	return voters > 0 && there > voters/2
}

// follow keeps the view of the leader and this replica's own duties as one until ctx
// ends. Raft's channels may skip values, so each signal only makes it look again.
func (r *Replica) follow(ctx context.Context) {
	signals := make(chan raft.Observation, 16)
	observer := raft.NewObserver(signals, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState:
			return true
		}
		return false
	})
	r.raft.RegisterObserver(observer)
	defer r.raft.DeregisterObserver(observer)
	look := time.NewTicker(250 * time.Millisecond) // should a signal have been dropped
	defer look.Stop()

	var duty *leadership
	rest := func() {
		if duty != nil {
			duty.stop()
			duty = nil
		}
	}
	defer rest()
	for {
		r.look()
		leads, term := r.raft.State() == raft.Leader, r.raft.CurrentTerm()
		if duty != nil && (!leads || duty.term != term) {
			rest()
		}
		if duty == nil && leads {
			duty = r.lead(ctx, term)
		}
		select {
		case <-ctx.Done():
			return
		case <-signals:
		case <-r.raft.LeaderCh():
		case <-look.C:
		}
	}
}

// look reads who leads from raft and tells of a change.
func (r *Replica) look() {
	_, id := r.raft.LeaderWithID()
	before, took := r.leader.set(string(id), time.Now())
	switch {
	case string(id) == before:
	case id == "":
		r.log.Warn("leader lost", "leader", r.nameOf(before), "term", r.raft.CurrentTerm())
	default:
		r.metrics.leaderChanges.Inc()
		r.log.Info("leader elected", "leader", r.nameOf(string(id)), "term", r.raft.CurrentTerm(), "took", took)
	}
}
