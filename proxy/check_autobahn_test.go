//go:build check

package proxy

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Autobahn's fuzzing client finds the same echo server behind quorate as it does
// without: every frame, and every close, in both directions.
func TestCheckAutobahn(t *testing.T) {
	wstest, err := exec.LookPath("wstest")
	if err != nil {
		t.Skip("no wstest: pip install autobahntestsuite, which needs Python 2.7")
	}
	dir := t.TempDir()
	start := func(args ...string) *exec.Cmd {
		c := exec.CommandContext(t.Context(), wstest, args...)
		c.Dir = dir
		return c
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	echo := start("-m", "echoserver", "-w", "ws://"+addr)
	if err := echo.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		echo.Process.Kill()
		echo.Wait()
	})
	eventually(t, "the echo server listens", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	r := run(t, func(c *Config) {
		c.Upstream.Upgrade.Protocols = []string{"websocket"}
		c.Upstream.PreserveHost = false // the echo server wants its own port
	})
	r.register("w1", &worker{addr: addr})

	conf := fmt.Sprintf(`{"outdir": "reports", "cases": ["*"], "exclude-cases": ["12.*", "13.*"], "exclude-agent-cases": {},
		"servers": [{"agent": "straight", "url": "ws://%s"}, {"agent": "quorate", "url": "ws://localhost:%d"}]}`, addr, r.listeners[0].Addr().(*net.TCPAddr).Port)
	if err := os.WriteFile(filepath.Join(dir, "spec.json"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if out, err := start("-m", "fuzzingclient", "-s", "spec.json").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(dir, "reports", "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	type result struct{ Behavior, BehaviorClose string }
	var all map[string]map[string]result
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	for name, want := range all["straight"] {
		if got := all["quorate"][name]; got != want {
			t.Errorf("case %s: %v, without quorate %v", name, got, want)
		}
	}
	t.Logf("%d cases in %s", len(all["quorate"]), time.Since(began))
	if len(all["quorate"]) < 200 {
		t.Errorf("%d cases ran", len(all["quorate"]))
	}
}
