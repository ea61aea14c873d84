package admin

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/fsm"
)

var rewrite = flag.Bool("rewrite", false, "rewrite golden files")

// farm is a cluster of one state: what the page reads and where its commands go.
type farm struct {
	mu    sync.Mutex
	st    *fsm.State
	clock int64
	log   []fsm.Command
	down  error // of Propose
}

// newFarm has app-1 and app-2 in the domain blue and app-3 in none. app-1 has two
// virtual hosts. The worker of app-2 has disabled /api itself.
func newFarm(t *testing.T) *farm {
	t.Helper()
	f := &farm{st: fsm.New(), clock: 1_780_000_000_000}
	for i, n := range []struct{ route, domain, kind string }{{"app-1", "blue", "ajp"}, {"app-2", "blue", "https"}, {"app-3", "", "http"}} {
		r := fsm.JVMRoute(n.route)
		c := fsm.NodeConfig{Balancer: "shop", Domain: n.domain, Type: n.kind, Host: "10.0.1.2" + string(rune('1'+i)), Port: 8009,
			Ping: 10_000, TTL: 60_000, Smax: -1, FlushWait: 10, Sticky: true, Cookie: "JSESSIONID", PathParam: "jsessionid", MaxAttempts: 1}
		f.must(t, fsm.Command{Op: fsm.OpConfig, Route: r, Config: &c})
		f.must(t, fsm.Command{Op: fsm.OpEnable, Route: r, Aliases: []string{"default-host", "localhost"}, Contexts: []fsm.Path{"/shop"}})
		f.must(t, fsm.Command{Op: fsm.OpEnable, Route: r, Aliases: []string{"default-host"}, Contexts: []fsm.Path{"/api"}})
		f.must(t, fsm.Command{Op: fsm.OpStatus, Route: r, Load: 90 + i})
	}
	f.must(t, fsm.Command{Op: fsm.OpEnable, Route: "app-1", Aliases: []string{"admin.example.com"}, Contexts: []fsm.Path{"/", "/shop"}})
	f.must(t, fsm.Command{Op: fsm.OpDisable, Route: "app-2", Aliases: []string{"default-host"}, Contexts: []fsm.Path{"/api"}})
	f.log = nil
	return f
}

func (f *farm) must(t *testing.T, c fsm.Command) {
	t.Helper()
	if c.Origin == 0 {
		c.Origin, c.Replica, c.Source = fsm.FromWorker, "lb1", "10.0.1.21"
	}
	if res, err := f.propose(t.Context(), c); err != nil || res.Code != fsm.OK {
		t.Fatalf("%s: %v %v", c.Op, res, err)
	}
}

func (f *farm) propose(_ context.Context, c fsm.Command) (fsm.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down != nil {
		return fsm.Result{}, f.down
	}
	f.clock += 1000
	st, results, err := fsm.Apply(f.st, fsm.Entry{Schema: 1, Time: f.clock, Commands: []fsm.Command{c}})
	if err != nil {
		return fsm.Result{}, err
	}
	f.st = st
	f.log = append(f.log, c)
	return results[0], nil
}

func (f *farm) state() *fsm.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.st
}

func (f *farm) commands() []fsm.Command {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log
}

// statuses are a worker's contexts with their effective status: "app-1 /shop ENABLED".
func (f *farm) statuses() string {
	var b strings.Builder
	for _, n := range f.state().Nodes() {
		if n.Removed != 0 {
			continue
		}
		for i := range n.VHosts {
			for k := range n.VHosts[i].Contexts {
				c := &n.VHosts[i].Contexts[k]
				b.WriteString(string(n.Route) + " " + n.VHosts[i].Aliases[0] + " " + string(c.Path) + " " + n.Effective(c).String() + "\n")
			}
		}
	}
	return b.String()
}

func (f *farm) manager() *Manager {
	return &Manager{
		CheckNonce: true,
		AllowCmd:   true,
		Replica:    "lb1",
		Version:    "0.1.0",
		Read:       func(context.Context) (*fsm.State, time.Duration, error) { return f.state(), 0, nil },
		Show: func(_ context.Context, what string, asXML bool) Shown {
			if asXML {
				return Shown{Type: "text/xml", Body: []byte("<" + what + "/>")}
			}
			return Shown{Type: "text/plain", Body: []byte(what + "\n"), Stale: true, Age: 3 * time.Second}
		},
		Seen: func(n *fsm.Node) Seen {
			return Seen{Node: n, OK: n.Load >= 0, Status: "up", Why: "takes new sessions", Elected: 12, Read: 4096, Transferred: 512, Connected: 1}
		},
		Requests: func(fsm.JVMRoute, int, fsm.Path) int64 { return 3 },
		Propose:  f.propose,
	}
}

// open runs a server with the farm's page and gives the page's address.
func (f *farm) open(t *testing.T, change func(*Config)) string {
	t.Helper()
	return start(t, func(c *Config) {
		c.Manager = f.manager()
		if change != nil {
			change(c)
		}
	}) + managerPaths[0]
}

type reply struct {
	code   int
	header http.Header
	body   string
}

func get(t *testing.T, url string, header ...string) reply { return do(t, "GET", url, header...) }

func do(t *testing.T, method, url string, header ...string) reply {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		switch header[i] {
		case "":
		case "Host":
			r.Host = header[i+1]
		default:
			r.Header.Set(header[i], header[i+1])
		}
	}
	r.Close = true
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(b)}
}

var nonceOf = regexp.MustCompile(`\?nonce=([^&"]+)`)

// nonce is what a script finds in the page's links.
func nonce(t *testing.T, url string, header ...string) string {
	t.Helper()
	a := get(t, url, header...)
	m := nonceOf.FindStringSubmatch(a.body)
	if m == nil {
		t.Fatalf("no nonce in %d %s", a.code, a.body)
	}
	return m[1]
}

func TestManagerGolden(t *testing.T) {
	f := newFarm(t)
	f.must(t, fsm.Command{Op: fsm.OpDrain, Origin: fsm.FromOperator, Route: "app-1", Context: "/shop", Alias: "localhost", By: "ops", Reason: "kernel update"})
	f.must(t, fsm.Command{Op: fsm.OpHold, Origin: fsm.FromOperator, Route: "app-3", By: "ops"})
	m := newManager(&Server{}, *f.manager())
	m.nonce = "NONCE"
	for name, p := range map[string]page{
		"manager": m.model(f.state(), 0),
		"stale":   m.model(fsm.New(), 42*time.Second),
		"failed":  {Failed: "Command failed", Mess: `MEM: Can't read node with "app-9" JVMRoute`, Continue: m.link()},
	} {
		p.Product, p.Replica, p.Style = "quorate/0.1.0", "lb1", "/* style */"
		var b strings.Builder
		if err := m.page.Execute(&b, p); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name+".html")
		if *rewrite {
			if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if b.String() != string(want) {
			t.Errorf("%s differs (-rewrite):\n%s", file, b.String())
		}
	}
}

func TestManagerHeaders(t *testing.T) {
	url := newFarm(t).open(t, nil)
	a := get(t, url)
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(a.body)
	if style == nil {
		t.Fatal("no style")
	}
	hash := sha256.Sum256([]byte(style[1]))
	policy := a.header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(hash[:])+"'") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q does not let the page's own style in, or lets in more", policy)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
		"X-Frame-Options": "DENY", "Cache-Control": "no-store",
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, element := range shape(t, strings.ReplaceAll(a.body, "?nonce=", "?nonce=NONCE")) {
		switch name, attributes, _ := strings.Cut(element, " "); {
		case slices.Contains([]string{"script", "link", "img", "iframe", "form", "object", "base"}, name):
			t.Errorf("a strict page has no %s", name)
		case attributes != "" && !slices.Contains([]string{"lang", "charset", "name content", "class", "href"}, attributes):
			t.Errorf("unexpected attributes: %s", element)
		}
	}
	h := do(t, "HEAD", url)
	if h.code != 200 || h.body != "" || h.header.Get("Content-Length") != a.header.Get("Content-Length") {
		t.Errorf("HEAD: %d, length %s %q, GET has %s", h.code, h.header.Get("Content-Length"), h.body, a.header.Get("Content-Length"))
	}
	if other := get(t, strings.Replace(url, managerPaths[0], managerPaths[1], 1)); other.body != a.body {
		t.Error("the other spelling of the address shows another page")
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "CONFIG", "STATUS"} {
		if a := do(t, method, url); a.code != 405 || a.header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d, Allow %q", method, a.code, a.header.Get("Allow"))
		}
	}
	if a := get(t, start(t, nil)+managerPaths[0]); a.code != 404 {
		t.Errorf("switched off: %d", a.code)
	}
}

func TestManagerShowsInfoAndDump(t *testing.T) {
	url := newFarm(t).open(t, nil)
	n := "?nonce=" + nonce(t, url)
	for _, c := range []struct{ query, accept, kind, body, age string }{
		{"&Cmd=INFO&Range=ALL", "", "text/plain", "INFO\n", "3"},
		{"&cmd=dump", "text/html, */*", "text/plain", "DUMP\n", "3"},
		{"&Cmd=INFO&Range=NODE&JVMRoute=nobody", "text/xml", "text/xml", "<INFO/>", ""},
		{"&Cmd=DUMP", "application/json, text/xml;q=0.5", "text/xml", "<DUMP/>", ""},
	} {
		a := get(t, url+n+c.query, "Accept", c.accept)
		if a.code != 200 || a.header.Get("Content-Type") != c.kind || a.body != c.body || a.header.Get("Age") != c.age {
			t.Errorf("%s: %d %s %q, age %q", c.query, a.code, a.header.Get("Content-Type"), a.body, a.header.Get("Age"))
		}
	}
	off := newFarm(t).open(t, func(c *Config) { c.Manager.AllowCmd = false })
	if a := get(t, off+"?nonce="+nonce(t, off)+"&Cmd=INFO"); a.body != "INFO\n" {
		t.Errorf("INFO without allow_cmd: %q", a.body)
	}
}

func TestManagerRefresh(t *testing.T) {
	f := newFarm(t)
	url := f.open(t, nil)
	no := nonce(t, url)
	for query, want := range map[string]string{
		"": "", "&refresh=30": "30", "&Refresh=0": "10", "&refresh=-7": "10", "&refresh=soon": "10", "&refresh=": "10",
		"&Cmd=INFO&refresh=20":                               "20",
		"&Cmd=STOP-APP&Range=NODE&JVMRoute=app-3&refresh=20": "20; url=?nonce=" + no + "&refresh=20",
	} {
		if got := get(t, url+"?nonce="+no+query).header.Get("Refresh"); got != want {
			t.Errorf("%s: Refresh %q, want %q", query, got, want)
		}
	}
	if got := get(t, url+"?refresh=30").header.Get("Refresh"); got != "" {
		t.Errorf("without nonce: Refresh %q", got)
	}
	if n := len(f.commands()); n != 1 {
		t.Errorf("%d commands, want 1", n)
	}
}

// A parameter is obeyed only with the page's own nonce, from no other site and by GET.
func TestManagerDiscards(t *testing.T) {
	f := newFarm(t)
	url := f.open(t, nil)
	before := f.statuses()
	stop := "&Cmd=STOP-APP&Range=NODE&JVMRoute=app-1"
	no := nonce(t, url)
	plain := get(t, url).body
	for _, c := range []struct{ method, query, header, value string }{
		{"GET", "?x=1" + stop, "", ""},
		{"GET", "?nonce=" + stop, "", ""},
		{"GET", "?nonce=" + no[1:] + stop, "", ""},
		{"GET", "?nonce=" + strings.ToUpper(no) + "0" + stop, "", ""},
		{"GET", "?nonce=" + no + stop, "Sec-Fetch-Site", "cross-site"},
		{"GET", "?nonce=" + no + stop, "Sec-Fetch-Site", "same-site"},
		{"GET", "?nonce=wrong&Cmd=INFO", "", ""},
		{"HEAD", "?nonce=" + no + stop, "", ""},
	} {
		a := do(t, c.method, url+c.query, c.header, c.value)
		if a.code != 200 || c.method == "GET" && a.body != plain {
			t.Errorf("%s %s %s: %d, not the plain page", c.method, c.query, c.value, a.code)
		}
	}
	if after := f.statuses(); after != before || len(f.commands()) != 0 {
		t.Errorf("changed:\n%s", after)
	}

	open := f.open(t, func(c *Config) { c.Manager.CheckNonce = false })
	get(t, open+"?Cmd=STOP-APP&Range=NODE&JVMRoute=app-1", "Sec-Fetch-Site", "cross-site")
	if len(f.commands()) != 0 {
		t.Error("without check_nonce another site's link is obeyed")
	}
	get(t, open+"?Cmd=STOP-APP&Range=NODE&JVMRoute=app-1")
	if len(f.commands()) != 1 {
		t.Error("without check_nonce a script is not obeyed")
	}
}

// Without tokens the page is nobody's who comes by a name: it may be another site's, made
// to resolve to our address.
func TestManagerAskedByName(t *testing.T) {
	f := newFarm(t)
	url := f.open(t, nil)
	port := url[strings.LastIndex(url, ":"):]
	port = port[:strings.Index(port, "/")]
	stop := "?nonce=" + nonce(t, url) + "&Cmd=STOP-APP&Range=NODE&JVMRoute=app-1"
	for _, host := range []string{"evil.example" + port, "evil.example", "localhost.evil.example" + port} {
		if a := get(t, url+stop, "Host", host, "Sec-Fetch-Site", "same-origin"); a.code != 421 || strings.Contains(a.body, "nonce=") {
			t.Errorf("%s: %d", host, a.code)
		}
	}
	if len(f.commands()) != 0 {
		t.Errorf("obeyed: %v", f.commands())
	}
	for _, host := range []string{"localhost" + port, "127.0.0.1", "[::1]" + port, "10.0.0.1" + port} {
		if a := get(t, url, "Host", host); a.code != 200 {
			t.Errorf("%s: %d", host, a.code)
		}
	}
}

func TestManagerTokens(t *testing.T) {
	f := newFarm(t)
	url := f.open(t, func(c *Config) {
		for _, role := range []string{"view", "drain", "admin"} {
			c.Tokens = append(c.Tokens, Token{Name: "the-" + role, Role: role, Hash: sha256.Sum256([]byte("secret-" + role))})
		}
	})
	basic := func(role string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte("anyone:secret-"+role))
	}
	for _, auth := range []string{"", "Bearer wrong", basic("wrong"), "Basic ?"} {
		a := get(t, url, "Authorization", auth)
		if a.code != 401 || len(a.header.Values("WWW-Authenticate")) != 2 || strings.Contains(a.body, "nonce") {
			t.Errorf("%q: %d %q", auth, a.code, a.header.Values("WWW-Authenticate"))
		}
	}
	no := nonce(t, url, "Authorization", "Bearer secret-view")
	if basic := nonce(t, url, "Authorization", basic("view")); basic != no {
		t.Errorf("nonce %s by Basic, %s by Bearer", basic, no)
	}
	for _, c := range []struct {
		role, query string
		code        int
	}{
		{"view", "&Cmd=INFO", 200},
		{"view", "&Cmd=STOP-APP&Range=NODE&JVMRoute=app-1", 401},
		{"drain", "&Cmd=STOP-APP&Range=NODE&JVMRoute=app-1", 200},
		{"drain", "&Cmd=REMOVE-APP&Range=NODE&JVMRoute=app-3", 401},
		{"admin", "&Cmd=REMOVE-APP&Range=NODE&JVMRoute=app-3", 200},
	} {
		if a := get(t, url+"?nonce="+no+c.query, "Authorization", basic(c.role)); a.code != c.code {
			t.Errorf("%s %s: %d, want %d", c.role, c.query, a.code, c.code)
		}
	}
	log := f.commands()
	if len(log) != 2 || log[0].By != "the-drain" || log[0].Source != "manager:the-drain" || log[0].Origin != fsm.FromOperator ||
		log[0].Replica != "lb1" || log[0].Reason != "manager page" || log[1].Op != fsm.OpDrop || log[1].By != "the-admin" {
		t.Errorf("commands: %+v", log)
	}
}

func TestManagerWithoutLeader(t *testing.T) {
	f := newFarm(t)
	f.down = errors.New("no leader\r\nX: y")
	url := f.open(t, nil)
	a := get(t, url+"?nonce="+nonce(t, url)+"&Cmd=STOP-APP&Range=DOMAIN&Domain=blue")
	if a.code != 200 || a.header.Get("Type") != "MEM" || a.header.Get("Mess") != "MEM: no leader  X: y" || !strings.Contains(a.body, "Command failed") {
		t.Errorf("%d %v %s", a.code, a.header, a.body)
	}
}

// One page is made at a time; who waits for too long, or has gone, is told so.
func TestManagerTakesTurns(t *testing.T) {
	m := newManager(&Server{}, *newFarm(t).manager())
	m.turn <- struct{}{}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	m.list(gone, w)
	if w.Code != 503 || !strings.Contains(w.Body.String(), "others are being shown the page") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	<-m.turn
	w = httptest.NewRecorder()
	m.list(t.Context(), w)
	if w.Code != 200 || len(m.turn) != 0 {
		t.Errorf("%d, turn taken: %d", w.Code, len(m.turn))
	}
}
