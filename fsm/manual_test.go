package fsm

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// The files under testdata/manual read like the manual. Their commands:
//
//	apply [at=TIME]   one entry; a line per command, in the form of parseCommand
//	state             workers, balancers and what is remembered
//	due               the time of the next tick
//
// Rewrite the expected output with -rewrite and read the difference.
func TestManual(t *testing.T) {
	datadriven.Walk(t, "testdata/manual", func(t *testing.T, path string) {
		s := New()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "apply":
				e := Entry{Schema: 1, Time: s.Time()}
				if at := argument(d, "at"); at != "" {
					span, err := time.ParseDuration(at)
					if err != nil {
						d.Fatalf(t, "at: %v", err)
					}
					e.Time = span.Milliseconds()
				}
				for line := range strings.Lines(d.Input) {
					c, err := parseCommand(strings.TrimSpace(line))
					if err != nil {
						d.Fatalf(t, "%v", err)
					}
					e.Commands = append(e.Commands, c)
				}
				before := snapshot(t, s)
				next, results, err := Apply(s, e)
				if err != nil {
					return "error: " + err.Error() + "\n"
				}
				if !bytes.Equal(before, snapshot(t, s)) {
					d.Fatalf(t, "Apply changed the state it was given")
				}
				checkState(t, next)
				s = next
				return printResults(e.Commands, results)
			case "state":
				return printState(s)
			case "due":
				return fmt.Sprintln(time.Duration(s.Due()) * time.Millisecond)
			}
			d.Fatalf(t, "no command %s", d.Cmd)
			return ""
		})
	})
}

func argument(d *datadriven.TestData, key string) string {
	for _, a := range d.CmdArgs {
		if a.Key == key && len(a.Vals) > 0 {
			return a.Vals[0]
		}
	}
	return ""
}

// parseCommand reads
//
//	CONFIG w1 http://10.0.0.1:8080 [balancer=B] [domain=D] [ping=MS] [cookie=C] [gone=w2,w3] [apps=a,b:/x,/y]
//	ENABLE-APP|DISABLE-APP|STOP-APP|REMOVE-APP w1 ALIAS,… PATH,…   or   w1 /*
//	STATUS w1 LOAD
//	DRAIN|HOLD|RELEASE w1 [PATH] [alias=A] [by=NAME] ["reason"]
//	DROP|EXPIRE w1 ["reason"]
//	FORM ID, SETTINGS KEY=N …, SCHEMA N, BAR ID, TICK
//
// each also with id=N, the command's id.
func parseCommand(line string) (Command, error) {
	c := Command{Replica: "lb1", Source: "10.0.1.9", Origin: FromWorker}
	if head, rest, ok := strings.Cut(line, `"`); ok {
		line, c.Reason = head, strings.TrimSuffix(rest, `"`)
	}
	var words []string
	options := map[string]string{}
	for _, w := range strings.Fields(line) {
		if k, v, ok := strings.Cut(w, "="); ok {
			options[k] = v
		} else {
			words = append(words, w)
		}
	}
	if id, err := strconv.Atoi(options["id"]); err == nil {
		c.ID[15] = byte(id)
	}
	word := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	c.Route = JVMRoute(word(1))
	switch word(0) {
	case "CONFIG":
		c.Op = OpConfig
		scheme, address, ok := strings.Cut(word(2), "://")
		colon := strings.LastIndex(address, ":")
		if !ok || colon < 0 {
			return c, fmt.Errorf("%q: no address", line)
		}
		port, err := strconv.Atoi(address[colon+1:])
		if err != nil {
			return c, err
		}
		c.Config = &NodeConfig{
			Type: scheme, Host: address[:colon], Port: port, Balancer: options["balancer"], Domain: options["domain"],
			Ping: 10_000, TTL: 60_000, Smax: -1, FlushWait: 10, Sticky: true, StickyForce: true,
			Cookie: "JSESSIONID", PathParam: "jsessionid", MaxAttempts: 1,
		}
		if v, ok := options["cookie"]; ok {
			c.Config.Cookie = v
		}
		if v, ok := options["ping"]; ok {
			c.Config.Ping, _ = strconv.ParseInt(v, 10, 64)
		}
		for _, g := range split(options["gone"]) {
			c.Gone = append(c.Gone, JVMRoute(g))
		}
		aliases, contexts, _ := strings.Cut(options["apps"], ":")
		c.Aliases = split(aliases)
		c.Contexts = paths(contexts)
	case "ENABLE-APP", "DISABLE-APP", "STOP-APP", "REMOVE-APP":
		c.Op = map[string]Op{"ENABLE-APP": OpEnable, "DISABLE-APP": OpDisable, "STOP-APP": OpStop, "REMOVE-APP": OpRemove}[word(0)]
		if word(2) == "/*" {
			c.Whole = true
			break
		}
		c.Aliases = split(word(2))
		c.Contexts = paths(word(3))
	case "STATUS":
		c.Op = OpStatus
		load, err := strconv.Atoi(word(2))
		if err != nil {
			return c, err
		}
		c.Load = load
	case "DRAIN", "HOLD", "RELEASE", "DROP":
		c.Op = map[string]Op{"DRAIN": OpDrain, "HOLD": OpHold, "RELEASE": OpRelease, "DROP": OpDrop}[word(0)]
		c.Origin, c.Source, c.By = FromOperator, "cli:ops", "ops"
		if by, ok := options["by"]; ok {
			c.By = by
		}
		c.Context, c.Alias = Path(word(2)), options["alias"]
	case "EXPIRE":
		c.Op, c.Origin = OpExpire, FromSystem
	case "FORM":
		c.Op, c.ClusterID, c.Route = OpForm, word(1), ""
		settings := DefaultSettings()
		c.Settings = &settings
	case "SETTINGS":
		settings := DefaultSettings()
		c.Op, c.Settings = OpSettings, &settings
		for key, field := range map[string]*int{
			"voters": &settings.Voters, "workers": &settings.MaxWorkers,
			"aliases": &settings.MaxAliases, "contexts": &settings.MaxContexts,
		} {
			if v, ok := options[key]; ok {
				*field, _ = strconv.Atoi(v)
			}
		}
		if v, ok := options["remove_delay"]; ok {
			span, err := time.ParseDuration(v)
			if err != nil {
				return c, err
			}
			settings.RemoveDelay = span.Milliseconds()
		}
	case "SCHEMA":
		v, err := strconv.Atoi(word(1))
		if err != nil {
			return c, err
		}
		c.Op, c.Version, c.Route = OpSchema, uint16(v), ""
	case "BAR":
		c.Op, c.ReplicaID, c.Route = OpBar, word(1), ""
	case "TICK":
		c.Op = OpTick
	default:
		return c, fmt.Errorf("%q: no such command", line)
	}
	return c, nil
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

func paths(list string) (out []Path) {
	for _, p := range split(list) {
		out = append(out, Path(p))
	}
	return out
}

func printResults(commands []Command, results []Result) string {
	var b strings.Builder
	for i, r := range results {
		name := "(no command)"
		if i < len(commands) {
			name = strings.TrimSpace(commands[i].Op.String() + " " + string(commands[i].Route))
		}
		outcome := "ok"
		if r.Code == Mem {
			outcome = "MEM " + r.Mess
		}
		if !r.Changed {
			outcome += ", nothing changed"
		}
		fmt.Fprintf(&b, "%s: %s", name, outcome)
		if len(r.Nodes) > 0 {
			fmt.Fprintf(&b, "; nodes %v", r.Nodes)
		}
		if len(r.Balancers) > 0 {
			fmt.Fprintf(&b, "; balancers %v", r.Balancers)
		}
		if r.Settings {
			b.WriteString("; settings")
		}
		b.WriteString("\n")
		for _, e := range r.Events {
			fmt.Fprintf(&b, "  > %s\n", strings.Join(strings.Fields(fmt.Sprint(e.Op, " ", e.Route, " ", e.Context, " ", e.Detail)), " "))
		}
	}
	return b.String()
}

func printState(s *State) string {
	var b strings.Builder
	for _, n := range s.Nodes() {
		fmt.Fprintf(&b, "%s #%d %s %s", n.Route, n.Number, n.Config.URL(), n.Config.Balancer)
		if n.Config.Domain != "" {
			fmt.Fprintf(&b, " in %s", n.Config.Domain)
		}
		fmt.Fprintf(&b, ", load %d", n.Load)
		for _, f := range []struct {
			on   bool
			word string
		}{{n.New, "new"}, {n.Removed != 0, "removed"}, {n.Resync, "resync"}} {
			if f.on {
				b.WriteString(", " + f.word)
			}
		}
		b.WriteString(printHold(n.Hold) + "\n")
		for i := range n.VHosts {
			v := &n.VHosts[i]
			fmt.Fprintf(&b, "  vhost %d %s:", v.ID, strings.Join(v.Aliases, ","))
			for k := range v.Contexts {
				c := &v.Contexts[k]
				fmt.Fprintf(&b, " %s %s", c.Path, strings.ToLower(c.Status.String()))
				if e := n.Effective(c); e != Effective(c.Status) {
					fmt.Fprintf(&b, "→%s", strings.ToLower(e.String()))
				}
				b.WriteString(printHold(c.Hold))
			}
			b.WriteString("\n")
		}
		for _, l := range n.Linger {
			fmt.Fprintf(&b, "  lingers until %s: %s %s\n", time.Duration(l.Until)*time.Millisecond, strings.Join(l.Aliases, ","), l.Path)
		}
	}
	for _, x := range s.Balancers() {
		fmt.Fprintf(&b, "balancer %s #%d cookie %s\n", x.Name, x.Number, x.Cookie)
	}
	for m := range s.memories.all() {
		fmt.Fprintf(&b, "remembers %s in %q\n", m.value.Route, m.value.Domain)
	}
	for r := range s.intents.all() {
		i := r.value
		if i.Left != 0 {
			fmt.Fprintf(&b, "intent for %s, which is gone:%s", i.Route, printHold(i.Hold))
			for _, c := range i.Contexts {
				fmt.Fprintf(&b, " %s%s%s", c.Alias, c.Path, printHold(c.Hold))
			}
			b.WriteString("\n")
		}
	}
	if b.Len() == 0 {
		return "empty\n"
	}
	return b.String()
}

func printHold(h Hold) string {
	if h.Mode == HoldNone {
		return ""
	}
	return fmt.Sprintf(" [%s by %s at %s %q]", h.Mode, h.By, time.Duration(h.Since)*time.Millisecond, h.Reason)
}

func snapshot(t testing.TB, s *State) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.WriteSnapshot(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// checkState looks for what must be so of every state.
func checkState(t testing.TB, s *State) {
	t.Helper()
	if h, want := s.Hash(), s.HashFromNothing(); h != want {
		t.Fatalf("hash %s, from nothing %s", h, want)
	}
	again, err := ReadSnapshot(bytes.NewReader(snapshot(t, s)))
	if err != nil {
		t.Fatal(err)
	}
	if again.Hash() != s.Hash() {
		t.Fatalf("hash %s, after a snapshot %s", s.Hash(), again.Hash())
	}
	for name, sizes := range map[string][2]int{
		"numbers":   {s.byNumber.size, again.byNumber.size},
		"addresses": {s.byAddress.size, again.byAddress.size},
		"members":   {s.members.size, again.members.size},
		"removed":   {s.removed.size, again.removed.size},
		"lingering": {s.lingering.size, again.lingering.size},
		"remembers": {s.remembers.size, again.remembers.size},
		"seen":      {s.seen.len(), again.seen.len()},
		"left":      {s.left.size, again.left.size},
		"balancers": {s.balancers.size, s.members.size},
		"nodes":     {s.nodes.size, s.byNumber.size},
		"live":      {s.nodes.size, s.byAddress.size + s.removed.size},
		"memories":  {s.memories.size, s.remembers.size},
	} {
		if sizes[0] != sizes[1] {
			t.Fatalf("index %s: %d and %d", name, sizes[0], sizes[1])
		}
	}
	if s.Due() != again.Due() {
		t.Fatalf("due %d, after a snapshot %d", s.Due(), again.Due())
	}
	for _, n := range s.Nodes() {
		checkNode(t, s, n)
	}
}

func checkNode(t testing.TB, s *State, n *Node) {
	t.Helper()
	if n.New && n.Load != -1 {
		t.Fatalf("%s is new with load %d", n.Route, n.Load)
	}
	if s.Balancer(n.Config.Balancer) == nil {
		t.Fatalf("%s has no balancer %s", n.Route, n.Config.Balancer)
	}
	seen := map[string]bool{}
	for i := range n.VHosts {
		v := &n.VHosts[i]
		if len(v.Aliases) == 0 || len(v.Contexts) == 0 {
			t.Fatalf("%s: vhost %d is empty", n.Route, v.ID)
		}
		if i > 0 && n.VHosts[i-1].ID >= v.ID {
			t.Fatalf("%s: vhosts out of order", n.Route)
		}
		for _, a := range v.Aliases {
			if seen[Lower(a)] {
				t.Fatalf("%s: alias %s twice", n.Route, a)
			}
			seen[Lower(a)] = true
		}
		for k := 1; k < len(v.Contexts); k++ {
			if v.Contexts[k-1].Path >= v.Contexts[k].Path {
				t.Fatalf("%s: contexts out of order", n.Route)
			}
		}
	}
}
