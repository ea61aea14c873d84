package route

import (
	"testing"
	"time"

	"github.com/quorate/quorate/fsm"
)

// What a balancer's sessions follow: the shared settings first, then CONFIG.
func TestPolicy(t *testing.T) {
	yes, no, two := true, false, 2
	all := Policy{Cookie: "SID", PathParam: "sid", Sticky: true, Force: true, Remove: true, WaitWorker: 5 * time.Second, MaxAttempts: 1}
	for name, c := range map[string]struct {
		set  func(b *fsm.Balancer, s *fsm.Settings)
		want func(p *Policy)
	}{
		"as CONFIG says":      {func(*fsm.Balancer, *fsm.Settings) {}, func(*Policy) {}},
		"not sticky":          {func(b *fsm.Balancer, _ *fsm.Settings) { b.Sticky = false }, func(p *Policy) { p.Sticky, p.Force, p.Remove = false, false, false }},
		"mode none":           {func(_ *fsm.Balancer, s *fsm.Settings) { s.Affinity.Mode = "none" }, func(p *Policy) { p.Sticky, p.Force, p.Remove = false, false, false }},
		"no cookie name":      {func(b *fsm.Balancer, _ *fsm.Settings) { b.Cookie = "" }, func(p *Policy) { p.Cookie, p.Sticky, p.Force, p.Remove = "", false, false, false }},
		"no parameter name":   {func(b *fsm.Balancer, _ *fsm.Settings) { b.PathParam = "" }, func(p *Policy) { p.PathParam, p.Sticky, p.Force, p.Remove = "", false, false, false }},
		"ranked":              {func(_ *fsm.Balancer, s *fsm.Settings) { s.Affinity.Mode = "ranked" }, func(p *Policy) { p.Delimiter = "." }},
		"sticky all the same": {func(b *fsm.Balancer, s *fsm.Settings) { b.Sticky, s.Affinity.Sticky = false, &yes }, func(*Policy) {}},
		"settings": {func(_ *fsm.Balancer, s *fsm.Settings) {
			s.Affinity.Force, s.Affinity.Drop, s.Affinity.Cookie, s.Affinity.PathParam = &no, &no, "C", "P"
			s.MaxAttempts, s.WaitWorker = &two, &two
		}, func(p *Policy) {
			*p = Policy{Cookie: "C", PathParam: "P", Sticky: true, WaitWorker: 2 * time.Second, MaxAttempts: 2}
		}},
	} {
		b := fsm.Balancer{Cookie: "SID", PathParam: "sid", Sticky: true, StickyForce: true, StickyDrop: true, WaitWorker: 5, MaxAttempts: 1}
		s, want := fsm.DefaultSettings(), all
		c.set(&b, &s)
		c.want(&want)
		if got := newPolicy(&b, &s); *got != want {
			t.Errorf("%s: %+v, want %+v", name, *got, want)
		}
	}
}
