package raftnode

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

var testSecret = Secret{1, 2, 3}

// testLink runs a link on loopback until the test ends.
type testLink struct {
	*link
	stop func() error // ends it; returns what Run said
	done chan struct{}
	log  *logged
}

func startLink(t *testing.T, id string, change func(*linkConfig)) *testLink {
	t.Helper()
	creds, err := NewCredentials(id, []Secret{testSecret})
	if err != nil {
		t.Fatal(err)
	}
	log := new(logged)
	c := linkConfig{
		Self:    func() Hello { return Hello{ID: id, Name: "name-" + id, Version: "0.1.0", Schema: 1} },
		Listen:  "127.0.0.1:0",
		Creds:   creds,
		Handler: http.HandlerFunc(whoami),
		Log:     slog.New(log),
	}
	if change != nil {
		change(&c)
	}
	l, err := openLink(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	tl := &testLink{link: l, done: make(chan struct{}), log: log}
	var ended error
	go func() {
		defer close(tl.done)
		ended = l.Run(ctx)
	}()
	tl.stop = func() error {
		cancel()
		<-tl.done
		return ended
	}
	t.Cleanup(func() { tl.stop() })
	return tl
}

// meet connects to addr, learns who is there, and hangs up.
func (l *testLink) meet(ctx context.Context, addr string) (Hello, error) {
	conn, theirs, err := l.dial(ctx, addr, "", protoAPI)
	if err != nil {
		return Hello{}, err
	}
	conn.NetConn().Close()
	return theirs, nil
}

// met is what l knows of a replica; the zero peer if nothing.
func (l *testLink) met(id string) peer {
	l.peers.mu.Lock()
	defer l.peers.mu.Unlock()
	return l.peers.met[id]
}

// connected counts the connections with a replica.
func (l *testLink) connected(id string) (n int) {
	l.peers.mu.Lock()
	defer l.peers.mu.Unlock()
	for w := range l.peers.wires {
		if w.proto != "" && w.hello.ID == id {
			n++
		}
	}
	return n
}

// whoami answers with the protocol's version, who asks, and what was sent.
func whoami(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "HTTP/%d %s %s", r.ProtoMajor, callerOf(r.Context()).ID, body)
}

func at(l *testLink) func(string) (string, bool) {
	return func(string) (string, bool) { return l.Addr().String(), true }
}

// logged keeps the errors a link logged.
type logged struct {
	mu   sync.Mutex
	errs []error
}

func (r *logged) Enabled(context.Context, slog.Level) bool { return true }
func (r *logged) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *logged) WithGroup(string) slog.Handler            { return r }
func (r *logged) Handle(_ context.Context, rec slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			r.errs = append(r.errs, err)
		}
		return true
	})
	return nil
}

func (r *logged) has(want error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, err := range r.errs {
		if errors.Is(err, want) {
			return true
		}
	}
	return false
}

// soon waits for a condition; 20 s is for a machine that does much else.
func soon(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("no sign of: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func helloOf(id, cluster string) func() Hello {
	return func() Hello { return Hello{ID: id, Name: "name-" + id, ClusterID: cluster} }
}

func TestForeignSecretIsRefusedOnBothSides(t *testing.T) {
	other := Secret{9}
	for _, c := range []struct {
		name           string
		server, client []Secret
		ok             bool
	}{
		{"nothing in common: the client sees it", []Secret{testSecret}, []Secret{other}, false},
		{"the server accepts one, the client none", []Secret{testSecret, other}, []Secret{other}, false},
		{"the client accepts one, the server none", []Secret{testSecret}, []Secret{other, testSecret}, false},
		{"both accept both", []Secret{testSecret, other}, []Secret{other, testSecret}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			with := func(id string, secrets []Secret) func(*linkConfig) {
				creds, err := NewCredentials(id, secrets)
				if err != nil {
					t.Fatal(err)
				}
				return func(c *linkConfig) { c.Creds = creds }
			}
			server := startLink(t, "server", with("server", c.server))
			client := startLink(t, "client", with("client", c.client))
			_, err := client.meet(t.Context(), server.Addr().String())
			if c.ok {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, ErrWrongSecret) || !errors.Is(err, ErrUnreachable) {
				t.Errorf("the client sees %v", err)
			}
			if want := server.Addr().String() + ": refused: not the same cluster secret"; err.Error() != want {
				t.Errorf("got  %s\nwant %s", err, want)
			}
			soon(t, "the server sees it too", func() bool { return server.log.has(ErrWrongSecret) })
		})
	}
}

func TestProtocolsOnOnePort(t *testing.T) {
	a := startLink(t, "a", nil)
	b := startLink(t, "b", func(c *linkConfig) { c.Lookup = at(a) })

	got, err := b.Call(t.Context(), "a", "POST", "/who", []byte("hello"))
	if err != nil || string(got) != "HTTP/2 b hello" {
		t.Errorf("API: %q, %v", got, err)
	}
	raw, err := b.Raft().Dial("a", 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	accepted, err := a.Raft().Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	go raw.Write([]byte("raft"))
	buf := make([]byte, 4)
	if _, err := io.ReadFull(accepted, buf); err != nil || string(buf) != "raft" {
		t.Errorf("Raft: %q, %v", buf, err)
	}
	if got := a.Raft().Addr().String(); got != "a" {
		t.Errorf("Raft's address is %s, want the id", got)
	}
}

func TestOtherProtocolsAreRefused(t *testing.T) {
	a := startLink(t, "a", nil)
	creds, err := NewCredentials("x", []Secret{testSecret})
	if err != nil {
		t.Fatal(err)
	}
	for _, protos := range [][]string{nil, {"http/1.1"}} {
		conn, err := tls.Dial("tcp", a.Addr().String(), creds.config(protos...))
		if err == nil {
			conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			_, err = conn.Read(make([]byte, 1))
			conn.Close()
		}
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("ALPN %q was kept: %v", protos, err)
		}
	}
	old := creds.config(protoAPI)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if conn, err := tls.Dial("tcp", a.Addr().String(), old); err == nil {
		conn.Close()
		t.Error("TLS 1.2 was accepted")
	}
	// After all that the port still serves.
	if _, err := startLink(t, "b", nil).meet(t.Context(), a.Addr().String()); err != nil {
		t.Error(err)
	}
}

func TestHelloRefusals(t *testing.T) {
	for _, c := range []struct {
		name   string
		server func(*linkConfig)
		client func(*linkConfig)
		ask    string // id that is wanted; "" = any
		want   error
		text   string
	}{
		{
			name:   "another cluster",
			server: func(c *linkConfig) { c.Self = helloOf("server", "one") },
			client: func(c *linkConfig) { c.Self = helloOf("client", "two") },
			want:   ErrWrongCluster, text: "cluster one",
		},
		{
			name:   "a cluster and none yet",
			server: func(c *linkConfig) { c.Self = helloOf("server", "one") },
		},
		{name: "another replica at the address", ask: "somebody", want: ErrWrongReplica, text: "server answers, not somebody"},
		{
			name:   "a hello that is not the certificate's",
			client: func(c *linkConfig) { c.Self = helloOf("liar", "") },
			want:   ErrWrongReplica, text: "the certificate of client says it is liar",
		},
		{
			name: "removed",
			server: func(c *linkConfig) {
				c.Admit = func(h Hello) error { return fmt.Errorf("%s: %w", h.Name, ErrRemoved) }
			},
			want: ErrRemoved, text: "name-client: removed from the cluster",
		},
		{
			name: "name taken",
			server: func(c *linkConfig) {
				c.Admit = func(h Hello) error { return fmt.Errorf("replica.name: %s is %w", h.Name, ErrNameTaken) }
			},
			want: ErrNameTaken, text: "replica.name: name-client is taken",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := startLink(t, "server", c.server)
			client := startLink(t, "client", c.client)
			conn, _, err := client.dial(t.Context(), server.Addr().String(), c.ask, protoAPI)
			if conn != nil {
				conn.Close()
			}
			if c.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("the client sees %v, want %v and %q", err, c.want, c.text)
			}
			soon(t, "the server sees the same", func() bool { return server.log.has(c.want) })
			if got := server.met("client"); got.ID != "" {
				t.Errorf("the server thinks it met %v", got)
			}
		})
	}
}

func TestMeetingOneself(t *testing.T) {
	a := startLink(t, "a", nil)
	if _, err := a.meet(t.Context(), a.Addr().String()); !errors.Is(err, ErrSelf) {
		t.Errorf("got %v", err)
	}
}

func TestLaterOfTwoWithOneIDStops(t *testing.T) {
	a := startLink(t, "a", nil)
	first := startLink(t, "x", func(c *linkConfig) { c.Lookup = at(a) })
	second := startLink(t, "x", func(c *linkConfig) { c.Lookup = at(a) })
	if _, err := first.Call(t.Context(), "a", "GET", "/", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Call(t.Context(), "a", "GET", "/", nil); !errors.Is(err, ErrDuplicateID) {
		t.Errorf("the second is told %v", err)
	}
	<-second.done // by itself
	if err := second.stop(); !errors.Is(err, ErrDuplicateID) || !strings.Contains(err.Error(), first.Addr().String()) {
		t.Errorf("the second stops with %v", err)
	}
	if _, err := first.Call(t.Context(), "a", "GET", "/", nil); err != nil {
		t.Errorf("the first goes on with %v", err)
	}
}

func TestLaterOfTwoStopsWhenItIsCalled(t *testing.T) {
	// The second never dials: a hears of it, by gossip for example, and dials it.
	a := startLink(t, "a", nil)
	first := startLink(t, "x", nil)
	second := startLink(t, "x", nil)
	if conn, _, err := a.dial(t.Context(), first.Addr().String(), "x", protoAPI); err != nil {
		t.Fatal(err)
	} else {
		defer conn.Close()
	}
	if _, err := a.meet(t.Context(), second.Addr().String()); !errors.Is(err, ErrDuplicateID) {
		t.Errorf("a sees %v", err)
	}
	<-second.done
	if err := second.stop(); !errors.Is(err, ErrDuplicateID) {
		t.Errorf("the second stops with %v", err)
	}
	select {
	case <-first.done:
		t.Error("the first stopped too")
	case <-a.done:
		t.Error("a stopped")
	default:
	}
}

func TestCopiesThatMeetEachOther(t *testing.T) {
	older := startLink(t, "x", nil)
	newer := startLink(t, "x", nil)
	if _, err := newer.meet(t.Context(), older.Addr().String()); !errors.Is(err, ErrDuplicateID) {
		t.Errorf("got %v", err)
	}
	<-newer.done
	select {
	case <-older.done:
		t.Errorf("the older one stopped: %v", older.stop())
	default:
	}
}

// A replica that was killed and is back must not wait for connections of its former self
// that nobody reads.
func TestReturnAfterKill(t *testing.T) {
	a := startLink(t, "a", nil)
	before := startLink(t, "x", nil)
	idle, _, err := a.dial(t.Context(), before.Addr().String(), "x", protoRaft)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	before.stop()
	after := startLink(t, "x", func(c *linkConfig) { c.Lookup = at(a) })
	began := time.Now()
	if _, err := after.Call(t.Context(), "a", "GET", "/", nil); err != nil {
		t.Fatal(err)
	}
	t.Logf("welcome again after %s", time.Since(began).Round(time.Millisecond))
	if _, err := idle.Write([]byte("x")); err == nil {
		t.Error("a keeps the dead connection")
	}
	if x := a.met("x"); x.Start != after.start || x.Address != after.Addr().String() || a.connected("x") == 0 {
		t.Errorf("a knows %+v", x)
	}
}

func TestPortTaken(t *testing.T) {
	a := startLink(t, "a", nil)
	creds, err := NewCredentials("b", []Secret{testSecret})
	if err != nil {
		t.Fatal(err)
	}
	_, err = openLink(linkConfig{Self: helloOf("b", ""), Listen: a.Addr().String(), Creds: creds})
	if err == nil || !strings.Contains(err.Error(), "(cluster.address)") {
		t.Errorf("got %v", err)
	}
}

func TestCloseWithoutRun(t *testing.T) {
	creds, err := NewCredentials("a", []Secret{testSecret})
	if err != nil {
		t.Fatal(err)
	}
	l, err := openLink(linkConfig{Self: helloOf("a", ""), Listen: "127.0.0.1:0", Creds: creds})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Run(t.Context()); err != nil {
		t.Errorf("Run after Close: %v", err)
	}
}
