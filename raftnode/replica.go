package raftnode

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/quorate/quorate/fsm"
)

// Config says what a Replica needs. A zero optional field means its default.
type Config struct {
	Dir     string // replica.json, log and snapshots; required
	Name    string // unique in the cluster; required
	Version string // of the program, for people

	// The cluster port. Listen "" makes a standalone replica: no port, no secret, a
	// cluster of one through the same code.
	Listen      string       // host:port, port 0 takes a free one
	Advertise   string       // host, or host:port, the others are told; default: what Listen became
	Secrets     []Secret     // the first proves this replica, all are accepted
	Credentials *Credentials // an operator's own certificates, instead of Secrets

	Join            []string      // gossip addresses of others; given: a cluster may be there to join
	BootstrapExpect int           // voters that form the cluster; default 1
	WantedVoters    int           // when the cluster is formed; default BootstrapExpect
	Settings        *fsm.Settings // when the cluster is formed; default: fsm.DefaultSettings

	Multiplier        int    // of Raft's time-outs, 1–10; default 1
	SnapshotThreshold uint64 // entries between snapshots; default 8192
	TrailingLogs      uint64 // entries kept behind a snapshot; default 100000

	Hints  func() []Hint // the other replicas that gossip shows; default: none
	Report func() Report // what the others are told of this one's traffic and workers; default: nothing

	// OnApply gets each entry that made the state that routes out of the one before,
	// OnReset one that replaces it as a whole. They come one at a time, in the order of
	// the log, before whoever proposed the entry is answered; they must not block, nor
	// call Propose or Read.
	OnApply func(Applied, fsm.Entry, []fsm.Result)
	OnReset func(Applied)

	Log *slog.Logger // default: discard
}

// Replica is this process's part in the cluster.
type Replica struct {
	c      Config
	id     string
	alone  bool // standalone
	log    *slog.Logger
	timing timing

	home    *home
	store   *logStore
	machine *machine
	link    *link // nil when standalone
	metrics *metrics
	started time.Time
	booted  bool // there was a log when it started

	listening string // cluster address the others are told, "" when standalone

	roster  roster
	leader  *leaderWatch
	leading atomic.Pointer[leadership] // nil unless this replica leads and its Barrier has passed
	busy    busyRoutes                 // workers with a command of this replica's clients under way
	pauses  *pauses

	forming  sync.Mutex    // held where this replica promises or forms
	formed   chan struct{} // closed when this replica has a configuration
	stopping atomic.Bool   // it tells the others that it will be gone
	resigned atomic.Bool   // it does not want to lead any more
	handing  atomic.Int32  // attempts to hand leadership over that are under way
	problems problems
	refused  refused
	behind   atomic.Pointer[time.Time] // since when this replica trails the others; nil: it does not

	running atomic.Bool
	ready   chan struct{} // closed when raft below is set
	raft    *raft.Raft    // set once by Run, before ready is closed
	done    context.Context
	end     context.CancelCauseFunc // of done
	closing sync.Once
}

// timing is Raft's, after the multiplier.
type timing struct {
	heartbeat, election, lease time.Duration
}

// Open takes the data directory, reads what is in it and opens the cluster port. From
// then on State gives the state to route by (design.md §5, Boot state); nothing is sent
// or answered before Run. Close gives back what was taken if Run is never called.
func Open(c Config) (*Replica, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	now := time.Now()
	r := &Replica{
		c:       c,
		alone:   c.Listen == "",
		log:     c.Log,
		started: now,
		leader:  newLeaderWatch(now),
		formed:  make(chan struct{}),
		ready:   make(chan struct{}),
	}
	m := time.Duration(c.Multiplier)
	r.timing = timing{heartbeat: 500 * time.Millisecond * m, election: 500 * time.Millisecond * m, lease: 250 * time.Millisecond * m}
	r.pauses = newPauses(r.timing.lease)
	r.done, r.end = context.WithCancelCause(context.Background())
	r.metrics = newMetrics()
	if err := r.open(now); err != nil {
		_ = r.Close()
		return nil, err
	}
	return r, nil
}

func (c *Config) check() error {
	switch {
	case c.Dir == "":
		return errors.New("open replica: no data directory")
	case c.Name == "":
		return errors.New("open replica: no name")
	case c.Listen != "" && c.Credentials == nil && len(c.Secrets) == 0:
		return errors.New("open replica: a cluster port needs a secret or certificates")
	case c.Multiplier < 0 || c.Multiplier > 10:
		return fmt.Errorf("open replica: multiplier %d: must be 1 to 10", c.Multiplier)
	case !slices.Contains([]int{0, 1, 3, 5, 7}, c.BootstrapExpect):
		return fmt.Errorf("open replica: bootstrap_expect %d: must be 1, 3, 5 or 7", c.BootstrapExpect)
	}
	if c.Multiplier == 0 {
		c.Multiplier = 1
	}
	if c.BootstrapExpect == 0 || c.Listen == "" {
		c.BootstrapExpect = 1
	}
	if c.WantedVoters == 0 || c.Listen == "" {
		c.WantedVoters = c.BootstrapExpect
	}
	if c.SnapshotThreshold == 0 {
		c.SnapshotThreshold = 8192
	}
	if c.TrailingLogs == 0 {
		c.TrailingLogs = 100_000
	}
	if c.Hints == nil {
		c.Hints = func() []Hint { return nil }
	}
	if c.Report == nil {
		c.Report = func() Report { return Report{} }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

func (r *Replica) open(now time.Time) error {
	var err error
	if r.home, err = openHome(r.c.Dir, now); err != nil {
		return r.c.unusable(err)
	}
	r.id = r.home.get().ID
	r.store, err = openStore(storeConfig{
		Dir:    r.c.Dir,
		Logger: newRaftLogger(r.log),
		Wrote:  func(d time.Duration) { r.metrics.fsync.Observe(d.Seconds()) },
		Fatal:  r.fail,
	})
	if err != nil {
		return r.c.unusable(err)
	}
	boot, err := bootState(r.store)
	if err != nil {
		return r.c.unusable(err)
	}
	switch {
	case r.home.get().ClusterID != "" && boot.Last == 0:
		return fmt.Errorf("%s: %w: %s", r.c.Dir, ErrLostLog, r.c.startOver())
	case r.home.made && boot.Last != 0:
		return fmt.Errorf("%s: %w: put replica.json back, or %s", r.c.Dir, ErrLostIdentity, r.c.startOver())
	}
	if err := r.home.claim(r.c.Version); err != nil {
		return err
	}
	r.booted = boot.Last != 0
	r.machine = newMachine(machineConfig{
		Boot:    boot.Applied,
		OnApply: r.onApply,
		OnReset: r.onReset,
		Fatal:   r.fail,
	})
	r.store.watchCuts(r.machine.cut)
	if boot.Index != 0 {
		r.belong(boot.State)
	}
	if r.alone {
		return nil
	}
	return r.openPort()
}

// Close gives back what Open took. It is for a replica that Run was never called on;
// Run does it itself.
func (r *Replica) Close() error {
	var err error
	r.closing.Do(func() {
		r.end(ErrStopped)
		if r.link != nil {
			err = r.link.Close()
		}
		if r.store != nil && !errors.Is(context.Cause(r.done), errDiskHangs) {
			err = errors.Join(err, r.store.Close())
		}
		if r.home != nil {
			err = errors.Join(err, r.home.close())
		}
	})
	return err
}

// Run takes part in the cluster until ctx ends or something makes that impossible, and
// returns the latter. Before it ends it hands leadership over. When it returns, nothing
// it started is running and the data directory is free.
func (r *Replica) Run(ctx context.Context) (err error) {
	if !r.running.CompareAndSwap(false, true) {
		return errors.New("run replica: it ran before")
	}
	defer func() { err = errors.Join(err, r.Close()) }()

	trans := r.transport()
	if r.raft, err = raft.NewRaft(r.raftConfig(), r.machine, r.store, r.store, r.store.snapshots, trans); err != nil {
		_ = trans.Close()
		return fmt.Errorf("start raft: %w", err)
	}
	close(r.ready)

	var port, duties sync.WaitGroup
	open, shut := context.WithCancel(context.Background())
	if r.link != nil {
		port.Go(func() { r.runPort(open) })
	}
	duties.Go(func() { r.pauses.run(r.done) })
	duties.Go(func() { r.follow(r.done) })
	duties.Go(func() { r.exchange(r.done) })
	duties.Go(func() { r.beFormed(r.done) })
	duties.Go(func() { r.watchDisk(r.done) })
	if err := r.mine(); err != nil {
		r.fail(err)
	}

	// Stopping: leadership first, while everything still works; then what calls raft;
	// then raft, which calls the port and the store; then these.
	select {
	case <-ctx.Done():
		if err := r.HandOver(context.WithoutCancel(ctx)); err != nil {
			r.log.Warn("leadership not handed over", "error", err)
		}
		r.end(ErrStopped)
	case <-r.done.Done():
	}
	if errors.Is(context.Cause(r.done), errDiskHangs) {
		shut()
		return context.Cause(r.done) // what sits in that write cannot be waited for
	}
	duties.Wait()
	stopped := r.raft.Shutdown()
	if errors.Is(context.Cause(r.done), errKilled) {
		shut() // the port before raft: no word goes out any more
	}
	_ = trans.Close() // ends what raft waits for: a frozen peer answers late or never
	err = stopped.Error()
	shut()
	port.Wait()
	if cause := context.Cause(r.done); !errors.Is(cause, ErrStopped) {
		err = errors.Join(cause, err)
	}
	return err
}

// fail makes Run return err.
func (r *Replica) fail(err error) { r.end(err) }

// errKilled ends a replica as SIGKILL would: tests alone use it.
var errKilled = errors.New("killed")

func (r *Replica) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(r.id)
	c.HeartbeatTimeout = r.timing.heartbeat
	c.ElectionTimeout = r.timing.election
	c.LeaderLeaseTimeout = r.timing.lease
	// Followers learn of a commit with the next message; at raft's default of 50 ms that
	// costs each of their clients 76 ms (raft-notes.md).
	c.CommitTimeout = 10 * time.Millisecond
	c.MaxAppendEntries = 256
	c.ShutdownOnRemove = false
	c.SnapshotThreshold = r.c.SnapshotThreshold
	c.SnapshotInterval = 30 * time.Second
	c.TrailingLogs = r.c.TrailingLogs
	c.NoLegacyTelemetry = true
	c.Logger = newRaftLogger(r.log)
	return c
}

// transport is what raft speaks through. Both kinds can do a pre-vote: a wrapper that
// hides that turns it off.
func (r *Replica) transport() interface {
	raft.Transport
	raft.WithClose
	raft.WithPreVote
} {
	if r.alone {
		_, t := raft.NewInmemTransport(raft.ServerAddress(r.id))
		return t
	}
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:  r.link.Raft(),
		MaxPool: 3,
		// No pipeline: when a follower refuses an entry, raft v1.8.0 may wait in it for
		// ever (hashicorp/raft#612). The follower then gets heartbeats and nothing else,
		// and Shutdown does not return. Entries hold up to 256 commands; nothing is lost.
		MaxRPCsInFlight:         1,
		Timeout:                 5 * time.Second * time.Duration(r.c.Multiplier),
		Logger:                  newTransportLogger(r.log),
		MsgpackUseNewTimeFormat: true,
	})
}

// mine refuses to run on the log of another kind of cluster.
func (r *Replica) mine() error {
	servers := r.servers()
	if !r.alone || len(servers) == 0 || len(servers) == 1 && string(servers[0].ID) == r.id {
		return nil
	}
	return fmt.Errorf("%s: %w (%d): give cluster.secret_file", r.c.Dir, ErrNotAlone, len(servers))
}

// ID is this replica's id, for as long as its data directory lives.
func (r *Replica) ID() string { return r.id }

// ClusterID is "" until this replica belongs to a cluster.
func (r *Replica) ClusterID() string { return r.home.get().ClusterID }

// State is the state to route by, with its index. Applied.State is never nil.
func (r *Replica) State() Applied { return r.machine.State() }

// servers is Raft's configuration, empty while there is none.
func (r *Replica) servers() []raft.Server {
	select {
	case <-r.ready:
		return r.raft.GetConfiguration().Configuration().Servers
	default:
		return nil
	}
}

// hints are what gossip shows of the others.
func (r *Replica) hints() []Hint { return r.c.Hints() }

// address is where to reach another replica: what gossip shows, else what it last told.
func (r *Replica) address(id string) string {
	for _, h := range r.hints() {
		if h.ID == id && h.Address != "" {
			return h.Address
		}
	}
	if p, ok := r.roster.copy(id); ok && p.address != "" {
		return p.address
	}
	for _, k := range r.home.get().Known {
		if k.ID == id {
			return k.Address
		}
	}
	return ""
}

// nameOf is what people call a replica; the beginning of its id while that is unknown.
func (r *Replica) nameOf(id string) string {
	if id == r.id {
		return r.c.Name
	}
	if p, ok := r.roster.copy(id); ok && p.name != "" {
		return p.name
	}
	for _, k := range r.home.get().Known {
		if k.ID == id && k.Name != "" {
			return k.Name
		}
	}
	for _, h := range r.hints() {
		if h.ID == id && h.Name != "" {
			return h.Name
		}
	}
	return id[:min(8, len(id))]
}

func (r *Replica) onApply(a Applied, e fsm.Entry, res []fsm.Result) {
	r.metrics.commands.Add(float64(len(e.Commands)))
	r.belong(a.State)
	if r.c.OnApply != nil {
		r.c.OnApply(a, e, res)
	}
}

func (r *Replica) onReset(a Applied) {
	r.belong(a.State)
	if r.c.OnReset != nil {
		r.c.OnReset(a)
	}
}

// belong records the cluster's id the first time the state names one.
func (r *Replica) belong(s *fsm.State) {
	id := s.ClusterID()
	was := r.home.get()
	if id == "" || id == was.ClusterID {
		return
	}
	if was.ClusterID != "" {
		r.fail(fmt.Errorf("%s belongs to cluster %s, its log to %s", r.c.Dir, was.ClusterID, id))
		return
	}
	err := r.home.change(func(is *identity) error {
		is.ClusterID, is.Promise = id, nil
		return nil
	})
	if err != nil {
		r.fail(err)
		return
	}
	if was.Promise != nil {
		r.log.Info("cluster formed", "cluster", id, "voters", len(was.Promise.Replicas))
	}
}

// formCommand is the first command of a cluster.
func (r *Replica) formCommand() fsm.Command {
	c := r.systemCommand(fsm.OpForm)
	is := r.home.get()
	c.ClusterID = is.ClusterID
	if c.ClusterID == "" && is.Promise != nil {
		c.ClusterID = is.Promise.ClusterID
	}
	settings := fsm.DefaultSettings()
	if r.c.Settings != nil {
		settings = *r.c.Settings
	}
	if settings.Voters == 0 {
		// auto: said once for all, as the replicas that join later expect 1 to form theirs.
		settings.Voters = r.c.WantedVoters
	}
	c.Settings = &settings
	return c
}

// systemCommand is a command of the cluster's own. It has no id: it is not repeated.
func (r *Replica) systemCommand(op fsm.Op) fsm.Command {
	return fsm.Command{Op: op, Origin: fsm.FromSystem, Replica: r.c.Name, Source: "system"}
}

// advertised is the cluster address the others are told.
func advertised(listening, advertise string) string {
	if advertise == "" {
		return listening
	}
	if _, _, err := net.SplitHostPort(advertise); err == nil {
		return advertise
	}
	_, port, _ := net.SplitHostPort(listening)
	return net.JoinHostPort(advertise, port)
}
