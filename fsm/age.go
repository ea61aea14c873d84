package fsm

// How long things are kept, in ms of leader time (spec/mcmp.md §0.8). How long a
// removed node is kept is Settings.RemoveDelay.
const (
	rememberFor = 5 * 60_000
	lingerFor   = 30_000
)

// removeDelay is at least 1 ms: commands of one time must do the same in one
// entry as in several.
func (s *State) removeDelay() int64 { return max(s.Settings().RemoveDelay, 1) }

// Due is the earliest leader time at which the passing of time alone changes
// what readers see; 0 when nothing waits. Then the leader proposes a tick. The
// dedupe window does not count: it is aged before each command that looks into
// it.
func (s *State) Due() int64 {
	due := int64(0)
	soonest := func(at, after int64) {
		if at != 0 && (due == 0 || at+after < due) {
			due = at + after
		}
	}
	_, at := s.removed.first()
	soonest(at, s.removeDelay())
	_, at = s.lingering.first()
	soonest(at, 0)
	_, at = s.remembers.first()
	soonest(at, rememberFor)
	return due
}

// age forgets what is due. It looks at nothing else, so its cost does not grow
// with the state.
func (s *State) age(r *Result) {
	now := s.Time()
	for name, at := s.removed.first(); at != 0 && at+s.removeDelay() <= now; name, at = s.removed.first() {
		s.forget(s.Node(JVMRoute(name)), r)
	}
	for name, at := s.lingering.first(); at != 0 && at <= now; name, at = s.lingering.first() {
		s.endLinger(s.Node(JVMRoute(name)), r)
	}
	for name, at := s.remembers.first(); at != 0 && at+rememberFor <= now; name, at = s.remembers.first() {
		s.dropMemory(JVMRoute(name))
		r.node(JVMRoute(name))
	}
	for o := s.seen.oldest(); o != nil && o.Time+seenFor <= now; o = s.seen.oldest() {
		s.dropOldestSeen()
	}
}

// forget ends a removed node: its record, its balancer if it was the last, but
// not what operators want of it.
func (s *State) forget(n *Node, r *Result) {
	s.dropNode(n)
	s.dropEmpty(n.Config.Balancer, r)
	if old := s.Intent(n.Route); old != nil {
		i := *old
		i.Left = s.mark()
		s.putIntent(&i)
		s.limitIntents()
	}
	r.node(n.Route)
	r.Events = append(r.Events, Event{Op: "FORGET", Route: n.Route, Detail: n.Config.URL()})
}

// dropEmpty ends a balancer that has no node any more.
func (s *State) dropEmpty(name string, r *Result) {
	if count, _ := s.members.get(name); count == 0 && s.Balancer(name) != nil {
		s.dropBalancer(name)
		r.balancer(name)
	}
}

func (s *State) endLinger(n *Node, r *Result) {
	next := *n
	next.Linger = nil
	for _, l := range n.Linger {
		if l.Until > s.Time() {
			next.Linger = append(next.Linger, l)
		}
	}
	next.Modified = s.Time()
	s.putNode(&next)
	r.node(n.Route)
}

// The rest bounds by Settings.MaxWorkers what stays behind of workers that
// come and go. The oldest goes first.

func (s *State) limitRemoved(r *Result) {
	for s.over(s.removed.size) {
		name, _ := s.removed.first()
		s.forget(s.Node(JVMRoute(name)), r)
	}
}

func (s *State) limitMemories(r *Result) {
	for s.over(s.memories.size) {
		name, _ := s.remembers.first()
		s.dropMemory(JVMRoute(name))
		r.node(JVMRoute(name))
	}
}

func (s *State) limitIntents() {
	for s.over(s.left.size) {
		name, _ := s.left.first()
		s.dropIntent(s.Intent(JVMRoute(name)))
	}
}

// over says whether a number is over the limit of workers; 0 is no limit.
func (s *State) over(n int) bool { return over(n, s.Settings().MaxWorkers) }

func over(n, limit int) bool { return limit > 0 && n > limit }
