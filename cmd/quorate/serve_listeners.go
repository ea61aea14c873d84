package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/quorate/quorate/config"
	"github.com/quorate/quorate/fsm"
	"github.com/quorate/quorate/mcmp"
	"github.com/quorate/quorate/proxy"
	"github.com/quorate/quorate/proxy/accesslog"
	"github.com/quorate/quorate/proxy/route"
)

// openAccessLog opens what section `access_log` says. A witness has no requests to log.
func (s *server) openAccessLog() error {
	c := s.conf.AccessLog
	if !c.Enabled || len(s.conf.Traffic.Listeners) == 0 {
		return nil
	}
	var err error
	s.access, err = accesslog.Open(accesslog.Config{Output: c.Output, Format: c.Format, Fields: c.Fields, Sample: float64(c.Sample), Log: s.log})
	return err
}

// openTraffic opens the users' listeners and compiles the first table.
func (s *server) openTraffic() error {
	t, u := s.conf.Traffic, s.conf.Upstream
	pc := proxy.Config{
		Name:       s.conf.Replica.Name,
		ReadyPath:  t.ReadyPath,
		NotReady:   s.notReady,
		Tuning:     s.tuning(t),
		MaxStreams: t.HTTP2.MaxConcurrentStreams,
		Path: route.PathOptions{
			EncodedSlash: map[string]route.EncodedSlash{"reject": route.SlashReject, "keep": route.SlashKeep, "decode": route.SlashDecode}[t.Path.EncodedSlash],
			ResolveDots:  t.Path.DotSegments == "decode",
			MergeSlashes: t.Path.MergeSlashes,
		},
		DisallowedMethods: t.DisallowedMethods,
		Underscores:       t.Underscores,
		Upstream: proxy.Upstream{
			ConnectTimeout:         u.ConnectTimeout,
			ResponseTimeout:        u.ResponseTimeout.Or(0),
			MaxRequestTime:         u.MaxRequestTime,
			MaxConnections:         u.Pool.MaxConnections,
			MaxIdle:                given(u.Pool.MaxIdle),
			IdleTimeout:            u.Pool.IdleTimeout.Or(0),
			Retry:                  proxy.Retry{Max: given(u.Retry.Max), Budget: float64(u.Retry.Budget), WithQuery: u.Retry.WithQuery},
			PreserveHost:           u.HTTP.PreserveHost,
			MaxResponseHeaderBytes: int64(u.HTTP.MaxResponseHeaderBytes),
			AJP:                    proxy.AJP{MaxPacketBytes: int(u.AJP.MaxPacketBytes), CPingAfterIdle: u.AJP.CPingAfterIdle},
			Upgrade:                proxy.Upgrade{Protocols: u.Upgrade.Protocols, IdleTimeout: u.Upgrade.IdleTimeout, Connectors: u.Upgrade.Connectors},
			Health: proxy.Health{Probe: u.Health.Probe, Path: u.Health.Path, Interval: u.Health.Interval,
				Timeout: u.Health.Timeout.Or(0), Fails: u.Health.Fails},
			XForwarded: u.Forwarded.XForwarded,
			Forwarded:  u.Forwarded.Forwarded,
		},
		AccessLog:        s.access,
		PerWorkerMetrics: s.conf.Metrics.PerWorker,
		Log:              s.log,
	}
	if m := pc.Upstream.MaxIdle; m != nil && *m == 0 {
		*m = -1 // 0 is no limit in a file; a worker's smax of 0 is none kept
	}
	var err error
	if pc.Upstream.TLS, err = upstreamTLS(u.TLS); err != nil {
		return fmt.Errorf("upstream.tls: %w", err)
	}
	if u.AJP.SecretFile != "" {
		secret, err := os.ReadFile(u.AJP.SecretFile)
		if err != nil {
			return fmt.Errorf("upstream.ajp.secret_file: %w", err)
		}
		pc.Upstream.AJP.Secret = strings.TrimSpace(string(secret))
	}
	if u.TLS.CertFile != "" {
		if err := s.certificates.keep(config.Certificate{CertFile: u.TLS.CertFile, KeyFile: u.TLS.KeyFile}); err != nil {
			return fmt.Errorf("upstream.tls: %w", err)
		}
	}
	for i, l := range t.Listeners {
		key := listenerKey("traffic", i)
		pl := proxy.Listener{Protocols: l.ALPN(), ProxyProtocol: l.ProxyProtocol, RedirectToHTTPS: l.RedirectToHTTPS}
		if l.TLS != nil {
			var verify func(tls.ConnectionState) error
			if names := l.TLS.ClientNames; len(names) > 0 {
				verify = clientNamed(names)
			}
			if pl.TLS, err = s.listenerTLS(key+".tls", l.TLS.ClientAuth, l.TLS.MinVersion, verify, l.ALPN()...); err != nil {
				closeAll(pc.Listeners)
				return err
			}
		}
		if pl.Listener, err = listen(l.Address, key); err != nil {
			closeAll(pc.Listeners)
			return err
		}
		pc.Listeners = append(pc.Listeners, pl)
		s.addresses.Traffic = append(s.addresses.Traffic, pl.Listener.Addr().String())
	}
	if s.proxy, err = proxy.New(pc); err != nil {
		closeAll(pc.Listeners)
		return err
	}
	now := s.replica.State()
	s.proxy.Reset(now.Index, now.State)
	return nil
}

// tuning is what a reload gives the running proxy.
func (s *server) tuning(t config.Traffic) proxy.Tuning {
	return proxy.Tuning{
		TrustedProxies: t.TrustedProxies,
		Timeouts:       proxy.Timeouts{Header: t.Timeouts.Header, Body: t.Timeouts.Body, Write: t.Timeouts.Write, Idle: t.Timeouts.Idle},
		BodyMinRate:    int64(t.BodyMinRate),
		Limits: proxy.Limits{
			Connections:           s.connections(t.Limits.Connections),
			HeaderBytes:           int(t.Limits.HeaderBytes),
			Headers:               t.Limits.Headers,
			RequestLineBytes:      int(t.Limits.RequestLineBytes),
			BodyBytes:             int64(t.Limits.BodyBytes),
			RequestsPerConnection: t.Limits.RequestsPerConnection,
		},
	}
}

func closeAll(ls []proxy.Listener) {
	for _, l := range ls {
		l.Listener.Close()
	}
}

// clientNamed asks a client's certificate for one of the names.
func clientNamed(names []string) func(tls.ConnectionState) error {
	return func(c tls.ConnectionState) error {
		if len(c.PeerCertificates) == 0 {
			return nil // client_auth says whether there must be one
		}
		for _, n := range names {
			if c.PeerCertificates[0].Subject.CommonName == n || c.PeerCertificates[0].VerifyHostname(n) == nil {
				return nil
			}
		}
		return fmt.Errorf("client certificate %q is not among client_names", c.PeerCertificates[0].Subject.CommonName)
	}
}

func upstreamTLS(c config.UpstreamTLS) (proxy.UpstreamTLS, error) {
	out := proxy.UpstreamTLS{Verify: c.Verify, ServerName: c.ServerName.Or(""), MinVersion: tlsVersion(c.MinVersion)}
	var err error
	if c.CAFile != "" {
		if out.RootCAs, err = certPool(c.CAFile); err != nil {
			return out, err
		}
	}
	if c.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return out, err
		}
		out.Certificates = []tls.Certificate{cert}
	}
	return out, nil
}

// openMCMP opens the workers' listeners.
func (s *server) openMCMP() error {
	m := s.conf.MCMP
	mc := mcmp.Config{
		MaxMessage:   int64(m.MaxMessageBytes),
		IdleTimeout:  m.IdleTimeout,
		ReplyBudget:  m.ReplyBudget,
		Rate:         float64(m.Rate.PerSource),
		Burst:        m.Rate.Burst,
		Name:         s.conf.Replica.Name,
		Version:      version,
		StartTime:    s.start,
		Log:          s.log,
		Propose:      s.propose,
		State:        func() *fsm.State { return s.replica.State().State },
		Read:         s.read,
		Check:        s.proxy.Check,
		CheckAddress: s.proxy.CheckAddress,
		InFlight:     s.inFlight,
		Counters: func(r fsm.JVMRoute) mcmp.Counters {
			c := s.proxy.Counters(r)
			return mcmp.Counters{Elected: int64(c.Elected), Read: int64(c.Read), Transferred: int64(c.Transferred), Connected: int64(c.Connected)}
		},
		Gone:     s.gone,
		Override: s.proxy.Override,
		Agreed:   s.proxy.Agreed,
	}
	if mc.Rate == 0 {
		mc.Rate = -1 // no limit
	}
	var err error
	if m.TokensFile != "" {
		if mc.Tokens, err = mcmpTokens(m.TokensFile); err != nil {
			return err
		}
	}
	for i, l := range m.Listeners {
		key := listenerKey("mcmp", i)
		ml := mcmp.Listener{Allowed: m.AllowedCIDRs.Or(nil)}
		if l.TLS != nil {
			if ml.TLS, err = s.listenerTLS(key+".tls", l.TLS.ClientAuth, l.TLS.MinVersion, nil); err != nil {
				return err
			}
			ml.ClientNames = l.TLS.ClientNames
		}
		if ml.Listener, err = listen(l.Address, key); err != nil {
			for _, open := range mc.Listeners {
				open.Close()
			}
			return err
		}
		mc.Listeners = append(mc.Listeners, ml)
		s.addresses.MCMP = append(s.addresses.MCMP, ml.Addr().String())
	}
	s.mcmp, err = mcmp.New(mc)
	return err
}

// mcmpTokens reads mcmp.tokens_file: one a line, but for blank ones and # comments.
func mcmpTokens(file string) ([]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, configError{fmt.Errorf("mcmp.tokens_file: %w", err)}
	}
	var tokens []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			tokens = append(tokens, line)
		}
	}
	if len(tokens) == 0 {
		return nil, configError{fmt.Errorf("mcmp.tokens_file: %s: no token in it", file)}
	}
	return tokens, nil
}

// registerMetrics gathers what the parts count (ux.md §6).
func (s *server) registerMetrics() {
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "quorate_build_info",
		Help:        "1, with the program's version as labels.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision, "goversion": runtime.Version()},
	}, func() float64 { return 1 })
	ready := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "quorate_ready", Help: "1 when this replica should get traffic."},
		func() float64 { return oneIf(len(s.notReady()) == 0) })
	differs := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "quorate_config_differs", Help: "Shared keys whose value in a file is not that of the log, on all replicas."},
		func() float64 { return float64(len(s.differences(s.replica.Members()))) })
	s.registry.MustRegister(build, ready, differs, s.certificates, workerGauges{s}, s.replica, s.proxy,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.registry.MustRegister(s.mcmp.Collectors()...)
	if s.access != nil {
		s.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "quorate_access_log_dropped_total",
			Help: "Lines of the access log that were not written."}, func() float64 { return float64(s.access.Dropped()) }))
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// workerGauges count what is registered, by status.
type workerGauges struct{ s *server }

var (
	workersDesc  = prometheus.NewDesc("quorate_workers", "Registered workers by status.", []string{"status"}, nil)
	contextsDesc = prometheus.NewDesc("quorate_contexts", "Contexts by effective status.", []string{"status"}, nil)
	holdsDesc    = prometheus.NewDesc("quorate_holds", "Operators' drains and holds, of workers and contexts.", nil, nil)
)

func (workerGauges) Describe(ch chan<- *prometheus.Desc) {
	ch <- workersDesc
	ch <- contextsDesc
	ch <- holdsDesc
}

func (g workerGauges) Collect(ch chan<- prometheus.Metric) {
	workers, contexts, holds := map[string]int{}, map[string]int{}, 0
	for _, w := range g.s.workers().Workers {
		workers[w.Status]++
		if w.Hold != nil {
			holds++
		}
		for _, c := range w.Contexts {
			contexts[strings.ToLower(c.Effective)]++
			if c.Hold != nil {
				holds++
			}
		}
	}
	for status, n := range workers {
		ch <- prometheus.MustNewConstMetric(workersDesc, prometheus.GaugeValue, float64(n), status)
	}
	for status, n := range contexts {
		ch <- prometheus.MustNewConstMetric(contextsDesc, prometheus.GaugeValue, float64(n), status)
	}
	ch <- prometheus.MustNewConstMetric(holdsDesc, prometheus.GaugeValue, float64(holds))
}
