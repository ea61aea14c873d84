package mcmp

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/quorate/quorate/fsm"
)

// defaults is what CONFIG means by leaving a field out (spec/mcmp.md §0.3).
func defaults() fsm.NodeConfig {
	return fsm.NodeConfig{
		Type: "ajp", Host: "localhost", Port: 8009,
		Ping: 10_000, TTL: 60_000, Smax: -1, FlushWait: 10,
		Sticky: true, StickyForce: true,
		Cookie: "JSESSIONID", PathParam: "jsessionid",
		MaxAttempts: 1,
	}
}

func parseConfig(body []byte) (fsm.Command, error) {
	ps, err := pairs(body, true)
	if err != nil {
		return fsm.Command{}, err
	}
	n := defaults()
	c := fsm.Command{Op: fsm.OpConfig, Config: &n}
	var t targets
	for _, p := range ps {
		switch p.key {
		case "jvmroute":
			c.Route, err = route(p.value)
		case "alias", "context":
			err = t.add(p)
		default:
			err = set(&n, p)
		}
		if err != nil {
			return fsm.Command{}, err
		}
	}
	if c.Route == "" {
		return fsm.Command{}, noRoute()
	}
	if err := t.into(&c, false); err != nil {
		return fsm.Command{}, err
	}
	return c, nil
}

// set writes one field of CONFIG into n. Unknown names are ignored.
func set(n *fsm.NodeConfig, p pair) (err error) {
	switch p.key {
	case "balancer":
		n.Balancer, err = fsm.Lower(p.value), scalar("Balancer", p.value, fsm.MaxBalancer)
	case "domain":
		n.Domain, err = p.value, scalar("LBGroup", p.value, fsm.MaxDomain)
	case "host":
		n.Host, err = parseHost(p.value)
	case "port":
		n.Port, err = parsePort(p.value)
	case "type":
		n.Type, err = parseType(p.value)
	case "ping":
		n.Ping, err = parseTime("Ping", p.value, second)
	case "timeout":
		n.Timeout, err = parseTime("Timeout", p.value, second)
	case "ttl":
		n.TTL, err = parseTime("TTL", p.value, second)
	case "flushwait":
		n.FlushWait, err = parseTime("Flushwait", p.value, 1)
	case "smax":
		n.Smax, err = max(-1, atoi(p.value)), noComma("Smax", p.value)
	case "flushpackets":
		n.FlushPackets, err = parseFlush(p.value), noComma("Flushpackets", p.value)
	case "stickysession":
		n.Sticky, err = parseBool(p.value, n.Sticky), noComma("StickySession", p.value)
	case "stickysessionforce":
		n.StickyForce, err = parseBool(p.value, n.StickyForce), noComma("StickySessionForce", p.value)
	case "stickysessionremove":
		n.StickyDrop, err = parseBool(p.value, n.StickyDrop), noComma("StickySessionRemove", p.value)
	case "stickysessioncookie":
		n.Cookie, err = p.value, cookieName("StickySessionCookie", p.value)
	case "stickysessionpath":
		n.PathParam, err = p.value, cookieName("StickySessionPath", p.value)
	case "waitworker":
		n.WaitWorker, err = max(0, atoi(p.value)), noComma("WaitWorker", p.value)
	case "maxattempts":
		n.MaxAttempts, err = atoi(p.value), noComma("Maxattempts", p.value)
	}
	return err
}

// parseHost accepts a name, an IPv4 address, or an IPv6 address in brackets,
// whose zone is cut: it means nothing on this machine.
func parseHost(s string) (string, error) {
	if err := scalar("Host", s, fsm.MaxHost); err != nil {
		return "", err
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		inner, _, _ = strings.Cut(inner, "%")
		a, err := netip.ParseAddr(inner)
		if !ok || err != nil || !a.Is6() {
			return "", badValue("Host")
		}
		return "[" + inner + "]", nil
	}
	for i := range len(s) {
		c := s[i]
		if letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'; !letter && (c < '0' || c > '9') && strings.IndexByte("-._~", c) < 0 {
			return "", badValue("Host")
		}
	}
	return s, nil
}

func parsePort(s string) (int, error) {
	if err := scalar("Port", s, maxPort); err != nil {
		return 0, err
	}
	p, err := strconv.ParseUint(s, 10, 16)
	if err != nil || p == 0 {
		return 0, badValue("Port")
	}
	return int(p), nil
}

func parseType(s string) (string, error) {
	if err := scalar("Type", s, maxType); err != nil {
		return "", err
	}
	switch s {
	case "ajp", "http", "https":
		return s, nil
	}
	return "", badValue("Type")
}

const second = 1000 // ms

// parseTime reads digits and an optional unit, which is known by how it begins,
// in any case: s, h, ms, mi. Without one it counts in unit (ms each). The result
// is in ms and fits a time.Duration.
func parseTime(label, s string, unit int64) (int64, error) {
	digits := strings.TrimRight(fsm.Lower(s), "abcdefghijklmnopqrstuvwxyz")
	switch suffix := fsm.Lower(s)[len(digits):]; {
	case suffix == "":
	case suffix[0] == 's':
		unit = second
	case suffix[0] == 'h':
		unit = 3600 * second
	case strings.HasPrefix(suffix, "ms"):
		unit = 1
	case strings.HasPrefix(suffix, "mi"):
		unit = 60 * second
	default:
		return 0, badValue(label)
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	const most = 1 << 41 // ms: 69 years
	if err != nil || n > uint64(most/unit) {
		return 0, badValue(label)
	}
	return int64(n) * unit, nil
}

func parseBool(s string, otherwise bool) bool {
	switch fsm.Lower(s) {
	case "yes", "on":
		return true
	case "no", "off":
		return false
	}
	return otherwise
}

// The values of NodeConfig.FlushPackets.
const (
	flushOff = iota
	flushOn
	flushAuto
)

// flushWords are their words in INFO.
var flushWords = [...]string{flushOff: "Off", flushOn: "On", flushAuto: "Auto"}

func parseFlush(s string) int {
	switch fsm.Lower(s) {
	case "on", "yes":
		return flushOn
	case "auto":
		return flushAuto
	}
	return flushOff
}

// atoi is C's: leading digits count, none are 0.
func atoi(s string) int {
	n, _ := leadingInt(s)
	return n
}
