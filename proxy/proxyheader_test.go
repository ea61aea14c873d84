package proxy

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// prefixed is a connection whose first write carries something before it.
type prefixed struct {
	net.Conn
	before string
}

func (p *prefixed) Write(b []byte) (int, error) {
	n := len(p.before)
	if n == 0 {
		return p.Conn.Write(b)
	}
	k, err := p.Conn.Write(append([]byte(p.before), b...))
	p.before = ""
	return max(k-n, 0), err
}

// header2 is a PROXY header of version 2.
func header2(command, family byte, addresses string) string {
	b := []byte("\r\n\r\n\x00\r\nQUIT\n")
	b = append(b, 0x20|command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(addresses)))
	return string(b) + addresses
}

const (
	v4  = "\xc0\x00\x02\x07" + "\xc0\x00\x02\x01" + "\x12\x34" + "\x00\x50" // 192.0.2.7 to 192.0.2.1
	v6  = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" + "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\x12\x34" + "\x00\x50"
	tlv = "\x04\x00\x03abc" // PP2_TYPE_NOOP
)

// runProxied starts a Proxy whose listeners, plain and with TLS, want a PROXY header.
func runProxied(t *testing.T, trusted string, change func(*Config)) (r *rig, secure string) {
	r, secure, _ = runTLS(t, func(c *Config) {
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix(trusted)}
		c.Listeners[0].Protocols = []string{"h2", "http/1.1"}
		for i := range c.Listeners {
			c.Listeners[i].ProxyProtocol = true
		}
		if change != nil {
			change(c)
		}
	})
	r.register("w1", startWorker(t, func(c net.Conn, q *received) bool {
		return named(q.value("X-Forwarded-For")+" "+q.value("X-Forwarded-Proto")+".")(c, q)
	}))
	return r, secure
}

// The client is who the PROXY header names, in HTTP/1 and HTTP/2, plain and by TLS,
// whatever comes in one packet with it.
func TestProxyHeader(t *testing.T) {
	r, secure := runProxied(t, "127.0.0.0/8", nil)
	insecure := &tls.Config{InsecureSkipVerify: true}
	for name, c := range map[string]struct{ header, from string }{
		"v1":                   {"PROXY TCP4 192.0.2.7 192.0.2.1 4660 80\r\n", "192.0.2.7"},
		"v1, IPv6":             {"PROXY TCP6 2001:db8::7 2001:db8::1 4660 80\r\n", "2001:db8::7"},
		"v1, unknown":          {"PROXY UNKNOWN\r\n", "127.0.0.1"},
		"v1, unknown, ffff":    {"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", "127.0.0.1"},
		"v2":                   {header2(1, 0x11, v4), "192.0.2.7"},
		"v2, IPv6":             {header2(1, 0x21, v6), "2001:db8::7"},
		"v2, more":             {header2(1, 0x11, v4+tlv), "192.0.2.7"},
		"v2, LOCAL":            {header2(0, 0, ""), "127.0.0.1"},
		"v2, LOCAL, addresses": {header2(0, 0x11, v4), "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			// In one packet with the request, then without.
			for _, text := range []string{c.header, ""} {
				conn := &prefixed{dial(t, r.addr), text}
				if text == "" {
					for i := range len(c.header) {
						io.WriteString(conn, c.header[i:i+1])
					}
				}
				in := bufio.NewReader(conn)
				for range 2 {
					io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n")
					want := c.from + " http."
					if c.from == "127.0.0.1" { // who sends the header is trusted, and so are its fields
						want = "203.0.113.9, 127.0.0.1 http."
					}
					resp, err := http.ReadResponse(in, nil)
					if err != nil {
						t.Fatal(err)
					}
					if b, err := io.ReadAll(resp.Body); string(b) != want || err != nil {
						t.Errorf("HTTP/1: %q %v, want %q", b, err, want)
					}
				}
			}
			over := tls.Client(&prefixed{dial(t, secure), c.header}, &tls.Config{InsecureSkipVerify: true})
			in := bufio.NewReader(over)
			for range 2 {
				io.WriteString(over, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatal(err)
				}
				if b, err := io.ReadAll(resp.Body); string(b) != c.from+" https." || err != nil {
					t.Errorf("TLS: %q %v", b, err)
				}
			}
			insecure := insecure.Clone()
			insecure.NextProtos = []string{"h2"}
			for scheme, p := range map[string]*h2Peer{
				"http":  speakH2(t, &prefixed{dial(t, r.addr), c.header}),
				"https": speakH2(t, tls.Client(&prefixed{dial(t, secure), c.header}, insecure)),
			} {
				p.ask(1, true, "GET", "/")
				if a := p.answer(1); a.body != c.from+" "+scheme+"." {
					t.Errorf("HTTP/2, %s: %+v", scheme, a)
				}
			}
		})
	}
}

// Who may not send the header, sends none, or is too slow, gets nothing.
func TestProxyHeaderRefused(t *testing.T) {
	const get, header = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "PROXY TCP4 192.0.2.7 192.0.2.1 4660 80\r\n"
	for name, c := range map[string]struct{ trusted, text string }{
		"not trusted":          {"10.0.0.0/8", header + get},
		"no header":            {"127.0.0.0/8", get},
		"a preface":            {"127.0.0.0/8", preface},
		"a hello":              {"127.0.0.0/8", "\x16\x03\x01\x00\x05hello"},
		"v1, rubbish":          {"127.0.0.0/8", "PROXY TCP4 192.0.2 x 1 2\r\n" + get},
		"v1, no end":           {"127.0.0.0/8", "PROXY TCP4 " + strings.Repeat("1", 200)},
		"v1, begun":            {"127.0.0.0/8", "PROXY TCP4 192.0.2.7"},
		"v1, bad port":         {"127.0.0.0/8", "PROXY TCP4 192.0.2.7 192.0.2.1 99999 80\r\n" + get},
		"v2, version 3":        {"127.0.0.0/8", strings.Replace(header2(1, 0x11, v4), "QUIT\n\x21", "QUIT\n\x31", 1) + get},
		"v2, addresses cut":    {"127.0.0.0/8", header2(1, 0x11, v4[:8]) + get},
		"v2, unspecified":      {"127.0.0.0/8", header2(1, 0, "") + get},
		"v2, begun":            {"127.0.0.0/8", header2(1, 0x11, v4)[:20]},
		"v2, signature spoilt": {"127.0.0.0/8", "\r\n\r\n\x00\r\nQUIT\r" + get},
		"nothing":              {"127.0.0.0/8", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, secure := runProxied(t, c.trusted, func(conf *Config) { conf.Timeouts.Header = 100 * time.Millisecond })
			for _, addr := range []string{r.addr, secure} {
				conn := dial(t, addr)
				io.WriteString(conn, c.text) // it may be refused before it has all been written
				if b, err := io.ReadAll(conn.r); len(b) > 0 || isTimeout(err) {
					t.Errorf("%q %v", b, err)
				}
			}
			eventually(t, "they are gone", func() bool { return r.Stats().ClientConnections == 0 })
			if n := len(r.table.Load().Nodes()); n != 1 || r.Stats().InFlight != 0 {
				t.Errorf("%d nodes, %d in flight", n, r.Stats().InFlight)
			}
		})
	}
}

// Plain requests are sent to the TLS listener, with all they have.
func TestRedirectToHTTPS(t *testing.T) {
	r, secure, _ := runTLS(t, func(c *Config) {
		c.Listeners[0].RedirectToHTTPS = true
		c.Listeners[0].Protocols = []string{"h2", "http/1.1"}
		c.ReadyPath = "/.ready"
	})
	w := startWorker(t, named("w1"))
	r.register("w1", w)
	_, port, _ := net.SplitHostPort(secure)
	for _, c := range []struct {
		request, location string
		status            int
		closes            bool
	}{
		{"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "https://localhost:" + port + "/", 308, false},
		{"GET /a;b/c%20d?e=f&g HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", "https://localhost:" + port + "/a;b/c%20d?e=f&g", 308, false},
		{"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "https://[::1]:" + port + "/", 308, false},
		{"GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n", "https://[::1]:" + port + "/", 308, false},
		{"HEAD /x HTTP/1.1\r\nHost: localhost\r\n\r\n", "https://localhost:" + port + "/x", 308, false},
		{"GET http://localhost/x HTTP/1.1\r\nHost: localhost\r\n\r\n", "https://localhost:" + port + "/x", 308, false},
		{"GET //evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", "https://localhost:" + port + "//evil.example/", 308, false},
		{"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello", "https://localhost:" + port + "/", 308, false},
		{"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n\r\nhello", "https://localhost:" + port + "/", 308, true},
		{"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", "https://localhost:" + port + "/", 308, true},
		{"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n", "https://localhost:" + port + "/", 308, true},
		{"GET / HTTP/1.0\r\n\r\n", "", 400, true},
		{"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", "", 400, true},
		{"CONFIG / HTTP/1.1\r\nHost: localhost\r\n\r\n", "", 405, false},
		{"GET /\x01 HTTP/1.1\r\nHost: localhost\r\n\r\n", "", 400, true},
	} {
		a := r.do(c.request)
		if a.StatusCode != c.status || a.Header.Get("Location") != c.location || a.Close != c.closes {
			t.Errorf("%q: %s to %q, closes %v", c.request, a.Status, a.Header.Get("Location"), a.Close)
		}
	}
	p := dialH2(t, r.addr, nil)
	p.ask(1, true, "GET", "/x?y")
	if a := p.answer(1); a.status != 308 || a.fields["location"] != "https://localhost:"+port+"/x?y" {
		t.Errorf("%+v", a)
	}
	if len(w.requests()) > 0 {
		t.Error("a worker was asked")
	}
}
