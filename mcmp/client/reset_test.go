package client

import (
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// Commands of the data file:
//
//	worker [disabled]   what runs from now on. Input lines: NAME[,ALIAS...] PATH...
//	                    "!" before a path: known, but stopped. disabled: RegisterDisabled
//	reset               the messages that follow this INFO answer, without CONFIG's fields
func TestResetSequence(t *testing.T) {
	var hosts []Host
	disabled := false
	node := Node{Route: "w1", Host: "10.0.0.1", Port: 8080, Type: "http"}
	datadriven.RunTest(t, "testdata/reset", func(t *testing.T, d *datadriven.TestData) string {
		switch d.Cmd {
		case "worker":
			hosts, disabled = nil, d.HasArg("disabled")
			for line := range strings.Lines(d.Input) {
				words := strings.Fields(line)
				names := strings.Split(words[0], ",")
				h := Host{Name: names[0], Aliases: names[1:]}
				for _, path := range words[1:] {
					bare, stopped := strings.CutPrefix(path, "!")
					h.Contexts = append(h.Contexts, Context{Path: bare, Stopped: stopped})
				}
				hosts = append(hosts, h)
			}
			return "ok\n"
		case "reset":
			info, err := ParseInfo(d.Input)
			if err != nil {
				return err.Error() + "\n"
			}
			var b strings.Builder
			for _, r := range resetSequence(node, hosts, info, disabled) {
				if r.command == cmdConfig {
					b.WriteString("CONFIG\n")
					continue
				}
				b.WriteString(r.String() + "\n")
			}
			return b.String()
		default:
			t.Fatalf("no command %q", d.Cmd)
			return ""
		}
	})
}
