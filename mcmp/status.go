package mcmp

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/quorate/quorate/fsm"
)

// checkTime is the longest check of a worker, even where its ping is longer.
const checkTime = 2 * time.Second

// status commits the load and checks the worker meanwhile: the load counts
// whatever the check says (spec/mcmp.md §0.5).
func (s *Server) status(ctx context.Context, m Message) (reply, error) {
	c := m.Command
	n := live(s.c.State(), c.Route)
	if n == nil && m.NoLoad { // registered a moment ago elsewhere?
		st, _ := s.read(ctx)
		if n = live(st, c.Route); n == nil {
			return reply{}, unknownNode(string(c.Route))
		}
	}
	if n != nil {
		s.heard.note(c.Route, true, time.Now())
	}
	wanted := m.NoLoad || c.Load >= 0
	check := s.startCheck(ctx, n, wanted)
	err := s.commitLoad(ctx, n, m)
	ok := <-check
	if err != nil {
		return reply{}, err
	}
	if n == nil { // applied here since
		s.heard.note(c.Route, true, time.Now())
		ok = <-s.startCheck(ctx, live(s.c.State(), c.Route), wanted)
	}
	return s.state("STATUS-RSP", c.Route, ok), nil
}

// commitLoad brings the load of a STATUS into the log. Without a leader it counts
// on this replica alone. n is the node, nil if it is unknown here.
func (s *Server) commitLoad(ctx context.Context, n *fsm.Node, m Message) error {
	c := m.Command
	if m.NoLoad {
		if !n.Resync {
			return nil
		}
		c.Load = n.Load // changes nothing but the flag
	}
	err := s.commit(ctx, c)
	_, overridden := s.loads.Load(c.Route)
	switch {
	case errors.Is(err, ErrNoLeader) && n != nil:
		if !m.NoLoad {
			s.c.Override(c)
			s.loads.Store(c.Route, true)
		}
		return nil
	case err == nil && overridden:
		s.c.Override(c) // back to what the state says: perhaps it made no entry
		s.loads.Delete(c.Route)
	}
	return err
}

// startCheck checks the worker of n in its own goroutine and sends one result,
// true if there is nothing to check.
func (s *Server) startCheck(ctx context.Context, n *fsm.Node, wanted bool) <-chan bool {
	done := make(chan bool, 1)
	if n == nil || !wanted {
		done <- true
		return done
	}
	go func() { done <- s.check(ctx, n) }()
	return done
}

func (s *Server) check(ctx context.Context, n *fsm.Node) bool {
	d := checkTime
	if ping := time.Duration(n.Config.Ping) * time.Millisecond; ping > 0 {
		d = min(d, ping)
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return s.c.Check(ctx, n.Route) == nil
}

// ping answers for this replica, a node, or an address (spec/mcmp.md §0.6).
func (s *Server) ping(ctx context.Context, p Ping) (reply, error) {
	if p == (Ping{}) {
		return s.state("PING-RSP", "", true), nil
	}
	st, _ := s.read(ctx)
	if p.Route != "" {
		n := live(st, p.Route)
		if n == nil {
			return reply{}, unknownNode(string(p.Route))
		}
		return s.state("PING-RSP", p.Route, s.check(ctx, n)), nil
	}
	scheme := p.Scheme
	if scheme != "ajp" { // only a known worker is asked: this is no port scanner
		n := httpNode(st, p.Host, p.Port)
		if n == nil {
			return s.state("PING-RSP", "", false), nil
		}
		scheme = n.Config.Type
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	return s.state("PING-RSP", "", s.c.CheckAddress(ctx, scheme, p.Host, p.Port) == nil), nil
}

// httpNode finds a node of type http or https by its address.
func httpNode(st *fsm.State, host string, port int) *fsm.Node {
	for _, n := range st.Nodes() {
		if n.Removed == 0 && n.Config.Type != "ajp" && n.Config.Port == port && strings.EqualFold(n.Config.Host, host) {
			return n
		}
	}
	return nil
}
