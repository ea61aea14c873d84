package proxy

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/quorate/quorate/proxy/http1"
	"github.com/quorate/quorate/proxy/route"
)

// peer is who is at the other end of a client's connection.
type peer struct {
	addr    netip.Addr
	address string
	trusted bool
	secure  bool // it came by TLS
	port    uint16
	local   net.Addr   // our end
	tls     *clientTLS // nil: plain
}

// trusts says whether forwarding headers of an address are believed.
func (t *Tuning) trusts(a netip.Addr) bool {
	for _, prefix := range t.TrustedProxies {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

// appendRequest appends the head for a worker, in the order of http-notes.md §5,
// and counts its lines. A worker never sees the client's framing.
func (p *Proxy) appendRequest(x *exchange, to []byte, d *route.Decision, u *upstream, c *upConn) ([]byte, int) {
	r, in, b := &x.req, x.in, &x.body
	target, stripped := stripped(x, d)
	to = append(to, x.method...)
	to = append(to, ' ')
	to = append(to, target...)
	to = append(to, " HTTP/1.1\r\nHost: "...)
	if host := r.Host.Of(in); len(host) > 0 && p.c.Upstream.PreserveHost {
		to = append(to, host...)
	} else {
		to = append(to, u.address...)
	}
	to = append(to, "\r\n"...)
	lines := 1

	var near neighbours
	for i := range r.Fields {
		if f := &r.Fields[i]; x.passes(f, d.Strip) {
			lines++
			to = near.add(to, in, f)
		}
	}
	to = near.end(to, in)
	for _, line := range stripped {
		to = http1.AppendField(to, "Cookie", []byte(line))
		lines++
	}

	switch {
	case b.present && b.whole && !x.hasTrailers():
		to = appendLength(to, int64(b.end-b.start))
		lines++
	case b.chunked:
		to = append(to, "Transfer-Encoding: chunked\r\n"...)
		lines++
	case b.present, r.HasLength:
		to = appendLength(to, max(0, r.Length))
		lines++
	}
	switch {
	case x.upgrade != "":
		to = append(to, "Connection: Upgrade\r\nUpgrade: "...)
		to = append(append(to, x.upgrade...), "\r\n"...)
		lines += 2
	case c.Exchanges == 0 && (x.t.Limits.Headers == 0 || lines+reserved < x.t.Limits.Headers):
		// Tomcat then says how long it keeps the connection.
		to = append(to, "Connection: keep-alive\r\n"...)
		lines++
	}
	if r.TrailersOK {
		to = append(to, "TE: trailers\r\n"...)
		lines++
	}
	if x.expects() {
		to = append(to, "Expect: 100-continue\r\n"...)
		lines++
	}
	to, more := p.appendForwarded(x, to)
	to = append(to, "X-Request-Id: "...)
	to = append(append(to, x.id...), "\r\n\r\n"...)
	return to, lines + more + 1
}

// stripped is the target that the worker gets, and the Cookie lines where the session
// is taken out of them.
func stripped(x *exchange, d *route.Decision) (target string, cookies []string) {
	if !d.Strip {
		return x.facts.Path.Target, nil
	}
	target, cookies = route.StripSession(&x.facts.Path, x.facts.Cookies, d.Policy)
	if strings.HasPrefix(target, "//") { // of "/;id/x"
		target = "/" + strings.TrimLeft(target, "/")
	}
	return target, cookies
}

// reserved are the lines that may follow Connection: TE, Expect, five of
// X-Forwarded, Forwarded, X-Request-Id.
const reserved = 9

// passes says whether a line of the client is sent on as it is.
func (x *exchange) passes(f *http1.Field, strip bool) bool {
	if f.Listed || f.Underscore && !x.p.c.Underscores {
		return false
	}
	switch f.ID {
	case http1.Other, http1.Authorization, http1.UserAgent, http1.Referer, http1.ContentType, http1.Date:
		return true
	case http1.Host, http1.ContentLength, http1.TransferEncoding, http1.Connection, http1.KeepAlive,
		http1.ProxyConnection, http1.ProxyAuthorization, http1.TE, http1.Trailer, http1.Upgrade, http1.HTTP2Settings,
		http1.Expect, http1.Proxy, http1.XRequestID:
		return false
	case http1.Cookie:
		return !strip
	case http1.XForwardedFor, http1.XForwardedServer:
		return x.peer.trusted && !x.p.c.Upstream.XForwarded // else they are made anew
	case http1.Forwarded:
		return x.peer.trusted && !x.p.c.Upstream.Forwarded
	case http1.XForwardedHost, http1.XForwardedProto, http1.XForwardedPort, http1.XForwardedOther,
		http1.XRealIP, http1.XOriginalURL, http1.XRewriteURL:
		return x.peer.trusted
	}
	return true
}

// appendForwarded names the client to the worker. What a trusted peer says of
// host, scheme and port stays: it saw the client.
func (p *Proxy) appendForwarded(x *exchange, to []byte) ([]byte, int) {
	scheme, port := "http", "80"
	if x.peer.secure {
		scheme, port = "https", "443"
	}
	host := view(x.req.Host.Of(x.in))
	lines := 0
	if p.c.Upstream.XForwarded {
		if given := portOf(host); given != "" {
			port = given
		}
		to = append(to, "X-Forwarded-For: "...)
		to = x.appendChain(to, http1.XForwardedFor)
		to = append(append(to, x.peer.address...), "\r\n"...)
		lines++
		to, lines = x.appendUnlessSaid(to, lines, http1.XForwardedHost, "X-Forwarded-Host: ", host)
		to, lines = x.appendUnlessSaid(to, lines, http1.XForwardedProto, "X-Forwarded-Proto: ", scheme)
		to, lines = x.appendUnlessSaid(to, lines, http1.XForwardedPort, "X-Forwarded-Port: ", port)
		to = append(to, "X-Forwarded-Server: "...)
		to = append(append(to, p.c.Name...), "\r\n"...)
		lines++
	}
	if p.c.Upstream.Forwarded {
		to = append(to, "Forwarded: "...)
		to = x.appendChain(to, http1.Forwarded)
		to = append(to, "for="...)
		if x.peer.addr.Is6() {
			to = append(append(append(to, `"[`...), x.peer.address...), `]"`...)
		} else {
			to = append(to, x.peer.address...)
		}
		if host != "" {
			to = append(append(append(to, `;host="`...), host...), '"')
		}
		to = append(append(append(to, ";proto="...), scheme...), "\r\n"...)
		lines++
	}
	return to, lines
}

// appendChain appends what trusted peers said in a list, for one more element.
func (x *exchange) appendChain(to []byte, id http1.Name) []byte {
	if !x.peer.trusted {
		return to
	}
	for i := range x.req.Fields {
		if f := &x.req.Fields[i]; f.ID == id && f.Value.Len() > 0 {
			to = append(append(to, f.Value.Of(x.in)...), ", "...)
		}
	}
	return to
}

// appendUnlessSaid appends a line unless a trusted peer has given it.
func (x *exchange) appendUnlessSaid(to []byte, lines int, id http1.Name, name, value string) ([]byte, int) {
	if value == "" || x.peer.trusted && x.field(id) != nil {
		return to, lines
	}
	return append(append(append(to, name...), value...), "\r\n"...), lines + 1
}

// portOf is the port of a Host, "" if it has none.
func portOf(host string) string {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.IndexByte(host[i:], ']') >= 0 {
		return ""
	}
	return host[i+1:]
}

// client is whom the request comes from, as far as trusted peers tell:
// X-Forwarded-For from the right past trusted addresses, until one is none
// (http-notes.md §5).
func (x *exchange) client() string {
	if !x.peer.trusted {
		return x.peer.address
	}
	best := x.peer.address
	for i := len(x.req.Fields) - 1; i >= 0; i-- {
		f := &x.req.Fields[i]
		if f.ID != http1.XForwardedFor {
			continue
		}
		list := view(f.Value.Of(x.in))
		for list != "" {
			at := strings.LastIndexByte(list, ',')
			item := strings.Trim(list[at+1:], " \t")
			list = list[:max(at, 0)]
			a, err := netip.ParseAddr(item)
			if err != nil {
				return best
			}
			best = item
			if !x.t.trusts(a.Unmap().WithZone("")) {
				return best
			}
		}
	}
	return best
}

// neighbours are header lines side by side that pass as they stand: they are copied
// at once.
type neighbours struct{ from, until int } // of the buffer; until 0: none

// add appends a line of b, at the latest with end.
func (n *neighbours) add(to, b []byte, f *http1.Field) []byte {
	plain := f.Value.Start == f.Name.End+2 && f.Value.Len() > 0
	if !plain || int(f.Name.Start) != n.until+2 {
		to = n.end(to, b)
	}
	if !plain {
		return http1.AppendField(to, f.Name.Of(b), f.Value.Of(b))
	}
	if n.until == 0 {
		n.from = int(f.Name.Start)
	}
	n.until = int(f.Value.End)
	return to
}

func (n *neighbours) end(to, b []byte) []byte {
	if n.until > 0 {
		to = append(append(to, b[n.from:n.until]...), "\r\n"...)
		n.until = 0
	}
	return to
}

// appendLength says how long a body is.
func appendLength(to []byte, n int64) []byte {
	to = append(to, "Content-Length: "...)
	to = http1.AppendUint(to, uint64(n))
	return append(to, "\r\n"...)
}

// appendStatusLine appends the first line of an answer: the worker's words.
func appendStatusLine(to []byte, r *http1.Response, b []byte) []byte {
	to = append(to, "HTTP/1.1 "...)
	to = http1.AppendUint(to, uint64(r.Status))
	to = append(to, ' ')
	to = append(to, r.Reason.Of(b)...)
	return append(to, "\r\n"...)
}

// appendAnswerFields appends what passes of an answer's lines, and says whether
// Date is among them.
func appendAnswerFields(to []byte, r *http1.Response, b []byte) (_ []byte, dated bool) {
	var near neighbours
	for i := range r.Fields {
		if f := &r.Fields[i]; answerPasses(f) {
			dated = dated || f.ID == http1.Date
			to = near.add(to, b, f)
		}
	}
	to = near.end(to, b)
	return to, dated
}

// answerPasses says whether a worker's line is sent on to the client.
func answerPasses(f *http1.Field) bool {
	switch f.ID {
	case http1.Connection, http1.KeepAlive, http1.ProxyConnection, http1.TE, http1.TransferEncoding, http1.ContentLength,
		http1.Upgrade, http1.HTTP2Settings, http1.Trailer:
		return false
	}
	return !f.Listed
}

// dateLine is a Date line, good for one second.
type dateLine struct {
	second int64
	line   []byte
}

// appendDate appends the Date that a worker has not given (RFC 9110 §6.6.1).
func (p *Proxy) appendDate(to []byte) []byte {
	now := time.Now()
	d := p.date.Load()
	if second := now.Unix(); d == nil || d.second != second {
		d = &dateLine{second, []byte("Date: " + now.UTC().Format(http.TimeFormat) + "\r\n")}
		p.date.Store(d)
	}
	return append(to, d.line...)
}
