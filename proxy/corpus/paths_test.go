package corpus

import (
	"strings"
	"testing"
)

// pathCase is one of testdata/paths: a request target, then the context whose
// worker gets it and the target that is sent, or the refusal.
type pathCase struct {
	*testCase
	target string
	sent   string // "": refused
}

func readPaths(t testing.TB) (list []pathCase) {
	t.Helper()
	for _, c := range readFile(t, "paths") {
		if len(c.steps) != 2 {
			t.Fatalf("%s: a path has one line for what is sent, and one for the outcome", c.place)
		}
		p := pathCase{testCase: c, target: c.steps[0].text}
		request := func(target string) string { return "GET " + target + " HTTP/1.1\r\nHost: localhost\r\n" }
		c.steps[0].text = request(p.target) + "\r\n"
		if c.steps[1].side == gets {
			var ok bool
			if c.context, p.sent, ok = strings.Cut(c.steps[1].text, "  "); !ok {
				t.Fatalf("%s: the outcome is a context, two blanks, a target", c.place)
			}
			c.steps[1].text = request(p.sent) + "+\r\n\r\n"
		}
		list = append(list, p)
	}
	return list
}

// Each path reaches the worker of its context, as it should be sent, or is refused.
func TestPaths(t *testing.T) {
	engine(t)
	all := &rigs{t, map[string]*rig{}}
	t.Run("all", func(t *testing.T) {
		for _, c := range readPaths(t) {
			r := all.of(c.testCase, contexts...)
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				if err := r.once(c.testCase, 0, nil); err != nil {
					t.Errorf("%s: %s\n%v", c.place, escape(c.target), err)
				}
			})
		}
	})
	for _, r := range all.list {
		r.stop()
	}
}
