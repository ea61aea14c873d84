// Package gossip tells a replica which other replicas exist and where they listen.
// It is a hint, never an authority: a name that appears here may be dialled, and TLS
// then proves who answers; a name that vanishes here removes neither a voter nor a
// worker. Only the Raft log says who belongs to the cluster.
//
//	seed names ──resolve──► Join ──► memberlist ◄──UDP, TCP──► the others
//	                                     │
//	                              Members ▼   (id, cluster, address, ready, version)
//
// The wire is hashicorp/memberlist under AES-256-GCM with a key derived from the
// cluster's secret; a replica with another secret is never seen (design.md §6).
package gossip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// label marks every packet and stream. It is constant because a new replica knows no
// cluster id yet, and two labels cannot talk to each other.
const label = "quorate"

// Config says what a Gossip needs. A zero optional field means its default.
type Config struct {
	ID        string        // replica id, unique, at most 255 bytes; required
	Name      string        // replica name, for people
	ClusterID func() string // "" while this replica belongs to no cluster; default: always ""
	Ready     func() bool   // default: always false
	Version   string        // of the program

	ClusterAddress string // host:port of the cluster port as the others shall dial it

	Bind      string // host:port for TCP and UDP alike; port 0 takes a free one; required
	Advertise string // host the others are told; default: as AdvertiseHost decides

	Join         []string       // host:port; names are resolved at each attempt, every address is tried
	Keys         [][]byte       // 32 bytes each: the first encrypts, all are accepted; none: plain text
	AllowedCIDRs []netip.Prefix // networks packets and streams are taken from; none: all

	Log *slog.Logger // default: discard

	probe time.Duration // between two probes of one member; default 1 s; tests hurry
}

// Member is one live replica as gossip knows it.
type Member struct {
	ID             string
	Name           string
	ClusterID      string // "" while it belongs to none
	ClusterAddress string // host:port of its cluster port
	Ready          bool
	Version        string
	Addr           string // host:port of its gossip port
}

// Gossip is this replica's part in the conversation.
type Gossip struct {
	config    Config
	transport *transport
	log       *slog.Logger
	seeds     *seeds
	meta      atomic.Pointer[[]byte] // what memberlist broadcasts about this replica

	listMu sync.Mutex             // serialises Update and Leave with the end of Run
	list   *memberlist.Memberlist // nil before Run and after it

	mu      sync.Mutex // never held while calling memberlist
	members map[string]Member
}

// Open checks the configuration and binds the port. Nothing is sent or answered before Run.
func Open(c Config) (*Gossip, error) {
	if c.ID == "" || len(c.ID) > 255 {
		return nil, fmt.Errorf("gossip: replica id %q: must have 1 to 255 bytes", c.ID)
	}
	for i, key := range c.Keys {
		if len(key) != 32 {
			return nil, fmt.Errorf("gossip: key %d has %d bytes: must have 32", i+1, len(key))
		}
	}
	if c.ClusterID == nil {
		c.ClusterID = func() string { return "" }
	}
	if c.Ready == nil {
		c.Ready = func() bool { return false }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.probe == 0 {
		c.probe = time.Second
	}
	g := &Gossip{
		config:  c,
		log:     c.Log,
		members: make(map[string]Member),
	}
	if _, err := g.refresh(); err != nil {
		return nil, err
	}
	host, err := AdvertiseHost(c.Bind, c.Advertise, c.Join)
	if err != nil {
		return nil, err
	}
	ip, err := resolveOne(host)
	if err != nil {
		return nil, fmt.Errorf("gossip: advertise address %s: %w", host, err)
	}
	g.transport, err = listen(c.Bind, ip, c.AllowedCIDRs)
	if err != nil {
		return nil, err
	}
	g.seeds = newSeeds(c.Join, g.Addr(), c.Log)
	return g, nil
}

// Addr is the host:port the others are told.
func (g *Gossip) Addr() string { return g.transport.advertised().String() }

// Close frees the port of a Gossip that never ran. Run does it by itself.
func (g *Gossip) Close() error { return g.transport.Shutdown() }

// Run takes part until ctx ends: it joins the seeds again and again, and broadcasts
// what Ready and ClusterID say within a second of a change. It says no goodbye: that is Leave.
func (g *Gossip) Run(ctx context.Context) error {
	defer g.transport.Shutdown()
	conf := memberlist.DefaultLANConfig()
	conf.Name = g.config.ID
	conf.Label = label
	conf.Transport = g.transport
	conf.BindPort = int(g.transport.advertised().Port())
	conf.AdvertisePort = conf.BindPort
	conf.ProbeInterval = g.config.probe
	conf.ProbeTimeout = g.config.probe / 2
	conf.TCPTimeout = 3 * time.Second
	// A replica that was killed and returns on another port is believed as soon as its
	// old self is found dead.
	conf.DeadNodeReclaimTime = time.Millisecond
	conf.Delegate = delegate{g}
	conf.Events = events{g}
	conf.Logger = log.New(debugLog{g.log}, "", 0)
	if len(g.config.Keys) > 0 {
		ring, err := memberlist.NewKeyring(g.config.Keys, g.config.Keys[0])
		if err != nil {
			return fmt.Errorf("gossip: %w", err)
		}
		conf.Keyring = ring
	}
	for _, p := range g.config.AllowedCIDRs {
		conf.CIDRsAllowed = append(conf.CIDRsAllowed, net.IPNet{
			IP:   p.Addr().AsSlice(),
			Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
		})
	}
	g.transport.start()
	list, err := memberlist.Create(conf)
	if err != nil {
		return fmt.Errorf("gossip on %s: %w", g.Addr(), err)
	}
	g.setList(list)

	var joining sync.WaitGroup
	joining.Go(func() { g.seeds.run(ctx, list) })
	g.watch(ctx)

	g.setList(nil)
	err = list.Shutdown()
	joining.Wait()
	g.mu.Lock()
	clear(g.members)
	g.mu.Unlock()
	if err != nil {
		return fmt.Errorf("gossip on %s: %w", g.Addr(), err)
	}
	return nil
}

// watch broadcasts this replica's own record when it changes, until ctx ends.
func (g *Gossip) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := g.Update(); err != nil {
				g.log.Debug("gossip", "error", err)
			}
		}
	}
}

// Members lists the live replicas by id, this one included once Run has begun.
func (g *Gossip) Members() []Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]Member, 0, len(g.members))
	for _, m := range g.members {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Update broadcasts this replica's own record now if ClusterID or Ready says something
// new, and waits up to a second for the first of the others to be sent it.
func (g *Gossip) Update() error {
	g.listMu.Lock()
	defer g.listMu.Unlock()
	fresh, err := g.refresh()
	if err != nil || !fresh || g.list == nil {
		return err
	}
	if err := g.list.UpdateNode(time.Second); err != nil {
		return fmt.Errorf("gossip: broadcast own record: %w", err)
	}
	return nil
}

// Leave tells the others that this replica stops on purpose, so that they need not
// find out; it waits up to timeout for that to be sent. Run goes on until its context ends.
func (g *Gossip) Leave(timeout time.Duration) error {
	g.listMu.Lock()
	defer g.listMu.Unlock()
	if g.list == nil {
		return nil
	}
	if err := g.list.Leave(timeout); err != nil {
		return fmt.Errorf("leave gossip: %w", err)
	}
	return nil
}

func (g *Gossip) setList(list *memberlist.Memberlist) {
	g.listMu.Lock()
	g.list = list
	g.listMu.Unlock()
}

// refresh encodes this replica's record and reports whether it is new.
func (g *Gossip) refresh() (fresh bool, err error) {
	meta, err := record{
		name:           g.config.Name,
		clusterID:      g.config.ClusterID(),
		clusterAddress: g.config.ClusterAddress,
		version:        g.config.Version,
		ready:          g.config.Ready(),
	}.encode()
	if err != nil {
		return false, err
	}
	old := g.meta.Swap(&meta)
	return old == nil || !slices.Equal(*old, meta), nil
}

// events copies what memberlist reports. memberlist holds its lock meanwhile, and
// changes the nodes it shows us later on: hence copies, and no call back into it.
type events struct{ g *Gossip }

func (e events) NotifyJoin(n *memberlist.Node)   { e.g.note(n) }
func (e events) NotifyUpdate(n *memberlist.Node) { e.g.note(n) }

func (e events) NotifyLeave(n *memberlist.Node) {
	e.g.mu.Lock()
	delete(e.g.members, n.Name)
	e.g.mu.Unlock()
}

func (g *Gossip) note(n *memberlist.Node) {
	m := Member{ID: n.Name, Addr: n.Address()}
	// A record of a later version that we cannot read still shows that the replica is there.
	if r, err := decode(n.Meta); err == nil {
		m.Name, m.ClusterID, m.ClusterAddress = r.name, r.clusterID, r.clusterAddress
		m.Ready, m.Version = r.ready, r.version
	}
	g.mu.Lock()
	g.members[m.ID] = m
	g.mu.Unlock()
}

// delegate hands memberlist this replica's record, and nothing else.
type delegate struct{ g *Gossip }

func (d delegate) NodeMeta(int) []byte                        { return *d.g.meta.Load() }
func (d delegate) NotifyMsg([]byte)                           {}
func (d delegate) GetBroadcasts(overhead, limit int) [][]byte { return nil }
func (d delegate) LocalState(join bool) []byte                { return nil }
func (d delegate) MergeRemoteState(buf []byte, join bool)     {}

// debugLog takes memberlist's lines. They repeat what Members and our own lines tell, in words
// meant for memberlist's authors: DEBUG.
type debugLog struct{ log *slog.Logger }

func (d debugLog) Write(line []byte) (int, error) {
	d.log.Debug("gossip", "line", string(line[:max(0, len(line)-1)]))
	return len(line), nil
}

var errNoAddress = errors.New("has no address")
