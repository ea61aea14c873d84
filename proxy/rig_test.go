package proxy

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/fsm"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come, on a loaded machine.
const patience = 20 * time.Second

// rig is a Proxy that runs, and the state it routes by.
type rig struct {
	*Proxy
	t     testing.TB
	addr  string // of the plain listener
	stop  func() // ends Run and waits
	state *fsm.State
	clock int64
	logs  *logs
}

// run starts a Proxy with quiet settings; change may be nil.
func run(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	return runPatient(t, 200*time.Millisecond, change)
}

// runPatient is run with another time to listen to clients that are not wanted any more.
func runPatient(t testing.TB, linger time.Duration, change func(*Config)) *rig {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, addr: l.Addr().String(), state: fsm.New(), clock: 1, logs: &logs{}}
	c := Config{
		Name:      "lb1",
		Listeners: []Listener{{Listener: l}},
		Tuning:    Tuning{Timeouts: Timeouts{Header: patience, Body: patience, Write: patience, Idle: patience}},
		Upstream: Upstream{
			Retry:        Retry{Budget: 0.2, WithQuery: true},
			PreserveHost: true,
			XForwarded:   true,
			Health:       Health{Probe: "none"},
		},
		PerWorkerMetrics: true,
		Log:              slog.New(slog.NewTextHandler(r.logs, nil)),
	}
	if change != nil {
		change(&c)
	}
	if r.Proxy, err = New(c); err != nil {
		t.Fatal(err)
	}
	r.idleGrace, r.linger, r.rest = 100*time.Millisecond, linger, 50*time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	var once sync.Once
	r.stop = func() {
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
		})
	}
	t.Cleanup(r.stop)
	return r
}

// apply commits commands, as the log would.
func (r *rig) apply(commands ...fsm.Command) {
	r.t.Helper()
	r.clock += 1000
	for i := range commands {
		commands[i].Origin = fsm.FromWorker
	}
	s, results, err := fsm.Apply(r.state, fsm.Entry{Schema: fsm.SchemaVersion, Time: r.clock, Commands: commands})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, x := range results {
		if x.Code != fsm.OK {
			r.t.Fatalf("apply: %s %s", x.Code, x.Mess)
		}
	}
	r.state = s
	r.Apply(uint64(r.clock), s, results)
}

// register makes a worker known, with the context / and load 100.
func (r *rig) register(name string, w *worker, change ...func(*fsm.NodeConfig)) {
	r.t.Helper()
	host, port, _ := net.SplitHostPort(w.addr)
	n, _ := strconv.Atoi(port)
	c := fsm.NodeConfig{Type: "http", Host: host, Port: n, Ping: 10_000, TTL: 60_000, Smax: -1,
		Sticky: true, Cookie: "JSESSIONID", PathParam: "jsessionid", MaxAttempts: 1}
	for _, f := range change {
		f(&c)
	}
	route := fsm.JVMRoute(name)
	r.apply(
		fsm.Command{Op: fsm.OpConfig, Route: route, Config: &c},
		fsm.Command{Op: fsm.OpEnable, Route: route, Aliases: []string{"localhost"}, Contexts: []fsm.Path{"/"}},
		fsm.Command{Op: fsm.OpStatus, Route: route, Load: 100},
	)
}

func (r *rig) load(name string, load int) {
	r.t.Helper()
	r.apply(fsm.Command{Op: fsm.OpStatus, Route: fsm.JVMRoute(name), Load: load})
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// logs keeps what was logged.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// received is a request as a worker got it, byte for byte.
type received struct {
	line    string // first line
	head    string // all lines of the head but the first, each with LF
	body    string
	trailer string
	nth     int // on its connection, from 1
	r       *bufio.Reader
}

// value returns a header line's value; all of them joined by "|".
func (q *received) value(name string) string {
	var list []string
	for line := range strings.Lines(q.head) {
		k, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if strings.EqualFold(k, name) {
			list = append(list, v)
		}
	}
	return strings.Join(list, "|")
}

func (q *received) target() string { return strings.Split(q.line, " ")[1] }

// worker is a server of its own making: it reads requests raw and answers as told.
type worker struct {
	t    testing.TB
	l    net.Listener
	addr string
	// answer answers one request; false closes the connection.
	answer  func(c net.Conn, q *received) bool
	early   bool             // answer before the body is read
	quiet   bool             // do not keep what was received
	serving func(c net.Conn) // instead of serve

	mu    sync.Mutex
	got   []*received
	conns map[net.Conn]bool
	made  int // connections
	wg    sync.WaitGroup
}

const okHead = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"

func say(text string) func(net.Conn, *received) bool {
	return func(c net.Conn, _ *received) bool {
		_, err := io.WriteString(c, text)
		return err == nil
	}
}

// named answers with a name.
func named(name string) func(net.Conn, *received) bool {
	head := "HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(len(name)) + "\r\n\r\n"
	return func(c net.Conn, q *received) bool {
		text := head + name
		if strings.HasPrefix(q.line, "HEAD ") {
			text = head
		}
		_, err := io.WriteString(c, text)
		return err == nil
	}
}

func startWorker(t testing.TB, answer func(net.Conn, *received) bool) *worker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startWorkerOn(t, l, answer)
}

func startWorkerOn(t testing.TB, l net.Listener, answer func(net.Conn, *received) bool) *worker {
	w := &worker{answer: answer}
	w.start(t, l)
	return w
}

// start serves what comes to l, until the test ends.
func (w *worker) start(t testing.TB, l net.Listener) {
	w.t, w.l, w.addr, w.conns = t, l, l.Addr().String(), map[net.Conn]bool{}
	w.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.mu.Lock()
			w.conns[c] = true
			w.made++
			w.mu.Unlock()
			w.wg.Go(func() {
				defer c.Close()
				if w.serving != nil {
					w.serving(c)
					return
				}
				w.serve(c)
			})
		}
	})
	t.Cleanup(w.kill)
}

// kill closes everything at once, like a process that ends.
func (w *worker) kill() {
	w.l.Close()
	w.mu.Lock()
	for c := range w.conns {
		c.Close()
	}
	w.mu.Unlock()
	w.wg.Wait()
}

func (w *worker) requests() []*received {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*received(nil), w.got...)
}

func (w *worker) connections() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.made
}

func (w *worker) serve(c net.Conn) {
	r := bufio.NewReader(c)
	for nth := 1; ; nth++ {
		q := &received{nth: nth, r: r}
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		q.line = strings.TrimRight(line, "\r\n")
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if line = strings.TrimRight(line, "\r\n"); line == "" {
				break
			}
			q.head += line + "\n"
		}
		if !w.early {
			if !q.readBody() {
				return
			}
		}
		w.mu.Lock()
		if !w.quiet {
			w.got = append(w.got, q)
		}
		w.mu.Unlock()
		if !w.answer(c, q) {
			return
		}
	}
}

func (q *received) readBody() bool {
	if n, err := strconv.Atoi(q.value("Content-Length")); err == nil {
		b := make([]byte, n)
		if _, err := io.ReadFull(q.r, b); err != nil {
			return false
		}
		q.body = string(b)
	}
	if q.value("Transfer-Encoding") == "chunked" {
		b, err := io.ReadAll(httputil.NewChunkedReader(q.r))
		if err != nil {
			return false
		}
		q.body = string(b)
		trailer, err := textproto.NewReader(q.r).ReadMIMEHeader()
		if err != nil {
			return false
		}
		for k, v := range trailer {
			q.trailer += k + ": " + strings.Join(v, "|") + "\n"
		}
	}
	return true
}

// client is a connection that is written to by hand.
type rawClient struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func dial(t testing.TB, addr string) *rawClient {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { c.Close() })
	return &rawClient{c, t, bufio.NewReader(c)}
}

func (c *rawClient) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatalf("send %.40q: %v", text, err)
	}
}

// reply is an answer as a client got it.
type reply struct {
	*http.Response
	text string
	err  error // of the body
}

func (c *rawClient) read(method string) *reply {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("read the answer: %v", err)
	}
	b, err := io.ReadAll(resp.Body)
	return &reply{resp, string(b), err}
}

// do sends one raw request on a connection of its own and reads the answer.
func (r *rig) do(raw string) *reply {
	r.t.Helper()
	c := dial(r.t, r.addr)
	defer c.Close()
	c.send(raw)
	method, _, _ := strings.Cut(raw, " ")
	return c.read(method)
}

func (r *rig) get(target string, headers ...string) *reply {
	r.t.Helper()
	return r.do("GET " + target + " HTTP/1.1\r\nHost: localhost\r\n" + strings.Join(append(headers, ""), "\r\n") + "\r\n")
}

func (a *reply) want(t testing.TB, status int, text string) {
	t.Helper()
	if a.StatusCode != status || a.err != nil || text != "" && !strings.Contains(a.text, text) {
		t.Errorf("answer %s %q (%v), want %d with %q", a.Status, a.text, a.err, status, text)
	}
}

// hammer sends GETs on one connection, a new one where the answer closes it, and
// returns the first problem.
func (c *rawClient) hammer(n int) string {
	addr := c.RemoteAddr().String()
	r := bufio.NewReader(c.Conn)
	for i := range n {
		if _, err := io.WriteString(c.Conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			return "write " + strconv.Itoa(i) + ": " + err.Error()
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return "answer " + strconv.Itoa(i) + ": " + err.Error()
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 {
			return "answer " + strconv.Itoa(i) + ": " + resp.Status + " " + string(b)
		}
		if resp.Close {
			c.Conn.Close()
			if c.Conn, err = net.Dial("tcp", addr); err != nil {
				return err.Error()
			}
			c.Conn.SetDeadline(time.Now().Add(patience))
			r.Reset(c.Conn)
		}
	}
	return ""
}
