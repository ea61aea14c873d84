package fsm

import (
	"reflect"
	"strings"
	"testing"
)

// What a faulty replica lets through is refused here, alike on all replicas,
// and changes nothing.
func TestCheckRefuses(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	config := func(change func(*NodeConfig)) Command {
		c := NodeConfig{Type: "http", Host: "h", Port: 80}
		change(&c)
		return Command{Op: OpConfig, Route: "w1", Config: &c}
	}
	app := func(alias, path string) Command {
		return Command{Op: OpEnable, Route: "w1", Aliases: []string{alias}, Contexts: []Path{Path(path)}}
	}
	settings := func(change func(*Settings)) Command {
		s := DefaultSettings()
		change(&s)
		return Command{Op: OpSettings, Settings: &s}
	}
	for _, x := range []struct {
		want string // "" is accepted
		c    Command
	}{
		{"", config(func(c *NodeConfig) {})},
		{"Unknown operation", Command{}},
		{"Unknown operation", Command{Op: OpBar + 1}},
		{"JVMRoute can't be empty", Command{Op: OpStatus}},
		{"JVMRoute field too big", Command{Op: OpStatus, Route: JVMRoute(long(64))}},
		{`Can't read node with "` + long(63) + `" JVMRoute`, Command{Op: OpStatus, Route: JVMRoute(long(63))}},
		{"JVMRoute field has bad value", Command{Op: OpStatus, Route: "w1\n"}},
		{"CONFIG without a configuration", Command{Op: OpConfig, Route: "w1"}},
		{"Balancer field too big", config(func(c *NodeConfig) { c.Balancer = long(40) })},
		{"", config(func(c *NodeConfig) { c.Balancer = long(39) })},
		{"LBGroup field too big", config(func(c *NodeConfig) { c.Domain = long(20) })},
		{"Host field too big", config(func(c *NodeConfig) { c.Host = long(64) })},
		{"Host field has bad value", config(func(c *NodeConfig) { c.Host = "" })},
		{"Host field has bad value", config(func(c *NodeConfig) { c.Host = "a,b" })},
		{"A field is too big", config(func(c *NodeConfig) { c.Cookie = long(30) })},
		{"A field is too big", config(func(c *NodeConfig) { c.PathParam = long(30) })},
		{"A field has bad value", config(func(c *NodeConfig) { c.Cookie = `"` })},
		{"Port field has bad value", config(func(c *NodeConfig) { c.Port = 0 })},
		{"Port field has bad value", config(func(c *NodeConfig) { c.Port = 65536 })},
		{"Type field has bad value", config(func(c *NodeConfig) { c.Type = "ws" })},
		{"A time has bad value", config(func(c *NodeConfig) { c.Ping = -1 })},
		{"", app(long(254), "/"+long(78))},
		{"Alias field too big", app(long(255), "/")},
		{"Alias field has bad value", app("", "/")},
		{"Alias field has bad value", app("a,b", "/")},
		{"Context field too big", app("a", "/"+long(79))},
		{"Context field has bad value", app("a", "")},
		{"Context field has bad value", app("a", "/<")},
		{"Load field has bad value", Command{Op: OpStatus, Route: "w1", Load: 101}},
		{"Context field too big", Command{Op: OpHold, Route: "w1", Context: Path(long(80))}},
		{"Alias field too big", Command{Op: OpHold, Route: "w1", Context: "/", Alias: long(255)}},
		{"Reason field too big", Command{Op: OpHold, Route: "w1", Reason: long(1025)}},
		{"A name is too big", Command{Op: OpHold, Route: "w1", By: long(256)}},
		{"A name has bad value", Command{Op: OpHold, Route: "w1", Reason: "a\nb"}},
		{"Context field has bad value", Command{Op: OpHold, Route: "w1", Context: "/\t"}},
		{"Unknown schema version", Command{Op: OpSchema}},
		{"The command is too large", Command{Op: OpConfig, Route: "w1", Gone: []JVMRoute{JVMRoute(long(MaxCommandBytes))}}},
		{"No cluster id", Command{Op: OpForm}},
		{"No settings", Command{Op: OpSettings}},
		{"No replica id", Command{Op: OpBar}},
		{"voters must be 1, 3, 5 or 7", settings(func(s *Settings) { s.Voters = 4 })},
		{"default_balancer has bad value", settings(func(s *Settings) { s.DefaultBalancer = "" })},
		{"limits have bad value", settings(func(s *Settings) { s.MaxWorkers = -1 })},
		{"use_alias must be auto, true or false", settings(func(s *Settings) { s.UseAlias = "yes" })},
		{"a status must be 100 to 599", settings(func(s *Settings) { s.NoContextStatus = 0 })},
		{"a duration has bad value", settings(func(s *Settings) { s.RemoveDelay = -1 })},
		{"affinity.mode must be none, single or ranked", settings(func(s *Settings) { s.Affinity.Mode = "" })},
		{"affinity has too long a name", settings(func(s *Settings) { s.Affinity.Cookie = long(256) })},
		{"a rule's action must be route, reject or redirect", settings(func(s *Settings) { s.Rules = []Rule{{}} })},
		{"too many rules", settings(func(s *Settings) { s.Rules = make([]Rule, 1001) })},
	} {
		s, _ := mustApply(t, New(), Entry{Schema: 1, Commands: []Command{{Op: OpConfig, Route: "w1", Config: &NodeConfig{Type: "http", Host: "old", Port: 1}}}})
		if x.c.Op == OpConfig {
			x.c.Gone = append(x.c.Gone, "w1")
		}
		next, r := mustApply(t, s, Entry{Schema: 1, Commands: []Command{x.c}})
		if x.want == "" {
			if r[0].Code != OK {
				t.Errorf("%s: %s", x.c.Op, r[0].Mess)
			}
			continue
		}
		if r[0].Code != Mem || r[0].Mess != x.want {
			t.Errorf("%s: %v %q, want %q", x.c.Op, r[0].Code, r[0].Mess, x.want)
		}
		if r[0].Changed || next.Hash() != s.Hash() {
			t.Errorf("%s: refused, but changed", x.want)
		}
	}
}

// Failures are named, but not so many that the answer's header bursts.
func TestFailuresAreNamed(t *testing.T) {
	s, _ := mustApply(t, New(), Entry{Schema: 1, Commands: []Command{{Op: OpConfig, Route: "w1", Config: &NodeConfig{Type: "http", Host: "h", Port: 1}}}})
	settings := DefaultSettings()
	settings.MaxContexts = 1
	var contexts []Path
	for _, p := range strings.Split("abcdefghij", "") {
		contexts = append(contexts, Path("/"+p))
	}
	_, r := mustApply(t, s, Entry{Schema: 1, Commands: []Command{
		{Op: OpSettings, Settings: &settings},
		{Op: OpEnable, Route: "w1", Aliases: []string{"a"}, Contexts: contexts},
	}})
	if want := "Can't update or insert context /b, /c, /d, /e, /f and 4 more"; r[1].Mess != want {
		t.Fatalf("%q, want %q", r[1].Mess, want)
	}
}

// Settings are the state's own: who proposed them may change his.
func TestSettingsAreCopied(t *testing.T) {
	n := 3
	mine := DefaultSettings()
	mine.MaxAttempts = &n
	mine.Rules = []Rule{{Hosts: []string{"a"}, Action: "reject"}}
	s, _ := mustApply(t, New(), Entry{Schema: 1, Commands: []Command{{Op: OpForm, ClusterID: "c", Settings: &mine}}})
	want := mine.clone()
	n, mine.Rules[0].Hosts[0], mine.Rules[0].Action = 4, "b", "route"
	if !reflect.DeepEqual(*s.Settings(), want) {
		t.Fatalf("%+v, want %+v", *s.Settings(), want)
	}
	if s.ClusterID() != "c" || s.Hash() != s.HashFromNothing() {
		t.Fatal("the state changed with them")
	}
}
