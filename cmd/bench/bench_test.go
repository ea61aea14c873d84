//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

func TestFlags(t *testing.T) {
	for _, c := range []struct {
		args  string
		wrong string // part of the error
		want  string // scenarios, peers, series
	}{
		{args: "-scenarios tls,get1k -peers quorate,nginx -pinned no", want: "get1k,tls nginx,quorate unpinned"},
		{args: "-short", want: "get1k,get100k,post10k,connect haproxy,nginx,quorate pinned"},
		{args: "-short -pinned both -scenarios h2", want: "h2 haproxy,nginx,quorate pinned,unpinned"},
		{args: "-scenarios get2k", wrong: `no scenario "get2k"`},
		{args: "-peers varnish", wrong: `no peer "varnish"`},
		{args: "-pinned maybe", wrong: "yes, no or both"},
		{args: "-rounds 0", wrong: "at least one round"},
		{args: "get1k", wrong: "no arguments"},
	} {
		var b bench
		err := b.parse(strings.Fields(c.args), io.Discard)
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%s: %v", c.args, err)
			}
			continue
		}
		got := fmt.Sprintf("%s %s %s",
			namesOf(b.scenarios, func(s *scenario) string { return s.name }),
			namesOf(b.peers, func(p *peer) string { return p.name }),
			namesOf(b.series, func(s series) string { return s.name }))
		if err != nil || got != c.want {
			t.Errorf("%s: %s, %v", c.args, got, err)
		}
	}
}

// Goals name scenarios and peers that exist.
func TestGoals(t *testing.T) {
	for _, g := range allGoals() {
		s, err := choose("scenario", g.scenario, allScenarios(), func(s *scenario) string { return s.name })
		if err != nil {
			t.Error(err)
			continue
		}
		if g.over != "" && !s[0].takes(g.over) {
			t.Errorf("%s: %s takes no part", g.scenario, g.over)
		}
	}
}

func TestConfigurations(t *testing.T) {
	var workers []worker
	for i := range 1000 {
		workers = append(workers, worker{fmt.Sprintf("w%d", i+1), fmt.Sprintf("127.10.%d.%d:80", i/250, i%250)})
	}
	for _, table := range []bool{false, true} {
		groups := groupsOf(workers, table)
		count, contexts := 0, 0
		for _, g := range groups {
			count += len(g.Workers)
			contexts += len(g.Workers) * len(g.Contexts)
		}
		if table && (count != 1000 || contexts != 50000) {
			t.Errorf("%d workers, %d contexts", count, contexts)
		}
		for _, p := range allPeers() {
			if p.conf == "" {
				continue
			}
			s := &setup{Dir: t.TempDir(), Port: 1001, PortTLS: 1002, PortMCMP: 1003, PortAdmin: 1004, Groups: groups, Table: table, Register: p.register}
			if err := p.write(s); err != nil {
				t.Errorf("%s: %v", p.name, err)
				continue
			}
			b, err := os.ReadFile(s.Dir + "/" + p.conf)
			if err != nil {
				t.Fatal(err)
			}
			want := []string{":1001"}
			if !p.register {
				want = append(want, groups[len(groups)-1].Workers[0].Address)
			}
			if p.name == "caddy" {
				want = []string{":1001", workers[3].Address}
			}
			for _, w := range want {
				if !strings.Contains(string(b), w) {
					t.Errorf("%s, table %t: no %s", p.name, table, w)
				}
			}
		}
	}
}

// With AJP the same peers lead to the same workers by another protocol.
func TestConfigurationsAJP(t *testing.T) {
	var workers []worker
	for i := range 4 {
		workers = append(workers, worker{fmt.Sprintf("w%d", i+1), fmt.Sprintf("127.0.0.1:%d", 2001+i)})
	}
	scenarios, err := choose("scenario", "ajp-get100k", allScenarios(), func(s *scenario) string { return s.name })
	if err != nil {
		t.Fatal(err)
	}
	wants := map[string][]string{
		"httpd":   {"mod_proxy_ajp.so", "ProxyIOBufferSize 65536", "BalancerMember ajp://127.0.0.1:2004 "},
		"quorate": {"max_packet_bytes: 65536"},
	}
	for _, p := range allPeers() {
		if scenarios[0].takes(p.name) != (wants[p.name] != nil) {
			t.Errorf("%s takes part: %t", p.name, scenarios[0].takes(p.name))
		}
		for _, packet := range []int{0, 64 << 10} {
			s := &setup{Dir: t.TempDir(), Groups: groupsOf(workers, false), Packet: packet, Register: p.register}
			if err := p.write(s); err != nil {
				t.Fatalf("%s: %v", p.name, err)
			}
			b, err := os.ReadFile(s.Dir + "/" + p.conf)
			if p.conf != "" && err != nil {
				t.Fatal(err)
			}
			for _, want := range wants[p.name] {
				if strings.Contains(string(b), want) != (packet > 0) {
					t.Errorf("%s, packets of %d bytes: %s", p.name, packet, want)
				}
			}
		}
	}
}

// What a process started ends with it; its processor time counts.
func TestProcess(t *testing.T) {
	p, err := startProcess("shell", t.TempDir(), nil, nil, []string{"/bin/sh", "-c", "trap '' TERM; (exec sleep 1000) & i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo counted; wait; wait"})
	if err != nil {
		t.Fatal(err)
	}
	var children []stat
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		children, err = tree(p.pid())
		if err == nil && len(children) == 2 && strings.Contains(string(p.said()), "counted") {
			break
		}
		if time.Now().After(end) {
			p.stop()
			t.Fatalf("%v, %v, %s", children, err, p.said())
		}
	}
	if seconds, err := treeCPU(p.pid()); err != nil || seconds <= 0 {
		t.Errorf("it counted in %v seconds, %v", seconds, err)
	}
	if bytes, err := treeRSS(p.pid()); err != nil || bytes < 100<<10 {
		t.Errorf("%d bytes, %v", bytes, err)
	}
	p.time = 50 * time.Millisecond // it heeds no SIGTERM
	p.stop()
	for _, s := range children {
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			// A zombie has ended; who it was left to may not have collected it yet.
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.pid))
			if err != nil || strings.Contains(string(b), ") Z ") {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("process %d is still there: %s", s.pid, b)
			}
		}
	}
}

// Two runs would measure each other.
func TestAlone(t *testing.T) {
	name := t.TempDir() + "/lock"
	first, err := alone(t.Context(), name, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if f, err := alone(ctx, name, io.Discard); err == nil {
		f.Close()
		t.Error("two at a time")
	}
	first.Close()
	next, err := alone(t.Context(), name, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	next.Close()
}

// What this process does itself is not the others' doing.
func TestShare(t *testing.T) {
	others := share()
	before, err := busy()
	if err != nil {
		t.Fatal(err)
	}
	cpu, err := treeCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for now := cpu; now < cpu+0.5; now, err = treeCPU(os.Getpid()) {
		if err != nil {
			t.Fatal(err)
		}
	}
	after, err := busy()
	if err != nil {
		t.Fatal(err)
	}
	if after-before < 0.4 {
		t.Errorf("all processors together worked for %v s, we alone for 0.5 s", after-before)
	}
	if got := others(); got < 0 || got > 1.2 {
		t.Errorf("others used %v of all processors", got)
	}
}
