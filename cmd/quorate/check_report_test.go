//go:build check || soak

package main

import (
	"fmt"
	"strings"
	"testing"
)

// report is the table that a check prints at its end.
type report struct {
	t    *testing.T
	rows [][2]string
}

func (r *report) add(what, format string, args ...any) {
	r.rows = append(r.rows, [2]string{what, fmt.Sprintf(format, args...)})
}

// total adds what the users saw, and holds them to have seen nothing. Only a
// kill may cut an answer off, and leave a POST that nobody may send twice.
func (r *report) total(what string, a tally, killed bool) {
	r.t.Helper()
	r.add(what, "%s", a)
	for _, f := range a.failures[:min(len(a.failures), 10)] {
		r.t.Errorf("%s: %s", what, f)
	}
	if !killed && a.cut+a.lostPosts > 0 {
		r.t.Errorf("%s: %d answers cut off, %d POSTs lost, and nothing was killed", what, a.cut, a.lostPosts)
	}
}

func (r *report) print() {
	wide := 0
	for _, row := range r.rows {
		wide = max(wide, len(row[0]))
	}
	var b strings.Builder
	for _, row := range r.rows {
		fmt.Fprintf(&b, "\n%-*s  %s", wide, row[0], row[1])
	}
	r.t.Log(b.String())
}

// tail is the last n lines of text.
func tail(text []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
