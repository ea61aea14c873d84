package route

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/quorate/quorate/fsm"
)

// The files in testdata read like the manual (spec/routing.md §0, §15). Each
// begins with an empty state. Directives:
//
//	apply       messages, one entry each; the table follows by Update
//	route       requests, each decided and counted, one answer a line
//	why         one request, explained
//	workers     status and why of each worker
//	path        request targets: what is matched and what is sent
//
// Run with -rewrite to write what came out.
func TestData(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if strings.Contains(path, "fuzz") {
			return
		}
		w := newWorld()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var b strings.Builder
			for line := range strings.Lines(d.Input) {
				words := strings.Fields(line)
				if len(words) == 0 {
					continue
				}
				switch d.Cmd {
				case "apply":
					w.message(t, &b, words)
				case "route":
					w.request(t, &b, words)
				case "why":
					f, _ := parseRequest(t, w, words)
					x := Explain(w.table, f)
					for _, s := range x.Steps {
						fmt.Fprintf(&b, "%-8s %s\n", s.Step, s.Detail)
					}
					fmt.Fprintln(&b, x.Outcome)
				case "path":
					target(&b, d, words[0])
				default:
					t.Fatalf("%s: no such directive", d.Cmd)
				}
			}
			if d.Cmd == "workers" {
				for _, n := range w.state.Nodes() {
					status, why := w.table.Why(n.Route, w.now)
					fmt.Fprintf(&b, "%-4s %4d  %-8s %s\n", n.Route, n.Load, status, why)
				}
			}
			return b.String()
		})
	})
}

// fields splits the words NAME=VALUE off.
func fields(words []string) (plain []string, named map[string]string) {
	named = map[string]string{}
	for _, x := range words {
		if k, v, ok := strings.Cut(x, "="); ok && !strings.HasPrefix(x, "/") {
			named[k] = v
		} else {
			plain = append(plain, x)
		}
	}
	return plain, named
}

// message applies one line: a message of a worker, an operator's word, or what
// this replica notices by itself.
//
//	UP w1 /app …                  CONFIG, ENABLE localhost /app …, STATUS 100
//	CONFIG w1 [domain=D balancer=B type=T port=N sticky=no force=yes remove=yes cookie=N wait=N attempts=N]
//	ENABLE w1 localhost,www /app …, or ENABLE w1 /*; DISABLE, STOP, REMOVE likewise
//	STATUS w1 -1
//	DRAIN w1 [/app], HOLD w1 [/app], RELEASE w1 [/app], DROP w1
//	SETTINGS use_alias=true …
//	TICK 10s
//	LOCAL STOP w1 /*              the same without a leader, in this table only
//	SUSPECT w1, REACH w1, RECALCULATE
func (w *world) message(t *testing.T, b *strings.Builder, words []string) {
	local := words[0] == "LOCAL"
	if local {
		words = words[1:]
	}
	plain, named := fields(words)
	op := plain[0]
	route := ""
	if len(plain) > 1 {
		route = plain[1]
	}
	c := fsm.Command{Origin: fsm.FromWorker, Route: fsm.JVMRoute(route), By: "ops", Reason: "test"}
	switch op {
	case "UP":
		w.message(t, b, append([]string{"CONFIG", route}, settingsOf(words)...))
		w.message(t, b, append([]string{"ENABLE", route, "localhost"}, plain[2:]...))
		w.message(t, b, []string{"STATUS", route, "100"})
		return
	case "SUSPECT", "REACH":
		w.table.SetSuspect(w.table.Node(route), op == "SUSPECT")
		return
	case "RECALCULATE":
		w.table.Recalculate()
		return
	case "TICK":
		d, err := time.ParseDuration(plain[1])
		if err != nil {
			t.Fatal(err)
		}
		w.now += d.Milliseconds()
		c = fsm.Command{Op: fsm.OpTick, Origin: fsm.FromSystem}
	case "CONFIG":
		c.Op, c.Config = fsm.OpConfig, configOf(t, route, named)
	case "ENABLE", "DISABLE", "STOP", "REMOVE":
		c.Op = map[string]fsm.Op{"ENABLE": fsm.OpEnable, "DISABLE": fsm.OpDisable, "STOP": fsm.OpStop, "REMOVE": fsm.OpRemove}[op]
		if c.Whole = plain[2] == "/*"; !c.Whole {
			a := app(c.Op, route, plain[2], plain[3:]...)
			c.Aliases, c.Contexts = a.Aliases, a.Contexts
		}
	case "STATUS":
		c.Op, c.Load = fsm.OpStatus, number(t, plain[2])
	case "DRAIN", "HOLD", "RELEASE", "DROP":
		c.Origin = fsm.FromOperator
		c.Op = map[string]fsm.Op{"DRAIN": fsm.OpDrain, "HOLD": fsm.OpHold, "RELEASE": fsm.OpRelease, "DROP": fsm.OpDrop}[op]
		if len(plain) > 2 {
			c.Context = fsm.Path(plain[2])
		}
	case "SETTINGS":
		s := *w.state.Settings()
		change(t, &s, named)
		c = fsm.Command{Op: fsm.OpSettings, Origin: fsm.FromOperator, By: "ops", Settings: &s}
	default:
		t.Fatalf("%s: no such message", op)
	}
	if local {
		s, r := fsm.Preview(w.state, c)
		if r.Mess != "" {
			fmt.Fprintf(b, "%s: %s\n", strings.Join(words, " "), r.Mess)
		}
		w.table = w.table.WithNode(s.Node(c.Route))
		w.local = true
		return
	}
	for _, r := range w.apply(t, c) {
		if r.Mess != "" {
			fmt.Fprintf(b, "%s: %s\n", strings.Join(words, " "), r.Mess)
		}
	}
	if w.local {
		return // the table is not that of the state
	}
	if got, want := structure(dump(w.table)), structure(dump(Compile(w.state, Options{Carries: carries}))); got != want {
		t.Errorf("after %q the table has:\n%s\ncompiled from the state:\n%s", words, got, want)
	}
}

func settingsOf(words []string) (list []string) {
	for _, x := range words {
		if strings.Contains(x, "=") {
			list = append(list, x)
		}
	}
	return list
}

func number(t *testing.T, s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func configOf(t *testing.T, route string, named map[string]string) *fsm.NodeConfig {
	port := 8000
	for _, c := range route {
		port = (port*31 + int(c)) % 60000
	}
	c := config(1 + port)
	for k, v := range named {
		switch k {
		case "domain":
			c.Domain = v
		case "balancer":
			c.Balancer = v
		case "type":
			c.Type = v
		case "port":
			c.Port = number(t, v)
		case "sticky":
			c.Sticky = v == "yes"
		case "force":
			c.StickyForce = v == "yes"
		case "remove":
			c.StickyDrop = v == "yes"
		case "cookie":
			c.Cookie = v
		case "wait":
			c.WaitWorker = number(t, v)
		case "attempts":
			c.MaxAttempts = number(t, v)
		default:
			t.Fatalf("CONFIG %s: no such field", k)
		}
	}
	return c
}

func change(t *testing.T, s *fsm.Settings, named map[string]string) {
	truth := func(v string) *bool {
		if v == "auto" {
			return nil
		}
		is := v == "true"
		return &is
	}
	count := func(v string) *int {
		if v == "auto" {
			return nil
		}
		n := number(t, v)
		return &n
	}
	for k, v := range named {
		switch k {
		case "use_alias":
			s.UseAlias = v
		case "no_context_status":
			s.NoContextStatus = number(t, v)
		case "unavailable_status":
			s.UnavailableStatus = number(t, v)
		case "failover":
			s.Deterministic = v == "deterministic"
		case "mode":
			s.Affinity.Mode = v
		case "cookie":
			s.Affinity.Cookie = v
		case "path_parameter":
			s.Affinity.PathParam = v
		case "sticky":
			s.Affinity.Sticky = truth(v)
		case "force":
			s.Affinity.Force = truth(v)
		case "remove":
			s.Affinity.Drop = truth(v)
		case "max_attempts":
			s.MaxAttempts = count(v)
		case "wait_worker":
			s.WaitWorker = count(v)
		case "rule": // HOSTS PREFIX ACTION ARGUMENT, by commas; "-" for none
			if v == "none" {
				s.Rules = nil
				continue
			}
			x := strings.Split(strings.ReplaceAll(v, "-", ""), ",")
			r := fsm.Rule{PathPrefix: x[1], Action: x[2]}
			if x[0] != "" {
				r.Hosts = strings.Split(x[0], "|")
			}
			switch r.Action {
			case "route":
				r.Balancer = x[3]
			case "reject":
				r.Status = number(t, x[3])
			case "redirect":
				r.Status, r.To = number(t, x[3]), x[4]
			}
			s.Rules = append(slices.Clone(s.Rules), r)
		default:
			t.Fatalf("SETTINGS %s: no such key", k)
		}
	}
}

// parseRequest reads PATH [host=H] [cookie=NAME=VALUE] [tried=w1,w2] [times=N].
func parseRequest(t *testing.T, w *world, words []string) (f *Facts, times int) {
	plain, named := fields(words)
	p, why := ParsePath(plain[0], PathOptions{})
	if why != None {
		t.Fatalf("%s: %s", plain[0], why)
	}
	var cookies []string
	if c, ok := named["cookie"]; ok {
		cookies = []string{c}
	}
	x := NewFacts(named["host"], p, cookies)
	for r := range strings.SplitSeq(named["tried"], ",") {
		if n := w.table.Node(r); n != nil {
			x.Avoid(n)
		}
	}
	times = 1
	if n, ok := named["times"]; ok {
		times = number(t, n)
	}
	return &x, times
}

// request decides and counts, as an exchange does.
func (w *world) request(t *testing.T, b *strings.Builder, words []string) {
	f, times := parseRequest(t, w, words)
	sums := map[string]int{}
	for range times {
		d := Decide(w.table, f)
		if why := Explain(w.table, f).Decision; why != d {
			t.Errorf("%s: decided %+v, explained %+v", words, d, why)
		}
		if d.Node != nil {
			d.Begin()
			d.End()
		}
		if times == 1 {
			fmt.Fprintln(b, answer(&d, f))
			return
		}
		if d.Node == nil {
			sums[d.Why.String()]++
		} else {
			sums[d.Node.Route]++
		}
	}
	var keys []string
	for k := range sums {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for i, k := range keys {
		keys[i] = fmt.Sprintf("%s %d", k, sums[k])
	}
	fmt.Fprintln(b, strings.Join(keys, ", "))
}

func answer(d *Decision, f *Facts) string {
	var s []string
	if d.Node == nil {
		s = append(s, strconv.Itoa(d.Status), d.Why.String())
		if d.Location != "" {
			s = append(s, "to "+d.Location)
		}
		if d.RetryAfter > 0 {
			s = append(s, fmt.Sprintf("(retry after %d)", d.RetryAfter))
		}
		if d.Wait > 0 {
			s = append(s, fmt.Sprintf("(may wait %s)", d.Wait))
		}
		return strings.Join(s, " ")
	}
	s = append(s, d.Node.Route, string(d.Context.Path))
	if d.Balancer.Name != "mycluster" {
		s = append(s, "of "+d.Balancer.Name)
	}
	if d.Sticky {
		s = append(s, "own")
	}
	if d.Changed {
		s = append(s, "instead of "+d.Wanted)
	}
	if d.Strip {
		target, cookies := StripSession(&f.Path, f.Cookies, d.Policy)
		s = append(s, fmt.Sprintf("stripped: %s %q", target, cookies))
	}
	return strings.Join(s, " ")
}

// target prints how a request target is taken apart.
func target(b *strings.Builder, d *datadriven.TestData, x string) {
	var o PathOptions
	for _, a := range d.CmdArgs {
		switch a.Key + "=" + a.Vals[0] {
		case "encoded_slash=keep":
			o.EncodedSlash = SlashKeep
		case "encoded_slash=decode":
			o.EncodedSlash = SlashDecode
		case "dot_segments=decode":
			o.ResolveDots = true
		case "merge_slashes=true":
			o.MergeSlashes = true
		}
	}
	p, why := ParsePath(x, o)
	if why != None {
		fmt.Fprintf(b, "%s: 400 %s\n", x, why)
		return
	}
	fmt.Fprintf(b, "%s: %q", x, p.Match)
	if p.Collapsed != "" {
		fmt.Fprintf(b, " or %q", p.Collapsed)
	}
	if p.Target != x {
		fmt.Fprintf(b, ", sent %s", p.Target)
	}
	fmt.Fprintln(b)
}
