package fsm

// JVMRoute names a worker: "w1", the part of a session id after the first dot.
type JVMRoute string

// Path is the path of a context: "/" for ROOT, otherwise as the worker sent it.
type Path string

// CommandID makes a retry after an unknown outcome harmless. The receiving
// replica draws it at random; the zero id is never deduplicated.
type CommandID [16]byte

// Origin says who asked for a command.
type Origin uint8

// The origins.
const (
	FromWorker Origin = iota + 1
	FromOperator
	FromSystem
)

// Op is what a command does.
type Op uint8

// Operations. The first six are MCMP messages (spec/mcmp.md §0.3–§0.5), the
// next four an operator's intent, the rest the cluster's own.
const (
	OpConfig   Op = iota + 1 // Config, Aliases, Contexts, Gone
	OpEnable                 // Whole, or Aliases and Contexts
	OpDisable                // the same
	OpStop                   // the same
	OpRemove                 // the same
	OpStatus                 // Load
	OpDrain                  // By, Reason, optional Alias and Context
	OpHold                   // the same
	OpRelease                // the same
	OpDrop                   // operator removes a worker: By, Reason
	OpForm                   // ClusterID, Settings: the first command of a cluster
	OpSettings               // Settings
	OpTick                   // nothing but the passing of leader time
	OpExpire                 // a worker that no replica reaches: Route, Reason
	OpSchema                 // Version: raise the schema version of entries
	OpBar                    // ReplicaID: a removed replica is never added again by itself
)

// Command is one MCMP message, or an operator's or the system's action, in
// canonical form. Only the operands its Op names are set.
type Command struct {
	ID      CommandID
	Origin  Origin
	Replica string // name of the replica that received it
	Source  string // address it came from, "cli:NAME" for an operator, "system"
	Op      Op
	Route   JVMRoute

	Whole    bool        // the node-wide form "/*"
	Config   *NodeConfig // CONFIG
	Aliases  []string    // as received, in order
	Contexts []Path      // as received, in order
	Load     int         // STATUS: -1 out of service, 0 standby, 1 busy … 100 idle
	Gone     []JVMRoute  // CONFIG: routes found silent or unreachable, so that they may be replaced (spec/mcmp.md §0.3)

	By      string // operator
	Reason  string
	Alias   string // operator: one vhost's context; "" any
	Context Path   // operator: one context; "" the whole node

	ClusterID string
	Settings  *Settings
	Version   uint16
	ReplicaID string
}

// NodeConfig is what CONFIG says of a node and its balancer, defaults filled in
// (spec/mcmp.md §0.3).
type NodeConfig struct {
	Balancer string // lower-cased; "" means Settings.DefaultBalancer
	Domain   string // LBGroup
	Type     string // ajp, http, https
	Host     string // IPv6 in brackets, without zone
	Port     int    // 1–65535

	Ping         int64 // ms; time of a check
	Timeout      int64 // ms; between two reads of an answer; 0 = unset
	TTL          int64 // ms; age of idle connections
	Smax         int   // idle connections kept; -1 = all
	FlushPackets int   // 0 off, 1 on, 2 auto: shown only
	FlushWait    int64 // ms: shown only

	Sticky      bool   // StickySession
	StickyForce bool   // StickySessionForce
	StickyDrop  bool   // StickySessionRemove
	Cookie      string // StickySessionCookie
	PathParam   string // StickySessionPath
	WaitWorker  int    // s
	MaxAttempts int
}

// Entry is what Raft stores: commands that commit together.
type Entry struct {
	Schema   uint16
	Time     int64 // leader time, Unix ms
	Commands []Command
}

// Code is the outcome of a command, in the words of MCMP's Type.
type Code uint8

// The outcomes. OK covers what was already so.
const (
	OK  Code = iota
	Mem      // cannot be done now: the worker asks again
)

// Result is what Apply did for one command.
type Result struct {
	Code    Code
	Mess    string // for Mem: the text after "MEM: "
	Changed bool   // a record other than the dedupe window changed

	// What the table must recompile. An entry for a node that is gone is a removal.
	Nodes     []JVMRoute
	Balancers []string
	Settings  bool

	Events []Event // what people read; empty when nothing changed
}

// Event is one line of the history (ux.md, replay log; interface.md §3, events).
type Event struct {
	Op      string // CONFIG, ENABLE, DISABLE, STOP, REMOVE, STATUS, DRAIN, HOLD, RELEASE, EXPIRE, EVICT, FORGET, …
	Route   JVMRoute
	Context Path
	Alias   string
	Detail  string // "load 94 -> -1", "ajp://10.0.1.23:8009"
}
