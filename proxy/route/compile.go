package route

import (
	"cmp"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/quorate/quorate/fsm"
)

// Compile makes the table of a state.
func Compile(s *fsm.State, o Options) *Table {
	t := &Table{options: o, clock: new(atomic.Uint64)}
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
// its cost does not grow with the state. Nodes keep their counters.
func (t *Table) Update(s *fsm.State, nodes []fsm.JVMRoute, balancers []string, settings bool) *Table {
	b := t.builder()
	b.state = s
	if settings {
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
			old.node.change(b.Table, func() { old.node.removed, old.node.enabled = true, 0 })
		}
		return
	}
	next := &worker{}
	switch {
	case !had:
		next.node = newNode(n, b.clock, newTally())
		old = &worker{node: next.node}
	case old.node.Number != n.Number:
		next.node = newNode(n, b.clock, old.node.tally)
		old.node.change(b.Table, func() { old.node.removed, old.node.enabled = true, 0 })
	default:
		next.node = old.node
	}
	node := next.node
	balancer := b.known(n.Config.Balancer)
	if n.Removed == 0 && balancer != nil {
		next.fill(n, balancer, old)
	}
	if b.replace(old, next) || old.node != node || !had {
		b.nodes.put(b.edit, string(r), next)
	}
	count := 0
	for i := range next.entries {
		if next.entries[i].status == enabled {
			count++
		}
	}
	node.record.Store(n)
	node.balancer.Store(balancer)
	set := func() {
		node.removed = n.Removed != 0
		node.carried = b.options.Carries == nil || b.options.Carries(n.Config.Type)
		node.enabled = count
		node.load = n.Load
		if n.New {
			node.load = -1
		}
	}
	if b.first {
		set()
		node.settle()
		return
	}
	node.change(b.Table, set)
}

// fill lists the contexts of n. Aliases that are as they were keep their place in
// memory.
func (w *worker) fill(n *fsm.Node, balancer *Balancer, old *worker) {
	size := len(n.Linger)
	for i := range n.VHosts {
		size += len(n.VHosts[i].Contexts)
	}
	w.entries = make([]entry, 0, size)
	w.vhosts = make([]*aliases, 0, len(n.VHosts)+len(n.Linger))
	add := func(names *aliases, place place, key int64, s status) {
		if !strings.HasPrefix(string(place.path), "/") || len(place.path) > maxContext {
			return // no request can match it
		}
		w.entries = append(w.entries, entry{
			candidate: candidate{node: w.node, key: n.Number<<24 | key, status: s},
			path:      string(place.path),
			place:     place,
			balancer:  balancer,
			aliases:   names,
		})
	}
	for i := range n.VHosts {
		v := &n.VHosts[i]
		names := w.vhost(v.Aliases, old)
		for j := range v.Contexts {
			c := &v.Contexts[j]
			add(names, place{v.ID, c.Path}, int64(v.ID), status(n.Effective(c)))
		}
	}
	for i := range n.Linger {
		l := &n.Linger[i]
		names := w.vhost(l.Aliases, old)
		s := lingering
		if n.EffectiveLinger() == fsm.EffStopped {
			s = stopped
		}
		if !w.covers(n, names, l.Path) {
			add(names, place{-1 - i, l.Path}, 1<<23|int64(i), s)
		}
	}
	if !slices.IsSortedFunc(w.entries, compareEntries) {
		slices.SortFunc(w.entries, compareEntries)
	}
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

// vhost notes the aliases of the next vhost.
func (w *worker) vhost(as []string, old *worker) *aliases {
	var a *aliases
	if i := len(w.vhosts); i < len(old.vhosts) && slices.Equal(old.vhosts[i].as, as) {
		a = old.vhosts[i]
	} else {
		a = newAliases(as)
	}
	w.vhosts = append(w.vhosts, a)
	return a
}

func compareEntries(a, b entry) int {
	return cmp.Or(cmp.Compare(a.key, b.key), strings.Compare(a.path, b.path))
}

// replace puts the entries of next in the place of those of old, and says whether
// that changed any.
func (b *builder) replace(old, next *worker) (changed bool) {
	if !slices.Equal(old.vhosts, next.vhosts) {
		changed = true
		b.name(old.vhosts, -1)
		b.name(next.vhosts, +1)
	}
	// Both lists are sorted. First what goes, so that a key is free again.
	for i, j := 0, 0; i < len(old.entries); i++ {
		was := &old.entries[i]
		for j < len(next.entries) && compareEntries(next.entries[j], *was) < 0 {
			j++
		}
		if j < len(next.entries) && compareEntries(next.entries[j], *was) == 0 {
			is := &next.entries[j]
			is.context = was.context
			if is.balancer == was.balancer && is.aliases.equal(was.aliases) {
				continue
			}
		} else {
			was.node.tally.forget(was.place)
		}
		b.take(was)
		changed = true
	}
	for i, j := 0, 0; j < len(next.entries); j++ {
		is := &next.entries[j]
		for i < len(old.entries) && compareEntries(old.entries[i], *is) < 0 {
			i++
		}
		if i < len(old.entries) {
			was := &old.entries[i]
			if compareEntries(*was, *is) == 0 && was.candidate == is.candidate && was.balancer == is.balancer && was.aliases.equal(is.aliases) {
				continue
			}
		}
		if is.context == nil {
			is.context = is.node.tally.context(is.place)
		}
		b.give(is)
		changed = true
	}
	return changed
}

func (b *builder) give(x *entry) {
	g, ok := b.paths.get(x.path)
	if !ok {
		g = &group{path: x.path, owner: b.edit}
		b.deeper(x.path, +1)
	}
	b.paths.put(b.edit, x.path, g.with(b.edit, x))
}

func (b *builder) take(x *entry) {
	g, ok := b.paths.get(x.path)
	if !ok {
		return
	}
	if g = g.without(b.edit, x); g != nil {
		b.paths.put(b.edit, x.path, g)
		return
	}
	b.paths.remove(b.edit, x.path)
	b.deeper(x.path, -1)
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
			n, _ := b.aliases.get(name)
			if n += d; n > 0 {
				b.aliases.put(b.edit, name, n)
			} else {
				b.aliases.remove(b.edit, name)
			}
		}
	}
}
