package fsm

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// app applies ENABLE-APP, DISABLE-APP, STOP-APP and REMOVE-APP
// (spec/mcmp.md §0.4).
func (t step) app() {
	n := t.live()
	switch {
	case n == nil && t.c.Op == OpRemove:
		// A stopping worker gets no error for what is gone already.
	case n == nil:
		t.unknown()
	case t.c.Whole && t.c.Op == OpRemove:
		t.event(Event{Route: n.Route, Detail: n.Config.URL()})
		t.bury(n, true)
	case t.c.Whole:
		t.wholeStatus(n)
	case t.c.Op == OpRemove:
		t.undeploy(n)
	default:
		t.oneStatus(n)
	}
}

func (o Op) status() Status {
	switch o {
	case OpEnable:
		return Enabled
	case OpDisable:
		return Disabled
	}
	return Stopped
}

// wholeStatus sets the status of every context there is.
func (t step) wholeStatus(old *Node) {
	n, changed := old.clone(), 0
	for i := range n.VHosts {
		for k := range n.VHosts[i].Contexts {
			if c := &n.VHosts[i].Contexts[k]; c.Status != t.c.Op.status() {
				c.Status = t.c.Op.status()
				changed++
			}
		}
	}
	detail := count(changed, "context")
	if t.c.Op == OpStop && len(n.Linger) > 0 {
		detail = count(changed+len(n.Linger), "context")
		n.Linger, changed = nil, changed+1
	}
	if changed == 0 {
		return
	}
	t.keep(n)
	t.event(Event{Route: n.Route, Detail: detail})
}

// oneStatus sets the status of the contexts that the message names.
func (t step) oneStatus(old *Node) {
	n := old.clone()
	failed := t.deploy(n, t.c.Op.status(), true)
	if !sameApps(n, old) {
		t.keep(n)
		told := false
		for _, p := range t.c.Contexts {
			was, is := old.Context(t.c.Aliases[0], p), n.Context(t.c.Aliases[0], p)
			if is != nil && (was == nil || was.Status != is.Status) && !t.told(p) {
				t.appEvent(p)
				told = true
			}
		}
		if !told {
			t.appEvent(t.c.Contexts[0]) // an alias came, or a lingering context went
		}
	}
	if mess := failed.String(); mess != "" {
		t.refuse(mess)
	}
}

func (t step) told(p Path) bool {
	return slices.ContainsFunc(t.r.Events, func(e Event) bool { return e.Context == p })
}

func (t step) appEvent(p Path) {
	t.event(Event{Route: t.c.Route, Context: p, Alias: t.c.Aliases[0], Detail: strings.Join(t.c.Aliases, ",")})
}

// undeploy deletes contexts, and a vhost with its last one.
func (t step) undeploy(old *Node) {
	n := old.clone()
	gone := n.endLingering(t.c.Aliases, t.c.Contexts)
	if at := n.vhost(t.c.Aliases); at >= 0 {
		v := &n.VHosts[at]
		for _, p := range t.c.Contexts {
			if i, ok := v.find(p); ok {
				v.Contexts = slices.Delete(v.Contexts, i, i+1)
				gone = append(gone, p)
			}
		}
		if len(v.Contexts) == 0 {
			n.VHosts = slices.Delete(n.VHosts, at, at+1)
		}
	}
	if len(gone) == 0 {
		return
	}
	t.keep(n)
	for _, p := range gone {
		if !t.told(p) {
			t.appEvent(p)
		}
	}
}

// vhost finds the vhost that a list of aliases means: the one that has the
// first, else the one that has any of them, else none (-1).
func (n *Node) vhost(aliases []string) int {
	for _, a := range aliases {
		for i := range n.VHosts {
			if n.VHosts[i].alias(a) >= 0 {
				return i
			}
		}
	}
	return -1
}

// deploy makes the vhost, the aliases and the contexts that the command names,
// where they are missing, with a status; contexts that are there get it too if
// reset. It writes into n, which must be the command's own, and gives what did
// not fit.
func (t step) deploy(n *Node, status Status, reset bool) (failed failures) {
	moreAliases := room(t.Settings().MaxAliases, n.aliases())
	moreContexts := room(t.Settings().MaxContexts, n.contexts())

	at := n.vhost(t.c.Aliases)
	if at < 0 {
		if moreAliases == 0 || moreContexts == 0 {
			// A vhost has at least one of each.
			failed.full(moreAliases == 0, t.c.Aliases, t.c.Contexts)
			return failed
		}
		id := 1
		if len(n.VHosts) > 0 {
			id = n.VHosts[len(n.VHosts)-1].ID + 1
		}
		n.VHosts = append(n.VHosts, VHost{ID: id})
		at = len(n.VHosts) - 1
	}
	for _, a := range t.c.Aliases {
		at = n.join(at, a, &moreAliases, &failed)
	}

	v := &n.VHosts[at]
	for _, p := range t.c.Contexts {
		i, ok := v.find(p)
		switch {
		case ok && reset:
			v.Contexts[i].Status = status
		case ok:
		case moreContexts == 0:
			failed.context(p)
		default:
			v.Contexts = slices.Insert(v.Contexts, i, Context{Path: p, Status: status})
			moreContexts--
			n.Resync = false // the worker deploys by itself
		}
	}
	n.endLingering(t.c.Aliases, t.c.Contexts)
	if i := t.Intent(n.Route); i != nil {
		i.impose(n)
	}
	return failed
}

// join makes an alias one of the vhost at a place, in the spelling of the
// message, and gives the place of that vhost afterwards. From another vhost it
// is taken away; if that is left without a name, its contexts come along.
func (n *Node) join(at int, alias string, more *int, failed *failures) int {
	v := &n.VHosts[at]
	if i := v.alias(alias); i >= 0 {
		v.Aliases[i] = alias
		return at
	}
	from := n.vhost([]string{alias})
	if from < 0 {
		if *more == 0 {
			failed.alias(alias)
			return at
		}
		*more--
		v.Aliases = append(v.Aliases, alias)
		return at
	}
	w := &n.VHosts[from]
	i := w.alias(alias)
	w.Aliases = slices.Delete(w.Aliases, i, i+1)
	v.Aliases = append(v.Aliases, alias)
	if len(w.Aliases) > 0 {
		return at
	}
	for _, c := range w.Contexts {
		if i, ok := v.find(c.Path); !ok {
			v.Contexts = slices.Insert(v.Contexts, i, c)
		}
	}
	n.VHosts = slices.Delete(n.VHosts, from, from+1)
	if from < at {
		at--
	}
	return at
}

// endLingering lets go of lingering contexts that a message speaks of, and
// names them.
func (n *Node) endLingering(aliases []string, paths []Path) (gone []Path) {
	n.Linger = slices.DeleteFunc(n.Linger, func(l Linger) bool {
		hit := slices.Contains(paths, l.Path) && overlap(l.Aliases, aliases)
		if hit {
			gone = append(gone, l.Path)
		}
		return hit
	})
	if len(n.Linger) == 0 {
		n.Linger = nil
	}
	return gone
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(x string) bool {
		return slices.ContainsFunc(b, func(y string) bool { return sameAlias(x, y) })
	})
}

// sameApps compares what *-APP can change.
func sameApps(a, b *Node) bool {
	if b == nil {
		return false
	}
	return a.Resync == b.Resync && len(a.Linger) == len(b.Linger) &&
		slices.EqualFunc(a.VHosts, b.VHosts, func(v, w VHost) bool {
			return v.ID == w.ID && slices.Equal(v.Aliases, w.Aliases) && slices.Equal(v.Contexts, w.Contexts)
		})
}

// room is what a limit leaves; 0 is no limit.
func room(limit, used int) int {
	if limit == 0 {
		return int(^uint(0) >> 1)
	}
	return max(limit-used, 0)
}

// failures collects what was over a limit, for the text of the answer.
type failures struct{ aliases, contexts []string }

func (f *failures) alias(a string) { f.aliases = append(f.aliases, a) }
func (f *failures) context(p Path) { f.contexts = append(f.contexts, string(p)) }
func (f *failures) full(noAlias bool, aliases []string, paths []Path) {
	if noAlias {
		f.aliases = append(f.aliases, aliases...)
	}
	for _, p := range paths {
		f.context(p)
	}
}

// String is the text of spec/mcmp.md §0.7, "" if nothing failed.
func (f failures) String() string {
	var parts []string
	if len(f.contexts) > 0 {
		parts = append(parts, "Can't update or insert context "+few(f.contexts))
	}
	if len(f.aliases) > 0 {
		parts = append(parts, "Can't update or insert host alias "+few(f.aliases))
	}
	return strings.Join(parts, "; ")
}

// few names at most five: the text becomes a header.
func few(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + " and " + strconv.Itoa(len(names)-most) + " more"
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// lingerOf gives the contexts of n that still serve their sessions after a
// removal: what it has, and what lingered already.
func (n *Node) lingerOf(until, now int64) []Linger {
	var out []Linger
	for i := range n.VHosts {
		v := &n.VHosts[i]
		for k := range v.Contexts {
			if c := &v.Contexts[k]; n.Effective(c) != EffStopped {
				out = append(out, Linger{Aliases: v.Aliases, Path: c.Path, Until: until})
			}
		}
	}
	for _, l := range n.Linger {
		fresh := func(m Linger) bool { return m.Path == l.Path && overlap(m.Aliases, l.Aliases) }
		if l.Until > now && !slices.ContainsFunc(out, fresh) {
			out = append(out, l)
		}
	}
	slices.SortStableFunc(out, func(a, b Linger) int { return cmp.Compare(b.Until, a.Until) })
	return out
}
