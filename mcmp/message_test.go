package mcmp

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestParse reads testdata/parse.txt: a message, and what it means. The first
// line names the method and, if it is "/*", the target.
func TestParse(t *testing.T) {
	datadriven.RunTest(t, "testdata/parse.txt", func(t *testing.T, d *datadriven.TestData) string {
		var out strings.Builder
		for line := range strings.SplitSeq(d.Input, "\n") {
			m, err := Parse(d.Cmd, d.HasArg("whole"), []byte(expand(line)))
			if err != nil {
				fmt.Fprintln(&out, err)
				continue
			}
			fmt.Fprintln(&out, meaning(m))
		}
		return out.String()
	})
}

// meaning is the canonical form of a message, without what CONFIG means by default.
func meaning(m Message) string {
	text := string(Format(m))
	if m.Method == methodConfig {
		n := defaults()
		plain := map[string]bool{}
		var w writer
		w.config(&n)
		for p := range strings.SplitSeq(w.String(), "&") {
			plain[p] = true
		}
		var kept []string
		for p := range strings.SplitSeq(text, "&") {
			if !plain[p] {
				kept = append(kept, p)
			}
		}
		text = strings.Join(kept, "&")
	}
	if m.Command.Whole {
		text += " (whole node)"
	}
	if m.NoLoad {
		text += " (check only)"
	}
	if text == "" {
		text = "(nothing)"
	}
	return text
}

// expand replaces {x*N} by N times x, and a lone "(empty)" by nothing.
func expand(s string) string {
	if s == "(empty)" {
		return ""
	}
	for {
		before, rest, ok := strings.Cut(s, "{")
		inner, after, ok2 := strings.Cut(rest, "}")
		text, times, ok3 := strings.Cut(inner, "*")
		n := 0
		if _, err := fmt.Sscan(times, &n); !ok || !ok2 || !ok3 || err != nil {
			return s
		}
		parts := make([]string, n)
		for i := range parts {
			parts[i] = strings.ReplaceAll(text, "#", fmt.Sprint(i))
		}
		s = before + strings.Join(parts, "") + after
	}
}

// FuzzParse: what Parse accepts, Format writes so that Parse reads the same.
func FuzzParse(f *testing.F) {
	for _, body := range []string{
		"JVMRoute=w1", "JVMRoute=w1&Alias=localhost%2Cother&Context=%2F,/app", "JVMRoute=w1&Load=94", "JVMRoute=w1&Load=1.5",
		"JVMRoute=w1&Host=[fe80::1%25eth0]&Port=8009&Type=ajp&ping=10&ttl=1mi&flushwait=5ms&StickySessionForce=No&Balancer=Big&smax=3",
		"Host=127.0.0.1&Port=8080&Scheme=HTTP", "", "JVMRoute=a%zzb+c", "Foo=1", "JVMRoute=&", "jvmroute=x&JVMROUTE=y",
	} {
		for i := range len(fuzzMethods) {
			f.Add(i, i%2 == 0, []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, method int, whole bool, body []byte) {
		name := fuzzMethods[uint(method)%uint(len(fuzzMethods))]
		m, err := Parse(name, whole, body)
		if err != nil {
			if e, ok := err.(*Error); !ok || e.Type != typeSyntax || !strings.HasPrefix(e.Mess, "SYNTAX: ") || strings.ContainsAny(e.Mess, "\r\n") {
				t.Fatalf("%s %q: refused with %#v", name, body, err)
			}
			return
		}
		again, err := Parse(name, whole, Format(m))
		if err != nil || !reflect.DeepEqual(m, again) {
			t.Fatalf("%s %q: %+v was written as %q and came back as %+v, %v", name, body, m, Format(m), again, err)
		}
	})
}

var fuzzMethods = []string{"CONFIG", "ENABLE-APP", "DISABLE-APP", "STOP-APP", "REMOVE-APP", "STATUS", "PING", "info"}
