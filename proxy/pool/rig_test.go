package pool

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// worker sends back each byte it reads; after "c" it closes instead, after "x" it
// sends one too many.
type worker struct {
	listener net.Listener
	all      sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]bool
	accepted int
	over     bool
}

func newWorker(t testing.TB, address string, conf *tls.Config) *worker {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, l, conf)
}

// newTwins makes two workers on one port of 127.0.0.1 and 127.0.0.2.
func newTwins(t testing.TB) (one, two *worker) {
	t.Helper()
	for range 20 { // somebody else may have the port on the other address
		a, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		b, err := net.Listen("tcp", net.JoinHostPort("127.0.0.2", portOf(a.Addr().String())))
		if err == nil {
			return serveOn(t, a, nil), serveOn(t, b, nil)
		}
		a.Close()
	}
	t.Fatal("no port is free on both addresses")
	return nil, nil
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

func serveOn(t testing.TB, l net.Listener, conf *tls.Config) *worker {
	w := &worker{listener: l, conns: map[net.Conn]bool{}}
	w.all.Go(func() {
		for {
			raw, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue // no descriptor left, for a moment
			}
			w.all.Go(func() { w.serve(raw, conf) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.end()
		w.all.Wait()
	})
	return w
}

func (w *worker) serve(raw net.Conn, conf *tls.Config) {
	w.mu.Lock()
	w.conns[raw] = true
	w.accepted++
	if w.over {
		raw.Close()
	}
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.conns, raw)
		w.mu.Unlock()
		raw.Close()
	}()
	c := raw
	if conf != nil {
		c = tls.Server(raw, conf)
	}
	b := make([]byte, 1)
	for {
		if _, err := c.Read(b); err != nil || b[0] == 'c' {
			return
		}
		out := b
		if b[0] == 'x' {
			out = []byte("xx")
		}
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

func (w *worker) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	for c := range w.conns {
		c.Close()
	}
}

func (w *worker) open() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.conns)
}

// count is how many connections were made.
func (w *worker) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.accepted
}

func (w *worker) address() string { return w.listener.Addr().String() }

func (w *worker) port() string { return portOf(w.address()) }

// newPool makes a pool that is closed at the end, with nothing left of it.
func newPool(t testing.TB, c Config) *Pool {
	p := New(c)
	t.Cleanup(func() {
		p.Close()
		p.Wait()
	})
	return p
}

func open(t testing.TB, p *Pool) *Conn {
	t.Helper()
	c, err := p.Open(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ask exchanges one byte.
func ask(t testing.TB, c *Conn, what string) {
	t.Helper()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	defer c.SetDeadline(time.Time{})
	in := make([]byte, 1)
	if _, n, err := c.WriteRead([]byte(what), in); err != nil || n != 1 || string(in) != what {
		t.Fatalf("sent %q, got %q, %v", what, in[:n], err)
	}
}

// eventually waits for something that other goroutines bring about.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not seen within 10 s: %s", what)
		}
	}
}

func wantStats(t testing.TB, p *Pool, want Stats) {
	t.Helper()
	eventually(t, fmt.Sprintf("%+v", want), func() bool { return p.Stats() == want })
}

// later lets the pool's clock run ahead.
func (p *Pool) later(d time.Duration) { p.born = p.born.Add(-d) }

type opened struct {
	c   *Conn
	err error
}

// opening calls Open in the background, and returns when it waits.
func opening(t testing.TB, p *Pool, cancel <-chan struct{}, gone func() bool) <-chan opened {
	t.Helper()
	before := p.Stats().Waiting
	done := make(chan opened, 1)
	go func() {
		c, err := p.Open(cancel, gone)
		done <- opened{c, err}
	}()
	eventually(t, "somebody waiting", func() bool { return p.Stats().Waiting > before })
	return done
}

func receive(t testing.TB, from <-chan opened) (*Conn, error) {
	t.Helper()
	select {
	case o := <-from:
		return o.c, o.err
	case <-time.After(10 * time.Second):
		t.Fatal("Open does not return")
		return nil, nil
	}
}

// gate is a name server that lets one question through at a time, and so holds
// dials up: it is a Config.Lookup for a name never found before.
type gate struct {
	asked   chan struct{}
	answers chan answer
}

type answer struct {
	list []netip.Addr
	err  error
}

func newGate() *gate { return &gate{make(chan struct{}, 1000), make(chan answer)} }

func (g *gate) lookup(ctx context.Context, _ string) ([]netip.Addr, error) {
	g.asked <- struct{}{}
	select {
	case a := <-g.answers:
		return a.list, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var (
	loopback  = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	errNoName = &net.DNSError{Err: "no such host", Name: "worker", IsNotFound: true}
)

// certificate makes a server's TLS configuration and its client's, for a name.
func certificate(t testing.TB, name string) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	server = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	return server, &tls.Config{RootCAs: roots, ServerName: name}
}

// isDialError says what kind of failure a dial was.
func isDialError(t testing.TB, err error) *DialError {
	t.Helper()
	var d *DialError
	if !errors.As(err, &d) {
		t.Fatalf("%v (%T) is not a *DialError", err, err)
	}
	return d
}
