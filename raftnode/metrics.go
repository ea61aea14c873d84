package raftnode

import "github.com/prometheus/client_golang/prometheus"

// metrics are the counters of a replica; the gauges are read when asked for (ux.md §6).
type metrics struct {
	leaderChanges prometheus.Counter
	commands      prometheus.Counter
	commit, fsync prometheus.Histogram

	voters, wanted, tolerance, hasLeader        *prometheus.Desc
	reachable                                   *prometheus.Desc
	leader, term, lastIndex, commitIndex, index *prometheus.Desc
	snapshots, differs                          *prometheus.Desc
}

func newMetrics() *metrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("quorate_"+name, help, labels, nil)
	}
	// From a fast disk's fsync to a commit that waits for a slow one.
	buckets := []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}
	return &metrics{
		leaderChanges: prometheus.NewCounter(prometheus.CounterOpts{Name: "quorate_raft_leader_changes_total", Help: "Leaders elected, as this replica saw them."}),
		commands:      prometheus.NewCounter(prometheus.CounterOpts{Name: "quorate_raft_commands_total", Help: "Commands applied from the log."}),
		commit:        prometheus.NewHistogram(prometheus.HistogramOpts{Name: "quorate_raft_commit_duration_seconds", Help: "From an entry's hand-over to Raft until it was applied, on the leader.", Buckets: buckets}),
		fsync:         prometheus.NewHistogram(prometheus.HistogramOpts{Name: "quorate_raft_fsync_duration_seconds", Help: "One durable write of the log.", Buckets: buckets}),
		voters:        desc("cluster_voters", "Voters in the cluster's configuration."),
		wanted:        desc("cluster_wanted_voters", "Voters the cluster should have."),
		tolerance:     desc("cluster_failure_tolerance", "Voters that may fail from now on."),
		hasLeader:     desc("cluster_has_leader", "1 when a leader is known."),
		reachable:     desc("replica_reachable", "1 when the other replica answers.", "peer"),
		leader:        desc("raft_leader", "1 when this replica leads."),
		term:          desc("raft_term", "Raft's term."),
		lastIndex:     desc("raft_last_index", "Last index of the log."),
		commitIndex:   desc("raft_commit_index", "Last index known to be committed."),
		index:         desc("raft_applied_index", "Index of the state that routes."),
		snapshots:     desc("raft_snapshots_installed_total", "Snapshots restored, the one at the start included."),
		differs:       desc("state_differs", "1 when another replica's state differs at the same index."),
	}
}

// Describe implements prometheus.Collector.
func (r *Replica) Describe(ch chan<- *prometheus.Desc) {
	m := r.metrics
	for _, c := range []prometheus.Collector{m.leaderChanges, m.commands, m.commit, m.fsync} {
		c.Describe(ch)
	}
	for _, d := range []*prometheus.Desc{m.voters, m.wanted, m.tolerance, m.hasLeader, m.reachable, m.leader, m.term, m.lastIndex, m.commitIndex, m.index, m.snapshots, m.differs} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (r *Replica) Collect(ch chan<- prometheus.Metric) {
	m := r.metrics
	for _, c := range []prometheus.Collector{m.leaderChanges, m.commands, m.commit, m.fsync} {
		c.Collect(ch)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := r.Status()
	gauge(m.voters, float64(s.Voters))
	gauge(m.wanted, float64(s.Wanted))
	gauge(m.tolerance, float64(s.Tolerance))
	gauge(m.hasLeader, one(s.Leader != ""))
	gauge(m.leader, one(s.Role == "leader"))
	gauge(m.term, float64(s.Term))
	gauge(m.lastIndex, float64(s.LastIndex))
	gauge(m.commitIndex, float64(s.CommitIndex))
	gauge(m.index, float64(s.AppliedIndex))
	ch <- prometheus.MustNewConstMetric(m.snapshots, prometheus.CounterValue, float64(r.machine.Restores()))
	differs := false
	names := make(map[string]bool) // two members may bear one name for a moment
	for _, p := range r.Members() {
		if c, _ := r.roster.copy(p.ID); !c.differs.IsZero() {
			differs = true
		}
		if !p.Self && !names[p.Name] {
			names[p.Name] = true
			gauge(m.reachable, one(p.Reachable), p.Name)
		}
	}
	gauge(m.differs, one(differs))
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
