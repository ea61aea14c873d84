package mcmp

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of ux.md §6 that begin with mcmp_.
type metrics struct {
	messages *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

func newMetrics() *metrics {
	return &metrics{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "quorate_mcmp_messages_total",
			Help: "MCMP messages answered, by command and result (ok, syntax, mem, general).",
		}, []string{"command", "result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "quorate_mcmp_message_duration_seconds",
			Help:    "Time from the last byte of an MCMP message to its answer, by command.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"command"}),
	}
}

// count records an answer; kind is its Type, "" for a 200.
func (m *metrics) count(command, kind string, took time.Duration) {
	result := strings.ToLower(kind)
	if kind == "" {
		result = "ok"
	}
	m.messages.WithLabelValues(command, result).Inc()
	m.duration.WithLabelValues(command).Observe(took.Seconds())
}

// Collectors are the metrics of the Server, to be registered.
func (s *Server) Collectors() []prometheus.Collector {
	return []prometheus.Collector{s.metrics.messages, s.metrics.duration}
}
