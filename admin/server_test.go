package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a server on a free loopback port and gives its base URL.
func start(t *testing.T, change func(*Config)) string {
	t.Helper()
	return "http://" + run(t, change).Addr().String()
}

func run(t *testing.T, change func(*Config)) *Server {
	t.Helper()
	c := Config{
		Address:  "127.0.0.1:0",
		Allowed:  []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		NotReady: func() []string { return nil },
		Status:   func() Status { return Status{Replica: Self{Name: "lb1"}} },
		Workers:  func() Workers { return Workers{Index: 7, Workers: []Worker{}} },
		Metrics:  prometheus.NewRegistry(),
	}
	if change != nil {
		change(&c)
	}
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return s
}

func ask(t *testing.T, method, url, token string) (int, string) {
	t.Helper()
	var header []string
	if token != "" {
		header = []string{"Authorization", "Bearer " + token}
	}
	a := do(t, method, url, header...)
	return a.code, a.body
}

func TestEndpoints(t *testing.T) {
	url := start(t, nil)
	for _, c := range []struct {
		method, path string
		code         int
		body         string
	}{
		{"GET", "/health/live", 200, "ok\n"},
		{"HEAD", "/health/live", 200, ""},
		{"GET", "/health/ready", 200, "ok\n"},
		{"HEAD", "/health/ready", 200, ""},
		{"GET", "/api/v1/workers", 200, `{"index":7,"workers":[]}` + "\n"},
		{"GET", "/metrics", 200, ""},
		{"CONFIG", "/", 405, `{"detail":"CONFIG is not known here","error":"method not allowed","field":""}` + "\n"},
		{"GET", "/api/v1/nothing", 404, `{"detail":"/api/v1/nothing is not known here","error":"not found","field":""}` + "\n"},
	} {
		code, body := ask(t, c.method, url+c.path, "")
		if code != c.code || body != c.body {
			t.Errorf("%s %s: %d %q, want %d %q", c.method, c.path, code, body, c.code, c.body)
		}
	}
	_, body := ask(t, "GET", url+"/api/v1/status", "")
	var s Status
	if err := json.Unmarshal([]byte(body), &s); err != nil || s.Replica.Name != "lb1" {
		t.Errorf("status: %v %q", err, body)
	}
}

func TestNotReadySaysWhy(t *testing.T) {
	url := start(t, func(c *Config) { c.NotReady = func() []string { return []string{"cluster not formed"} } })
	code, body := ask(t, "GET", url+"/health/ready", "")
	if code != 503 || body != `{"reasons":["cluster not formed"]}`+"\n" {
		t.Errorf("%d %q", code, body)
	}
	if code, _ := ask(t, "GET", url+"/health/live", ""); code != 200 {
		t.Errorf("live while not ready: %d", code)
	}
}

func TestForeignNetworkIsRefused(t *testing.T) {
	url := start(t, func(c *Config) { c.Allowed = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })
	for _, path := range []string{"/health/live", "/api/v1/status", "/metrics"} {
		if code, body := ask(t, "GET", url+path, ""); code != 403 || !strings.Contains(body, "admin.allowed_cidrs") {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
}

func TestTokens(t *testing.T) {
	hash := sha256.Sum256([]byte("open sesame"))
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte("# ops\nops view "+hex.EncodeToString(hash[:])+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, err := ReadTokens(file)
	if err != nil {
		t.Fatal(err)
	}
	url := start(t, func(c *Config) { c.Tokens = tokens })
	if code, _ := ask(t, "GET", url+"/api/v1/status", ""); code != 401 {
		t.Errorf("without a token: %d", code)
	}
	if code, body := ask(t, "GET", url+"/api/v1/status", "wrong"); code != 401 || !strings.Contains(body, "role view") {
		t.Errorf("wrong token: %d %q", code, body)
	}
	if code, _ := ask(t, "GET", url+"/api/v1/status", "open sesame"); code != 200 {
		t.Errorf("right token: %d", code)
	}
	if code, _ := ask(t, "GET", url+"/health/ready", ""); code != 200 {
		t.Errorf("health needs no token: %d", code)
	}
}

func TestSetTokens(t *testing.T) {
	token := func(text string) Token { return Token{Name: text, Role: "view", Hash: sha256.Sum256([]byte(text))} }
	s := run(t, func(c *Config) { c.Tokens = []Token{token("old")} })
	if err := s.SetTokens(nil); err == nil {
		t.Error("tokens ended while running")
	}
	if err := s.SetTokens([]Token{token("new")}); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{"old": 401, "new": 200, "": 401} {
		if code, _ := ask(t, "GET", "http://"+s.Addr().String()+"/api/v1/status", text); code != want {
			t.Errorf("token %q: %d, want %d", text, code, want)
		}
	}
	if err := run(t, nil).SetTokens([]Token{token("new")}); err == nil {
		t.Error("tokens begun while running")
	}
}

func TestReadTokensNamesTheLine(t *testing.T) {
	for content, want := range map[string]string{
		"a view":       ":1: a line is NAME ROLE HASH",
		"\na boss 00":  `:2: role "boss": must be view, drain or admin`,
		"a view 00":    ":1: hash: must be 64 hex digits",
		"a view zz00":  ":1: hash: must be 64 hex digits",
		"# none yet\n": ": no token in it",
	} {
		file := filepath.Join(t.TempDir(), "tokens")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadTokens(file); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", content, err, want)
		}
	}
}

func TestFormAsksForTheHeader(t *testing.T) {
	formed := 0
	url := start(t, func(c *Config) {
		c.Form = func(context.Context) (string, error) {
			if formed++; formed > 1 {
				return "", errors.New("belongs to a cluster already")
			}
			return "3f7d19aa", nil
		}
	})
	post := func(header string) (int, string) {
		r, err := http.NewRequest("POST", url+"/api/v1/init", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Quorate-Request", header)
		r.Close = true
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	if code, _ := post(""); code != 403 || formed != 0 {
		t.Errorf("without the header: %d, formed %d times", code, formed)
	}
	if code, body := post("1"); code != 200 || body != `{"cluster":"3f7d19aa"}`+"\n" {
		t.Errorf("%d %q", code, body)
	}
	if code, body := post("1"); code != 409 || !strings.Contains(body, "already") {
		t.Errorf("again: %d %q", code, body)
	}
}
