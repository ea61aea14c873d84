package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs testdata/script: the program as people type it. Beyond
// testscript's own commands and conditions there are
//
//	code N COMMAND...   the command must end with exit code N
//	mode FILE 0600      the file must have this mode
//	port NAME...        puts free loopback addresses into variables
func TestScripts(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "quorate")); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                filepath.Join("testdata", "script"),
		UpdateScripts:      *rewrite,
		RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", bin+string(filepath.ListSeparator)+e.Getenv("PATH"))
			e.Setenv(asQuorate, "1")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": exitsWith,
			"mode": hasMode,
			"port": freePorts(t),
		},
	})
}

func exitsWith(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N command args...")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		got = -1
		if e, ok := err.(interface{ ExitCode() int }); ok {
			got = e.ExitCode()
		}
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit %d, want %s", got, args[0])
	}
}

func hasMode(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: mode file 0600")
	}
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	want, err := strconv.ParseUint(args[1], 8, 32)
	ts.Check(err)
	if (uint64(info.Mode().Perm()) == want) == neg {
		ts.Fatalf("%s has mode %04o", args[0], info.Mode().Perm())
	}
}

func freePorts(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, args []string) {
		for _, name := range args {
			ts.Setenv(name, reserve(t))
		}
	}
}

// Every command that does something says how, by example (ux.md §2).
func TestHelpHasExamples(t *testing.T) {
	g := &globals{stdout: new(strings.Builder), stderr: new(strings.Builder)}
	checked := 0
	for _, c := range rootCommand(g).Commands() {
		for _, c := range append(c.Commands(), c) {
			if !c.Runnable() || c.Name() == "help" || c.Parent().Name() == "completion" || c.HasSubCommands() && c.Example == "" {
				continue
			}
			checked++
			lines := strings.Split(c.Example, "\n")
			if len(lines) < 2 || len(lines) > 4 {
				t.Errorf("%s: %d examples, want 2 to 4", c.CommandPath(), len(lines))
			}
			for _, l := range lines {
				if !strings.HasPrefix(l, "  "+c.Root().Name()+" ") {
					t.Errorf("%s: example %q is no command line", c.CommandPath(), l)
				}
			}
			if n := strings.Count(c.Long, "\n") + 1; n > 5 {
				t.Errorf("%s: %d lines of text, want at most 5", c.CommandPath(), n)
			}
		}
	}
	if checked < 10 {
		t.Errorf("only %d commands were checked", checked)
	}
}
