package route

import (
	"cmp"
	"slices"
	"strings"

	"github.com/quorate/quorate/fsm"
)

// Compile makes the table of a state.
func Compile(s *fsm.State, o Options) *Table {
	t := &Table{options: o, shared: new(shared)}
	b := builder{Table: t, edit: new(edit), first: true}
	b.state = s
	b.configure()
	for _, n := range s.Nodes() {
		b.set(n.Route, n)
	}
	return t
}

// Update returns the table of a newer state, given what changed since t: the
// sums of fsm.Result's Nodes, Balancers and Settings. Only that is compiled, so
// its cost does not grow with the state. Nodes keep their counters. It is due
// after every entry, also one that changed nothing of these: routes that are
// remembered are read from the state. For an installed snapshot it is given the
// nodes and balancers of both states.
func (t *Table) Update(s *fsm.State, nodes []fsm.JVMRoute, balancers []string, settings bool) *Table {
	b := t.builder()
	b.state = s
	if settings || s.Settings() != t.settings {
		b.configure()
	}
	for _, name := range balancers {
		b.balancer(name)
	}
	for _, r := range nodes {
		b.set(r, s.Node(r))
	}
	return b.Table
}

// WithNode returns a table in which one node is as n says, until an Update names
// it. A replica without a leader so honours what takes traffic away, and a load,
// on its own (spec/mcmp.md §0.8); n comes from fsm.Preview.
func (t *Table) WithNode(n *fsm.Node) *Table {
	b := t.builder()
	b.set(n.Route, n)
	return b.Table
}

// builder is a table at work.
type builder struct {
	*Table
	edit  *edit
	first bool // nothing is routed yet: no node joins others
}

func (t *Table) builder() builder {
	next := *t
	return builder{Table: &next, edit: new(edit)}
}

// configure takes over the shared settings.
func (b *builder) configure() {
	b.settings, b.rules = b.state.Settings(), nil
	switch b.settings.UseAlias {
	case "true":
		b.useAlias = always
	case "false":
		b.useAlias = never
	default:
		b.useAlias = auto
	}
	for _, r := range b.settings.Rules {
		b.rules = append(b.rules, newRule(r))
	}
	for _, x := range b.state.Balancers() {
		b.balancer(x.Name)
	}
}

// balancer brings one balancer up to date and returns it; nil if it is gone.
func (b *builder) balancer(name string) *Balancer {
	x := b.state.Balancer(name)
	i := slices.IndexFunc(b.balancers, func(old *Balancer) bool { return old.Name == name })
	if i >= 0 {
		if old := b.balancers[i]; x != nil && old.Number == x.Number {
			old.policy.Store(newPolicy(x, b.settings))
			return old
		}
		b.balancers = slices.Delete(slices.Clone(b.balancers), i, i+1)
	}
	if x == nil {
		return nil
	}
	made := &Balancer{Name: x.Name, Number: x.Number}
	made.policy.Store(newPolicy(x, b.settings))
	b.balancers = append(slices.Clip(b.balancers), made)
	slices.SortFunc(b.balancers, func(a, b *Balancer) int { return cmp.Compare(a.Number, b.Number) })
	return made
}

// known returns the balancer of that name without touching its policy.
func (b *builder) known(name string) *Balancer {
	for _, x := range b.balancers {
		if x.Name == name {
			if now := b.state.Balancer(name); now != nil && now.Number == x.Number {
				return x
			}
		}
	}
	return b.balancer(name)
}

// set brings one node up to date; nil takes it away.
func (b *builder) set(r fsm.JVMRoute, n *fsm.Node) {
	old, had := b.nodes.get(string(r))
	if n == nil {
		if had {
			b.replace(old, &worker{node: old.node})
			b.nodes.remove(b.edit, string(r))
			old.node.change(b.Table, old.node.leave)
		}
		return
	}
	next := &worker{}
	switch {
	case !had:
		next.node = newNode(n, b.shared, newTally())
		old = &worker{node: next.node}
	case old.node.Number != n.Number:
		next.node = newNode(n, b.shared, old.node.tally)
		old.node.change(b.Table, old.node.leave)
	default:
		next.node = old.node
	}
	if n.Removed == 0 {
		next.balancer = b.known(n.Config.Balancer)
	}
	if had && old.node == next.node && old.balancer == next.balancer && old.fits(n) {
		next = old // at most the load, the domain or the address changed
	} else {
		if next.balancer != nil {
			b.fill(next, n, old)
		}
		b.replace(old, next)
		b.nodes.put(b.edit, string(r), next)
	}
	node := next.node
	node.record.Store(n)
	node.balancer.Store(next.balancer)
	come := func() {
		node.removed = n.Removed != 0
		node.carried = b.options.Carries == nil || b.options.Carries(n.Config.Type)
		node.enabled = next.enabled
		node.load = n.Load
	}
	if b.first {
		come()
		node.settle()
		return
	}
	node.change(b.Table, come)
}

// fits says whether the entries of w are those of n.
func (w *worker) fits(n *fsm.Node) bool {
	if n.Removed != 0 || len(n.Linger) > 0 || len(n.VHosts) != len(w.vhosts) {
		return false
	}
	rest := w.entries
	for i := range n.VHosts {
		v := &n.VHosts[i]
		if len(v.Contexts) > len(rest) || !slices.Equal(w.vhosts[i].as, v.Aliases) {
			return false
		}
		for j := range v.Contexts {
			c := &v.Contexts[j]
			if e := &rest[j]; e.place != (place{v.ID, c.Path}) || e.status != status(n.Effective(c)) {
				return false
			}
		}
		rest = rest[len(v.Contexts):]
	}
	return len(rest) == 0
}

// fill lists the contexts of n. Aliases that are as they were keep their place in
// memory.
func (b *builder) fill(w *worker, n *fsm.Node, old *worker) {
	size := len(n.Linger)
	for i := range n.VHosts {
		size += len(n.VHosts[i].Contexts)
	}
	w.entries = make([]entry, 0, size)
	w.vhosts = make([]*aliases, 0, len(n.VHosts)+len(n.Linger))
	for i := range n.VHosts {
		v := &n.VHosts[i]
		names := w.vhost(v.Aliases, old, &b.recent)
		for j := range v.Contexts {
			c := &v.Contexts[j]
			w.add(names, place{v.ID, c.Path}, int64(v.ID), status(n.Effective(c)))
		}
	}
	for i := range n.Linger {
		l := &n.Linger[i]
		names := w.vhost(l.Aliases, old, &b.recent)
		s := lingering
		if n.EffectiveLinger() == fsm.EffStopped {
			s = stopped
		}
		if !w.covers(n, names, l.Path) {
			w.add(names, place{-1 - i, l.Path}, 1<<23|int64(i), s)
		}
	}
	if !slices.IsSortedFunc(w.entries, compareEntries) {
		slices.SortFunc(w.entries, compareEntries)
	}
}

func (w *worker) add(names *aliases, at place, key int64, s status) {
	if at.path[0] != '/' || len(at.path) > fsm.MaxContext {
		return // no request can match it
	}
	if s == enabled {
		w.enabled++
	}
	w.entries = append(w.entries, entry{
		candidate: candidate{node: w.node, key: w.node.Number<<keyShift | key, status: s},
		aliases:   names,
		place:     at,
	})
}

// covers says whether a vhost of n with one of the aliases has the path already:
// what the worker says now counts, not what lingers.
func (w *worker) covers(n *fsm.Node, a *aliases, p fsm.Path) bool {
	for i := range n.VHosts {
		has := slices.ContainsFunc(n.VHosts[i].Contexts, func(c fsm.Context) bool { return c.Path == p })
		if has && slices.ContainsFunc(w.vhosts[i].names, a.has) {
			return true
		}
	}
	return false
}

// vhost notes the aliases of the next vhost. It shares those that are as they were,
// or as those made last: most workers have the same.
func (w *worker) vhost(as []string, old *worker, recent **aliases) *aliases {
	var a *aliases
	switch i := len(w.vhosts); {
	case i < len(old.vhosts) && slices.Equal(old.vhosts[i].as, as):
		a = old.vhosts[i]
	case *recent != nil && slices.Equal((*recent).as, as):
		a = *recent
	default:
		a = newAliases(as)
		*recent = a
	}
	w.vhosts = append(w.vhosts, a)
	return a
}

func compareEntries(a, b entry) int { return a.compare(&b) }

func (x *entry) compare(y *entry) int {
	if x.key != y.key {
		return cmp.Compare(x.key, y.key)
	}
	return strings.Compare(string(x.place.path), string(y.place.path))
}

// replace puts the entries of next in the place of those of old.
func (b *builder) replace(old, next *worker) {
	if !slices.Equal(old.vhosts, next.vhosts) {
		b.name(old.vhosts, -1)
		b.name(next.vhosts, +1)
	}
	was, is := old.entries, next.entries // both sorted
	for len(was) > 0 || len(is) > 0 {
		switch order := compareFirst(was, is); {
		case order < 0:
			b.take(old.balancer, &was[0])
			was[0].node.tally.forget(was[0].place)
			was = was[1:]
		case order > 0:
			is[0].context = is[0].node.tally.context(is[0].place)
			b.give(next.balancer, &is[0])
			is = is[1:]
		default:
			x, y := &was[0], &is[0]
			y.context = x.context
			if x.status != y.status || old.balancer != next.balancer || !x.aliases.equal(y.aliases) {
				b.take(old.balancer, x)
				b.give(next.balancer, y)
			}
			was, is = was[1:], is[1:]
		}
	}
}

// compareFirst compares the first entries of two lists; an empty one comes last.
func compareFirst(a, b []entry) int {
	switch {
	case len(a) == 0:
		return +1
	case len(b) == 0:
		return -1
	}
	return a[0].compare(&b[0])
}

func (b *builder) give(to *Balancer, x *entry) {
	path := string(x.place.path)
	g, ok := b.paths.get(path)
	if !ok {
		g = newGroup(b.edit, path)
		b.deeper(path, +1)
	}
	b.paths.put(b.edit, path, g.with(b.edit, to, x))
}

func (b *builder) take(from *Balancer, x *entry) {
	path := string(x.place.path)
	g, ok := b.paths.get(path)
	if !ok {
		return
	}
	if g = g.without(b.edit, from, x); g != nil {
		b.paths.put(b.edit, path, g)
		return
	}
	b.paths.remove(b.edit, path)
	b.deeper(path, -1)
}

func (b *builder) deeper(path string, d int32) {
	if path == "/" {
		return // looked up without walking
	}
	b.depths[strings.Count(path, "/")-1] += d
	b.deepest = len(b.depths)
	for b.deepest > 0 && b.depths[b.deepest-1] == 0 {
		b.deepest--
	}
}

// name counts the aliases of vhosts up or down.
func (b *builder) name(vhosts []*aliases, d int) {
	for _, v := range vhosts {
		for _, name := range v.names {
			b.aliases.add(b.edit, name, d)
		}
		b.sets.add(b.edit, v.set, d)
	}
}
