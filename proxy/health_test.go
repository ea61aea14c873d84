package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quorate/quorate/fsm"
)

// How a probe asks, and what it takes for life.
func TestProbe(t *testing.T) {
	for _, c := range []struct {
		name, probe, path, scheme string
		answer                    string
		sent                      string // what the worker must get
		problem                   string // "" alive
	}{
		{"options", "", "*", "http", "HTTP/1.1 405 No\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: ADDR\r\nUser-Agent: quorate\r\nConnection: close\r\n\r\n", ""},
		{"options, HTTP/1.0", "auto", "*", "http", "HTTP/1.0 500 No\r\n\r\n", "", ""},
		{"not HTTP", "options", "*", "http", "SSH-2.0-OpenSSH\r\n", "", "not HTTP"},
		{"silence", "options", "*", "http", "", "", "no answer"},
		{"get", "get", "/up", "http", "HTTP/1.1 200 OK\r\n\r\n", "GET /up HTTP/1.1\r\n", ""},
		{"get fails", "get", "/up", "http", "HTTP/1.1 503 No\r\n\r\n", "", "status 503"},
		{"head without a path", "head", "*", "http", "HTTP/1.1 302 x\r\n\r\n", "HEAD / HTTP/1.1\r\n", ""},
		{"tcp", "tcp", "*", "http", "", "", ""},
		{"ajp", "", "*", "ajp", "\x41\x42\x00\x01\x09", "\x12\x34\x00\x01\x0a", ""},
		{"ajp, rubbish", "", "*", "ajp", "HTTP/", "", "not ajp"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := run(t, func(conf *Config) { conf.Upstream.Health = Health{Probe: c.probe, Path: c.path, Interval: time.Hour} })
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			got := make(chan string, 1)
			go func() {
				conn, err := l.Accept()
				if err != nil {
					got <- err.Error()
					return
				}
				defer conn.Close()
				b := make([]byte, 1024)
				n, _ := conn.Read(b)
				io.WriteString(conn, c.answer)
				got <- string(b[:n])
			}()
			host, port, _ := net.SplitHostPort(l.Addr().String())
			n, _ := strconv.Atoi(port)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			err = r.CheckAddress(ctx, c.scheme, host, n)
			if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
				t.Errorf("%v, want %q", err, c.problem)
			}
			if sent := <-got; !strings.HasPrefix(sent, strings.ReplaceAll(c.sent, "ADDR", l.Addr().String())) {
				t.Errorf("the worker got %q", sent)
			}
		})
	}
}

// A probe ends with its time, and says so.
func TestProbeTimesOut(t *testing.T) {
	r := run(t, func(c *Config) { c.Upstream.Health = Health{Interval: time.Hour, Timeout: 30 * time.Millisecond} })
	w := startWorker(t, func(_ net.Conn, q *received) bool { q.r.ReadByte(); return false })
	r.register("w1", w)
	if err := r.Check(t.Context(), "w1"); err == nil || !r.table.Load().Node("w1").Suspect() {
		t.Errorf("%v, suspect %v", err, r.table.Load().Node("w1").Suspect())
	}
	// Whoever asks may have less time.
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := r.Check(ctx, "w1"); err == nil {
		t.Error("no error")
	}
	if err := r.Check(t.Context(), "w9"); err == nil || err.Error() != "check w9: not registered" {
		t.Error(err)
	}
}

// Probes find a worker that went away, and one that came back.
func TestWatch(t *testing.T) {
	r := run(t, func(c *Config) {
		c.Upstream.Health = Health{Interval: 10 * time.Millisecond, Fails: 2}
	})
	w := startWorker(t, say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	r.register("w1", w)
	eventually(t, "a probe", func() bool { return len(w.requests()) > 0 })
	if q := w.requests()[0]; q.line != "OPTIONS * HTTP/1.1" {
		t.Errorf("probe %q", q.line)
	}
	w.kill()
	eventually(t, "w1 is suspect", func() bool { ok, _ := r.Reachable("w1"); return !ok })
	if ok, err := r.Reachable("w1"); ok || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v %v", ok, err)
	}
	if list := r.Unreachable(); len(list) != 1 || list[0] != "w1" || r.ReachableSince("w1").IsZero() {
		t.Errorf("unreachable: %v since %v", list, r.ReachableSince("w1"))
	}
	l, err := net.Listen("tcp", w.addr)
	if err != nil {
		t.Skip("the port was taken meanwhile: ", err)
	}
	startWorkerOn(t, l, say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	eventually(t, "w1 is back", func() bool { ok, _ := r.Reachable("w1"); return ok })
	text := r.logs.String()
	for _, want := range []string{
		`level=WARN msg="worker unreachable" worker=w1 address=http://` + w.addr + ` error=`,
		`level=INFO msg="worker reachable" worker=w1 address=http://` + w.addr + ` after=`,
	} {
		if strings.Count(text, want) != 1 {
			t.Errorf("want one line with %s in\n%s", want, text)
		}
	}
	// A node that goes is watched no more.
	r.apply(fsm.Command{Op: fsm.OpRemove, Route: "w1", Whole: true})
	if p := r.targetOf("w1"); p != nil {
		t.Error("still followed")
	}
}

// Many who fail to connect in time share one probe, and only its failure counts.
func TestDialTimesOut(t *testing.T) {
	r := run(t, func(c *Config) { c.Upstream.Health = Health{Interval: time.Hour} })
	alive := startWorker(t, say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	r.register("w1", alive)
	r.register("w2", closedPort(t))
	late := context.DeadlineExceeded
	for _, route := range []string{"w1", "w2"} {
		x := r.targetOf(fsm.JVMRoute(route))
		for range 20 {
			r.dialFailed(x, classifyDial(late), late)
		}
	}
	eventually(t, "w2 is suspect", r.table.Load().Node("w2").Suspect)
	eventually(t, "probes end", func() bool { return r.probes.value() == 0 })
	if r.table.Load().Node("w1").Suspect() {
		t.Error("w1 answers probes, and is suspect")
	}
	if n := alive.connections(); n == 0 || n > 20 {
		t.Errorf("%d probes", n)
	}
}

func TestClassifyDial(t *testing.T) {
	for _, c := range []struct {
		err  error
		want dialOutcome
	}{
		{syscall.ECONNREFUSED, dialRefused},
		{&net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}, dialRefused},
		{&net.DNSError{IsNotFound: true}, dialRefused},
		{&net.DNSError{IsTimeout: true}, dialLate},
		{context.DeadlineExceeded, dialLate},
		{syscall.ETIMEDOUT, dialLate},
		{syscall.EMFILE, dialLocal},
		{syscall.EADDRNOTAVAIL, dialLocal},
		{syscall.ENOBUFS, dialLocal},
		{context.Canceled, dialLocal},
		{syscall.ECONNRESET, dialBroken},
		{io.EOF, dialBroken},
	} {
		if got := classifyDial(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}
