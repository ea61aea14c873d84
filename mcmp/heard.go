package mcmp

import (
	"maps"
	"sync"
	"time"

	"github.com/quorate/quorate/fsm"
)

// Heard is when a replica last had a STATUS of a worker. It is soft state: told
// to the other replicas, never in the log.
type Heard struct {
	Ago    time.Duration
	Period time.Duration // the worker's, estimated from the intervals; 10 s before the second STATUS
}

// Silent says that the worker has sent nothing for 1.5 of its periods, when a
// route or address of its may be taken over (spec/mcmp.md §0.3).
func (h Heard) Silent() bool { return h.Ago > h.Period*3/2 }

// defaultPeriod is that of an unchanged Tomcat or WildFly.
const defaultPeriod = 10 * time.Second

// heard keeps the last STATUS of each worker that is registered.
type heard struct {
	start time.Time // of this replica

	mu     sync.Mutex
	routes map[fsm.JVMRoute]signs // guarded by mu
}

type signs struct {
	last   time.Time     // STATUS, or the CONFIG that registered it
	status time.Time     // last STATUS; zero before the first
	period time.Duration // 0: no interval seen
}

func newHeard(start time.Time) *heard {
	return &heard{start: start, routes: map[fsm.JVMRoute]signs{}}
}

// note records a sign of life. Two copies of one message, sent because an answer
// was late, say nothing about the period.
func (h *heard) note(r fsm.JVMRoute, status bool, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.routes[r]
	s.last = now
	if status {
		const copies = 500 * time.Millisecond
		if d := now.Sub(s.status); !s.status.IsZero() && d > copies {
			d = min(d, time.Minute)
			if s.period == 0 {
				s.period = d
			}
			s.period += (d - s.period) / 4
		}
		s.status = now
	}
	h.routes[r] = s
}

// all returns what is known of the routes that keep accepts, and forgets the rest.
func (h *heard) all(keep func(fsm.JVMRoute) bool, now time.Time) map[fsm.JVMRoute]Heard {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.routes, func(r fsm.JVMRoute, _ signs) bool { return !keep(r) })
	all := make(map[fsm.JVMRoute]Heard, len(h.routes))
	for r, s := range h.routes {
		all[r] = s.heard(now)
	}
	return all
}

func (s signs) heard(now time.Time) Heard {
	h := Heard{Ago: now.Sub(s.last), Period: s.period}
	if h.Period == 0 {
		h.Period = defaultPeriod
	}
	return h
}

// of returns what is known of one route. One never heard of counts from this
// replica's start: a replica that has just come up cannot call a worker silent.
func (h *heard) of(r fsm.JVMRoute, now time.Time) Heard {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.routes[r]
	if !ok {
		s.last = h.start
	}
	return s.heard(now)
}

// Heard returns, for each registered worker that this replica has heard of, when
// that was: what the other replicas are told.
func (s *Server) Heard() map[fsm.JVMRoute]Heard {
	st := s.c.State()
	return s.heard.all(func(r fsm.JVMRoute) bool { return live(st, r) != nil }, time.Now())
}

// Silent says that this replica has had no STATUS of the route for 1.5 of its
// periods. A worker is gone when that is so on every replica, or when none
// reaches it.
func (s *Server) Silent(r fsm.JVMRoute) bool { return s.heard.of(r, time.Now()).Silent() }
