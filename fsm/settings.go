package fsm

import "slices"

// DefaultSettings are the defaults of the `shared` section (interface.md §1).
func DefaultSettings() Settings {
	return Settings{
		DefaultBalancer:   "mycluster",
		MaxWorkers:        1000,
		MaxAliases:        100,
		MaxContexts:       500,
		UseAlias:          "auto",
		NoContextStatus:   404,
		UnavailableStatus: 503,
		Recalculation:     5_000,
		RemoveDelay:       10_000,
		Deterministic:     true,
		Affinity:          Affinity{Mode: "single", Delimiter: "."},
	}
}

// clone copies s down to the last slice and pointer, so that who proposed it
// may go on changing his own.
func (s *Settings) clone() Settings {
	c := *s
	c.MaxAttempts, c.WaitWorker = clonePtr(s.MaxAttempts), clonePtr(s.WaitWorker)
	a := &c.Affinity
	a.Sticky, a.Force, a.Drop = clonePtr(a.Sticky), clonePtr(a.Force), clonePtr(a.Drop)
	c.Rules = slices.Clone(s.Rules)
	for i := range c.Rules {
		c.Rules[i].Hosts = slices.Clone(c.Rules[i].Hosts)
	}
	return c
}

func clonePtr[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}
