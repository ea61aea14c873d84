package gossip

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func key(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

// member opens a hurried Gossip on loopback.
func member(t *testing.T, id string, change func(*Config)) *Gossip {
	t.Helper()
	c := Config{
		ID: id, Name: "name-" + id, Version: "0.1.0",
		ClusterAddress: "127.0.0.1:1", Bind: "127.0.0.1:0",
		Keys: [][]byte{key(1)}, probe: 100 * time.Millisecond,
	}
	if change != nil {
		change(&c)
	}
	g, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// start runs g until the test ends or the returned func is called.
func start(t *testing.T, g *Gossip) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func join(addrs ...string) func(*Config) {
	return func(c *Config) { c.Join = addrs }
}

// lines keeps what is logged.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// until waits for a condition; 20 s is for a machine that does much else.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("no sign of: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func sees(g *Gossip, ids ...string) func() bool {
	return func() bool {
		var got []string
		for _, m := range g.Members() {
			got = append(got, m.ID)
		}
		return slices.Equal(got, ids)
	}
}

func find(g *Gossip, id string) Member {
	for _, m := range g.Members() {
		if m.ID == id {
			return m
		}
	}
	return Member{}
}

func TestThreeFindEachOtherThroughOneSeed(t *testing.T) {
	a := member(t, "a", nil)
	b := member(t, "b", join(a.Addr()))
	c := member(t, "c", join(a.Addr()))
	for _, g := range []*Gossip{a, b, c} {
		start(t, g)
	}
	for _, g := range []*Gossip{a, b, c} {
		until(t, g.config.ID+" sees all", sees(g, "a", "b", "c"))
	}
	want := Member{ID: "c", Name: "name-c", ClusterAddress: "127.0.0.1:1", Version: "0.1.0", Addr: c.Addr()}
	if got := find(b, "c"); got != want {
		t.Errorf("b knows c as %+v, want %+v", got, want)
	}
}

func TestOwnRecordFollowsReadyAndClusterID(t *testing.T) {
	var ready atomic.Bool
	a := member(t, "a", func(c *Config) {
		c.Ready = ready.Load
		c.ClusterID = func() string {
			if ready.Load() {
				return "cluster-1"
			}
			return ""
		}
	})
	b := member(t, "b", join(a.Addr()))
	start(t, a)
	start(t, b)
	until(t, "b sees a", sees(b, "a", "b"))
	ready.Store(true)
	if err := a.Update(); err != nil {
		t.Fatal(err)
	}
	until(t, "b hears that a is ready", func() bool {
		m := find(b, "a")
		return m.Ready && m.ClusterID == "cluster-1"
	})
	ready.Store(false) // found by Run itself
	until(t, "b hears that a is not ready", func() bool { return !find(b, "a").Ready })
}

func TestAnotherSecretNeverJoins(t *testing.T) {
	a := member(t, "a", nil)
	var logs lines
	x := member(t, "x", func(c *Config) {
		c.Keys, c.Join = [][]byte{key(2)}, []string{a.Addr()}
		c.Log = slog.New(slog.NewTextHandler(&logs, nil))
	})
	start(t, a)
	until(t, "a sees itself", sees(a, "a"))
	start(t, x)
	until(t, "x sees itself", sees(x, "x"))
	want := `level=WARN msg="seed refused" seed=` + a.Addr() + ` error="join ` + a.Addr() + `: refused: not the same cluster secret"`
	until(t, "x says why", func() bool { return strings.Contains(logs.String(), want) })
	if !sees(a, "a")() || !sees(x, "x")() {
		t.Errorf("a sees %v, x sees %v", a.Members(), x.Members())
	}
}

func TestSecretsRotate(t *testing.T) {
	// a has swapped to the new key, b has only added it: both must hear the other.
	a := member(t, "a", func(c *Config) { c.Keys = [][]byte{key(2), key(1)} })
	b := member(t, "b", func(c *Config) { c.Keys = [][]byte{key(1), key(2)}; c.Join = []string{a.Addr()} })
	start(t, a)
	start(t, b)
	until(t, "a sees b", sees(a, "a", "b"))
	until(t, "b sees a", sees(b, "a", "b"))
}

func TestReturnOnAnotherPort(t *testing.T) {
	a := member(t, "a", nil)
	start(t, a)
	b := member(t, "b", join(a.Addr()))
	kill := start(t, b)
	until(t, "a sees b", sees(a, "a", "b"))
	kill() // no Leave: as after kill -9
	again := member(t, "b", join(a.Addr()))
	if again.Addr() == b.Addr() {
		t.Skip("the kernel gave the same port again")
	}
	start(t, again)
	until(t, "a sees b at its new address", func() bool { return find(a, "b").Addr == again.Addr() })
}

func TestLeaveIsHeardAtOnce(t *testing.T) {
	// Probes are far apart: only the goodbye can tell.
	slow := func(c *Config) { c.probe = time.Minute }
	a := member(t, "a", slow)
	b := member(t, "b", func(c *Config) { slow(c); c.Join = []string{a.Addr()} })
	start(t, a)
	stop := start(t, b)
	until(t, "a sees b", sees(a, "a", "b"))
	until(t, "b sees a", sees(b, "a", "b"))
	if err := b.Leave(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	until(t, "a sees b gone", sees(a, "a"))
	stop()
	if err := b.Leave(time.Second); err != nil {
		t.Errorf("Leave after the end: %v", err)
	}
}

func TestNetworksNotAllowedAreNotHeard(t *testing.T) {
	a := member(t, "a", func(c *Config) {
		c.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.1/32")}
	})
	b := member(t, "b", func(c *Config) { c.Join = []string{a.Addr()} })
	start(t, a)
	start(t, b)
	until(t, "an allowed one is seen", sees(a, "a", "b"))

	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).Dial("tcp", a.Addr())
	if err != nil {
		t.Skipf("no second loopback address: %v", err)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a stream from another network was kept: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no id", func(c *Config) { c.ID = "" }, "1 to 255 bytes"},
		{"short key", func(c *Config) { c.Keys = [][]byte{key(1), {1}} }, "key 2 has 1 bytes"},
		{"port taken", func(c *Config) { c.Bind = taken.Addr().String() }, "address already in use"},
		{"long field", func(c *Config) { c.Name = strings.Repeat("n", 256) }, "name has 256 bytes"},
		{"long record", func(c *Config) { c.Name, c.ClusterAddress = strings.Repeat("n", 255), strings.Repeat("a", 255) }, "at most 512"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := Config{ID: "a", Bind: "127.0.0.1:0", Version: "0.1.0"}
			c.change(&conf)
			g, err := Open(conf)
			if err == nil {
				g.Close()
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %q, want it to say %q", err, c.want)
			}
		})
	}
}

func TestCloseFreesThePort(t *testing.T) {
	a := member(t, "a", nil)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	b := member(t, "b", func(c *Config) { c.Bind = a.Addr() })
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAdvertiseHost(t *testing.T) {
	for _, c := range []struct {
		name, bind, advertise string
		seeds                 []string
		want, wantErr         string
	}{
		{name: "given", bind: "0.0.0.0:1", advertise: "10.1.2.3", want: "10.1.2.3"},
		{name: "bound", bind: "127.0.0.1:1", want: "127.0.0.1"},
		{name: "seeds on this machine", bind: "127.0.0.1:1", seeds: []string{"127.0.0.1:2", "localhost:3"}, want: "127.0.0.1"},
		{name: "no port", bind: "127.0.0.1", wantErr: "missing port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := AdvertiseHost(c.bind, c.advertise, c.seeds)
			if c.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantErr) {
					t.Fatalf("got %v, want an error about %q", err, c.wantErr)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
	t.Run("wildcard", func(t *testing.T) {
		got, err := AdvertiseHost(":1", "", nil)
		if err != nil || got != ownAddress().String() {
			t.Errorf("got %q, %v, want this machine's address %s", got, err, ownAddress())
		}
	})
	t.Run("loopback while a seed is elsewhere", func(t *testing.T) {
		other := ownAddress()
		if other.IsLoopback() {
			t.Skip("this machine has no address but loopback")
		}
		seed := netip.AddrPortFrom(other, 7301).String()
		// The route to an address of one's own has that address as its source.
		if got, err := AdvertiseHost("127.0.0.1:1", "", []string{seed}); err == nil {
			t.Errorf("got %q, want a refusal", got)
		}
	})
}
