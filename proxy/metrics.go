package proxy

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/quorate/quorate/proxy/accesslog"
	"github.com/quorate/quorate/proxy/http1"
	"github.com/quorate/quorate/proxy/tally"
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
	s := Stats{InFlight: p.stats.inFlight(), ClientConnections: p.clients.Load()}
	for i := range s.Class {
		s.Class[i] = uint64(p.stats.counts.Value(countClass + i))
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

// What all exchanges count, in shards so that cores do not meet.
const (
	countInFlight = iota
	countReceived // client bytes
	countSent
	countRetries
	countMoved
	countClass // of answers; six of them
	counters   = countClass + len(codes)
)

// stats is what is counted.
type stats struct {
	shards         int
	next           atomic.Uint32
	counts         *tally.Group
	upgraded       atomic.Int64
	acceptFailures atomic.Int64
	local          *prometheus.CounterVec

	balancers atomic.Pointer[map[string]*balancerStats]
	mu        sync.Mutex // held while balancers is replaced
}

// balancerStats is of one balancer, or of the requests that got none.
type balancerStats struct {
	requests *tally.Group // by class
	duration [6]*tally.Histogram
	budget   budget
}

func newStats() *stats {
	s := &stats{
		shards: tally.Shards(),
		local: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "quorate_http_local_responses_total",
			Help: "Answers of the replica itself, by reason."}, []string{"reason"}),
	}
	s.counts = tally.NewGroup(s.shards, counters)
	for _, r := range []string{ownNoContext, ownUnavailable, ownBadRequest, ownLimit, ownTimeout, ownConnectFailed} {
		s.local.WithLabelValues(r)
	}
	s.balancers.Store(&map[string]*balancerStats{})
	return s
}

// place gives the next exchange its shard.
func (s *stats) place() int { return int(s.next.Add(1)) % s.shards }

func (s *stats) inFlight() int64 { return s.counts.Value(countInFlight) }

func (s *stats) own(reason string) { s.local.WithLabelValues(reason).Inc() }

// of returns the stats of a balancer.
func (s *stats) of(balancer string) *balancerStats {
	if b := (*s.balancers.Load())[balancer]; b != nil {
		return b
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := maps.Clone(*s.balancers.Load())
	if list[balancer] == nil {
		b := &balancerStats{requests: tally.NewGroup(s.shards, len(codes))}
		for i := range b.duration {
			b.duration[i] = tally.NewHistogram(s.shards, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
		}
		b.budget.requests = b.answered
		list[balancer] = b
		s.balancers.Store(&list)
	}
	return list[balancer]
}

// answered is how many requests there were.
func (b *balancerStats) answered() (n uint64) {
	for i := range codes {
		n += uint64(b.requests.Value(i))
	}
	return n
}

// account is the end of an exchange.
func (p *Proxy) account(x *exchange) {
	status := x.status
	if status == 0 {
		status = 499 // the client has gone
	}
	if x.ended.IsZero() {
		x.ended = time.Now()
	}
	took := x.ended.Sub(x.start)
	code := class(status)
	counts := p.stats.counts
	counts.Add(x.shard, countClass+code, 1)
	b := p.stats.of(x.balancer)
	b.requests.Add(x.shard, code, 1)
	if x.status != 101 {
		b.duration[code].Observe(x.shard, took)
	}
	if x.moved {
		counts.Add(x.shard, countMoved, 1)
	}
	if p.c.AccessLog != nil {
		p.record(x, status, took)
	}
	counts.Add(x.shard, countInFlight, -1)
}

// record writes the exchange to the access log.
func (p *Proxy) record(x *exchange, status int, took time.Duration) {
	r := &x.entry
	*r = accesslog.Record{
		Time:         x.start,
		Listener:     x.l.label,
		Client:       x.client(),
		Host:         view(x.req.Host.Of(x.in)),
		Method:       x.method,
		Path:         view(x.req.Target.Of(x.in)),
		Protocol:     x.protocol(),
		Status:       status,
		BytesIn:      x.body.total,
		BytesOut:     x.sent,
		Duration:     took,
		Connect:      x.connecting,
		Response:     x.firstByte,
		Context:      x.context,
		Worker:       x.worker,
		RouteWanted:  x.wanted,
		RouteChanged: x.moved,
		Attempts:     x.tries,
		ClosedBy:     x.closedBy,
		Index:        x.index,
		RequestID:    x.id,
	}
	if x.balancer != noBalancer {
		r.Balancer = x.balancer
	}
	if x.cause != nil {
		r.Error = x.cause.Error()
	}
	r.Path, r.Query, _ = strings.Cut(r.Path, "?")
	if f := x.field(http1.UserAgent); f != nil {
		r.UserAgent = view(f.Value.Of(x.in))
	}
	if f := x.field(http1.Referer); f != nil {
		r.Referer = view(f.Value.Of(x.in))
	}
	p.c.AccessLog.Write(r)
	*r = accesslog.Record{}
}

func (x *exchange) protocol() string {
	switch {
	case x.down != &x.h1:
		return "HTTP/2.0"
	case x.h1.old:
		return "HTTP/1.0"
	}
	return "HTTP/1.1"
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("quorate_"+name, help, labels, nil)
}

var (
	descRequests    = desc("http_requests_total", "Requests of clients that were answered.", "balancer", "code")
	descDuration    = desc("http_request_duration_seconds", "From the end of a request's head to the end of its answer.", "balancer", "code")
	descRetries     = desc("http_retries_total", "Requests sent to another worker after one failed.")
	descMoved       = desc("http_sessions_moved_total", "Requests of a session answered by another worker than its own.")
	descInFlight    = desc("http_requests_in_flight", "Requests being worked on, tunnels included.")
	descUpgraded    = desc("http_upgraded_connections", "Tunnels that are open.")
	descClients     = desc("client_connections", "Open connections of clients.", "listener")
	descReceived    = desc("client_received_bytes_total", "Bytes received from clients.")
	descSent        = desc("client_sent_bytes_total", "Bytes sent to clients.")
	descNoAccept    = desc("accept_failures_total", "Times that no connection could be accepted, for want of descriptors or memory.")
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
	p.stats.local.Describe(ch)
	for _, d := range []*prometheus.Desc{descRequests, descDuration, descRetries, descMoved, descInFlight, descUpgraded,
		descClients, descReceived, descSent, descNoAccept} {
		ch <- d
	}
	if !p.c.PerWorkerMetrics {
		return
	}
	for _, d := range []*prometheus.Desc{descUp, descLoad, descWorkerNow, descWorker, descNoConnect, descElected, descWorkerTimes} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (p *Proxy) Collect(ch chan<- prometheus.Metric) {
	s := p.stats
	s.local.Collect(ch)
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	for name, b := range *s.balancers.Load() {
		for class := 1; class < len(codes); class++ {
			if b.requests.Value(class) > 0 {
				ch <- b.requests.Metric(class, descRequests, prometheus.CounterValue, name, codes[class])
				ch <- b.duration[class].Metric(descDuration, name, codes[class])
			}
		}
	}
	ch <- s.counts.Metric(countRetries, descRetries, prometheus.CounterValue)
	ch <- s.counts.Metric(countMoved, descMoved, prometheus.CounterValue)
	ch <- s.counts.Metric(countInFlight, descInFlight, prometheus.GaugeValue)
	send(descUpgraded, prometheus.GaugeValue, float64(s.upgraded.Load()))
	ch <- s.counts.Metric(countReceived, descReceived, prometheus.CounterValue)
	ch <- s.counts.Metric(countSent, descSent, prometheus.CounterValue)
	send(descNoAccept, prometheus.CounterValue, float64(s.acceptFailures.Load()))
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
