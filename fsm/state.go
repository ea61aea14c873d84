package fsm

// Status of a context as the worker last said.
type Status uint8

// The statuses, numbered as DUMP and INFO's XML number them.
const (
	Enabled  Status = 1
	Disabled Status = 2
	Stopped  Status = 3
)

// HoldMode is an operator's intent.
type HoldMode uint8

// The modes, from mild to strict.
const (
	HoldNone HoldMode = iota
	HoldDrain
	HoldAll
)

// Hold outlives the worker's messages; only a release lifts it.
type Hold struct {
	Mode   HoldMode
	By     string
	Reason string
	Since  int64 // leader time, Unix ms
}

// Node is one worker with its vhosts and contexts: one record. It is never
// changed in place; readers may keep it.
type Node struct {
	Number   int64 // order of registration from 0, never used again
	Route    JVMRoute
	Config   NodeConfig // as CONFIG said, Balancer resolved
	Load     int        // -1 … 100
	New      bool       // no load >= 0 committed yet, so Load is -1
	Removed  int64      // leader time of the removal, 0 while it is there
	Resync   bool       // its next STATUS is answered MEM once (spec/mcmp.md §0.8)
	Hold     Hold
	VHosts   []VHost
	Linger   []Linger
	Source   string // address it registered from
	Replica  string // replica that received the registration
	Since    int64  // registered, leader time
	Modified int64  // last change, leader time
}

// VHost is a virtual host of a node.
type VHost struct {
	ID       int // per node from 1
	Aliases  []string
	Contexts []Context // by path
}

// Context is an application on a vhost of a node.
type Context struct {
	Path   Path
	Status Status
	Hold   Hold
}

// Linger is a context of a removed registration that still serves the sessions
// of its own route, until a leader time. While the node is marked removed it
// serves nothing and waits for the node to register again.
type Linger struct {
	Aliases []string
	Path    Path
	Until   int64
}

// Balancer is a named group of nodes with shared session settings. It goes with
// its last node.
type Balancer struct {
	Name        string
	Number      int64 // order of creation
	Sticky      bool
	StickyForce bool
	StickyDrop  bool
	Cookie      string
	PathParam   string
	WaitWorker  int // s
	MaxAttempts int
}

// Settings are the `shared` keys of interface.md §1: the same on all replicas,
// held in the log. Zero or empty means auto where a key has an auto.
type Settings struct {
	Voters            int
	DefaultBalancer   string
	MaxWorkers        int
	MaxAliases        int    // per worker
	MaxContexts       int    // per worker
	UseAlias          string // auto, true, false
	NoContextStatus   int
	UnavailableStatus int
	Recalculation     int64 // ms
	RemoveDelay       int64 // ms
	Deterministic     bool  // failover: deterministic
	Affinity          Affinity
	MaxAttempts       *int // nil = auto
	WaitWorker        *int // s; nil = auto
	Rules             []Rule
}

// Affinity is shared.affinity. Nil pointers and empty names mean auto.
type Affinity struct {
	Mode      string // none, single, ranked
	Delimiter string
	Cookie    string
	PathParam string
	Sticky    *bool
	Force     *bool
	Drop      *bool
}

// Rule is one of shared.rules; the first match wins.
type Rule struct {
	Hosts      []string
	PathPrefix string
	Action     string // route, reject, redirect
	Balancer   string
	Status     int
	To         string
}
