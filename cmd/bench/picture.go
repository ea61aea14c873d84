//go:build linux

package main

import (
	"bytes"
	"fmt"
	"html"
	"strings"
)

// The picture has two columns of small bar charts, one for each scenario: what every
// proxy needs, with HAProxy as the unit. A mark on quorate's bar is the goal.
const (
	picWidth   = 920
	picMargin  = 24
	picGap     = 36
	picColumn  = (picWidth - 2*picMargin - picGap) / 2
	picLabels  = 96 // names left of the bars
	picNumbers = 40 // numbers right of them
	picBar     = 11
	picRow     = 16
	picHead    = 26 // title of a chart
	picFoot    = 18 // space below it
	picMost    = 6.0
	picTop     = 92
)

// chart is one scenario of the picture.
type chart struct {
	title string
	bars  []bar
}

type bar struct {
	name  string
	value float64
	unit  string  // of HAProxy: what 1 stands for
	goal  float64 // 0: none
	ours  bool
}

// charts are the ratios of the first series.
func (r *Report) charts() (charts []chart) {
	names := r.series()
	if len(names) == 0 {
		return nil
	}
	for _, o := range r.Outcomes {
		if o.Series != names[0] || hasMemory(o) {
			continue
		}
		figures := []figure{cpu}
		if hasLatency(o) {
			figures = append(figures, p99)
		}
		for _, f := range figures {
			c := chart{title: f.title + ": " + o.Title}
			for _, p := range allPeers() {
				v, ok := o.ratio(p.name, "haproxy", f)
				if !ok {
					continue
				}
				b := bar{name: p.title, value: v, ours: p.name == "quorate"}
				if p.name == "haproxy" {
					one, _ := o.cell(p.name).figure(f)
					if f.name == cpu.name {
						one *= 100 // seconds per 10,000, in µs each
					}
					b.unit = fmt.Sprintf("%.3g µs", one)
				}
				for _, g := range o.Verdicts {
					if b.ours && g.Figure == f.title && g.Over == "haproxy" {
						b.goal = g.Most
					} else if n, ok := o.ratio(g.Over, "haproxy", f); b.ours && ok && b.goal == 0 && g.Figure == f.title {
						b.goal = g.Most * n // a goal over another peer, in this chart's unit
					}
				}
				c.bars = append(c.bars, b)
			}
			if len(c.bars) > 1 {
				charts = append(charts, c)
			}
		}
	}
	return charts
}

const picStyle = `
  .ground { fill: #ffffff } .title { fill: #1f2328; font-size: 18px; font-weight: 600 }
  .text { fill: #59636e } .head { fill: #1f2328; font-size: 12px; font-weight: 600 }
  .name { fill: #59636e; text-anchor: end } .name.ours { fill: #0f766e; font-weight: 600 }
  .number { fill: #59636e } .number.ours { fill: #0f766e; font-weight: 600 }
  .bar { fill: #c9d1d9 } .bar.unit { fill: #9aa4b0 } .bar.ours { fill: #14a08d }
  .line { stroke: #1f2328; stroke-opacity: .35; stroke-dasharray: 2 2 }
  .goal { stroke: #c2410c; stroke-width: 2 } .goaltext { fill: #c2410c }
  text { font-family: -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; font-size: 11px }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } .title, .head { fill: #f0f6fc } .text, .name, .number { fill: #9198a1 }
    .name.ours, .number.ours { fill: #2dd4bf } .bar { fill: #3d444d } .bar.unit { fill: #656c76 } .bar.ours { fill: #14b8a6 }
    .line { stroke: #f0f6fc } .goal { stroke: #fb923c } .goaltext { fill: #fb923c }
  }
`

// picture is an SVG file.
func (r *Report) picture() []byte {
	charts := r.charts()
	total := 0
	for _, c := range charts {
		total += c.height()
	}
	// The left column gets charts until half of the height is used.
	left, split := 0, 0
	for split < len(charts) && left < total/2 {
		left += charts[split].height()
		split++
	}
	height := picTop + max(left, total-left) + picMargin
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="CPU and latency of quorate beside other proxies">`,
		picWidth, height, picWidth, height)
	fmt.Fprintf(&b, "\n<style>%s</style>\n", picStyle)
	fmt.Fprintf(&b, `<rect class="ground" width="%d" height="%d" rx="8"/>`+"\n", picWidth, height)
	text(&b, picMargin, 36, "title", "What a request costs, HAProxy = 1 (shorter is better)")
	series := strings.Join(r.series()[:min(1, len(r.series()))], "")
	text(&b, picMargin, 56, "text", fmt.Sprintf("CPU seconds of the proxy per request, and p99; %s, medians of at least %s, %s", series, rounds(r.Rounds), r.Started.Format("2006-01-02")))
	fmt.Fprintf(&b, `<line class="goal" x1="%d" y1="65" x2="%d" y2="77"/>`+"\n", picMargin+2, picMargin+2)
	text(&b, picMargin+9, 75, "goaltext", "goal for quorate")
	y := picTop
	for i, c := range charts {
		x := picMargin
		if i >= split {
			x += picColumn + picGap
		}
		if i == split {
			y = picTop
		}
		c.draw(&b, x, y)
		y += c.height()
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func (c chart) height() int { return picHead + len(c.bars)*picRow + picFoot }

func (c chart) draw(b *bytes.Buffer, x, y int) {
	text(b, x, y+12, "head", c.title)
	zero := x + picLabels
	scale := float64(picColumn-picLabels-picNumbers) / picMost
	at := func(v float64) float64 { return float64(zero) + min(v, picMost)*scale }
	top := y + picHead
	fmt.Fprintf(b, `<line class="line" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`+"\n", at(1), top-4, at(1), top+len(c.bars)*picRow-2)
	for i, bar := range c.bars {
		class := ""
		switch {
		case bar.ours:
			class = " ours"
		case bar.unit != "":
			class = " unit"
		}
		row := top + i*picRow
		text(b, zero-8, row+9, "name"+class, bar.name)
		fmt.Fprintf(b, `<rect class="bar%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`+"\n", class, zero, row, at(bar.value)-float64(zero), picBar)
		number := fmt.Sprintf("%.2f", bar.value)
		if bar.value > picMost {
			number = "▸ " + number
		}
		if bar.unit != "" {
			number += " = " + bar.unit
		}
		label := max(at(bar.value), at(bar.goal)) + 5
		text(b, int(label), row+9, "number"+class, number)
		if bar.goal > 0 {
			fmt.Fprintf(b, `<line class="goal" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`+"\n", at(bar.goal), row-3, at(bar.goal), row+picBar+3)
		}
	}
}

func text(b *bytes.Buffer, x, y int, class, s string) {
	fmt.Fprintf(b, `<text class="%s" x="%d" y="%d">%s</text>`+"\n", class, x, y, html.EscapeString(s))
}

func rounds(n int) string {
	if n == 1 {
		return "1 round"
	}
	return fmt.Sprintf("%d rounds", n)
}
