package pool

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"syscall"
	"testing"
	"time"
)

func TestRefused(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	w.listener.Close()
	p := newPool(t, Config{Address: w.address()})
	_, err := p.Open(nil, nil)
	if d := isDialError(t, err); d.Handshake || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
	if want := "dial tcp " + w.address() + ": connect: connection refused"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	wantStats(t, p, Stats{})
}

func TestBadAddress(t *testing.T) {
	for _, address := range []string{"", "worker", "worker:http", "worker:70000", "::1:80"} {
		p := newPool(t, Config{Address: address})
		_, err := p.Open(nil, nil)
		var bad *net.AddrError
		if isDialError(t, err); !errors.As(err, &bad) {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// Our own trouble comes through as it is: it says nothing about the worker.
func TestNoDescriptorLeft(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	p := newPool(t, Config{Address: w.address()})
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	none := before
	none.Cur = 3
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	_, err := p.Open(nil, nil)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if isDialError(t, err); !errors.Is(err, syscall.EMFILE) {
		t.Fatalf("got %v", err)
	}
	wantStats(t, p, Stats{})
	ask(t, open(t, p), "1")
}

// A worker that takes the connection and says nothing of TLS.
func TestHandshakeTakesTooLong(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := newPool(t, Config{Address: l.Addr().String(), TLS: &tls.Config{ServerName: "worker"}, ConnectTimeout: 50 * time.Millisecond})
	_, err = p.Open(nil, nil)
	if d := isDialError(t, err); !d.Handshake || !isTimeout(err) {
		t.Errorf("got %v", err)
	}
	wantStats(t, p, Stats{})
}

func TestCertificateNotTrusted(t *testing.T) {
	server, client := certificate(t, "worker.example")
	w := newWorker(t, "127.0.0.1:0", server)
	client.ServerName = "other.example"
	p := newPool(t, Config{Address: w.address(), TLS: client})
	_, err := p.Open(nil, nil)
	var name x509.HostnameError
	if d := isDialError(t, err); !d.Handshake || !errors.As(err, &name) {
		t.Errorf("got %v", err)
	}
	wantStats(t, p, Stats{})
	eventually(t, "connection closed", func() bool { return w.open() == 0 })
}

func TestVerifyConnectionIsTheCallers(t *testing.T) {
	server, client := certificate(t, "worker.example")
	w := newWorker(t, "127.0.0.1:0", server)
	refused := errors.New("not this one")
	client.VerifyConnection = func(tls.ConnectionState) error { return refused }
	p := newPool(t, Config{Address: w.address(), TLS: client})
	if _, err := p.Open(nil, nil); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
}

func TestTLS(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			server, client := certificate(t, "worker.example")
			client.MaxVersion = version
			w := newWorker(t, "127.0.0.1:0", server)
			p := newPool(t, Config{Address: w.address(), TLS: client, MaxIdle: -1})
			c := open(t, p)
			if c.TLS().ConnectionState().DidResume {
				t.Error("the first connection resumes a session")
			}
			if c.Before == 0 {
				t.Error("the handshake is not in Before")
			}
			ask(t, c, "1")
			p.Put(c, -1)
			if p.Get() != c {
				t.Fatal("not kept")
			}
			ask(t, c, "2")
			other := open(t, p)
			if !other.TLS().ConnectionState().DidResume {
				t.Error("the second connection does not resume the session")
			}
			ask(t, other, "3")
			p.Drop(c, false)
			p.Drop(other, true)
			eventually(t, "connections closed", func() bool { return w.open() == 0 })
			if client.ClientSessionCache != nil {
				t.Error("the caller's configuration was changed")
			}
		})
	}
}

// The tickets that a TLS 1.3 worker sends after the handshake are not an answer
// nobody asked for: a connection that idled unused is good.
func TestTicketsAreNotUnexpectedBytes(t *testing.T) {
	server, client := certificate(t, "worker.example")
	w := newWorker(t, "127.0.0.1:0", server)
	p := newPool(t, Config{Address: w.address(), TLS: client, MaxIdle: -1})
	c := open(t, p)
	p.Put(c, -1)
	eventually(t, "tickets arrived", func() bool { return queued(t, c) > 0 })
	p.Sweep(time.Now())
	if p.Get() != c {
		t.Fatal("closed for its tickets")
	}
	ask(t, c, "1")
}

// queued is how many bytes the kernel holds for c.
func queued(t *testing.T, c *Conn) (n int) {
	t.Helper()
	raw, err := c.TCP().SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		n, _, err = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestDialErrorUnwraps(t *testing.T) {
	err := &DialError{Address: "worker:8443", Handshake: true, Err: context.DeadlineExceeded}
	if want := "TLS with worker:8443: context deadline exceeded"; err.Error() != want || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %q", err)
	}
}
