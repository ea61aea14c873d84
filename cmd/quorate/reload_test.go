package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quorate/quorate/config"
)

// inShelf makes a shelf the working directory, with the pairs a, b and c, and two
// files of tokens.
func inShelf(t *testing.T) {
	s := newShelf(t)
	t.Chdir(s.dir)
	for _, name := range []string{"a", "b", "c"} {
		s.write(name, name+".example")
	}
	for _, name := range []string{"tokens", "more"} {
		s.put(filepath.Join(s.dir, name), "s3cret\n")
	}
}

func loaded(t *testing.T, set ...string) *config.Config {
	t.Helper()
	c, err := config.Load(config.Source{Set: set})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What a running replica takes over, and what is left for a restart.
func TestInForce(t *testing.T) {
	inShelf(t)
	tls := func(listener, pair string, more ...string) []string {
		set := []string{listener + ".tls.cert_file=" + pair + ".pem", listener + ".tls.key_file=" + pair + "-key.pem"}
		for _, m := range more {
			set = append(set, listener+".tls."+m)
		}
		return set
	}
	const users, workers, operator = "traffic.listeners[0]", "mcmp.listeners[0]", "admin"
	for _, x := range []struct {
		name             string
		a, b             []string
		changed, restart string
	}{
		{"nothing", nil, nil, "", ""},
		{"timeouts and limits", nil, []string{"traffic.timeouts.body=1s", "traffic.limits.headers=50", "traffic.body_min_rate=1KiB/s", "traffic.trusted_proxies=10.0.0.0/8", "log.level=warn"},
			"traffic.trusted_proxies traffic.timeouts.body traffic.body_min_rate traffic.limits.headers log.level", ""},
		{"everything else", nil, []string{"replica.name=other", "traffic.listeners=:8081", "upstream.health.interval=9s", "shared.voters=3", "log.format=text", "access_log.sample=0.5", "metrics.enabled=false"},
			"", "replica.name traffic.listeners[0].address upstream.health.interval shared.voters log.format access_log.sample metrics.enabled"},
		{"one more listener", tls(users, "a"), append(tls(users, "b"), "traffic.listeners[1].address=:8081"), "", "traffic.listeners"},
		{"another address", tls(users, "a"), append(tls(users, "b"), users+".address=:8081"),
			"", "traffic.listeners[0].address traffic.listeners[0].tls.cert_file traffic.listeners[0].tls.key_file"},
		{"certificates", append(append(tls(users, "a"), tls(workers, "a")...), tls(operator, "a")...), append(append(tls(users, "b"), tls(workers, "b")...), tls(operator, "b")...),
			"mcmp.listeners[0].tls.cert_file mcmp.listeners[0].tls.key_file traffic.listeners[0].tls.cert_file traffic.listeners[0].tls.key_file admin.tls.cert_file admin.tls.key_file", ""},
		{"tls begun", nil, tls(users, "a"), "", "traffic.listeners[0].tls"},
		{"tls ended", tls(operator, "a"), nil, "", "admin.tls.cert_file admin.tls.key_file"},
		{"authorities", tls(users, "a", "client_auth=require", "client_ca_file=b.pem"), tls(users, "a", "client_auth=require", "client_ca_file=c.pem"),
			"traffic.listeners[0].tls.client_ca_file", ""},
		{"whom to let in", tls(workers, "a", "client_auth=require", "client_ca_file=b.pem"), tls(workers, "a", "min_version=1.3"),
			"", "mcmp.listeners[0].tls.client_auth mcmp.listeners[0].tls.client_ca_file mcmp.listeners[0].tls.min_version"},
		{"tokens", []string{"mcmp.tokens_file=tokens", "admin.tokens_file=tokens"}, []string{"mcmp.tokens_file=more", "admin.tokens_file=more"},
			"mcmp.tokens_file admin.tokens_file", ""},
		{"advertising", []string{"mcmp.advertise.security_key_file=tokens"}, []string{"mcmp.advertise.security_key_file=more", "mcmp.advertise.interval=1s"},
			"mcmp.advertise.security_key_file", "mcmp.advertise.interval"},
		{"tokens begun and ended", []string{"mcmp.tokens_file=tokens"}, []string{"admin.tokens_file=tokens"}, "", "mcmp.tokens_file admin.tokens_file"},
	} {
		running, conf := loaded(t, x.a...), loaded(t, x.b...)
		before := *running
		next := inForce(running, conf)
		if got := strings.Join(config.Changed(running, next), " "); got != x.changed {
			t.Errorf("%s: changed %s\nwant %s", x.name, got, x.changed)
		}
		if got := strings.Join(config.Changed(next, conf), " "); got != x.restart {
			t.Errorf("%s: needs restart %s\nwant %s", x.name, got, x.restart)
		}
		if keys := config.Changed(&before, running); len(keys) > 0 {
			t.Errorf("%s: what was running has changed: %s", x.name, keys)
		}
	}
}

// A file with other contents counts as a change of its key.
func TestDigests(t *testing.T) {
	inShelf(t)
	c := loaded(t, "admin.tokens_file=tokens", "mcmp.tokens_file=more", "upstream.tls.ca_file=a.pem")
	before := digests(c)
	if err := os.WriteFile("tokens", []byte("other\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	after := digests(c)
	if len(after) != 3 || after["admin.tokens_file"] == before["admin.tokens_file"] ||
		after["mcmp.tokens_file"] != before["mcmp.tokens_file"] || after["upstream.tls.ca_file"] != before["upstream.tls.ca_file"] {
		t.Errorf("before %v, after %v", before, after)
	}
}

// The figures of ux.md §3: 20000 connections need 41000.
func TestConnectionsForFiles(t *testing.T) {
	if n := filesFor(20000); n != 41000 {
		t.Errorf("20000 connections need %d", n)
	}
	for files, want := range map[uint64]int{
		41000: 20000, 65536: 32268, 20000: 9500, 4096: 1548, 1024: 384, 600: 225, 256: 96, 8: 3, 2: 1, 0: 1, 1 << 63: 1<<31 - 1,
	} {
		if got := connectionsFor(files); got != want {
			t.Errorf("%d files carry %d connections, want %d", files, got, want)
		}
		if n := connectionsFor(files); n > 1 && n < 1<<31-1 && uint64(2*n) > files {
			t.Errorf("%d files cannot carry %d connections and their workers'", files, n)
		}
	}
}
