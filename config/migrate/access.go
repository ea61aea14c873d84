package migrate

import (
	"regexp"
	"strings"
)

// Directives of who may, mod_proxy and mod_ssl.

func (w *walk) networksOf(s scope) (n *networks, path string) {
	switch {
	case s.manager:
		return &w.s.admins, "admin.allowed_cidrs"
	case s.host.mcmp && (s.location == "" || s.location == "/"):
		return &w.s.allowed, "mcmp.allowed_cidrs"
	}
	return nil, ""
}

func requires(w *walk, d *directive, s scope) {
	n, path := w.networksOf(s)
	if n == nil {
		if strings.EqualFold(strings.Join(d.args, " "), "all granted") {
			w.c.note(d, Needless, "", "")
			return
		}
		w.c.note(d, Manual, "", "users are let in by the application")
		return
	}
	w.let(d, n, path, strings.ToLower(d.arg(0)), d.args[min(1, len(d.args)):])
}

func allows(w *walk, d *directive, s scope) {
	n, path := w.networksOf(s)
	if n == nil || !strings.EqualFold(d.arg(0), "from") {
		w.c.note(d, Manual, "", "users are let in by the application")
		return
	}
	what := "ip"
	if strings.EqualFold(d.arg(1), "all") {
		what = "all"
	}
	w.let(d, n, path, what, d.args[1:])
}

func denies(w *walk, d *directive, s scope) {
	if strings.EqualFold(strings.Join(d.args, " "), "from all") {
		w.c.note(d, Needless, "", "who is not allowed is refused")
		return
	}
	w.c.note(d, Manual, "", "networks are allowed, not denied")
}

// let adds to the networks that may.
func (w *walk) let(d *directive, n *networks, path, what string, args []string) {
	switch what {
	case "all":
		if strings.EqualFold(strings.Join(args, " "), "denied") {
			w.c.note(d, Needless, "", "who is not allowed is refused")
			return
		}
		n.add(d, "all")
		w.c.note(d, Manual, path, "open to everybody: name the networks of the workers")
	case "local":
		n.add(d, "local")
		w.c.note(d, Converted, path, "")
	case "ip":
		for _, a := range args {
			if !n.add(d, a) {
				w.c.note(d, Manual, path, a+": names are not resolved: give networks")
				return
			}
		}
		w.c.note(d, Converted, path, "")
	case "host", "forward-dns":
		w.c.note(d, Manual, path, "names are not resolved: give networks")
	default:
		w.c.note(d, Manual, path, "by address, certificate (client_auth) or token (tokens_file) only")
	}
}

// mod_proxy.

// literal is a regular expression that is a path and whatever follows.
var literal = regexp.MustCompile(`^\^?(/[A-Za-z0-9/_-]*?)/?(\(?\.\*\)?)?\$?$`)

func proxyPass(w *walk, d *directive, s scope) {
	from, to := s.location, d.arg(0)
	params := d.args[min(1, len(d.args)):]
	if from == "" {
		from, to = d.arg(0), d.arg(1)
		params = d.args[min(2, len(d.args)):]
	}
	if d.is("ProxyPassMatch") {
		m := literal.FindStringSubmatch(from)
		if m == nil {
			w.c.note(d, Manual, "shared.rules", "a pattern: rules know prefixes")
			return
		}
		from = m[1]
		if from == "" {
			from = "/"
		}
	}
	prefix := strings.TrimSuffix(from, "/")
	if prefix == "" {
		prefix = "/"
	}
	r := rule{d: d, prefix: prefix, location: s.location != ""}
	switch rest, ok := strings.CutPrefix(to, "balancer://"); {
	case to == "!":
		s.host.rules = append(s.host.rules, r)
		w.c.note(d, Manual, "shared.rules", "rejected with 404; httpd served local files")
	case ok:
		name, path, _ := strings.Cut(rest, "/")
		r.balancer = strings.ToLower(name)
		s.host.rules = append(s.host.rules, r)
		if "/"+strings.Trim(path, "/") != "/"+strings.Trim(from, "/") && !d.is("ProxyPassMatch") {
			w.c.note(d, Manual, "shared.rules", "paths are not rewritten: workers see "+from)
		} else {
			w.c.note(d, Converted, "shared.rules", "")
		}
	default:
		w.c.note(d, Manual, "", "quorate routes to workers that register, not to addresses")
	}
	for _, p := range params {
		w.parameter(d, p)
	}
}

// parameter reports a k=v of ProxyPass.
func (w *walk) parameter(d *directive, p string) {
	k, _, _ := strings.Cut(p, "=")
	in := &directive{file: d.file, line: d.line, name: d.name, args: []string{p}}
	switch strings.ToLower(k) {
	case "stickysession", "stickysessionsep", "scolonpathdelim", "nofailover", "maxattempts", "timeout":
		w.c.note(in, Needless, "", "what the worker's CONFIG says counts, as it did")
	case "growth", "forcerecovery", "nonce", "lbmethod":
		if strings.EqualFold(p, "lbmethod=byrequests") || strings.EqualFold(p, "lbmethod=cluster") || !strings.EqualFold(k, "lbmethod") {
			w.c.note(in, Needless, "", "")
			return
		}
		w.c.note(in, Manual, "", "workers are elected by their load")
	case "failonstatus", "failontimeout":
		w.c.note(in, Manual, "", "a failed request never marks a worker")
	default:
		w.c.note(in, Manual, "", "upstream has these for all workers")
	}
}

// mod_ssl.

func tlsPath(s scope) string {
	if s.host.mcmp {
		return "mcmp.listeners[].tls"
	}
	return "traffic.listeners[].tls"
}

func sslEngine(w *walk, d *directive, s scope) {
	if !on(d.arg(0)) {
		w.c.note(d, Needless, "", "")
		return
	}
	s.host.tls.on = d
	w.c.note(d, Converted, tlsPath(s), "")
}

func verifyClient(w *walk, d *directive, s scope) {
	switch strings.ToLower(d.arg(0)) {
	case "none":
		s.host.tls.clientAuth = "none"
	case "optional":
		s.host.tls.clientAuth = "request"
	case "require":
		s.host.tls.clientAuth = "require"
	default:
		w.c.note(d, Manual, tlsPath(s)+".client_auth", "a certificate that is given must be good")
		return
	}
	w.c.note(d, Converted, tlsPath(s)+".client_auth", "")
}

func checksName(w *walk, d *directive, _ scope) {
	w.s.verifyName = d
	w.c.note(d, Converted, "upstream.tls.verify", "")
}

// protocol finds the lowest version that is on.
func (w *walk) protocol(d *directive, least *string, path string) {
	allowed := map[string]bool{}
	all := []string{"tlsv1", "tlsv1.1", "tlsv1.2", "tlsv1.3"}
	for _, a := range d.args {
		a = strings.ToLower(a)
		name := strings.TrimLeft(a, "+-")
		for _, v := range all {
			if name == "all" || name == v {
				allowed[v] = a[0] != '-'
			}
		}
	}
	note := ""
	if allowed["tlsv1"] || allowed["tlsv1.1"] {
		note = "1.2 is the least here"
	}
	*least = "1.3"
	if allowed["tlsv1.2"] || note != "" {
		*least = "1.2"
	}
	w.c.note(d, Converted, path, note)
}

func (w *walk) proxyProtocol(d *directive, s scope) {
	least := ""
	w.protocol(d, &least, "upstream.tls.min_version")
	w.one(d, s, "upstream.tls.min_version", least)
}
