package raftnode

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/quorate/quorate/fsm"
)

// Status is what this replica knows of the cluster and of itself.
type Status struct {
	ClusterID   string // "" until this replica belongs to one
	Standalone  bool
	Leader      string // id, "" without one
	LeaderName  string
	LeaderSince time.Time // of its election; zero without a leader
	LostSince   time.Time // since when there is none; zero with one
	Term        uint64

	Voters     int // in Raft's configuration
	LiveVoters int // of these, this one and those it reaches
	Wanted     int // voters there should be
	Quorum     int // voters that must agree; 0 without a configuration
	Tolerance  int // voters that may fail from now on

	Role         string // leader, follower, candidate, non-voter
	Voter        bool
	StartedAt    time.Time
	AppliedIndex uint64 // of the state that routes
	StateHash    fsm.Hash
	CommitIndex  uint64
	LastIndex    uint64
	FirstIndex   uint64
}

// Status says how things are now.
func (r *Replica) Status() Status {
	now := time.Now()
	a := r.State()
	s := Status{
		ClusterID:    r.ClusterID(),
		Standalone:   r.alone,
		Wanted:       r.wanted(),
		Role:         "follower",
		StartedAt:    r.started,
		AppliedIndex: a.Index,
		StateHash:    a.State.Hash(),
	}
	s.FirstIndex, _ = r.store.FirstIndex()
	s.LastIndex, _ = r.store.LastIndex()
	servers := r.servers()
	for _, m := range servers {
		if m.Suffrage != raft.Voter {
			continue
		}
		s.Voters++
		p, _ := r.roster.copy(string(m.ID))
		if string(m.ID) == r.id || p.reachable(now) {
			s.LiveVoters++
		}
		s.Voter = s.Voter || string(m.ID) == r.id
	}
	if s.Voters > 0 {
		s.Quorum = s.Voters/2 + 1
		s.Tolerance = max(0, s.LiveVoters-s.Quorum)
	}
	s.Role = r.role(s.Voter)
	select {
	case <-r.ready:
		s.Term, s.CommitIndex, s.LastIndex = r.raft.CurrentTerm(), r.raft.CommitIndex(), r.raft.LastIndex()
	default:
	}
	s.LostSince = r.leader.lostSince()
	if id, since := r.leader.knownSince(); id != "" {
		s.Leader, s.LeaderName, s.LeaderSince = id, r.nameOf(id), since
		if p, ok := r.roster.copy(id); ok && p.report.Role == "leader" && p.reachable(now) {
			// The leader knows better: this replica may have started after its election.
			s.LeaderSince = p.reported.Add(-time.Duration(p.report.LeadsFor) * time.Millisecond)
		}
	}
	return s
}

// role is this replica's own.
func (r *Replica) role(voter bool) string {
	select {
	case <-r.ready:
	default:
		return "follower"
	}
	switch {
	case r.raft.State() == raft.Leader:
		return "leader"
	case !voter:
		return "non-voter"
	case r.raft.State() == raft.Candidate:
		return "candidate"
	}
	return "follower"
}

// report is what the others are told.
func (r *Replica) report() Report {
	rep := r.c.Report()
	a := r.State()
	hash, ok := r.machine.HashAt(a.Index)
	is := r.home.get()
	rep.ID, rep.Name, rep.ClusterID, rep.Promise = r.id, r.c.Name, is.ClusterID, is.Promise
	rep.Expect, rep.Version, rep.Schema = r.c.BootstrapExpect, r.c.Version, fsm.SchemaVersion
	rep.StartedAt, rep.Stopping = r.started, r.stopping.Load()
	rep.AppliedIndex, rep.StateHash, rep.Boot = a.Index, a.State.Hash().String(), a.Index != 0 && !(ok && hash == a.State.Hash())
	rep.Addresses.Cluster = r.listening
	voter := slices.ContainsFunc(r.servers(), func(s raft.Server) bool {
		return string(s.ID) == r.id && s.Suffrage == raft.Voter
	})
	rep.Role = r.role(voter)
	if id, since := r.leader.knownSince(); id == r.id {
		rep.LeadsFor = time.Since(since).Milliseconds()
	}
	return rep
}

// Members lists the replicas of the cluster, the answering one included, by name.
func (r *Replica) Members() []Member {
	now := time.Now()
	leader := r.leader.view().id
	var list []Member
	for _, s := range r.servers() {
		id := string(s.ID)
		m := Member{ID: id, Name: r.nameOf(id), Address: r.address(id), Voter: s.Suffrage == raft.Voter, LastContact: -1}
		if id == r.id {
			m.Self, m.Reachable, m.LastContact = true, true, 0
			m.Address, m.Report = r.listening, r.report()
			m.Role = m.Report.Role
			list = append(list, m)
			continue
		}
		p, _ := r.roster.copy(id)
		m.Reachable, m.Error, m.Report = p.reachable(now), p.err, p.report
		m.Report.ID = id
		if !p.answered.IsZero() {
			m.LastContact = now.Sub(p.answered)
		}
		if !p.reported.IsZero() {
			m.ReportAge = now.Sub(p.reported)
		}
		switch {
		case id == leader:
			m.Role = "leader"
		case !m.Voter:
			m.Role = "non-voter"
		case p.report.Role == "candidate":
			m.Role = "candidate"
		default:
			m.Role = "follower"
		}
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b Member) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return list
}

// Problem is something a person should know of (ux.md §3).
type Problem struct {
	Code    string // replica_unreachable no_leader few_voters lagging state_differs versions_differ
	Replica string // name, "" for the cluster as a whole
	Detail  string
	Since   time.Time
}

// problems remembers since when each one has been there.
type problems struct {
	mu    sync.Mutex
	since map[[2]string]time.Time // by code and replica
}

// dated gives each its time, and forgets those that are gone.
func (ps *problems) dated(list []Problem, now time.Time) []Problem {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	since := make(map[[2]string]time.Time, len(list))
	for i := range list {
		p := &list[i]
		key := [2]string{p.Code, p.Replica}
		if p.Since.IsZero() {
			p.Since = now
			if t, ok := ps.since[key]; ok {
				p.Since = t
			}
		}
		since[key] = p.Since
	}
	ps.since = since
	return list
}

// lagsFor is how long a replica may trail what the others had a second before.
const lagsFor = 10 * time.Second

// Problems lists what is wrong with the cluster as this replica sees it, in the order
// of the members' names.
func (r *Replica) Problems() []Problem {
	now := time.Now()
	s := r.Status()
	var list []Problem
	if s.Quorum > 0 && s.Leader == "" {
		list = append(list, Problem{Code: "no_leader", Detail: "no leader", Since: s.LostSince})
	}
	if s.Quorum > 0 && s.Voters < s.Wanted {
		list = append(list, Problem{Code: "few_voters", Detail: fmt.Sprintf("%d of %d voters", s.Voters, s.Wanted)})
	}
	if t := r.behind.Load(); t != nil && now.Sub(*t) >= lagsFor {
		list = append(list, Problem{Code: "lagging", Replica: r.c.Name, Since: *t, Detail: fmt.Sprintf("at index %d", s.AppliedIndex)})
	}
	for _, m := range r.servers() {
		if string(m.ID) == r.id {
			continue
		}
		p, ok := r.roster.copy(string(m.ID))
		name := r.nameOf(string(m.ID))
		switch {
		case !ok || p.tried.IsZero() && p.answered.IsZero():
			continue // not asked yet
		case !p.reachable(now):
			list = append(list, Problem{Code: "replica_unreachable", Replica: name, Detail: p.err, Since: p.silentSince()})
			continue
		}
		if !p.behind.IsZero() && now.Sub(p.behind) >= lagsFor {
			list = append(list, Problem{Code: "lagging", Replica: name, Since: p.behind,
				Detail: fmt.Sprintf("at index %d, %d behind", p.report.AppliedIndex, int64(s.AppliedIndex)-int64(p.report.AppliedIndex))})
		}
		if !p.differs.IsZero() {
			list = append(list, Problem{Code: "state_differs", Replica: name, Since: p.differs,
				Detail: fmt.Sprintf("state differs at index %d", p.differsAt)})
		}
		if v := p.report.Version; v != "" && v != r.c.Version {
			list = append(list, Problem{Code: "versions_differ", Replica: name, Detail: fmt.Sprintf("runs %s, %s runs %s", v, r.c.Name, r.c.Version)})
		}
	}
	slices.SortStableFunc(list, func(a, b Problem) int { return cmp.Compare(a.Replica, b.Replica) })
	return r.problems.dated(list, now)
}
