package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// duration prints d as people say it: 38ms, 14s, 3m12s, 6d2h.
func duration(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return two(int(d.Minutes()), "m", int(d.Seconds())%60, "s")
	case d < 24*time.Hour:
		return two(int(d.Hours()), "h", int(d.Minutes())%60, "m")
	}
	return two(int(d.Hours())/24, "d", int(d.Hours())%24, "h")
}

func two(a int, unit string, b int, unit2 string) string {
	if b == 0 {
		return strconv.Itoa(a) + unit
	}
	return strconv.Itoa(a) + unit + strconv.Itoa(b) + unit2
}

// seconds prints a short wait with one digit: 1.9s.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }

// table is text in columns, two blanks apart. A column whose head is in right
// is flushed right. A row of one cell that begins with a blank is a note below
// the row before it and has no part in the widths.
type table struct {
	head  []string
	right map[string]bool
	rows  [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) note(text string) { t.rows = append(t.rows, []string{text}) }

func (t *table) print(w io.Writer) {
	width := make([]int, len(t.head))
	for i, h := range t.head {
		width[i] = len(h)
	}
	for _, r := range t.rows {
		if len(r) == len(t.head) {
			for i, c := range r {
				width[i] = max(width[i], len(c))
			}
		}
	}
	for _, r := range append([][]string{t.head}, t.rows...) {
		if len(r) != len(t.head) {
			for _, line := range wrap(r[0], 72) {
				fmt.Fprintln(w, "        "+line)
			}
			continue
		}
		var b strings.Builder
		for i, c := range r {
			pad := strings.Repeat(" ", width[i]-len(c))
			if t.right[t.head[i]] {
				c = pad + c
			} else {
				c += pad
			}
			b.WriteString(c)
			if i < len(r)-1 {
				b.WriteString("  ")
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// wrap breaks text at blanks into lines of at most width bytes, where it can.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// colour marks a status word on a terminal; the word alone carries the meaning.
type colour bool

func (c colour) green(s string) string  { return c.paint("32", s) }
func (c colour) yellow(s string) string { return c.paint("33", s) }
func (c colour) red(s string) string    { return c.paint("31", s) }

func (c colour) paint(code, s string) string {
	if !c {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// natural orders names as people do: app-2 before app-10.
func natural(a, b string) int {
	for a != "" && b != "" {
		da, db := digits(a), digits(b)
		if da > 0 && db > 0 {
			na, nb := strings.TrimLeft(a[:da], "0"), strings.TrimLeft(b[:db], "0")
			if len(na) != len(nb) {
				return len(na) - len(nb)
			}
			if na != nb {
				return strings.Compare(na, nb)
			}
			a, b = a[da:], b[db:]
			continue
		}
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}
