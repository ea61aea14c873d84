package proxy

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Stats are this replica's own sums since it started.
type Stats struct {
	Requests          uint64
	InFlight          int64
	ClientConnections int64
	Class             [6]uint64 // answers by hundreds of their status: Class[2] is 2xx
}

// Stats returns the sums as they are now.
func (p *Proxy) Stats() Stats {
	s := Stats{InFlight: p.exchanges.value(), ClientConnections: p.clients.value()}
	for i := range s.Class {
		s.Class[i] = p.stats.class[i].Load()
		s.Requests += s.Class[i]
	}
	return s
}

// Reasons of answers of ours (ux.md §6, http_local_responses_total).
const (
	ownNoContext     = "no_context"
	ownUnavailable   = "unavailable"
	ownBadRequest    = "bad_request"
	ownLimit         = "limit"
	ownTimeout       = "timeout"
	ownConnectFailed = "connect_failed"
)

var codes = [6]string{1: "1xx", "2xx", "3xx", "4xx", "5xx"}

// class is the index in codes of a status; what is above 599 counts as 5xx.
func class(status int) int { return min(status/100, 5) }

// stats is what the exchanges count.
type stats struct {
	class          [6]atomic.Uint64
	received, sent atomic.Int64 // client bytes
	upgraded       atomic.Int64

	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	local    *prometheus.CounterVec
	retries  prometheus.Counter
	moved    prometheus.Counter
}

func newStats() *stats {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "quorate_" + name, Help: help}, labels)
	}
	s := &stats{
		requests: counter("http_requests_total", "Requests of clients that were answered.", "balancer", "code"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "quorate_http_request_duration_seconds", Help: "From the end of a request's head to the end of its answer.",
			Buckets: []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30},
		}, []string{"balancer", "code"}),
		local:   counter("http_local_responses_total", "Answers of the replica itself, by reason.", "reason"),
		retries: counter("http_retries_total", "Requests sent to another worker after one failed.").WithLabelValues(),
		moved:   counter("http_sessions_moved_total", "Requests of a session answered by another worker than its own.").WithLabelValues(),
	}
	for _, r := range []string{ownNoContext, ownUnavailable, ownBadRequest, ownLimit, ownTimeout, ownConnectFailed} {
		s.local.WithLabelValues(r)
	}
	return s
}

func (s *stats) own(reason string) { s.local.WithLabelValues(reason).Inc() }

// account is the end of an exchange.
func (p *Proxy) account(x *exchange) {
	status := x.status
	if status == 0 {
		status = 499 // the client has gone
	}
	s, code := p.stats, class(status)
	s.class[code].Add(1)
	s.requests.WithLabelValues(x.balancer, codes[code]).Inc()
	if x.status != http.StatusSwitchingProtocols {
		s.duration.WithLabelValues(x.balancer, codes[code]).Observe(time.Since(x.start).Seconds())
	}
	if x.moved {
		s.moved.Inc()
	}
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("quorate_"+name, help, labels, nil)
}

var (
	descInFlight    = desc("http_requests_in_flight", "Requests being worked on, tunnels included.")
	descUpgraded    = desc("http_upgraded_connections", "Tunnels that are open.")
	descClients     = desc("client_connections", "Open connections of clients.", "listener")
	descReceived    = desc("client_received_bytes_total", "Bytes received from clients.")
	descSent        = desc("client_sent_bytes_total", "Bytes sent to clients.")
	descUp          = desc("worker_up", "1 when the worker takes new sessions from this replica.", "worker")
	descLoad        = desc("worker_load", "100 idle, 1 busy, 0 standby, -1 out of service.", "worker")
	descWorkerNow   = desc("worker_requests_in_flight", "Requests the worker is working on for this replica.", "worker")
	descWorker      = desc("worker_requests_total", "Answers of the worker.", "worker", "code")
	descNoConnect   = desc("worker_connect_failures_total", "Connections to the worker that could not be made.", "worker")
	descElected     = desc("worker_elected_total", "Times the worker was chosen.", "worker")
	descWorkerTimes = desc("worker_request_duration_seconds", "From choosing the worker to the end of its answer.", "worker")
)

// Describe implements prometheus.Collector. A Proxy is the collector of what it
// counts.
func (p *Proxy) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range p.stats.collectors() {
		c.Describe(ch)
	}
	for _, d := range []*prometheus.Desc{descInFlight, descUpgraded, descClients, descReceived, descSent} {
		ch <- d
	}
	if !p.c.PerWorkerMetrics {
		return
	}
	for _, d := range []*prometheus.Desc{descUp, descLoad, descWorkerNow, descWorker, descNoConnect, descElected, descWorkerTimes} {
		ch <- d
	}
}

func (s *stats) collectors() []prometheus.Collector {
	return []prometheus.Collector{s.requests, s.duration, s.local, s.retries, s.moved}
}

// Collect implements prometheus.Collector.
func (p *Proxy) Collect(ch chan<- prometheus.Metric) {
	for _, c := range p.stats.collectors() {
		c.Collect(ch)
	}
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	send(descInFlight, prometheus.GaugeValue, float64(p.exchanges.value()))
	send(descUpgraded, prometheus.GaugeValue, float64(p.stats.upgraded.Load()))
	send(descReceived, prometheus.CounterValue, float64(p.stats.received.Load()))
	send(descSent, prometheus.CounterValue, float64(p.stats.sent.Load()))
	for _, l := range p.listeners {
		send(descClients, prometheus.GaugeValue, float64(l.open.Load()), l.label)
	}
	if !p.c.PerWorkerMetrics {
		return
	}
	for _, n := range p.table.Load().Nodes() {
		t, w := p.target(n), n.Route
		up := 0.0
		if n.Usable() {
			up = 1
		}
		send(descUp, prometheus.GaugeValue, up, w)
		send(descLoad, prometheus.GaugeValue, float64(n.Load()), w)
		send(descWorkerNow, prometheus.GaugeValue, float64(n.InFlight()), w)
		send(descNoConnect, prometheus.CounterValue, float64(t.connectFailures.Load()), w)
		send(descElected, prometheus.CounterValue, float64(n.Elected()), w)
		for class := 1; class < len(codes); class++ {
			if k := t.requests[class].Load(); k > 0 || class >= 2 {
				send(descWorker, prometheus.CounterValue, float64(k), w, codes[class])
			}
		}
		ch <- prometheus.MustNewConstSummary(descWorkerTimes, t.answers.Load(), time.Duration(t.duration.Load()).Seconds(), nil, w)
	}
}
