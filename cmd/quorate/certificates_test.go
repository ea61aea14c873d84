package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/quorate/quorate/config"
)

// certificateFor makes a new certificate that vouches for itself, and its key, in PEM.
func certificateFor(names ...string) (cert, key string) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		panic(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// shelf is certificates in a folder, and a TLS server that shows them.
type shelf struct {
	t   *testing.T
	dir string
	log *bytes.Buffer
	*certificates
}

func newShelf(t *testing.T) *shelf {
	log := &bytes.Buffer{}
	return &shelf{t: t, dir: t.TempDir(), log: log, certificates: newCertificates(slog.New(slog.NewTextHandler(log, nil)))}
}

// write puts a new certificate on the shelf.
func (s *shelf) write(file string, names ...string) config.Certificate {
	s.t.Helper()
	cert, key := certificateFor(names...)
	k := config.Certificate{CertFile: filepath.Join(s.dir, file+".pem"), KeyFile: filepath.Join(s.dir, file+"-key.pem")}
	s.put(k.CertFile, cert)
	s.put(k.KeyFile, key)
	return k
}

func (s *shelf) put(file, text string) {
	s.t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		s.t.Fatal(err)
	}
}

// serve answers handshakes with the TLS of a listener.
func (s *shelf) serve(files tlsFiles, base *tls.Config) (address string) {
	s.t.Helper()
	conf, err := s.listen("traffic.listeners[0].tls", files, base)
	if err != nil {
		s.t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	s.t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(patience))
			c.Write([]byte{'.'}) // the handshake; a client of TLS 1.3 learns of a refusal by reading
			c.Close()
		}
	}()
	return l.Addr().String()
}

// ask shakes hands and says whose certificate was shown, and whether the session was resumed.
func (s *shelf) ask(address string, c *tls.Config) (leaf *x509.Certificate, resumed bool, err error) {
	c.InsecureSkipVerify = true
	conn, err := tls.Dial("tcp", address, c)
	if err != nil {
		return nil, false, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		return nil, false, err
	}
	state := conn.ConnectionState()
	return state.PeerCertificates[0], state.DidResume, nil
}

func (s *shelf) wantShown(address, name string, k config.Certificate) {
	s.t.Helper()
	text, err := os.ReadFile(k.CertFile)
	if err != nil {
		s.t.Fatal(err)
	}
	want, _ := pem.Decode(text)
	leaf, _, err := s.ask(address, &tls.Config{ServerName: name})
	if err != nil {
		s.t.Fatal(err)
	}
	if !bytes.Equal(leaf.Raw, want.Bytes) {
		s.t.Errorf("%s was shown %s, serial %x, not %s", name, leaf.Subject.CommonName, leaf.SerialNumber, filepath.Base(k.CertFile))
	}
}

func (s *shelf) wantLog(text string, n int) {
	s.t.Helper()
	if got := strings.Count(s.log.String(), text); got != n {
		s.t.Errorf("%q is %d times in the log, want %d:\n%s", text, got, n, s.log)
	}
}

func TestCertificateBySNI(t *testing.T) {
	s := newShelf(t)
	first, wild := s.write("first", "first.example"), s.write("wild", "*.wild.example", "other.example")
	address := s.serve(tlsFiles{pairs: []config.Certificate{first, wild}}, &tls.Config{})
	for name, want := range map[string]config.Certificate{
		"first.example": first, "a.wild.example": wild, "OTHER.example": wild,
		"wild.example": first, "unknown": first, "": first,
	} {
		s.wantShown(address, name, want)
	}
}

func TestCertificateReloaded(t *testing.T) {
	s := newShelf(t)
	k, other := s.write("a", "a.example"), s.write("b", "b.example")
	address := s.serve(tlsFiles{pairs: []config.Certificate{k, other}}, &tls.Config{})

	s.look(true)
	s.wantLog("certificate reloaded", 0)
	s.write("a", "a.example")
	s.look(true) // it may still be being written
	s.wantLog("certificate reloaded", 0)
	s.look(true)
	s.wantLog("certificate reloaded", 1)
	s.wantLog("file="+k.CertFile+" not_after=", 1)
	s.wantShown(address, "a.example", k)
	s.wantShown(address, "b.example", other)
	s.look(true)
	s.wantLog("certificate reloaded", 1)

	s.write("a", "a.example")
	s.look(false) // SIGHUP: at once
	s.wantLog("certificate reloaded", 2)
	s.wantShown(address, "a.example", k)

	// The same certificate in a new file is no news.
	text, err := os.ReadFile(k.CertFile)
	if err != nil {
		t.Fatal(err)
	}
	s.put(k.CertFile, string(text))
	s.look(false)
	s.wantLog("certificate reloaded", 2)
}

func TestCertificateKept(t *testing.T) {
	s := newShelf(t)
	k, other := s.write("a", "a.example"), s.write("b", "b.example")
	address := s.serve(tlsFiles{pairs: []config.Certificate{k, other}}, &tls.Config{})
	good, err := os.ReadFile(k.CertFile)
	if err != nil {
		t.Fatal(err)
	}
	kept := config.Certificate{CertFile: filepath.Join(s.dir, "kept.pem")}
	s.put(kept.CertFile, string(good))
	stranger, _ := certificateFor("a.example")
	for i, broken := range []string{"no certificate", "", stranger} {
		s.put(k.CertFile, broken)
		s.write("b", "b.example") // what is beside it is not held up
		for range 3 {
			s.look(true)
		}
		s.wantLog("level=ERROR msg=\"certificate not reloaded\" file="+k.CertFile, i+1)
		s.wantLog("certificate reloaded", i+1)
		s.wantShown(address, "a.example", kept)
		s.wantShown(address, "b.example", other)
	}
	if err := os.Remove(k.CertFile); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s.look(true)
	}
	s.wantLog("certificate not reloaded", 4)
	s.wantShown(address, "a.example", kept)
	s.write("a", "a.example")
	s.look(false)
	s.wantShown(address, "a.example", k)
}

// Sessions outlive a new certificate, in both versions of TLS.
func TestCertificateReloadKeepsSessions(t *testing.T) {
	s := newShelf(t)
	k := s.write("a", "a.example")
	address := s.serve(tlsFiles{pairs: []config.Certificate{k}}, &tls.Config{MinVersion: tls.VersionTLS12})
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client := &tls.Config{ServerName: "a.example", MaxVersion: v, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		for i := range 3 {
			_, resumed, err := s.ask(address, client)
			if err != nil || resumed != (i > 0) {
				t.Errorf("TLS %x, connection %d: resumed %v, %v", v, i, resumed, err)
			}
			s.write("a", "a.example")
			s.look(false)
		}
	}
	s.wantLog("certificate reloaded", 6)
}

// Whom the new authorities do not vouch for is not let in, by no old session either.
func TestClientAuthoritiesReloaded(t *testing.T) {
	s := newShelf(t)
	k, old, young := s.write("a", "a.example"), s.write("old", "old client"), s.write("young", "young client")
	ca := filepath.Join(s.dir, "ca.pem")
	vouchFor := func(k config.Certificate) {
		text, err := os.ReadFile(k.CertFile)
		if err != nil {
			t.Fatal(err)
		}
		s.put(ca, string(text))
	}
	client := func(k config.Certificate, version uint16) *tls.Config {
		cert, err := tls.LoadX509KeyPair(k.CertFile, k.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{ServerName: "a.example", MaxVersion: version, Certificates: []tls.Certificate{cert}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	}
	vouchFor(old)
	address := s.serve(tlsFiles{pairs: []config.Certificate{k}, clientCA: ca}, &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12})
	var olds, youngs []*tls.Config
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		olds, youngs = append(olds, client(old, v)), append(youngs, client(young, v))
	}
	try := func(clients []*tls.Config, in bool) {
		t.Helper()
		for _, c := range clients {
			if _, _, err := s.ask(address, c); (err == nil) != in {
				t.Errorf("TLS %x: %v, want in: %v", c.MaxVersion, err, in)
			}
		}
	}
	try(olds, true)
	try(youngs, false)
	for _, c := range olds {
		if _, resumed, err := s.ask(address, c); err != nil || !resumed {
			t.Errorf("TLS %x: resumed %v, %v", c.MaxVersion, resumed, err)
		}
	}
	vouchFor(young)
	s.look(false)
	s.wantLog("msg=\"certificate reloaded\" file="+ca, 1)
	try(olds, false)
	try(youngs, true)
}

// Other files at SIGHUP: what is no longer used is forgotten, what cannot be read
// changes nothing.
func TestCertificateFilesChanged(t *testing.T) {
	s := newShelf(t)
	a, b := s.write("a", "a.example"), s.write("b", "b.example")
	address := s.serve(tlsFiles{pairs: []config.Certificate{a}}, &tls.Config{})
	s.wantShown(address, "b.example", a)
	const key = "traffic.listeners[0].tls"
	missing := config.Certificate{CertFile: filepath.Join(s.dir, "missing.pem"), KeyFile: b.KeyFile}
	err := s.change(map[string]tlsFiles{key: {pairs: []config.Certificate{b, missing}}})
	if err == nil || !strings.Contains(err.Error(), "missing.pem") || !strings.Contains(err.Error(), key) {
		t.Errorf("missing file: %v", err)
	}
	s.wantShown(address, "b.example", a)
	if err := s.change(map[string]tlsFiles{key: {pairs: []config.Certificate{b}}, "traffic.listeners[1].tls": {}}); err != nil {
		t.Fatal(err)
	}
	s.wantShown(address, "a.example", b)
	if got := s.expiries(); len(got) != 1 || got[b.CertFile] == 0 {
		t.Errorf("expiry of %v, want %s alone", got, b.CertFile)
	}
}

func TestCertificateExpiry(t *testing.T) {
	s := newShelf(t)
	a, fixed := s.write("a", "a.example"), s.write("fixed", "fixed")
	if err := s.keep(fixed); err != nil {
		t.Fatal(err)
	}
	s.serve(tlsFiles{pairs: []config.Certificate{a}}, &tls.Config{})
	got := s.expiries()
	for _, k := range []config.Certificate{a, fixed} {
		cert, err := tls.LoadX509KeyPair(k.CertFile, k.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		if want := float64(cert.Leaf.NotAfter.Unix()); got[k.CertFile] != want || len(got) != 2 {
			t.Errorf("%s: %v, want %v", k.CertFile, got, want)
		}
	}
}

// expiries is the metric, by file.
func (s *shelf) expiries() map[string]float64 {
	s.t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s.certificates)
	families, err := registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "quorate_certificate_expiry_timestamp_seconds" {
			s.t.Errorf("metric %s", f.GetName())
		}
		for _, m := range f.Metric {
			all[m.Label[0].GetValue()] = m.GetGauge().GetValue()
		}
	}
	return all
}
