package raftnode

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// refusedFor is how long a refusal counts as the same one when it is repeated: those
	// who are refused ask again every second.
	refusedFor = time.Minute
	// maxRefused are kept; whoever can open a connection can be refused.
	maxRefused = 256
	// maxTrouble reasons stand in one line of the log.
	maxTrouble = 5
)

// refusals are the errors that keep two replicas apart until a person does something.
var refusals = []error{ErrWrongSecret, ErrUntrusted, ErrWrongCluster, ErrDuplicateID, ErrRemoved, ErrNameTaken}

func isRefusal(err error) bool {
	return slices.ContainsFunc(refusals, func(r error) bool { return errors.Is(err, r) })
}

// refused remembers which refusals were told of, whichever of the two sides refused.
type refused struct {
	mu   sync.Mutex
	told map[refusal]told
}

// refusal is who was refused and what for.
type refusal struct{ id, kind string }

type told struct {
	last time.Time
	line string // for people
}

// note reports whether a refusal is a new one.
func (rs *refused) note(id, line string, err error, now time.Time) bool {
	key := refusal{id, err.Error()}
	for _, r := range refusals {
		if errors.Is(err, r) {
			key.kind = r.Error() // both sides' words for one thing
			break
		}
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for k, t := range rs.told {
		if now.Sub(t.last) >= refusedFor {
			delete(rs.told, k)
		}
	}
	_, known := rs.told[key]
	if !known && len(rs.told) >= maxRefused {
		return false
	}
	if rs.told == nil {
		rs.told = make(map[refusal]told)
	}
	rs.told[key] = told{now, line}
	return !known
}

// lines are the refusals of the last minute by whom they are about.
func (rs *refused) lines(now time.Time) map[string]string {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	list := make(map[string]string)
	for k, t := range rs.told {
		if now.Sub(t.last) < refusedFor {
			list[k.id] = t.line
		}
	}
	return list
}

// refuse tells once that this replica and another one do not go together. id and name
// are "" when it got no further than TLS.
func (r *Replica) refuse(id, name, address string, err error) {
	who := id
	if who == "" {
		who = address
	}
	line := address + ": " + err.Error()
	if strings.HasPrefix(err.Error(), address) {
		line = err.Error() // that of a dial names it
	}
	if name != "" {
		line = name + ": " + line
	}
	if r.refused.note(who, line, err, time.Now()) {
		r.log.Warn("replica refused", "name", name, "id", id, "address", address, "error", err)
	}
}

// watchHints looks for replicas of another cluster in this one's gossip: one was copied or
// recovered, or two were formed apart. They are never dialled.
func (r *Replica) watchHints() {
	mine := r.home.get().ClusterID
	for _, h := range r.hints() {
		if mine != "" && h.ClusterID != "" && h.ClusterID != mine && h.ID != r.id {
			r.refuse(h.ID, h.Name, h.Address, otherCluster(r.c.Name, mine, h.Name, h.ClusterID))
		}
	}
}

// trouble is why others cannot be spoken to, as far as that is known; "" if nothing is.
func (r *Replica) trouble(now time.Time) string {
	lines := r.refused.lines(now)
	for _, p := range r.roster.all() {
		if p.err != "" {
			lines[p.id] = r.nameOf(p.id) + ": " + p.err
		}
	}
	var list []string
	for _, line := range lines {
		list = append(list, line)
	}
	slices.Sort(list)
	return strings.Join(list[:min(len(list), maxTrouble)], "; ")
}
