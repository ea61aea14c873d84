package mcmp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/quorate/quorate/fsm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a replica without a cluster: Propose applies at once, and what the
// cluster and the proxy would say is set by the test.
type rig struct {
	server *Server
	addr   string
	logs   *logs

	mu        sync.Mutex
	state     *fsm.State
	clock     int64 // leader time, Unix ms
	proposed  []fsm.Command
	overrides []fsm.Command
	agreed    int

	propose func(context.Context, fsm.Command) (fsm.Result, error) // nil: apply
	check   func(context.Context, fsm.JVMRoute) error              // nil: all workers are there
	inUse   func(fsm.JVMRoute, fsm.Path) int                       // nil: none
	gone    func(fsm.JVMRoute) bool                                // nil: none
	stale   time.Duration                                          // above 0: no quorum
}

var started = time.Unix(1_800_000_000, 0)

// newRig starts a replica on loopback; change may alter its configuration.
func newRig(t testing.TB, change func(*rig, *Config)) *rig {
	t.Helper()
	r := &rig{state: fsm.New(), clock: started.UnixMilli(), logs: &logs{}}
	c := Config{
		Listeners: []Listener{{Listener: listen(t)}},
		Name:      "lb1", Version: "1.2.3", StartTime: started,
		Log:     slog.New(slog.NewTextHandler(r.logs, nil)),
		Propose: r.doPropose,
		State:   r.State,
		Read: func(context.Context) (*fsm.State, time.Duration, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.state, r.stale, nil
		},
		Check: func(ctx context.Context, route fsm.JVMRoute) error {
			if f := r.check; f != nil {
				return f(ctx, route)
			}
			return nil
		},
		CheckAddress: func(_ context.Context, _, _ string, port int) error {
			if port == 1 {
				return errors.New("refused")
			}
			return nil
		},
		InFlight: func(_ context.Context, route fsm.JVMRoute, p fsm.Path) int {
			if f := r.inUse; f != nil {
				return f(route, p)
			}
			return 0
		},
		Counters: func(fsm.JVMRoute) Counters { return Counters{} },
		Gone:     func(route fsm.JVMRoute) bool { return r.gone != nil && r.gone(route) },
		Override: func(c fsm.Command) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.overrides = append(r.overrides, c)
		},
		Agreed: func(fsm.JVMRoute) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.agreed++
		},
	}
	if change != nil {
		change(r, &c)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	r.server, r.addr = s, c.Listeners[0].Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (r *rig) State() *fsm.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

func (r *rig) doPropose(ctx context.Context, c fsm.Command) (fsm.Result, error) {
	if f := r.propose; f != nil {
		return f(ctx, c)
	}
	return r.apply(c)
}

// apply is what a cluster of one does with a command.
func (r *rig) apply(c fsm.Command) (fsm.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.proposed = append(r.proposed, c)
	st, results, err := fsm.Apply(r.state, fsm.Entry{Schema: fsm.SchemaVersion, Time: r.clock, Commands: []fsm.Command{c}})
	if err != nil {
		return fsm.Result{}, err
	}
	r.state = st
	return results[0], nil
}

// tick lets leader time pass to t, as the leader's ticks would.
func (r *rig) tick(t time.Duration) {
	r.mu.Lock()
	r.clock = started.UnixMilli() + t.Milliseconds()
	due := r.state.Due()
	now := r.clock
	r.mu.Unlock()
	if due != 0 && due <= now {
		r.apply(fsm.Command{Origin: fsm.FromSystem, Source: "system", Op: fsm.OpTick})
	}
}

// ask sends one message on a new connection and returns the answer.
func (r *rig) ask(t testing.TB, method, target, body string) answer {
	t.Helper()
	c := r.dial(t)
	defer c.Close()
	return c.ask(method, target, body)
}

// link is a worker's connection.
type link struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func (r *rig) dial(t testing.TB) *link {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return &link{Conn: c, t: t, r: bufio.NewReader(c)}
}

func (c *link) ask(method, target, body string) answer {
	c.t.Helper()
	c.say(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: 127.0.0.1:6666\r\nContent-Length: %d\r\nUser-Agent: ClusterListener/1.0\r\nConnection: Keep-Alive\r\n\r\n%s",
		method, target, len(body), body))
	return c.hear(method)
}

func (c *link) say(raw string) {
	c.t.Helper()
	if _, err := io.WriteString(c, raw); err != nil {
		c.t.Fatalf("send %.60q: %v", raw, err)
	}
}

// hear reads one answer; method is that of the request.
func (c *link) hear(method string) answer {
	c.t.Helper()
	a, err := readAnswer(c.r, method)
	if err != nil {
		c.t.Fatalf("answer to %s: %v", method, err)
	}
	return a
}

// closed says that the balancer ended the connection without another byte.
func (c *link) closed() bool {
	_, err := c.r.ReadByte()
	return errors.Is(err, io.EOF)
}

// answer is a reply as a worker sees it.
type answer struct {
	status int
	header http.Header
	body   string
	close  bool
}

// kind is the Type of an answer, "" if it has none.
func (a answer) kind() string { return a.header.Get("Type") }

// String is the status, and what an error says.
func (a answer) String() string {
	if m := a.header.Get("Mess"); m != "" {
		return fmt.Sprintf("%d %s", a.status, m)
	}
	return fmt.Sprint(a.status)
}

func readAnswer(r *bufio.Reader, method string) (answer, error) {
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	return answer{resp.StatusCode, resp.Header, string(body), resp.Close}, err
}

// logs keeps what was logged.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.b.Bytes(), []byte(text))
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
