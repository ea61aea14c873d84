//go:build linux

package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 2, 3}, 2.5}, {nil, math.NaN()},
	} {
		if got := median(c.values); got != c.want && !math.IsNaN(c.want) {
			t.Errorf("median of %v: %v", c.values, got)
		}
	}
}

func TestQuantiles(t *testing.T) {
	var ns []int64
	for i := 1000; i >= 1; i-- {
		ns = append(ns, int64(i)*1000)
	}
	if got := quantiles(ns); got != (Latency{500, 990, 999}) {
		t.Errorf("%+v", got)
	}
	if got := quantiles(nil); got != (Latency{}) {
		t.Errorf("of nothing: %+v", got)
	}
}

// sample is a scenario in which the machine got twice as slow from round to round.
func sample() *Outcome {
	cell := func(peer string, seconds ...float64) *Cell {
		c := &Cell{Peer: peer}
		for _, s := range seconds {
			c.Rounds = append(c.Rounds, Result{Requests: 10000, Seconds: 1, CPU: s, RSS: 1 << 20})
		}
		return c
	}
	return &Outcome{Scenario: "get1k", Title: "GET 1 KB <64>", Series: "pinned", Cells: []*Cell{
		cell("haproxy", 0.2, 0.4, 0.8), cell("httpd", 1, 2, 4), cell("quorate", 0.24, 0.44, 0.8)}}
}

// Ratios are taken within a round: what slows a round slows both.
func TestRatio(t *testing.T) {
	o := sample()
	if got, ok := o.ratio("quorate", "haproxy", cpu); !ok || math.Abs(got-1.1) > 1e-9 {
		t.Errorf("%v, %t", got, ok)
	}
	o.Cells[0].Err = "round 2: wrong body"
	if got, ok := o.ratio("quorate", "haproxy", cpu); ok {
		t.Errorf("ratio to a cell that failed: %v", got)
	}
}

func TestVerdicts(t *testing.T) {
	o := sample()
	o.judge()
	if len(o.Verdicts) != 2 || o.Verdicts[0].Met || !o.Verdicts[1].Met { // 1.05 of haproxy, 0.25 of httpd
		t.Errorf("%v", o.Verdicts)
	}
	r := &Report{Outcomes: []*Outcome{o}}
	if r.code() != 3 {
		t.Errorf("a missed goal ends with %d", r.code())
	}
	o.Cells[2].Err = "wrong"
	o.judge()
	if len(o.Verdicts) != 2 || o.Verdicts[0].Met || o.Verdicts[1].Met || r.code() != 1 {
		t.Errorf("a failed cell: %v, code %d", o.Verdicts, r.code())
	}
}

func TestPicture(t *testing.T) {
	o := sample()
	o.judge()
	r := &Report{Started: time.Unix(0, 0).UTC(), Rounds: 3, Outcomes: []*Outcome{o}}
	picture := r.picture()
	for d := xml.NewDecoder(bytes.NewReader(picture)); ; {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in %s", err, picture)
		}
	}
	for _, want := range []string{"GET 1 KB &lt;64&gt;", ">1.10<", ">1.00 = 40 µs<", ">Apache httpd<", `class="goal"`} {
		if !strings.Contains(string(picture), want) {
			t.Errorf("no %s in the picture", want)
		}
	}
}

func TestMarkdown(t *testing.T) {
	o := sample()
	o.judge()
	r := &Report{Rounds: 3, Outcomes: []*Outcome{o}, Versions: map[string]string{"haproxy": "2.6"}}
	page, err := replaceFigures([]byte("before\n"+beginFigures+"old\n"+endFigures+"\nafter\n"), r.markdown())
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, want := range []string{"before\n<!-- bench -->\n", "<!-- /bench -->\nafter\n", "HAProxy 2.6",
		"| CPU ÷ haproxy | ≤ 1.05 | **1.10** missed |", "| 0.400 | 2.000 (5.00) | 0.440 (1.10) |"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "old") {
		t.Error("old figures were kept")
	}
	if _, err := replaceFigures([]byte("no marks"), nil); err == nil {
		t.Error("a page without marks was written")
	}
}
