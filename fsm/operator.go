package fsm

import (
	"cmp"
	"slices"
)

// hold applies an operator's drain or hold of a worker or of a context. The
// latest word counts, be it milder.
func (t step) hold() {
	n := t.live()
	if n == nil {
		t.unknown()
		return
	}
	want := Hold{Mode: HoldDrain, By: t.c.By, Reason: t.c.Reason, Since: t.mark()}
	if t.c.Op == OpHold {
		want.Mode = HoldAll
	}
	i := t.intent()
	slot := &i.Hold
	if t.c.Context != "" {
		at, ok := i.find(t.c.Alias, t.c.Context)
		switch {
		case ok:
		case n.Context(t.c.Alias, t.c.Context) == nil && !n.lingers(t.c.Alias, t.c.Context):
			t.refuse("No context " + string(t.c.Context) + ` on "` + string(n.Route) + `"`)
			return
		case over(len(i.Contexts)+1, t.Settings().MaxContexts):
			t.refuse("Can't hold more contexts of \"" + string(n.Route) + `"`)
			return
		default:
			i.Contexts = slices.Insert(i.Contexts, at, ContextHold{Alias: Lower(t.c.Alias), Path: t.c.Context})
		}
		slot = &i.Contexts[at].Hold
	}
	if slot.Mode == want.Mode {
		want.Since = slot.Since
	}
	if *slot == want {
		return
	}
	*slot = want
	t.enforce(i, n)
}

// release lifts what a drain or hold of the same worker, or context, asked for.
// It works while the worker is away, too.
func (t step) release() {
	n := t.live()
	i := t.intent()
	before := *i
	before.Contexts = slices.Clone(i.Contexts)
	switch {
	case n == nil && t.Intent(t.c.Route) == nil:
		t.unknown()
		return
	case t.c.Context == "":
		i.Hold = Hold{}
	case t.c.Alias == "":
		i.Contexts = slices.DeleteFunc(i.Contexts, func(h ContextHold) bool { return h.Path == t.c.Context })
	default:
		if _, all := i.find("", t.c.Context); all && n != nil && n.vhostsWith(t.c.Context) > 1 {
			t.refuse(string(t.c.Context) + ` of "` + string(t.c.Route) + `" is held on every host: release it without an alias`)
			return
		}
		names, all := []string{t.c.Alias}, n == nil
		if n != nil {
			if at := n.vhost(names); at >= 0 {
				names, all = n.VHosts[at].Aliases, true
			}
		}
		i.Contexts = slices.DeleteFunc(i.Contexts, func(h ContextHold) bool {
			return h.Path == t.c.Context && (all && h.Alias == "" || overlap(names, []string{h.Alias}))
		})
	}
	if i.Hold == before.Hold && len(i.Contexts) == len(before.Contexts) {
		return
	}
	t.enforce(i, n)
}

// intent gives a copy of what operators want of the command's worker.
func (t step) intent() *Intent {
	old := t.Intent(t.c.Route)
	if old == nil {
		return &Intent{Route: t.c.Route}
	}
	i := *old
	i.Contexts = slices.Clone(old.Contexts)
	return &i
}

// enforce stores an intent and lets the node, if it is there, follow it.
func (t step) enforce(i *Intent, n *Node) {
	if i.Hold == (Hold{}) && len(i.Contexts) == 0 {
		if old := t.Intent(i.Route); old != nil {
			t.dropIntent(old)
		}
	} else {
		t.putIntent(i)
	}
	if n != nil {
		next := n.clone()
		i.impose(next)
		if next.Hold != n.Hold || !sameApps(next, n) {
			t.keep(next)
		}
	}
	t.event(Event{Route: t.c.Route, Context: t.c.Context, Alias: t.c.Alias, Detail: quoted(t.c.Reason)})
}

// impose writes into n, which must be the caller's own, what i asks for.
func (i *Intent) impose(n *Node) {
	n.Hold = i.Hold
	for k := range n.VHosts {
		v := &n.VHosts[k]
		for j := range v.Contexts {
			v.Contexts[j].Hold = i.of(v.Aliases, v.Contexts[j].Path)
		}
	}
	n.Linger = slices.DeleteFunc(n.Linger, func(l Linger) bool { return i.of(l.Aliases, l.Path).Mode == HoldAll })
	if len(n.Linger) == 0 {
		n.Linger = nil
	}
}

// of is the strictest intent for a context of a vhost with these aliases.
func (i *Intent) of(aliases []string, p Path) (strictest Hold) {
	for _, h := range i.Contexts {
		if h.Path == p && h.Hold.Mode > strictest.Mode && (h.Alias == "" || overlap(aliases, []string{h.Alias})) {
			strictest = h.Hold
		}
	}
	return strictest
}

// find gives the place of one context's intent, or where it belongs.
func (i *Intent) find(alias string, p Path) (int, bool) {
	return slices.BinarySearchFunc(i.Contexts, ContextHold{Alias: Lower(alias), Path: p}, func(a, b ContextHold) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Alias, b.Alias))
	})
}

func (n *Node) lingers(alias string, p Path) bool {
	return slices.ContainsFunc(n.Linger, func(l Linger) bool {
		return l.Path == p && (alias == "" || overlap(l.Aliases, []string{alias}))
	})
}

// vhostsWith counts the vhosts of n that have a context at a path.
func (n *Node) vhostsWith(p Path) (count int) {
	for i := range n.VHosts {
		if _, ok := n.VHosts[i].find(p); ok {
			count++
		}
	}
	return count
}
