package raftnode

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/quorate/quorate/fsm"
)

func TestOutcomes(t *testing.T) {
	for _, test := range []struct {
		err  error
		want outcome
	}{
		{raft.ErrNotLeader, notTaken},
		{raft.ErrLeadershipTransferInProgress, notTaken},
		{raft.ErrEnqueueTimeout, notTaken},
		{errBusy, notTaken},
		{raft.ErrLeadershipLost, unknown},
		{raft.ErrRaftShutdown, unknown},
		{context.DeadlineExceeded, unknown},
		{errors.New("disk full"), unknown},
		{ErrExpired, final},
		{fmt.Errorf("%w: too large", errRefused), final},
	} {
		if got := outcomeOf(fmt.Errorf("propose: %w", test.err)); got != test.want {
			t.Errorf("%v: %d, not %d", test.err, got, test.want)
		}
		// The same, when the leader is another replica.
		if sent := errorOf(reasonOf(test.err)); test.err != context.DeadlineExceeded && outcomeOf(sent) != test.want {
			t.Errorf("%v, sent as %q: %d, not %d", test.err, reasonOf(test.err), outcomeOf(sent), test.want)
		}
	}
	if errorOf(reasonOf(nil)) != nil {
		t.Error("no error, sent, is an error")
	}
}

// A log that has begun belongs to the cluster of its promise, and to no other.
func TestBegun(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, nil)
	r := c.start("lb1", func(c *Config) { c.BootstrapExpect = 0 })
	<-r.ready
	p := &Promise{ClusterID: "x", Replicas: []string{r.ID(), "zz"}}
	if err := r.promise(p); err != nil || r.hello().ClusterID != "" {
		t.Errorf("promised only: of cluster %q, %v", r.hello().ClusterID, err)
	}
	if err := r.bootstrap(p); err != nil || r.hello().ClusterID != "x" {
		t.Errorf("formed, no quorum yet: of cluster %q, %v", r.hello().ClusterID, err)
	}
	p = &Promise{ClusterID: "y", Replicas: []string{r.ID(), "yy"}}
	if err := r.promise(p); err != nil || r.hello().ClusterID != "" {
		t.Errorf("its log is that of other replicas: of cluster %q, %v", r.hello().ClusterID, err)
	}
}

func TestTakeDropsWhatIsTooLate(t *testing.T) {
	l := &leadership{queue: make(chan *proposal, 1000)}
	late, cancel := context.WithCancel(context.Background())
	cancel()
	put := func(ctx context.Context, size int) *proposal {
		p := &proposal{ctx: ctx, size: size, done: make(chan answer, 1)}
		l.queue <- p
		return p
	}
	expired := put(late, 1)
	for range 300 {
		put(context.Background(), 300)
	}
	first := <-l.queue
	if got := l.take(first); len(got) != maxCommands || slices.Contains(got, expired) {
		t.Errorf("took %d commands, the expired one: %v", len(got), slices.Contains(got, expired))
	}
	if a := <-expired.done; !errors.Is(a.err, ErrExpired) {
		t.Errorf("the expired one was told: %v", a.err)
	}
	for range 10 {
		put(context.Background(), maxBytes/2)
	}
	if got := l.take(<-l.queue); len(got) != 44+1 || l.held == nil {
		t.Errorf("took %d commands, held %v", len(got), l.held)
	}
}

func TestHopeless(t *testing.T) {
	start := time.Now()
	yes, no := func(time.Time) bool { return true }, func(time.Time) bool { return false }
	at := func(d time.Duration) time.Time { return start.Add(d) }
	w := newLeaderWatch(start)
	check := func(what string, d time.Duration, elect func(time.Time) bool, want bool) {
		t.Helper()
		if got := w.hopeless(at(d), time.Hour, elect); got != want {
			t.Errorf("%s: %v", what, got)
		}
	}
	check("started, an election can run", time.Second, yes, false)
	check("started alone", time.Millisecond, no, true)
	check("no leader for long", noLeaderFor, yes, true)
	if w.hopeless(at(time.Hour), noLeaderFor-1, no) {
		t.Error("just after a pause nothing of before counts")
	}
	if !w.hopeless(at(time.Hour), noLeaderFor, no) {
		t.Error("long after a pause it counts again")
	}

	while := w.view().while
	w.set("a", at(0))
	if while.Err() == nil {
		t.Error("those who waited for a leader do not hear of one")
	}
	check("a leader is there", time.Hour, no, false)
	w.missed("a", at(time.Second))
	check("it did not answer just now", 2*time.Second, no, false)
	w.missed("b", at(time.Second))
	check("it has not answered for long", time.Second+noLeaderFor, yes, true)
	w.reached("a")
	check("it answers again", time.Hour, no, false)
	if before, _ := w.set("", at(time.Hour)); before != "a" {
		t.Errorf("before: %q", before)
	}
	check("lost just now", time.Hour+time.Second, yes, false)
	if _, took := w.set("b", at(time.Hour+2*time.Second)); took != 2*time.Second {
		t.Errorf("took %v", took)
	}
	w.end()
}

func TestHome(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	h, err := openHome(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := h.claim("1"); err != nil {
		t.Fatal(err)
	}
	id := h.get().ID
	if err := h.change(func(is *identity) error { is.ClusterID = "c"; return nil }); err != nil {
		t.Fatal(err)
	}
	fails := errors.New("no")
	if err := h.change(func(is *identity) error { is.ClusterID = "d"; return fails }); err != fails || h.get().ClusterID != "c" {
		t.Errorf("a refused change: %v, %q", err, h.get().ClusterID)
	}
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	h, err = openHome(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := h.claim("2"); err != nil {
		t.Fatal(err)
	}
	if is := h.get(); is.ID != id || is.ClusterID != "c" || is.Version != "2" {
		t.Errorf("%+v", is)
	}
	h.close()
	files, _ := os.ReadDir(dir)
	if len(files) != 2 { // replica.json and lock
		t.Errorf("left behind: %v", files)
	}
	if err := os.WriteFile(filepath.Join(dir, "replica.json"), []byte(`{"id":"x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openHome(dir, time.Now()); err == nil || !strings.Contains(err.Error(), "replica.json: id") {
		t.Errorf("an id that is none: %v", err)
	}
}

func TestReachable(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, test := range []struct {
		name string
		c    contact
		want bool
	}{
		{"never asked", contact{}, false},
		{"answered", contact{answered: ago(time.Hour)}, true},
		{"missed once", contact{answered: ago(time.Second), tried: now, err: "x"}, true},
		{"missed for long", contact{answered: ago(unreachableAfter), tried: now, err: "x"}, false},
		{"never answered", contact{tried: now, err: "x"}, false},
		{"said it goes, and is gone", contact{answered: ago(time.Millisecond), tried: now, err: "x", report: Report{Stopping: true}}, false},
	} {
		if got := test.c.reachable(now); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// Without others, with everything of a Replica that needs none.
func TestProblemsAndMetrics(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, nil)
	r := c.start("lb1", func(c *Config) { c.BootstrapExpect, c.Join = 1, nil })
	c.ready(r)
	register(t, r, "w1")
	now := time.Now()

	// A member that never is: all that is told of it is made up here.
	if err := r.raft.AddNonvoter("two", "two", 0, time.Second).Error(); err != nil {
		t.Fatal(err)
	}
	index := r.State().Index
	rep := Report{ID: "two", Name: "lb2", Version: "0.9.0", Schema: fsm.SchemaVersion, AppliedIndex: index, StateHash: "00000000000000000000000000000000"}
	r.roster.heard(rep, now)
	r.roster.answered("two", now)
	p, _ := r.roster.copy("two")
	r.compare(p, now)
	codes := func() (list []string) {
		for _, p := range r.Problems() {
			list = append(list, p.Code+" "+p.Replica+": "+p.Detail)
		}
		return list
	}
	want := []string{fmt.Sprintf("state_differs lb2: state differs at index %d", index), "versions_differ lb2: runs 0.9.0, lb1 runs 1.0.0"}
	soon(t, "both problems", func() bool {
		r.roster.answered("two", time.Now()) // its real address is nowhere
		return slices.Equal(codes(), want)
	})
	if all := strings.Join(r.logs.all(), "\n"); !strings.Contains(all, fmt.Sprintf("ERROR state differs index=%d", index)) {
		t.Error("not logged")
	}
	first := r.Problems()[1].Since
	if again := r.Problems()[1].Since; !again.Equal(first) {
		t.Error("a problem's time moves")
	}

	reg := prometheus.NewRegistry()
	if err := reg.Register(r); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		m := f.Metric[0]
		got[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	for name, least := range map[string]float64{
		"quorate_cluster_voters": 1, "quorate_cluster_wanted_voters": 1, "quorate_cluster_has_leader": 1, "quorate_raft_leader": 1,
		"quorate_raft_term": 1, "quorate_raft_last_index": 5, "quorate_raft_commit_index": 5, "quorate_raft_applied_index": 5,
		"quorate_raft_leader_changes_total": 1, "quorate_raft_commands_total": 4, "quorate_raft_commit_duration_seconds": 4,
		"quorate_raft_fsync_duration_seconds": 4, "quorate_state_differs": 1, "quorate_replica_reachable": 0,
		"quorate_cluster_failure_tolerance": 0, "quorate_raft_snapshots_installed_total": 0,
	} {
		if v, ok := got[name]; !ok || v < least {
			t.Errorf("%s: %v", name, v)
		}
	}
}

func TestRaftLogger(t *testing.T) {
	var lines strings.Builder
	log := slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelInfo}))
	l := newRaftLogger(log)
	l.Info("entering leader state")
	l.Error("failed to heartbeat to", "peer", "x")
	l.Named("snapshot").With("id", 7).Error("failed to take snapshot", "error", "disk full")
	newTransportLogger(log).Error("failed to decode incoming command")
	if got := lines.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `level=WARN msg="failed to take snapshot" from=raft id=7 error="disk full"`) {
		t.Errorf("%s", got)
	}
}
