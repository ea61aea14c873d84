package raftnode

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"
)

// How a cluster begins (design.md §5, Start). Every replica with an empty log waits
// here until Raft has a configuration, whoever gave it:
//
//	nobody to join, one expected      it forms alone
//	a cluster is seen                 the leader adds it
//	as many empty ones as expected    the lowest id asks each of the others to promise,
//	                                  then forms the cluster with all of them as voters
//	Init                              it forms alone

const (
	formEvery = 200 * time.Millisecond
	tellEvery = 10 * time.Second
)

// beFormed returns when this replica has a configuration or ctx ends.
func (r *Replica) beFormed(ctx context.Context) {
	var f former
	t := time.NewTicker(formEvery)
	defer t.Stop()
	for {
		if len(r.servers()) > 0 {
			close(r.formed)
			return
		}
		if err := r.nameIsFree(time.Now()); err != nil {
			r.fail(err)
			return
		}
		why := r.tryForm(ctx, &f)
		if why != nil && time.Since(f.told) >= tellEvery && time.Since(r.started) >= time.Second {
			f.told = time.Now()
			reason := why.Error()
			if trouble := r.trouble(f.told); trouble != "" {
				reason += "; " + trouble
			}
			r.log.Info("waiting for replicas", "have", why.have, "want", r.c.BootstrapExpect, "seeds", r.c.Join, "why", reason)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// former is what beFormed remembers from one look to the next.
type former struct {
	told time.Time
	set  []string // the replicas to form with, seen the last time
}

// waiting says why a replica is not in a cluster yet.
type waiting struct {
	have int
	why  string
}

func (w *waiting) Error() string { return w.why }

// tryForm does what can be done now, and says what is waited for if that is not enough.
func (r *Replica) tryForm(ctx context.Context, f *former) *waiting {
	r.forming.Lock()
	defer r.forming.Unlock()
	r.dropPromise(time.Now())
	promise := r.home.get().Promise
	switch {
	case promise != nil && len(promise.Replicas) == 1, promise == nil && r.c.BootstrapExpect == 1 && len(r.c.Join) == 0:
		return r.told(1, r.formAlone(promise))
	case promise != nil && promise.Replicas[0] == r.id:
		return r.told(r.present(promise), r.formWith(ctx, promise))
	case promise != nil:
		return &waiting{r.present(promise), "promised: " + r.whoIsMissing(promise)}
	}
	if id := r.clusterSeen(); id != "" {
		return &waiting{1, "cluster " + id + " is there: its leader has not added this replica yet"}
	}
	if r.c.BootstrapExpect == 1 {
		return &waiting{1, "no seed belongs to a cluster: set cluster.bootstrap_expect on all, or run quorate init on one"}
	}
	set, have := r.candidates(time.Now())
	stable := set != nil && slices.Equal(set, f.set)
	f.set = set
	switch {
	case set == nil:
		return &waiting{have, "too few replicas with the same bootstrap_expect and no cluster"}
	case set[0] != r.id:
		return &waiting{have, r.nameOf(set[0]) + " has the lowest id and forms the cluster"}
	case !stable:
		return &waiting{have, "the replicas have just been found"}
	}
	p := &Promise{ClusterID: uuid.NewString(), Replicas: set}
	if err := r.promise(p); err != nil {
		return r.told(have, err)
	}
	return r.told(have, r.formWith(ctx, p))
}

func (r *Replica) told(have int, err error) *waiting {
	if err == nil {
		return nil
	}
	return &waiting{have, err.Error()}
}

// candidates returns the lowest ids of live replicas that wait to be formed as this one
// does, sorted, and how many there are; nil if they are too few.
func (r *Replica) candidates(now time.Time) ([]string, int) {
	all := []string{r.id}
	for _, p := range r.roster.all() {
		if p.reachable(now) && p.report.ID == p.id && p.report.ClusterID == "" && p.report.Promise == nil && p.report.Expect == r.c.BootstrapExpect {
			all = append(all, p.id)
		}
	}
	slices.Sort(all)
	if len(all) < r.c.BootstrapExpect {
		return nil, len(all)
	}
	return all[:r.c.BootstrapExpect], len(all)
}

// clusterSeen is the id of a cluster that another live replica belongs to, if any.
func (r *Replica) clusterSeen() string {
	for _, h := range r.hints() {
		if h.ClusterID != "" {
			return h.ClusterID
		}
	}
	for _, p := range r.roster.all() {
		if p.reachable(time.Now()) && p.report.ClusterID != "" {
			return p.report.ClusterID
		}
	}
	return ""
}

// present counts the promised replicas that are there, this one included.
func (r *Replica) present(p *Promise) int { return len(p.Replicas) - len(r.missing(p)) }

func (r *Replica) missing(p *Promise) []string {
	var gone []string
	for _, id := range p.Replicas {
		if q, _ := r.roster.copy(id); id != r.id && !q.reachable(time.Now()) {
			gone = append(gone, r.nameOf(id))
		}
	}
	return gone
}

func (r *Replica) whoIsMissing(p *Promise) string {
	if gone := r.missing(p); len(gone) > 0 {
		return strings.Join(gone, ", ") + " not reachable; if gone for good run quorate init on one of the rest"
	}
	return r.nameOf(p.Replicas[0]) + " forms the cluster"
}

// formAlone makes a cluster of this replica.
func (r *Replica) formAlone(promise *Promise) error {
	if promise == nil {
		promise = &Promise{ClusterID: uuid.NewString(), Replicas: []string{r.id}}
		if err := r.promise(promise); err != nil {
			return err
		}
	}
	return r.bootstrap(promise)
}

// formWith asks every other replica for its promise and forms the cluster with all of
// them, or with none.
func (r *Replica) formWith(ctx context.Context, p *Promise) error {
	for _, id := range p.Replicas {
		if id == r.id {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := r.call(ctx, id, "/v1/promise", p, &struct{}{})
		cancel()
		if err != nil {
			return fmt.Errorf("promise of %s: %w; if it is gone for good run quorate init on one of the rest", r.nameOf(id), err)
		}
	}
	return r.bootstrap(p)
}

// bootstrap writes Raft's first configuration. Who is in it and has an empty log is
// reached by the leader.
func (r *Replica) bootstrap(p *Promise) error {
	var c raft.Configuration
	for _, id := range p.Replicas {
		c.Servers = append(c.Servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(id), Address: raft.ServerAddress(id)})
	}
	if err := r.raft.BootstrapCluster(c).Error(); err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
		return fmt.Errorf("form cluster: %w", err)
	}
	return nil
}

// promise makes p durable.
func (r *Replica) promise(p *Promise) error {
	return r.home.change(func(is *identity) error {
		is.Promise = p
		return nil
	})
}

// dropPromise ends a promise that cannot be kept by anyone: one of those it names
// belongs to another cluster by now.
func (r *Replica) dropPromise(now time.Time) {
	p := r.home.get().Promise
	if p == nil {
		return
	}
	for _, id := range p.Replicas {
		q, _ := r.roster.copy(id)
		if id != r.id && q.reachable(now) && q.report.ClusterID != "" && q.report.ClusterID != p.ClusterID {
			if err := r.promise(nil); err != nil {
				r.fail(err)
			}
			return
		}
	}
}

// promised answers the replica that wants to form a cluster with this one. A promise is
// given once, while the log is empty; the same one again is fine.
func (r *Replica) promised(from string, p Promise) error {
	r.forming.Lock()
	defer r.forming.Unlock()
	is := r.home.get()
	switch {
	case is.ClusterID != "" || len(r.servers()) > 0:
		return errors.New("it belongs to a cluster")
	case is.Promise.equal(&p):
		return nil
	case is.Promise != nil:
		return fmt.Errorf("it has promised itself to %d other replicas", len(is.Promise.Replicas)-1)
	case len(p.Replicas) != r.c.BootstrapExpect || r.c.BootstrapExpect == 1:
		return fmt.Errorf("its cluster.bootstrap_expect is %d, not %d", r.c.BootstrapExpect, len(p.Replicas))
	case p.ClusterID == "" || !slices.IsSorted(p.Replicas) || p.Replicas[0] != from || !slices.Contains(p.Replicas, r.id):
		return errors.New("not a promise it can give")
	}
	return r.promise(&p)
}

// Init forms a cluster of this replica alone, now, whatever it waits for and has
// promised (quorate init). It returns the cluster's id once this replica leads it.
// ErrFormed: it belongs to a cluster already.
func (r *Replica) Init(ctx context.Context) (string, error) {
	select {
	case <-r.ready:
	case <-ctx.Done():
		return "", fmt.Errorf("init: %w", ctx.Err())
	case <-r.done.Done():
		return "", fmt.Errorf("init: %w", ErrStopped)
	}
	if err := r.init(); err != nil {
		return "", fmt.Errorf("init: %w", err)
	}
	for {
		if id := r.ClusterID(); id != "" {
			return id, nil
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return "", fmt.Errorf("init: formed, but no leader yet: %w", err)
		}
	}
}

func (r *Replica) init() error {
	r.forming.Lock()
	defer r.forming.Unlock()
	if id := r.ClusterID(); id != "" || len(r.servers()) > 0 {
		return fmt.Errorf("%s %w (%s)", r.c.Name, ErrFormed, id)
	}
	return r.formAlone(nil)
}

// nameIsFree looks for a live replica of this one's name. A member keeps its name; of
// two that are in no cluster the lower id does.
func (r *Replica) nameIsFree(now time.Time) error {
	for _, p := range r.roster.all() {
		if p.name != r.c.Name || !p.reachable(now) || p.report.Stopping {
			continue
		}
		if p.report.ClusterID != "" || p.id < r.id {
			return fmt.Errorf("replica.name: %s is %w (%s)", r.c.Name, ErrNameTaken, p.address)
		}
	}
	return nil
}
