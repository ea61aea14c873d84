package mcmp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate/fsm"
)

// register brings a worker up with one context and a load.
func (r *rig) register(t testing.TB, route string, port int) {
	t.Helper()
	for _, m := range [][3]string{
		{"CONFIG", "/", fmt.Sprintf("JVMRoute=%s&Host=127.0.0.1&Port=%d&Type=http", route, port)},
		{"ENABLE-APP", "/", "JVMRoute=" + route + "&Alias=default-host%2Clocalhost&Context=%2Fshop"},
		{"STATUS", "/", "JVMRoute=" + route + "&Load=50"},
	} {
		if a := r.ask(t, m[0], m[1], m[2]); a.status != 200 {
			t.Fatalf("%s: %s", m[0], a)
		}
	}
}

// since lists what was proposed from the n-th command on.
func (r *rig) since(n int) (ops []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.proposed[n:] {
		ops = append(ops, c.Op.String())
	}
	return ops
}

func (r *rig) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.proposed)
}

// TestCommand: what a command carries beside the message.
func TestCommand(t *testing.T) {
	r := newRig(t, nil)
	r.register(t, "w1", 8080)
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := map[fsm.CommandID]bool{{}: true}
	for _, c := range r.proposed {
		if c.Origin != fsm.FromWorker || c.Replica != "lb1" || c.Source != "127.0.0.1" || c.Route != "w1" || ids[c.ID] {
			t.Errorf("%+v", c)
		}
		ids[c.ID] = true
	}
}

// TestInfo: text and XML, the age of a state without a quorum.
func TestInfo(t *testing.T) {
	r := newRig(t, func(_ *rig, c *Config) {
		c.Counters = func(fsm.JVMRoute) Counters { return Counters{12, 4096, 512, 1} }
	})
	r.ask(t, "CONFIG", "/", "JVMRoute=node1&Host=10.0.0.11&Port=8009&Domain=blue&flushpackets=auto&Timeout=7")
	r.ask(t, "ENABLE-APP", "/", "JVMRoute=node1&Alias=default-host,LocalHost&Context=/shop,/a%26b")
	r.ask(t, "STOP-APP", "/", "JVMRoute=node1&Alias=default-host&Context=/a%26b")
	r.ask(t, "STATUS", "/", "JVMRoute=node1&Load=87")
	for _, c := range []struct{ method, accept, want string }{
		{"INFO", "", "Node: [0],Name: node1,Balancer: mycluster,LBGroup: blue,Host: 10.0.0.11,Port: 8009,Type: ajp,Flushpackets: Auto,Flushwait: 10,Ping: 10,Smax: -1,Ttl: 60,Elected: 12,Read: 4096,Transfered: 512,Connected: 1,Load: 87\n" +
			"Vhost: [0:1:0], Alias: default-host\nVhost: [0:1:1], Alias: LocalHost\n" +
			"Context: [0:1:0], Context: /a&b, Status: STOPPED\nContext: [0:1:1], Context: /shop, Status: ENABLED\n"},
		{"INFO", "text/html, text/xml;q=0.5", "<?xml version=\"1.0\" standalone=\"yes\" ?>\n" +
			`<Info><Nodes><Node id="0" name="node1"><Balancer>mycluster</Balancer><LBGroup>blue</LBGroup><Host>10.0.0.11</Host><Port>8009</Port><Type>ajp</Type><Flushpackets>Auto</Flushpackets><Flushwait>10</Flushwait><Ping>10</Ping><Smax>-1</Smax><Ttl>60</Ttl><Elected>12</Elected><Read>4096</Read><Transfered>512</Transfered><Connected>1</Connected><Load>87</Load></Node></Nodes>` +
			`<Vhosts><Vhost id="1" alias="default-host"><Node id="0"/></Vhost><Vhost id="1" alias="LocalHost"><Node id="0"/></Vhost></Vhosts>` +
			`<Contexts><Context id="0"><Status id="3">STOPPED</Status><Context>/a&amp;b</Context><Node id="0"/><Vhost id="1"/></Context><Context id="1"><Status id="1">ENABLED</Status><Context>/shop</Context><Node id="0"/><Vhost id="1"/></Context></Contexts></Info>`},
		{"DUMP", "", "balancer: [0] Name: mycluster Sticky: 1 [JSESSIONID]/[jsessionid] remove: 0 force: 1 Timeout: 0 maxAttempts: 1\n" +
			"node: [0:0],Balancer: mycluster,JVMRoute: node1,LBGroup: [blue],Host: 10.0.0.11,Port: 8009,Type: ajp,flushpackets: 2,flushwait: 10,ping: 10,smax: -1,ttl: 60,timeout: 7\n" +
			"host: 0 [default-host] vhost: 1 node: 0\nhost: 1 [LocalHost] vhost: 1 node: 0\n" +
			"context: 0 [/a&b] vhost: 1 node: 0 status: 3\ncontext: 1 [/shop] vhost: 1 node: 0 status: 1\n"},
		{"DUMP", "text/xml", "<?xml version=\"1.0\" standalone=\"yes\" ?>\n" +
			`<Dump><Balancers><Balancer id="0" name="mycluster"><StickySession><Enabled>1</Enabled><Cookie>JSESSIONID</Cookie><Path>jsessionid</Path><Remove>0</Remove><Force>1</Force></StickySession><Timeout>0</Timeout><MaxAttempts>1</MaxAttempts></Balancer></Balancers>` +
			`<Nodes><Node id="0"><Balancer>mycluster</Balancer><JVMRoute>node1</JVMRoute><LBGroup>blue</LBGroup><Host>10.0.0.11</Host><Port>8009</Port><Type>ajp</Type><FlushPackets>2</FlushPackets><FlushWait>10</FlushWait><Ping>10</Ping><Smax>-1</Smax><Ttl>60</Ttl><Timeout>7</Timeout></Node></Nodes>` +
			`<Hosts><Host id="0" alias="default-host"><Vhost>1</Vhost><Node>0</Node></Host><Host id="1" alias="LocalHost"><Vhost>1</Vhost><Node>0</Node></Host></Hosts>` +
			`<Contexts><Context id="0" path="/a&amp;b"><Vhost>1</Vhost><Node>0</Node><Status id="3">STOPPED</Status></Context><Context id="1" path="/shop"><Vhost>1</Vhost><Node>0</Node><Status id="1">ENABLED</Status></Context></Contexts></Dump>`},
		{"VERSION", "text/xml", "<?xml version=\"1.0\" standalone=\"yes\" ?>\n<version><release>quorate/1.2.3</release><protocol>0.2.1</protocol></version>\n"},
	} {
		l := r.dial(t)
		l.say(c.method + " / HTTP/1.1\r\nHost: h\r\nAccept: " + c.accept + "\r\n\r\n")
		a := l.hear(c.method)
		l.Close()
		kind := "text/plain"
		if strings.Contains(c.accept, "xml") {
			kind = "text/xml"
		}
		if a.body != c.want || a.header.Get("Content-Type") != kind || a.header.Values("Age") != nil {
			t.Errorf("%s (%s), %v:\n got %s\nwant %s", c.method, c.accept, a.header, a.body, c.want)
		}
	}
	r.mu.Lock()
	r.stale = 3500 * time.Millisecond
	r.mu.Unlock()
	if a := r.ask(t, "INFO", "/", ""); a.status != 200 || a.header.Get("Age") != "3" || a.body == "" {
		t.Errorf("without a quorum: %s, Age %q", a, a.header.Get("Age"))
	}
}

// TestStatus: what is committed, what is checked, what is answered.
func TestStatus(t *testing.T) {
	checks, down := atomic.Int32{}, atomic.Bool{}
	r := newRig(t, func(r *rig, _ *Config) {
		r.check = func(ctx context.Context, _ fsm.JVMRoute) error {
			checks.Add(1)
			if d, ok := ctx.Deadline(); !ok || time.Until(d) > checkTime {
				return errors.New("no deadline")
			}
			if down.Load() {
				return errors.New("refused")
			}
			return nil
		}
	})
	r.register(t, "w1", 8080)
	reply := func(state string) string {
		return fmt.Sprintf("Type=STATUS-RSP&JVMRoute=w1&State=%s&id=%d\n", state, started.Unix())
	}
	for _, c := range []struct {
		body  string
		down  bool
		state string
		ops   []string // proposed
		check int32
		load  int // afterwards
	}{
		{"JVMRoute=w1&Load=50", false, "OK", []string{"STATUS"}, 1, 50}, // whether that is news is for Propose to see
		{"JVMRoute=w1&Load=60", false, "OK", []string{"STATUS"}, 1, 60},
		{"JVMRoute=w1&Load=70", true, "NOTOK", []string{"STATUS"}, 1, 70}, // the load counts all the same
		{"JVMRoute=w1&Load=70", true, "NOTOK", []string{"STATUS"}, 1, 70},
		{"JVMRoute=w1&Load=-1", true, "OK", []string{"STATUS"}, 0, -1},
		{"JVMRoute=w1", true, "NOTOK", nil, 1, -1},
		{"JVMRoute=w1", false, "OK", nil, 1, -1},
		{"JVMRoute=w1&Load=0", false, "OK", []string{"STATUS"}, 1, 0},
	} {
		n := r.count()
		checks.Store(0)
		down.Store(c.down)
		a := r.ask(t, "STATUS", "/", c.body)
		if a.status != 200 || a.body != reply(c.state) || !slices.Equal(r.since(n), c.ops) || checks.Load() != c.check || r.State().Node("w1").Load != c.load {
			t.Errorf("%s: %s %q, proposed %v, %d checks, load %d; want %+v", c.body, a, a.body, r.since(n), checks.Load(), r.State().Node("w1").Load, c)
		}
	}
}

// TestResync: a worker that took an old INFO for the truth is told MEM once, by a
// STATUS with or without a load.
func TestResync(t *testing.T) {
	for _, body := range []string{"JVMRoute=w1&Load=50", "JVMRoute=w1"} {
		r := newRig(t, nil)
		r.register(t, "w1", 8080)
		r.ask(t, "REMOVE-APP", "/*", "JVMRoute=w1")
		r.ask(t, "CONFIG", "/", "JVMRoute=w1&Host=127.0.0.1&Port=8080&Type=http")
		if a := r.ask(t, "STATUS", "/", body); a.kind() != typeMem {
			t.Errorf("%s, first: %s", body, a)
		}
		if a := r.ask(t, "STATUS", "/", body); a.status != 200 {
			t.Errorf("%s, second: %s", body, a)
		}
	}
}

// TestSlowCheck: a check takes no longer than the node's ping.
func TestSlowCheck(t *testing.T) {
	r := newRig(t, func(r *rig, _ *Config) {
		r.check = func(ctx context.Context, _ fsm.JVMRoute) error {
			<-ctx.Done()
			return ctx.Err()
		}
	})
	r.ask(t, "CONFIG", "/", "JVMRoute=w1&Port=1&ping=50ms")
	if a := r.ask(t, "STATUS", "/", "JVMRoute=w1&Load=5"); a.status != 200 || !strings.Contains(a.body, "State=NOTOK") {
		t.Errorf("%s %q", a, a.body)
	}
}

// TestPing: this replica, a node, an address.
func TestPing(t *testing.T) {
	r := newRig(t, nil)
	r.register(t, "w1", 8080)
	r.register(t, "w2", 1)
	for body, want := range map[string]string{
		"":                                      "&State=OK",
		"JVMRoute=w1":                           "&JVMRoute=w1&State=OK",
		"JVMRoute=w1&Host=x":                    "&JVMRoute=w1&State=OK",
		"Scheme=ajp&Host=10.0.0.9&Port=8009":    "&State=OK",
		"Scheme=ajp&Host=10.0.0.9&Port=1":       "&State=NOTOK",
		"Scheme=http&Host=127.0.0.1&Port=8080":  "&State=OK",
		"Scheme=wss&Host=127.0.0.1&Port=8080":   "&State=OK",
		"Scheme=http&Host=127.0.0.1&Port=1":     "&State=NOTOK",
		"Scheme=http&Host=127.0.0.1&Port=22":    "&State=NOTOK", // nobody's: not asked
		"Scheme=https&Host=10.0.0.9&Port=50000": "&State=NOTOK",
	} {
		if a := r.ask(t, "PING", "/", body); a.body != fmt.Sprintf("Type=PING-RSP%s&id=%d\n", want, started.Unix()) {
			t.Errorf("%s: %s %q", body, a, a.body)
		}
	}
	if a := r.ask(t, "PING", "/", "JVMRoute=nope"); a.String() != `500 MEM: Can't read node with "nope" JVMRoute` {
		t.Error(a)
	}
}

// TestStopRequests: STOP-APP of a context says how many requests are in flight,
// that of a node nothing.
func TestStopRequests(t *testing.T) {
	inUse := atomic.Int32{}
	r := newRig(t, func(r *rig, _ *Config) {
		r.inUse = func(route fsm.JVMRoute, p fsm.Path) int {
			if route != "w1" || p != "/shop" {
				return 99
			}
			return int(inUse.Load())
		}
	})
	r.register(t, "w1", 8080)
	for _, n := range []int32{0, 3} {
		inUse.Store(n)
		a := r.ask(t, "STOP-APP", "/", "JVMRoute=w1&Alias=default-host%2Clocalhost&Context=%2Fshop,/other")
		if want := fmt.Sprintf("Type=STOP-APP-RSP&JvmRoute=w1&Alias=default-host,localhost&Context=/shop,/other&Requests=%d\n", n); a.body != want {
			t.Errorf("%d in flight: %s %q", n, a, a.body)
		}
	}
	if a := r.ask(t, "STOP-APP", "/*", "JVMRoute=w1"); a.status != 200 || a.body != "" {
		t.Errorf("whole node: %s %q", a, a.body)
	}
}

// TestHold: above 0 the answer waits up to 250 ms for the last request to end.
func TestHold(t *testing.T) {
	for _, c := range []struct {
		ends  time.Duration // of the last request
		takes time.Duration
		want  int
	}{
		{0, 0, 0},
		{30 * time.Millisecond, 2 * holdStep, 0},
		{time.Second, holdTime, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			s := &Server{c: Config{InFlight: func(context.Context, fsm.JVMRoute, fsm.Path) int {
				if time.Since(begin) >= c.ends {
					return 0
				}
				return 1
			}}}
			if got := s.inFlight(context.Background(), "w1", "/"); got != c.want || time.Since(begin) != c.takes {
				t.Errorf("%+v: %d after %v", c, got, time.Since(begin))
			}
		})
	}
}

// TestConflict: a route at another address, an address with another route; who is
// gone gives way.
func TestConflict(t *testing.T) {
	gone := ""
	r := newRig(t, func(r *rig, _ *Config) { r.gone = func(route fsm.JVMRoute) bool { return string(route) == gone } })
	r.register(t, "w1", 8080)
	moved, taken := "JVMRoute=w1&Host=127.0.0.1&Port=8081&Type=http", "JVMRoute=w2&Host=127.0.0.1&Port=8081&Type=http"
	if a := r.ask(t, "CONFIG", "/", moved); a.String() != `500 MEM: Node with "w1" JVMRoute already exists` {
		t.Error(a)
	}
	gone = "w1"
	if a := r.ask(t, "CONFIG", "/", moved); a.status != 200 || len(r.State().Node("w1").VHosts) != 1 {
		t.Errorf("%s, %+v", a, r.State().Node("w1"))
	}
	gone = ""
	if a := r.ask(t, "CONFIG", "/", taken); a.String() != "500 MEM: Another for the same worker already exist" {
		t.Error(a)
	}
	gone = "w1"
	if a := r.ask(t, "CONFIG", "/", taken); a.status != 200 || live(r.State(), "w1") != nil || live(r.State(), "w2") == nil {
		t.Error(a)
	}
}

// TestNoLeader: what can be answered without one (spec/mcmp.md §0.8).
func TestNoLeader(t *testing.T) {
	r := newRig(t, nil)
	r.register(t, "w1", 8080)
	r.propose = func(context.Context, fsm.Command) (fsm.Result, error) {
		return fsm.Result{}, fmt.Errorf("propose: %w", ErrNoLeader)
	}
	for _, c := range []struct {
		method, target, body, want string
		override                   string
	}{
		{"STATUS", "/", "JVMRoute=w1&Load=7", "200", "STATUS"},
		{"STATUS", "/", "JVMRoute=w1&Load=-1", "200", "STATUS"},
		{"STATUS", "/", "JVMRoute=w1", "200", ""},
		{"STATUS", "/", "JVMRoute=nope&Load=7", "500 MEM: No leader", ""},
		{"CONFIG", "/", "JVMRoute=w1&Host=127.0.0.1&Port=8080&Type=http", "200", ""},
		{"CONFIG", "/", "JVMRoute=w1&Host=127.0.0.1&Port=8080&Type=http&ping=3", "500 MEM: No leader", ""},
		{"CONFIG", "/", "JVMRoute=w2", "500 MEM: No leader", ""},
		{"ENABLE-APP", "/", "JVMRoute=w1&Alias=localhost&Context=/shop", "500 MEM: No leader", ""},
		{"DISABLE-APP", "/", "JVMRoute=w1&Alias=localhost&Context=/shop", "500 MEM: No leader", "DISABLE"},
		{"STOP-APP", "/", "JVMRoute=w1&Alias=localhost&Context=/shop", "500 MEM: No leader", "STOP"},
		{"REMOVE-APP", "/*", "JVMRoute=w1", "500 MEM: No leader", "REMOVE"},
		{"REMOVE-APP", "/*", "JVMRoute=nope", "500 MEM: No leader", ""},
		{"STOP-APP", "/*", "JVMRoute=nope", "500 MEM: No leader", ""},
		{"STOP-APP", "/", "JVMRoute=w1", "500 SYNTAX: No Context and Alias in APP command", ""},
		{"INFO", "/", "", "200", ""},
		{"PING", "/", "JVMRoute=w1", "200", ""},
	} {
		r.mu.Lock()
		r.overrides = nil
		r.mu.Unlock()
		a := r.ask(t, c.method, c.target, c.body)
		r.mu.Lock()
		override := ""
		for _, o := range r.overrides {
			override += o.Op.String()
		}
		r.mu.Unlock()
		if a.String() != c.want || override != c.override {
			t.Errorf("%s %s: %s, override %q; want %s, %q", c.method, c.body, a, override, c.want, c.override)
		}
	}
}

// TestOverrideEnds: what this replica did alone ends when the cluster agrees again,
// also on messages that change nothing and make no entry.
func TestOverrideEnds(t *testing.T) {
	r := newRig(t, nil)
	r.register(t, "w1", 8080)
	r.mu.Lock()
	before := r.agreed
	r.mu.Unlock()
	alone := func(context.Context, fsm.Command) (fsm.Result, error) { return fsm.Result{}, ErrNoLeader }
	r.propose = alone
	r.ask(t, "STATUS", "/", "JVMRoute=w1&Load=7")
	r.ask(t, "STOP-APP", "/*", "JVMRoute=w1")
	r.propose = nil
	r.ask(t, "STATUS", "/", "JVMRoute=w1&Load=50") // as the state says: no entry
	r.ask(t, "STATUS", "/", "JVMRoute=w1&Load=50")
	r.ask(t, "CONFIG", "/", "JVMRoute=w1&Host=127.0.0.1&Port=8080&Type=http")
	r.mu.Lock()
	defer r.mu.Unlock()
	var got []string
	for _, c := range r.overrides {
		got = append(got, fmt.Sprint(c.Op, " ", c.Load))
	}
	if want := []string{"STATUS 7", "STOP 0", "STATUS 50"}; !slices.Equal(got, want) || r.agreed != before+1 {
		t.Errorf("overrides %v, want %v; agreed on %d messages, want 1", got, want, r.agreed-before)
	}
}

// TestRefusal: one error, one answer; never SYNTAX for what is not the message's fault.
func TestRefusal(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{ErrNoLeader, "MEM: No leader"},
		{fmt.Errorf("propose: %w", context.DeadlineExceeded), "MEM: No agreement within the reply budget"},
		{context.Canceled, "MEM: This replica is stopping"},
		{errors.New("disk full\r\non lb2"), "MEM: disk full  on lb2"},
		{badValue("Port"), "SYNTAX: Port field has bad value"},
	} {
		if e := refusal(c.err); e.Mess != c.want || !strings.HasPrefix(e.Mess, e.Type+": ") {
			t.Errorf("%v: %+v, want %s", c.err, e, c.want)
		}
	}
}

// TestBudget: an answer comes within the reply budget, however long the commit takes.
func TestBudget(t *testing.T) {
	r := newRig(t, func(r *rig, c *Config) {
		c.ReplyBudget = 100 * time.Millisecond
		r.propose = func(ctx context.Context, _ fsm.Command) (fsm.Result, error) {
			<-ctx.Done()
			return fsm.Result{}, ctx.Err()
		}
	})
	if a := r.ask(t, "CONFIG", "/", "JVMRoute=w1"); a.String() != "500 MEM: No agreement within the reply budget" {
		t.Error(a)
	}
}

// TestPanic: a bug met by one message is that message's alone.
func TestPanic(t *testing.T) {
	r := newRig(t, func(r *rig, _ *Config) {
		r.propose = func(context.Context, fsm.Command) (fsm.Result, error) { panic("bug") }
	})
	if a := r.ask(t, "CONFIG", "/", "JVMRoute=w1"); a.String() != "500 GENERAL: Internal error" || !a.close {
		t.Error(a)
	}
	if a := r.ask(t, "INFO", "/", ""); a.status != 200 || r.logs.count("message panicked") != 1 {
		t.Error(a)
	}
}

// TestLogs: each warning once, not once a message.
func TestLogs(t *testing.T) {
	r := newRig(t, nil)
	for range 3 {
		r.ask(t, "CONFIG", "/", "JVMRoute=w1&Host=10.1.2.3&Port=8080")
		r.ask(t, "CONFIG", "/", "JVMRoute=w2&Host=127.0.0.1&Port=8081")
		r.ask(t, "CONFIG", "/", "JVMRoute=w3&Host=some.name&Port=8082")
		r.ask(t, "CONFIG", "/", "x")
		r.ask(t, "STATUS", "/", "JVMRoute=nope&Load=1")
	}
	for text, want := range map[string]int{
		`msg="worker address is not its source"`:                                1,
		`worker=w1 address=ajp://10.1.2.3:8080 source=127.0.0.1`:                1,
		`msg="message refused" source=127.0.0.1 command=CONFIG type=SYNTAX`:     1,
		`msg="message refused" source=127.0.0.1 command=STATUS type=MEM error=`: 1,
		`msg="message refused"`:                                                 2,
	} {
		if n := r.logs.count(text); n != want {
			t.Errorf("%q logged %d times, want %d", text, n, want)
		}
	}
}

// TestHeard: how long a worker has been silent, in its own periods.
func TestHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHeard(time.Now())
		wait := func(d time.Duration) { time.Sleep(d) } // of the bubble's clock
		silent := func(r fsm.JVMRoute) bool { return h.of(r, time.Now()).Silent() }
		if wait(14 * time.Second); silent("never") {
			t.Error("a replica that has just come up calls a worker silent")
		}
		if wait(2 * time.Second); !silent("never") {
			t.Error("a worker never heard of is not silent after 1.5 default periods")
		}
		h.note("w1", false, time.Now()) // registered
		if silent("w1") {
			t.Error("just registered, and silent")
		}
		for range 5 {
			h.note("w1", true, time.Now())
			wait(time.Millisecond)
			h.note("w1", true, time.Now()) // a copy says nothing of the period
			wait(2 * time.Second)
		}
		if got := h.of("w1", time.Now()); got.Period < 1900*time.Millisecond || got.Period > 2100*time.Millisecond || got.Silent() {
			t.Errorf("a period of 2 s is taken for %+v", got)
		}
		if wait(1100 * time.Millisecond); !silent("w1") {
			t.Error("not silent after 1.5 periods")
		}
		h.note("gone", true, time.Now())
		all := h.all(func(r fsm.JVMRoute) bool { return r == "w1" }, time.Now())
		if len(all) != 1 || len(h.routes) != 1 {
			t.Errorf("%v", all)
		}
	})
}

// TestHeardRoutes: only registered workers are remembered.
func TestHeardRoutes(t *testing.T) {
	r := newRig(t, nil)
	r.register(t, "w1", 8080)
	r.register(t, "w2", 8081)
	r.ask(t, "STATUS", "/", "JVMRoute=nope&Load=1")
	if h := r.server.Heard(); len(h) != 2 || h["w1"].Silent() {
		t.Errorf("%v", h)
	}
	r.ask(t, "REMOVE-APP", "/*", "JVMRoute=w1")
	if h := r.server.Heard(); len(h) != 1 || h["w2"].Period != defaultPeriod {
		t.Errorf("%v", h)
	}
}

// TestAnotherType: the same address with another type is another worker too.
func TestAnotherType(t *testing.T) {
	gone := false
	r := newRig(t, func(r *rig, _ *Config) { r.gone = func(fsm.JVMRoute) bool { return gone } })
	r.register(t, "w1", 8080)
	const moved = "JVMRoute=w1&Host=127.0.0.1&Port=8080&Type=https"
	if a := r.ask(t, "CONFIG", "/", moved); a.String() != `500 MEM: Node with "w1" JVMRoute already exists` {
		t.Errorf("while it is there: %s", a)
	}
	gone = true
	if a := r.ask(t, "CONFIG", "/", moved); a.status != 200 || r.State().Node("w1").Config.Type != "https" {
		t.Errorf("when it is gone: %s", a)
	}
}

// TestStatusOfANewWorker: a worker may register elsewhere and then send its STATUS
// here, where its CONFIG is applied with that STATUS alone.
func TestStatusOfANewWorker(t *testing.T) {
	r := newRig(t, func(r *rig, _ *Config) {
		r.check = func(context.Context, fsm.JVMRoute) error { return errors.New("refused") }
	})
	config := defaults()
	config.Balancer, config.Type = "mycluster", "http"
	r.propose = func(_ context.Context, c fsm.Command) (fsm.Result, error) {
		r.apply(fsm.Command{Op: fsm.OpConfig, Origin: fsm.FromWorker, Route: c.Route, Config: &config})
		return r.apply(c)
	}
	if a := r.ask(t, "STATUS", "/", "JVMRoute=w1&Load=5"); a.status != 200 || !strings.Contains(a.body, "State=NOTOK") {
		t.Errorf("it is checked all the same: %s %q", a, a.body)
	}
}
