package pool

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"
)

// names is a name server.
type names struct {
	mu    sync.Mutex
	list  []netip.Addr
	err   error
	asked int
}

func (n *names) lookup(context.Context, string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	return n.list, n.err
}

func (n *names) set(err error, addresses ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list, n.err = nil, err
	for _, a := range addresses {
		n.list = append(n.list, netip.MustParseAddr(a))
	}
}

func (n *names) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

// sweepAt calls Sweep at a time after the pool was made, and returns when the
// look-up it started, if any, has ended.
func sweepAt(p *Pool, d time.Duration) {
	p.Sweep(p.born.Add(d))
	p.Wait()
}

func remote(c *Conn) string { return c.TCP().RemoteAddr().String() }

func TestAddressesAreNotLookedUp(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	n := &names{}
	p := newPool(t, Config{Address: w.address(), Lookup: n.lookup})
	ask(t, open(t, p), "1")
	sweepAt(p, time.Hour)
	if n.count() != 0 {
		t.Errorf("asked %d times", n.count())
	}
	if p := newPool(t, Config{Address: "[::1]:80"}); p.where.name != "" {
		t.Errorf("%q is taken for a name", p.where.name)
	}
}

func TestNamesAreLookedUpOffThePath(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	n := &names{}
	n.set(nil, "::ffff:127.0.0.1")
	p := newPool(t, Config{Address: "worker:" + w.port(), Lookup: n.lookup, MaxIdle: -1, DNSTTL: time.Minute})
	for _, step := range []struct {
		after time.Duration
		asked int
	}{{time.Second, 1}, {2 * time.Second, 1}, {60 * time.Second, 1}, {61 * time.Second, 2}, {120 * time.Second, 2}, {121 * time.Second, 3}} {
		sweepAt(p, step.after)
		p.Drop(open(t, p), false)
		if n.count() != step.asked {
			t.Fatalf("after %v asked %d times, want %d", step.after, n.count(), step.asked)
		}
	}
}

func TestFirstDialLooksUp(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	n := &names{}
	p := newPool(t, Config{Address: "worker:" + w.port(), Lookup: n.lookup})
	n.set(errNoName)
	_, err := p.Open(nil, nil)
	if isDialError(t, err); !errors.Is(err, errNoName) || err.Error() != "dial tcp: lookup worker: no such host" {
		t.Errorf("got %v", err)
	}
	n.set(nil)
	if _, err = p.Open(nil, nil); err == nil || err.Error() != "dial tcp: lookup worker: no such host" {
		t.Errorf("without an address: %v", err)
	}
	n.set(nil, "127.0.0.1")
	ask(t, open(t, p), "1")
}

func TestLastGoodAnswerIsKept(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	n := &names{}
	n.set(nil, "127.0.0.1")
	p := newPool(t, Config{Address: "worker:" + w.port(), Lookup: n.lookup, MaxIdle: -1})
	idle := open(t, p)
	p.Put(idle, -1)
	n.set(errors.New("server misbehaving"))
	sweepAt(p, time.Second) // answered already: not due
	sweepAt(p, 61*time.Second)
	if n.count() != 2 {
		t.Fatalf("asked %d times, want 2", n.count())
	}
	ask(t, open(t, p), "1")
	sweepAt(p, 65*time.Second)
	sweepAt(p, 66*time.Second) // sooner, in doubt
	if n.count() != 3 {
		t.Fatalf("asked %d times, want 3", n.count())
	}
}

func TestOneAddressWhileItAnswers(t *testing.T) {
	one, two := newTwins(t)
	n := &names{}
	n.set(nil, "127.0.0.1", "127.0.0.2")
	p := newPool(t, Config{Address: "worker:" + one.port(), Lookup: n.lookup, MaxIdle: -1})
	c := open(t, p)
	if remote(c) != one.address() {
		t.Fatalf("connected to %s", remote(c))
	}
	p.Put(c, 100)
	n.set(nil, "127.0.0.2", "127.0.0.1")
	sweepAt(p, 61*time.Second)
	if n.count() != 2 {
		t.Fatalf("asked %d times, want 2", n.count())
	}
	if p.Get() != c {
		t.Error("the order of the answers made it close a connection")
	}
	if c := open(t, p); remote(c) != one.address() {
		t.Errorf("connected to %s while the first still answers", remote(c))
	}
	one.listener.Close()
	if c := open(t, p); remote(c) != two.address() {
		t.Errorf("connected to %s", remote(c))
	}
	if p.where.list[p.where.current].String() != "127.0.0.2" {
		t.Error("the address that answers is not noted")
	}
	two.listener.Close()
	_, err := p.Open(nil, nil)
	if isDialError(t, err); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
}

// A protocol that this machine does not have says nothing about the worker, even if
// the resolver has it first.
func TestErrorOfTheUsableAddress(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	w.listener.Close()
	n := &names{}
	n.set(nil, "2001:db8::1", "127.0.0.1")
	p := newPool(t, Config{Address: "worker:" + w.port(), Lookup: n.lookup})
	p.dialer.Control = func(network, _ string, _ syscall.RawConn) error {
		if network == "tcp6" {
			return syscall.EADDRNOTAVAIL
		}
		return nil
	}
	if _, err := p.Open(nil, nil); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
}

// The worker was started elsewhere, under the same name.
func TestMoved(t *testing.T) {
	old, new := newTwins(t)
	n := &names{}
	n.set(nil, "127.0.0.1")
	p := newPool(t, Config{Address: "worker:" + old.port(), Lookup: n.lookup, MaxIdle: -1})
	used, idle := open(t, p), open(t, p)
	p.Put(idle, 100)
	n.set(nil, "127.0.0.2")
	sweepAt(p, 61*time.Second)
	wantStats(t, p, Stats{Open: 1})
	ask(t, used, "1")
	p.Put(used, 100)
	wantStats(t, p, Stats{})
	if c := open(t, p); remote(c) != new.address() {
		t.Errorf("connected to %s", remote(c))
	}
}

// The name is asked for soon after a dial has failed: the worker may have moved.
func TestFailedDialAsksSooner(t *testing.T) {
	w, other := newTwins(t)
	other.listener.Close()
	n := &names{}
	n.set(nil, "127.0.0.2")
	p := newPool(t, Config{Address: "worker:" + w.port(), Lookup: n.lookup})
	if _, err := p.Open(nil, nil); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("got %v", err)
	}
	n.set(nil, "127.0.0.1")
	sweepAt(p, 6*time.Second)
	ask(t, open(t, p), "1")
}

func TestSystemsResolver(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	p := newPool(t, Config{Address: "localhost:" + w.port()})
	ask(t, open(t, p), "1") // be localhost ::1 first or not
}
