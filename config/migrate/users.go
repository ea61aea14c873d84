package migrate

import (
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Directives of hosts: names, times, clients, logs.

func names(w *walk, d *directive, s scope) {
	for _, n := range d.args {
		if _, rest, ok := strings.Cut(n, "://"); ok {
			n = rest
		}
		if h, _, err := net.SplitHostPort(n); err == nil {
			n = h
		}
		s.host.names = append(s.host.names, n)
	}
	if s.host.mcmp || s.host == w.s.main {
		w.c.note(d, Needless, "", "")
		return
	}
	w.c.note(d, Converted, "shared.rules[].hosts", "where hosts differ; contexts and aliases decide else")
}

func keepAlive(w *walk, d *directive, s scope) {
	if !off(d.arg(0)) {
		w.c.note(d, Needless, "", "")
		return
	}
	note := w.one(d, s, "traffic.limits.requests_per_connection", "1")
	w.c.note(d, Converted, "traffic.limits.requests_per_connection", note)
}

func workerKeepAlive(w *walk, d *directive, s scope) {
	t, ok := duration(d.arg(0))
	if !ok {
		w.wrong(d, "a duration")
		return
	}
	note := ""
	if t < time.Minute {
		t, note = time.Minute, "60s is the least: workers hold one connection"
	}
	if other := w.one(d, s, "mcmp.idle_timeout", seconds(t)); other != "" {
		note = other
	}
	w.c.note(d, Converted, "mcmp.idle_timeout", note)
}

// readTimeout is header=20-40,MinRate=500 body=20,MinRate=500.
func readTimeout(w *walk, d *directive, s scope) {
	note, kind := "", Converted
	for _, arg := range d.args {
		stage, rest, _ := strings.Cut(strings.ToLower(arg), "=")
		span, options, _ := strings.Cut(rest, ",")
		first, most, ranged := strings.Cut(span, "-")
		if ranged {
			first = most
		}
		t, ok := duration(first)
		path, known := map[string]string{"header": "traffic.timeouts.header", "body": "traffic.timeouts.body"}[stage]
		if !known || !ok {
			kind, note = Manual, arg+": no equal"
			continue
		}
		w.one(d, s, path, seconds(t))
		if rate, ok := strings.CutPrefix(options, "minrate="); ok && stage == "body" {
			w.one(d, s, "traffic.body_min_rate", rate+"B/s")
		}
	}
	w.c.note(d, kind, "traffic.timeouts, traffic.body_min_rate", note)
}

// Who the client is.

func remoteHeader(w *walk, d *directive, _ scope) {
	if strings.EqualFold(d.arg(0), "X-Forwarded-For") {
		w.c.note(d, Converted, "traffic.trusted_proxies", "X-Forwarded-For of trusted proxies is believed")
		return
	}
	w.c.note(d, Manual, "traffic.trusted_proxies", "X-Forwarded-For is the only one that is read")
}

func remoteProxies(w *walk, d *directive, _ scope) {
	var bad []string
	for _, a := range d.args {
		if p, ok := prefix(a); ok {
			if !slices.Contains(w.s.trusted, p) {
				w.s.trusted = append(w.s.trusted, p)
			}
		} else {
			bad = append(bad, a)
		}
	}
	w.s.trusts = d
	if len(bad) > 0 {
		w.c.note(d, Manual, "traffic.trusted_proxies", strings.Join(bad, " ")+": names are not resolved: give networks")
		return
	}
	w.c.note(d, Converted, "traffic.trusted_proxies", "")
}

// remoteList is a file with a network or a name a line, and comments behind #.
func remoteList(w *walk, d *directive, s scope) {
	name := w.c.absolute(d.arg(0))
	text, err := w.c.files.ReadFile(name)
	if err != nil {
		w.c.note(d, Manual, "traffic.trusted_proxies", name+": "+cause(err).Error())
		return
	}
	all := &directive{file: d.file, line: d.line, name: d.name}
	for l := range strings.Lines(string(text)) {
		l, _, _ = strings.Cut(l, "#")
		all.args = append(all.args, strings.Fields(l)...)
	}
	remoteProxies(w, all, s)
}

func remoteProtocol(w *walk, d *directive, s scope) {
	s.host.proxy = on(d.arg(0))
	w.c.note(d, Converted, "traffic.listeners[].proxy_protocol", "only traffic.trusted_proxies may send it")
}

// Logs.

func logLevel(w *walk, d *directive, s scope) {
	general := ""
	for _, a := range d.args {
		if !strings.Contains(a, ":") {
			general = strings.ToLower(a)
		}
	}
	level := "debug"
	switch {
	case general == "":
		w.c.note(d, Needless, "", "of modules")
		return
	case isOneOf(general, "emerg", "alert", "crit", "error"):
		level = "error"
	case general == "warn":
		level = "warn"
	case isOneOf(general, "notice", "info"):
		level = "info"
	}
	w.c.note(d, Converted, "log.level", w.one(d, s, "log.level", level))
}

func logFile(path string) handler {
	return func(w *walk, d *directive, s scope) {
		name := d.arg(0)
		switch {
		case strings.HasPrefix(name, "|"), strings.HasPrefix(name, "syslog"):
			w.c.note(d, Manual, path, "write to stderr or stdout, and let the service manager pass it on")
		case name == "/dev/stderr", name == "/dev/stdout":
			w.c.note(d, Converted, path, w.one(d, s, path, strings.TrimPrefix(name, "/dev/")))
		case strings.HasPrefix(w.c.absolute(name), "/"):
			w.c.note(d, Converted, path, w.one(d, s, path, w.c.absolute(name)))
		default:
			w.c.note(d, Converted, path, "a name without a folder: the default was left")
		}
	}
}

func customLog(w *walk, d *directive, s scope) {
	logFile("access_log.output")(w, d, s)
	switch format := strings.ToLower(d.arg(1)); {
	case format == "combined":
		w.c.doc.list("access_log.fields", []string{"user_agent", "referer"}, d.where())
	case format == "common", format == "":
	default:
		w.c.note(d, Manual, "access_log", "the format is quorate's: "+formatHint(d.arg(1)))
	}
}

func logFormat(w *walk, d *directive, _ scope) {
	if isOneOf(strings.ToLower(d.arg(1)), "common", "combined", "combinedio", "referer", "agent") {
		w.c.note(d, Needless, "", "the format is quorate's")
		return
	}
	w.c.note(d, Manual, "access_log", "the format is quorate's: "+formatHint(d.arg(0)))
}

// formatHint says which fields stand for what mod_cluster's users log.
func formatHint(format string) string {
	hints := []struct{ old, now string }{{"BALANCER_WORKER_ROUTE", "worker"}, {"BALANCER_SESSION_ROUTE", "route_wanted"}, {"BALANCER_NAME", "balancer"},
		{"BALANCER_ROUTE_CHANGED", "route_changed"}, {"%D", "duration"}, {"%T", "duration"}, {"%h", "client"}, {"%a", "client"}, {"%r", "method, path, query, protocol"},
		{"%>s", "status"}, {"%b", "bytes_out"}, {"%O", "bytes_out"}, {"%I", "bytes_in"}, {"User-agent", "user_agent"}, {"Referer", "referer"}}
	var found []string
	for _, h := range hints {
		if strings.Contains(strings.ToLower(format), strings.ToLower(h.old)) && !slices.Contains(found, h.now) {
			found = append(found, h.now)
		}
	}
	if found == nil {
		return "JSON, a line a request"
	}
	return "its fields are " + strings.Join(found, ", ")
}

// redirects of everything to https are a listener's switch.
func redirects(w *walk, d *directive, s scope) {
	args := d.args
	if len(args) == 3 {
		args = args[1:]
	}
	if len(args) == 2 && args[0] == "/" && s.location == "" && !s.host.mcmp {
		if u, err := url.Parse(args[1]); err == nil && u.Scheme == "https" && (u.Path == "/" || u.Path == "") {
			s.host.toHTTPS = d
			w.c.note(d, Converted, "traffic.listeners[].redirect_to_https", "with 308, to the host that was asked for")
			return
		}
	}
	w.c.note(d, Manual, "shared.rules", "a rule with action: redirect")
}

func requestHeader(w *walk, d *directive, _ scope) {
	if isOneOf(strings.ToLower(d.arg(1)), "x-forwarded-proto", "x-forwarded-port", "x-forwarded-for", "x-forwarded-host") {
		w.c.note(d, Needless, "", "built in")
		return
	}
	w.c.note(d, Manual, "", "headers of requests pass as they came")
}
