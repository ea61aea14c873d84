package migrate

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// wild converts a configuration of WildFly (spec/directives.md §5.3).
type wild struct {
	c        *converter
	file     string
	root     *element
	threads  int             // of the I/O worker; 0: unknown
	bound    map[string]bool // socket bindings that https listeners use
	balancer bool
	users    bool // they have a listener
}

func (c *converter) wildfly(name string, text []byte) error {
	root, line, err := parseXML(text)
	if err != nil {
		return &Error{name, line, err}
	}
	if !isOneOf(root.name, "server", "domain", "subsystem") {
		return &Error{name, root.line, fmt.Errorf("<%s>: no configuration of WildFly", root.name)}
	}
	c.order[name] = 0
	w := &wild{c: c, file: name, root: root, bound: map[string]bool{}, balancer: len(root.find("mod-cluster")) > 0}
	for _, e := range root.find("worker") {
		if n, err := strconv.Atoi(e.get("io-threads")); err == nil && e.get("name") == "default" {
			w.threads = n
		}
	}
	for _, e := range root.find("https-listener") {
		w.bound[e.get("socket-binding")] = true
	}
	w.subsystems(root)
	if w.balancer && !w.users {
		c.doc.list("traffic.listeners", nil, "no listener for users was converted")
		c.warn("no listener for users was converted: traffic.listeners is empty, which makes a witness")
	}
	if !w.balancer {
		c.warn("no mod-cluster filter is in it: this WildFly is a worker, and workers stay as they are")
		c.warn("point its proxies to mcmp.listeners of quorate")
		return nil
	}
	c.doc.list("upstream.upgrade.protocols", []string{"*"}, "Undertow tunnels every protocol")
	c.note(&directive{file: name, line: root.line, name: "(Undertow)"}, Converted, "upstream.upgrade.protocols", "it tunnels every protocol")
	c.note(&directive{file: name, line: root.line, name: "(Undertow)"}, Copied, "upstream.http.preserve_host, upstream.forwarded.x_forwarded", "the defaults")
	c.always()
	return nil
}

// say makes the line of the report for an attribute or an element.
func (w *wild) say(e *element, name string) *directive {
	d := &directive{file: w.file, line: e.line, name: e.name}
	if name != "" {
		d.name += " " + name
		for _, a := range e.attrs {
			if a.name == name {
				d.args = []string{a.value}
			}
		}
	}
	return d
}

func (w *wild) subsystems(at *element) {
	for _, e := range at.children {
		switch {
		case e.subsystem("undertow") || at == w.root && w.root.subsystem("undertow"):
			if w.root.subsystem("undertow") {
				e = w.root
			}
			w.undertow(e)
			if e == w.root {
				return
			}
		case e.subsystem("modcluster"):
			w.worker(e)
		case e.name == "subsystem":
			w.c.note(w.say(e, ""), Needless, "", kindOf(e.space)+": nothing a balancer has")
		default:
			w.subsystems(e)
		}
	}
}

// kindOf is the name in urn:jboss:domain:io:3.0.
func kindOf(space string) string {
	parts := strings.Split(space, ":")
	if len(parts) > 3 {
		return parts[3]
	}
	return space
}

// worker is the other side: it stays as it is.
func (w *wild) worker(e *element) {
	for _, p := range append(e.find("proxy"), e.find("mod-cluster-config")...) {
		for _, a := range p.attrs {
			if isOneOf(a.name, "proxies", "proxy-list") {
				w.c.note(w.say(p, a.name), Needless, "", "of the worker: let them name the addresses of mcmp.listeners")
			}
		}
	}
	w.rest(e, Needless, ofWorker)
}

const (
	ofWorker       = "of the worker: it stays as it is"
	ofApplications = "of applications"
	aFilter        = "a filter: requests and answers pass as they are"
)

// rest reports what is in e and has no line yet, so that nothing is left out.
func (w *wild) rest(e *element, kind Kind, why string) {
	told := map[Item]bool{}
	for _, i := range w.c.items {
		told[Item{Line: i.Line, Directive: i.Directive}] = true
		element, _, _ := strings.Cut(i.Directive, " ")
		told[Item{Line: i.Line, Directive: element}] = true
	}
	for _, a := range e.attrs {
		w.c.note(w.say(e, a.name), Needless, "", "of the subsystem")
	}
	w.untold(e, kind, why, func(d *directive) bool { return told[Item{Line: d.line, Directive: d.name}] })
}

func (w *wild) untold(e *element, kind Kind, why string, told func(*directive) bool) {
	for _, in := range e.children {
		kind, why := kind, why
		switch {
		case kind == Needless:
		case isOneOf(in.name, "handlers", "servlet-container", "http-invoker", "single-sign-on"):
			kind, why = Needless, ofApplications
		case in.name == "filters":
			why = aFilter
		}
		d := w.say(in, "")
		switch {
		case told(d):
		case isOneOf(in.name, "filters", "server", "host"): // see what is in them
		default:
			w.c.note(d, kind, "", why)
		}
		for _, a := range in.attrs {
			if d := w.say(in, a.name); a.name != "name" && !told(d) {
				w.c.note(d, kind, "", why)
			}
		}
		w.untold(in, kind, why, told)
	}
}

func (w *wild) undertow(sub *element) {
	if !w.balancer {
		w.rest(sub, Needless, ofWorker)
		return
	}
	for _, e := range sub.children {
		switch e.name {
		case "filters":
			for _, f := range e.children {
				if f.name == "mod-cluster" {
					w.filter(f)
					continue
				}
				w.c.note(w.say(f, ""), Manual, "", aFilter)
			}
		case "server":
			w.server(e)
		case "handlers", "servlet-container", "buffer-cache", "application-security-domains", "byte-buffer-pool":
			w.c.note(w.say(e, ""), Needless, "", ofApplications)
		default:
			w.c.note(w.say(e, ""), Manual, "", "not converted")
		}
	}
	w.rest(sub, Manual, "not converted")
}

// numeric reads an attribute that is a number.
func (w *wild) numeric(e *element, name string) (int, bool) {
	n, err := strconv.Atoi(e.get(name))
	if err != nil {
		w.c.note(w.say(e, name), Manual, "", "no number")
	}
	return n, err == nil
}

// millis copies a time in ms.
func (w *wild) millis(e *element, name string, paths ...string) {
	n, ok := w.numeric(e, name)
	if !ok {
		return
	}
	d := w.say(e, name)
	for _, path := range paths {
		w.c.set(d, path, seconds(time.Duration(max(n, 0))*time.Millisecond))
	}
	w.c.note(d, Copied, strings.Join(paths, ", "), "")
}

// filter converts the mod-cluster filter.
func (w *wild) filter(e *element) {
	for _, a := range e.attrs {
		d := w.say(e, a.name)
		switch a.name {
		case "name":
		case "management-socket-binding":
			w.management(e, d)
		case "advertise-socket-binding":
			w.advertise(e, d)
		case "advertise-frequency":
			if n, ok := w.numeric(e, a.name); ok && n > 0 {
				w.millis(e, a.name, "mcmp.advertise.interval")
			} else if ok {
				w.c.note(d, Converted, "mcmp.advertise.enabled", "0 is off")
			}
		case "advertise-path", "advertise-protocol":
			w.c.note(d, Needless, "", "informational")
		case "security-key":
			w.c.secret(d, "mcmp.advertise.security_key_file", "advertise-key", resolve(a.value))
		case "management-access-predicate":
			w.predicate(e, d)
		case "health-check-interval":
			w.millis(e, a.name, "upstream.health.interval", "shared.recalculation_interval")
		case "broken-node-timeout":
			w.millis(e, a.name, "upstream.health.remove_after")
		case "max-request-time":
			w.millis(e, a.name, "upstream.max_request_time")
		case "max-retries":
			if n, ok := w.numeric(e, a.name); ok {
				w.c.set(d, "upstream.retry.max", strconv.Itoa(max(n, 0)))
				w.c.note(d, Converted, "upstream.retry.max", "the worker's Maxattempts does not count then")
			}
		case "failover-strategy":
			v := strings.ToLower(resolve(a.value))
			if !isOneOf(v, "load_balanced", "deterministic") {
				w.c.note(d, Manual, "shared.failover", "must be LOAD_BALANCED or DETERMINISTIC")
				continue
			}
			w.c.set(d, "shared.failover", v)
			w.c.note(d, Copied, "shared.failover", "")
		case "connections-per-thread":
			w.perThread(e, d, "upstream.pool.max_connections", "0")
		case "cached-connections-per-thread":
			w.perThread(e, d, "upstream.pool.max_idle", "")
		case "connection-idle-timeout":
			if n, ok := w.numeric(e, a.name); ok {
				w.c.set(d, "upstream.pool.idle_timeout", seconds(time.Duration(max(n, 0))*time.Second))
				w.c.note(d, Copied, "upstream.pool.idle_timeout", "in seconds, as documented")
			}
		case "request-queue-size":
			w.c.note(d, Needless, "", "requests wait for a connection at most upstream.connect_timeout")
		case "use-alias":
			w.c.set(d, "shared.use_alias", resolve(a.value))
			w.c.note(d, Copied, "shared.use_alias", "")
		case "max-ajp-packet-size":
			if n, ok := w.numeric(e, a.name); ok {
				w.c.set(d, "upstream.ajp.max_packet_bytes", size(int64(n)))
				w.c.note(d, Copied, "upstream.ajp.max_packet_bytes", "")
			}
		case "ssl-context", "security-realm":
			w.keyStore(d, "upstream.tls")
		case "enable-http2":
			kind := Needless
			if resolve(a.value) == "true" {
				kind = Manual
			}
			w.c.note(d, kind, "", "workers are spoken to by HTTP/1.1 and AJP")
		case "worker":
			w.c.note(d, Needless, "", "")
		default:
			if strings.HasPrefix(a.name, "http2-") {
				w.c.note(d, Needless, "", "workers are spoken to by HTTP/1.1 and AJP")
				continue
			}
			w.c.note(d, Manual, "", "unknown to migrate")
		}
	}
	if e.get("use-alias") == "" {
		w.c.doc.set("shared.use_alias", "false", w.say(e, "").where()+": use-alias is false unless it is said")
	}
	for _, in := range e.children {
		w.affinity(in)
	}
}

func (w *wild) affinity(e *element) {
	mode, known := map[string]string{"no-affinity": "none", "single-affinity": "single", "ranked-affinity": "ranked"}[e.name]
	d := w.say(e, "")
	if !known {
		w.c.note(d, Manual, "", "unknown to migrate")
		return
	}
	w.c.set(d, "shared.affinity.mode", mode)
	if delimiter := e.get("delimiter"); delimiter != "" {
		w.c.set(d, "shared.affinity.delimiter", delimiter)
		w.c.note(w.say(e, "delimiter"), Copied, "shared.affinity.delimiter", "")
	}
	w.c.note(d, Copied, "shared.affinity.mode", "")
}

// perThread multiplies what Undertow counts for each I/O thread.
func (w *wild) perThread(e *element, d *directive, path, unknown string) {
	n, ok := w.numeric(e, strings.TrimPrefix(d.name, e.name+" "))
	switch {
	case !ok:
	case w.threads > 0:
		w.c.set(d, path, strconv.Itoa(n*w.threads))
		w.c.note(d, Converted, path, fmt.Sprintf("for each of %d I/O threads there, in all here", w.threads))
	case unknown != "":
		w.c.set(d, path, unknown)
		w.c.note(d, Converted, path, "for each I/O thread there; how many there are is not said: no limit was written")
	default:
		w.c.note(d, Converted, path, "for each I/O thread there; how many there are is not said: the default was left")
	}
}

func (w *wild) keyStore(d *directive, path string) {
	w.c.note(d, Manual, path, "key stores become PEM: keytool -importkeystore -srckeystore STORE -destkeystore s.p12 -deststoretype PKCS12, then openssl pkcs12 -in s.p12 -out PEM -nodes")
}

// binding is a socket binding with its interface resolved.
type binding struct {
	host, group string
	port        int
	groupPort   string
}

func (w *wild) binding(name string) (b binding, err error) {
	for _, g := range w.root.find("socket-binding-group") {
		offset, _ := strconv.Atoi(g.get("port-offset"))
		for _, s := range g.children {
			if s.name != "socket-binding" || s.get("name") != name {
				continue
			}
			if b.port, err = strconv.Atoi(or(s.get("port"), "0")); err != nil {
				return b, fmt.Errorf("socket binding %s: port %s", name, s.get("port"))
			}
			if b.port > 0 && s.get("fixed-port") != "true" {
				b.port += offset
			}
			b.group, b.groupPort = s.get("multicast-address"), s.get("multicast-port")
			b.host = w.address(or(s.get("interface"), g.get("default-interface")))
			return b, nil
		}
	}
	return b, fmt.Errorf("socket binding %s is not in this file", name)
}

// address of an interface; "" for all, or for one that only the machine knows.
func (w *wild) address(name string) string {
	for _, i := range w.root.find("interface") {
		if i.get("name") != name {
			continue
		}
		for _, in := range i.children {
			if in.name == "inet-address" || in.name == "loopback-address" {
				if v := in.get("value"); v != "0.0.0.0" && v != "::" {
					return v
				}
				return ""
			}
			if in.name == "loopback" {
				return "127.0.0.1"
			}
		}
	}
	return ""
}

func (w *wild) management(e *element, d *directive) {
	b, err := w.binding(d.args[0])
	if err != nil {
		w.c.note(d, Manual, "mcmp.listeners", err.Error())
		return
	}
	address := net.JoinHostPort(b.host, strconv.Itoa(b.port))
	w.c.doc.add("mcmp.listeners", object("address", address), d.where())
	if w.bound[d.args[0]] {
		w.c.warn("workers registered by TLS, and mcmp.listeners has none yet: give its certificate as PEM before this is used")
		w.keyStore(d, "mcmp.listeners[].tls")
	}
	w.c.note(d, Converted, "mcmp.listeners", "")
	if e.get("management-access-predicate") == "" && !isLoopback(b.host) {
		w.c.doc.list("mcmp.allowed_cidrs", []string{"0.0.0.0/0", "::/0"}, "nobody was asked: name the networks of the workers")
		w.c.warn("workers may register from everywhere: name their networks in mcmp.allowed_cidrs")
	}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func (w *wild) advertise(e *element, d *directive) {
	b, err := w.binding(d.args[0])
	if err == nil && b.group == "" {
		err = errors.New("its socket binding has no multicast address")
	}
	if err != nil {
		w.c.note(d, Manual, "mcmp.advertise", err.Error())
		return
	}
	w.c.set(d, "mcmp.advertise.group", b.group)
	if b.groupPort != "" {
		w.c.set(d, "mcmp.advertise.port", b.groupPort)
	}
	if m, err := w.binding(e.get("management-socket-binding")); err == nil && m.host == "" {
		w.c.note(d, Manual, "mcmp.advertise", "left off: the listener has no address of its own: give mcmp.advertise.address, then enabled: true")
		return
	}
	if e.get("advertise-frequency") != "0" {
		w.c.set(d, "mcmp.advertise.enabled", "true")
	}
	w.c.note(d, Converted, "mcmp.advertise", "")
}

// acl is a predicate of addresses alone.
var acl = regexp.MustCompile(`^ip-access-control\((?:default-allow=false, *)?acl=\{?(.*?)\}?\)$`)

func (w *wild) predicate(e *element, d *directive) {
	var list []string
	m := acl.FindStringSubmatch(strings.TrimSpace(e.get("management-access-predicate")))
	if m != nil {
		for part := range strings.SplitSeq(m[1], ",") {
			words := strings.Fields(strings.Trim(strings.TrimSpace(part), `'"`))
			p, ok := "", false
			if len(words) == 2 && words[1] == "allow" {
				p, ok = prefix(words[0])
			}
			if !ok {
				list = nil
				break
			}
			list = append(list, p)
		}
	}
	if list == nil {
		w.c.note(d, Manual, "mcmp.allowed_cidrs", "only addresses are known: name the networks of the workers")
		w.c.doc.list("mcmp.allowed_cidrs", []string{"127.0.0.0/8", "::1/128"}, "name the networks of the workers")
		return
	}
	w.c.doc.list("mcmp.allowed_cidrs", list, d.where())
	w.c.note(d, Converted, "mcmp.allowed_cidrs", "")
}

// server converts the listeners of users.
func (w *wild) server(e *element) {
	managed := map[string]bool{}
	for _, f := range w.root.find("mod-cluster") {
		managed[f.get("management-socket-binding")] = true
	}
	for _, l := range e.children {
		switch l.name {
		case "http-listener", "https-listener":
			if managed[l.get("socket-binding")] {
				w.c.note(w.say(l, "socket-binding"), Manual, "mcmp.listeners", "workers register here; if users came here, too, give them an address in traffic.listeners")
				for _, a := range l.attrs {
					if !isOneOf(a.name, "name", "socket-binding", "ssl-context", "security-realm", "verify-client") {
						w.c.note(w.say(l, a.name), Needless, "", "mcmp has its own")
					}
				}
				continue
			}
			w.listener(l)
		case "ajp-listener":
			w.c.note(w.say(l, "socket-binding"), Manual, "", "users come by HTTP")
		case "host":
			w.host(l)
		default:
			w.c.note(w.say(l, ""), Manual, "", "not converted")
		}
	}
}

// listenerTimes are attributes in ms.
var listenerTimes = map[string]string{
	"no-request-timeout": "traffic.timeouts.idle", "request-parse-timeout": "traffic.timeouts.header",
	"read-timeout": "traffic.timeouts.body", "write-timeout": "traffic.timeouts.write",
}

func (w *wild) listener(l *element) {
	secure := l.name == "https-listener"
	var protocols []string
	for _, a := range l.attrs {
		d := w.say(l, a.name)
		value := resolve(a.value)
		switch a.name {
		case "name":
		case "socket-binding":
			w.c.note(d, Converted, "traffic.listeners", "")
		case "ssl-context", "security-realm":
			w.keyStore(d, "traffic.listeners[].tls")
		case "verify-client":
			v := map[string]string{"NOT_REQUESTED": "none", "REQUESTED": "request", "REQUIRED": "require"}[value]
			w.c.note(d, Manual, "traffic.listeners[].tls.client_auth", "write "+or(v, "none")+" beside the certificate")
		case "enable-http2":
			w.c.note(d, Converted, "traffic.listeners[].protocols", "")
		case "proxy-protocol":
			if value == "true" {
				w.c.note(d, Manual, "traffic.listeners[].proxy_protocol", "left out: name the proxies in traffic.trusted_proxies first")
				continue
			}
			w.c.note(d, Needless, "", "")
		case "proxy-address-forwarding":
			kind, why := Needless, ""
			if value == "true" {
				kind, why = Manual, "name the proxies that are believed"
			}
			w.c.note(d, kind, "traffic.trusted_proxies", why)
		case "certificate-forwarding":
			w.c.note(d, Manual, "", "certificates of users are not passed on")
		case "max-header-size":
			if n, ok := w.numeric(l, a.name); ok {
				note := ""
				if n > 64<<10 {
					n, note = 64<<10, "64KiB was written: workers take no more"
				}
				w.c.set(d, "traffic.limits.header_bytes", size(int64(n)))
				w.c.note(d, Converted, "traffic.limits.header_bytes", note)
			}
		case "max-headers":
			w.c.set(d, "traffic.limits.headers", value)
			w.c.note(d, Converted, "traffic.limits.headers", "Tomcat refuses the 101st")
		case "max-post-size":
			w.c.set(d, "traffic.limits.body_bytes", value)
			w.c.note(d, Converted, "traffic.limits.body_bytes", "")
		case "max-connections":
			w.c.set(d, "traffic.limits.connections", value)
			w.c.note(d, Converted, "traffic.limits.connections", "")
		case "disallowed-methods":
			w.c.doc.list("traffic.disallowed_methods", strings.Fields(value), d.where())
			w.c.note(d, Converted, "traffic.disallowed_methods", "")
		case "allow-encoded-slash":
			v := map[string]string{"true": "keep", "false": "reject"}[value]
			w.c.set(d, "traffic.path.encoded_slash", or(v, "reject"))
			w.c.note(d, Converted, "traffic.path.encoded_slash", "")
		case "redirect-socket":
			w.c.note(d, Needless, "", "applications redirect; for all of a listener: redirect_to_https")
		case "max-parameters", "max-cookies", "tcp-backlog", "tcp-keep-alive", "decode-url", "url-charset", "worker", "buffer-pool", "enabled-protocols",
			"record-request-start-time", "send-buffer", "receive-buffer", "rfc6265-cookie-validation", "secure", "resolve-peer-address", "always-set-keep-alive",
			"max-buffered-request-size", "buffer-pipelined-data", "allow-equals-in-cookie-value", "require-host-http11", "allow-unescaped-characters-in-url",
			"enabled-cipher-suites", "ssl-session-cache-size", "ssl-session-timeout", "enabled":
			w.c.note(d, Needless, "", "")
		default:
			switch path, known := listenerTimes[a.name]; {
			case known:
				w.millis(l, a.name, path)
			case strings.HasPrefix(a.name, "http2-"):
				w.c.note(d, Needless, "", "")
			default:
				w.c.note(d, Manual, "", "unknown to migrate")
			}
		}
	}
	if !secure && l.get("enable-http2") == "true" {
		protocols = []string{"http/1.1", "h2"}
	}
	if secure && l.get("enable-http2") == "false" {
		protocols = []string{"http/1.1"}
	}
	d := w.say(l, "socket-binding")
	b, err := w.binding(l.get("socket-binding"))
	if err != nil {
		w.c.note(d, Manual, "traffic.listeners", err.Error())
		return
	}
	if secure {
		w.c.note(d, Manual, "traffic.listeners", "not written: it needs its certificate as PEM")
		return
	}
	w.users = true
	w.c.doc.add("traffic.listeners", object("address", net.JoinHostPort(b.host, strconv.Itoa(b.port)), "protocols", protocols), d.where())
}

func (w *wild) host(e *element) {
	for _, in := range e.children {
		d := w.say(in, "name")
		switch in.name {
		case "filter-ref":
			isOurs := slices.ContainsFunc(w.root.find("mod-cluster"), func(f *element) bool { return f.get("name") == in.get("name") })
			switch {
			case !isOurs:
				w.c.note(d, Manual, "", aFilter)
			case in.get("predicate") != "":
				w.c.note(w.say(in, "predicate"), Manual, "shared.rules", "requests it refuses need a rule with action: reject")
			default:
				w.c.note(d, Converted, "", "every listener routes")
			}
		case "location":
			w.c.note(d, Manual, "", "local content")
		case "access-log":
			w.c.note(w.say(in, ""), Converted, "access_log.enabled", "the format is quorate's")
		case "http-invoker", "single-sign-on":
			w.c.note(w.say(in, ""), Needless, "", ofApplications)
		default:
			w.c.note(d, Manual, "", "not converted")
		}
	}
}
