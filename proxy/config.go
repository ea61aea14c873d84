package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/quorate/quorate/proxy/accesslog"
	"github.com/quorate/quorate/proxy/route"
)

// Config says what a Proxy needs: the sections `traffic` and `upstream` of
// interface.md §1, resolved. Durations of 0 are off, counts and sizes of 0 mean no
// limit, except where a default is named.
type Config struct {
	Name      string // of this replica: X-Forwarded-Server
	Listeners []Listener

	ReadyPath string          // answered here: 200, or 503 with the reasons; "" = none
	NotReady  func() []string // why this replica should get no traffic; nil or empty: it should

	Tuning                 // to begin with
	MaxStreams        int  // per h2 connection
	Underscores       bool // names of header lines with "_" are sent on
	Path              route.PathOptions
	DisallowedMethods []string // answered 405, as CONNECT always is

	Upstream Upstream

	AccessLog        *accesslog.Log // nil: none
	PerWorkerMetrics bool
	Log              *slog.Logger     // default: discard
	Now              func() time.Time // default: time.Now
}

// Tuning is what can change while a Proxy runs.
type Tuning struct {
	TrustedProxies []netip.Prefix // whose forwarding and PROXY headers are believed
	Timeouts       Timeouts
	BodyMinRate    int64 // bytes per second that a client must send, after the first 5 s
	Limits         Limits
}

// Listener is one traffic address, already open.
type Listener struct {
	Listener  net.Listener
	TLS       *tls.Config // nil: plain
	Protocols []string    // ALPN names; empty: http/1.1, and h2 with TLS. h2 without TLS: by prior knowledge

	ProxyProtocol   bool // each connection begins with a PROXY header, from TrustedProxies only
	RedirectToHTTPS bool // every request is answered 308 to https
}

// Timeouts of a client connection.
type Timeouts struct {
	Header time.Duration // from the first byte of a request, or from accept, to the end of its head
	Body   time.Duration // between two reads of a body
	Write  time.Duration // for each MB at most that is written at once
	Idle   time.Duration // between two requests
}

// Limits of what clients may send.
type Limits struct {
	Connections           int   // of all listeners; over it 503 and close
	HeaderBytes           int   // over it 431
	Headers               int   // lines as sent to the worker, Host included; over it 431
	RequestLineBytes      int   // over it 414
	BodyBytes             int64 // over it 413
	RequestsPerConnection int   // the last one is answered with Connection: close
}

// Upstream is how workers are spoken to.
type Upstream struct {
	ConnectTimeout  time.Duration // or the worker's ping, if that is smaller; default 3 s
	ResponseTimeout time.Duration // between two reads of an answer; 0: the worker's Timeout, else 60 s
	MaxRequestTime  time.Duration // whole exchange, tunnels excepted

	MaxConnections int           // per worker; over it a request waits up to ConnectTimeout, then 503
	MaxIdle        *int          // per worker; nil: its smax
	IdleTimeout    time.Duration // 0: the worker's ttl, at most 15 s

	Retry                  Retry
	PreserveHost           bool  // the worker sees the client's Host
	MaxResponseHeaderBytes int64 // default 64 KiB
	TLS                    UpstreamTLS
	AJP                    AJP
	Upgrade                Upgrade
	Health                 Health
	XForwarded             bool // X-Forwarded-For, -Host, -Proto, -Port, -Server
	Forwarded              bool // RFC 7239
}

// Retry of requests whose worker failed.
type Retry struct {
	Max       *int    // tries after the first; nil: the balancer's Maxattempts
	Budget    float64 // share of a balancer's requests that may be retries, never less than 3/s
	WithQuery bool    // also requests that have a query
}

// UpstreamTLS is for https workers.
type UpstreamTLS struct {
	Verify       string         // full, ca (any name) or none; "" = full
	RootCAs      *x509.CertPool // nil: the system's
	Certificates []tls.Certificate
	ServerName   string // "" = the worker's host
	MinVersion   uint16 // default TLS 1.2
}

// Upgrade is about WebSocket and other tunnels.
type Upgrade struct {
	Protocols   []string      // tokens of Upgrade that are let through; "*" any but h2c, HTTP and TLS
	IdleTimeout time.Duration // of a tunnel, both directions
	// Connectors say where requests for an upgrade go whose worker speaks AJP:
	// http://host:port or https://host:port, by JVMRoute.
	Connectors map[string]string
}

// Health checks of workers.
type Health struct {
	Probe    string        // auto, options, get, head, tcp or none; "" = auto
	Path     string        // of get and head; "" or "*": "/"
	Interval time.Duration // default 5 s
	Timeout  time.Duration // 0: the worker's ping
	Fails    int           // failed probes in a row that make a worker suspect; default 1
}
