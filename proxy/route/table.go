package route

import (
	"cmp"
	"slices"
	"strings"

	"github.com/quorate/quorate/fsm"
)

// Options are what a table needs beside the state.
type Options struct {
	// Carries says whether this version speaks a worker's protocol (CONFIG's
	// Type). Workers of other types are known and get no request. nil: all.
	Carries func(typ string) bool
}

// Table is what the data plane routes with: the state, arranged for one look-up
// per path segment. It is immutable and safe for concurrent use.
type Table struct {
	state    *fsm.State
	settings *fsm.Settings
	options  Options

	paths   trie[*group]          // by context path
	depths  [fsm.MaxContext]int32 // how many of the paths have so many slashes, less one
	deepest int                   // slashes of the deepest
	nodes   trie[*worker]         // by route; removed ones until they are forgotten
	aliases counts                // how many vhosts have this name
	sets    counts                // how many vhosts have these names
	recent  *aliases              // made last

	balancers []*Balancer // in order of creation
	rules     []rule
	useAlias  useAlias
	shared    *shared
}

// useAlias is shared.use_alias (interface.md §1).
type useAlias uint8

const (
	auto useAlias = iota
	always
	never
)

// worker is what the table holds of one node.
type worker struct {
	node     *Node
	balancer *Balancer // nil if the node is removed
	entries  []entry   // by key and path
	vhosts   []*aliases
	enabled  int // how many entries are so
}

// entry is a candidate and where it belongs.
type entry struct {
	candidate
	aliases *aliases
	place   place
}

// State returns the state that the table was made from last. Nodes laid over it
// by WithNode are not in it.
func (t *Table) State() *fsm.State { return t.state }

// Node returns the node of a route, nil if there is none or it is removed.
func (t *Table) Node(route string) *Node {
	if w, ok := t.nodes.get(route); ok && w.node.class()&gone == 0 {
		return w.node
	}
	return nil
}

// Nodes returns the nodes that are not removed, in order of registration.
func (t *Table) Nodes() []*Node {
	list := make([]*Node, 0, t.nodes.size)
	t.nodes.each(func(_ string, w *worker) {
		if w.node.class()&gone == 0 {
			list = append(list, w.node)
		}
	})
	slices.SortFunc(list, func(a, b *Node) int { return cmp.Compare(a.Number, b.Number) })
	return list
}

// InFlight counts this replica's requests in flight for a context of a worker, on
// any of its vhosts, those of its earlier registrations included.
func (t *Table) InFlight(r fsm.JVMRoute, p fsm.Path) int64 {
	w, ok := t.nodes.get(string(r))
	if !ok {
		return 0
	}
	return w.node.tally.inFlight(p, func(place) bool { return true })
}

// InFlightAt is the same for one vhost.
func (t *Table) InFlightAt(r fsm.JVMRoute, vhost int, p fsm.Path) int64 {
	w, ok := t.nodes.get(string(r))
	if !ok {
		return 0
	}
	return w.node.tally.inFlight(p, func(at place) bool { return at.vhost == vhost })
}

// SetSuspect notes whether this replica can reach a node, and says whether that
// is news. A node that is back starts with the mean value of the others.
func (t *Table) SetSuspect(n *Node, on bool) (changed bool) {
	n.change(t, func() {
		changed = n.suspect != on
		n.suspect = on
	})
	return changed
}

// meanWithout is the mean value of the usable nodes of n's balancer, without n.
func (t *Table) meanWithout(n *Node) uint64 {
	var sum, count uint64
	balancer := n.balancer.Load()
	t.nodes.each(func(_ string, w *worker) {
		if o := w.node; o != n && o.class() == up && o.balancer.Load() == balancer {
			sum += o.value.Load()
			count++
		}
	})
	if count == 0 {
		return 0
	}
	return sum / count
}

// search says which contexts count for a request, before any is looked at.
type search struct {
	host     string
	byHost   bool   // only those of vhosts that have host as an alias
	balancer string // only those of this balancer; "": of any
}

// find returns the group of the longest context that matches, nil if none does,
// and notes in s which of its parts count. It applies use_alias and a rule's
// balancer.
func (t *Table) find(s *search, host, path string, r *rule) *group {
	s.host = host
	if r != nil {
		s.balancer = r.balancer
	}
	g := t.longest(path, s)
	if t.useAlias == never || t.useAlias == auto && t.sets.size <= 1 || g != nil && g.named(host) {
		return g // with or without regard to aliases, it is the same
	}
	s.byHost = t.useAlias == always
	if !s.byHost {
		_, s.byHost = t.aliases.get(host)
	}
	if s.byHost {
		g = t.longest(path, s)
	}
	return g
}

// named says whether all vhosts of g have the alias.
func (g *group) named(host string) bool {
	for i := range g.parts {
		if !g.parts[i].aliases.has(host) {
			return false
		}
	}
	return true
}

func (s *search) admits(p *part) bool {
	return (!s.byHost || p.aliases.has(s.host)) && (s.balancer == "" || p.balancer.Name == s.balancer)
}

func (s *search) all() bool { return !s.byHost && s.balancer == "" }

func (s *search) any(g *group) bool {
	for i := range g.parts {
		if s.admits(&g.parts[i]) {
			return true
		}
	}
	return false
}

// longest returns the group of the longest context that matches a path, whatever
// its status; nil if none does (spec/routing.md §0.2, rules 3 and 4).
func (t *Table) longest(path string, s *search) *group {
	// A context ends before a slash or at the end. From the deepest place on,
	// backwards: the first that is there is the longest.
	end := 0
	if t.deepest > 0 && len(path) > 1 {
		end = t.deepestEnd(path)
	}
	for end > 0 {
		if g, ok := t.paths.get(path[:end]); ok && (s.all() || s.any(g)) {
			return g
		}
		end = strings.LastIndexByte(path[:end], '/')
	}
	if g, ok := t.paths.get("/"); ok && (s.all() || s.any(g)) {
		return g
	}
	return nil
}

// deepestEnd returns where the deepest context that could match a path would end.
// Both are more than the root.
func (t *Table) deepestEnd(path string) int {
	slashes := 0
	for end := 1; end <= fsm.MaxContext; end++ {
		if end == len(path) {
			return end
		}
		if path[end] == '/' {
			if slashes++; slashes == t.deepest {
				return end
			}
		}
	}
	return strings.LastIndexByte(path[:fsm.MaxContext+1], '/')
}

// rule is one of shared.rules.
type rule struct {
	fsm.Rule
	hosts    []string // as hostOf gives them; empty: all
	balancer string
}

func newRule(r fsm.Rule) rule {
	c := rule{Rule: r, balancer: fsm.Lower(r.Balancer)}
	for _, h := range r.Hosts {
		host, _ := hostOf(h, nil)
		c.hosts = append(c.hosts, host)
	}
	return c
}

// rule returns the first rule that matches, nil if none does.
func (t *Table) rule(host, path string) *rule {
	for i := range t.rules {
		r := &t.rules[i]
		if (len(r.hosts) == 0 || slices.Contains(r.hosts, host)) && r.covers(path) {
			return r
		}
	}
	return nil
}

// covers matches as a context does: whole segments.
func (r *rule) covers(path string) bool {
	p := r.PathPrefix
	return p == "" || strings.HasPrefix(path, p) &&
		(len(path) == len(p) || p[len(p)-1] == '/' || path[len(p)] == '/')
}
