package raftnode

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quorate/quorate/fsm"
)

// Report is what a replica tells the others each second over the cluster connection.
// Config.Report fills the part of traffic and workers, the Replica the rest.
// Durations are milliseconds.
type Report struct {
	Ready       bool              `json:"ready"`
	Addresses   Addresses         `json:"addresses"`
	InFlight    []InFlight        `json:"in_flight,omitempty"`   // only what is above 0
	Heard       []Heard           `json:"heard,omitempty"`       // STATUS received by this replica
	Unreachable []fsm.JVMRoute    `json:"unreachable,omitempty"` // workers this replica does not reach
	Shared      map[string]string `json:"shared,omitempty"`      // `shared` keys its file sets, with their values

	ID        string    `json:"id"`
	Name      string    `json:"name"`
	ClusterID string    `json:"cluster_id"` // "" while it belongs to none
	Promise   *Promise  `json:"promise,omitempty"`
	Expect    int       `json:"expect"` // its cluster.bootstrap_expect
	Version   string    `json:"version"`
	Schema    uint16    `json:"schema"` // newest version of entries it can read
	StartedAt time.Time `json:"started_at"`
	Stopping  bool      `json:"stopping,omitempty"`
	Role      string    `json:"role"`                   // leader, follower, candidate, non-voter
	LeadsFor  int64     `json:"leads_for_ms,omitempty"` // of the leader: since its election

	// Of the state that routes. Without a leader after a start that is the boot state,
	// whose entries may not all have committed: Boot, and then the hash proves nothing.
	AppliedIndex uint64 `json:"applied_index"`
	StateHash    string `json:"state_hash"`
	Boot         bool   `json:"boot,omitempty"`
}

// Addresses are what a replica listens on, as others reach it: host:port.
type Addresses struct {
	Traffic []string `json:"traffic"`
	MCMP    []string `json:"mcmp"`
	Admin   string   `json:"admin"`
	Cluster string   `json:"cluster"`
	Gossip  string   `json:"gossip"`
}

// InFlight counts the requests of one context of one worker that are under way on one replica.
type InFlight struct {
	Route    fsm.JVMRoute `json:"route"`
	Context  fsm.Path     `json:"context"`
	Requests int          `json:"requests"`
}

// Heard says when a replica had a worker's last STATUS, and how far apart the last two were.
type Heard struct {
	Route  fsm.JVMRoute `json:"route"`
	Age    int64        `json:"age_ms"`
	Period int64        `json:"period_ms"` // 0: unknown
}

// Hint is a replica that gossip shows: where to look, and nothing more.
type Hint struct {
	ID        string
	Name      string
	Address   string // host:port of the cluster port
	ClusterID string // "" while it belongs to none
	Ready     bool
}

// Member is one replica of the cluster's configuration.
type Member struct {
	ID          string
	Name        string // "" while it was never heard of
	Address     string // host:port of the cluster port, "" while unknown
	Self        bool   // the answering replica
	Voter       bool
	Role        string        // leader, follower, candidate, non-voter
	Reachable   bool          // from the answering replica
	LastContact time.Duration // since the last answer; -1: none since this replica started
	Error       string        // of the last try to reach it: "10.0.0.13:7300: connection refused"
	Report      Report        // the last one; zero but for ID when there was none
	ReportAge   time.Duration // since it came, asked for or not
}

// A replica that has not answered for this long is unreachable: three rounds of
// reports. One that has never answered is so from the first failure on.
const unreachableAfter = 3 * time.Second

// contact is what this replica knows of another one.
type contact struct {
	id      string
	name    string
	address string

	answered time.Time // last answer; zero: none since the start
	tried    time.Time // first try that failed after it
	err      string    // of the last try, "" when it went well
	report   Report
	reported time.Time // when that came
	down     bool      // told as unreachable

	behind    time.Time // since when its applied index trails what the cluster had a round before
	compared  uint64    // index of the last hash compared
	differs   time.Time // since when its hash differs; zero: it agrees
	differsAt uint64    // first index at which it did
}

func (p *contact) reachable(now time.Time) bool {
	if p.err == "" {
		return !p.answered.IsZero()
	}
	if p.report.Stopping {
		return false // it said so
	}
	return !p.answered.IsZero() && now.Sub(p.answered) < unreachableAfter
}

// silentSince is when an unreachable peer was last there, or first missed.
func (p *contact) silentSince() time.Time {
	if p.answered.IsZero() {
		return p.tried
	}
	return p.answered
}

// roster holds what is known of every other replica: members, and those that gossip shows.
type roster struct {
	mu    sync.Mutex
	known map[string]*contact
}

func (rs *roster) get(id string) *contact {
	p := rs.known[id]
	if p == nil {
		p = &contact{id: id}
		if rs.known == nil {
			rs.known = make(map[string]*contact)
		}
		rs.known[id] = p
	}
	return p
}

// heard keeps a report that p itself sent, asked or not. Whether p can be reached from
// here is for answered and failed to say.
func (rs *roster) heard(rep Report, now time.Time) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	p := rs.get(rep.ID)
	p.report, p.reported = rep, now
	if rep.Name != "" {
		p.name = rep.Name
	}
	if rep.Addresses.Cluster != "" {
		p.address = rep.Addresses.Cluster
	}
}

func (rs *roster) answered(id string, now time.Time) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	p := rs.get(id)
	p.answered, p.tried, p.err = now, time.Time{}, ""
}

func (rs *roster) failed(id, why string, now time.Time) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	p := rs.get(id)
	if p.tried.IsZero() {
		p.tried = now
	}
	p.err = why
}

// copy returns what is known of id.
func (rs *roster) copy(id string) (contact, bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	p := rs.known[id]
	if p == nil {
		return contact{id: id}, false
	}
	return *p, true
}

// all returns what is known of every replica, by name, then id.
func (rs *roster) all() []contact {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	list := make([]contact, 0, len(rs.known))
	for _, p := range rs.known {
		list = append(list, *p)
	}
	slices.SortFunc(list, func(a, b contact) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.id, b.id)
	})
	return list
}

// keep forgets every replica for which want says no.
func (rs *roster) keep(want func(id string) bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for id := range rs.known {
		if !want(id) {
			delete(rs.known, id)
		}
	}
}

// update lets f change what is known of id, which is there.
func (rs *roster) update(id string, f func(*contact)) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	f(rs.get(id))
}

// exchange tells every other replica this one's report and keeps theirs, once a second;
// more often while this replica waits to be in a cluster.
func (r *Replica) exchange(ctx context.Context) {
	defer r.remember()
	var w watcher
	for {
		began := time.Now()
		r.Ask(ctx)
		if ctx.Err() != nil {
			return
		}
		r.watchPeers(&w, time.Now())
		every := time.Second
		select {
		case <-r.formed:
		default:
			every = formEvery
		}
		if sleep(ctx, every-time.Since(began)) != nil {
			return
		}
	}
}

// Ask exchanges reports with every replica this one knows of, in parallel, for at most
// a second or ctx, and keeps the answers. Afterwards Members shows them; one that did
// not answer shows what it last told.
func (r *Replica) Ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	mine := r.report()
	var wg sync.WaitGroup
	for _, id := range r.others() {
		wg.Go(func() { r.ask(ctx, id, mine) })
	}
	wg.Wait()
}

func (r *Replica) ask(ctx context.Context, id string, mine Report) {
	var theirs Report
	err := r.call(ctx, id, "/v1/report", mine, &theirs)
	now := time.Now()
	switch {
	case err == nil && theirs.ID == id:
		r.roster.heard(theirs, now)
		r.roster.answered(id, now)
	case err == nil:
		r.roster.failed(id, r.address(id)+": answered as "+theirs.ID, now)
	case errors.Is(ctx.Err(), context.Canceled):
		// This replica stops, or the caller had enough: nothing is known of the other.
	default:
		r.roster.failed(id, r.plain(id, err), now)
		if dial, ok := errors.AsType[*dialError](err); ok && isRefusal(err) {
			r.refuse(id, r.nameOf(id), dial.addr, dial)
		}
		if refused, ok := errors.AsType[*refusedError](err); ok && errors.Is(err, ErrNameTaken) {
			r.fail(refused) // by the one that bears it: this replica is the later one
		}
	}
	if err == nil {
		r.leader.reached(id)
	}
}

// others are the replicas to talk to: members, and what gossip shows of this cluster
// or of none.
func (r *Replica) others() []string {
	ids := make(map[string]bool)
	for _, s := range r.servers() {
		ids[string(s.ID)] = true
	}
	mine := r.home.get().ClusterID
	for _, h := range r.hints() {
		if h.ClusterID == "" || mine == "" || h.ClusterID == mine {
			ids[h.ID] = true
		}
	}
	delete(ids, r.id)
	list := make([]string, 0, len(ids))
	for id := range ids {
		list = append(list, id)
	}
	slices.Sort(list)
	return list
}
