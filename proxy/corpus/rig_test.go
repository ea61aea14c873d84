package corpus

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate/fsm"
	"github.com/quorate/quorate/proxy"
	"github.com/quorate/quorate/proxy/route"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.parallel").Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		flag.Set("test.parallel", "32") // conversations wait more than they work
	}
	goleak.VerifyTestMain(m)
}

// engine skips a test where it cannot be run.
func engine(t testing.TB) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("every client has a loopback address of its own, which only Linux gives without asking")
	}
}

// addresses counts the clients of this process. Each gets one of 155³ addresses
// of the same length.
var addresses atomic.Uint32

func clientAddress() string {
	n := addresses.Add(1)
	return fmt.Sprintf("127.%d.%d.%d", 100+n/(155*155)%155, 100+n/155%155, 100+n%155)
}

// rig is a Proxy that runs, with a worker for each context.
type rig struct {
	addr    string
	workers []*worker
	stop    func() // ends Run, then the workers; reports what belonged to nobody
}

// contexts are those of the paths, each on a worker of its own.
var contexts = []string{"/", "/app", "/app/sub", "/apple", "/café"}

// start runs a Proxy as a case wants it.
func start(t testing.TB, words map[string]string, contexts ...string) *rig {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var c proxy.Config
	c.Name = "lb1"
	c.Listeners = []proxy.Listener{{Listener: l, Protocols: []string{"http/1.1", "h2"}}}
	c.Timeouts = proxy.Timeouts{Header: patience, Body: patience, Write: patience, Idle: patience}
	c.Limits = proxy.Limits{Connections: 20_000, HeaderBytes: 32 << 10, Headers: 100, RequestLineBytes: 8 << 10}
	c.MaxStreams = 100
	c.DisallowedMethods = []string{"TRACE"}
	c.Upstream = proxy.Upstream{
		Retry:                  proxy.Retry{Budget: 0.2, WithQuery: true},
		PreserveHost:           true,
		MaxResponseHeaderBytes: 64 << 10,
		XForwarded:             true,
		Health:                 proxy.Health{Probe: "none"},
		Upgrade:                proxy.Upgrade{Protocols: []string{"websocket"}},
	}
	for k, v := range words {
		switch k + "=" + v {
		case "trusted=":
			c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		case "encoded_slash=keep":
			c.Path.EncodedSlash = route.SlashKeep
		case "encoded_slash=decode":
			c.Path.EncodedSlash = route.SlashDecode
		case "dot_segments=decode":
			c.Path.ResolveDots = true
		case "merge_slashes=true":
			c.Path.MergeSlashes = true
		case "later=", "alone=", "once=", "raw=", "flood=":
		default:
			if k != "upgrade" {
				t.Fatalf("%s=%s means nothing", k, v)
			}
			c.Upstream.Upgrade.Protocols = strings.Split(v, ",")
		}
	}
	p, err := proxy.New(c)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{addr: l.Addr().String()}
	var commands []fsm.Command
	for i, path := range contexts {
		w := startWorker(t, path)
		r.workers = append(r.workers, w)
		host, port, _ := net.SplitHostPort(w.addr)
		n, _ := strconv.Atoi(port)
		name := fsm.JVMRoute("w" + strconv.Itoa(i+1))
		commands = append(commands,
			fsm.Command{Op: fsm.OpConfig, Route: name, Config: &fsm.NodeConfig{Type: "http", Host: host, Port: n, Ping: 10_000, TTL: 60_000, Smax: -1,
				Sticky: true, Cookie: "JSESSIONID", PathParam: "jsessionid", MaxAttempts: 1}},
			fsm.Command{Op: fsm.OpEnable, Route: name, Aliases: []string{"localhost"}, Contexts: []fsm.Path{fsm.Path(path)}},
			fsm.Command{Op: fsm.OpStatus, Route: name, Load: 100})
	}
	for i := range commands {
		commands[i].Origin = fsm.FromWorker
	}
	state, results, err := fsm.Apply(fsm.New(), fsm.Entry{Schema: fsm.SchemaVersion, Time: 1000, Commands: commands})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range results {
		if x.Code != fsm.OK {
			t.Fatalf("apply: %s %s", x.Code, x.Mess)
		}
	}
	p.Apply(1, state, results)

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	var once sync.Once
	r.stop = func() {
		t.Helper()
		once.Do(func() {
			cancel()
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("Run: %v", err)
				}
			case <-time.After(patience):
				t.Error("Run does not end")
			}
			for _, w := range r.workers {
				for _, s := range w.stop() {
					t.Errorf("the worker of %s: %s", w.name, s)
				}
			}
		})
	}
	t.Cleanup(r.stop)
	return r
}
