package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// seeds gives a fuzz target what the corpus holds for a command.
func seeds(f *testing.F, command string) {
	block := regexp.MustCompile(`(?m)^` + command + `.*\n(.*)\n----`)
	files, err := filepath.Glob("testdata/corpus/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, m := range block.FindAllSubmatch(text, -1) {
			if b := message(string(m[1])); len(b) < 2000 {
				f.Add(b, uint16(len(b)/2))
			}
		}
	}
}

// Three laws of request heads: where one is cut changes nothing; written
// canonically it reads as the same; package net/http reads the same in it.
func FuzzRequest(f *testing.F) {
	seeds(f, "request")
	f.Add([]byte(browserHead), uint16(100))
	f.Fuzz(func(t *testing.T, b []byte, at uint16) {
		l := Limits{Line: 200, Header: 1000}
		r, whole := new(Request), bytes.Clone(b)
		n, err := r.Parse(whole, l)
		c, parts := new(Request), bytes.Clone(b)
		m, cerr := c.Parse(parts[:min(int(at), len(b))], l)
		if m == 0 && cerr == nil {
			m, cerr = c.Parse(parts, l)
		}
		if n != m || err != cerr {
			t.Fatalf("whole: %d, %v; cut at %d: %d, %v", n, err, at, m, cerr)
		}
		if err != nil || n == 0 {
			return
		}
		if a, b := show(r, whole), show(c, parts); a != b {
			t.Fatalf("whole: %s, cut at %d: %s", a, at, b)
		}
		again, out := new(Request), writeRequest(nil, r, whole)
		if k, err := again.Parse(out, Limits{}); err != nil || k != len(out) {
			t.Fatalf("written as %q: %d, %v", out, k, err)
		}
		if a, b := show(r, whole), show(again, out); a != b {
			t.Fatalf("read %s, written and read again %s", a, b)
		}
		sameRequest(t, r, whole, b)
	})
}

// sameRequest compares with net/http, which reads b, the head before it was reduced.
func sameRequest(t *testing.T, r *Request, whole, b []byte) {
	t.Helper()
	in := bufio.NewReader(bytes.NewReader(bytes.TrimPrefix(b, []byte("\r\n"))))
	q, err := http.ReadRequest(in)
	if err != nil {
		var escape url.EscapeError
		trailer := slices.ContainsFunc(r.Fields, func(f Field) bool { return f.ID == Trailer })
		target := string(r.Target.Of(whole))
		if _, uerr := url.ParseRequestURI(target); errors.As(uerr, &escape) || trailer || uerr != nil {
			return // escapes are judged with the path, Trailer is dropped
		}
		t.Fatalf("read here, but not by net/http: %v\n%s", err, show(r, whole))
	}
	target := string(r.Target.Of(whole))
	if got := q.RequestURI; got != target && !strings.HasSuffix(got, strings.TrimPrefix(target, "/")) && target != "*" {
		t.Fatalf("target %q, net/http %q", target, got)
	}
	if got := string(r.Method.Of(whole)); got != q.Method {
		t.Fatalf("method %q, net/http %q", got, q.Method)
	}
	if got := string(r.Host.Of(whole)); !strings.EqualFold(got, q.Host) {
		t.Fatalf("host %q, net/http %q", got, q.Host)
	}
	if q.ProtoMajor != 1 || q.ProtoMinor != int(r.Minor) {
		t.Fatalf("1.%d, net/http %s", r.Minor, q.Proto)
	}
	if q.ContentLength != r.Length {
		t.Fatalf("length %d, net/http %d", r.Length, q.ContentLength)
	}
	if chunked := len(q.TransferEncoding) > 0; chunked != (r.Length == -1) {
		t.Fatalf("length %d, net/http %v", r.Length, q.TransferEncoding)
	}
	sameFields(t, r.Fields, whole, q.Header)
}

func sameFields(t *testing.T, fields []Field, b []byte, h http.Header) {
	t.Helper()
	got := http.Header{}
	for _, f := range fields {
		switch k := textproto.CanonicalMIMEHeaderKey(string(f.Name.Of(b))); k {
		case "Host", "Transfer-Encoding", "Trailer", "Content-Length", "Connection": // net/http keeps some elsewhere
			h.Del(k)
		case "Pragma", "Cache-Control": // to one it adds the other
			h.Del("Pragma")
			h.Del("Cache-Control")
		default:
			got.Add(k, string(f.Value.Of(b)))
		}
	}
	if !reflect.DeepEqual(got, h) {
		t.Fatalf("fields %q, net/http %q", got, h)
	}
}

// The same laws of answers.
func FuzzResponse(f *testing.F) {
	seeds(f, "response")
	f.Add([]byte(workerHead), uint16(100))
	f.Fuzz(func(t *testing.T, b []byte, at uint16) {
		for _, head := range []bool{false, true} {
			response(t, b, int(at), head)
		}
	})
}

func response(t *testing.T, b []byte, at int, head bool) {
	l := Limits{Line: 200, Header: 1000}
	var r, c Response
	r.Reset()
	c.Reset()
	r.Head, c.Head = head, head
	n, err := r.Parse(b, l)
	m, cerr := c.Parse(b[:min(at, len(b))], l)
	if m == 0 && cerr == nil {
		m, cerr = c.Parse(b, l)
	}
	if n != m || err != cerr {
		t.Fatalf("whole: %d, %v; cut at %d: %d, %v", n, err, at, m, cerr)
	}
	if err != nil || n == 0 {
		return
	}
	if a, b := show(&r, b), show(&c, b); a != b {
		t.Fatalf("whole: %s, cut at %d: %s", a, at, b)
	}
	method := "GET"
	if head {
		method = "HEAD"
	}
	q, rerr := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), &http.Request{Method: method})
	kind, length := r.Body()
	if rerr != nil {
		// Where no body can be, its framing is judged by net/http alone; Trailer is dropped.
		if kind == NoBody || slices.ContainsFunc(r.Fields, func(f Field) bool { return f.ID == Trailer }) {
			return
		}
		t.Fatalf("read here, but not by net/http: %v\n%s", rerr, show(&r, b))
	}
	defer q.Body.Close()
	if q.StatusCode != r.Status || q.ProtoMajor != 1 || q.ProtoMinor != int(r.Minor) {
		t.Fatalf("%d 1.%d, net/http %s %s", r.Status, r.Minor, q.Proto, q.Status)
	}
	got := NoBody
	switch {
	case head || q.Body == http.NoBody || q.ContentLength == 0:
	case len(q.TransferEncoding) > 0:
		got = ByChunks
	case q.ContentLength > 0:
		got = ByLength
	default:
		got = UntilClose
	}
	if r.Status == http.StatusSwitchingProtocols {
		kind = got // net/http gives the tunnel as a body
	}
	if got != kind || kind == ByLength && q.ContentLength != length {
		t.Fatalf("body %d of %d, net/http %d of %d", kind, length, got, q.ContentLength)
	}
	sameFields(t, r.Fields, b, q.Header)
}

// What is decoded net/http decodes to the same; where it is cut and how much room
// there is changes nothing; encoded again it decodes to the same.
func FuzzChunked(f *testing.F) {
	seeds(f, "chunks")
	f.Fuzz(func(t *testing.T, b []byte, at uint16) {
		if len(b) > 2000 {
			return // nothing new, and a byte at a time takes long
		}
		const overhead = 500
		want := decode(b, overhead, 0, len(b))
		cut := min(int(at), len(b))
		for room := range 3 {
			if got := decode(b, overhead, room, cut, len(b)); !reflect.DeepEqual(got, want) {
				t.Fatalf("whole: %+v; cut at %d, with room %d: %+v", want, cut, room, got)
			}
		}
		theirs, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(b)))
		if want.err == nil && !strings.HasPrefix(string(theirs), want.body) {
			t.Fatalf("%q, net/http %q", want.body, theirs)
		}
		if !want.done {
			return
		}
		if err != nil || want.body != string(theirs) {
			t.Fatalf("%q, net/http %q, %v", want.body, theirs, err)
		}
		var out []byte
		for part := range slices.Chunk([]byte(want.body), 7) {
			out = append(append(AppendChunkHead(out, len(part)), part...), "\r\n"...)
		}
		out = append(AppendChunkHead(out, 0), "\r\n"...)
		if got := decode(out, 1, 0, len(out)); got.body != want.body || !got.done || got.took != len(out) {
			t.Fatalf("%q encoded as %q: %+v", want.body, out, got)
		}
	})
}

// What is written for HTTP/2 is read back as the same, or was refused.
func FuzzAppendHead(f *testing.F) {
	f.Add("GET", "/a?b", "a:80", "x", " y ")
	f.Add("GET /x HTTP/1.1", "/ HTTP/1.1\r\nX: y", "a\r\n", "x:", "y\r\nz")
	f.Fuzz(func(t *testing.T, method, target, authority, name, value string) {
		b, err := AppendHead(nil, method, target, authority)
		if err != nil {
			return
		}
		b, err = AppendHeadField(b, name, value)
		if err != nil {
			return
		}
		b = append(b, "\r\n"...)
		var r Request
		n, err := r.Parse(b, Limits{})
		if err != nil {
			switch err {
			case errConnect, errAsterisk, errExpect: // right to read, wrong to ask
				return
			}
			t.Fatalf("%q: %v", b, err)
		}
		if n != len(b) || len(r.Fields) != 2 || r.Length != 0 || string(r.Method.Of(b)) != method ||
			string(r.Target.Of(b)) != target || string(r.Host.Of(b)) != authority ||
			string(r.Fields[1].Name.Of(b)) != name || string(r.Fields[1].Value.Of(b)) != strings.Trim(value, " \t") {
			t.Fatalf("%q came back as %s", b, show(&r, b))
		}
	})
}

// An address in brackets is what netip takes for one, without a zone.
func FuzzIPv6(f *testing.F) {
	for _, s := range []string{"::", "::1", "1::", "1:2:3:4:5:6:7:8", "::1.2.3.4", "1:2:3:4:5:6:1.2.3.4", ":::", "1:::2", "::1::", "1.2.3.4", "12345::", ":1", "1:", "::01.2.3.4", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8:9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := netip.ParseAddr(s)
		want := err == nil && a.Is6() && a.Zone() == ""
		if got := ValidHost("[" + s + "]"); got != want && !strings.Contains(s, "%") {
			t.Fatalf("%q: %t, netip says %t", s, got, want)
		}
	})
}
