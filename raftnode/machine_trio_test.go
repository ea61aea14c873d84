package raftnode

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/quorate/quorate/fsm"
)

// bareCluster is real raft over our store and our machine, and nothing else of a
// Replica: what the two promise must hold by themselves.
type bareCluster struct {
	t       *testing.T
	trail   uint64
	members []*bareMember // stopped ones too
	apart   string        // the id of the one cut off
	port    int           // last port given to a worker
	led     string        // id and term of the leader that has passed a Barrier
}

type bareMember struct {
	id, dir string
	boot    boot
	store   *logStore
	machine *machine
	raft    *raft.Raft
	trans   *raft.InmemTransport

	mu     sync.Mutex
	routes map[fsm.JVMRoute]bool // in commands that raft gave to the machine, over all starts
	resets int                   // since the start
	lost   []string              // what was missing from a state the table would be reset to
	must   []fsm.JVMRoute        // in every such state
}

// witness notes what raft hands to the machine.
type witness struct{ *bareMember }

func (w witness) Apply(l *raft.Log) any {
	if e, err := fsm.DecodeEntry(l.Data); err == nil {
		w.mu.Lock()
		for _, c := range e.Commands {
			w.routes[c.Route] = true
		}
		w.mu.Unlock()
	}
	return w.machine.Apply(l)
}
func (w witness) Snapshot() (raft.FSMSnapshot, error) { return w.machine.Snapshot() }
func (w witness) Restore(r io.ReadCloser) error       { return w.machine.Restore(r) }

// newBareCluster starts voters with these ids, of which the first forms the cluster.
func newBareCluster(t *testing.T, trail uint64, ids ...string) *bareCluster {
	c := &bareCluster{t: t, trail: trail}
	t.Cleanup(func() { c.stop(c.members...) })
	var voters raft.Configuration
	for _, id := range ids {
		voters.Servers = append(voters.Servers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id)})
		c.start(c.add(id))
	}
	if err := c.members[0].raft.BootstrapCluster(voters).Error(); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *bareCluster) add(id string) *bareMember {
	m := &bareMember{id: id, dir: c.t.TempDir(), routes: map[fsm.JVMRoute]bool{}}
	c.members = append(c.members, m)
	return m
}

// load opens m's store and boots from it, as a replica does before raft starts.
func (c *bareCluster) load(m *bareMember) {
	var err error
	if m.store, err = openStore(storeConfig{Dir: m.dir, Logger: hclog.NewNullLogger()}); err != nil {
		c.t.Fatal(err)
	}
	if m.boot, err = bootState(m.store); err != nil {
		c.t.Fatal(err)
	}
	m.resets = 0
	m.machine = newMachine(machineConfig{
		Boot: m.boot.Applied,
		OnReset: func(a Applied) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.resets++
			for _, r := range m.must {
				if a.State.Node(r) == nil {
					m.lost = append(m.lost, fmt.Sprintf("%s at index %d", r, a.Index))
				}
			}
		},
		Fatal: func(err error) { c.t.Errorf("%s: %v", m.id, err) },
	})
	m.store.watchCuts(m.machine.cut)
}

func (c *bareCluster) start(m *bareMember) {
	c.load(m)
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(m.id)
	conf.HeartbeatTimeout = 200 * time.Millisecond
	conf.ElectionTimeout = 200 * time.Millisecond
	conf.LeaderLeaseTimeout = 200 * time.Millisecond
	conf.CommitTimeout = 5 * time.Millisecond
	conf.MaxAppendEntries = 256
	conf.SnapshotInterval = time.Hour // the tests say when
	conf.TrailingLogs = c.trail
	conf.ShutdownOnRemove = false
	conf.Logger = hclog.NewNullLogger()
	_, m.trans = raft.NewInmemTransport(raft.ServerAddress(m.id))
	c.connect(m)
	var err error
	if m.raft, err = raft.NewRaft(conf, witness{m}, m.store, m.store, m.store.snapshots, m.trans); err != nil {
		c.t.Fatal(err)
	}
}

func (c *bareCluster) connect(m *bareMember) {
	for _, o := range c.members {
		if o == m || o.trans == nil || m.id == c.apart || o.id == c.apart {
			continue
		}
		m.trans.Connect(o.trans.LocalAddr(), o.trans)
		o.trans.Connect(m.trans.LocalAddr(), m.trans)
	}
}

func (c *bareCluster) disconnect(m *bareMember) {
	m.trans.DisconnectAll()
	for _, o := range c.members {
		if o.trans != nil {
			o.trans.Disconnect(m.trans.LocalAddr())
		}
	}
}

func (c *bareCluster) partition(m *bareMember) {
	c.apart = m.id
	c.disconnect(m)
}

func (c *bareCluster) heal() {
	c.apart = ""
	for _, m := range c.members {
		if m.trans != nil {
			c.connect(m)
		}
	}
}

// stop ends members as a crash would, as far as raft is concerned: nobody is told.
func (c *bareCluster) stop(members ...*bareMember) {
	for _, m := range members {
		if m.trans != nil {
			c.disconnect(m)
		}
	}
	for _, m := range members {
		if m.raft != nil {
			if err := m.raft.Shutdown().Error(); err != nil {
				c.t.Error(err)
			}
			_ = m.trans.Close()
			m.raft, m.trans = nil, nil
		}
		if m.store != nil {
			if err := m.store.Close(); err != nil {
				c.t.Error(err)
			}
			m.store = nil
		}
	}
}

// eventually waits for something that a slow machine may take its time for.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// live returns the members that run and are not cut off.
func (c *bareCluster) live() []*bareMember {
	return slices.DeleteFunc(slices.Clone(c.members), func(m *bareMember) bool { return m.raft == nil || m.id == c.apart })
}

func (c *bareCluster) leader() *bareMember {
	c.t.Helper()
	var leader *bareMember
	eventually(c.t, "a leader", func() bool {
		for _, m := range c.live() {
			if m.raft.State() != raft.Leader {
				continue
			}
			if led := fmt.Sprint(m.id, m.raft.CurrentTerm()); led != c.led {
				if m.raft.Barrier(time.Second).Error() != nil {
					continue
				}
				c.led = led
			}
			leader = m
			return true
		}
		return false
	})
	return leader
}

// entry is a worker's registration, each at a port of its own.
func (c *bareCluster) entry(route fsm.JVMRoute) []byte {
	c.port++
	b, err := fsm.EncodeEntry(registration(route, c.port))
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

func registration(route fsm.JVMRoute, port int) fsm.Entry {
	return fsm.Entry{Schema: fsm.SchemaVersion, Time: 1_700_000_000_000 + int64(port), Commands: []fsm.Command{{
		Origin: fsm.FromWorker, Op: fsm.OpConfig, Route: route, Source: "10.0.0.1",
		Config: &fsm.NodeConfig{Balancer: "prod", Type: "http", Host: "10.0.0.1", Port: port, Ping: 10_000, Cookie: "JSESSIONID", PathParam: "jsessionid", MaxAttempts: 1},
	}}}
}

// commit registers n workers, named by the prefix, and returns them once each was
// acknowledged.
func (c *bareCluster) commit(prefix string, n int) []fsm.JVMRoute {
	c.t.Helper()
	var routes []fsm.JVMRoute
	for i := range n {
		route := fsm.JVMRoute(fmt.Sprintf("%s-%d", prefix, i))
		entry := c.entry(route)
		eventually(c.t, "commit of "+string(route), func() bool {
			f := c.leader().raft.Apply(entry, time.Second)
			if f.Error() != nil {
				return false // an election; the same command again is harmless
			}
			if r, ok := f.Response().([]fsm.Result); !ok || r[0].Code != fsm.OK {
				c.t.Fatalf("%s: %+v", route, f.Response())
			}
			return true
		})
		routes = append(routes, route)
	}
	return routes
}

// converge waits until all live members have applied the same commands, and returns
// the index.
func (c *bareCluster) converge() uint64 {
	c.t.Helper()
	var index uint64
	eventually(c.t, "all members at one index", func() bool {
		index = c.leader().machine.Committed().Index
		for _, m := range c.live() {
			if m.machine.Committed().Index != index || m.machine.State().Index != index {
				return false
			}
		}
		return true
	})
	hash := c.leader().machine.Committed().State.Hash()
	for _, m := range c.live() {
		if got := m.machine.Committed().State.Hash(); got != hash {
			c.t.Errorf("%s has another state at index %d", m.id, index)
		}
		if got, ok := m.machine.HashAt(index); !ok || got != hash {
			c.t.Errorf("%s has no, or another, hash at index %d", m.id, index)
		}
	}
	return index
}

// snapshot makes members take a snapshot now.
func (c *bareCluster) snapshot(members ...*bareMember) {
	c.t.Helper()
	for _, m := range members {
		if err := m.raft.Snapshot().Error(); err != nil {
			c.t.Fatalf("%s: %v", m.id, err)
		}
	}
}

// diverge cuts off the leader and has it write at least n entries that never commit,
// for workers named "never".
func (c *bareCluster) diverge(n int) *bareMember {
	c.t.Helper()
	var old *bareMember
	eventually(c.t, "a leader that writes alone", func() bool {
		c.heal()
		c.converge()
		old = c.leader()
		before, _ := old.store.LastIndex()
		c.partition(old)
		var all sync.WaitGroup
		for i := range n { // at once: its lease ends soon
			entry := c.entry(fsm.JVMRoute(fmt.Sprintf("never-%d", i)))
			all.Go(func() {
				if old.raft.Apply(entry, time.Second).Error() == nil {
					c.t.Error("a leader without followers committed")
				}
			})
		}
		all.Wait()
		last, _ := old.store.LastIndex()
		return last >= before+uint64(n)
	})
	return old
}

// nothingNever checks that no entry that never committed was applied anywhere.
func (c *bareCluster) nothingNever() {
	c.t.Helper()
	for _, m := range c.members {
		m.mu.Lock()
		for r := range maps.Keys(m.routes) {
			if strings.HasPrefix(string(r), "never") {
				c.t.Errorf("%s applied %s", m.id, r)
			}
		}
		m.mu.Unlock()
		for _, s := range []*fsm.State{m.machine.Committed().State, m.machine.State().State} {
			for _, n := range s.Nodes() {
				if strings.HasPrefix(string(n.Route), "never") {
					c.t.Errorf("%s holds %s", m.id, n.Route)
				}
			}
		}
	}
}

func missing(s *fsm.State, routes []fsm.JVMRoute) (n int) {
	for _, r := range routes {
		if s.Node(r) == nil {
			n++
		}
	}
	return n
}
