package fsm

// What each record looks like in the hash and in a snapshot. A field is added
// at the end, with a new schema version, and never taken out.

func (c *cluster) write(w *writer) {
	w.array(4)
	w.str(c.ID)
	w.int(int64(c.Schema))
	w.int(c.NextNode)
	w.int(c.NextBalancer)
}

func (c *cluster) read(r *reader) {
	r.array(4)
	c.ID = r.str()
	c.Schema = uint16(r.small(1<<16 - 1))
	c.NextNode = r.int()
	c.NextBalancer = r.int()
}

func (h *Hold) write(w *writer) {
	if *h == (Hold{}) {
		w.null()
		return
	}
	w.array(4)
	w.int(int64(h.Mode))
	w.str(h.By)
	w.str(h.Reason)
	w.int(h.Since)
}

func (h *Hold) read(r *reader) {
	if r.null() {
		return
	}
	r.array(4)
	h.Mode = HoldMode(r.small(int64(HoldAll)))
	h.By = r.str()
	h.Reason = r.str()
	h.Since = r.int()
}

func (c *NodeConfig) write(w *writer) {
	w.array(18)
	w.str(c.Balancer)
	w.str(c.Domain)
	w.str(c.Type)
	w.str(c.Host)
	w.int(int64(c.Port))
	w.int(c.Ping)
	w.int(c.Timeout)
	w.int(c.TTL)
	w.int(int64(c.Smax))
	w.int(int64(c.FlushPackets))
	w.int(c.FlushWait)
	w.bool(c.Sticky)
	w.bool(c.StickyForce)
	w.bool(c.StickyDrop)
	w.str(c.Cookie)
	w.str(c.PathParam)
	w.int(int64(c.WaitWorker))
	w.int(int64(c.MaxAttempts))
}

func (c *NodeConfig) read(r *reader) {
	r.array(18)
	c.Balancer = r.str()
	c.Domain = r.str()
	c.Type = r.str()
	c.Host = r.str()
	c.Port = int(r.int())
	c.Ping = r.int()
	c.Timeout = r.int()
	c.TTL = r.int()
	c.Smax = int(r.int())
	c.FlushPackets = int(r.int())
	c.FlushWait = r.int()
	c.Sticky = r.bool()
	c.StickyForce = r.bool()
	c.StickyDrop = r.bool()
	c.Cookie = r.str()
	c.PathParam = r.str()
	c.WaitWorker = int(r.int())
	c.MaxAttempts = int(r.int())
}

func (n *Node) write(w *writer) {
	w.array(14)
	w.int(n.Number)
	w.str(string(n.Route))
	n.Config.write(w)
	w.int(int64(n.Load))
	w.bool(n.New)
	w.int(n.Removed)
	w.bool(n.Resync)
	n.Hold.write(w)
	w.array(len(n.VHosts))
	for i := range n.VHosts {
		n.VHosts[i].write(w)
	}
	w.array(len(n.Linger))
	for i := range n.Linger {
		n.Linger[i].write(w)
	}
	w.str(n.Source)
	w.str(n.Replica)
	w.int(n.Since)
	w.int(n.Modified)
}

func (n *Node) read(r *reader) {
	r.array(14)
	n.Number = r.int()
	n.Route = JVMRoute(r.str())
	n.Config.read(r)
	n.Load = int(r.int())
	n.New = r.bool()
	n.Removed = r.int()
	n.Resync = r.bool()
	n.Hold.read(r)
	n.VHosts = readList(r, func() (v VHost) { v.read(r); return })
	n.Linger = readList(r, func() (l Linger) { l.read(r); return })
	n.Source = r.str()
	n.Replica = r.str()
	n.Since = r.int()
	n.Modified = r.int()
}

func (v *VHost) write(w *writer) {
	w.array(3)
	w.int(int64(v.ID))
	writeStrings(w, v.Aliases)
	w.array(len(v.Contexts))
	for i := range v.Contexts {
		c := &v.Contexts[i]
		w.array(3)
		w.str(string(c.Path))
		w.int(int64(c.Status))
		c.Hold.write(w)
	}
}

func (v *VHost) read(r *reader) {
	r.array(3)
	v.ID = int(r.int())
	v.Aliases = readStrings[string](r)
	v.Contexts = readList(r, func() (c Context) {
		r.array(3)
		c.Path = Path(r.str())
		c.Status = Status(r.small(int64(Stopped)))
		c.Hold.read(r)
		return
	})
}

func (l *Linger) write(w *writer) {
	w.array(3)
	writeStrings(w, l.Aliases)
	w.str(string(l.Path))
	w.int(l.Until)
}

func (l *Linger) read(r *reader) {
	r.array(3)
	l.Aliases = readStrings[string](r)
	l.Path = Path(r.str())
	l.Until = r.int()
}

func (b *Balancer) write(w *writer) {
	w.array(9)
	w.str(b.Name)
	w.int(b.Number)
	w.bool(b.Sticky)
	w.bool(b.StickyForce)
	w.bool(b.StickyDrop)
	w.str(b.Cookie)
	w.str(b.PathParam)
	w.int(int64(b.WaitWorker))
	w.int(int64(b.MaxAttempts))
}

func (b *Balancer) read(r *reader) {
	r.array(9)
	b.Name = r.str()
	b.Number = r.int()
	b.Sticky = r.bool()
	b.StickyForce = r.bool()
	b.StickyDrop = r.bool()
	b.Cookie = r.str()
	b.PathParam = r.str()
	b.WaitWorker = int(r.int())
	b.MaxAttempts = int(r.int())
}

func (i *Intent) write(w *writer) {
	w.array(4)
	w.str(string(i.Route))
	i.Hold.write(w)
	w.array(len(i.Contexts))
	for k := range i.Contexts {
		c := &i.Contexts[k]
		w.array(3)
		w.str(c.Alias)
		w.str(string(c.Path))
		c.Hold.write(w)
	}
	w.int(i.Left)
}

func (i *Intent) read(r *reader) {
	r.array(4)
	i.Route = JVMRoute(r.str())
	i.Hold.read(r)
	i.Contexts = readList(r, func() (c ContextHold) {
		r.array(3)
		c.Alias = r.str()
		c.Path = Path(r.str())
		c.Hold.read(r)
		return
	})
	i.Left = r.int()
}

func (m *memory) write(w *writer) {
	w.array(3)
	w.str(string(m.Route))
	w.str(m.Domain)
	w.int(m.Since)
}

func (m *memory) read(r *reader) {
	r.array(3)
	m.Route = JVMRoute(r.str())
	m.Domain = r.str()
	m.Since = r.int()
}

func (o *outcome) write(w *writer) {
	w.array(4)
	w.bytes(o.ID[:])
	w.int(int64(o.Code))
	w.str(o.Mess)
	w.int(o.Time)
}

func (o *outcome) read(r *reader) {
	r.array(4)
	r.bytes(o.ID[:])
	o.Code = Code(r.small(int64(Mem)))
	o.Mess = r.str()
	o.Time = r.int()
}

func (s *Settings) write(w *writer) {
	w.array(15)
	w.int(int64(s.Voters))
	w.str(s.DefaultBalancer)
	w.int(int64(s.MaxWorkers))
	w.int(int64(s.MaxAliases))
	w.int(int64(s.MaxContexts))
	w.str(s.UseAlias)
	w.int(int64(s.NoContextStatus))
	w.int(int64(s.UnavailableStatus))
	w.int(s.Recalculation)
	w.int(s.RemoveDelay)
	w.bool(s.Deterministic)
	a := &s.Affinity
	w.array(7)
	w.str(a.Mode)
	w.str(a.Delimiter)
	w.str(a.Cookie)
	w.str(a.PathParam)
	w.optBool(a.Sticky)
	w.optBool(a.Force)
	w.optBool(a.Drop)
	w.optInt(s.MaxAttempts)
	w.optInt(s.WaitWorker)
	w.array(len(s.Rules))
	for i := range s.Rules {
		u := &s.Rules[i]
		w.array(6)
		writeStrings(w, u.Hosts)
		w.str(u.PathPrefix)
		w.str(u.Action)
		w.str(u.Balancer)
		w.int(int64(u.Status))
		w.str(u.To)
	}
}

func (s *Settings) read(r *reader) {
	r.array(15)
	s.Voters = int(r.int())
	s.DefaultBalancer = r.str()
	s.MaxWorkers = int(r.int())
	s.MaxAliases = int(r.int())
	s.MaxContexts = int(r.int())
	s.UseAlias = r.str()
	s.NoContextStatus = int(r.int())
	s.UnavailableStatus = int(r.int())
	s.Recalculation = r.int()
	s.RemoveDelay = r.int()
	s.Deterministic = r.bool()
	a := &s.Affinity
	r.array(7)
	a.Mode = r.str()
	a.Delimiter = r.str()
	a.Cookie = r.str()
	a.PathParam = r.str()
	a.Sticky = r.optBool()
	a.Force = r.optBool()
	a.Drop = r.optBool()
	s.MaxAttempts = r.optInt()
	s.WaitWorker = r.optInt()
	s.Rules = readList(r, func() (u Rule) {
		r.array(6)
		u.Hosts = readStrings[string](r)
		u.PathPrefix = r.str()
		u.Action = r.str()
		u.Balancer = r.str()
		u.Status = int(r.int())
		u.To = r.str()
		return
	})
}
