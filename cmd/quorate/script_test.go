package main

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs testdata/script: the program as people type it. Beyond
// testscript's own commands and conditions there are
//
//	code N COMMAND...   the command must end with exit code N
//	mode FILE 0600      the file must have this mode
//	port NAME...        puts free loopback addresses into variables
//	certificate FILE NAME...  writes a new certificate for names to FILE.pem, its key to FILE-key.pem
//	await FILE REGEXP   waits until a line of the file matches
//	shows ADDRESS NAME FILE   waits until a TLS server shows FILE.pem to a client that asks for NAME
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

			"certificate": writesCertificate,
			"await":       awaits,
			"shows":       shows,
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

func writesCertificate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: certificate file name...")
	}
	cert, key := certificateFor(args[1:]...)
	for name, text := range map[string]string{args[0] + ".pem": cert, args[0] + "-key.pem": key} {
		// Renamed into place, as those who renew do: nobody reads half a file.
		name = ts.MkAbs(name)
		ts.Check(os.WriteFile(name+".new", []byte(text), 0o600))
		ts.Check(os.Rename(name+".new", name))
	}
}

func awaits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await file regexp")
	}
	wanted, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	until(ts, args[0]+" to have "+args[1], func() bool {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && wanted.Match(b)
	})
}

func shows(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: shows address name file")
	}
	text, err := os.ReadFile(ts.MkAbs(args[2] + ".pem"))
	ts.Check(err)
	want, _ := pem.Decode(text)
	until(ts, args[0]+" to show "+args[2], func() bool {
		c, err := tls.Dial("tcp", args[0], &tls.Config{ServerName: args[1], InsecureSkipVerify: true})
		if err != nil {
			return false
		}
		defer c.Close()
		return bytes.Equal(c.ConnectionState().PeerCertificates[0].Raw, want.Bytes)
	})
}

func until(ts *testscript.TestScript, what string, ok func() bool) {
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("waited in vain for %s", what)
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
