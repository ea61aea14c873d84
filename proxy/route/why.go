package route

import (
	"fmt"
	"time"

	"github.com/quorate/quorate/fsm"
)

// Worker statuses in the words of ux.md §1. "unreachable" needs the view of all
// replicas; this one alone says "suspect".
const (
	StatusNew      = "new"
	StatusUp       = "up"
	StatusStandby  = "standby"
	StatusDraining = "draining"
	StatusHeld     = "held"
	StatusDown     = "down"
	StatusSuspect  = "suspect"
	StatusRemoved  = "removed"
)

// Why says in what status a worker is as this replica sees it, and in one line
// why it does or does not get new sessions (ux.md §3, workers). now is Unix ms,
// for "4m ago". A route that is not known is removed.
func (t *Table) Why(r fsm.JVMRoute, now int64) (status, why string) {
	w, ok := t.nodes.get(string(r))
	if !ok {
		return StatusRemoved, "not registered"
	}
	n, rec := w.node, w.node.Record()
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.removed:
		return StatusRemoved, fmt.Sprintf("removed %s ago", since(rec.Removed, now))
	case rec.Hold.Mode == fsm.HoldAll:
		return StatusHeld, hold(&rec.Hold, now) + ": no requests; " + left(n.InFlight())
	case rec.Hold.Mode == fsm.HoldDrain:
		return StatusDraining, hold(&rec.Hold, now) + ": no new sessions; " + left(n.InFlight())
	case !n.carried:
		return StatusDown, "type " + rec.Config.Type + ": not in this version"
	case rec.New:
		return StatusNew, "no STATUS yet"
	case n.load < 0:
		return StatusDown, fmt.Sprintf("says load -1 for %s: its connector does not accept", since(rec.Modified, now))
	case n.suspect:
		return StatusSuspect, "this replica cannot connect"
	case n.denied.Load() >= deniedLeast:
		return word(n.load), "answers 403 to everything: wrong AJP secret?"
	case n.enabled == 0:
		return word(n.load), "no enabled context"
	case n.load == 0:
		return StatusStandby, "load 0: new sessions only when no other worker is usable"
	}
	return StatusUp, "takes new sessions"
}

// deniedLeast answers in a row make an opinion.
const deniedLeast = 3

// Denies notes whether a worker of AJP has refused a request itself: 403, and the end
// of the connection, as Tomcat does where the secret is wrong. CPING works then all the
// same (ajp13.md §5.5).
func (n *Node) Denies(yes bool) {
	switch {
	case yes:
		n.denied.Add(1)
	case n.denied.Load() != 0: // else a write for each request
		n.denied.Store(0)
	}
}

func word(load int) string {
	if load == 0 {
		return StatusStandby
	}
	return StatusUp
}

func hold(h *fsm.Hold, now int64) string {
	s := fmt.Sprintf("by %s %s ago", h.By, since(h.Since, now))
	if h.Reason != "" {
		s += fmt.Sprintf(" (%q)", h.Reason)
	}
	return s
}

func left(inFlight int64) string {
	if inFlight == 1 {
		return "1 request left"
	}
	return fmt.Sprintf("%d requests left", inFlight)
}

// since gives a time that has passed as ux.md §2 wants it: 14s, 3m12s, 6d2h.
func since(from, now int64) string {
	d := time.Duration(max(0, now-from)) * time.Millisecond
	if d < time.Minute {
		return fmt.Sprintf("%ds", d/time.Second)
	}
	units := []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}}
	for i, u := range units {
		if d < u.size {
			continue
		}
		s := fmt.Sprintf("%d%s", d/u.size, u.name)
		if rest := d % u.size / units[i+1].size; rest > 0 {
			s += fmt.Sprintf("%d%s", rest, units[i+1].name)
		}
		return s
	}
	return ""
}
