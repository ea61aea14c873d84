//go:build linux

package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
)

// Outcome is what one scenario of one series came to.
type Outcome struct {
	Scenario string
	Title    string
	Series   string
	Err      string  `json:",omitempty"` // something that spoils all cells
	Again    bool    `json:",omitempty"` // the second try, after a goal was missed
	Others   float64 // share of the processors that other programs used meanwhile
	Cells    []*Cell
	Verdicts []Verdict
}

// quiet is the share of the processors that others may use before figures suffer.
const quiet = 0.05

// Cell is one proxy in it.
type Cell struct {
	Peer   string
	Err    string `json:",omitempty"` // an answer that was wrong, or none; its rounds count for nothing
	Rounds []Result
}

// Verdict is one goal and what was reached.
type Verdict struct {
	Figure string  // "CPU", "p99"
	Over   string  // the peer whose figure is the unit; "": none
	Most   float64 // the goal
	Got    float64 // 0: could not be measured
	Met    bool
}

func missed(o *Outcome) bool {
	return slices.ContainsFunc(o.Verdicts, func(v Verdict) bool { return !v.Met })
}

// failed tells whether a cell has no figures.
func failed(o *Outcome) bool {
	return o.Err != "" || slices.ContainsFunc(o.Cells, func(c *Cell) bool { return c.Err != "" })
}

// cell of peer, if it was measured.
func (o *Outcome) cell(peer string) *Cell {
	i := slices.IndexFunc(o.Cells, func(c *Cell) bool { return c.Peer == peer })
	if i < 0 {
		return nil
	}
	return o.Cells[i]
}

// figure is the median of a cell's rounds; false if there are none.
func (c *Cell) figure(f figure) (float64, bool) {
	if c == nil || c.Err != "" || len(c.Rounds) == 0 {
		return 0, false
	}
	var values []float64
	for _, r := range c.Rounds {
		values = append(values, f.of(r))
	}
	return median(values), true
}

// ratio is f of peer divided by that of over, round by round, and of that the median.
func (o *Outcome) ratio(peer, over string, f figure) (float64, bool) {
	a, b := o.cell(peer), o.cell(over)
	_, okA := a.figure(f)
	_, okB := b.figure(f)
	if o.Err != "" || !okA || !okB {
		return 0, false
	}
	var values []float64
	for i := range min(len(a.Rounds), len(b.Rounds)) {
		values = append(values, f.of(a.Rounds[i])/f.of(b.Rounds[i]))
	}
	got := median(values)
	return got, !math.IsNaN(got) && !math.IsInf(got, 0)
}

// judge compares with the goals; goals over a peer that did not take part are left out.
func (o *Outcome) judge() {
	o.Verdicts = nil
	if o.cell("quorate") == nil {
		return
	}
	for _, g := range allGoals() {
		if g.scenario != o.Scenario || g.over != "" && o.cell(g.over) == nil {
			continue
		}
		v := Verdict{Figure: g.figure.title, Over: g.over, Most: g.most}
		var ok bool
		if g.over == "" {
			v.Got, ok = o.cell("quorate").figure(g.figure)
			ok = ok && o.Err == ""
		} else {
			v.Got, ok = o.ratio("quorate", g.over, g.figure)
		}
		v.Met = ok && v.Got <= v.Most
		o.Verdicts = append(o.Verdicts, v)
	}
}

// print writes the scenario's table.
func (o *Outcome) print(w io.Writer) {
	if o.Err != "" {
		fmt.Fprintf(w, "FAILED: %s\n", o.Err)
	}
	if o.Others > quiet {
		fmt.Fprintf(w, "other programs used %.0f %% of the processors: these figures are rough\n", o.Others*100)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	latency, memory := false, false
	for _, c := range o.Cells {
		for _, r := range c.Rounds {
			latency = latency || r.All.P99 > 0
			memory = memory || r.Before > 0
		}
	}
	head := "PROXY\tCPU s/10,000\t÷ haproxy\tREQUESTS/s\tRSS\t"
	switch {
	case memory:
		head = "PROXY\tCONNECTIONS\tRSS BEFORE\tAFTER\tBYTES EACH\t"
	case latency:
		head += "p50 µs\tp99 µs\tp99.9 µs\tOTHERS' p99\t÷ haproxy: p99\t"
	}
	fmt.Fprintln(t, head)
	for _, c := range o.Cells {
		fmt.Fprintf(t, "%s\t", c.Peer)
		put := func(f figure, format string, scale float64) {
			if v, ok := c.figure(f); ok {
				fmt.Fprintf(t, format+"\t", v*scale)
			} else {
				fmt.Fprint(t, "-\t")
			}
		}
		over := func(f figure) {
			if v, ok := o.ratio(c.Peer, "haproxy", f); ok {
				fmt.Fprintf(t, "%.2f\t", v)
			} else {
				fmt.Fprint(t, "-\t")
			}
		}
		if memory {
			put(count, "%.0f", 1)
			put(before, "%.1f MiB", 1.0/(1<<20))
			put(rss, "%.1f MiB", 1.0/(1<<20))
			put(idle, "%.0f", 1)
			fmt.Fprintln(t)
			continue
		}
		put(cpu, "%.3f", 1)
		over(cpu)
		put(rate, "%.0f", 1)
		put(rss, "%.1f MiB", 1.0/(1<<20))
		if latency {
			put(p50, "%.0f", 1)
			put(p99, "%.0f", 1)
			put(p999, "%.0f", 1)
			put(others, "%.0f", 1)
			over(p99)
		}
		fmt.Fprintln(t)
	}
	t.Flush()
	for _, c := range o.Cells {
		if c.Err != "" {
			fmt.Fprintf(w, "FAILED: %s: %s\n", c.Peer, c.Err)
		}
	}
	for _, v := range o.Verdicts {
		fmt.Fprintln(w, v)
	}
}

func (v Verdict) String() string {
	word := "met"
	if !v.Met {
		word = "MISSED"
	}
	return fmt.Sprintf("goal: quorate's %s <= %s: %s, %s", v.what(), v.number(v.Most), v.number(v.Got), word)
}

// what is measured, in words.
func (v Verdict) what() string {
	if v.Over == "" {
		return v.Figure
	}
	return v.Figure + " ÷ " + v.Over
}

func (v Verdict) number(x float64) string {
	switch {
	case x == 0:
		return "-"
	case v.Over == "":
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

// median of values, which it sorts.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// quantiles of times in nanoseconds, which it sorts; zero without any.
func quantiles(ns []int64) Latency {
	if len(ns) == 0 {
		return Latency{}
	}
	slices.Sort(ns)
	at := func(q float64) float64 {
		return float64(ns[min(len(ns)-1, int(math.Ceil(q*float64(len(ns))))-1)]) / 1000
	}
	return Latency{at(0.50), at(0.99), at(0.999)}
}
