package admin

import "time"

// Status is the body of GET /api/v1/status (interface.md §3): times are RFC
// 3339 UTC, durations seconds.
type Status struct {
	Cluster    Cluster    `json:"cluster"`
	Replica    Self       `json:"replica"`
	Replicas   []Replica  `json:"replicas"`
	Problems   []Problem  `json:"problems"`
	LastChange *Change    `json:"last_change"`
	Workers    WorkerSums `json:"workers"`
	Traffic    Traffic    `json:"traffic"`
}

// Cluster is what is true of the replicas together.
type Cluster struct {
	ID               string     `json:"id"`
	Leader           string     `json:"leader"` // name, "" without one
	Term             uint64     `json:"term"`
	Voters           int        `json:"voters"`
	WantedVoters     int        `json:"wanted_voters"`
	FailureTolerance int        `json:"failure_tolerance"`
	Healthy          bool       `json:"healthy"`
	LeaderSince      *time.Time `json:"leader_since"`
}

// Self is the answering replica.
type Self struct {
	ID           string    `json:"id"`
	Name         string    `json:"name"`
	Role         string    `json:"role"` // leader, follower, candidate, non-voter
	Voter        bool      `json:"voter"`
	Version      string    `json:"version"`
	StartedAt    time.Time `json:"started_at"`
	Ready        bool      `json:"ready"`
	AppliedIndex uint64    `json:"applied_index"` // of the state that routes
	CommitIndex  uint64    `json:"commit_index"`
	LastIndex    uint64    `json:"last_index"`
	FirstIndex   uint64    `json:"first_index"`
	StateHash    string    `json:"state_hash"`
	Addresses    Addresses `json:"addresses"`
}

// Addresses are where a replica listens.
type Addresses struct {
	Traffic []string `json:"traffic,omitempty"`
	MCMP    []string `json:"mcmp,omitempty"`
	Admin   string   `json:"admin,omitempty"`
	Cluster string   `json:"cluster,omitempty"`
	Gossip  string   `json:"gossip,omitempty"`
}

// Replica is one member, the answering one included.
type Replica struct {
	ID           string    `json:"id"`
	Name         string    `json:"name"`
	Role         string    `json:"role"`
	Voter        bool      `json:"voter"`
	Reachable    bool      `json:"reachable"`
	Ready        bool      `json:"ready"`
	LastContact  float64   `json:"last_contact"` // seconds
	AppliedIndex uint64    `json:"applied_index"`
	StateHash    string    `json:"state_hash"`
	Version      string    `json:"version"`
	Addresses    Addresses `json:"addresses"`
}

// Problem is something an operator should know, with a code that programs can
// rely on (ux.md §3).
type Problem struct {
	Code    string    `json:"code"`
	Replica string    `json:"replica"`
	Detail  string    `json:"detail"`
	Since   time.Time `json:"since"`
}

// Change is the last command that changed the state.
type Change struct {
	Index   uint64    `json:"index"`
	Time    time.Time `json:"time"`
	Op      string    `json:"op"`
	Route   string    `json:"route"`
	Context string    `json:"context"`
	Replica string    `json:"replica"`
	Detail  string    `json:"detail"`
}

// WorkerSums counts what is registered.
type WorkerSums struct {
	Total    int `json:"total"`
	Usable   int `json:"usable"`
	Contexts int `json:"contexts"`
}

// Traffic is the answering replica's own.
type Traffic struct {
	Requests          uint64            `json:"requests"`
	InFlight          int64             `json:"in_flight"`
	ClientConnections int64             `json:"client_connections"`
	Status            map[string]uint64 `json:"status"` // 2xx, 3xx, 4xx, 5xx
}

// Workers is the body of GET /api/v1/workers.
type Workers struct {
	Index   uint64   `json:"index"`
	Workers []Worker `json:"workers"`
}

// Worker is one registered application server.
type Worker struct {
	Route        string          `json:"route"`
	Balancer     string          `json:"balancer"`
	Domain       string          `json:"domain"`
	Type         string          `json:"type"`
	Host         string          `json:"host"`
	Port         int             `json:"port"`
	Load         int             `json:"load"`
	Status       string          `json:"status"` // ux.md §1
	Hold         *Hold           `json:"hold"`
	Contexts     []Context       `json:"contexts"`
	Elected      uint64          `json:"elected"` // by the answering replica
	RegisteredAt time.Time       `json:"registered_at"`
	ChangedAt    time.Time       `json:"changed_at"`
	Source       string          `json:"source"`
	Reachable    map[string]bool `json:"reachable"` // by replica name
	Why          string          `json:"why"`
}

// Hold is an operator's intent.
type Hold struct {
	Mode   string    `json:"mode"` // drain, hold
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

// Context is an application on a worker's vhost.
type Context struct {
	Aliases   []string `json:"aliases"`
	Path      string   `json:"path"`
	Status    string   `json:"status"` // as the worker last said
	Hold      *Hold    `json:"hold"`
	Effective string   `json:"effective"` // the stricter of the two
	Requests  int64    `json:"requests"`  // in flight on the answering replica
}
