package fsm

// This file is the only one that writes records. Each writer keeps the hash and
// the indexes in step with what it writes.

func (s *State) putCluster(c cluster) {
	s.sum = s.sum.sub(s.cluster.sum)
	s.cluster = record[cluster]{&c, digest(kindCluster, "", c.write)}
	s.sum = s.sum.add(s.cluster.sum)
}

func (s *State) putTime(ms int64) {
	s.sum = s.sum.sub(s.time.sum)
	s.time = record[int64]{&ms, digest(kindTime, "", func(w *writer) { w.int(ms) })}
	s.sum = s.sum.add(s.time.sum)
}

func (s *State) putSettings(v Settings) {
	s.sum = s.sum.sub(s.settings.sum)
	s.settings = record[Settings]{&v, digest(kindSettings, "", v.write)}
	s.sum = s.sum.add(s.settings.sum)
}

// put and drop are the part that all keyed records share.
func put[T any](s *State, t *tree[record[T]], key string, r record[T]) {
	old, _ := t.get(key)
	t.put(key, r)
	s.sum = s.sum.sub(old.sum).add(r.sum)
}

func drop[T any](s *State, t *tree[record[T]], key string) {
	old, had := t.get(key)
	if had {
		t.del(key)
		s.sum = s.sum.sub(old.sum)
	}
}

func (s *State) putNode(n *Node) {
	key := string(n.Route)
	s.indexNode(n.Route, s.Node(n.Route), n)
	put(s, &s.nodes, key, record[Node]{n, digest(kindNode, key, n.write)})
}

func (s *State) dropNode(n *Node) {
	s.indexNode(n.Route, n, nil)
	drop(s, &s.nodes, string(n.Route))
}

// indexNode files a node as it is now instead of as it was; nil is no node.
func (s *State) indexNode(r JVMRoute, was, is *Node) {
	if was == nil || is == nil || was.Number != is.Number {
		if was != nil {
			s.byNumber.del(numberKey(was.Number))
		}
		if is != nil {
			s.byNumber.put(numberKey(is.Number), r)
		}
	}
	if was != nil && is != nil && was.Config == is.Config && was.Removed == is.Removed {
		// A load or a context changed: only the latter's linger has a place here.
		s.lingering.move(string(r), was.lingersUntil(), is.lingersUntil())
		return
	}
	if a, b := was.liveAddress(), is.liveAddress(); a != b {
		if owner, _ := s.byAddress.get(a); owner == r {
			s.byAddress.del(a)
		}
		if b != "" {
			s.byAddress.put(b, r)
		}
	}
	if was == nil || is == nil || was.Config.Balancer != is.Config.Balancer {
		s.countMember(was, -1)
		s.countMember(is, +1)
	}
	s.removed.move(string(r), was.removedAt(), is.removedAt())
	s.lingering.move(string(r), was.lingersUntil(), is.lingersUntil())
}

func (s *State) countMember(n *Node, d int) {
	if n == nil {
		return
	}
	count, _ := s.members.get(n.Config.Balancer)
	if count += d; count == 0 {
		s.members.del(n.Config.Balancer)
		return
	}
	s.members.put(n.Config.Balancer, count)
}

// The keys under which indexes file a node; they take nil for no node.

func numberKey(n int64) string { return timeKey(n, "") }

func (n *Node) liveAddress() string {
	if n == nil || n.Removed != 0 {
		return ""
	}
	return n.Config.address()
}

func (n *Node) removedAt() int64 {
	if n == nil {
		return 0
	}
	return n.Removed
}

// lingersUntil is the time at which the first lingering context goes. On a
// removed node they serve nothing and wait for a CONFIG.
func (n *Node) lingersUntil() int64 {
	if n == nil || n.Removed != 0 || len(n.Linger) == 0 {
		return 0
	}
	first := n.Linger[0].Until
	for _, l := range n.Linger[1:] {
		first = min(first, l.Until)
	}
	return first
}

func (s *State) putBalancer(b *Balancer) {
	put(s, &s.balancers, b.Name, record[Balancer]{b, digest(kindBalancer, b.Name, b.write)})
}

func (s *State) dropBalancer(name string) { drop(s, &s.balancers, name) }

func (s *State) putIntent(i *Intent) {
	key := string(i.Route)
	if old := s.Intent(i.Route); old != nil {
		s.left.move(key, old.Left, i.Left)
	} else {
		s.left.move(key, 0, i.Left)
	}
	put(s, &s.intents, key, record[Intent]{i, digest(kindIntent, key, i.write)})
}

func (s *State) dropIntent(i *Intent) {
	s.left.move(string(i.Route), i.Left, 0)
	drop(s, &s.intents, string(i.Route))
}

func (s *State) putMemory(m *memory) {
	key := string(m.Route)
	s.dropMemory(m.Route)
	s.remembers.put(timeKey(m.Since, key), key)
	put(s, &s.memories, key, record[memory]{m, digest(kindMemory, key, m.write)})
}

func (s *State) dropMemory(r JVMRoute) {
	if old, had := s.memories.get(string(r)); had {
		s.remembers.del(timeKey(old.value.Since, string(r)))
		drop(s, &s.memories, string(r))
	}
}

func (s *State) putBarred(id string) {
	put(s, &s.barred, id, record[string]{&id, digest(kindBarred, id, func(w *writer) { w.str(id) })})
}

// putSeen adds to the dedupe window, where the oldest makes room; a known id
// keeps its outcome.
func (s *State) putSeen(o *outcome) {
	if s.seen.get(o.ID) != nil {
		return
	}
	if s.seen.len() == seenMost {
		s.dropOldestSeen()
	}
	s.seen.push(*o)
	s.sum = s.sum.add(o.digest())
}

func (s *State) dropOldestSeen() {
	s.sum = s.sum.sub(s.seen.oldest().digest())
	s.seen.pop()
}

func (o *outcome) digest() sum { return digest(kindSeen, string(o.ID[:]), o.write) }
