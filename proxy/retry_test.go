package proxy

import (
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quorate/quorate/fsm"
	"pgregory.net/rapid"
)

// closedPort is an address where nobody listens.
func closedPort(t testing.TB) *worker {
	// Bound, so that nobody else gets it, but nobody listens.
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return &worker{addr: fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)}
}

// reset ends a connection with RST, having read the request.
func sayReset(c net.Conn, _ *received) bool {
	c.(*net.TCPConn).SetLinger(0)
	return false
}

func sayNothingAtAll(net.Conn, *received) bool { return false }

// What may go to another worker (spec/routing.md §0.7). The session names w1, so
// that the first try is there.
func TestRetries(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: localhost\r\nCookie: JSESSIONID=x.w1\r\n\r\n"
	as := func(method, framing, body string) string {
		return method + " / HTTP/1.1\r\nHost: localhost\r\nCookie: JSESSIONID=x.w1\r\n" + framing + "\r\n" + body
	}
	for _, c := range []struct {
		name    string
		first   func(net.Conn, *received) bool // nil in refused: nobody listens
		refused bool
		request string
		change  func(*Config)
		config  func(*fsm.NodeConfig)
		status  int
		retried bool
	}{
		{name: "refused, GET", refused: true, request: get, status: 200, retried: true},
		{name: "refused, POST with a body", refused: true, request: as("POST", "Content-Length: 3\r\n", "abc"), status: 200, retried: true},
		{name: "refused, Maxattempts 0", refused: true, request: get, config: func(n *fsm.NodeConfig) { n.MaxAttempts = 0 }, status: 200, retried: true},
		{name: "refused, Force", refused: true, request: get, config: func(n *fsm.NodeConfig) { n.StickyForce = true }, status: 503},
		{name: "EOF, GET", first: sayNothingAtAll, request: get, status: 200, retried: true},
		{name: "EOF, HEAD", first: sayNothingAtAll, request: as("HEAD", "", ""), status: 200, retried: true},
		{name: "EOF, DELETE", first: sayNothingAtAll, request: as("DELETE", "", ""), status: 200, retried: true},
		{name: "RST, GET", first: sayReset, request: get, status: 200, retried: true},
		{name: "EOF, GET, Maxattempts 0", first: sayNothingAtAll, request: get, config: func(n *fsm.NodeConfig) { n.MaxAttempts = 0 }, status: 502},
		{name: "EOF, GET, Maxattempts -1", first: sayNothingAtAll, request: get, config: func(n *fsm.NodeConfig) { n.MaxAttempts = -1 }, status: 502},
		{name: "EOF, retry.max 0", first: sayNothingAtAll, request: get, change: func(c *Config) { c.Upstream.Retry.Max = new(int) }, status: 502},
		{name: "EOF, a query", first: sayNothingAtAll, request: strings.Replace(get, " / ", " /?q ", 1), status: 200, retried: true},
		{name: "EOF, a query, not with_query", first: sayNothingAtAll, request: strings.Replace(get, " / ", " /?q ", 1), change: func(c *Config) { c.Upstream.Retry.WithQuery = false }, status: 502},
		{name: "EOF, POST", first: sayNothingAtAll, request: as("POST", "Content-Length: 0\r\n", ""), status: 502},
		{name: "EOF, PUT with a body", first: sayNothingAtAll, request: as("PUT", "Content-Length: 3\r\n", "abc"), status: 502},
		{name: "EOF, PUT in chunks", first: sayNothingAtAll, request: as("PUT", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"), status: 502},
		{name: "EOF, PUT without a body", first: sayNothingAtAll, request: as("PUT", "Content-Length: 0\r\n", ""), status: 200, retried: true},
		{name: "a byte of an answer", first: say("H"), request: get, status: 502},
		{name: "rubbish", first: say("rubbish\r\n\r\n"), request: get, status: 502},
		{name: "5xx", first: say("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"), request: get, status: 500},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := run(t, c.change)
			var w1 *worker
			if c.refused {
				w1 = closedPort(t)
			} else {
				w1 = startWorker(t, func(conn net.Conn, q *received) bool { c.first(conn, q); return false })
			}
			w2 := startWorker(t, named("w2"))
			var change []func(*fsm.NodeConfig)
			if c.config != nil {
				change = append(change, c.config)
			}
			r.register("w1", w1, change...)
			r.register("w2", w2, change...)
			a := r.do(c.request)
			if a.StatusCode != c.status || c.retried && !strings.HasPrefix(c.request, "HEAD") && a.text != "w2" {
				t.Errorf("%s %q", a.Status, a.text)
			}
			if got := len(w2.requests()); got != map[bool]int{true: 1}[c.retried] {
				t.Errorf("the other worker got %d requests", got)
			}
			if !c.refused && len(w1.requests()) != 1 {
				t.Errorf("the first worker got %d requests", len(w1.requests()))
			}
			if strings.Contains(c.name, "POST with a body") && w2.requests()[0].body != "abc" {
				t.Errorf("body %q", w2.requests()[0].body)
			}
			if got := r.table.Load().Node("w1").Suspect(); got != c.refused {
				t.Errorf("w1 suspect: %v", got)
			}
			if r.table.Load().Node("w2").Suspect() {
				t.Error("w2 is suspect")
			}
			for _, n := range r.table.Load().Nodes() {
				eventually(t, n.Route+" has nothing in flight", func() bool { return n.InFlight() == 0 })
			}
		})
	}
}

// However many are down, the one that is there is found: no attempt is counted
// for a refused connection.
func TestManyRefused(t *testing.T) {
	r := run(t, nil)
	for i := range 8 {
		r.register(fmt.Sprintf("dead%d", i), closedPort(t))
	}
	w := startWorker(t, named("alive"))
	r.register("alive", w)
	for range 3 {
		r.get("/", "Cookie: JSESSIONID=x.dead3").want(t, 200, "alive")
	}
	// And when it goes too: everything is tried, nothing is left.
	w.kill()
	r.get("/").want(t, 503, "503 Service Unavailable\n\nNo worker can serve this now.\nRequest ")
}

// If every worker is suspect, requests go to them anyway, and an answer clears.
func TestAllSuspect(t *testing.T) {
	r := run(t, nil)
	w := startWorker(t, named("w1"))
	r.register("w1", w)
	r.table.Load().SetSuspect(r.table.Load().Node("w1"), true)
	r.get("/").want(t, 200, "w1")
	if ok, err := r.Reachable("w1"); !ok {
		t.Errorf("still suspect: %v", err)
	}
}

// A worker dies amid traffic of idempotent requests: nobody sees it.
func TestWorkerDiesUnderLoad(t *testing.T) {
	r := run(t, nil)
	workers := make([]*worker, 3)
	for i := range workers {
		name := fmt.Sprintf("w%d", i+1)
		workers[i] = startWorker(t, func(c net.Conn, _ *received) bool {
			time.Sleep(time.Millisecond)
			_, err := io.WriteString(c, okHead+"ok")
			return err == nil
		})
		r.register(name, workers[i])
	}
	const clients, each = 8, 100
	results := make(chan string, clients)
	for range clients {
		go func() {
			c, err := net.Dial("tcp", r.addr)
			if err != nil {
				results <- err.Error()
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			client := &rawClient{c, t, nil}
			results <- client.hammer(each)
		}()
	}
	eventually(t, "traffic", func() bool { return r.Stats().Requests > clients*each/4 })
	workers[0].kill()
	bad := 0
	for range clients {
		if problem := <-results; problem != "" {
			bad++
			t.Error(problem)
		}
	}
	if n := r.table.Load(); n.Node("w2").Suspect() || n.Node("w3").Suspect() {
		t.Error("a healthy worker was marked")
	}
	t.Logf("%d requests, %d failed", clients*each, bad)
}

// A budget allows the share of what came in the last ten seconds, at least three a
// second, and nothing more.
func TestBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var requests uint64
		b := budget{requests: func() uint64 { return requests }}
		type event struct {
			second int
			retry  bool
		}
		var past []event
		second := 0
		share := rapid.SampledFrom([]float64{0, 0.2, 1}).Draw(t, "share")
		for range rapid.IntRange(1, 300).Draw(t, "n") {
			if rapid.IntRange(0, 3).Draw(t, "what") == 0 {
				second++
				b.tick()
			}
			came, spent := 0, 0
			for _, e := range past {
				switch {
				case second-e.second >= budgetSeconds:
				case e.retry:
					spent++
				default:
					came++
				}
			}
			if rapid.Bool().Draw(t, "retry") {
				want := spent < max(30, int(share*float64(came)))
				if got := b.spend(share); got != want {
					t.Fatalf("spend: %v, want %v with %d requests and %d retries", got, want, came, spent)
				}
				if want {
					past = append(past, event{second, true})
				}
			} else {
				requests++
				past = append(past, event{second, false})
			}
		}
	})
}
