package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/quorate/quorate/admin"
	"github.com/quorate/quorate/config"
)

// lookEvery is the time between two looks at the files of certificates.
const lookEvery = time.Second

// reloader takes over what may change while a replica runs (interface.md §1):
//
//	SIGHUP       certificates, tokens, key of advertising, log level, timeouts, limits, trusted proxies
//	SIGUSR1      log files are opened again under their names
//	by itself    certificates whose files have changed
//
// What else has changed is named, and stays as it is until a restart.
type reloader struct {
	s         *server
	load      func() (*config.Config, error)
	hup, usr1 chan os.Signal

	// Run's alone.
	running *config.Config    // what is in force, key by key
	held    map[string]string // digests of the files in force whose contents matter, by key
}

// newReloader takes the signals from here on, so that none ends the process; Run
// obeys them.
func newReloader(s *server, load func() (*config.Config, error)) *reloader {
	r := &reloader{
		s: s, load: load,
		hup: make(chan os.Signal, 1), usr1: make(chan os.Signal, 1),
		running: s.conf, held: digests(s.conf),
	}
	signal.Notify(r.hup, syscall.SIGHUP)
	signal.Notify(r.usr1, syscall.SIGUSR1)
	return r
}

// close gives the signals back.
func (r *reloader) close() {
	signal.Stop(r.hup)
	signal.Stop(r.usr1)
}

// Run reloads until ctx ends.
func (r *reloader) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.hup:
			r.reload()
		case <-r.usr1:
			r.reopen()
		case <-tick.C:
			r.s.certificates.look(true)
		}
	}
}

// reload is SIGHUP: all is read before anything changes.
func (r *reloader) reload() {
	changed, restart, err := r.takeOver()
	if err != nil {
		r.s.log.Error("configuration not reloaded", "errors", strings.Split(err.Error(), "\n"))
		return
	}
	r.s.log.Info("configuration reloaded", "changed", append([]string{}, changed...), "needs_restart", append([]string{}, restart...))
}

// takeOver puts in force what can be and names it, and what cannot.
func (r *reloader) takeOver() (changed, restart []string, err error) {
	conf, err := r.load()
	if err != nil {
		return nil, nil, err
	}
	if _, err := secretsOf(conf); err != nil {
		return nil, nil, err
	}
	next, held := inForce(r.running, conf), digests(conf)
	t, err := readTokens(next, conf)
	if err != nil {
		return nil, nil, err
	}
	if err := r.s.certificates.change(filesOf(next)); err != nil {
		return nil, nil, err
	}

	for _, w := range conf.Warnings {
		r.s.log.Warn("configuration", "warning", w)
	}
	r.s.certificates.look(false)
	changed, restart = config.Changed(r.running, next), config.Changed(next, conf)
	for _, key := range tokenKeys {
		if !t.taken[key] || held[key] == r.held[key] {
			continue
		}
		r.held[key] = held[key]
		changed = with(changed, key)
	}
	if err := t.give(r.s); err != nil {
		return nil, nil, err
	}
	if err := r.s.logs.setLevel(next.Log.Level); err != nil {
		return nil, nil, err
	}
	r.s.proxy.Tune(r.s.tuning(next.Traffic))
	for _, key := range restartKeys {
		if held[key] != r.held[key] {
			restart = with(restart, key)
		}
	}
	r.running = next
	r.s.written.Store(conf)
	return changed, restart, nil
}

// with adds a key to a list that may have it.
func with(keys []string, key string) []string {
	if slices.Contains(keys, key) {
		return keys
	}
	return append(keys, key)
}

// inForce is running with what a running replica takes over from conf. What decides
// who is let in at all, such as client_auth or whether tokens are asked for, is not
// among it: it could be taken away while what replaces it needs a restart.
func inForce(running, conf *config.Config) *config.Config {
	next := *running
	next.Log.Level = conf.Log.Level
	t, u := &next.Traffic, conf.Traffic
	t.TrustedProxies, t.Timeouts, t.BodyMinRate, t.Limits = u.TrustedProxies, u.Timeouts, u.BodyMinRate, u.Limits
	other(&next.Admin.TokensFile, conf.Admin.TokensFile)
	other(&next.MCMP.TokensFile, conf.MCMP.TokensFile)
	other(&next.MCMP.Advertise.SecurityKeyFile, conf.MCMP.Advertise.SecurityKeyFile)

	a, b := &next.Admin.TLS, conf.Admin.TLS
	if a.CertFile != "" && b.CertFile != "" {
		a.CertFile, a.KeyFile = b.CertFile, b.KeyFile
	}
	other(&a.ClientCAFile, b.ClientCAFile)
	t.Listeners = slices.Clone(t.Listeners)
	for i := range t.Listeners {
		a := &t.Listeners[i]
		if len(t.Listeners) != len(u.Listeners) || a.Address != u.Listeners[i].Address || a.TLS == nil || u.Listeners[i].TLS == nil {
			continue
		}
		files, from := *a.TLS, u.Listeners[i].TLS
		files.CertFile, files.KeyFile, files.Certificates = from.CertFile, from.KeyFile, from.Certificates
		other(&files.ClientCAFile, from.ClientCAFile)
		a.TLS = &files
	}
	m, n := &next.MCMP, conf.MCMP
	m.Listeners = slices.Clone(m.Listeners)
	for i := range m.Listeners {
		a := &m.Listeners[i]
		if len(m.Listeners) != len(n.Listeners) || a.Address != n.Listeners[i].Address || a.TLS == nil || n.Listeners[i].TLS == nil {
			continue
		}
		files, from := *a.TLS, n.Listeners[i].TLS
		files.CertFile, files.KeyFile = from.CertFile, from.KeyFile
		other(&files.ClientCAFile, from.ClientCAFile)
		a.TLS = &files
	}
	return &next
}

// other replaces the name of a file by another, and neither gives nor takes one.
func other(file *string, by string) {
	if *file != "" && by != "" {
		*file = by
	}
}

// filesOf are the files of all listeners with TLS, by the key of the listener's tls.
func filesOf(c *config.Config) map[string]tlsFiles {
	files := map[string]tlsFiles{}
	for i, l := range c.Traffic.Listeners {
		if l.TLS != nil {
			files[listenerKey("traffic", i)+".tls"] = tlsFiles{l.TLS.Pairs(), l.TLS.ClientCAFile}
		}
	}
	for i, l := range c.MCMP.Listeners {
		if l.TLS != nil {
			files[listenerKey("mcmp", i)+".tls"] = tlsFiles{[]config.Certificate{{CertFile: l.TLS.CertFile, KeyFile: l.TLS.KeyFile}}, l.TLS.ClientCAFile}
		}
	}
	if t := c.Admin.TLS; t.CertFile != "" {
		files["admin.tls"] = tlsFiles{[]config.Certificate{{CertFile: t.CertFile, KeyFile: t.KeyFile}}, t.ClientCAFile}
	}
	return files
}

func listenerKey(section string, i int) string {
	return section + ".listeners[" + strconv.Itoa(i) + "]"
}

// Keys of files whose contents count, beside those of listeners' certificates.
var (
	tokenKeys   = []string{"mcmp.tokens_file", "mcmp.advertise.security_key_file", "admin.tokens_file"}
	restartKeys = []string{"cluster.secret_file", "cluster.tls.cert_file", "cluster.tls.key_file", "cluster.tls.ca_file",
		"upstream.ajp.secret_file", "upstream.tls.ca_file", "upstream.tls.cert_file", "upstream.tls.key_file"}
)

// digests tell whether the files of tokenKeys and restartKeys have other contents.
func digests(c *config.Config) map[string]string {
	all := map[string]string{}
	for key, file := range map[string]string{
		"mcmp.tokens_file":                 c.MCMP.TokensFile,
		"admin.tokens_file":                c.Admin.TokensFile,
		"mcmp.advertise.security_key_file": c.MCMP.Advertise.SecurityKeyFile,
		"cluster.secret_file":              c.Cluster.SecretFile,
		"cluster.tls.cert_file":            c.Cluster.TLS.CertFile,
		"cluster.tls.key_file":             c.Cluster.TLS.KeyFile,
		"cluster.tls.ca_file":              c.Cluster.TLS.CAFile,
		"upstream.ajp.secret_file":         c.Upstream.AJP.SecretFile,
		"upstream.tls.ca_file":             c.Upstream.TLS.CAFile,
		"upstream.tls.cert_file":           c.Upstream.TLS.CertFile,
		"upstream.tls.key_file":            c.Upstream.TLS.KeyFile,
	} {
		if file == "" {
			continue
		}
		text, err := os.ReadFile(file) // config has read it just now
		if err == nil {
			all[key] = fmt.Sprintf("%x", sha256.Sum256(text))
		}
	}
	return all
}

// tokens are those of the files that are taken over.
type tokens struct {
	taken map[string]bool // by key
	mcmp  []string
	key   []byte // of advertising
	admin []admin.Token
}

// readTokens reads the files that next and conf agree on.
func readTokens(next, conf *config.Config) (t tokens, err error) {
	t.taken = map[string]bool{}
	if file := conf.MCMP.TokensFile; file != "" && file == next.MCMP.TokensFile {
		t.taken["mcmp.tokens_file"] = true
		if t.mcmp, err = mcmpTokens(file); err != nil {
			return t, err
		}
	}
	if file := conf.MCMP.Advertise.SecurityKeyFile; file != "" && file == next.MCMP.Advertise.SecurityKeyFile {
		t.taken["mcmp.advertise.security_key_file"] = true
		if t.key, err = advertiseKey(conf); err != nil {
			return t, err
		}
	}
	if file := conf.Admin.TokensFile; file != "" && file == next.Admin.TokensFile {
		t.taken["admin.tokens_file"] = true
		if t.admin, err = adminTokens(file); err != nil {
			return t, err
		}
	}
	return t, nil
}

func (t *tokens) give(s *server) error {
	if t.mcmp != nil {
		if err := s.mcmp.SetTokens(t.mcmp); err != nil {
			return err
		}
	}
	if t.taken["mcmp.advertise.security_key_file"] && s.adverts != nil {
		s.adverts.SetKey(t.key, true)
	}
	if t.admin != nil {
		return s.admin.SetTokens(t.admin)
	}
	return nil
}

// reopen is SIGUSR1.
func (r *reloader) reopen() {
	err := r.s.logs.reopen()
	if err != nil {
		r.s.log.Error("log not reopened", "output", r.running.Log.Output, "error", err)
	}
	if r.s.access != nil {
		if e := r.s.access.Reopen(); e != nil {
			err = e
			r.s.log.Error("log not reopened", "output", r.running.AccessLog.Output, "error", e)
		}
	}
	if err == nil {
		r.s.log.Info("logs reopened", "log", r.running.Log.Output, "access_log", r.running.AccessLog.Output)
	}
}
