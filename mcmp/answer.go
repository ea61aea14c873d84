package mcmp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/quorate/quorate/fsm"
)

// message answers one message within the reply budget: from its bytes to the
// bytes of the answer.
func (s *Server) message(ctx context.Context, source netip.Addr, method string, req *request) reply {
	start := time.Now()
	ctx, cancel := context.WithDeadline(ctx, start.Add(s.c.ReplyBudget))
	defer cancel()

	rep, err := s.act(ctx, source, method, req)
	kind := ""
	if err != nil {
		e := refusal(err)
		kind, rep = e.Type, refusalReply(e)
		s.refuse(ctx, source, method, e.Type, err)
	}
	took := time.Since(start)
	s.metrics.count(method, kind, took)
	s.log.DebugContext(ctx, "message answered", "source", source.String(), "command", method, "type", kind, "took", took)
	return rep
}

func (s *Server) act(ctx context.Context, source netip.Addr, method string, req *request) (reply, error) {
	if err := s.rate.wait(ctx, source); err != nil {
		return reply{}, &Error{typeGeneral, "GENERAL: Too many messages from " + source.String()}
	}
	m, err := Parse(method, req.whole(), req.body)
	if err != nil {
		return reply{}, err
	}
	rand.Read(m.Command.ID[:])
	m.Command.Origin = fsm.FromWorker
	m.Command.Replica = s.c.Name
	m.Command.Source = source.String()

	xml := strings.Contains(req.accept, "text/xml")
	switch m.Method {
	case methodInfo:
		return s.info(ctx, xml), nil
	case methodDump:
		return s.dump(ctx, xml), nil
	case methodVersion:
		return s.version(xml), nil
	case methodPing:
		return s.ping(ctx, m.Ping)
	case methodStatus:
		return s.status(ctx, m)
	}
	return s.change(ctx, m.Command)
}

// change brings CONFIG and *-APP into the log.
func (s *Server) change(ctx context.Context, c fsm.Command) (reply, error) {
	if c.Op == fsm.OpConfig {
		c.Gone = s.gone(c)
	}
	if err := s.commit(ctx, c); err == nil {
		s.c.Agreed(c.Route)
	} else if err = s.alone(c, err); err != nil {
		return reply{}, err
	}
	switch {
	case c.Op == fsm.OpConfig:
		s.registered(ctx, c)
	case c.Op == fsm.OpStop && !c.Whole:
		return s.stopped(ctx, c), nil
	}
	return reply{}, nil
}

// commit returns nil once c is applied on this replica, an *Error if Apply found
// that it cannot be done now.
func (s *Server) commit(ctx context.Context, c fsm.Command) error {
	res, err := s.c.Propose(ctx, c)
	if err == nil && res.Code != fsm.OK {
		return mem("%s", clean(res.Mess))
	}
	return err
}

// alone decides about a command that could not be committed: nil if the worker
// may be told 200 all the same. Taking traffic away needs no agreement, so this
// replica's table does it at once (spec/mcmp.md §0.8).
func (s *Server) alone(c fsm.Command, err error) error {
	var refused *Error
	if errors.As(err, &refused) {
		return err
	}
	st := s.c.State()
	switch c.Op {
	case fsm.OpDisable, fsm.OpStop, fsm.OpRemove:
		if live(st, c.Route) != nil {
			s.c.Override(c)
		}
	case fsm.OpConfig:
		if _, res := fsm.Preview(st, c); errors.Is(err, ErrNoLeader) && res.Code == fsm.OK && !res.Changed {
			return nil
		}
	}
	return err
}

// gone lists the nodes that c could replace, if only they were gone, and are:
// its own route at another address, another route at its address.
func (s *Server) gone(c fsm.Command) []fsm.JVMRoute {
	var gone []fsm.JVMRoute
	for _, n := range s.c.State().Nodes() {
		address := strings.EqualFold(n.Config.Host, c.Config.Host) && n.Config.Port == c.Config.Port
		moved := n.Route == c.Route && !(address && n.Config.Type == c.Config.Type)
		taken := n.Route != c.Route && address
		if n.Removed == 0 && (moved || taken) && s.c.Gone(n.Route) {
			gone = append(gone, n.Route)
		}
	}
	return gone
}

// registered takes the CONFIG of a worker as a sign of life, and warns when it
// comes from elsewhere than where it says its worker is.
func (s *Server) registered(ctx context.Context, c fsm.Command) {
	s.heard.note(c.Route, false, time.Now())
	host, err := netip.ParseAddr(strings.Trim(c.Config.Host, "[]"))
	if err != nil || host.Unmap().String() == c.Source {
		return
	}
	if s.strange.first(string(c.Route) + " " + c.Config.URL()) {
		s.log.WarnContext(ctx, "worker address is not its source", "worker", string(c.Route), "address", c.Config.URL(), "source", c.Source)
	}
}

// stopped answers STOP-APP of one context with the requests still in flight.
func (s *Server) stopped(ctx context.Context, c fsm.Command) reply {
	paths := make([]string, len(c.Contexts))
	for i, p := range c.Contexts {
		paths[i] = string(p)
	}
	return reply{body: fmt.Appendf(nil, "Type=STOP-APP-RSP&JvmRoute=%s&Alias=%s&Context=%s&Requests=%d\n",
		c.Route, strings.Join(c.Aliases, ","), strings.Join(paths, ","), s.inFlight(ctx, c.Route, c.Contexts[0]))}
}

// How long the requests in flight are asked for, and waited for.
const (
	askTime  = 300 * time.Millisecond
	holdTime = 250 * time.Millisecond
	holdStep = 20 * time.Millisecond
)

// inFlight counts requests, and waits a little for the last one to end: the
// worker repeats STOP-APP at the very moment its last request ends, and a stale 1
// would cost it its whole stop time-out.
func (s *Server) inFlight(ctx context.Context, r fsm.JVMRoute, p fsm.Path) int {
	ask, cancel := context.WithTimeout(ctx, askTime)
	n := s.c.InFlight(ask, r, p)
	cancel()
	if n == 0 {
		return 0
	}
	hold, cancel := context.WithTimeout(ctx, holdTime)
	defer cancel()
	step := time.NewTicker(holdStep)
	defer step.Stop()
	for {
		select {
		case <-hold.Done():
			return n
		case <-step.C:
		}
		if now := s.c.InFlight(hold, r, p); hold.Err() == nil {
			n = now
		}
		if n == 0 {
			return 0
		}
	}
}

// live returns a node that is registered and not marked removed.
func live(st *fsm.State, r fsm.JVMRoute) *fsm.Node {
	if n := st.Node(r); n != nil && n.Removed == 0 {
		return n
	}
	return nil
}

// read returns a state not older than anything acknowledged, or the local one:
// then r says so and how old it is.
func (s *Server) read(ctx context.Context) (st *fsm.State, r reply) {
	ctx, cancel := context.WithTimeout(ctx, s.c.ReplyBudget*9/10)
	defer cancel()
	st, age, err := s.c.Read(ctx)
	if st == nil {
		st = s.c.State()
	}
	return st, reply{stale: err != nil || age > 0, age: age}
}

// state answers STATUS-RSP and PING-RSP.
func (s *Server) state(kind string, r fsm.JVMRoute, ok bool) reply {
	b := append([]byte("Type="), kind...)
	if r != "" {
		b = append(b, "&JVMRoute="+string(r)...)
	}
	b = append(b, "&State="...)
	if !ok {
		b = append(b, "NOT"...)
	}
	b = append(b, "OK&id="...)
	b = strconv.AppendInt(b, s.c.StartTime.Unix(), 10)
	return reply{body: append(b, '\n')}
}
