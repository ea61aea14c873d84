package fsm

import (
	"strings"
	"testing"
)

func TestWords(t *testing.T) {
	var ops []string
	for o := OpConfig; o <= OpBar+1; o++ {
		ops = append(ops, o.String())
	}
	if got, want := strings.Join(ops, " "), "CONFIG ENABLE DISABLE STOP REMOVE STATUS DRAIN HOLD RELEASE DROP FORM SETTINGS TICK EXPIRE SCHEMA BAR OP17"; got != want {
		t.Errorf("operations %s, want %s", got, want)
	}
	for got, want := range map[string]string{
		Enabled.String():    "ENABLED",
		Disabled.String():   "DISABLED",
		Stopped.String():    "STOPPED",
		Status(0).String():  "STATUS0",
		EffStopped.String(): "STOPPED",
		OK.String():         "OK",
		Mem.String():        "MEM",
		HoldNone.String():   "",
		HoldDrain.String():  "drain",
		HoldAll.String():    "hold",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	c := NodeConfig{Type: "ajp", Host: "[fe80::1]", Port: 8009}
	if c.URL() != "ajp://[fe80::1]:8009" {
		t.Error(c.URL())
	}
	if !sameAlias("Default-HOST", "default-host") || sameAlias("a", "ab") || sameAlias("É", "é") {
		t.Error("aliases are compared in any case of ASCII")
	}
}

// The stricter of worker, node's hold and context's hold.
func TestEffective(t *testing.T) {
	modes := []HoldMode{HoldNone, HoldDrain, HoldAll}
	for _, status := range []Status{Enabled, Disabled, Stopped} {
		for _, node := range modes {
			for _, context := range modes {
				n := Node{Hold: Hold{Mode: node}}
				c := Context{Status: status, Hold: Hold{Mode: context}}
				want := EffEnabled
				if status == Disabled || node == HoldDrain || context == HoldDrain {
					want = EffDisabled
				}
				if status == Stopped || node == HoldAll || context == HoldAll {
					want = EffStopped
				}
				if got := n.Effective(&c); got != want {
					t.Errorf("%s, node %q, context %q: %s, want %s", status, node, context, got, want)
				}
			}
		}
	}
	for mode, want := range map[HoldMode]Effective{HoldNone: EffDisabled, HoldDrain: EffDisabled, HoldAll: EffStopped} {
		n := Node{Hold: Hold{Mode: mode}}
		if got := n.EffectiveLinger(); got != want {
			t.Errorf("lingering, node %q: %s, want %s", mode, got, want)
		}
	}
}

func TestReaders(t *testing.T) {
	s := fixtureState(t)
	if n := s.Node("w4"); n.Context("OTHER", "/shop").Status != Disabled || n.Context("", "/shop").Status != Enabled || n.Context("none", "/shop") != nil || n.Context("", "/none") != nil {
		t.Errorf("contexts of w4:\n%s", printState(s))
	}
	if s.Node("none") != nil || s.Balancer("none") != nil || s.Intent("none") != nil || s.Barred("none") {
		t.Error("found what is not there")
	}
	if !s.Barred("8b0e4c1a") {
		t.Error("the barred replica is not there")
	}
	if i := s.Intent("w4"); i == nil || i.Hold.Mode != HoldDrain || len(i.Contexts) != 1 || i.Left != 0 {
		t.Errorf("intent of w4: %+v", i)
	}
	if len(s.Hash().String()) != 32 {
		t.Errorf("hash %s", s.Hash())
	}
}

// The version rises by command alone, and never falls.
func TestSchemaRises(t *testing.T) {
	old := empty()
	old.putCluster(cluster{Schema: 0})
	old.putTime(0)
	old.putSettings(DefaultSettings())
	s, r := mustApply(t, old.freeze(), Entry{Schema: 1, Commands: []Command{{Op: OpSchema, Version: 1}, {Op: OpSchema, Version: 1}}})
	if s.Schema() != 1 || !r[0].Changed || r[0].Events[0].Detail != "version 0 -> 1" || r[1].Changed {
		t.Fatalf("version %d, %+v", s.Schema(), r)
	}
}
