package proxy

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/quorate/quorate/fsm"
)

// A session stays with its worker while the table changes under it.
func TestSticky(t *testing.T) {
	r := run(t, nil)
	for i := range 4 {
		name := fmt.Sprintf("w%d", i+1)
		r.register(name, startWorker(t, named(name)))
	}
	c := dial(t, r.addr)
	for i := range 40 {
		c.send("GET / HTTP/1.1\r\nHost: localhost\r\nCookie: JSESSIONID=x.w3\r\n\r\n")
		c.read("GET").want(t, 200, "w3")
		switch i % 4 {
		case 0:
			r.load("w3", i+1)
		case 1:
			r.apply(fsm.Command{Op: fsm.OpEnable, Route: "w1", Aliases: []string{"localhost"}, Contexts: []fsm.Path{fsm.Path(fmt.Sprintf("/c%d", i))}})
		case 2:
			r.apply(fsm.Command{Op: fsm.OpDisable, Route: "w3", Whole: true})
		case 3:
			r.apply(fsm.Command{Op: fsm.OpEnable, Route: "w3", Aliases: []string{"localhost"}, Contexts: []fsm.Path{"/"}})
		}
	}
	// The last answer is there before its exchange is counted off.
	eventually(t, "nothing is in flight", func() bool { return r.Counters("w3").Connected == 0 })
	if e := r.Counters("w3"); e.Elected != 40 || e.Connected != 0 || e.Read == 0 || e.Transferred == 0 {
		t.Errorf("%+v", e)
	}
}

// Requests spread, and a worker without load gets none but as the last.
func TestSpread(t *testing.T) {
	r := run(t, nil)
	for i := range 3 {
		name := fmt.Sprintf("w%d", i+1)
		r.register(name, startWorker(t, named(name)))
	}
	r.load("w3", 0)
	got := map[string]int{}
	for range 20 {
		got[r.get("/").text]++
	}
	if got["w1"] != 10 || got["w2"] != 10 {
		t.Errorf("%v", got)
	}
	r.apply(fsm.Command{Op: fsm.OpStop, Route: "w1", Whole: true}, fsm.Command{Op: fsm.OpRemove, Route: "w2", Whole: true})
	r.get("/").want(t, 200, "w3")
	r.load("w3", -1)
	r.get("/").want(t, 503, sayNoWorker)
	if c := r.Counters("w2"); c != (Counters{}) {
		t.Errorf("of a removed worker: %+v", c)
	}
}

// WaitWorker waits for the table, not by the clock.
func TestWaitWorker(t *testing.T) {
	r := run(t, nil)
	w := startWorker(t, named("w1"))
	wait60 := func(n *fsm.NodeConfig) { n.WaitWorker = 60 }
	r.register("w1", w, wait60)
	r.load("w1", -1)
	c := dial(t, r.addr)
	c.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	eventually(t, "the request waits", func() bool { return r.Stats().InFlight == 1 })
	r.apply(fsm.Command{Op: fsm.OpStatus, Route: "w1", Load: -1}) // no change for it
	began := time.Now()
	r.load("w1", 50)
	c.read("GET").want(t, 200, "w1")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("woke after %s", took)
	}

	// Its time is over.
	r.register("w1", w, func(n *fsm.NodeConfig) { n.WaitWorker = 1 })
	r.load("w1", -1)
	began = time.Now()
	r.get("/").want(t, 503, sayNoWorker)
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("waited %s", took)
	}

	// A client that leaves does not wait on.
	r.register("w1", w, wait60)
	r.load("w1", -1)
	c = dial(t, r.addr)
	c.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	eventually(t, "the request waits", func() bool { return r.Stats().InFlight == 1 })
	c.Close()
	eventually(t, "the request is gone", func() bool { return r.Stats().InFlight == 0 })
}

// Without a leader a worker's word counts here alone, one on top of the other,
// until the log has something to say of it.
func TestOverride(t *testing.T) {
	r := run(t, nil)
	r.register("w1", startWorker(t, named("w1")))
	r.register("w2", startWorker(t, named("w2")))
	say := func(c fsm.Command) {
		c.Origin = fsm.FromWorker
		r.Override(c)
	}
	only := func(want string) {
		t.Helper()
		for range 4 {
			r.get("/").want(t, 200, want)
		}
	}
	say(fsm.Command{Op: fsm.OpStop, Route: "w1", Whole: true})
	only("w2")
	say(fsm.Command{Op: fsm.OpStatus, Route: "w1", Load: 70})
	only("w2") // its load changes nothing of that
	if n := r.Table().Node("w1"); n.Load() != 70 {
		t.Errorf("load %d", n.Load())
	}
	r.load("w2", 99) // of another
	only("w2")
	r.load("w1", 60)
	got := map[string]bool{}
	for range 4 {
		got[r.get("/").text] = true
	}
	if !got["w1"] || !got["w2"] {
		t.Errorf("after an entry for it: %v", got)
	}

	say(fsm.Command{Op: fsm.OpRemove, Route: "w1", Whole: true})
	only("w2")
	if _, err := r.Reachable("w1"); err == nil {
		t.Error("a removed worker is reachable")
	}
	r.Agreed("w1")
	if r.Table().Node("w1") == nil {
		t.Error("it is not back")
	}
	say(fsm.Command{Op: fsm.OpStop, Route: "w9", Whole: true})
	if r.Table().Node("w9") != nil {
		t.Error("an unknown worker came into being")
	}
}

// A new state as a whole keeps what is counted of those who stay.
func TestReset(t *testing.T) {
	r := run(t, nil)
	r.register("w1", startWorker(t, named("w1")))
	r.register("w2", startWorker(t, named("w2")))
	r.get("/", "Cookie: JSESSIONID=x.w1").want(t, 200, "w1")
	r.apply(fsm.Command{Op: fsm.OpRemove, Route: "w2", Whole: true})
	r.Reset(1, r.state)
	if e := r.Counters("w1").Elected; e != 1 {
		t.Errorf("elected %d", e)
	}
	r.get("/").want(t, 200, "w1")
	r.Reset(1, fsm.New())
	r.get("/").want(t, 404, sayNothing)
	r.Reset(1, r.state)
	r.get("/").want(t, 200, "w1")
}

// A worker that moves is asked where it is now; what is in flight ends where it is.
func TestAddressChanges(t *testing.T) {
	r := run(t, nil)
	release, arrived := make(chan bool), make(chan bool, 1)
	old := startWorker(t, func(c net.Conn, q *received) bool {
		arrived <- true
		<-release
		return named("old")(c, q)
	})
	r.register("w1", old)
	c := dial(t, r.addr)
	c.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	wait(t, arrived, "the request is there")
	moved := startWorker(t, named("new"))
	host, port, _ := net.SplitHostPort(moved.addr)
	var n int
	fmt.Sscan(port, &n)
	config := r.state.Node("w1").Config
	config.Host, config.Port = host, n
	r.apply(fsm.Command{Op: fsm.OpConfig, Route: "w1", Config: &config, Gone: []fsm.JVMRoute{"w1"}},
		fsm.Command{Op: fsm.OpEnable, Route: "w1", Aliases: []string{"localhost"}, Contexts: []fsm.Path{"/"}},
		fsm.Command{Op: fsm.OpStatus, Route: "w1", Load: 100})
	r.get("/").want(t, 200, "new")
	close(release)
	c.read("GET").want(t, 200, "old")
	// The old connection is not kept.
	eventually(t, "the old address is let go", func() bool {
		old.mu.Lock()
		defer old.mu.Unlock()
		for conn := range old.conns {
			one := make([]byte, 1)
			conn.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := conn.Read(one); err == nil || isTimeout(err) {
				return false
			}
		}
		return true
	})
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// STOP-APP waits for this count: it falls when the last answer is done.
func TestInFlight(t *testing.T) {
	r := run(t, nil)
	release, arrived := make(chan bool), make(chan bool, 3)
	w := startWorker(t, func(c net.Conn, q *received) bool {
		arrived <- true
		<-release
		return named("w1")(c, q)
	})
	r.register("w1", w)
	clients := make([]*rawClient, 3)
	for i := range clients {
		clients[i] = dial(t, r.addr)
		clients[i].send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		wait(t, arrived, "a request is there")
	}
	r.apply(fsm.Command{Op: fsm.OpStop, Route: "w1", Whole: true})
	if n := r.InFlight("w1", "/"); n != 3 {
		t.Errorf("%d in flight after STOP", n)
	}
	r.get("/").want(t, 503, sayNoWorker)
	close(release)
	for _, c := range clients {
		c.read("GET").want(t, 200, "w1")
	}
	eventually(t, "none is in flight", func() bool { return r.InFlight("w1", "/") == 0 })
	if a := r.get("/"); a.Header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", a.Header.Get("Retry-After"))
	}
}
