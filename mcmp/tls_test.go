package mcmp

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/netip"
	"testing"
	"time"
)

// issue makes a certificate for name, signed by a CA; without one it is the CA.
func issue(t *testing.T, name string, ca *tls.Certificate) tls.Certificate {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: ca == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	parent, signer := c, any(private)
	if ca != nil {
		parent, signer = ca.Leaf, ca.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private, Leaf: leaf}
}

// TestTLS: client certificates none, requested and required, and their names.
func TestTLS(t *testing.T) {
	ca := issue(t, "ca", nil)
	pool := x509.NewCertPool()
	pool.AddCert(ca.Leaf)
	server, worker, stranger := issue(t, "lb", &ca), issue(t, "worker1", &ca), issue(t, "stranger", &ca)
	otherCA := issue(t, "ca2", nil)
	forged := issue(t, "worker1", &otherCA)

	for _, c := range []struct {
		what   string
		auth   tls.ClientAuthType
		names  []string
		nets   []netip.Prefix
		cert   *tls.Certificate
		status int // 0: no connection
	}{
		{what: "none", auth: tls.NoClientCert, status: 200},
		{what: "requested, none given", auth: tls.VerifyClientCertIfGiven, names: []string{"worker1"}, status: 200},
		{what: "requested, wrong name", auth: tls.VerifyClientCertIfGiven, names: []string{"worker1"}, cert: &stranger, status: 403},
		{what: "required, none given", auth: tls.RequireAndVerifyClientCert},
		{what: "required, other CA", auth: tls.RequireAndVerifyClientCert, cert: &forged},
		{what: "required", auth: tls.RequireAndVerifyClientCert, cert: &stranger, status: 200},
		{what: "required, right name", auth: tls.RequireAndVerifyClientCert, names: []string{"x", "WORKER1"}, cert: &worker, status: 200},
		{what: "required, wrong name", auth: tls.RequireAndVerifyClientCert, names: []string{"worker1"}, cert: &stranger, status: 403},
		{what: "right name, wrong network", auth: tls.RequireAndVerifyClientCert, names: []string{"worker1"}, nets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, cert: &worker, status: 403},
	} {
		r := newRig(t, func(_ *rig, cfg *Config) {
			l := &cfg.Listeners[0]
			l.TLS = &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: pool, ClientAuth: c.auth, MinVersion: tls.VersionTLS12}
			l.ClientNames, l.Allowed = c.names, c.nets
		})
		cfg := &tls.Config{RootCAs: pool}
		if c.cert != nil {
			cfg.Certificates = []tls.Certificate{*c.cert}
		}
		nc, err := tls.Dial("tcp", r.addr, cfg)
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		l := &link{Conn: nc, t: t, r: bufio.NewReader(nc)}
		l.say("VERSION / HTTP/1.1\r\nHost: 127.0.0.1:6666\r\n\r\n")
		a, err := readAnswer(l.r, "VERSION")
		if (err == nil) != (c.status != 0) || a.status != c.status {
			t.Errorf("%s: %v, %v", c.what, a, err)
		}
		nc.Close()
	}
}

// TestTLSPlain: what speaks no TLS is dropped, and held no longer than a request.
func TestTLSPlain(t *testing.T) {
	ca := issue(t, "lb", nil)
	r := newRig(t, func(_ *rig, c *Config) {
		c.Listeners[0].TLS = &tls.Config{Certificates: []tls.Certificate{ca}}
	})
	c := r.dial(t)
	defer c.Close()
	c.say("INFO / HTTP/1.1\r\nHost: h\r\n\r\n")
	if _, err := readAnswer(c.r, "INFO"); err == nil {
		t.Error("answered in clear")
	}
	eventually(t, "the failed handshake is logged", func() bool { return r.logs.count("type=handshake") == 1 })
}
