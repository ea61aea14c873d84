package proxy

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"
)

// hopByHop are about one connection and never passed on; ownBusiness are lines of
// a request that are made anew, or not wanted (http-notes.md §5).
var (
	hopByHop    = []string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings"}
	ownBusiness = []string{"Proxy-Authorization", "Content-Length", "Expect", "Proxy", "Host"}
)

// untrusted are believed from traffic.trusted_proxies only, like X-Forwarded-*.
var untrusted = []string{"Forwarded", "X-Real-Ip", "X-Original-Url", "X-Rewrite-Url"}

// notListed stay, whatever Connection says of them.
var notListed = map[string]bool{
	"Host": true, "Content-Length": true, "Transfer-Encoding": true, "Cookie": true, "Authorization": true,
	"Forwarded": true, "X-Request-Id": true, "Te": true, "Expect": true,
}

// peer is who is at the other end of the connection.
type peer struct {
	address string
	trusted bool
}

func (p *Proxy) peerOf(r *http.Request) peer {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return peer{address: r.RemoteAddr}
	}
	addr := a.Addr().Unmap().WithZone("")
	who := peer{address: addr.String()}
	for _, prefix := range p.c.TrustedProxies {
		who.trusted = who.trusted || prefix.Contains(addr)
	}
	return who
}

// requestID is the client's if it is trusted and gives a good one, else new.
func requestID(r *http.Request, who peer) string {
	if id := r.Header.Get("X-Request-Id"); who.trusted && goodID(id) {
		return id
	}
	return ulid.Make().String()
}

func goodID(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlnum(c) && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// headersFor makes the header lines for a worker, in the order of the rules of
// http-notes.md §5. Host is not among them.
func (p *Proxy) headersFor(x *exchange) http.Header {
	in := x.request.Header
	h := make(http.Header, len(in)+6)
	for k, v := range in {
		if !strings.Contains(k, "_") && (x.peer.trusted || !strings.HasPrefix(k, "X-Forwarded-")) {
			h[k] = v
		}
	}
	dropListed(h, in["Connection"])
	remove(h, hopByHop)
	remove(h, ownBusiness)
	if !x.peer.trusted {
		remove(h, untrusted)
	}
	if hasToken(in["Te"], "trailers") {
		h["Te"] = []string{"trailers"}
	}
	if hasToken(in["Expect"], "100-continue") {
		h["Expect"] = []string{"100-continue"}
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = []string{""} // package http would name itself
	}
	// Package http repeats such requests by itself when it finds the canonical name.
	for _, k := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		if v, ok := h[k]; ok {
			delete(h, k)
			h[strings.ToLower(k)] = v
		}
	}
	p.forwarded(h, x)
	h["X-Request-Id"] = []string{x.id}
	return h
}

// forwarded names the client to the worker. What a trusted peer says of host,
// scheme and port stays: it saw the client.
func (p *Proxy) forwarded(h http.Header, x *exchange) {
	scheme, port := "http", "80"
	if x.request.TLS != nil {
		scheme, port = "https", "443"
	}
	host := x.request.Host
	if _, given, err := net.SplitHostPort(host); err == nil && given != "" {
		port = given
	}
	if p.c.Upstream.XForwarded {
		chain := append(append([]string(nil), h["X-Forwarded-For"]...), x.peer.address)
		h["X-Forwarded-For"] = []string{strings.Join(chain, ", ")}
		set := func(k, v string) {
			if len(h[k]) == 0 && v != "" {
				h[k] = []string{v}
			}
		}
		set("X-Forwarded-Host", host)
		set("X-Forwarded-Proto", scheme)
		set("X-Forwarded-Port", port)
		h["X-Forwarded-Server"] = []string{p.c.Name}
	}
	if p.c.Upstream.Forwarded {
		node := x.peer.address
		if strings.Contains(node, ":") {
			node = `"[` + node + `]"`
		}
		element := "for=" + node
		if host != "" {
			element += `;host="` + host + `"`
		}
		element += ";proto=" + scheme
		chain := append(append([]string(nil), h["Forwarded"]...), element)
		h["Forwarded"] = []string{strings.Join(chain, ", ")}
	}
}

func remove(h http.Header, names []string) {
	for _, k := range names {
		delete(h, k)
	}
}

// dropListed takes out what Connection lists.
func dropListed(h http.Header, connection []string) {
	for _, line := range connection {
		for name := range strings.SplitSeq(line, ",") {
			k := http.CanonicalHeaderKey(strings.Trim(name, " \t"))
			if k != "" && !notListed[k] && !strings.HasPrefix(k, "X-Forwarded-") {
				delete(h, k)
			}
		}
	}
}

// hasToken looks for a token in a list, in any case.
func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for t := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.Trim(t, " \t"), token) {
				return true
			}
		}
	}
	return false
}

// lines counts a request's header lines as package http sends them: Host, framing
// and Connection too.
func lines(out *http.Request) int {
	n := 1
	switch {
	case out.Body == nil: // length 0 is said of methods that usually have a body
		if out.Method == "POST" || out.Method == "PUT" || out.Method == "PATCH" {
			n++
		}
	case out.Body != (empty{}):
		n++
	}
	if len(out.Trailer) > 0 && out.ContentLength < 0 {
		n++
	}
	if out.Close {
		n++
	}
	for k, v := range out.Header {
		if k != "User-Agent" || v[0] != "" {
			n += len(v)
		}
	}
	return n
}

// trailerAllowed: names that change framing, routing or rights do not come behind
// a body (http-notes.md §2).
func trailerAllowed(k string) bool {
	switch k {
	case "Cookie", "Set-Cookie", "Authorization", "Www-Authenticate", "Authentication-Info", "Location",
		"Content-Type", "Content-Encoding", "Content-Range", "Cache-Control", "Range", "X-Request-Id", "Forwarded":
		return false
	}
	for _, list := range [][]string{hopByHop, ownBusiness, untrusted} {
		if slices.Contains(list, k) {
			return false
		}
	}
	return !strings.HasPrefix(k, "X-Forwarded-") && !strings.HasPrefix(k, "If-") && !strings.Contains(k, "_")
}

// answerHeaders copies a worker's header lines to the client's answer.
func answerHeaders(to, from http.Header) {
	for k, v := range from {
		to[k] = append([]string(nil), v...)
	}
	dropListed(to, from["Connection"])
	remove(to, hopByHop)
	if _, ok := to["Content-Type"]; !ok {
		to["Content-Type"] = nil // package http would guess one
	}
}
