package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

// v2 writes a version 2 header.
func v2(command, family byte, addresses []byte, tlvs []byte) string {
	b := slices.Concat(proxyproto.SIGV2, []byte{command, family})
	b = binary.BigEndian.AppendUint16(b, uint16(len(addresses)+len(tlvs)))
	return string(slices.Concat(b, addresses, tlvs))
}

func addresses(src, dst string) []byte {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	b := slices.Concat(s.Addr().AsSlice(), d.Addr().AsSlice())
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, s.Port()), d.Port())
}

func tlv(n int) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0xE0}, uint16(n)), make([]byte, n)...)
}

func TestProxyHeader(t *testing.T) {
	v4, v6 := addresses("192.0.2.7:4711", "198.51.100.1:80"), addresses("[2001:db8::7]:4711", "[2001:db8::1]:80")
	mapped := addresses("[::ffff:192.0.2.7]:4711", "[::ffff:198.51.100.1]:80")
	const local, bad = "local", "bad"
	tests := map[string]struct{ sent, want string }{
		"v1 TCP4":                  {"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n", "192.0.2.7:4711"},
		"v1 TCP6":                  {"PROXY TCP6 2001:db8::7 2001:db8::1 4711 80\r\n", "[2001:db8::7]:4711"},
		"v1 UNKNOWN":               {"PROXY UNKNOWN\r\n", local},
		"v1 UNKNOWN, longest":      {"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", local},
		"v2 TCP4":                  {v2(0x21, 0x11, v4, nil), "192.0.2.7:4711"},
		"v2 TCP6":                  {v2(0x21, 0x21, v6, nil), "[2001:db8::7]:4711"},
		"v2 TCP6, mapped":          {v2(0x21, 0x21, mapped, nil), "192.0.2.7:4711"},
		"v2 TLVs":                  {v2(0x21, 0x11, v4, tlv(1000)), "192.0.2.7:4711"},
		"v2 LOCAL":                 {v2(0x20, 0, nil, nil), local},
		"v2 LOCAL names a client":  {v2(0x20, 0x11, v4, nil), local},
		"v2 LOCAL with TLVs":       {v2(0x20, 0, nil, tlv(20)), local},
		"v2 UDP":                   {v2(0x21, 0x12, v4, nil), local},
		"v2 unix":                  {v2(0x21, 0x31, make([]byte, 216), nil), local},
		"v2 TLVs, too many":        {v2(0x21, 0x11, v4, tlv(5000)), bad},
		"v2 LOCAL, too many":       {v2(0x20, 0, nil, tlv(5000)), bad},
		"v2 version 3":             {v2(0x31, 0x11, v4, nil), bad},
		"v2 command 2":             {v2(0x22, 0x11, v4, nil), bad},
		"v2 family":                {v2(0x21, 0x41, v4, nil), bad},
		"v2 short addresses":       {v2(0x21, 0x11, v4[:8], nil), bad},
		"HTTP":                     {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", bad},
		"HTTP that begins like it": {"PROXY / HTTP/1.1\r\n", bad},
		"a lone P":                 {"P / HTTP/1.1\r\n", bad},
		"TLS":                      {"\x16\x03\x01\x02\x00\x01", bad},
		"v1 without CR":            {"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\n", bad},
		"v1 without end":           {"PROXY TCP4 " + strings.Repeat("1", 100), bad},
		"v1 family":                {"PROXY TCP4 2001:db8::7 2001:db8::1 4711 80\r\n", bad},
		"v1 port":                  {"PROXY TCP4 192.0.2.7 198.51.100.1 65536 80\r\n", bad},
		"v1 two blanks":            {"PROXY  TCP4 192.0.2.7 198.51.100.1 4711 80\r\n", bad},
		"nothing":                  {"", bad},
		"v1 cut":                   {"PROXY TCP4 192.0", bad},
		"v2 cut":                   {v2(0x21, 0x11, v4, nil)[:20], bad},
		"v2 signature cut":         {string(proxyproto.SIGV2[:7]), bad},
	}
	for name, test := range tests {
		for _, behind := range []string{"", "GET / HTTP/1.1\r\n"} {
			if behind != "" {
				name += " with more behind"
			}
			t.Run(name, func(t *testing.T) {
				c, p := plain(t)
				if test.want == bad {
					behind = ""
				}
				say(t, p, test.sent+behind)
				p.CloseWrite()
				src, isLocal, rest, err := ReadProxyHeader(c, time.Now().Add(soon))
				if (err != nil) != (test.want == bad) || isLocal != (test.want == local) {
					t.Fatalf("got %v, local %v, %v", src, isLocal, err)
				}
				if err != nil {
					if !strings.Contains(err.Error(), "read the PROXY header of 127.0.0.1:") {
						t.Fatalf("%q does not say what was tried", err)
					}
					return
				}
				if test.want != local && src != netip.MustParseAddrPort(test.want) || isLocal && src.IsValid() {
					t.Fatalf("got %v, want %s", src, test.want)
				}
				more, err := io.ReadAll(c)
				if got := string(rest) + string(more); got != behind || err != nil {
					t.Fatalf("behind the header: %q, %v", got, err)
				}
			})
		}
	}
}

// A header that comes byte by byte is one all the same, until the deadline.
func TestProxyHeaderSlow(t *testing.T) {
	for _, header := range []string{
		"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n",
		v2(0x21, 0x11, addresses("192.0.2.7:4711", "198.51.100.1:80"), tlv(9)),
	} {
		c, p := plain(t)
		p.SetNoDelay(true)
		go func() {
			for i := range header {
				p.Write([]byte(header[i : i+1]))
			}
		}()
		src, _, rest, err := ReadProxyHeader(c, time.Now().Add(soon))
		if src.String() != "192.0.2.7:4711" || len(rest) > 0 || err != nil {
			t.Fatal(src, rest, err)
		}
	}
	for _, cut := range []string{"", "PROXY TCP4 ", string(proxyproto.SIGV2)} {
		c, p := plain(t)
		say(t, p, cut)
		_, _, _, err := ReadProxyHeader(c, time.Now().Add(20*time.Millisecond))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%q: %v", cut, err)
		}
	}
}

// However the network cuts what a stranger sends, the answer is the same, and nothing
// behind the header is lost.
func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\nGET"))
	f.Add([]byte("PROXY UNKNOWN\r\nGET"))
	f.Add([]byte(v2(0x21, 0x11, addresses("192.0.2.7:4711", "198.51.100.1:80"), tlv(300)) + "GET"))
	f.Add([]byte(v2(0x20, 0, nil, nil)))
	f.Fuzz(func(t *testing.T, sent []byte) {
		type result struct {
			src   netip.AddrPort
			local bool
			rest  string
			ok    bool
		}
		header := func(cut func(io.Reader) io.Reader) result {
			r := cut(bytes.NewReader(sent))
			src, local, rest, err := proxyHeader(r)
			if err != nil {
				return result{}
			}
			return result{src, local, string(rest) + string(must(io.ReadAll(r))), true}
		}
		whole := header(func(r io.Reader) io.Reader { return r })
		if whole.ok && (whole.local == whole.src.IsValid() || !bytes.HasSuffix(sent, []byte(whole.rest))) {
			t.Fatalf("%q: %+v", sent, whole)
		}
		if bytewise := header(iotest.OneByteReader); bytewise != whole {
			t.Fatalf("%q: whole %+v, byte by byte %+v", sent, whole, bytewise)
		}
	})
}
