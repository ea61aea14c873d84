package fsm

import (
	"cmp"
	"slices"
)

// SchemaVersion is the newest version of entries and snapshots that this
// program writes, and the newest it reads.
const SchemaVersion uint16 = 1

// State is what the log says. It never changes: Apply makes the next one, which
// shares with it what is equal. Readers need no lock and may keep it.
type State struct {
	// Records: all that the hash covers.
	cluster   record[cluster]
	time      record[int64]
	settings  record[Settings]
	nodes     tree[record[Node]]     // by route
	balancers tree[record[Balancer]] // by name
	intents   tree[record[Intent]]   // by route
	memories  tree[record[memory]]   // by route
	barred    tree[record[string]]   // by replica id
	seen      window                 // the dedupe window
	sum       sum

	// Indexes: made from the records, so neither hashed nor in a snapshot.
	byNumber  tree[JVMRoute] // number → route
	byAddress tree[JVMRoute] // host:port → route, nodes that are not removed
	members   tree[int]      // balancer → nodes, removed ones too
	removed   byTime         // routes by time of their removal
	lingering byTime         // routes by the end of their first lingering context
	remembers byTime         // routes by the time they were remembered
	left      byTime         // routes of intents whose node is gone, by the time it went
}

// cluster is the record of what is there once.
type cluster struct {
	ID           string
	Schema       uint16
	NextNode     int64
	NextBalancer int64
}

// Intent is what operators want of one worker. It outlives the node: a worker
// that was held, stops and comes back is held.
type Intent struct {
	Route    JVMRoute
	Hold     Hold          // of the whole node
	Contexts []ContextHold // by path, then alias
	Left     int64         // leader time at which the node was forgotten; 0 while there is one
}

// ContextHold is an operator's intent for one context.
type ContextHold struct {
	Alias string // "" on every vhost
	Path  Path
	Hold  Hold
}

// memory is the domain of a node that was removed.
type memory struct {
	Route  JVMRoute
	Domain string
	Since  int64
}

// New gives the state before the first entry.
func New() *State {
	s := empty()
	s.putCluster(cluster{Schema: 1})
	s.putTime(0)
	s.putSettings(DefaultSettings())
	return s
}

// empty has no record at all.
func empty() *State {
	return &State{
		nodes:     newTree[record[Node]](),
		balancers: newTree[record[Balancer]](),
		intents:   newTree[record[Intent]](),
		memories:  newTree[record[memory]](),
		barred:    newTree[record[string]](),
		byNumber:  newTree[JVMRoute](),
		byAddress: newTree[JVMRoute](),
		members:   newTree[int](),
		removed:   byTime{newTree[string]()},
		lingering: byTime{newTree[string]()},
		remembers: byTime{newTree[string]()},
		left:      byTime{newTree[string]()},
	}
}

// freeze makes s fit for readers.
func (s *State) freeze() *State {
	s.nodes.freeze()
	s.balancers.freeze()
	s.intents.freeze()
	s.memories.freeze()
	s.barred.freeze()
	s.byNumber.freeze()
	s.byAddress.freeze()
	s.members.freeze()
	s.removed.freeze()
	s.lingering.freeze()
	s.remembers.freeze()
	s.left.freeze()
	return s
}

// Node gives the node of a route, nil if there is none. A removed one is given
// until it is forgotten (Removed is not 0).
func (s *State) Node(r JVMRoute) *Node {
	n, _ := s.nodes.get(string(r))
	return n.value
}

// Nodes gives all nodes in order of registration, removed ones too.
func (s *State) Nodes() []*Node {
	out := make([]*Node, 0, s.nodes.size)
	for r := range s.byNumber.all() {
		out = append(out, s.Node(r))
	}
	return out
}

// Balancer gives a balancer, nil if there is none of that name.
func (s *State) Balancer(name string) *Balancer {
	b, _ := s.balancers.get(name)
	return b.value
}

// Balancers gives all balancers in order of creation.
func (s *State) Balancers() []*Balancer {
	out := make([]*Balancer, 0, s.balancers.size)
	for b := range s.balancers.all() {
		out = append(out, b.value)
	}
	slices.SortFunc(out, func(a, b *Balancer) int { return cmp.Compare(a.Number, b.Number) })
	return out
}

// Settings gives the shared settings. They must not be modified.
func (s *State) Settings() *Settings { return s.settings.value }

// Time is the leader time of the last entry, Unix ms.
func (s *State) Time() int64 { return *s.time.value }

// Schema is the version in which entries are to be written.
func (s *State) Schema() uint16 { return s.cluster.value.Schema }

// ClusterID is "" until the cluster is formed.
func (s *State) ClusterID() string { return s.cluster.value.ID }

// Barred says whether a replica was removed for good.
func (s *State) Barred(replicaID string) bool {
	_, ok := s.barred.get(replicaID)
	return ok
}

// Remembered gives the domain of a route that was removed less than five
// minutes of leader time ago (spec/routing.md §0.3).
func (s *State) Remembered(r JVMRoute) (domain string, ok bool) {
	m, ok := s.memories.get(string(r))
	if !ok {
		return "", false
	}
	return m.value.Domain, true
}

// Intent gives what operators want of a worker, there or not; nil for nothing.
func (s *State) Intent(r JVMRoute) *Intent {
	i, _ := s.intents.get(string(r))
	return i.value
}

// Effective is the stricter of what the worker says of a context of n and what
// operators want of the node and of the context.
func (n *Node) Effective(c *Context) Effective {
	return max(Effective(c.Status), n.Hold.Mode.effective(), c.Hold.Mode.effective())
}

// EffectiveLinger is the same for a lingering context: at most EffDisabled.
func (n *Node) EffectiveLinger() Effective {
	return max(EffDisabled, n.Hold.Mode.effective())
}

func (m HoldMode) effective() Effective { return EffEnabled + Effective(m) }

// Context gives the context at a path of the vhost that has the alias; with an
// empty alias the first one at that path. Nil if there is none.
func (n *Node) Context(alias string, p Path) *Context {
	for i := range n.VHosts {
		v := &n.VHosts[i]
		if alias != "" && v.alias(alias) < 0 {
			continue
		}
		if at, ok := v.find(p); ok {
			return &v.Contexts[at]
		}
	}
	return nil
}

// alias gives the place of an alias, -1 if v does not have it.
func (v *VHost) alias(name string) int {
	return slices.IndexFunc(v.Aliases, func(a string) bool { return sameAlias(a, name) })
}

// find gives the place of a context, or where it belongs.
func (v *VHost) find(p Path) (int, bool) {
	return slices.BinarySearchFunc(v.Contexts, p, func(c Context, p Path) int { return cmp.Compare(c.Path, p) })
}

func (n *Node) contexts() (total int) {
	for i := range n.VHosts {
		total += len(n.VHosts[i].Contexts)
	}
	return total
}

func (n *Node) aliases() (total int) {
	for i := range n.VHosts {
		total += len(n.VHosts[i].Aliases)
	}
	return total
}

// clone copies n down to the last slice, for a change to work on.
func (n *Node) clone() *Node {
	c := *n
	c.Linger = slices.Clone(n.Linger)
	c.VHosts = slices.Clone(n.VHosts)
	for i := range c.VHosts {
		v := &c.VHosts[i]
		v.Aliases = slices.Clone(v.Aliases)
		v.Contexts = slices.Clone(v.Contexts)
	}
	return &c
}
