package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate/fsm"
	"github.com/quorate/quorate/mcmp"
	"github.com/quorate/quorate/raftnode"
)

// What follows is soft state: it is asked and told between replicas and never
// enters the log.

// hints are the others that gossip shows.
func (s *server) hints() []raftnode.Hint {
	if s.gossip == nil {
		return nil
	}
	var hints []raftnode.Hint
	for _, m := range s.gossip.Members() {
		if m.ID != s.replica.ID() {
			hints = append(hints, raftnode.Hint{ID: m.ID, Name: m.Name, Address: m.ClusterAddress, ClusterID: m.ClusterID, Ready: m.Ready})
		}
	}
	return hints
}

// report is what the others are told each second. Run starts after open, so
// every part is there.
func (s *server) report() raftnode.Report {
	r := raftnode.Report{
		Ready:       len(s.notReady()) == 0,
		Addresses:   raftnode.Addresses(s.addresses),
		InFlight:    s.inFlightHere(),
		Unreachable: s.proxy.Unreachable(),
		Shared:      s.sharedKeys(),
	}
	for route, h := range s.mcmp.Heard() {
		r.Heard = append(r.Heard, raftnode.Heard{Route: route, Age: h.Ago.Milliseconds(), Period: h.Period.Milliseconds()})
	}
	return r
}

func (s *server) inFlightHere() []raftnode.InFlight {
	var list []raftnode.InFlight
	for _, f := range s.proxy.InFlightAll() {
		list = append(list, raftnode.InFlight{Route: f.Route, Context: f.Path, Requests: int(f.Requests)})
	}
	return list
}

// inFlight counts the requests of one context on all replicas (design.md §4.7).
// A replica that does not answer within 300 ms counts what it last told.
func (s *server) inFlight(ctx context.Context, r fsm.JVMRoute, p fsm.Path) int {
	ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	s.replica.Ask(ctx)
	sum := int(s.proxy.InFlight(r, p))
	for _, m := range s.replica.Members() {
		if m.Self {
			continue
		}
		for _, f := range m.Report.InFlight {
			if f.Route == r && f.Context == p {
				sum += f.Requests
			}
		}
	}
	return sum
}

// gone says whether a worker may be replaced: no replica has had a STATUS from
// it for 1.5 of its periods, or none reaches it (spec/mcmp.md §0.3). A replica
// that does not answer has no say.
func (s *server) gone(r fsm.JVMRoute) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	s.replica.Ask(ctx)
	silent := s.mcmp.Silent(r)
	reached, _ := s.proxy.Reachable(r)
	for _, m := range s.replica.Members() {
		if m.Self || !m.Reachable {
			continue
		}
		for _, h := range m.Report.Heard {
			heard := mcmp.Heard{
				Ago:    time.Duration(h.Age)*time.Millisecond + m.ReportAge,
				Period: time.Duration(h.Period) * time.Millisecond,
			}
			if h.Route == r && !heard.Silent() {
				silent = false
			}
		}
		reached = reached || !lists(m.Report.Unreachable, r)
	}
	return silent || !reached
}

func lists(routes []fsm.JVMRoute, r fsm.JVMRoute) bool {
	for _, x := range routes {
		if x == r {
			return true
		}
	}
	return false
}

// propose is Propose in the words of package mcmp.
func (s *server) propose(ctx context.Context, c fsm.Command) (fsm.Result, error) {
	res, _, err := s.replica.Propose(ctx, c)
	if errors.Is(err, raftnode.ErrNoLeader) {
		return res, mcmp.ErrNoLeader
	}
	if errors.Is(err, raftnode.ErrUnwritable) { // as if cut off: it learns of nothing new
		return res, fmt.Errorf("%w: %w", mcmp.ErrNoLeader, &mcmp.Error{Type: "MEM", Mess: "MEM: The log of this replica cannot be written"})
	}
	return res, err
}

// read is the newest state, or without a quorum the local one and since when it
// may be behind.
func (s *server) read(ctx context.Context) (*fsm.State, time.Duration, error) {
	state, err := s.replica.Read(ctx)
	if err == nil {
		return state, 0, nil
	}
	age := time.Second // a leader is known, it did not answer in time
	if lost := s.replica.Status().LostSince; !lost.IsZero() {
		age = max(age, time.Since(lost))
	}
	return s.replica.State().State, age, nil
}
