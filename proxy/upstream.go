package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/quorate/quorate/fsm"
	"github.com/quorate/quorate/proxy/pool"
)

// nameTime is how often names are looked up.
const nameTime = 30 * time.Second

// upstream holds the connections to one address of one node.
type upstream struct {
	config    fsm.NodeConfig
	seen      atomic.Pointer[fsm.Node] // the last record that was found to say the same
	address   string
	pool      *pool.Pool
	timeout   time.Duration // between two reads of an answer
	headBytes int           // most bytes of an answer's head
	ajp       bool
	upgrades  *upstream // of an ajp node: where requests for an upgrade go; nil: nowhere else
	beside    bool      // it is such a one
}

func (p *Proxy) newUpstream(c fsm.NodeConfig, t *target) *upstream {
	conf := &p.c.Upstream
	u := &upstream{
		config:    c,
		address:   addressOf(c.Host, c.Port),
		timeout:   answerTimeout(conf.ResponseTimeout, c.Timeout),
		headBytes: int(conf.MaxResponseHeaderBytes),
	}
	idle := c.Smax
	if conf.MaxIdle != nil {
		idle = *conf.MaxIdle
		if idle == 0 {
			idle = -1
		}
	}
	pc := pool.Config{
		Address:        u.address,
		MaxConnections: conf.MaxConnections,
		MaxIdle:        idle,
		IdleTimeout:    milliseconds(c.TTL),
		ConnectTimeout: shorter(conf.ConnectTimeout, milliseconds(c.Ping)),
		UserTimeout:    milliseconds(c.Ping),
		DNSTTL:         nameTime,
		WriteTimeout:   u.timeout,
		Sent:           &t.sent,
		Received:       &t.received,
	}
	if conf.IdleTimeout > 0 {
		pc.IdleTimeout, pc.DefaultIdle = conf.IdleTimeout, conf.IdleTimeout
	}
	if c.Type == "https" {
		pc.TLS = p.tlsFor(c.Host)
	}
	if c.Type == "ajp" {
		u.ajp = true
		pc.DefaultIdle = ajpIdle
		if beside, ok := p.connectors[t.node.Route]; ok {
			c.Type, c.Host, c.Port = beside.Type, beside.Host, beside.Port
			u.upgrades = p.newUpstream(c, t)
			u.upgrades.beside = true
		}
	}
	u.pool = pool.New(pc)
	return u
}

// ajpIdle is how long a connection idles at most to a worker of AJP, which never says
// how long it keeps one: WildFly 60 s (ajp13.md §9).
const ajpIdle = 50 * time.Second

func (u *upstream) close() {
	u.pool.Close()
	if u.upgrades != nil {
		u.upgrades.close()
	}
}

func (u *upstream) sweep(now time.Time) {
	u.pool.Sweep(now)
	if u.upgrades != nil {
		u.upgrades.sweep(now)
	}
}

// wait returns when what close has ended is over.
func (u *upstream) wait() {
	u.pool.Wait()
	if u.upgrades != nil {
		u.upgrades.wait()
	}
}

// upstreamFor returns the connections that a request goes by: AJP knows no upgrades.
func (p *Proxy) upstreamFor(x *exchange, t *target) *upstream {
	u := p.upstream(t)
	if u.upgrades != nil && x.upgrade != "" {
		return u.upgrades
	}
	return u
}

// parseConnectors reads upstream.upgrade.connectors: http://host:port by worker.
func parseConnectors(list map[string]string) (map[string]fsm.NodeConfig, error) {
	all := make(map[string]fsm.NodeConfig, len(list))
	for worker, at := range list {
		u, err := url.Parse(at)
		if err != nil {
			return nil, fmt.Errorf("upgrade connector of %s: %w", worker, err)
		}
		port, err := strconv.Atoi(u.Port())
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Path != "" && u.Path != "/" {
			return nil, fmt.Errorf("upgrade connector of %s: %q: must be http://host:port or https://host:port", worker, at)
		}
		all[worker] = fsm.NodeConfig{Type: u.Scheme, Host: u.Hostname(), Port: port}
	}
	return all, nil
}

// connect dials an address, for a probe; secure is how TLS is spoken there, nil: it
// is not.
func connect(ctx context.Context, address string, secure *tls.Config) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil || secure == nil {
		return c, err
	}
	s := tls.Client(c, secure)
	if err := s.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("TLS with %s: %w", address, explainTLS(err))
	}
	return s, nil
}

// tlsFor returns how TLS is spoken with a host (no SNI for an address).
func (p *Proxy) tlsFor(host string) *tls.Config {
	c := &p.c.Upstream.TLS
	name := strings.Trim(host, "[]")
	if c.ServerName != "" {
		name = c.ServerName
	}
	conf := &tls.Config{
		ServerName:   name,
		RootCAs:      c.RootCAs,
		Certificates: c.Certificates,
		MinVersion:   max(c.MinVersion, tls.VersionTLS12),
		NextProtos:   []string{"http/1.1"},
	}
	switch c.Verify {
	case "none":
		conf.InsecureSkipVerify = true
	case "ca":
		conf.InsecureSkipVerify = true // the name; the chain is checked here
		conf.VerifyConnection = func(s tls.ConnectionState) error {
			o := x509.VerifyOptions{Roots: c.RootCAs, Intermediates: x509.NewCertPool()}
			for _, cert := range s.PeerCertificates[1:] {
				o.Intermediates.AddCert(cert)
			}
			_, err := s.PeerCertificates[0].Verify(o)
			return err
		}
	}
	return conf
}

// certificateError is a worker's certificate that is not trusted, and what to do.
type certificateError struct {
	advice string
	err    error
}

func (e *certificateError) Error() string { return "certificate not trusted: " + e.advice }
func (e *certificateError) Unwrap() error { return e.err }

// explainTLS says what to set where a certificate is not trusted.
func explainTLS(err error) error {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &authority):
		return &certificateError{"set upstream.tls.ca_file", err}
	case errors.As(err, &name):
		return &certificateError{"set upstream.tls.server_name (" + name.Error() + ")", err}
	case errors.As(err, &invalid):
		return &certificateError{invalid.Error(), err}
	}
	return err
}

// The ways in which a connection is not made.
type dialOutcome uint8

const (
	dialRefused dialOutcome = iota // refused, or no way to the host: nobody is there
	dialLate                       // no answer in time
	dialBroken                     // somebody is there, but not who we want: TLS, a reset
	dialLocal                      // our own trouble says nothing about the node
)

func classifyDial(err error) dialOutcome {
	var timeout net.Error
	var dns *net.DNSError
	switch {
	case errors.Is(err, context.Canceled):
		return dialLocal
	case isOneOf(err, syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM, syscall.EACCES, syscall.EPERM):
		return dialLocal
	case isOneOf(err, syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN):
		return dialRefused
	case errors.As(err, &dns) && dns.IsNotFound:
		return dialRefused
	case errors.As(err, &dns):
		return dialLate // a name server's trouble: let the probe say
	case errors.As(err, &timeout) && timeout.Timeout():
		return dialLate
	}
	return dialBroken
}

func isOneOf(err error, list ...syscall.Errno) bool {
	var no syscall.Errno
	return errors.As(err, &no) && slices.Contains(list, no)
}

func addressOf(host string, port int) string {
	return net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(port))
}

// answerTimeout is how long a worker may be silent: as configured, as it said
// itself in CONFIG's Timeout (ms), else 60 s.
func answerTimeout(configured time.Duration, own int64) time.Duration {
	switch {
	case configured > 0:
		return configured
	case own > 0:
		return milliseconds(own)
	}
	return time.Minute
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// shorter is the smaller of two times of which 0 means none.
func shorter(a, b time.Duration) time.Duration {
	if a <= 0 || b > 0 && b < a {
		return b
	}
	return a
}
