package raftnode

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/quorate/quorate/fsm"
)

// How long a command without a deadline of its own may take: the budget of a worker's
// message (design.md §4.4).
const defaultBudget = 5 * time.Second

// noLeaderFor is how long a replica waits for an election. One that has known no
// leader for longer answers at once: workers send to all replicas in turn, and a slow
// one delays their STOPs to the others. The time a process was stopped does not count.
const noLeaderFor = 3 * time.Second

// Propose has cmd committed and applied, and returns what it did and the index it did
// it at, once that index is applied on this replica too. A command without an id gets
// one. A command that changes nothing makes no entry; its index is then that of the
// state which shows so.
//
// It waits out an election, retrying with the same id, until ctx ends (5 s when ctx has
// no deadline). Errors: ErrNoLeader and ErrUnwritable when waiting is of no use, ErrExpired, ErrStopped;
// with ErrUnknown beside them when the command may yet commit; or what the leader
// refused it for.
func (r *Replica) Propose(ctx context.Context, cmd fsm.Command) (fsm.Result, uint64, error) {
	if cmd.ID == (fsm.CommandID{}) {
		rand.Read(cmd.ID[:])
	}
	ctx, cancel := withBudget(ctx)
	defer cancel()

	// Liveness is soft state: what this replica's own state already says needs no leader.
	routes := routesOf(cmd)
	if cmd.Op == fsm.OpStatus && !r.busy.any(routes) {
		now := r.machine.State()
		if _, res := fsm.Preview(now.State, cmd); !res.Changed && res.Code == fsm.OK {
			return res, now.Index, nil
		}
	}
	r.busy.add(routes)
	defer r.busy.done(routes)

	var res fsm.Result
	var index uint64
	err := r.retry(ctx, func(ctx context.Context, again bool) error {
		var err error
		res, index, err = r.proposeOnce(ctx, cmd, again)
		return err
	})
	if err == nil {
		err = r.applied(ctx, index)
	}
	if err != nil {
		what := strings.TrimSpace(fmt.Sprint(cmd.Op, " ", cmd.Route))
		return fsm.Result{}, 0, fmt.Errorf("propose %s: %w", what, err)
	}
	return res, index, nil
}

// Read returns a state that holds everything acknowledged anywhere before the call
// (read index). Errors as those of Propose; there ErrUnknown means nothing.
func (r *Replica) Read(ctx context.Context) (*fsm.State, error) {
	ctx, cancel := withBudget(ctx)
	defer cancel()
	var index uint64
	err := r.retry(ctx, func(ctx context.Context, _ bool) error {
		var err error
		index, err = r.readOnce(ctx)
		return err
	})
	if err == nil {
		err = r.applied(ctx, index)
	}
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return r.machine.State().State, nil
}

func withBudget(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, defaultBudget)
}

// retry calls attempt until it gives an answer, as long as that can be hoped for.
// attempt's own context ends when the leader changes. It is told whether an earlier
// attempt may have left the command in a log.
func (r *Replica) retry(ctx context.Context, attempt func(ctx context.Context, again bool) error) error {
	again := false
	pause := 2 * time.Millisecond
	for {
		if err := r.store.Unwritten(); err != nil {
			return giveUp(again, err) // what is committed would not be applied here
		}
		view := r.leader.view()
		err := r.underLeader(ctx, view, func(ctx context.Context) error { return attempt(ctx, again) })
		if err == nil {
			return nil
		}
		switch outcomeOf(err) {
		case final:
			return giveUp(again, err)
		case unknown:
			again = true
		}
		if r.done.Err() != nil {
			return giveUp(again, ErrStopped)
		}
		if r.leader.hopeless(time.Now(), r.pauses.awake(), r.mayElect) {
			return giveUp(again, ErrNoLeader)
		}
		if ctx.Err() != nil {
			if view.id == "" {
				return giveUp(again, ErrNoLeader)
			}
			return giveUp(again, ErrExpired)
		}
		// A new leader is known at once; short of that its queue may have room again,
		// or its Barrier may have passed.
		t := time.NewTimer(pause)
		select {
		case <-view.while.Done():
		case <-t.C:
		case <-ctx.Done():
		case <-r.done.Done():
		}
		t.Stop()
		pause = min(2*pause, 50*time.Millisecond)
	}
}

func giveUp(again bool, err error) error {
	if again {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return err
}

// underLeader runs f until the leader that view shows is no longer it.
func (r *Replica) underLeader(ctx context.Context, view leaderView, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(view.while, cancel)()
	defer context.AfterFunc(r.done, cancel)()
	return f(ctx)
}

// proposeOnce asks whoever leads now.
func (r *Replica) proposeOnce(ctx context.Context, cmd fsm.Command, again bool) (fsm.Result, uint64, error) {
	if l := r.leading.Load(); l != nil {
		return l.propose(ctx, cmd, again)
	}
	leader := r.leader.view().id
	if leader == "" || leader == r.id {
		return fsm.Result{}, 0, errNotLeader
	}
	return r.forward(ctx, leader, cmd, again)
}

// readOnce asks whoever leads now for an index that holds everything acknowledged.
func (r *Replica) readOnce(ctx context.Context) (uint64, error) {
	if l := r.leading.Load(); l != nil {
		return l.readIndex(ctx)
	}
	leader := r.leader.view().id
	if leader == "" || leader == r.id {
		return 0, errNotLeader
	}
	return r.forwardRead(ctx, leader)
}

// applied waits until this replica has applied index, be it by a snapshot.
func (r *Replica) applied(ctx context.Context, index uint64) error {
	if err := r.machine.WaitIndex(ctx, index); err != nil {
		if r.done.Err() != nil {
			return ErrStopped
		}
		return fmt.Errorf("%w: committed at %d, not applied here in time: %w", ErrUnknown, index, err)
	}
	return nil
}

// routesOf are the workers a command is about. "" stands for what is about none.
func routesOf(c fsm.Command) []string {
	routes := make([]string, 0, 1+len(c.Gone))
	routes = append(routes, string(c.Route))
	for _, g := range c.Gone {
		routes = append(routes, string(g))
	}
	return routes
}
