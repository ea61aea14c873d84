//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// Report is all of one run, as performance.json has it.
type Report struct {
	Started  time.Time
	Took     time.Duration
	Machine  string
	Short    bool
	Rounds   int
	Duration time.Duration
	Versions map[string]string
	Outcomes []*Outcome
}

func (r *Report) begin(b *bench) {
	r.Started = time.Now().UTC().Truncate(time.Second)
	r.Machine = machine()
	r.Short, r.Rounds, r.Duration = b.short, b.rounds, b.duration
}

// machine is processor, kernel and Go.
func machine() string {
	model := "unknown processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	var u syscall.Utsname
	kernel := "Linux"
	if syscall.Uname(&u) == nil {
		var release []byte
		for _, c := range u.Release {
			if c == 0 {
				break
			}
			release = append(release, byte(c))
		}
		number, _, _ := strings.Cut(string(release), "-")
		kernel += " " + number
	}
	return fmt.Sprintf("%d processors (%s), %s, %s, loopback", runtime.NumCPU(), model, kernel, runtime.Version())
}

func (r *Report) versions() string {
	var words []string
	for _, p := range allPeers() {
		if v := r.Versions[p.name]; v != "" {
			words = append(words, p.title+" "+v)
		}
	}
	return strings.Join(words, "; ")
}

func (r *Report) head(w io.Writer) {
	fmt.Fprintf(w, "%s\n%s\n", r.Machine, r.versions())
}

// summary is the list of goals, at the end.
func (r *Report) summary(w io.Writer) {
	r.Took = time.Since(r.Started).Truncate(time.Second)
	fmt.Fprintf(w, "\nAll goals (%s)\n", r.Took)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SCENARIO\tSERIES\tFIGURE\tGOAL\tREACHED\t")
	met, all := 0, 0
	for _, o := range r.Outcomes {
		for _, v := range o.Verdicts {
			word := ""
			if all++; v.Met {
				met++
			} else {
				word = "MISSED"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", o.Scenario, o.Series, v.what(), v.number(v.Most), v.number(v.Got), word)
		}
	}
	t.Flush()
	fmt.Fprintf(w, "%d of %d goals met\n", met, all)
	for _, o := range r.Outcomes {
		if failed(o) {
			fmt.Fprintf(w, "FAILED: %s (%s)\n", o.Scenario, o.Series)
		}
	}
}

// code is 1 if a cell failed, 3 if a goal was missed, else 0.
func (r *Report) code() int {
	switch {
	case slices.ContainsFunc(r.Outcomes, failed):
		return 1
	case slices.ContainsFunc(r.Outcomes, missed):
		return 3
	}
	return 0
}

// write puts the report, the picture and the figures into folder dir.
func (r *Report) write(dir string) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "performance.json"), append(data, '\n'), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "performance.svg"), r.picture(), 0o644); err != nil {
		return err
	}
	name := filepath.Join(dir, "performance.md")
	page, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if page, err = replaceFigures(page, r.markdown()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return os.WriteFile(name, page, 0o644)
}

const (
	beginFigures = "<!-- bench -->\n"
	endFigures   = "<!-- /bench -->"
)

// replaceFigures puts figures between the two marks of page.
func replaceFigures(page, figures []byte) ([]byte, error) {
	before, rest, ok := bytes.Cut(page, []byte(beginFigures))
	_, after, ended := bytes.Cut(rest, []byte(endFigures))
	if !ok || !ended {
		return nil, errors.New("no place for the figures: " + strings.TrimSpace(beginFigures) + " and " + endFigures)
	}
	return slices.Concat(before, []byte(beginFigures), figures, []byte(endFigures), after), nil
}

// markdown is the figures as a page shows them.
func (r *Report) markdown() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s, %s. %s.\n", r.Started.Format("2006-01-02"), r.Machine, r.versions())
	if r.Short {
		b.WriteString("\n**A short run: for a first look alone.**\n")
	}
	most := 0.0
	for _, o := range r.Outcomes {
		most = max(most, o.Others)
	}
	if most > quiet {
		fmt.Fprintf(&b, "\n**Other programs used up to %.0f %% of the processors meanwhile: these figures are rough.**\n", most*100)
	}
	b.WriteString("\n![CPU and latency beside other proxies](performance.svg)\n")
	fmt.Fprintf(&b, "\nMedians of at least %s of %s. Ratios, in brackets those to haproxy, are medians of the rounds' ratios.\n", rounds(r.Rounds), r.Duration)
	r.goals(&b)
	for _, s := range r.series() {
		fmt.Fprintf(&b, "\n### CPU seconds per 10,000 requests (messages), %s\n\n", s)
		r.table(&b, s, func(o *Outcome) bool { return !hasMemory(o) }, func(o *Outcome, c *Cell) string {
			v, ok := c.figure(cpu)
			if !ok {
				return failure(c)
			}
			text := fmt.Sprintf("%.3f", v)
			if x, ok := o.ratio(c.Peer, "haproxy", cpu); ok && c.Peer != "haproxy" {
				text += fmt.Sprintf(" (%.2f)", x)
			}
			return text
		})
		fmt.Fprintf(&b, "\n### Requests per second, %s\n\n", s)
		r.table(&b, s, func(o *Outcome) bool { return !hasMemory(o) && !hasLatency(o) }, func(o *Outcome, c *Cell) string {
			v, ok := c.figure(rate)
			if !ok {
				return failure(c)
			}
			return fmt.Sprintf("%.0f", v)
		})
		fmt.Fprintf(&b, "\n### Latency in µs from the time a request was due: p50 / p99 / p99.9, %s\n\n", s)
		r.table(&b, s, hasLatency, func(o *Outcome, c *Cell) string {
			x, ok := c.figure(p50)
			y, _ := c.figure(p99)
			z, _ := c.figure(p999)
			if !ok {
				return failure(c)
			}
			return fmt.Sprintf("%.0f / %.0f / %.0f", x, y, z)
		})
		fmt.Fprintf(&b, "\n### Memory: RSS in MiB at the end of the load; bytes per idle connection, %s\n\n", s)
		r.table(&b, s, func(*Outcome) bool { return true }, func(o *Outcome, c *Cell) string {
			f, scale, unit := rss, 1.0/(1<<20), ""
			if hasMemory(o) {
				f, scale, unit = idle, 1, " B"
			}
			v, ok := c.figure(f)
			if !ok {
				return failure(c)
			}
			return fmt.Sprintf("%.0f%s", v*scale, unit)
		})
	}
	return b.Bytes()
}

func failure(c *Cell) string {
	if c != nil && c.Err != "" {
		return "**failed**"
	}
	return ""
}

func hasMemory(o *Outcome) bool { return strings.HasPrefix(o.Scenario, "memory") }

func hasLatency(o *Outcome) bool {
	for _, c := range o.Cells {
		if v, ok := c.figure(p99); ok && v > 0 {
			return true
		}
	}
	return false
}

// series are those that were run, in order.
func (r *Report) series() (names []string) {
	for _, o := range r.Outcomes {
		if !slices.Contains(names, o.Series) {
			names = append(names, o.Series)
		}
	}
	return names
}

// goals is a table with a row for each goal and a column for each series.
func (r *Report) goals(b *bytes.Buffer) {
	type key struct{ scenario, what string }
	var keys []key
	rows := make(map[key]map[string]Verdict)
	titles := make(map[string]string)
	for _, o := range r.Outcomes {
		titles[o.Scenario] = o.Title
		for _, v := range o.Verdicts {
			k := key{o.Scenario, v.what()}
			if rows[k] == nil {
				keys, rows[k] = append(keys, k), make(map[string]Verdict)
			}
			rows[k][o.Series] = v
		}
	}
	if len(keys) == 0 {
		return
	}
	b.WriteString("\n### Goals\n\n| scenario | quorate's | goal |")
	for _, s := range r.series() {
		fmt.Fprintf(b, " %s |", s)
	}
	b.WriteString("\n|---|---|---|" + strings.Repeat("---|", len(r.series())) + "\n")
	for _, k := range keys {
		fmt.Fprintf(b, "| %s | %s |", titles[k.scenario], k.what)
		most := ""
		cells := ""
		for _, s := range r.series() {
			v, ok := rows[k][s]
			if !ok {
				cells += " |"
				continue
			}
			most = "≤ " + v.number(v.Most)
			if v.Met {
				cells += fmt.Sprintf(" %s |", v.number(v.Got))
			} else {
				cells += fmt.Sprintf(" **%s** missed |", v.number(v.Got))
			}
		}
		fmt.Fprintf(b, " %s |%s\n", most, cells)
	}
}

// table has a row for each scenario of a series and a column for each proxy.
func (r *Report) table(b *bytes.Buffer, series string, wanted func(*Outcome) bool, text func(*Outcome, *Cell) string) {
	var peers []*peer
	for _, p := range allPeers() {
		if slices.ContainsFunc(r.Outcomes, func(o *Outcome) bool { return o.Series == series && o.cell(p.name) != nil }) {
			peers = append(peers, p)
		}
	}
	b.WriteString("| |")
	for _, p := range peers {
		fmt.Fprintf(b, " %s |", p.name)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(peers)) + "\n")
	for _, o := range r.Outcomes {
		if o.Series != series || !wanted(o) {
			continue
		}
		fmt.Fprintf(b, "| %s |", o.Title)
		for _, p := range peers {
			if c := o.cell(p.name); c != nil {
				fmt.Fprintf(b, " %s |", text(o, c))
			} else {
				b.WriteString(" |")
			}
		}
		b.WriteString("\n")
	}
}
