package raftnode

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/fsm"
)

// testCluster is real replicas over real TLS on loopback. Gossip is a map: who runs,
// shows.
type testCluster struct {
	t      testing.TB
	secret Secret
	dir    string
	change func(*Config) // of every replica

	mu       sync.Mutex
	replicas map[string]*testReplica // by name; those that run
}

type testReplica struct {
	*Replica
	name string
	err  chan error // Run's
	stop context.CancelFunc
	logs *logLines

	mu      sync.Mutex
	entries []fsm.Entry
	results []fsm.Result
}

func newTestCluster(t testing.TB, change func(*Config)) *testCluster {
	c := &testCluster{t: t, secret: NewSecret(), dir: t.TempDir(), change: change, replicas: map[string]*testReplica{}}
	t.Cleanup(func() {
		for _, r := range c.all() {
			c.stop(r)
		}
	})
	return c
}

func (c *testCluster) all() []*testReplica {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*testReplica
	for _, r := range c.replicas {
		list = append(list, r)
	}
	return list
}

func (c *testCluster) hints(of string) []Hint {
	var list []Hint
	for _, r := range c.all() {
		if r.name != of {
			list = append(list, Hint{ID: r.ID(), Name: r.c.Name, Address: r.Address(), ClusterID: r.ClusterID(), Ready: true})
		}
	}
	return list
}

func (c *testCluster) open(name string, change ...func(*Config)) *testReplica {
	c.t.Helper()
	r := &testReplica{name: name, err: make(chan error, 1), logs: newLogLines(c.t, name)}
	config := Config{
		Dir:             filepath.Join(c.dir, name),
		Name:            name,
		Version:         "1.0.0",
		Listen:          "127.0.0.1:0",
		Secrets:         []Secret{c.secret},
		Join:            []string{"seed:7301"},
		BootstrapExpect: 3,
		Hints:           func() []Hint { return c.hints(name) },
		OnApply: func(_ Applied, e fsm.Entry, res []fsm.Result) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.entries, r.results = append(r.entries, e), append(r.results, res...)
		},
		Log: slog.New(r.logs).With("replica", name),
	}
	if c.change != nil {
		c.change(&config)
	}
	for _, f := range change {
		f(&config)
	}
	var err error
	if r.Replica, err = Open(config); err != nil {
		c.t.Fatal(err)
	}
	return r
}

func (c *testCluster) run(r *testReplica) {
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	c.mu.Lock()
	c.replicas[r.name] = r
	c.mu.Unlock()
	go func() { r.err <- r.Run(ctx) }()
}

func (c *testCluster) start(name string, change ...func(*Config)) *testReplica {
	c.t.Helper()
	r := c.open(name, change...)
	c.run(r)
	return r
}

// gone takes r out of gossip and waits for the end of Run.
func (c *testCluster) gone(r *testReplica) error {
	c.t.Helper()
	c.mu.Lock()
	if c.replicas[r.name] == r {
		delete(c.replicas, r.name)
	}
	c.mu.Unlock()
	select {
	case err := <-r.err:
		return err
	case <-time.After(20 * time.Second):
		stacks := make([]byte, 1<<20)
		c.t.Errorf("%s does not end\n%s", r.name, stacks[:runtime.Stack(stacks, true)])
		return nil
	}
}

// stop ends r in order.
func (c *testCluster) stop(r *testReplica) {
	c.t.Helper()
	r.stop()
	if err := c.gone(r); err != nil {
		c.t.Errorf("%s: %v", r.name, err)
	}
}

// kill ends r without a word.
func (c *testCluster) kill(r *testReplica) {
	c.t.Helper()
	r.fail(errKilled)
	r.link.Close()
	if err := c.gone(r); !errors.Is(err, errKilled) {
		c.t.Errorf("%s: %v", r.name, err)
	}
}

// trio starts three replicas and waits until they are a cluster.
func (c *testCluster) trio() []*testReplica {
	c.t.Helper()
	list := []*testReplica{c.start("lb1"), c.start("lb2"), c.start("lb3")}
	c.ready(list...)
	return list
}

// ready waits until all know a leader and the cluster's id.
func (c *testCluster) ready(list ...*testReplica) {
	c.t.Helper()
	for _, r := range list {
		soon(c.t, r.name+" knows its cluster and leader", func() bool {
			return r.ClusterID() != "" && r.Status().Leader != ""
		})
	}
}

// leader waits for one that serves, and returns it with the others.
func (c *testCluster) leader(list []*testReplica) (leader *testReplica, others []*testReplica) {
	c.t.Helper()
	soon(c.t, "a leader that serves", func() bool {
		leader, others = nil, nil
		for _, r := range list {
			if r.leading.Load() != nil {
				leader = r
			} else {
				others = append(others, r)
			}
		}
		return leader != nil && len(others) == len(list)-1
	})
	for _, r := range others {
		soon(c.t, r.name+" follows it", func() bool { return r.leader.view().id == leader.ID() })
	}
	return leader, others
}

// register has worker w registered, with / enabled and a load.
func register(t testing.TB, r *testReplica, w string) {
	t.Helper()
	must(t, r, config(w))
	must(t, r, fsm.Command{Op: fsm.OpEnable, Route: fsm.JVMRoute(w), Aliases: []string{"localhost"}, Contexts: []fsm.Path{"/"}})
	must(t, r, status(w, 50))
}

var workerPort = func() func(string) int {
	var mu sync.Mutex
	ports := map[string]int{}
	return func(w string) int {
		mu.Lock()
		defer mu.Unlock()
		if ports[w] == 0 {
			ports[w] = 9000 + len(ports)
		}
		return ports[w]
	}
}()

func config(w string) fsm.Command {
	return fsm.Command{Op: fsm.OpConfig, Origin: fsm.FromWorker, Source: "127.0.0.1", Route: fsm.JVMRoute(w), Config: &fsm.NodeConfig{
		Balancer: "mycluster", Type: "http", Host: "127.0.0.1", Port: workerPort(w),
		Ping: 10_000, TTL: 60_000, Smax: -1, Sticky: true, Cookie: "JSESSIONID", PathParam: "jsessionid", MaxAttempts: 1,
	}}
}

func status(w string, load int) fsm.Command {
	return fsm.Command{Op: fsm.OpStatus, Origin: fsm.FromWorker, Source: "127.0.0.1", Route: fsm.JVMRoute(w), Load: load}
}

// must proposes cmd and expects it to be taken: on a machine that does much else
// leaders come and go, so it asks again with the same id, as a worker would.
func must(t testing.TB, r *testReplica, cmd fsm.Command) (fsm.Result, uint64) {
	t.Helper()
	rand.Read(cmd.ID[:])
	for deadline := time.Now().Add(20 * time.Second); ; {
		res, index, err := r.Propose(context.Background(), cmd)
		switch {
		case err == nil && res.Code == fsm.OK:
			return res, index
		case err == nil:
			t.Fatalf("%s: %s %s: MEM: %s", r.name, cmd.Op, cmd.Route, res.Mess)
		case time.Now().After(deadline):
			t.Fatalf("%s: %v", r.name, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// applied counts the entries r has applied since its start, of a kind.
func (r *testReplica) applied(op fsm.Op) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, e := range r.entries {
		for _, c := range e.Commands {
			if c.Op == op {
				n++
				break
			}
		}
	}
	return n
}

// loadOf is what r's state says of a worker; -2 if nothing.
func loadOf(r *testReplica, w string) int {
	if n := r.State().State.Node(fsm.JVMRoute(w)); n != nil && n.Removed == 0 {
		return n.Load
	}
	return -2
}

// logLines keeps what was logged at INFO and above, and prints all with -v QUORATE_LOG=1.
type logLines struct {
	t     testing.TB
	print slog.Handler
	*logSink
}

type logSink struct {
	mu    sync.Mutex
	lines []string
}

func newLogLines(t testing.TB, name string) *logLines {
	l := &logLines{t: t, logSink: &logSink{}}
	if os.Getenv("QUORATE_LOG") != "" {
		l.print = slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})
	}
	return l
}

func (l *logLines) Enabled(_ context.Context, level slog.Level) bool {
	return l.print != nil || level >= slog.LevelInfo
}

func (l *logLines) Handle(ctx context.Context, r slog.Record) error {
	if l.print != nil {
		_ = l.print.Handle(ctx, r)
	}
	if r.Level < slog.LevelInfo {
		return nil
	}
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	return nil
}

func (l *logLines) WithAttrs(a []slog.Attr) slog.Handler {
	next := *l
	if l.print != nil {
		next.print = l.print.WithAttrs(a)
	}
	return &next
}

func (l *logLines) WithGroup(string) slog.Handler { return l }

// all is what was logged so far.
func (l *logLines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.lines...)
}
