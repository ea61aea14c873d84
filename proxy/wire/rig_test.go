package wire

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon is longer than anything here takes on a slow machine.
const soon = 20 * time.Second

// until waits for what happens in the kernel, or in another goroutine.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(soon); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s in vain", what)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// sockets returns the two ends of a connection over loopback; a was dialled.
func sockets(t testing.TB) (a, b *net.TCPConn) {
	t.Helper()
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	return connect(t, l)
}

func connect(t testing.TB, l net.Listener) (a, b *net.TCPConn) {
	a = must(net.Dial("tcp", l.Addr().String())).(*net.TCPConn)
	b = must(l.Accept()).(*net.TCPConn)
	t.Cleanup(func() {
		a.SetLinger(0) // thousands in TIME_WAIT would slow down whoever looks for a port
		a.Close()
		b.Close()
	})
	return a, b
}

// plain returns a Conn that we dialled, armed for the length of a test, and its peer.
func plain(t testing.TB) (*Conn, *net.TCPConn) {
	t.Helper()
	a, b := sockets(t)
	c := must(New(a))
	c.Arm(time.Now(), 0, soon)
	return c, b
}

// a peer behind TLS. While it is corked what it sends is kept, so that a test decides how
// much of it travels in one piece.
type peer struct {
	*tls.Conn
	cork *cork
}

type cork struct {
	*net.TCPConn
	mu   sync.Mutex
	on   bool
	held bytes.Buffer
}

func (c *cork) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.on {
		return c.held.Write(b)
	}
	return c.TCPConn.Write(b)
}

// hold returns what send wrote to the network, and did not travel.
func (p *peer) hold(send func()) []byte {
	set := func(on bool) {
		p.cork.mu.Lock()
		defer p.cork.mu.Unlock()
		p.cork.on = on
	}
	set(true)
	send()
	set(false)
	return bytes.Clone(p.cork.held.Next(p.cork.held.Len()))
}

var certificate = sync.OnceValue(func() tls.Certificate {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	like := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der := must(x509.CreateCertificate(rand.Reader, &like, &like, &key.PublicKey, key))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// secure is plain, with TLS in between and the handshake done.
func secure(t testing.TB, version uint16) (*Conn, *peer) {
	t.Helper()
	c, b := plain(t)
	k := &cork{TCPConn: b}
	p := &peer{Conn: tls.Server(k, &tls.Config{
		Certificates: []tls.Certificate{certificate()}, MinVersion: version, MaxVersion: version,
	}), cork: k}
	done := make(chan error, 1)
	go func() { done <- p.Handshake() }()
	client := tls.Client(c.NetConn(), &tls.Config{InsecureSkipVerify: true})
	c.Secure(client)
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c, p
}

// stream is either kind of peer.
type stream interface {
	net.Conn
	CloseWrite() error
}

// both runs a test over a plain connection and over TLS.
func both(t *testing.T, f func(t *testing.T, c *Conn, p stream, tcp *net.TCPConn)) {
	t.Run("plain", func(t *testing.T) {
		c, p := plain(t)
		f(t, c, p, p)
	})
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			c, p := secure(t, version)
			f(t, c, p, p.cork.TCPConn)
		})
	}
}

// echo answers everything with itself until the stream ends, and allocates nothing.
func echo(t testing.TB, p net.Conn) {
	var wg sync.WaitGroup
	wg.Go(func() {
		b := make([]byte, 32<<10)
		for {
			n, err := p.Read(b)
			if err != nil {
				return
			}
			if _, err = p.Write(b[:n]); err != nil {
				return
			}
		}
	})
	t.Cleanup(func() { p.Close(); wg.Wait() })
}

// say writes b as the peer.
func say(t testing.TB, p net.Conn, b string) {
	t.Helper()
	if _, err := p.Write([]byte(b)); err != nil {
		t.Fatal(err)
	}
}

// hear reads exactly what is expected, as the peer.
func hear(t testing.TB, p net.Conn, want string) {
	t.Helper()
	p.SetReadDeadline(time.Now().Add(soon))
	b := make([]byte, len(want))
	for n := 0; n < len(b); {
		k, err := p.Read(b[n:])
		if n += k; err != nil && n < len(b) {
			t.Fatalf("heard %q, then %v, want %q", b[:n], err, want)
		}
	}
	if string(b) != want {
		t.Fatalf("heard %q, want %q", b, want)
	}
}

// read reads once, and must get what is expected.
func read1(t testing.TB, c *Conn, want string) {
	t.Helper()
	b := make([]byte, 64)
	n, err := c.Read(b)
	if err != nil || string(b[:n]) != want {
		t.Fatalf("read %q, %v, want %q", b[:n], err, want)
	}
}
