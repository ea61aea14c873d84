package route

import (
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/fsm"
)

// Balancer is a group of nodes with common session settings. All versions of a
// table share it.
type Balancer struct {
	Name   string
	Number int64 // order of creation
	policy atomic.Pointer[Policy]
}

// Policy returns the settings as they are now. They are not to be changed.
func (b *Balancer) Policy() *Policy { return b.policy.Load() }

// Policy is what CONFIG and shared.affinity, max_attempts and wait_worker say of
// a balancer, the latter first.
type Policy struct {
	Cookie      string        // name of the session cookie
	PathParam   string        // name of the session's path parameter
	Sticky      bool          // the session's route counts; if not, Force and Remove are off
	Force       bool          // a session does not leave its domain
	Remove      bool          // a session that leaves its domain goes without its id
	Delimiter   string        // affinity.mode ranked: between the routes; else ""
	WaitWorker  time.Duration // how long an election that finds nothing waits; 0 not at all
	MaxAttempts int           // as Maxattempts: tries after the first; 0 or less: none
}

func newPolicy(b *fsm.Balancer, s *fsm.Settings) *Policy {
	a := &s.Affinity
	p := &Policy{
		Cookie:      b.Cookie,
		PathParam:   b.PathParam,
		Sticky:      b.Sticky,
		Force:       b.StickyForce,
		Remove:      b.StickyDrop,
		MaxAttempts: b.MaxAttempts,
	}
	wait := b.WaitWorker
	override(&p.Sticky, a.Sticky)
	override(&p.Force, a.Force)
	override(&p.Remove, a.Drop)
	override(&p.MaxAttempts, s.MaxAttempts)
	override(&wait, s.WaitWorker)
	if a.Cookie != "" {
		p.Cookie = a.Cookie
	}
	if a.PathParam != "" {
		p.PathParam = a.PathParam
	}
	if a.Mode == "ranked" {
		p.Delimiter = a.Delimiter
	}
	if a.Mode == "none" || p.Cookie == "" || p.PathParam == "" {
		p.Sticky = false
	}
	p.Force = p.Force && p.Sticky
	p.Remove = p.Remove && p.Sticky
	p.WaitWorker = time.Duration(max(0, wait)) * time.Second
	return p
}

func override[T any](v *T, by *T) {
	if by != nil {
		*v = *by
	}
}
