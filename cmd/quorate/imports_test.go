package main

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/quorate/quorate/"

// arrows is the import graph of docs/architecture.md: what each package of ours
// may import of ours. What is missing here may be imported by nobody but itself.
var arrows = map[string]string{
	"cmd/quorate":       "admin config config/migrate fsm gossip mcmp mcmp/advertise mcmp/client proxy proxy/accesslog proxy/route raftnode",
	"cmd/bench":         "", // measures binaries, its own stands beside them
	"admin":             "fsm",
	"mcmp":              "fsm mcmp/advertise",
	"mcmp/advertise":    "",
	"mcmp/client":       "",
	"mcmp/client/trace": "",
	"raftnode":          "fsm raftnode/archive",
	"proxy":             "fsm proxy/accesslog proxy/ajp proxy/http1 proxy/pool proxy/route proxy/tally proxy/wire",
	"proxy/accesslog":   "",
	"proxy/ajp":         "",
	"proxy/ajp/ajptest": "",
	"proxy/corpus":      "",
	"proxy/http1":       "",
	"proxy/pool":        "proxy/wire",
	"proxy/route":       "fsm",
	"proxy/tally":       "",
	"proxy/wire":        "",
	"config":            "",
	"config/migrate":    "config",
	"fsm":               "",
	"gossip":            "",
}

// outside names who alone may know a library, and why.
var outside = map[string]struct{ owner, why string }{
	"github.com/hashicorp/raft":        {"raftnode", "everybody else proposes and reads; Raft is made small in one place"},
	"github.com/hashicorp/raft-boltdb": {"raftnode", "the log store is raftnode's"},
	"go.etcd.io/bbolt":                 {"raftnode", "the log store is raftnode's"},
	"github.com/hashicorp/memberlist":  {"gossip", "gossip only suggests; whoever knows memberlist would ask it for decisions"},
	"github.com/spf13/cobra":           {"cmd/quorate", "packages know nothing of flags"},
}

func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"...").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	checked := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		pkg := strings.TrimPrefix(fields[0], module)
		allowed, known := arrows[pkg]
		if !known {
			t.Errorf("%s is not in the import graph: draw its arrows in docs/architecture.md and here", pkg)
			continue
		}
		for _, imp := range fields[1:] {
			checked++
			if ours, ok := strings.CutPrefix(imp, module); ok && !contains(allowed, ours) {
				t.Errorf("%s imports %s: arrows run one way, and neighbours are handed a func or a value by cmd/quorate", pkg, ours)
			}
			for lib, o := range outside {
				if (imp == lib || strings.HasPrefix(imp, lib+"/")) && pkg != o.owner {
					t.Errorf("%s imports %s: only %s may: %s", pkg, imp, o.owner, o.why)
				}
			}
		}
	}
	if checked == 0 {
		t.Fatal("no import was checked")
	}
}

func contains(words, word string) bool {
	for _, w := range strings.Fields(words) {
		if w == word {
			return true
		}
	}
	return false
}
