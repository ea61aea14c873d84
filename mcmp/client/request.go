package client

import (
	"fmt"
	"net"
	"sort"
	"strconv"
	"strings"
)

// Node is what CONFIG says about the worker. Only what differs from the balancer's
// default goes on the wire (spec/mcmp.md §5.1). A nil number is not sent.
type Node struct {
	Route  string // JVMRoute, part of session ids; required
	Host   string // address the balancer forwards to; empty: the local address of the first MCMP connection
	Port   int    // required
	Type   string // ajp, http or https; default http
	Domain string // load-balancing group

	// Per balancer: the last CONFIG of any node in it wins.
	Balancer      string
	WithoutSticky bool   // StickySession=No
	StickyForce   bool   // false sends StickySessionForce=No: fail over rather than answer 503
	StickyRemove  bool   // StickySessionRemove=Yes
	Cookie        string // session cookie; default JSESSIONID
	PathParameter string // session path parameter; default jsessionid
	WaitWorker    *int   // seconds
	MaxAttempts   *int

	FlushPackets bool
	FlushWait    *int // milliseconds
	Ping         *int // seconds
	Smax         *int
	TTL          *int // seconds
	Timeout      *int // seconds
}

type command string

const (
	cmdConfig  command = "CONFIG"
	cmdEnable  command = "ENABLE-APP"
	cmdDisable command = "DISABLE-APP"
	cmdStop    command = "STOP-APP"
	cmdRemove  command = "REMOVE-APP"
	cmdStatus  command = "STATUS"
	cmdInfo    command = "INFO"
	cmdDump    command = "DUMP"
	cmdPing    command = "PING"
	cmdVersion command = "VERSION"
)

// request is one message. The same one goes to several proxies.
type request struct {
	command command
	whole   bool // target ends in "*": the whole node
	route   string
	fields  map[string]string
}

func (r request) String() string {
	target := "/"
	if r.whole {
		target = "/*"
	}
	return strings.TrimSpace(string(r.command) + " " + target + " " + r.body())
}

// body puts JVMRoute first and the others in byte order of their names, as Java's
// sorted map does.
func (r request) body() string {
	names := make([]string, 0, len(r.fields))
	for name := range r.fields {
		names = append(names, name)
	}
	sort.Strings(names)
	var b strings.Builder
	add := func(name, value string) {
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(formEncode(name) + "=" + formEncode(value))
	}
	if r.route != "" {
		add("JVMRoute", r.route)
	}
	for _, name := range names {
		add(name, r.fields[name])
	}
	return b.String()
}

// wire is the message as bytes: exactly the header lines of the Java client, in its
// order, and neither Content-Type nor Accept (spec/mcmp.md §2).
func (r request) wire(host, prefix string) []byte {
	target := prefix + "/"
	if r.whole {
		target += "*"
	}
	body := r.body()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.command, target, host)
	if body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("User-Agent: ClusterListener/1.0\r\nConnection: Keep-Alive\r\n\r\n")
	b.WriteString(body)
	return []byte(b.String())
}

// formEncode is Java's URLEncoder: letters, digits and ".-*_" stay, a blank becomes
// "+". Go's url.QueryEscape differs in "*" and "~".
func formEncode(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '.', c == '-', c == '*', c == '_':
			b.WriteByte(c)
		case c == ' ':
			b.WriteByte('+')
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// config is the CONFIG message of n.
func (n Node) config() request {
	f := map[string]string{
		"Host": wireHost(n.Host),
		"Port": strconv.Itoa(n.Port),
		"Type": n.Type,
	}
	word := func(send bool, name, value string) {
		if send {
			f[name] = value
		}
	}
	number := func(name string, value *int) {
		if value != nil {
			f[name] = strconv.Itoa(*value)
		}
	}
	word(n.Domain != "", "Domain", n.Domain)
	word(n.Balancer != "", "Balancer", n.Balancer)
	word(n.WithoutSticky, "StickySession", "No")
	word(!n.StickyForce, "StickySessionForce", "No")
	word(n.StickyRemove, "StickySessionRemove", "Yes")
	word(n.Cookie != "" && n.Cookie != "JSESSIONID", "StickySessionCookie", n.Cookie)
	word(n.PathParameter != "" && n.PathParameter != "jsessionid", "StickySessionPath", n.PathParameter)
	word(n.FlushPackets, "flushpackets", "On")
	number("WaitWorker", n.WaitWorker)
	number("Maxattempts", n.MaxAttempts)
	number("flushwait", n.FlushWait)
	number("ping", n.Ping)
	number("smax", n.Smax)
	number("ttl", n.TTL)
	number("Timeout", n.Timeout)
	return request{command: cmdConfig, route: n.Route, fields: f}
}

// wireHost is lower case; an IPv6 address is in brackets and has no zone.
func wireHost(host string) string {
	bare := strings.Trim(host, "[]")
	if address, _, _ := strings.Cut(bare, "%"); strings.Contains(address, ":") && net.ParseIP(address) != nil {
		return "[" + strings.ToLower(address) + "]"
	}
	return strings.ToLower(host)
}

func statusMessage(route string, load int) request {
	return request{command: cmdStatus, route: route, fields: map[string]string{"Load": strconv.Itoa(load)}}
}

// wholeMessage is about the node with everything on it.
func wholeMessage(c command, route string) request {
	return request{command: c, whole: true, route: route}
}

// appMessage is about one context. aliases go out as one list in their order.
func appMessage(c command, route string, aliases []string, path string) request {
	return request{command: c, route: route, fields: map[string]string{
		"Alias":   strings.Join(aliases, ","),
		"Context": path,
	}}
}
