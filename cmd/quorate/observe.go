package main

import (
	"time"

	"github.com/quorate/quorate/admin"
	"github.com/quorate/quorate/fsm"
	"github.com/quorate/quorate/raftnode"
)

// applied hands an entry's effect to the table and tells people what changed.
// It runs in the order of the log, before the proposer is answered: who is told
// 200 is routed to.
func (s *server) applied(a raftnode.Applied, e fsm.Entry, results []fsm.Result) {
	if s.proxy == nil { // still opening: reset comes
		return
	}
	s.proxy.Apply(a.Index, a.State, results)
	for i := range e.Commands { // an entry without any has one result all the same
		c, r := &e.Commands[i], results[i]
		for _, v := range r.Events {
			s.tell(a, c, v)
			s.lastIndex.Store(&admin.Change{
				Index:   a.Index,
				Time:    time.UnixMilli(e.Time).UTC(),
				Op:      v.Op,
				Route:   string(v.Route),
				Context: string(v.Context),
				Replica: c.Replica,
				Detail:  v.Detail,
			})
		}
	}
}

// reset replaces the table as a whole.
func (s *server) reset(a raftnode.Applied) {
	if s.proxy != nil {
		s.proxy.Reset(a.Index, a.State)
	}
}

// tell logs one event in the words of ux.md §5.
func (s *server) tell(a raftnode.Applied, c *fsm.Command, v fsm.Event) {
	worker := []any{"worker", string(v.Route), "source", c.Source, "via", c.Replica, "index", a.Index}
	context := []any{"worker", string(v.Route), "context", string(v.Context), "aliases", v.Detail, "index", a.Index}
	var message string
	args := worker
	switch v.Op {
	case "CONFIG":
		message, args = "worker changed", append(worker, "what", v.Detail)
		if n := a.State.Node(v.Route); n != nil && n.Since == a.State.Time() {
			message, args = "worker registered", append(worker, "address", v.Detail)
		}
	case "STATUS":
		message, args = "worker changed", append(worker, "what", v.Detail)
	case "ENABLE", "DISABLE", "STOP", "REMOVE":
		if v.Op == "REMOVE" && v.Context == "" {
			message = "worker removed"
			break
		}
		message, args = "context "+map[string]string{"ENABLE": "enabled", "DISABLE": "disabled", "STOP": "stopped", "REMOVE": "removed"}[v.Op], context
	case "EVICT", "DROP":
		message, args = "worker removed", append(worker, "what", v.Detail)
	case "EXPIRE":
		message, args = "worker expired", append(worker, "what", v.Detail)
	case "DRAIN", "HOLD":
		message, args = "hold set", []any{"worker", string(v.Route), "context", string(v.Context), "by", c.By, "reason", c.Reason, "index", a.Index}
	case "RELEASE":
		message, args = "hold released", []any{"worker", string(v.Route), "context", string(v.Context), "by", c.By, "index", a.Index}
	default:
		s.log.Debug("state changed", "op", v.Op, "worker", string(v.Route), "what", v.Detail, "index", a.Index)
		return
	}
	s.log.Info(message, args...)
}
