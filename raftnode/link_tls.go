package raftnode

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// Protocols on the cluster port, told apart by ALPN.
const (
	protoRaft = "quorate-raft/1" // hashicorp/raft's NetworkTransport
	protoAPI  = "h2"             // replica to replica API
)

// The validity of derived certificates. RFC 5280 §4.1.2.5 gives the end as the value for
// certificates that never expire.
var (
	notBefore = time.Unix(0, 0).UTC()
	notAfter  = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	anyTime   = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // inside it
)

// Credentials prove a replica's membership on the cluster port.
type Credentials struct {
	leaf      tls.Certificate
	roots     *x509.CertPool
	now       func() time.Time // for validity: a constant for derived certificates
	nameIsID  bool             // the certificate's common name is the replica's id
	untrusted error            // what an unknown authority means here
}

// NewCredentials derives the authority of every secret and mints a certificate for id
// with the first one's. It is valid for ever: the secret is the membership, and a wrong
// clock must not end it.
func NewCredentials(id string, secrets []Secret) (*Credentials, error) {
	if id == "" || len(secrets) == 0 {
		return nil, errors.New("cluster certificate: needs a replica id and a secret")
	}
	c := &Credentials{
		roots:     x509.NewCertPool(),
		now:       func() time.Time { return anyTime },
		nameIsID:  true,
		untrusted: ErrWrongSecret,
	}
	for _, s := range secrets {
		ca, err := s.authority()
		if err != nil {
			return nil, err
		}
		c.roots.AddCert(ca)
	}
	leaf, err := secrets[0].mint(id)
	if err != nil {
		return nil, err
	}
	c.leaf = leaf
	return c, nil
}

// LoadCredentials reads an operator's own certificate, key and authority (PEM; interface.md,
// cluster.tls). Their validity is checked against the clock, and any certificate of that
// authority is a member: the replica's id is then what its hello says.
func LoadCredentials(certFile, keyFile, caFile string) (*Credentials, error) {
	leaf, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("cluster certificate %s, key %s: %w", certFile, keyFile, err)
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("cluster authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("cluster authority %s: holds no certificate in PEM", caFile)
	}
	return &Credentials{leaf: leaf, roots: roots, now: time.Now, untrusted: ErrUntrusted}, nil
}

// authority is the CA certificate of a secret. ed25519 signs without randomness, so it
// is the same to the byte wherever it is made.
func (s Secret) authority() (*x509.Certificate, error) {
	key := s.authorityKey()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "quorate cluster"},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("cluster authority: %w", err)
	}
	return x509.ParseCertificate(der)
}

// mint makes a certificate for a replica, with a key that lives as long as the process.
func (s Secret) mint(id string) (tls.Certificate, error) {
	ca, err := s.authority()
	if err != nil {
		return tls.Certificate{}, err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("cluster certificate: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("cluster certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: id},
		NotBefore:    notBefore,
		NotAfter:     notAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, public, s.authorityKey())
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("cluster certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("cluster certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private, Leaf: leaf}, nil
}

// config is the TLS of both sides. The standard check is off because it would ask for a
// host name and the clock; verify takes its place, on resumed connections too (they are
// off as well: a certificate is looked at once per connection, always).
func (c *Credentials) config(protos ...string) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{c.leaf},
		NextProtos:             protos,
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true,
		SessionTicketsDisabled: true,
		VerifyConnection:       c.verify,
	}
}

func (c *Credentials) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return fmt.Errorf("%w: no certificate", c.untrusted)
	}
	between := x509.NewCertPool()
	for _, cert := range state.PeerCertificates[1:] {
		between.AddCert(cert)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots:         c.roots,
		Intermediates: between,
		CurrentTime:   c.now(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	// Beside a derived authority there is only one way to fail: to be of another secret. An
	// operator's certificate can be wrong in many ways, and its owner needs to know which.
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	if err != nil && (c.nameIsID || unknown) {
		return c.untrusted
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	return nil
}

// proves checks that the certificate is that of replica id.
func (c *Credentials) proves(state tls.ConnectionState, id string) error {
	if name := state.PeerCertificates[0].Subject.CommonName; c.nameIsID && name != id {
		return fmt.Errorf("%w: the certificate of %s says it is %s", ErrWrongReplica, name, id)
	}
	return nil
}

// explain makes the other side's verdict on our certificate as plain as our own. In
// TLS 1.3 it reaches the client only after its own handshake, with the first read.
func (c *Credentials) explain(err error) error {
	// crypto/tls keeps the type of an alert it received to itself.
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" && op.Err.Error() == "tls: bad certificate" {
		return c.untrusted
	}
	return err
}
