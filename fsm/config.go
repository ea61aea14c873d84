package fsm

import (
	"slices"
	"strings"
)

// config applies CONFIG (spec/mcmp.md §0.3): it registers a node or changes
// what is known of it, and rewrites its balancer.
func (t step) config() {
	cfg := *t.c.Config
	if cfg.Balancer == "" {
		cfg.Balancer = t.Settings().DefaultBalancer
	}
	cfg.Balancer = Lower(cfg.Balancer)

	old := t.Node(t.c.Route)
	known := old != nil && old.Removed == 0
	moved := known && (old.Config.address() != cfg.address() || old.Config.Type != cfg.Type)
	if moved && !slices.Contains(t.c.Gone, t.c.Route) {
		t.refuse(`Node with "` + string(t.c.Route) + `" JVMRoute already exists`)
		return
	}
	owner, taken := t.byAddress.get(cfg.address())
	taken = taken && owner != t.c.Route
	if taken && !slices.Contains(t.c.Gone, owner) {
		t.refuse("Another for the same worker already exist")
		return
	}
	if live := t.byAddress.size; !known && !taken && over(live+1, t.Settings().MaxWorkers) {
		t.refuse("Can't update or insert node")
		return
	}

	if taken {
		t.evict(owner)
	}
	rewritten := t.rewrite(cfg)
	var n *Node
	what := cfg.URL()
	switch {
	case !known:
		n = t.register(old, cfg)
	case moved:
		n = old.clone()
		n.Config, n.Load, n.New = cfg, -1, true
		n.Source, n.Replica, n.Since = t.c.Source, t.c.Replica, t.Time()
	case old.Config != cfg:
		n = old.clone()
		n.Config = cfg
		what += ": " + strings.Join(differences(&old.Config, &cfg), ", ")
	default:
		n = old.clone()
	}
	changed := !known || n.Config != old.Config
	var failed failures
	if len(t.c.Contexts) > 0 {
		failed = t.deploy(n, Stopped, false)
		changed = changed || !sameApps(n, old)
	}
	if changed {
		t.keep(n)
		if old != nil {
			t.dropEmpty(old.Config.Balancer, t.r)
		}
	} else if rewritten {
		what += ": balancer " + cfg.Balancer
	}
	if changed || rewritten {
		t.event(Event{Route: n.Route, Detail: what})
	}
	if mess := failed.String(); mess != "" {
		t.refuse(mess)
	}
}

// register makes a new node; removed is the record that a removed one of the
// same route has left, or nil. Its contexts linger, and what operators want of
// the route holds again.
func (t step) register(removed *Node, cfg NodeConfig) *Node {
	c := *t.cluster.value
	n := &Node{
		Number:  c.NextNode,
		Route:   t.c.Route,
		Config:  cfg,
		Load:    -1,
		New:     true,
		Source:  t.c.Source,
		Replica: t.c.Replica,
		Since:   t.Time(),
	}
	c.NextNode++
	t.putCluster(c)
	t.dropMemory(n.Route)
	if removed != nil {
		n.Resync = removed.Resync
		for _, l := range removed.Linger {
			if l.Until > t.Time() {
				n.Linger = append(n.Linger, l)
			}
		}
	}
	if old := t.Intent(n.Route); old != nil {
		if old.Left != 0 {
			i := *old
			i.Left = 0
			t.putIntent(&i)
		}
		old.impose(n)
	}
	return n
}

// evict removes a node whose address another worker has now.
func (t step) evict(r JVMRoute) {
	n := t.Node(r)
	t.event(Event{Op: "EVICT", Route: r, Detail: n.Config.URL() + " is " + string(t.c.Route) + " now"})
	t.bury(n, false)
}

// rewrite makes the balancer's record anew from the CONFIG of one of its nodes:
// the last one wins. It says whether that changed anything.
func (t step) rewrite(cfg NodeConfig) bool {
	b := Balancer{
		Name:        cfg.Balancer,
		Sticky:      cfg.Sticky,
		StickyForce: cfg.StickyForce,
		StickyDrop:  cfg.StickyDrop,
		Cookie:      cfg.Cookie,
		PathParam:   cfg.PathParam,
		WaitWorker:  cfg.WaitWorker,
		MaxAttempts: cfg.MaxAttempts,
	}
	if old := t.Balancer(b.Name); old != nil {
		b.Number = old.Number
		if b == *old {
			return false
		}
	} else {
		c := *t.cluster.value
		b.Number = c.NextBalancer
		c.NextBalancer++
		t.putCluster(c)
	}
	t.putBalancer(&b)
	t.r.balancer(b.Name)
	return true
}

// differences names the parameters of CONFIG that changed, for people.
func differences(a, b *NodeConfig) (names []string) {
	note := func(differ bool, name string) {
		if differ {
			names = append(names, name)
		}
	}
	note(a.Balancer != b.Balancer, "Balancer")
	note(a.Domain != b.Domain, "Domain")
	note(a.Host != b.Host, "Host")
	note(a.Ping != b.Ping, "ping")
	note(a.Timeout != b.Timeout, "Timeout")
	note(a.TTL != b.TTL, "ttl")
	note(a.Smax != b.Smax, "smax")
	note(a.FlushPackets != b.FlushPackets, "flushpackets")
	note(a.FlushWait != b.FlushWait, "flushwait")
	note(a.Sticky != b.Sticky, "StickySession")
	note(a.StickyForce != b.StickyForce, "StickySessionForce")
	note(a.StickyDrop != b.StickyDrop, "StickySessionRemove")
	note(a.Cookie != b.Cookie, "StickySessionCookie")
	note(a.PathParam != b.PathParam, "StickySessionPath")
	note(a.WaitWorker != b.WaitWorker, "WaitWorker")
	note(a.MaxAttempts != b.MaxAttempts, "Maxattempts")
	return names
}
