package migrate

import (
	"fmt"
	"strings"
)

// widest is how far the arrows of a report are moved to stand below each other.
const widest = 44

// Report is the report as text, a line per directive, in the order of the files; those
// that need nothing are left out unless all is set.
func (r *Result) Report(all bool) string {
	var b strings.Builder
	where, what := 0, 0
	for _, i := range r.Items {
		if all || i.Kind != Needless {
			where = max(where, len(place(i)))
			if n := len(said(i)); n <= widest {
				what = max(what, n)
			}
		}
	}
	for _, i := range r.Items {
		if all || i.Kind != Needless {
			fmt.Fprintf(&b, "%-*s  %c  %-*s -> %s\n", where, place(i), i.Kind, what, said(i), became(i))
		}
	}
	for _, w := range r.Warnings {
		b.WriteString("warning: " + w + "\n")
	}
	fmt.Fprintf(&b, "%d carried over, %d by hand, %d not needed\n", r.Count(Copied, Converted), r.Count(Manual), r.Count(Needless))
	return b.String()
}

func place(i Item) string { return fmt.Sprintf("%s:%d", i.File, i.Line) }

// said is the directive; what would break the line is a question mark.
func said(i Item) string {
	s := strings.TrimSpace(i.Directive + " " + i.Value)
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return '?'
		}
		return c
	}, s)
}

func became(i Item) string {
	is := i.Path
	switch {
	case is != "":
	case i.Kind == Manual:
		is = "no equal"
	case i.Kind == Needless:
		is = "not needed"
	default:
		return i.Note
	}
	if i.Note != "" {
		is += ": " + i.Note
	}
	return is
}
