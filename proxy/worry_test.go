package proxy

import (
	"net"
	"syscall"
	"testing"
	"time"
)

// fullQueue is an address where the kernel drops every SYN, as a host does that has
// vanished: the queue of who may be accepted is full.
func fullQueue(t *testing.T) *worker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 0) }); err != nil || e != nil {
		t.Fatal(err, e)
	}
	for range 8 {
		c, err := net.DialTimeout("tcp", l.Addr().String(), 200*time.Millisecond)
		if isTimeout(err) {
			return &worker{addr: l.Addr().String()}
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Skip("this kernel does not drop a SYN when the queue is full")
	return nil
}

// When the first dial to a host that has vanished has timed out, the host is known,
// however long a probe may take.
func TestVanishedHost(t *testing.T) {
	r := run(t, func(c *Config) {
		c.Upstream.Health = Health{Interval: time.Hour, Timeout: time.Hour}
		c.Upstream.ConnectTimeout = 900 * time.Millisecond
	})
	r.register("w1", fullQueue(t))
	r.register("w2", startWorker(t, named("w2")))
	began := time.Now()
	r.get("/", "Cookie: JSESSIONID=x.w1").want(t, 200, "w2")
	if d := time.Since(began); d < 900*time.Millisecond {
		t.Errorf("answered after %s: w1 was not tried", d)
	}
	eventually(t, "w1 is suspect", r.table.Load().Node("w1").Suspect)
	began = time.Now()
	r.get("/", "Cookie: JSESSIONID=x.w1").want(t, 200, "w2")
	if d := time.Since(began); d >= 900*time.Millisecond {
		t.Errorf("answered after %s: w1 was tried again", d)
	}
}

// A worker whose connections are all busy is looked at, and is not gone.
func TestBusyIsNotVanished(t *testing.T) {
	r := run(t, func(c *Config) {
		c.Upstream.Health = Health{Interval: time.Hour, Timeout: time.Millisecond}
		c.Upstream.MaxConnections = 1
		c.Upstream.ConnectTimeout = 900 * time.Millisecond
	})
	release := make(chan bool)
	arrived := make(chan bool, 1)
	w := startWorker(t, func(c net.Conn, q *received) bool {
		arrived <- true
		<-release
		return say(okHead+"ok")(c, q)
	})
	r.register("w1", w)
	first := dial(t, r.addr)
	first.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	wait(t, arrived, "the first request is there")
	r.get("/").want(t, 503, sayNoWorker)
	if n := w.connections(); n != 2 {
		t.Errorf("%d connections, want that of the request and that of the look", n)
	}
	eventually(t, "looks end", func() bool { return r.probes.value() == 0 })
	if r.table.Load().Node("w1").Suspect() {
		t.Error("w1 accepts connections, and is suspect")
	}
	close(release)
	first.read("GET").want(t, 200, "ok")
}
