package proxy

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/quorate/quorate/fsm"
)

// series gives "name{label=value}" and the value of all that a registry has.
func series(t *testing.T, p *Proxy) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(p); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				if l.GetName() != "listener" {
					labels = append(labels, l.GetName()+"="+l.GetValue())
				}
			}
			v := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount()+m.GetSummary().GetSampleCount())
			out[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = v
		}
	}
	return out
}

func TestMetrics(t *testing.T) {
	r := run(t, nil)
	r.register("w1", startWorker(t, named("w1")))
	r.get("/").want(t, 200, "w1")
	r.get("/a/../b").want(t, 400, "")
	r.register("w2", closedPort(t))
	r.get("/", "Cookie: JSESSIONID=x.w2").want(t, 200, "w1")
	eventually(t, "the exchanges are accounted for", func() bool { return r.Stats().Requests == 3 })
	eventually(t, "the connections are closed", func() bool { return r.Stats().ClientConnections == 0 })
	got := series(t, r.Proxy)
	for name, want := range map[string]float64{
		"quorate_http_requests_total{balancer=mycluster,code=2xx}":           2,
		"quorate_http_requests_total{balancer=none,code=4xx}":                1,
		"quorate_http_request_duration_seconds{balancer=mycluster,code=2xx}": 2,
		"quorate_http_requests_in_flight{}":                                  0,
		"quorate_http_upgraded_connections{}":                                0,
		"quorate_client_connections{}":                                       0,
		"quorate_http_local_responses_total{reason=bad_request}":             1,
		"quorate_http_local_responses_total{reason=no_context}":              0,
		"quorate_http_retries_total{}":                                       0, // a refused connection is none
		"quorate_http_sessions_moved_total{}":                                1,
		"quorate_worker_up{worker=w1}":                                       1,
		"quorate_worker_up{worker=w2}":                                       0,
		"quorate_worker_load{worker=w1}":                                     100,
		"quorate_worker_requests_in_flight{worker=w1}":                       0,
		"quorate_worker_requests_total{code=2xx,worker=w1}":                  2,
		"quorate_worker_requests_total{code=5xx,worker=w1}":                  0,
		"quorate_worker_connect_failures_total{worker=w2}":                   1,
		"quorate_worker_elected_total{worker=w1}":                            2,
		"quorate_worker_request_duration_seconds{worker=w1}":                 2,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s = %v (%v), want %v", name, v, ok, want)
		}
	}
	if got["quorate_client_received_bytes_total{}"] == 0 || got["quorate_client_sent_bytes_total{}"] == 0 {
		t.Error("no client bytes")
	}
	if s := r.Stats(); s.Class[2] != 2 || s.Class[4] != 1 || s.InFlight != 0 {
		t.Errorf("%+v", s)
	}
	r.apply(fsm.Command{Op: fsm.OpRemove, Route: "w2", Whole: true})
	var left []string
	for name := range series(t, r.Proxy) {
		if strings.Contains(name, "worker=w2") {
			left = append(left, name)
		}
	}
	if slices.Sort(left); len(left) > 0 {
		t.Errorf("series of a worker that is gone: %v", left)
	}
}

func TestMetricsWithoutWorkers(t *testing.T) {
	r := run(t, func(c *Config) { c.PerWorkerMetrics = false })
	r.register("w1", startWorker(t, named("w1")))
	for name := range series(t, r.Proxy) {
		if strings.Contains(name, "worker") {
			t.Error(name)
		}
	}
}
