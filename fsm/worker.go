package fsm

import "strconv"

// status applies STATUS (spec/mcmp.md §0.5). Whether the worker can be reached
// is not the log's business.
func (t step) status() {
	n := t.live()
	if n == nil {
		t.unknown()
		return
	}
	next := *n
	if n.Resync {
		// It registered anew without deploying anything: it took an old INFO for
		// the truth. An error makes it ask again (design.md §4, 9).
		next.Resync = false
		t.keep(&next)
		t.event(Event{Route: n.Route, Detail: "told to deploy again"})
		t.refuse(`Node with "` + string(n.Route) + `" JVMRoute has no context`)
		return
	}
	if t.c.Load == n.Load {
		return
	}
	next.Load = t.c.Load
	next.New = n.New && t.c.Load < 0
	t.keep(&next)
	t.event(Event{Route: n.Route, Detail: "load " + strconv.Itoa(n.Load) + " -> " + strconv.Itoa(next.Load)})
}

// remove applies the removals that are not the worker's own: an operator's, or
// one that the replicas have agreed on.
func (t step) remove() {
	n := t.live()
	if n == nil {
		if t.Node(t.c.Route) == nil && t.c.Op == OpDrop {
			t.unknown()
		}
		return
	}
	detail := t.c.Reason
	if t.c.Op == OpDrop {
		detail = quoted(t.c.Reason)
	}
	t.event(Event{Route: n.Route, Detail: detail})
	t.bury(n, false)
}

// bury marks a node removed. If linger, the sessions of its contexts go on when
// it registers again soon. Its domain is remembered from now on, since nobody
// knows its contexts any more.
func (t step) bury(n *Node, linger bool) {
	next := *n
	next.Removed = t.mark()
	next.Resync = linger && (n.Resync || n.contexts() > 0)
	next.VHosts, next.Linger = nil, nil
	if linger {
		next.Linger = n.lingerOf(next.Removed+lingerFor, t.Time())
		if limit := t.Settings().MaxContexts; over(len(next.Linger), limit) {
			next.Linger = next.Linger[:limit:limit]
		}
	}
	t.keep(&next)
	t.putMemory(&memory{Route: n.Route, Domain: n.Config.Domain, Since: next.Removed})
	t.limitMemories(t.r)
	t.limitRemoved(t.r)
}

// quoted is an operator's reason as the history shows it.
func quoted(reason string) string {
	if reason == "" {
		return ""
	}
	return `"` + reason + `"`
}
