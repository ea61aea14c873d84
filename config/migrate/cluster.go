package migrate

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Directives of mod_manager, mod_proxy_cluster and mod_advertise.

func receives(w *walk, d *directive, s scope) {
	note := "httpd served users on this address, too; quorate does not"
	switch {
	case s.host == w.s.main:
		w.c.note(d, Manual, "mcmp.listeners", "outside of VirtualHost: name the address in mcmp.listeners")
	case s.host.proxied:
		w.c.note(d, Manual, "mcmp.listeners", "this host has users (ProxyPass): give them an address in traffic.listeners")
	default:
		w.c.note(d, Converted, "mcmp.listeners", note)
	}
}

// atLeast copies a limit only where it is larger than the default: httpd's count all,
// quorate's are caps.
func atLeast(path string, least int) handler {
	return func(w *walk, d *directive, s scope) {
		n, note, ok := number(d, 1, huge)
		switch {
		case !ok:
			w.c.note(d, Manual, path, note)
		case n <= least:
			w.c.note(d, Converted, path, fmt.Sprintf("the default, %d, is enough", least))
		default:
			w.c.note(d, Converted, path, w.one(d, s, path, strconv.Itoa(n)))
		}
	}
}

func bytesOf(path string, times, least int) handler {
	return value(Converted, path, func(d *directive) (string, string, bool) {
		n, note, ok := number(d, 0, huge)
		if n == 0 {
			return "0", note, ok
		}
		return size(max(int64(n)*int64(times), int64(least))), note, ok
	})
}

func (w *walk) tunnel(d *directive, protocols []string) {
	w.s.tunnels = d
	if len(protocols) == 1 && protocols[0] == "websocket" {
		w.c.doc.remove("upstream.upgrade.protocols")
		return
	}
	w.c.doc.list("upstream.upgrade.protocols", protocols, d.where())
}

func upgradeHeader(w *walk, d *directive, _ scope) {
	switch strings.ToUpper(d.arg(0)) {
	case "":
		w.wrong(d, "a protocol")
		return
	case "*", "ANY", "NONE":
		w.tunnel(d, []string{"*"})
	default:
		w.tunnel(d, strings.FieldsFunc(d.arg(0), func(r rune) bool { return r == ',' || r == ' ' }))
	}
	w.c.note(d, Converted, "upstream.upgrade.protocols", "")
}

func recalculation(w *walk, d *directive, s scope) {
	t, ok := duration(d.arg(0))
	if !ok {
		w.wrong(d, "a number of seconds")
		return
	}
	t = max(t, time.Second)
	note := w.one(d, s, "shared.recalculation_interval", seconds(t))
	w.one(d, s, "upstream.health.interval", seconds(t))
	w.one(d, s, "upstream.health.remove_after", seconds(60*t))
	w.c.note(d, Copied, "shared.recalculation_interval, upstream.health.interval, .remove_after", note)
}

func status(d *directive) (string, string, bool) {
	n, note, ok := number(d, 400, 599)
	return strconv.Itoa(n), note, ok
}

func healthTemplate(w *walk, d *directive, s scope) {
	note, kind := "", Converted
	complain := func(format string, args ...any) {
		kind, note = Manual, strings.TrimPrefix(note+"; "+fmt.Sprintf(format, args...), "; ")
	}
	for _, arg := range d.args {
		k, v, _ := strings.Cut(arg, "=")
		switch strings.ToLower(k) {
		case "hcmethod":
			probe, known := map[string]string{"cping": "auto", "options": "options", "options11": "options", "get": "get", "get11": "get",
				"head": "head", "head11": "head", "tcp": "tcp", "none": "none"}[strings.ToLower(v)]
			if !known {
				complain("hcmethod=%s: unknown", v)
				continue
			}
			w.one(d, s, "upstream.health.probe", probe)
		case "hcinterval":
			t, ok := duration(v)
			if !ok || t < time.Second {
				complain("hcinterval=%s: no duration", v)
				continue
			}
			w.one(d, s, "upstream.health.interval", seconds(t))
		case "hcfails":
			w.one(d, s, "upstream.health.fails", v)
		case "hcpasses":
			if v != "1" {
				complain("hcpasses=%s: one pass is enough here", v)
			}
		case "hcuri":
			w.one(d, s, "upstream.health.path", v)
		default:
			complain("%s: no equal", arg)
		}
	}
	w.c.note(d, kind, "upstream.health", note)
}

// Advertising.

func advertises(w *walk, d *directive, s scope) {
	if off(d.arg(0)) {
		w.s.advertise = d
		w.c.doc.remove("mcmp.advertise.enabled")
		w.c.note(d, Converted, "mcmp.advertise.enabled", "")
		return
	}
	w.announce(d)
	if to := d.arg(1); to != "" {
		if _, rest, ok := strings.Cut(to, "://"); ok {
			to = rest
		}
		w.one(d, s, "mcmp.advertise.address", to)
	}
	w.c.note(d, Converted, "mcmp.advertise.enabled", "")
}

// announce switches advertising on: httpd does where any of its directives is there,
// but for one that says Off.
func (w *walk) announce(d *directive) {
	if a := w.s.advertise; a != nil && a.is("ServerAdvertise") && off(a.arg(0)) {
		return
	}
	w.s.advertise = d
	w.c.set(d, "mcmp.advertise.enabled", "true")
}

func advertiseGroup(w *walk, d *directive, s scope) {
	group, port := d.arg(0), ""
	if h, p, err := net.SplitHostPort(group); err == nil {
		group, port = h, p
	}
	if !isIP(group) {
		w.wrong(d, "an address, with a port or without")
		return
	}
	w.announce(d)
	note := w.one(d, s, "mcmp.advertise.group", group)
	if port != "" {
		w.one(d, s, "mcmp.advertise.port", port)
	}
	w.c.note(d, Converted, "mcmp.advertise.group, .port", note)
}

// advertiseFrequency is s, s.ms or s,ms: the fraction is a whole number of ms.
func advertiseFrequency(w *walk, d *directive, s scope) {
	whole, ms, _ := strings.Cut(strings.Replace(d.arg(0), ",", ".", 1), ".")
	a, err := strconv.Atoi(whole)
	b, berr := strconv.Atoi(or(ms, "0"))
	if err != nil || berr != nil || a < 0 || b < 0 || a+b == 0 {
		w.wrong(d, "seconds, with milliseconds behind a point")
		return
	}
	w.announce(d)
	note := w.one(d, s, "mcmp.advertise.interval", seconds(time.Duration(a)*time.Second+time.Duration(b)*time.Millisecond))
	w.c.note(d, Converted, "mcmp.advertise.interval", note)
}

func advertiseKey(w *walk, d *directive, _ scope) {
	w.announce(d)
	w.c.secret(d, "mcmp.advertise.security_key_file", "advertise-key", d.arg(0))
}

func advertiseBind(w *walk, d *directive, _ scope) {
	w.announce(d)
	port := portOf(d.arg(0))
	if port != "" && port != "23364" {
		w.c.note(d, Manual, "", "the port of the sender is not fixed here")
		return
	}
	w.c.note(d, Needless, "", "mcmp.advertise.interfaces says where to send")
}
