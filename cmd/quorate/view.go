package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/quorate/quorate/admin"
	"github.com/quorate/quorate/config"
	"github.com/quorate/quorate/fsm"
	"github.com/quorate/quorate/raftnode"
)

// status is GET /api/v1/status.
func (s *server) status() admin.Status {
	// The others' last word may be a second old, and much is applied in a second.
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	s.replica.Ask(ctx)
	cancel()
	k := s.replica.Status()
	out := admin.Status{
		Cluster: admin.Cluster{
			ID:               k.ClusterID,
			Leader:           k.LeaderName,
			Term:             k.Term,
			Voters:           k.Voters,
			WantedVoters:     k.Wanted,
			FailureTolerance: k.Tolerance,
		},
		Replica: admin.Self{
			ID:           s.replica.ID(),
			Name:         s.conf.Replica.Name,
			Role:         k.Role,
			Voter:        k.Voter,
			Version:      version,
			StartedAt:    s.start.UTC(),
			Ready:        len(s.notReady()) == 0,
			AppliedIndex: k.AppliedIndex,
			CommitIndex:  k.CommitIndex,
			LastIndex:    k.LastIndex,
			FirstIndex:   k.FirstIndex,
			StateHash:    k.StateHash.String(),
			Addresses:    s.addresses,
		},
		Replicas:   []admin.Replica{},
		Problems:   []admin.Problem{},
		LastChange: s.lastIndex.Load(),
	}
	if !k.LeaderSince.IsZero() {
		since := k.LeaderSince.UTC()
		out.Cluster.LeaderSince = &since
	}
	members := s.replica.Members()
	for _, m := range members {
		out.Replicas = append(out.Replicas, s.member(m, out.Replica))
	}
	for _, p := range append(s.replica.Problems(), s.differences(members)...) {
		out.Problems = append(out.Problems, admin.Problem{Code: p.Code, Replica: p.Replica, Detail: p.Detail, Since: p.Since.UTC()})
	}
	out.Cluster.Healthy = k.ClusterID != "" && k.Leader != "" && len(out.Problems) == 0

	table := s.proxy.Table()
	for _, n := range table.Nodes() {
		out.Workers.Total++
		if n.Usable() {
			out.Workers.Usable++
		}
		for _, v := range n.Record().VHosts {
			out.Workers.Contexts += len(v.Contexts)
		}
	}
	t := s.proxy.Stats()
	out.Traffic = admin.Traffic{
		Requests:          t.Requests,
		InFlight:          t.InFlight,
		ClientConnections: t.ClientConnections,
		Status:            map[string]uint64{"2xx": t.Class[2], "3xx": t.Class[3], "4xx": t.Class[4], "5xx": t.Class[5]},
	}
	return out
}

func (s *server) member(m raftnode.Member, self admin.Self) admin.Replica {
	r := admin.Replica{
		ID:           m.ID,
		Name:         m.Name,
		Role:         m.Role,
		Voter:        m.Voter,
		Reachable:    m.Reachable,
		Ready:        m.Reachable && m.Report.Ready,
		LastContact:  m.LastContact.Seconds(),
		AppliedIndex: m.Report.AppliedIndex,
		StateHash:    m.Report.StateHash,
		Version:      m.Report.Version,
		Addresses:    admin.Addresses(m.Report.Addresses),
	}
	if m.Self {
		r.Ready, r.AppliedIndex, r.StateHash, r.Version, r.Addresses = self.Ready, self.AppliedIndex, self.StateHash, self.Version, self.Addresses
		r.LastContact = 0
	}
	if m.LastContact < 0 {
		r.LastContact = -1 // none since the answering replica started
	}
	if r.Addresses.Cluster == "" {
		r.Addresses.Cluster = m.Address
	}
	return r
}

// sharedKeys are the `shared` keys that this replica's configuration gives
// another value than the log has, with both values in words.
func (s *server) sharedKeys() map[string]string {
	if s.replica.ClusterID() == "" {
		return nil
	}
	conf := s.written.Load()
	own := settingsOf(conf)
	keys := map[string]string{}
	for _, d := range config.Differences(sharedOf(own), sharedOf(s.replica.State().State.Settings())) {
		if d.Key == "shared.voters" && !conf.Shared.Voters.Given {
			continue // auto is what the cluster was formed with
		}
		if conf.Given(d.Key) {
			keys[d.Key] = fmt.Sprintf("%s in its file, %s in the log", d.A, d.B)
		}
	}
	return keys
}

// differences are all replicas' keys of sharedKeys as problems.
func (s *server) differences(members []raftnode.Member) []raftnode.Problem {
	var problems []raftnode.Problem
	for _, m := range members {
		keys, since := m.Report.Shared, m.Report.StartedAt
		if m.Self {
			keys, since = s.sharedKeys(), s.start
		}
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			problems = append(problems, raftnode.Problem{Code: "config_differs", Replica: m.Name, Detail: key + ": " + keys[key], Since: since})
		}
	}
	return problems
}

// workers is GET /api/v1/workers.
func (s *server) workers() admin.Workers {
	a := s.replica.State()
	table := s.proxy.Table()
	out := admin.Workers{Index: a.Index, Workers: []admin.Worker{}}
	members := s.replica.Members()
	now := time.Now()
	for _, n := range a.State.Nodes() {
		if n.Removed != 0 {
			continue
		}
		run := table.Node(string(n.Route))
		if run != nil {
			n = run.Record() // what routes here, even when this replica honours a word that no cluster agreed on
		}
		status, why := table.Why(n.Route, now.UnixMilli())
		w := admin.Worker{
			Route:        string(n.Route),
			Balancer:     n.Config.Balancer,
			Domain:       n.Config.Domain,
			Type:         n.Config.Type,
			Host:         n.Config.Host,
			Port:         n.Config.Port,
			Load:         n.Load,
			Hold:         holdOf(n.Hold),
			Contexts:     []admin.Context{},
			RegisteredAt: time.UnixMilli(n.Since).UTC(),
			ChangedAt:    time.UnixMilli(n.Modified).UTC(),
			Source:       n.Source,
			Reachable:    s.reachable(n.Route, members),
		}
		w.Status, w.Why = s.agreed(n, w.Reachable, status, why)
		if run != nil {
			w.Elected = run.Elected()
		}
		for _, v := range n.VHosts {
			for i := range v.Contexts {
				c := &v.Contexts[i]
				w.Contexts = append(w.Contexts, admin.Context{
					Aliases:   v.Aliases,
					Path:      string(c.Path),
					Status:    c.Status.String(),
					Hold:      holdOf(c.Hold),
					Effective: n.Effective(c).String(),
					Requests:  table.InFlightAt(n.Route, v.ID, c.Path),
				})
			}
		}
		out.Workers = append(out.Workers, w)
	}
	return out
}

func holdOf(h fsm.Hold) *admin.Hold {
	if h.Mode == fsm.HoldNone {
		return nil
	}
	return &admin.Hold{Mode: h.Mode.String(), By: h.By, Reason: h.Reason, Since: time.UnixMilli(h.Since).UTC()}
}

// reachable says, by replica name, who gets through to a worker. A replica that
// does not answer has no entry.
func (s *server) reachable(r fsm.JVMRoute, members []raftnode.Member) map[string]bool {
	by := map[string]bool{}
	for _, m := range members {
		switch {
		case m.Self:
			by[m.Name], _ = s.proxy.Reachable(r)
		case m.Reachable:
			by[m.Name] = !lists(m.Report.Unreachable, r)
		}
	}
	return by
}

// agreed turns this replica's opinion of a worker into that of all of them.
func (s *server) agreed(n *fsm.Node, by map[string]bool, status, why string) (string, string) {
	var yes, no []string
	for name, ok := range by {
		if ok {
			yes = append(yes, name)
		} else {
			no = append(no, name)
		}
	}
	switch {
	case len(no) == 0 || status == "new" || status == "down" || status == "held":
		return status, why
	case len(yes) == 0:
		_, err := s.proxy.Reachable(n.Route)
		text := "no replica can connect"
		if err != nil {
			text += " (" + causeOf(err) + ")"
		}
		if source := n.Source; source != "" && !sameHost(source, n.Config.Host) {
			text += fmt.Sprintf(". It registered from %s as %s: set the connector's address on the worker", hostOf(source), n.Config.Host)
		}
		return "unreachable", text
	}
	slices.SortFunc(yes, natural)
	slices.SortFunc(no, natural)
	return "suspect", fmt.Sprintf("%s cannot connect, %s can", strings.Join(no, ", "), strings.Join(yes, ", "))
}

// causeOf says what a dial or a probe came to as people say it: ADDR: connection refused.
func causeOf(err error) string {
	var op *net.OpError
	var number syscall.Errno
	switch {
	case errors.Is(err, context.DeadlineExceeded) || os.IsTimeout(err):
		return "timeout"
	case errors.As(err, &op) && op.Addr != nil && errors.As(err, &number):
		return op.Addr.String() + ": " + number.Error()
	}
	return err.Error()
}

// hostOf is the host of host:port, or all of it.
func hostOf(source string) string {
	if host, _, err := net.SplitHostPort(source); err == nil {
		return host
	}
	return source
}

// sameHost says whether a worker registered from the address it gave, as far as
// that can be told without asking DNS.
func sameHost(source, host string) bool {
	given := net.ParseIP(strings.Trim(host, "[]"))
	from := net.ParseIP(hostOf(source))
	return given == nil || from == nil || given.Equal(from)
}
