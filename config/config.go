// Package config turns the one YAML file, the environment and --set into a Config,
// and says of every value where it came from.
//
// The struct below is the only list of keys. Its tags drive everything:
//
//	key      name in the file; environment and --set names follow from the path
//	default  value when nothing is given, written as --set would write it
//	oneof    allowed values; min, max: bounds, inclusive
//	rule     named check of checkText (address, host, path, token, ...)
//	file     the value names a file: secret, plain (a certificate) or ca
//	short    an item may be written as this one value alone
//	later    not available in this version: refused unless it has its default
//	doc      what the starter file says about it
//
// Load promises that a Config it returns has passed every check of this package:
// what uses it validates nothing again.
package config

import (
	"net/netip"
	"time"
)

// Config is the whole configuration of one replica (interface.md §1).
// Durations: 0 = off. Sizes, rates, counts: 0 = no limit.
type Config struct {
	Replica   Replica   `key:"replica"`
	Cluster   Cluster   `key:"cluster" doc:"its ports open only with secret_file or tls"`
	MCMP      MCMP      `key:"mcmp" doc:"where workers register (their proxyList)"`
	Traffic   Traffic   `key:"traffic" doc:"your users"`
	Upstream  Upstream  `key:"upstream" doc:"how workers are spoken to; auto = what the worker's CONFIG says"`
	Shared    Shared    `key:"shared" doc:"the same on all replicas: read when the cluster is formed"`
	Admin     Admin     `key:"admin" doc:"status, metrics, API"`
	Archive   Archive   `key:"archive" later:"yes"`
	Log       Log       `key:"log"`
	AccessLog AccessLog `key:"access_log" doc:"one line per request"`
	Metrics   Metrics   `key:"metrics"`

	// Warnings are one line each, FILE:LINE: key: value: what is wrong. Nothing
	// there keeps the replica from running.
	Warnings []string

	origins origins
}

// Replica is this process.
type Replica struct {
	Name         string              `key:"name" rule:"name" doc:"host name; unique in the cluster"`
	DataDir      string              `key:"data_dir" default:"/var/lib/quorate" rule:"given"`
	DrainTimeout time.Duration       `key:"drain_timeout" default:"60s" doc:"at SIGTERM: how long requests may take to end"`
	ReadyDelay   Auto[time.Duration] `key:"ready_delay" doc:"at SIGTERM: not ready, still accepting; auto = 5s with traffic.ready_path"`
}

// Cluster is how the replicas reach each other. Its ports open only with
// SecretFile or TLS; see Config.Standalone.
type Cluster struct {
	Address           string     `key:"address" default:"0.0.0.0:7300" rule:"address" doc:"Raft and replica to replica, TLS 1.3"`
	GossipAddress     string     `key:"gossip_address" default:"0.0.0.0:7301" rule:"address" doc:"TCP and UDP"`
	AdvertiseAddress  string     `key:"advertise_address" rule:"host" doc:"what the others are told: a host alone, for both ports"`
	Join              []string   `key:"join" rule:"remote" doc:"gossip addresses; DNS names are re-resolved"`
	BootstrapExpect   int        `key:"bootstrap_expect" default:"1" doc:"so many replicas form the cluster: 1, 3, 5 or 7"`
	SecretFile        string     `key:"secret_file" file:"secret" doc:"one secret a line: the first is used, all are accepted"`
	TLS               ClusterTLS `key:"tls" doc:"instead of certificates derived from the secret"`
	RaftMultiplier    int        `key:"raft_multiplier" default:"1" min:"1" max:"10" doc:"1 to 10, for slow networks"`
	SnapshotThreshold int        `key:"snapshot_threshold" default:"8192" min:"1"`
	TrailingLogs      int        `key:"trailing_logs" default:"100000"`
}

// ClusterTLS is on when its three files are given.
type ClusterTLS struct {
	CertFile string `key:"cert_file" file:"plain"`
	KeyFile  string `key:"key_file" file:"secret"`
	CAFile   string `key:"ca_file" file:"ca"`
}

// MCMP is where workers register.
type MCMP struct {
	Listeners       []MCMPListener       `key:"listeners" default:"127.0.0.1:6666" doc:"address, or {address, tls}"`
	AllowedCIDRs    Auto[[]netip.Prefix] `key:"allowed_cidrs" doc:"auto = loopback, for loopback listeners"`
	TokensFile      string               `key:"tokens_file" file:"secret" doc:"one a line: first path segment of the worker's proxyURL"`
	MaxMessageBytes Size                 `key:"max_message_bytes" default:"64KiB" min:"1KiB"`
	IdleTimeout     time.Duration        `key:"idle_timeout" default:"5m" min:"60s" doc:"60s or more"`
	ReplyBudget     time.Duration        `key:"reply_budget" default:"5s" doc:"under the 20s of workers"`
	Rate            MCMPRate             `key:"rate"`
	Advertise       Advertise            `key:"advertise" doc:"by UDP multicast; each replica announces its first MCMP listener"`
}

// MCMPListener is one MCMP address. TLS is on when it is not nil.
type MCMPListener struct {
	Address string `key:"address" rule:"address" short:"yes"`
	TLS     *TLS   `key:"tls"`
}

// MCMPRate bounds one source: over it a message waits.
type MCMPRate struct {
	PerSource Rate `key:"per_source" default:"100/s" doc:"over it a message waits"`
	Burst     int  `key:"burst" default:"400" min:"1"`
}

// Advertise is the UDP announcement workers listen for.
type Advertise struct {
	Enabled         bool          `key:"enabled" default:"false"`
	Group           string        `key:"group" default:"224.0.1.105" rule:"group"`
	Port            int           `key:"port" default:"23364" min:"1" max:"65535"`
	Interval        time.Duration `key:"interval" default:"10s" min:"100ms"`
	TTL             int           `key:"ttl" default:"10" max:"255" doc:"hops"`
	Interfaces      []string      `key:"interfaces" rule:"given" doc:"names; none = the one that has the address"`
	Address         string        `key:"address" doc:"HOST or HOST:PORT to announce, where the listener is a wildcard"`
	SecurityKeyFile string        `key:"security_key_file" file:"secret" doc:"as workers have it"`
}

// Traffic is what users reach. Without listeners the replica is a witness.
type Traffic struct {
	Listeners         []TrafficListener `key:"listeners" default:"0.0.0.0:8080" doc:"address, or what an item has; [] = witness"`
	ReadyPath         string            `key:"ready_path" rule:"ready_path" doc:"e.g. /.ready: readiness, for a VIP or cloud balancer"`
	TrustedProxies    []netip.Prefix    `key:"trusted_proxies" doc:"CIDRs whose X-Forwarded-* and PROXY headers are believed"`
	Timeouts          Timeouts          `key:"timeouts"`
	BodyMinRate       ByteRate          `key:"body_min_rate" default:"500B/s"`
	Limits            TrafficLimits     `key:"limits" doc:"0 = no limit"`
	HTTP2             HTTP2             `key:"http2"`
	Path              PathRules         `key:"path"`
	DisallowedMethods []string          `key:"disallowed_methods" default:"TRACE" rule:"token"`
	Underscores       bool              `key:"underscores_in_headers" default:"false" doc:"Content_Length would pass for Content-Length"`
}

// TrafficListener is one traffic address. TLS is on when it is not nil.
// Protocols are ALPN names; auto = http/1.1, and h2 with TLS (see ALPN); h2
// without TLS is by prior knowledge (RFC 9113 §3.3).
// With ProxyProtocol every connection from Traffic.TrustedProxies begins with a
// PROXY header; with RedirectToHTTPS all that is asked here is answered 308.
type TrafficListener struct {
	Address         string         `key:"address" rule:"address" short:"yes"`
	Protocols       Auto[[]string] `key:"protocols" oneof:"http/1.1|h2"`
	ProxyProtocol   bool           `key:"proxy_protocol" default:"false"`
	RedirectToHTTPS bool           `key:"redirect_to_https" default:"false"`
	TLS             *TrafficTLS    `key:"tls"`
}

// ALPN returns the protocols the listener speaks, preferred first.
func (l TrafficListener) ALPN() []string {
	if l.TLS != nil {
		return l.Protocols.Or([]string{"h2", "http/1.1"})
	}
	return l.Protocols.Or([]string{"http/1.1"})
}

// TLS is the server side of a listener. ClientNames are names of client
// certificates (common name or DNS name) that are let in; empty = every name
// ClientCAFile vouches for.
type TLS struct {
	CertFile     string   `key:"cert_file" file:"plain"`
	KeyFile      string   `key:"key_file" file:"secret"`
	ClientAuth   string   `key:"client_auth" default:"none" oneof:"none|request|require"`
	ClientCAFile string   `key:"client_ca_file" file:"ca"`
	ClientNames  []string `key:"client_names" rule:"given"`
	MinVersion   string   `key:"min_version" default:"1.2" oneof:"1.2|1.3"`
}

// TrafficTLS is TLS with more certificates, chosen by SNI.
type TrafficTLS struct {
	TLS
	Certificates []Certificate `key:"certificates"`
}

// Pairs returns all certificates of the listener, cert_file first: the first one
// answers a client that sends no name or an unknown one.
func (t TrafficTLS) Pairs() []Certificate {
	var pairs []Certificate
	if t.CertFile != "" {
		pairs = append(pairs, Certificate{CertFile: t.CertFile, KeyFile: t.KeyFile})
	}
	return append(pairs, t.Certificates...)
}

// Certificate names one PEM certificate chain and its key.
type Certificate struct {
	CertFile string `key:"cert_file" file:"plain"`
	KeyFile  string `key:"key_file" file:"secret"`
}

// Timeouts of a client connection.
type Timeouts struct {
	Header time.Duration `key:"header" default:"20s"`
	Body   time.Duration `key:"body" default:"60s"`
	Write  time.Duration `key:"write" default:"60s" doc:"per 1 MB of progress"`
	Idle   time.Duration `key:"idle" default:"75s" doc:"above the 60s of balancers in front"`
}

// TrafficLimits of what clients may send.
type TrafficLimits struct {
	Connections           int  `key:"connections" default:"20000"`
	HeaderBytes           Size `key:"header_bytes" default:"32KiB"`
	Headers               int  `key:"headers" default:"100" doc:"as sent to the worker: Tomcat refuses the 101st"`
	RequestLineBytes      Size `key:"request_line_bytes" default:"8KiB"`
	BodyBytes             Size `key:"body_bytes" default:"0"`
	RequestsPerConnection int  `key:"requests_per_connection" default:"0"`
}

// HTTP2 settings towards clients.
type HTTP2 struct {
	MaxConcurrentStreams int `key:"max_concurrent_streams" default:"100" max:"2147483647"`
}

// PathRules say what happens to unusual paths (http-notes.md §4).
type PathRules struct {
	EncodedSlash string `key:"encoded_slash" default:"reject" oneof:"reject|keep|decode" doc:"reject, keep or decode"`
	DotSegments  string `key:"dot_segments" default:"reject" oneof:"reject|decode" doc:"reject or decode"`
	MergeSlashes bool   `key:"merge_slashes" default:"false"`
}

// Upstream is how workers are spoken to.
type Upstream struct {
	ConnectTimeout  time.Duration       `key:"connect_timeout" default:"3s" doc:"or ping, if that is smaller"`
	ResponseTimeout Auto[time.Duration] `key:"response_timeout" doc:"between two reads; auto = Timeout, else 60s"`
	MaxRequestTime  time.Duration       `key:"max_request_time" default:"0s" doc:"whole exchange"`
	Pool            Pool                `key:"pool" doc:"per worker"`
	Retry           Retry               `key:"retry"`
	HTTP            UpstreamHTTP        `key:"http"`
	AJP             AJP                 `key:"ajp"`
	TLS             UpstreamTLS         `key:"tls"`
	Upgrade         Upgrade             `key:"upgrade"`
	Health          Health              `key:"health"`
	Forwarded       Forwarded           `key:"forwarded"`
}

// Pool of connections to one worker.
type Pool struct {
	MaxConnections int                 `key:"max_connections" default:"1024"`
	MaxIdle        Auto[int]           `key:"max_idle" doc:"auto = smax"`
	IdleTimeout    Auto[time.Duration] `key:"idle_timeout" doc:"auto = ttl and what the worker's Keep-Alive says"`
}

// Retry of requests whose worker failed.
type Retry struct {
	Max       Auto[int] `key:"max" doc:"auto = Maxattempts"`
	Budget    Share     `key:"budget" default:"0.2" doc:"share of requests that may be retries, never less than 3/s"`
	WithQuery bool      `key:"with_query" default:"true"`
}

// UpstreamHTTP is for http and https workers.
type UpstreamHTTP struct {
	PreserveHost           bool `key:"preserve_host" default:"true"`
	MaxResponseHeaderBytes Size `key:"max_response_header_bytes" default:"64KiB"`
}

// AJP is for ajp workers.
type AJP struct {
	MaxPacketBytes Size          `key:"max_packet_bytes" default:"8KiB" doc:"8KiB to 64KiB, as the worker's packetSize"`
	SecretFile     string        `key:"secret_file" file:"secret" doc:"one line: the workers' secret"`
	CPingAfterIdle time.Duration `key:"cping_after_idle" default:"1s" doc:"0 asks before each request"`
}

// UpstreamTLS is for https workers.
type UpstreamTLS struct {
	Verify     string       `key:"verify" default:"full" oneof:"full|ca|none" doc:"full, ca (any name) or none"`
	CAFile     string       `key:"ca_file" file:"ca"`
	CertFile   string       `key:"cert_file" file:"plain"`
	KeyFile    string       `key:"key_file" file:"secret"`
	ServerName Auto[string] `key:"server_name" rule:"server_name" doc:"auto = the worker's host"`
	MinVersion string       `key:"min_version" default:"1.2" oneof:"1.2|1.3"`
}

// Upgrade is about WebSocket and other tunnels.
type Upgrade struct {
	Protocols   []string          `key:"protocols" default:"websocket" rule:"upgrade"`
	IdleTimeout time.Duration     `key:"idle_timeout" default:"0s"`
	Connectors  map[string]string `key:"connectors" rule:"connector" doc:"worker: http://host:port, for ajp workers"`
}

// Health checks of workers.
type Health struct {
	Probe       string              `key:"probe" default:"auto" oneof:"auto|options|get|head|tcp|none" doc:"auto, options, get, head, tcp or none"`
	Path        string              `key:"path" default:"*" rule:"probe_path"`
	Interval    time.Duration       `key:"interval" default:"5s"`
	Timeout     Auto[time.Duration] `key:"timeout" doc:"auto = ping"`
	Fails       int                 `key:"fails" default:"1" min:"1"`
	RemoveAfter time.Duration       `key:"remove_after" default:"5m"`
}

// Forwarded says which headers name the client to workers.
type Forwarded struct {
	XForwarded bool `key:"x_forwarded" default:"true"`
	Forwarded  bool `key:"forwarded" default:"false"`
}

// Shared is held in the log: the same on all replicas. The file's values count
// when the cluster is formed. Use Config.Voters for Voters.
type Shared struct {
	Voters                Auto[int]           `key:"voters" oneof:"1|3|5|7" doc:"1, 3, 5, 7; auto = cluster.bootstrap_expect"`
	DefaultBalancer       string              `key:"default_balancer" default:"mycluster" rule:"balancer"`
	Limits                SharedLimits        `key:"limits"`
	UseAlias              Auto[bool]          `key:"use_alias" doc:"auto, true or false"`
	NoContextStatus       int                 `key:"no_context_status" default:"404" min:"400" max:"599"`
	UnavailableStatus     int                 `key:"unavailable_status" default:"503" min:"400" max:"599"`
	RecalculationInterval time.Duration       `key:"recalculation_interval" default:"5s"`
	RemoveDelay           time.Duration       `key:"remove_delay" default:"10s"`
	Failover              string              `key:"failover" default:"deterministic" oneof:"deterministic|load_balanced" doc:"deterministic or load_balanced"`
	Affinity              Affinity            `key:"affinity" doc:"auto = what the worker's CONFIG says"`
	MaxAttempts           Auto[int]           `key:"max_attempts"`
	WaitWorker            Auto[time.Duration] `key:"wait_worker"`
	Rules                 []Rule              `key:"rules" doc:"first match wins"`
}

// SharedLimits of what workers may register.
type SharedLimits struct {
	Workers           int `key:"workers" default:"1000"`
	AliasesPerWorker  int `key:"aliases_per_worker" default:"100"`
	ContextsPerWorker int `key:"contexts_per_worker" default:"500"`
}

// Affinity of sessions; auto = what CONFIG says.
type Affinity struct {
	Mode          string       `key:"mode" default:"single" oneof:"none|single|ranked" doc:"none, single or ranked"`
	Delimiter     string       `key:"delimiter" default:"." rule:"delimiter" doc:"between the routes of ranked"`
	Cookie        Auto[string] `key:"cookie" rule:"session_name"`
	PathParameter Auto[string] `key:"path_parameter" rule:"session_name"`
	Sticky        Auto[bool]   `key:"sticky"`
	Force         Auto[bool]   `key:"force"`
	Remove        Auto[bool]   `key:"remove"`
}

// Rule decides before contexts do. Empty Hosts and PathPrefix "/" match
// everything. Status: for reject 404 and for redirect 302 unless given, else unused.
type Rule struct {
	Hosts      []string `key:"hosts" rule:"rule_host"`
	PathPrefix string   `key:"path_prefix" default:"/" rule:"path"`
	Action     string   `key:"action" oneof:"route|reject|redirect"`
	Balancer   string   `key:"balancer" rule:"balancer_or_none"`
	Status     int      `key:"status" default:"404"`
	To         string   `key:"to" rule:"target"`
}

// Admin is the operator's listener.
type Admin struct {
	Address      string               `key:"address" default:"127.0.0.1:7302" rule:"address"`
	TLS          AdminTLS             `key:"tls"`
	AllowedCIDRs Auto[[]netip.Prefix] `key:"allowed_cidrs" doc:"auto = loopback, for a loopback address"`
	TokensFile   string               `key:"tokens_file" file:"secret" doc:"name, role (view, drain, admin), hash"`
	Console      bool                 `key:"console" default:"true" later:"yes"`
	Manager      Manager              `key:"manager"`
}

// AdminTLS is on when CertFile is given.
type AdminTLS struct {
	CertFile     string `key:"cert_file" file:"plain"`
	KeyFile      string `key:"key_file" file:"secret"`
	ClientAuth   string `key:"client_auth" default:"none" oneof:"none|request|require"`
	ClientCAFile string `key:"client_ca_file" file:"ca"`
}

// Manager is httpd's manager page.
type Manager struct {
	Enabled    bool `key:"enabled" default:"true" doc:"httpd's manager page, /mod_cluster-manager"`
	CheckNonce bool `key:"check_nonce" default:"true" doc:"obey only links of the page itself"`
	AllowCmd   bool `key:"allow_cmd" default:"true" doc:"enable, disable and stop by links"`
}

// Archive is the history kept for replay.
type Archive struct {
	MaxAge   time.Duration `key:"max_age" default:"7d"`
	MaxBytes Size          `key:"max_bytes" default:"1GiB"`
}

// Log is the replica's own log. Output is stderr, stdout or a file.
type Log struct {
	Level  string `key:"level" default:"info" oneof:"debug|info|warn|error" doc:"debug, info, warn or error"`
	Format string `key:"format" default:"auto" oneof:"auto|text|json" doc:"auto = text on a terminal, else json"`
	Output string `key:"output" default:"stderr" rule:"given" doc:"stderr, stdout or a file"`
}

// AccessLog has one line per request. Output is stdout, stderr or a file. Sample is
// the share of requests that get a line; those that failed always do.
type AccessLog struct {
	Enabled bool     `key:"enabled" default:"true"`
	Format  string   `key:"format" default:"auto" oneof:"auto|text|json" doc:"auto = text on a terminal, else json"`
	Output  string   `key:"output" default:"stdout" rule:"given" doc:"stdout, stderr or a file"`
	Fields  []string `key:"fields" oneof:"user_agent|referer" doc:"further ones: user_agent, referer"`
	Sample  Share    `key:"sample" default:"1.0" doc:"share of requests with a line; failures always have one"`
}

// Metrics for Prometheus.
type Metrics struct {
	Enabled   bool `key:"enabled" default:"true"`
	PerWorker bool `key:"per_worker" default:"true"`
}

// Standalone reports a cluster of one: no secret and no certificates, so the
// cluster ports stay closed.
func (c *Config) Standalone() bool {
	return c.Cluster.SecretFile == "" && c.Cluster.TLS.CertFile == ""
}

// Voters is the wanted number of voters: 1 when standalone, else shared.voters,
// whose auto is cluster.bootstrap_expect.
func (c *Config) Voters() int {
	if c.Standalone() {
		return 1
	}
	return c.Shared.Voters.Or(c.Cluster.BootstrapExpect)
}
