package config

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

var (
	nameForm  = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	tokenForm = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$") // RFC 9110 §5.6.2
	hostForm  = regexp.MustCompile(`^([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?$`)
	// What mcmp.md §0.2 lets a worker call its balancer: lower case, no byte that breaks INFO.
	balancerForm = regexp.MustCompile(`^[!#-&(-+\-.-;=?@\[\]-~]{1,39}$`)
)

// checkText holds s against the rule a tag names and returns what s must be, or "".
func checkText(rule, s string) string {
	ok, must := false, ""
	switch rule {
	case "given":
		ok, must = s != "", "must not be empty"
	case "name":
		ok, must = nameForm.MatchString(s), "must be 1 to 64 letters, digits, dots, hyphens or underscores"
	case "address":
		ok, must = isAddress(s, true), "must be HOST:PORT or :PORT"
	case "remote":
		ok, must = isAddress(s, false), "must be HOST:PORT of another replica"
	case "host":
		ok, must = s == "" || isHost(s) && !isWildcard(s), "must be a host alone, as others reach it"
	case "server_name":
		ok, must = isHost(s), "must be auto or a host name"
	case "group":
		a, err := netip.ParseAddr(s)
		// A socket of IPv6 sends nothing to an IPv4 group in IPv6's clothes.
		ok, must = err == nil && a.IsMulticast() && !a.Is4In6(), "must be a multicast address"
	case "path":
		ok, must = isPath(s), "must be a path that begins with /"
	case "ready_path":
		ok, must = s == "" || isPath(s), "must be a path that begins with /"
	case "probe_path":
		ok, must = s == "*" || isPath(strings.Replace(s, "?", "", 1)), "must be * or a path that begins with /"
	case "token":
		ok, must = tokenForm.MatchString(s), "must be a method"
	case "upgrade":
		ok, must = isUpgrade(s), "must be a protocol such as websocket, or *; h2c, HTTP and TLS are never tunnelled"
	case "connector":
		ok, must = isConnector(s), "must be http://HOST:PORT or https://HOST:PORT"
	case "session_name":
		ok, must = s == "" || len(s) <= 29 && tokenForm.MatchString(s), "must be auto or a name of at most 29 letters"
	case "delimiter":
		ok, must = len(s) == 1 && s > " " && s < "\x7f" && !strings.ContainsAny(s, `;,="`), "must be one character, none of ; , = \""
	case "balancer":
		ok, must = isBalancer(s), "must be at most 39 characters, lower case, none of < > \" ' \\ , and blank"
	case "balancer_or_none":
		return checkText("balancer", s+strings.Repeat("-", max(0, 1-len(s))))
	case "rule_host":
		ok, must = isHost(strings.TrimPrefix(s, "*.")), "must be a host name or *.DOMAIN, without port"
	case "target":
		ok, must = s == "" || isPath(s) || isURL(s), "must be a URL or a path that begins with /"
	default:
		panic("config: no rule " + rule)
	}
	if ok {
		return ""
	}
	return must
}

// isConnector knows where else a worker listens.
func isConnector(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && port > 0 && isHost(u.Hostname())
}

// isHost knows IP addresses, without brackets, and DNS names.
func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	return len(s) <= 253 && hostForm.MatchString(s) && !allDigitsAndDots(s)
}

// allDigitsAndDots tells a mistyped IPv4 address from a name.
func allDigitsAndDots(s string) bool { return strings.Trim(s, "0123456789.") == "" }

// isAddress knows HOST:PORT. To listen, the host may be missing and the port 0.
func isAddress(s string, listen bool) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return false
	}
	if listen {
		return host == "" || isHost(host)
	}
	return n > 0 && isHost(host) && !isWildcard(host)
}

// isPath knows absolute paths as they stand in a request: visible ASCII, no query,
// no fragment, no backslash (http-notes.md §4).
func isPath(s string) bool {
	return strings.HasPrefix(s, "/") && !strings.ContainsAny(s, `?#\`) && visible(s)
}

func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && visible(s) && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil
}

// isUpgrade knows what may be tunnelled (http-notes.md §9).
func isUpgrade(s string) bool {
	name, _, _ := strings.Cut(strings.ToLower(s), "/")
	return s == "*" || tokenForm.MatchString(strings.Replace(s, "/", "", 1)) && name != "h2c" && name != "http" && name != "tls"
}

func isBalancer(s string) bool { return balancerForm.MatchString(s) && s == strings.ToLower(s) }
