package mcmp

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/quorate/quorate/fsm"
	"github.com/quorate/quorate/mcmp/client"
)

var rewriteHostile = flag.Bool("rewrite-hostile", false, "write testdata/hostile.txt anew")

// The limits of TestHostile.
const (
	hostileWorkers  = 20
	hostileAliases  = 5
	hostileContexts = 10
)

// TestHostile sends the registrations of testdata/hostile.txt to a listener. None
// may make INFO unreadable, exceed a limit or touch another worker.
func TestHostile(t *testing.T) {
	r := newRig(t, func(_ *rig, c *Config) { c.Rate = -1 })
	settings := fsm.DefaultSettings()
	settings.MaxWorkers, settings.MaxAliases, settings.MaxContexts = hostileWorkers, hostileAliases, hostileContexts
	if res, err := r.apply(fsm.Command{Origin: fsm.FromSystem, Op: fsm.OpForm, ClusterID: "c", Settings: &settings}); err != nil || res.Code != fsm.OK {
		t.Fatal(res, err)
	}
	r.ask(t, "CONFIG", "/", "JVMRoute=good&Host=10.0.0.1&Port=8009&Type=http")
	r.ask(t, "ENABLE-APP", "/", "JVMRoute=good&Alias=localhost&Context=/shop")
	r.ask(t, "STATUS", "/", "JVMRoute=good&Load=50")

	text, err := os.ReadFile("testdata/hostile.txt")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	families, sent := 0, 0
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		fmt.Fprintln(&out, line)
		if strings.HasPrefix(line, "# ") && i > 0 && lines[i-1] == "" {
			families++
		}
		if line == "" || line[0] == '#' {
			continue
		}
		parts := strings.SplitN(line, " ", 3)
		got := r.hostile(t, expand(parts[0]), expand(parts[1]), expand(parts[2]))
		sent++
		fmt.Fprintf(&out, "  %s\n", got)
		if i+1 < len(lines) && strings.HasPrefix(lines[i+1], "  ") {
			if i++; !*rewriteHostile && lines[i] != "  "+got {
				t.Errorf("%.80s\nwant %s\n got %s", line, lines[i], got)
			}
		} else if !*rewriteHostile {
			t.Errorf("%.80s: no answer in the file", line)
		}
		r.intact(t, line)
		if t.Failed() {
			return
		}
	}
	if *rewriteHostile {
		if err := os.WriteFile("testdata/hostile.txt", []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.logs.count("message panicked"); n != 0 {
		t.Errorf("%d panics", n)
	}
	t.Logf("%d hostile registrations in %d families", sent, families)
}

// hostile sends one registration and gives the answer, long texts cut.
func (r *rig) hostile(t *testing.T, method, target, body string) string {
	c := r.dial(t)
	defer c.Close()
	a := fmt.Sprintf("%.120s", c.ask(method, target, body))
	if !isASCII(a) {
		a = strconv.QuoteToASCII(a)
	}
	return a
}

// intact checks what must hold after every registration.
func (r *rig) intact(t *testing.T, line string) {
	t.Helper()
	a := r.ask(t, "INFO", "/", "")
	info, err := client.ParseInfo(a.body)
	if err != nil {
		t.Fatalf("%.80s: INFO: %v", line, err)
	}
	good, ok := info.Node("good")
	if !ok || good.Field("Host") != "10.0.0.1" || good.Field("Balancer") != "mycluster" || len(good.VHosts) == 0 || good.VHosts[0].Aliases[0] != "localhost" {
		t.Errorf("%.80s: good has become %+v", line, good)
	}
	st := r.State()
	if len(info.Nodes) != len(listed(st)) || len(info.Nodes) > hostileWorkers {
		t.Errorf("%.80s: INFO shows %d workers, the state has %d", line, len(info.Nodes), len(listed(st)))
	}
	for _, n := range info.Nodes {
		aliases, contexts := 0, 0
		for _, v := range n.VHosts {
			aliases += len(v.Aliases)
			contexts += len(v.Contexts)
		}
		if aliases > hostileAliases || contexts > hostileContexts {
			t.Errorf("%.80s: %q has %d aliases, %d contexts", line, n.Name, aliases, contexts)
		}
		if live(st, fsm.JVMRoute(n.Name)) == nil {
			t.Errorf("%.80s: INFO shows %q, which is not registered", line, n.Name)
		}
	}
	for _, x := range [][]byte{infoXML(st, r.server.c.Counters), dumpXML(st)} {
		for d := xml.NewDecoder(strings.NewReader(string(x))); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%.80s: %v in %s", line, err, x)
			}
		}
	}
}
