package route

import (
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// election is a choice among the contexts that one balancer has at one path.
type election struct {
	table    *Table
	tried    []*Node // not to be chosen
	where    search
	parts    []part
	balancer *Balancer
	policy   *Policy

	session session
	node    *Node  // the session's own; nil if it is gone
	named   bool   // the route names a node of this balancer
	known   bool   // that, or a domain that is remembered
	route   string // the one that is known
	ranked  string // routes after it, affinity.mode ranked
	domain  string // the route's; "" if it has none

	last    *candidate // the session's own node, which is suspect
	elected bool       // an election took place
}

// wants is the route that the session asks for.
func (e *election) wants() string {
	if e.route != "" {
		return e.route
	}
	return e.session.route
}

func (n *Node) domain() string { return n.record.Load().Config.Domain }

// The passes of an election, the first that finds a node ends it
// (spec/routing.md §0.2 rule 4, §0.4). The same again for suspects.
const (
	passDomain   = iota // A: the route's domain, load > 0
	passEnabled         // B: load > 0
	passStandby         // C: load 0
	passDisabled        // other sessions on what is disabled, load > 0
	passLast            // the same, load 0
	passSuspects        // if every node of the context is suspect: A again
	passes       = 2 * passSuspects
)

// failOver elects a node for a request whose session has none that can take it,
// or that has no session. Without a node it says why.
func (e *election) failOver() (*candidate, Reason) {
	if e.policy.Force && e.known {
		return e.forced()
	}
	e.elected = true
	best, pass := e.elect(passes)
	if e.last != nil && pass >= passSuspects {
		return e.last, None
	}
	if best == nil {
		return nil, NoWorker
	}
	return best, None
}

// forced is for a session that may not leave its domain.
func (e *election) forced() (*candidate, Reason) {
	if e.domain != "" {
		e.elected = true
		if best, pass := e.elect(passDomain + 1); pass == passDomain {
			return best, None
		}
	}
	if _, pass := e.elect(passes); pass >= passSuspects { // every node is suspect
		if e.last != nil {
			return e.last, None
		}
		if best, pass := e.elect(passSuspects + 1); pass == passSuspects && e.domain != "" {
			return best, None
		}
	}
	return nil, Forced
}

// elect returns the winner of the first pass below end that has one, and the
// pass; passes if there is none.
//
// In a pass the lowest value wins, on a tie and among standbys the least recently
// elected, then the order of registration. With deterministic failover of a
// session it is the highest hash instead, so that all replicas choose alike and
// one node's absence moves only its own sessions.
func (e *election) elect(end int) (best *candidate, pass int) {
	if e.session.id == "" && len(e.tried) == 0 && e.table.shared.wide.Load() == 0 {
		return e.fresh()
	}
	return e.electAny(end)
}

// electAny is elect for every request.
func (e *election) electAny(end int) (best *candidate, pass int) {
	hashed := e.hashed()
	var session uint64
	if hashed {
		session = xxhash.Sum64String(e.session.base)
	}
	pass = passes
	var bestOrder order
	for i := range e.parts {
		p := &e.parts[i]
		if !e.where.admits(p) {
			continue
		}
		for _, list := range p.lists() {
			for j := range list {
				c := &list[j]
				at := e.pass(c)
				if at > pass || at >= end || e.avoids(c) {
					continue
				}
				var o order
				switch {
				case hashed:
					o.value = math.MaxUint64 - mix(session, c.node.routeHash)
				default:
					o = order{value: c.node.value.Load(), last: c.node.last.Load(), key: c.key}
				}
				if at < pass || o.before(&bestOrder) || hashed && o == bestOrder && c.node.Route < best.node.Route {
					best, pass, bestOrder = c, at, o
				}
			}
		}
	}
	return best, pass
}

func (e *election) avoids(c *candidate) bool {
	return slices.Contains(e.tried, c.node)
}

// hashed says whether the session alone decides who wins.
func (e *election) hashed() bool { return e.table.settings.Deterministic && e.session.route != "" }

// order is that of the candidates of one pass.
type order struct {
	value uint64
	last  uint64
	key   int64
}

func (r *order) before(o *order) bool {
	if r.value != o.value {
		return r.value < o.value
	}
	if r.last != o.last {
		return r.last < o.last
	}
	return r.key < o.key
}

// pass returns the pass in which a candidate takes part, passes for none.
func (e *election) pass(c *candidate) int {
	class := c.node.class()
	if class >= out || c.status > disabled {
		return passes
	}
	var pass int
	inDomain := e.domain != "" && c.node.domain() == e.domain
	switch ready := class&standby == 0; {
	case inDomain && ready:
		pass = passDomain
	case c.status == enabled && ready:
		pass = passEnabled
	case c.status == enabled || inDomain:
		pass = passStandby
	case e.session.id == "":
		return passes
	case ready:
		pass = passDisabled
	default:
		pass = passLast
	}
	if class&suspect != 0 {
		pass += passSuspects
	}
	return pass
}

// fresh is elect for a request without a session that was not tried anywhere yet,
// which is most elections: only what is enabled counts, and passes, values and
// turns compare as one number.
func (e *election) fresh() (best *candidate, pass int) {
	lowestYet := uint64(out) << classShift
	for i := range e.parts {
		p := &e.parts[i]
		if len(p.at) == 0 || !e.where.admits(p) {
			continue
		}
		at, r := lowest(p.at)
		if r < lowestYet || best != nil && r == lowestYet && p.on[at].key < best.key {
			best, lowestYet = &p.on[at], r
		}
	}
	if best == nil {
		return nil, passes
	}
	c := class(lowestYet >> classShift)
	pass = passEnabled + int(c&standby)
	if c&suspect != 0 {
		pass += passSuspects
	}
	return best, pass
}

// mix makes one number of a session's and a route's hash, evenly (the finalizer
// of MurmurHash3). It is the same on all replicas: never change it within a
// schema version.
func mix(session, route uint64) uint64 {
	h := session ^ route*0x9e3779b97f4a7c15
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return h
}
