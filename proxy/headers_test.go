package proxy

import (
	"net/netip"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/quorate/quorate/fsm"
	"github.com/quorate/quorate/proxy/http1"
)

// The files say what a client sends, after words that set the proxy up, and what
// its worker gets: lines in order of their names, ids and ports made regular.
func TestHeaders(t *testing.T) {
	ulid := regexp.MustCompile(`\b[0-9A-HJKMNP-TV-Z]{26}\b`)
	datadriven.RunTest(t, "testdata/headers", func(t *testing.T, d *datadriven.TestData) string {
		r := run(t, func(c *Config) {
			if d.HasArg("trusted") {
				c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
			}
			c.Upstream.Forwarded = d.HasArg("forwarded")
			c.Upstream.XForwarded = !d.HasArg("no-x-forwarded")
			c.Upstream.PreserveHost = !d.HasArg("own-host")
			c.Upstream.Upgrade.Protocols = []string{"websocket"}
		})
		w := startWorker(t, say(okHead+"ok"))
		r.register("w1", w)
		lines := strings.Split(strings.TrimSuffix(d.Input, "\n"), "\n")
		a := r.do(strings.Join(lines, "\r\n") + "\r\n\r\n")
		if a.StatusCode != 200 {
			return a.Status + "\n"
		}
		q := w.requests()[0]
		got := strings.Split(strings.TrimSuffix(q.head, "\n"), "\n")
		sort.Strings(got)
		text := q.line + "\n" + strings.Join(got, "\n") + "\n"
		text = ulid.ReplaceAllString(text, "ULID")
		return strings.ReplaceAll(text, w.addr, "WORKER")
	})
}

func TestHost(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "a_b.example": true, "EXAMPLE.com:80": true, "example.com.": true, "127.0.0.1:65535": true,
		"[::1]": true, "[::1]:8080": true, "[::ffff:1.2.3.4]:1": true,
		"a b": false, "a/b": false, "u@a": false, "a%20": false, "a:0": false, "a:65536": false, "a:": false, "a:x": false, ":80": false,
		"[::1": false, "[::1]x": false, "[]": false, "a,b": false, "a:1:2": false, "a\"b": false,
	} {
		if got := http1.ValidHost(host); got != want {
			t.Errorf("validHost(%q) = %v", host, got)
		}
	}
}

// A session that leaves its domain goes without its id where the balancer says so.
func TestStripSession(t *testing.T) {
	r := run(t, nil)
	w := startWorker(t, say(okHead+"ok"))
	drop := func(c *fsm.NodeConfig) { c.StickyDrop = true }
	r.register("w1", w, drop)
	r.register("w2", closedPort(t), drop)
	a := r.get("/a;jsessionid=1.w2;x=1/b?q", "Cookie: a=1; JSESSIONID=2.w2; b=2", "Cookie: JSESSIONID=3.w2")
	a.want(t, 200, "ok")
	q := w.requests()[0]
	if q.target() != "/a;x=1/b?q" || q.value("Cookie") != "a=1; b=2" {
		t.Errorf("the worker got %q with cookies %q", q.target(), q.value("Cookie"))
	}
	r.get("/;jsessionid=1.w2/evil.example/b?q").want(t, 200, "ok")
	if q := w.requests()[1]; q.target() != "/evil.example/b?q" {
		t.Errorf("the worker got %q", q.target())
	}
}
