package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/quorate/quorate/config"
	"github.com/quorate/quorate/fsm"
)

var (
	loopback   = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	everywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
)

// settingsOf is the `shared` section as the log holds it.
func settingsOf(c *config.Config) *fsm.Settings {
	h := c.Shared
	s := &fsm.Settings{
		Voters:            c.Voters(),
		DefaultBalancer:   h.DefaultBalancer,
		MaxWorkers:        h.Limits.Workers,
		MaxAliases:        h.Limits.AliasesPerWorker,
		MaxContexts:       h.Limits.ContextsPerWorker,
		UseAlias:          "auto",
		NoContextStatus:   h.NoContextStatus,
		UnavailableStatus: h.UnavailableStatus,
		Recalculation:     h.RecalculationInterval.Milliseconds(),
		RemoveDelay:       h.RemoveDelay.Milliseconds(),
		Deterministic:     h.Failover == "deterministic",
		MaxAttempts:       given(h.MaxAttempts),
		Affinity: fsm.Affinity{
			Mode:      h.Affinity.Mode,
			Delimiter: h.Affinity.Delimiter,
			Cookie:    h.Affinity.Cookie.Or(""),
			PathParam: h.Affinity.PathParameter.Or(""),
			Sticky:    given(h.Affinity.Sticky),
			Force:     given(h.Affinity.Force),
			Drop:      given(h.Affinity.Remove),
		},
	}
	if h.UseAlias.Given {
		s.UseAlias = strconv.FormatBool(h.UseAlias.Value)
	}
	if h.WaitWorker.Given {
		seconds := int(h.WaitWorker.Value.Seconds())
		s.WaitWorker = &seconds
	}
	for _, r := range h.Rules {
		s.Rules = append(s.Rules, fsm.Rule{Hosts: r.Hosts, PathPrefix: r.PathPrefix, Action: r.Action, Balancer: r.Balancer, Status: r.Status, To: r.To})
	}
	return s
}

// sharedOf is the inverse of settingsOf, so that what is in the log can be
// compared and printed key by key.
func sharedOf(s *fsm.Settings) config.Shared {
	h := config.Shared{
		Voters:                config.Auto[int]{Given: true, Value: s.Voters},
		DefaultBalancer:       s.DefaultBalancer,
		Limits:                config.SharedLimits{Workers: s.MaxWorkers, AliasesPerWorker: s.MaxAliases, ContextsPerWorker: s.MaxContexts},
		UseAlias:              config.Auto[bool]{Given: s.UseAlias != "auto", Value: s.UseAlias == "true"},
		NoContextStatus:       s.NoContextStatus,
		UnavailableStatus:     s.UnavailableStatus,
		RecalculationInterval: time.Duration(s.Recalculation) * time.Millisecond,
		RemoveDelay:           time.Duration(s.RemoveDelay) * time.Millisecond,
		Failover:              "load_balanced",
		MaxAttempts:           auto(s.MaxAttempts),
		Affinity: config.Affinity{
			Mode:          s.Affinity.Mode,
			Delimiter:     s.Affinity.Delimiter,
			Cookie:        config.Auto[string]{Given: s.Affinity.Cookie != "", Value: s.Affinity.Cookie},
			PathParameter: config.Auto[string]{Given: s.Affinity.PathParam != "", Value: s.Affinity.PathParam},
			Sticky:        auto(s.Affinity.Sticky),
			Force:         auto(s.Affinity.Force),
			Remove:        auto(s.Affinity.Drop),
		},
	}
	if s.Deterministic {
		h.Failover = "deterministic"
	}
	if s.WaitWorker != nil {
		h.WaitWorker = config.Auto[time.Duration]{Given: true, Value: time.Duration(*s.WaitWorker) * time.Second}
	}
	for _, r := range s.Rules {
		h.Rules = append(h.Rules, config.Rule{Hosts: r.Hosts, PathPrefix: r.PathPrefix, Action: r.Action, Balancer: r.Balancer, Status: r.Status, To: r.To})
	}
	return h
}

func auto[T any](p *T) config.Auto[T] {
	if p == nil {
		return config.Auto[T]{}
	}
	return config.Auto[T]{Given: true, Value: *p}
}

func given[T any](a config.Auto[T]) *T {
	if !a.Given {
		return nil
	}
	return &a.Value
}

func tlsVersion(v string) uint16 {
	if v == "1.3" {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

func certPool(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in it", file)
	}
	return pool, nil
}
