package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/quorate/quorate/config"
)

// certificates are those of all listeners: what each shows, and whom it lets vouch
// for clients. A listener asks for its TLS anew at each handshake, so that nothing
// else need know of a change:
//
//	files ──look──► pairs, authorities ──build──► listener ◄──GetConfigForClient── handshake
//
// A file that cannot be used leaves what was there. After open one goroutine alone
// calls look and change.
type certificates struct {
	log         *slog.Logger
	pairs       map[config.Certificate]*pair
	authorities map[string]*authority
	listeners   map[string]*listenerTLS // by their key in the configuration

	fixed    map[string]time.Time                 // expiry of what only a restart replaces
	notAfter atomic.Pointer[map[string]time.Time] // expiry of all in use, by file
}

// pair is a certificate chain and its key.
type pair struct {
	watched
	cert tls.Certificate
}

// authority is a file of certificates that vouch for clients.
type authority struct {
	watched
	pool *x509.CertPool
}

// tlsFiles are the files of one listener. The first pair answers clients that ask
// for no name, or one that none of them has.
type tlsFiles struct {
	pairs    []config.Certificate
	clientCA string // "" = none
}

// listenerTLS is the TLS of one listener.
type listenerTLS struct {
	files   tlsFiles
	base    *tls.Config // all but the contents of the files
	current atomic.Pointer[tls.Config]
}

func newCertificates(log *slog.Logger) *certificates {
	return &certificates{
		log:         log,
		pairs:       map[config.Certificate]*pair{},
		authorities: map[string]*authority{},
		listeners:   map[string]*listenerTLS{},
		fixed:       map[string]time.Time{},
	}
}

// listen makes the TLS of the listener that key names. base is what does not change;
// the keys of session tickets belong to what is returned, so that sessions outlive
// a change of the files. crypto/tls resumes none whose client is not vouched for any more.
func (c *certificates) listen(key string, files tlsFiles, base *tls.Config) (*tls.Config, error) {
	if err := c.add(files); err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	l := &listenerTLS{files: files, base: base}
	c.listeners[key] = l
	c.build()
	out := base.Clone()
	out.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return l.current.Load(), nil }
	return out, nil
}

// listenerTLS is the TLS of the listener whose section tls is named key.
func (s *server) listenerTLS(key, clientAuth, minVersion string, verify func(tls.ConnectionState) error, protocols ...string) (*tls.Config, error) {
	base := &tls.Config{MinVersion: tlsVersion(minVersion), NextProtos: protocols, VerifyConnection: verify}
	switch clientAuth {
	case "request":
		base.ClientAuth = tls.VerifyClientCertIfGiven
	case "require":
		base.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return s.certificates.listen(key, filesOf(s.conf)[key], base)
}

// keep notes a certificate that is not a listener's, for its expiry.
func (c *certificates) keep(k config.Certificate) error {
	cert, err := tls.LoadX509KeyPair(k.CertFile, k.KeyFile)
	if err != nil {
		return fmt.Errorf("certificate %s, key %s: %w", k.CertFile, k.KeyFile, err)
	}
	c.fixed[k.CertFile] = cert.Leaf.NotAfter
	c.build()
	return nil
}

// change gives listeners other files; on an error all keep theirs.
func (c *certificates) change(files map[string]tlsFiles) error {
	for key, f := range files {
		if c.listeners[key] == nil {
			continue
		}
		if err := c.add(f); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	for key, f := range files {
		if l := c.listeners[key]; l != nil {
			l.files = f
		}
	}
	c.build()
	return nil
}

// add reads the files that are new.
func (c *certificates) add(files tlsFiles) error {
	for _, k := range files.pairs {
		if c.pairs[k] != nil {
			continue
		}
		p := &pair{watched: watched{files: []string{k.CertFile, k.KeyFile}}}
		p.changed(false)
		if _, err := p.load(); err != nil {
			return err
		}
		c.pairs[k] = p
	}
	if file := files.clientCA; file != "" && c.authorities[file] == nil {
		a := &authority{watched: watched{files: []string{file}}}
		a.changed(false)
		if _, err := a.load(); err != nil {
			return err
		}
		c.authorities[file] = a
	}
	return nil
}

// look reads again what has changed on disk: with settle when it was the same twice
// in a row, since whoever renews a certificate writes two files one after the other.
func (c *certificates) look(settle bool) {
	some := false
	tell := func(file string, news bool, err error, more ...any) {
		switch {
		case err != nil:
			c.log.Error("certificate not reloaded", "file", file, "error", err, "advice", "the one before stays in use")
		case news:
			some = true
			c.log.Info("certificate reloaded", append([]any{"file", file}, more...)...)
		}
	}
	for _, p := range c.pairs {
		if p.changed(settle) {
			news, err := p.load()
			tell(p.files[0], news, err, "not_after", p.cert.Leaf.NotAfter.UTC())
		}
	}
	for _, a := range c.authorities {
		if a.changed(settle) {
			news, err := a.load()
			tell(a.files[0], news, err)
		}
	}
	if some {
		c.build()
	}
}

// build puts what was read in force, and forgets what nobody uses any more.
func (c *certificates) build() {
	usedPairs, usedAuthorities := map[config.Certificate]bool{}, map[string]bool{}
	for _, l := range c.listeners {
		t := l.base.Clone()
		for _, k := range l.files.pairs {
			t.Certificates = append(t.Certificates, c.pairs[k].cert)
			usedPairs[k] = true
		}
		if file := l.files.clientCA; file != "" {
			t.ClientCAs = c.authorities[file].pool
			usedAuthorities[file] = true
		}
		l.current.Store(t)
	}
	maps.DeleteFunc(c.pairs, func(k config.Certificate, _ *pair) bool { return !usedPairs[k] })
	maps.DeleteFunc(c.authorities, func(file string, _ *authority) bool { return !usedAuthorities[file] })
	notAfter := maps.Clone(c.fixed)
	for k, p := range c.pairs {
		notAfter[k.CertFile] = p.cert.Leaf.NotAfter
	}
	c.notAfter.Store(&notAfter)
}

// load reads the pair; news: it is another certificate than before.
func (p *pair) load() (news bool, err error) {
	cert, err := tls.LoadX509KeyPair(p.files[0], p.files[1])
	if err != nil {
		return false, fmt.Errorf("certificate %s, key %s: %w", p.files[0], p.files[1], err)
	}
	news = !slices.EqualFunc(cert.Certificate, p.cert.Certificate, bytes.Equal)
	p.cert = cert
	return news, nil
}

func (a *authority) load() (news bool, err error) {
	pool, err := certPool(a.files[0])
	if err != nil {
		return false, err
	}
	news = !pool.Equal(a.pool)
	a.pool = pool
	return news, nil
}

// watched are files that are read together.
type watched struct {
	files      []string
	used, seen []os.FileInfo // when last read; when last looked at. nil: not there
}

// changed says whether the files are others than those last read, and then takes
// them as read. With settle they must also be those of the look before.
func (w *watched) changed(settle bool) bool {
	now := make([]os.FileInfo, len(w.files))
	for i, f := range w.files {
		now[i], _ = os.Stat(f) // not there: reading says so
	}
	before := w.seen
	w.seen = now
	if slices.EqualFunc(now, w.used, sameFile) || settle && !slices.EqualFunc(now, before, sameFile) {
		return false
	}
	w.used = now
	return true
}

func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

var expiryDesc = prometheus.NewDesc("quorate_certificate_expiry_timestamp_seconds", "When a certificate in use ends.", []string{"file"}, nil)

func (*certificates) Describe(ch chan<- *prometheus.Desc) { ch <- expiryDesc }

// Collect may be called at any time.
func (c *certificates) Collect(ch chan<- prometheus.Metric) {
	if all := c.notAfter.Load(); all != nil {
		for file, end := range *all {
			ch <- prometheus.MustNewConstMetric(expiryDesc, prometheus.GaugeValue, float64(end.Unix()), file)
		}
	}
}
