package raftnode

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// operator is somebody's own certificate authority, in files.
type operator struct {
	dir string
	ca  *x509.Certificate
	key ed25519.PrivateKey
}

func newOperator(t *testing.T) *operator {
	t.Helper()
	o := &operator{dir: t.TempDir()}
	var err error
	if _, o.key, err = ed25519.GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	o.ca = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "our company"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, o.ca, o.ca, o.key.Public(), o.key)
	if err != nil {
		t.Fatal(err)
	}
	o.write(t, "ca.pem", "CERTIFICATE", der)
	return o
}

func (o *operator) write(t *testing.T, name, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(o.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// issue makes credentials from a certificate for host, valid until then.
func (o *operator) issue(t *testing.T, host string, until time.Time) *Credentials {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, leaf, o.ca, public, o.key)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	creds, err := LoadCredentials(
		o.write(t, host+".pem", "CERTIFICATE", cert),
		o.write(t, host+".key", "PRIVATE KEY", key),
		filepath.Join(o.dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return creds
}

func TestOwnCertificates(t *testing.T) {
	ours, theirs := newOperator(t), newOperator(t)
	hour := time.Now().Add(time.Hour)
	derived, err := NewCredentials("client", []Secret{testSecret})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		client *Credentials
		want   error
	}{
		// The id "client" is not in the certificate: the hello says it.
		{"one authority", ours.issue(t, "lb2.example", hour), nil},
		{"another authority", theirs.issue(t, "lb2.example", hour), ErrUntrusted},
		{"expired", ours.issue(t, "lb3.example", time.Now().Add(-time.Minute)), ErrUntrusted},
		{"derived from a secret", derived, ErrWrongSecret},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := startLink(t, "server", func(l *linkConfig) { l.Creds = ours.issue(t, "lb1.example", hour) })
			client := startLink(t, "client", func(l *linkConfig) { l.Creds = c.client })
			who, err := client.meet(t.Context(), server.Addr().String())
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if c.want == nil && who.ID != "server" {
				t.Errorf("met %+v", who)
			}
		})
	}
}

func TestLoadCredentialsNamesTheFile(t *testing.T) {
	o := newOperator(t)
	o.issue(t, "lb1", time.Now().Add(time.Hour))
	file := func(name string) string { return filepath.Join(o.dir, name) }
	if _, err := LoadCredentials(file("none"), file("lb1.key"), file("ca.pem")); err == nil || !strings.Contains(err.Error(), file("none")) {
		t.Errorf("no certificate: %v", err)
	}
	if _, err := LoadCredentials(file("lb1.pem"), file("lb1.key"), file("none")); err == nil || !strings.Contains(err.Error(), file("none")) {
		t.Errorf("no authority: %v", err)
	}
	if _, err := LoadCredentials(file("lb1.pem"), file("lb1.key"), file("lb1.key")); err == nil || !strings.Contains(err.Error(), file("lb1.key")) {
		t.Errorf("a key as authority: %v", err)
	}
}

func TestNewCredentialsRefuses(t *testing.T) {
	if _, err := NewCredentials("", []Secret{testSecret}); err == nil {
		t.Error("no id was accepted")
	}
	if _, err := NewCredentials("a", nil); err == nil {
		t.Error("no secret was accepted")
	}
}
