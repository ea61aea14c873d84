package raftnode

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// HandOver makes this replica ready to go: it gives leadership to another voter and
// tells the others that it will be gone. It still serves Propose and Read, by asking
// the new leader, and does not lead again. A replica that cannot hand over, as the only
// voter, returns nil.
func (r *Replica) HandOver(ctx context.Context) error {
	select {
	case <-r.ready:
	default:
		return nil
	}
	handing, cancel := context.WithTimeout(ctx, 2*time.Second*time.Duration(r.c.Multiplier))
	defer cancel()
	r.resigned.Store(true)
	err := r.transfer(handing)
	for err != nil && sleep(handing, 50*time.Millisecond) == nil {
		r.Ask(handing) // the one chosen may be gone: another one then
		err = r.transfer(handing)
	}
	r.stopping.Store(true)
	told, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	r.Ask(told)
	return err
}

// transfer hands leadership to another voter, if this replica leads and there is one,
// and waits until that one is known to lead.
func (r *Replica) transfer(ctx context.Context) error {
	heir, others := r.heir(time.Now())
	if r.raft.State() != raft.Leader || !others {
		return nil
	}
	start := time.Now()
	done := make(chan error, 1)
	r.handing.Add(1)
	go func() {
		defer r.handing.Add(-1)
		if heir.ID == "" {
			done <- r.raft.LeadershipTransfer().Error()
		} else {
			done <- r.raft.LeadershipTransferToServer(heir.ID, heir.Address).Error()
		}
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("hand leadership over: %w", err)
		}
	case <-ctx.Done():
		return fmt.Errorf("hand leadership over: %w", ctx.Err())
	}
	for {
		view := r.leader.view()
		if view.id != "" && view.id != r.id {
			r.log.Debug("leadership handed over", "to", r.nameOf(view.id), "took", time.Since(start))
			return nil
		}
		select {
		case <-view.while.Done():
		case <-ctx.Done():
			return fmt.Errorf("hand leadership over: %w", ctx.Err())
		}
	}
}

// heir is the furthest of the other voters that answer, zero if none does, and whether
// there are others. Raft would choose by its log alone, and so a dead one as well.
func (r *Replica) heir(now time.Time) (heir raft.Server, others bool) {
	var best uint64
	for _, s := range r.servers() {
		if s.Suffrage != raft.Voter || string(s.ID) == r.id {
			continue
		}
		others = true
		p, _ := r.roster.copy(string(s.ID))
		if p.err == "" && p.reachable(now) && !p.report.Stopping && p.report.AppliedIndex >= best {
			heir, best = s, p.report.AppliedIndex
		}
	}
	return heir, others
}
