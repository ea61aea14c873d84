//go:build linux

package main

import (
	"slices"
	"strings"
	"time"
)

// scenario is one kind of traffic.
type scenario struct {
	name   string
	title  string
	job    Job
	peers  string // besides those that take part in all
	table  bool   // 1,000 workers × 50 contexts are registered
	tls    bool
	packet int  // the workers speak AJP with packets of so many bytes; 0: HTTP
	slow   bool // the last worker answers late
	rounds int  // at least so many
	memory bool // no rounds: all proxies at once, to look at their memory
}

const (
	everywhere = "haproxy nginx httpd mod_proxy_cluster quorate"
	withAJP    = "httpd quorate"
	slowWorker = "w4"
	slowDelay  = 20 * time.Millisecond
	openRate   = 4000
	idleCount  = 10000
	idleHold   = 150 * time.Second
)

// takes tells whether the peer of a name takes part.
func (s *scenario) takes(name string) bool {
	all := everywhere
	if s.packet > 0 {
		all = withAJP
	}
	return slices.Contains(strings.Fields(all+" "+s.peers), name)
}

func allScenarios() []*scenario {
	get := func(clients int) Job { return Job{Kind: "http", Method: "GET", Path: pathKB, Clients: clients} }
	with := func(j Job, change func(*Job)) Job {
		change(&j)
		return j
	}
	big := func(j *Job) { j.Path = path100KB }
	open := func(j *Job) { j.Rate = openRate }
	secure := func(j *Job) { j.Kind = "tls" }
	post := with(get(64), func(j *Job) { j.Method, j.Path, j.Body = "POST", pathSink, postBody })
	return []*scenario{
		{name: "get1k", title: "GET 1 KB, 64 clients", job: get(64), peers: "caddy reverseproxy"},
		{name: "get100k", title: "GET 100 KB, 64 clients", job: with(get(64), big), peers: "caddy reverseproxy"},
		{name: "get100k-256", title: "GET 100 KB, 256 clients", job: with(get(256), big), peers: "caddy reverseproxy"},
		{name: "post10k", title: "POST 10 KB, 64 clients", job: post},
		{name: "connect", title: "GET 1 KB, a connection each", job: with(get(64), func(j *Job) { j.NewConn = true }), peers: "caddy"},
		{name: "idle1000", title: "GET 1 KB, 64 clients beside 1,000 idle", job: with(get(64), func(j *Job) { j.Idle = 1000 })},
		{name: "open4000", title: "GET 1 KB, 4,000 requests/s", job: with(get(64), open), rounds: 9},
		{name: "slow", title: "4,000 requests/s, one of four workers takes 20 ms", slow: true, rounds: 9,
			job: with(get(256), func(j *Job) { j.Rate, j.Slow = openRate, slowWorker })},
		{name: "table", title: "GET 1 KB, 1,000 workers × 50 contexts registered", job: get(64), table: true},
		{name: "tls", title: "TLS, GET 1 KB, 64 clients", tls: true, job: with(get(64), secure)},
		{name: "tls-connect", title: "TLS, GET 1 KB, a full handshake each", tls: true,
			job: with(get(64), func(j *Job) { j.Kind, j.NewConn = "tls", true })},
		{name: "h2", title: "HTTP/2, GET 1 KB, 16 connections × 4 streams", tls: true,
			job: with(get(16), func(j *Job) { j.Kind, j.Streams = "h2", 4 })},
		{name: "websocket", title: "WebSocket echo, 64 connections", job: with(get(64), func(j *Job) { j.Kind = "websocket" })},
		{name: "ajp-get1k", title: "AJP, GET 1 KB, 64 clients", job: get(64), packet: 8 << 10},
		{name: "ajp-post10k", title: "AJP, POST 10 KB, 64 clients", job: post, packet: 8 << 10},
		{name: "ajp-get100k", title: "AJP, GET 100 KB, packets of 64 KiB, 64 clients", job: with(get(64), big), packet: 64 << 10},
		{name: "memory", title: "10,000 idle connections", memory: true,
			job: Job{Kind: "idle", Method: "GET", Path: pathKB, Clients: 64, Idle: idleCount, Hold: idleHold}},
		{name: "memory-tls", title: "10,000 idle connections, TLS", memory: true, tls: true,
			job: Job{Kind: "idletls", Method: "GET", Path: pathKB, Clients: 64, Idle: idleCount, Hold: idleHold}},
	}
}

// figure is something that is measured.
type figure struct {
	name, title string
	of          func(Result) float64
}

var (
	cpu    = figure{"cpu", "CPU", func(r Result) float64 { return r.CPU / float64(r.Requests) * 10000 }}
	rate   = figure{"rate", "requests/s", func(r Result) float64 { return float64(r.Requests) / r.Seconds }}
	p50    = figure{"p50", "p50", func(r Result) float64 { return r.All.P50 }}
	p99    = figure{"p99", "p99", func(r Result) float64 { return r.All.P99 }}
	p999   = figure{"p999", "p99.9", func(r Result) float64 { return r.All.P999 }}
	others = figure{"p99-others", "p99 of the other workers", func(r Result) float64 { return r.Others.P99 }}
	rss    = figure{"rss", "RSS", func(r Result) float64 { return float64(r.RSS) }}
	count  = figure{"count", "connections", func(r Result) float64 { return float64(r.Requests) }}
	before = figure{"before", "RSS before", func(r Result) float64 { return float64(r.Before) }}
	idle   = figure{"idle", "bytes per idle connection", func(r Result) float64 { return float64(r.RSS-r.Before) / float64(r.Requests) }}
)

// goal is what quorate's figure may be at most: times that of another proxy in the
// same round, or, over nobody, in itself.
type goal struct {
	scenario string
	figure   figure
	over     string
	most     float64
}

func allGoals() []goal {
	goals := []goal{
		{"get1k", cpu, "haproxy", 1.05},
		{"get100k", cpu, "haproxy", 0.75},
		{"get100k-256", cpu, "haproxy", 1.0},
		{"post10k", cpu, "haproxy", 1.0},
		{"connect", cpu, "haproxy", 1.25},
		{"idle1000", cpu, "haproxy", 1.0},
		{"open4000", cpu, "haproxy", 1.15},
		{"open4000", p99, "haproxy", 1.2},
		{"slow", p99, "haproxy", 1.2},
		{"slow", others, "haproxy", 1.2},
		{"tls", cpu, "nginx", 1.15},
		{"tls-connect", cpu, "nginx", 2.0},
		{"h2", cpu, "nginx", 2.8},
		{"websocket", cpu, "haproxy", 1.2},
		{"memory", idle, "", 5 * 1024},
		{"memory-tls", idle, "", 16 * 1024},
	}
	for _, s := range []string{"get1k", "get100k", "get100k-256", "post10k", "idle1000", "open4000"} {
		goals = append(goals, goal{s, cpu, "httpd", 0.25})
	}
	goals = append(goals, goal{"connect", cpu, "httpd", 0.6})
	for _, s := range []string{"get1k", "get100k", "get100k-256"} {
		goals = append(goals, goal{s, cpu, "caddy", 0.25})
	}
	goals = append(goals, goal{"connect", cpu, "caddy", 0.6})
	for _, s := range []string{"ajp-get1k", "ajp-post10k", "ajp-get100k"} {
		goals = append(goals, goal{s, cpu, "httpd", 0.3})
	}
	return goals
}
