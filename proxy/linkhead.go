package proxy

import (
	"crypto/tls"
	"encoding/pem"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/quorate/quorate/proxy/ajp"
	"github.com/quorate/quorate/proxy/http1"
	"github.com/quorate/quorate/proxy/route"
)

// AJP is how workers are spoken to that speak AJP.
type AJP struct {
	MaxPacketBytes int    // of what is sent; default 8 KiB, at most 64 KiB
	Secret         string // "" = none
	// CPingAfterIdle is how long a connection may have idled that is used without
	// asking; 0: each is asked.
	CPingAfterIdle time.Duration
}

func (a *AJP) packet() int {
	return min(max(a.MaxPacketBytes, ajp.MinPacket), ajp.MaxPacket)
}

// appendForward appends the FORWARD_REQUEST, and makes k.stream ready. Which lines
// pass is decided as for HTTP; address, scheme and port of the client travel in fields
// of their own (ajp13.md §5). An error says that the request does not fit.
func (p *Proxy) appendForward(x *exchange, to []byte, d *route.Decision, k *link) ([]byte, error) {
	r, in, b, f := &x.req, x.in, &x.body, &k.request
	target, stripped := stripped(x, d)
	path, query, asked := strings.Cut(target, "?")
	host := view(r.Host.Of(in))
	if host == "" {
		host = k.u.address
	}
	client := x.client()
	client, _, _ = strings.Cut(client, "%")
	here, port := k.localAddr(x.peer.local)
	f.Begin(to, &ajp.Start{
		Method:     x.method,
		Old:        r.Minor == 0,
		Path:       path,
		RemoteAddr: client,
		ServerName: hostOf(host),
		ServerPort: port,
		TLS:        x.peer.secure || x.peer.trusted && x.saidHTTPS(),
	})
	if !p.c.Upstream.PreserveHost {
		host = k.u.address
	}
	f.Header("Host", host)
	for i := range r.Fields {
		if l := &r.Fields[i]; x.passes(l, d.Strip) || x.keeps(l) {
			f.Header(view(l.Name.Of(in)), view(l.Value.Of(in)))
		}
	}
	for _, line := range stripped {
		f.Header("Cookie", line)
	}
	length := int64(-1)
	switch {
	case b.present && b.whole: // its trailers go
		length = int64(b.end - b.start)
	case b.chunked:
		f.Chunked()
	case b.present, r.HasLength:
		length = max(0, r.Length)
	}
	if length >= 0 {
		f.Length(length)
	}
	k.stream.Reset(length > 0)
	f.Header("X-Request-Id", x.id)
	lines := f.Headers()

	if s := p.c.Upstream.AJP.Secret; s != "" {
		f.Attribute(ajp.AttrSecret, s)
	}
	if asked {
		f.Attribute(ajp.AttrQuery, query)
	}
	if x.wanted != "" {
		f.Attribute(ajp.AttrRoute, x.wanted)
	}
	if s := x.peer.tls; s != nil {
		if s.certificate != "" {
			f.Attribute(ajp.AttrCertificate, s.certificate)
		}
		f.Attribute(ajp.AttrCipher, s.cipher)
		f.KeySize(s.bits)
		f.RequestAttribute(ajp.SSLProtocol, s.version)
	}
	if x.peer.port != 0 && client == x.peer.address {
		f.RequestNumber(ajp.RemotePort, int(x.peer.port))
	}
	if here != "" {
		f.RequestAttribute(ajp.LocalAddr, here)
	}
	to, err := f.End(p.c.Upstream.AJP.packet())
	if limit := x.t.Limits.Headers; err == nil && limit > 0 && lines > limit {
		err = errManyFields
	}
	return to, err
}

// keeps says whether a line of a trusted peer passes that is made anew for HTTP.
func (x *exchange) keeps(f *http1.Field) bool {
	switch f.ID {
	case http1.XForwardedFor, http1.XForwardedServer, http1.Forwarded:
		return x.peer.trusted
	}
	return false
}

// saidHTTPS says whether the client's connection was by TLS, as a peer tells it.
func (x *exchange) saidHTTPS() bool {
	f := x.field(http1.XForwardedProto)
	return f != nil && strings.EqualFold(view(f.Value.Of(x.in)), "https")
}

// hostOf is a Host without its port.
func hostOf(host string) string {
	if port := portOf(host); port != "" {
		return host[:len(host)-len(port)-1]
	}
	return strings.TrimSuffix(host, ":")
}

// here is an address of ours that clients have connected to.
type here struct {
	addr netip.Addr
	text string
}

// localAddr is where a client has connected to. The text is kept for the next, who has
// most likely done the same.
func (k *link) localAddr(a net.Addr) (string, int) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return "", 0
	}
	at := tcp.AddrPort()
	if addr := at.Addr().Unmap().WithZone(""); addr != k.here.addr {
		k.here = here{addr, addr.String()}
	}
	return k.here.text, int(at.Port())
}

// clientTLS is what a worker is told of a client's TLS.
type clientTLS struct {
	version, cipher string
	bits            int
	certificate     string // the client's, PEM; "" if it has none
}

// describeTLS is made once for each connection.
func describeTLS(s *tls.ConnectionState) *clientTLS {
	d := &clientTLS{version: "TLSv1.2", cipher: tls.CipherSuiteName(s.CipherSuite), bits: 128}
	if s.Version == tls.VersionTLS13 {
		d.version = "TLSv1.3"
	}
	if strings.Contains(d.cipher, "256_GCM") || strings.Contains(d.cipher, "256_CBC") || strings.Contains(d.cipher, "CHACHA20") {
		d.bits = 256
	}
	if len(s.VerifiedChains) > 0 {
		// The leaf alone: a chain would not fit a packet of 8 KiB.
		d.certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.PeerCertificates[0].Raw}))
	}
	return d
}
