package migrate

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// scope is where a directive stands.
type scope struct {
	host     *host
	location string // path of the innermost Location
	manager  bool   // the Location is the manager page's
}

// walk converts a tree, line by line.
type walk struct {
	c     *converter
	s     *server
	table map[string]handler // by names in lower case
}

// handler converts one directive. It writes at least one line of the report.
type handler func(w *walk, d *directive, s scope)

func (w *walk) all(body []*directive, s scope) error {
	for _, d := range body {
		if d.is("ProxyRequests") && on(d.arg(0)) {
			return &Error{d.file, d.line, fmt.Errorf("ProxyRequests On: a forward proxy; quorate is none, and this is not converted")}
		}
		if d.section {
			if err := w.section(d, s); err != nil {
				return err
			}
			continue
		}
		h, known := w.table[strings.ToLower(d.name)]
		if !known {
			h = byPrefix(strings.ToLower(d.name))
		}
		h(w, d, s)
	}
	return nil
}

// section converts what is in a section.
func (w *walk) section(d *directive, s scope) error {
	switch strings.ToLower(d.name) {
	case "virtualhost":
		for _, h := range w.s.hosts {
			if h.d == d {
				path := "traffic.listeners"
				if h.mcmp {
					path = "mcmp.listeners"
				}
				w.c.note(d, Converted, path, "see what is in it")
				return w.all(d.body, scope{host: h})
			}
		}
		w.c.note(d, Manual, "", "a host within another section")
		return w.all(d.body, s)
	case "location":
		s.location = d.arg(0)
		s.manager = false
		for _, in := range d.body {
			s.manager = s.manager || in.is("SetHandler") && strings.EqualFold(in.arg(0), "mod_cluster-manager")
		}
		w.c.note(d, Needless, "", "see what is in it")
		return w.all(d.body, s)
	case "requireany":
		w.c.note(d, Needless, "", "see what is in it")
		return w.all(d.body, s)
	case "proxy":
		w.c.note(d, Needless, "", "see what is in it")
		return w.all(d.body, s)
	case "directory", "directorymatch", "files", "filesmatch":
		w.c.note(d, Manual, "", "httpd served local files")
		w.within(d, "of local files")
	default:
		w.c.note(d, Manual, "", "not converted, nor is what is in it")
		w.within(d, "in <"+d.name+">")
	}
	return nil
}

// within reports what is in a section that is not converted.
func (w *walk) within(d *directive, why string) {
	for _, in := range d.body {
		w.c.note(in, Manual, "", why)
		w.within(in, why)
	}
}

// one writes a value of which the document has one where httpd has one per host.
func (w *walk) one(d *directive, s scope, path, value string) (note string) {
	first, seen := w.s.once[path]
	if seen && strings.Join(first.args, " ") != strings.Join(d.args, " ") {
		note = "another value than at " + first.where() + ": this one counts for all"
	}
	w.s.once[path] = d
	w.c.set(d, path, value)
	return note
}

// Words of httpd for a switch.
func on(s string) bool  { return isOneOf(strings.ToLower(s), "on", "yes", "1") }
func off(s string) bool { return isOneOf(strings.ToLower(s), "off", "no", "0") }

func isOneOf(s string, words ...string) bool {
	for _, w := range words {
		if s == w {
			return true
		}
	}
	return false
}

// needless: nothing of the kind is needed.
func needless(why string) handler {
	return func(w *walk, d *directive, _ scope) { w.c.note(d, Needless, "", why) }
}

// manual: there is no equal.
func manual(why string) handler {
	return func(w *walk, d *directive, _ scope) { w.c.note(d, Manual, "", why) }
}

// wrong reports a value that httpd would not have taken either.
func (w *walk) wrong(d *directive, must string) {
	w.c.note(d, Manual, "", "must be "+must)
}

// value copies or converts one value. to returns false where it has no equal, with what
// it must be.
func value(kind Kind, path string, to func(d *directive) (value, note string, ok bool)) handler {
	return func(w *walk, d *directive, s scope) {
		v, note, ok := to(d)
		if !ok {
			w.c.note(d, Manual, path, note)
			return
		}
		if other := w.one(d, s, path, v); other != "" {
			if note != "" {
				note += "; "
			}
			note += other
		}
		w.c.note(d, kind, path, note)
	}
}

func number(d *directive, least, most int) (n int, note string, ok bool) {
	n, err := strconv.Atoi(d.arg(0))
	if err != nil || n < least || n > most {
		return 0, fmt.Sprintf("must be a number from %d to %d", least, most), false
	}
	return n, "", true
}

const huge = 1<<31 - 1

// count copies a number.
func count(kind Kind, path string, least int) handler {
	return value(kind, path, func(d *directive) (string, string, bool) {
		n, note, ok := number(d, least, huge)
		return strconv.Itoa(n), note, ok
	})
}

// wait copies a duration; httpd counts in seconds, or takes ms, s, min and h.
func wait(kind Kind, path string, least time.Duration) handler {
	return value(kind, path, func(d *directive) (string, string, bool) {
		t, ok := duration(d.arg(0))
		if !ok || t < least {
			return "", "must be a duration of at least " + seconds(least), false
		}
		return seconds(t), "", true
	})
}

// duration reads httpd's durations.
func duration(s string) (time.Duration, bool) {
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyz")
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 || n > huge {
		return 0, false
	}
	unit, known := map[string]time.Duration{"": time.Second, "s": time.Second, "ms": time.Millisecond, "mi": time.Minute,
		"min": time.Minute, "h": time.Hour}[s[len(digits):]]
	return time.Duration(n) * unit, known
}

// choice converts words.
func choice(kind Kind, path string, words map[string]string, notes map[string]string) handler {
	return value(kind, path, func(d *directive) (string, string, bool) {
		w := strings.ToLower(d.arg(0))
		v, known := words[w]
		if !known {
			return "", notes[w], false
		}
		return v, notes[w], true
	})
}

// toggle converts a switch.
func toggle(kind Kind, path, whenOn, whenOff string) handler {
	return value(kind, path, func(d *directive) (string, string, bool) {
		switch {
		case on(d.arg(0)):
			return whenOn, "", true
		case off(d.arg(0)):
			return whenOff, "", true
		}
		return "", "must be On or Off", false
	})
}

// users converts a directive of hosts for users alone; elsewhere it is not needed.
func users(h, workers handler) handler {
	return func(w *walk, d *directive, s scope) {
		if s.host.mcmp {
			workers(w, d, s)
			return
		}
		h(w, d, s)
	}
}

// serverOnly refuses a directive that stands in a host, as httpd does.
func serverOnly(h handler) handler {
	return func(w *walk, d *directive, s scope) {
		if s.host != w.s.main {
			w.c.note(d, Manual, "", "httpd takes it only outside of VirtualHost")
			return
		}
		h(w, d, s)
	}
}

// byPrefix is for directives that come in families, and for those nobody knows.
func byPrefix(name string) handler {
	for _, f := range []struct{ prefix, why string }{
		{"rewrite", "rewriting: shared.rules can route, reject and redirect"},
		{"setenv", "no environment here"}, {"browsermatch", "no environment here"},
		{"proxypassreverse", "not needed with the client's Host (upstream.http.preserve_host: true); where paths differ there is no equal"},
		{"auth", "users are authenticated by the application"},
		{"sec", "no such filter"}, {"cache", "nothing is cached"}, {"deflate", "compression is the worker's"},
		{"brotli", "compression is the worker's"}, {"expires", "headers are the worker's"}, {"substitute", "bodies are not changed"},
		{"sslocsp", "certificates are checked against client_ca_file alone"}, {"ssl", "no equal"},
		{"proxy", "no equal"}, {"balancer", "no equal"}, {"remoteip", "no equal"}, {"h2", "no equal"},
		{"advertise", "no equal"}, {"modproxycluster", "no equal"}, {"index", "httpd served local files"}, {"alias", "httpd served local files"},
		{"scriptalias", "httpd served local files"}, {"use", "macros are not expanded"},
		{"setoutputfilter", "bodies are not changed"}, {"addoutputfilter", "bodies are not changed"}, {"filter", "bodies are not changed"},
	} {
		if strings.HasPrefix(name, f.prefix) {
			return manual(f.why)
		}
	}
	return manual("unknown to migrate")
}

// isIP says whether s is an address.
func isIP(s string) bool { _, err := netip.ParseAddr(s); return err == nil }

func portOf(s string) string { _, p, _ := net.SplitHostPort(s); return p }
