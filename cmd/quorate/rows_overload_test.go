package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// watchmen ask the operator's and the workers' listeners, each time on a connection of
// its own, while something else happens.
type watchmen struct {
	t       *testing.T
	c       *trio
	stop    chan struct{}
	group   sync.WaitGroup
	asked   atomic.Int64
	slowest atomic.Int64 // ns
}

func (c *trio) watchmen(t *testing.T) *watchmen {
	w := &watchmen{t: t, c: c, stop: make(chan struct{})}
	r := c.replicas[0]
	for _, ask := range []func(*http.Client) error{
		func(h *http.Client) error { return answered(h, http.MethodGet, "http://"+r.admin+"/api/v1/status") },
		func(h *http.Client) error { return answered(h, "INFO", "http://"+r.mcmp+"/") },
	} {
		w.group.Go(func() {
			h := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
			for {
				began := time.Now()
				if err := ask(h); err != nil {
					t.Errorf("after %s: %v", time.Since(began), err)
				}
				w.asked.Add(1)
				for took, old := int64(time.Since(began)), w.slowest.Load(); took > old && !w.slowest.CompareAndSwap(old, took); old = w.slowest.Load() {
				}
				select {
				case <-w.stop:
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
	}
	return w
}

func answered(h *http.Client, method, url string) error {
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		return err
	}
	resp, err := h.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s %v", method, url, resp.Status, err)
	}
	return nil
}

// leave says what they saw.
func (w *watchmen) leave() string {
	close(w.stop)
	w.group.Wait()
	slowest := time.Duration(w.slowest.Load())
	if slowest > 10*time.Second {
		w.t.Errorf("admin or MCMP took %s to answer", slowest)
	}
	return fmt.Sprintf("admin and MCMP asked %d times, slowest %s", w.asked.Load(), slowest.Round(time.Millisecond))
}

// crowded is what became of connections that came all at once.
type crowded struct {
	served, refused, closed, waiting int // 200; 503; no answer and an end; neither
	other                            []string
}

func (y *crowded) String() string {
	s := fmt.Sprintf("%d served, %d told 503, %d closed, %d still waiting", y.served, y.refused, y.closed, y.waiting)
	if len(y.other) > 0 {
		s += fmt.Sprintf(", %d others: %s", len(y.other), y.other[0])
	}
	return s
}

// crowdIn sends one request on each of n connections and keeps those that are served.
// An answer must come within limit.
func crowdIn(t *testing.T, addr, path string, n int, limit time.Duration) (y crowded, kept []*visitor) {
	t.Helper()
	var mu sync.Mutex
	var group sync.WaitGroup
	places := make(chan bool, 64) // dials at once
	for range n {
		group.Go(func() {
			me := &visitor{c: &usersConfig{Targets: []string{addr}}}
			places <- true
			conn, err := net.DialTimeout("tcp", addr, limit)
			<-places
			var status int
			if err == nil {
				me.adopt(conn)
				conn.SetDeadline(time.Now().Add(limit))
				var resp *http.Response
				if resp, _, err = me.exchangeAs(http.MethodGet, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n"); err == nil {
					status = resp.StatusCode
				}
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case status == http.StatusOK:
				y.served++
				kept = append(kept, me)
				return
			case status == http.StatusServiceUnavailable:
				y.refused++
			case status != 0:
				y.other = append(y.other, fmt.Sprint(status))
			case isTimeout(err):
				y.waiting++
			case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNREFUSED):
				y.closed++
			default:
				y.other = append(y.other, err.Error())
			}
			me.hangUp()
		})
	}
	group.Wait()
	return y, kept
}

// calm fails the test if replica 0 uses processors though hardly anybody wants anything: a
// fifth of one is far more than timers and the watchmen need.
func (c *trio) calm(t *testing.T, when string) {
	t.Helper()
	const window = time.Second
	best := window
	for range 3 {
		before := c.cpu(0)
		time.Sleep(window)
		best = min(best, c.cpu(0)-before)
		if best <= window/5 {
			break
		}
	}
	t.Logf("figure: %s: %s of a processor in %s", when, best, window)
	if best > window/5 {
		t.Errorf("%s: the process uses %s in %s: it spins", when, best, window)
	}
}

// recovers means that a new user is served again.
func (c *trio) recovers(t *testing.T) {
	t.Helper()
	began := time.Now()
	waitFor(t, patience, "a new user to be served", func() error {
		status, _, err := get(c.replicas[0].traffic, "/shop/", "")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		return err
	})
	t.Logf("figure: served again %s later", time.Since(began).Round(time.Millisecond))
}

// Over limits.connections a client is told 503, or closed: nobody is left in a queue.
func TestConnectionsAtTheLimit(t *testing.T) {
	const limit, comers = 100, 400
	c := prepare(t, trioConfig{Replicas: 1, Set: []string{fmt.Sprintf("traffic.limits.connections=%d", limit)}})
	c.startAll()
	c.origin("w1", answerHello, "/shop")
	w := c.watchmen(t)
	y, kept := crowdIn(t, c.replicas[0].traffic, "/shop/", comers, patience)
	t.Logf("figure: %d connections at a limit of %d: %s", comers, limit, &y)
	if y.served < limit || y.served > limit+limit/10+2 || y.refused == 0 || y.waiting > 0 || len(y.other) > 0 {
		t.Errorf("want about %d served, and the others refused: %s", limit, &y)
	}
	c.calm(t, "at the limit of connections")
	// Those inside go on.
	for _, me := range kept {
		if resp, _, err := me.tell(http.MethodGet, "GET /shop/ HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("one who was in: %v", err)
		}
	}
	for _, me := range kept {
		me.hangUp()
	}
	c.recovers(t)
	t.Logf("figure: %s", w.leave())
}

// limited runs the program with so many open files.
func limited(t *testing.T, files int) (binary string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary = filepath.Join(t.TempDir(), "limited")
	if err := os.WriteFile(binary, fmt.Appendf(nil, "#!/bin/sh\nulimit -n %d || exit 1\nexec '%s' \"$@\"\n", files, self), 0o700); err != nil {
		t.Fatal(err)
	}
	return binary
}

// A replica with few open files lowers its limit of connections, so that with a
// connection to a worker for each of them there is a file left for the operator.
func TestFewOpenFiles(t *testing.T) {
	const files, comers = 256, 400
	c := prepare(t, trioConfig{Replicas: 1, Binary: limited(t, files)})
	c.startAll()
	release := make(chan struct{})
	c.origin("w1", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
		io.WriteString(w, "hello\n")
	}), "/shop")
	w := c.watchmen(t)
	var y crowded
	var kept []*visitor
	var group sync.WaitGroup
	group.Go(func() { y, kept = crowdIn(t, c.replicas[0].traffic, "/shop/", comers, patience) })
	limit := connectionsFor(files)
	waitFor(t, patience, "a busy replica", func() error {
		if n := c.status(0).Traffic.InFlight; int(n) < limit {
			return fmt.Errorf("%d in flight", n)
		}
		return nil
	})
	most := c.descriptors(0)
	c.calm(t, fmt.Sprintf("with %d descriptors of %d, a worker's for each user", most, files))
	close(release)
	group.Wait()
	t.Logf("figure: %d connections with %d open files (%d connections): %s", comers, files, limit, &y)
	if y.served < limit || y.served > limit+limit/10+2 || y.refused == 0 || y.waiting > 0 || len(y.other) > 0 {
		t.Errorf("want about %d served, and the others refused: %s", limit, &y)
	}
	for _, me := range kept {
		me.hangUp()
	}
	c.recovers(t)
	t.Logf("figure: %s", w.leave())
	if lines := c.logLines(0, "no connection can be accepted"); len(lines) > 0 {
		t.Errorf("it came to the limit of open files: %v", lines[0])
	}
}

// At the very limit of descriptors, which here is lowered under a replica that runs,
// users are turned away and the operator is not; all is well when there are some again.
func TestNoDescriptorLeft(t *testing.T) {
	c := prepare(t, trioConfig{Replicas: 1})
	c.startAll()
	c.origin("w1", answerHello, "/shop")
	c.recovers(t)
	c.expected = "no connection can be accepted"
	const room, comers = 100, 400
	at := c.descriptors(0) + room
	before := limitFiles(t, c.replicas[0].pid(), uint64(at))
	w := c.watchmen(t)
	y, kept := crowdIn(t, c.replicas[0].traffic, "/shop/", comers, 2*time.Second)
	t.Logf("figure: %d connections with room for %d descriptors: %s", comers, room, &y)
	if y.served < room/4 || y.waiting > 0 || len(y.other) > 0 {
		t.Errorf("want some served, the others refused: %s", &y)
	}
	c.calm(t, fmt.Sprintf("with %d descriptors of %d", c.descriptors(0), at))
	watched := w.leave()
	for _, me := range kept {
		me.hangUp()
	}
	limitFiles(t, c.replicas[0].pid(), before)
	c.recovers(t)
	t.Logf("figure: %s", watched)
	if n := c.metric(0, "quorate_accept_failures_total"); n == 0 {
		t.Error("nobody was turned away for want of descriptors")
	}
}

// limitFiles sets the soft limit of open files of a process, and returns the old one.
func limitFiles(t *testing.T, pid int, soft uint64) uint64 {
	t.Helper()
	var now unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &now); err != nil {
		t.Fatal(err)
	}
	old := now.Cur
	now.Cur = soft
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &now, nil); err != nil {
		t.Fatal(err)
	}
	return old
}

// Many clients begin TLS at once and go no further.
func TestManyHellos(t *testing.T) { manyHellos(t, 1000, 2*time.Second) }

// hello is the first flight of a TLS client.
func hello(t *testing.T) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer b.Close()
	go tls.Client(a, &tls.Config{ServerName: "lb.example", NextProtos: []string{"h2", "http/1.1"}}).Handshake()
	b.SetDeadline(time.Now().Add(patience))
	head := make([]byte, 5)
	if _, err := io.ReadFull(b, head); err != nil {
		t.Fatal(err)
	}
	rest := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(b, rest); err != nil {
		t.Fatal(err)
	}
	return append(head, rest...)
}

func manyHellos(t *testing.T, n int, header time.Duration) {
	s := newShelf(t)
	k := s.write("lb", "lb.example")
	c := prepare(t, trioConfig{Replicas: 1, Set: []string{
		"traffic.listeners[0].tls.cert_file=" + k.CertFile, "traffic.listeners[0].tls.key_file=" + k.KeyFile,
		"traffic.timeouts.header=" + header.String(),
	}})
	if files, err := openFiles(); err != nil || files < uint64(n)+1000 {
		t.Logf("figure: the limit of open files, %d, allows fewer than %d hellos", files, n)
		n = int(files) / 2
	}
	c.startAll()
	c.origin("w1", answerHello, "/shop")
	first := hello(t)
	w := c.watchmen(t)
	before := c.cpu(0)
	began := time.Now()
	var mu sync.Mutex
	var conns []net.Conn
	var group sync.WaitGroup
	queue := make(chan bool)
	for range 16 {
		group.Go(func() {
			for range queue {
				conn, err := net.DialTimeout("tcp", c.replicas[0].traffic, patience)
				if err != nil {
					t.Error(err)
					continue
				}
				conn.Write(first)
				mu.Lock()
				conns = append(conns, conn)
				mu.Unlock()
			}
		})
	}
	for range n {
		queue <- true
	}
	close(queue)
	group.Wait()
	came := time.Since(began)

	// Each gets the server's flight, or is closed.
	var shaken, closed, silent atomic.Int64
	for i := range 64 {
		group.Go(func() {
			head := make([]byte, 1)
			for k := i; k < len(conns); k += 64 {
				conns[k].SetDeadline(time.Now().Add(patience))
				switch _, err := io.ReadFull(conns[k], head); {
				case err == nil && head[0] == 22:
					shaken.Add(1)
				case isTimeout(err):
					silent.Add(1)
				default:
					closed.Add(1)
				}
			}
		})
	}
	group.Wait()
	t.Logf("figure: %d TLS hellos came within %s: %d answered, %d closed, %d got nothing, after %s; %s of processors each",
		n, came.Round(time.Millisecond), shaken.Load(), closed.Load(), silent.Load(), time.Since(began).Round(time.Millisecond),
		((c.cpu(0) - before) / time.Duration(n)).Round(time.Microsecond))
	if silent.Load() > 0 || shaken.Load() == 0 {
		t.Errorf("%d hellos got nothing", silent.Load())
	}
	// They go no further: they are closed when the time of a head is over.
	waitFor(t, patience, "clients that go no further to be closed", func() error {
		if n := c.status(0).Traffic.ClientConnections; n > 0 {
			return fmt.Errorf("%d connections", n)
		}
		return nil
	})
	c.calm(t, "after the hellos")
	t.Logf("figure: %s", w.leave())
	for _, conn := range conns {
		conn.Close()
	}
	conn, err := tls.Dial("tcp", c.replicas[0].traffic, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, "GET /shop/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	if b, err := io.ReadAll(conn); err != nil || !bytes.HasSuffix(b, []byte("hello\n")) {
		t.Errorf("afterwards: %q %v", b, err)
	}
}
