package fsm

import (
	"fmt"
	"testing"
)

// Apply's cost does not grow with the state: what it allocates for one command
// among 990 workers is about what it allocates among 10. Allocations are
// counted, since time on a busy machine says nothing; BenchmarkApplyStatus
// gives times.
func TestCostDoesNotGrowWithTheState(t *testing.T) {
	cost := func(workers int, lines ...string) float64 {
		s := crowd(t, workers, 20)
		e := Entry{Schema: 1, Time: s.Time() + 1000}
		for _, line := range lines {
			c, err := parseCommand(line)
			if err != nil {
				t.Fatal(err)
			}
			e.Commands = append(e.Commands, c)
		}
		if _, r := mustApply(t, s, e); !r[len(r)-1].Changed {
			t.Fatalf("%v changed nothing: %+v", lines, r)
		}
		return testing.AllocsPerRun(100, func() { _, _, _ = Apply(s, e) })
	}
	for _, lines := range [][]string{
		{"STATUS worker-0003 51 id=1"},
		{"STOP-APP worker-0003 localhost /app-007 id=1"},
		{"CONFIG worker-0003 http://10.9.9.9:80 gone=worker-0003 id=1"},
		{"CONFIG new http://10.9.9.9:80 id=1"},
		{"REMOVE-APP worker-0003 /* id=1"},
		{`HOLD worker-0003 /app-007 "r" id=1`},
		{"REMOVE-APP worker-0003 /*", "CONFIG worker-0003 http://10.0.0.3:8080", "STATUS worker-0003 1"},
	} {
		small, large := cost(10, lines...), cost(990, lines...)
		t.Logf("%v: %.0f allocations among 10 workers, %.0f among 990", lines, small, large)
		if large > 1.5*small+10 {
			t.Errorf("%v: %.0f allocations among 10 workers, %.0f among 990", lines, small, large)
		}
	}
}

// Ageing costs what is due, not what is kept.
func TestAgeingCostsWhatIsDue(t *testing.T) {
	cost := func(kept int) float64 {
		s := crowd(t, kept, 2)
		e := Entry{Schema: 1, Time: 10_000}
		for i := range kept {
			if i != 0 {
				e.Commands = append(e.Commands, Command{Op: OpExpire, Route: JVMRoute(fmt.Sprintf("worker-%04d", i))})
			}
		}
		first := Entry{Schema: 1, Time: 9_000, Commands: []Command{{Op: OpExpire, Route: "worker-0000"}}}
		s, _ = mustApply(t, s, first)
		s, _ = mustApply(t, s, e)
		due := Entry{Schema: 1, Time: 19_000}
		if next, _ := mustApply(t, s, due); len(next.Nodes()) != kept-1 {
			t.Fatalf("%d of %d are left", len(next.Nodes()), kept)
		}
		return testing.AllocsPerRun(100, func() { _, _, _ = Apply(s, due) })
	}
	small, large := cost(10), cost(1000)
	t.Logf("forgetting one of 10 removed workers: %.0f allocations, one of 1,000: %.0f", small, large)
	if large > 1.5*small+10 {
		t.Errorf("forgetting one of 10 removed workers: %.0f allocations, one of 1,000: %.0f", small, large)
	}
}
