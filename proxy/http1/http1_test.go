package http1

import (
	"net/http"
	"strings"
	"testing"
	"unsafe"
)

// parse reads a whole head.
func parse(t *testing.T, head string) *Request {
	t.Helper()
	r := new(Request)
	if n, err := r.Parse([]byte(head), Limits{}); err != nil || n != len(head) {
		t.Fatalf("%q: %d, %v", head, n, err)
	}
	return r
}

func TestStarted(t *testing.T) {
	for _, c := range []struct {
		read string
		want bool
	}{{"", false}, {"\r", false}, {"\r\n", false}, {"\r\nG", true}, {"G", true}, {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true}} {
		var r Request
		if _, err := r.Parse([]byte(c.read), Limits{}); err != nil {
			t.Fatal(err)
		}
		if got := r.Started(); got != c.want {
			t.Errorf("%q: %t", c.read, got)
		}
	}
}

// A byte that no message can go on with is refused when it is the last that came.
func TestRefusedWhenSeen(t *testing.T) {
	for _, head := range []string{
		"\n", "\r\n\r", "\r\r", " ", "G@", "G\r", "GET  ", "GET /\x00", "GET /a b", "GET /\xff", "GET /#", "GET /\\",
		"GET / h", "GET / HTTP/x", "GET / HTTP/1.1 ", "GET / HTTP/1.1\n", "GET / HTTP/1.1\r ", "GET / HTTP/1.2\r\n",
		"GET / HTTP/1.1\r\n ", "GET / HTTP/1.1\r\n:", "GET / HTTP/1.1\r\nX ", "GET / HTTP/1.1\r\nX\r", "GET / HTTP/1.1\r\nX: \x00",
		"GET / HTTP/1.1\r\nX: y\n", "GET / HTTP/1.1\r\nX: y\rz", "GET / HTTP/1.1\r\nX: y\r\n\t", "GET / HTTP/1.1\r\nHost: a@b\r\n",
		"GET / HTTP/1.1\r\nContent-Length: x\r\n", "GET / HTTP/1.1\r\nExpect: x\r\n",
	} {
		var r Request
		for i := range head {
			_, err := r.Parse([]byte(head[:i+1]), Limits{})
			if last := i == len(head)-1; (err != nil) != last {
				t.Errorf("%q: %v after %d bytes", head, err, i+1)
				break
			}
		}
	}
	for _, head := range []string{"h", "HTTP/2", "HTTP/1.1\t", "HTTP/1.1 2x", "HTTP/1.1 2000", "HTTP/1.1 200 \n", "HTTP/1.1 200 OK\r\n ", "HTTP/1.1 200 OK\r\nX\x00"} {
		var r Response
		r.Reset()
		for i := range head {
			_, err := r.Parse([]byte(head[:i+1]), Limits{})
			if last := i == len(head)-1; (err != nil) != last {
				t.Errorf("%q: %v after %d bytes", head, err, i+1)
				break
			}
		}
	}
}

// After a head the same value reads the next one, and nothing of the first is left.
func TestReset(t *testing.T) {
	r := parse(t, "POST http://a/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close, upgrade\r\nUpgrade: x\r\nTE: trailers\r\nExpect: 100-continue\r\n\r\n")
	if _, err := r.Parse(nil, Limits{}); err != nil {
		t.Errorf("a second call after the end: %v", err)
	}
	r.Reset()
	head := "GET / HTTP/1.0\r\n\r\n"
	if n, err := r.Parse([]byte(head), Limits{}); n != len(head) || err != nil {
		t.Fatal(n, err)
	}
	if got, want := show(r, []byte(head)), "GET / 1.0 host=\"\" none\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	var a Response
	a.Reset()
	answer := "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nKeep-Alive: timeout=3\r\nUpgrade: x\r\nConnection: close, upgrade\r\n\r\n"
	if _, err := a.Parse([]byte(answer), Limits{}); err != nil {
		t.Fatal(err)
	}
	a.Reset()
	answer = "HTTP/1.0 404 \r\n\r\n"
	if n, err := a.Parse([]byte(answer), Limits{}); n != len(answer) || err != nil {
		t.Fatal(n, err)
	}
	if got, want := show(&a, []byte(answer)), "404 \"\" 1.0 until-close\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// An array of fields that grew beyond what is usual is let go.
func TestResetLetsGo(t *testing.T) {
	r := parse(t, "GET / HTTP/1.1\r\nHost: a\r\n"+strings.Repeat("X: y\r\n", 5000)+"\r\n")
	if len(r.Fields) != 5001 {
		t.Fatalf("%d fields", len(r.Fields))
	}
	if r.Reset(); cap(r.Fields) > keptFields {
		t.Errorf("%d fields kept", cap(r.Fields))
	}
	if size := unsafe.Sizeof(Field{}); size > 20 {
		t.Errorf("a Field takes %d bytes", size)
	}
}

func TestNothingAllocated(t *testing.T) {
	head, answer := []byte(browserHead), []byte(workerHead)
	bad := []byte("GET / HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: x\r\n\r\n")
	chunked := []byte("5;x\r\nhello\r\n0\r\n\r\n")
	trailers := []byte("0\r\nX: y\r\n\r\n")
	out, dst := make([]byte, 0, 4096), make([]byte, 0, 64)
	var r Request
	var a Response
	var c Chunked
	if n := testing.AllocsPerRun(100, func() {
		r.Reset()
		if _, err := r.Parse(head, Limits{}); err != nil {
			t.Error(err)
		}
		out = writeRequest(out[:0], &r, head)
		out = AppendChunkHead(AppendUint(out, 7), 5)
		out, _ = AppendHead(out, "GET", "/", "a")
		out, _ = AppendHeadField(out, "x", " y ")
		r.Reset()
		if _, err := r.Parse(bad, Limits{}); err == nil {
			t.Error("read")
		}
		a.Reset()
		if _, err := a.Parse(answer, Limits{}); err != nil {
			t.Error(err)
		}
		for _, body := range [][]byte{chunked, trailers} {
			c.Reset(100)
			if _, _, done, err := c.Decode(dst, body); !done || err != nil {
				t.Error(done, err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestNames(t *testing.T) {
	names := map[string]Name{
		"Host": Host, "Content-Length": ContentLength, "Transfer-Encoding": TransferEncoding, "Expect": Expect,
		"Connection": Connection, "Keep-Alive": KeepAlive, "Proxy-Connection": ProxyConnection,
		"Proxy-Authorization": ProxyAuthorization, "TE": TE, "Trailer": Trailer, "Upgrade": Upgrade,
		"HTTP2-Settings": HTTP2Settings, "Proxy": Proxy, "Forwarded": Forwarded, "X-Forwarded-For": XForwardedFor,
		"X-Forwarded-Host": XForwardedHost, "X-Forwarded-Proto": XForwardedProto, "X-Forwarded-Port": XForwardedPort,
		"X-Forwarded-Server": XForwardedServer, "X-Forwarded-Prefix": XForwardedOther, "X-Forwarded-": XForwardedOther,
		"X-Real-IP": XRealIP, "X-Original-URL": XOriginalURL, "X-Rewrite-URL": XRewriteURL, "X-Request-Id": XRequestID,
		"Cookie": Cookie, "Authorization": Authorization, "User-Agent": UserAgent, "Referer": Referer, "Date": Date,
		"Set-Cookie": SetCookie, "Location": Location, "Content-Type": ContentType, "Server": Server,
	}
	seen := map[Name]bool{}
	for s, want := range names {
		seen[want] = true
		for _, s := range []string{s, strings.ToLower(s), strings.ToUpper(s)} {
			if got := NameOf(s); got != want {
				t.Errorf("%s is %d, not %d", s, got, want)
			}
		}
		if want == XForwardedOther {
			continue
		}
		// One byte other, more or less: another name. CR for "-" must not do.
		for i := range s {
			for _, c := range []string{"", "\r", "_", "\x00", s[i:i+1] + s[i:i+1]} {
				if other := s[:i] + c + s[i+1:]; other != s && NameOf(other) == want {
					t.Errorf("%q is taken for %s", other, s)
				}
			}
		}
	}
	for n := Host; n <= Server; n++ {
		if !seen[n] {
			t.Errorf("no name is %d", n)
		}
	}
	for _, s := range []string{"", "X", "Accept", "Hos", "Via"} {
		if NameOf(s) != Other {
			t.Errorf("%q is known", s)
		}
	}
}

func TestTrailerAllowed(t *testing.T) {
	allowed := func(name string) bool {
		var c Chunked
		c.Reset(0)
		if _, _, done, err := c.Decode(nil, []byte("0\r\n"+name+": x\r\n\r\n")); !done || err != nil {
			t.Fatal(name, done, err)
		}
		return TrailerAllowed(&c.Fields[0], c.Trailers)
	}
	for _, name := range []string{"Grpc-Status", "Server-Timing", "Digest", "ETag", "X-Checksum", "Ifx"} {
		if !allowed(name) {
			t.Errorf("%s is not", name)
		}
	}
	for _, name := range []string{
		"Content-Length", "transfer-encoding", "Host", "TE", "Trailer", "Connection", "Keep-Alive", "Upgrade", "Expect", // framing, hop-by-hop
		"Authorization", "Proxy-Authorization", "WWW-Authenticate", "Cookie", "Set-Cookie", "Location", "Proxy",
		"Forwarded", "X-Forwarded-For", "X-Forwarded-Any", "X-Real-IP", "X-Original-URL", "X-Request-Id",
		"Content-Encoding", "Content-Range", "Content-Type", "Cache-Control", "Range", "If-Match", "if-none-match",
		"Vary", "Retry-After", "X_Y", "Grpc_Status",
	} {
		if allowed(name) {
			t.Errorf("%s is", name)
		}
	}
}

// Decode says what it could not take, and goes on with it.
func TestChunkedRoom(t *testing.T) {
	var c Chunked
	c.Reset(0)
	src := []byte("5\r\nhello\r\n0\r\n\r\nmore")
	dst := make([]byte, 2, 4)
	wrote, took, done, err := c.Decode(dst, src)
	if wrote != 2 || took != 5 || done || err != nil || string(dst[2:4]) != "he" {
		t.Fatal(wrote, took, done, err, string(dst[:4]))
	}
	if wrote, took, _, _ := c.Decode(dst[:4], src[5:]); wrote != 0 || took != 0 {
		t.Fatal("full, and went on:", wrote, took)
	}
	wrote, took, done, err = c.Decode(dst[:0], src[5:])
	if wrote != 3 || string(src[5+took:]) != "more" || !done || err != nil {
		t.Fatal(wrote, took, done, err)
	}
	if wrote, took, done, err := c.Decode(dst[:0], src); wrote != 0 || took != 0 || !done || err != nil {
		t.Fatal("after the end:", wrote, took, done, err)
	}
}

func TestWrite(t *testing.T) {
	b := AppendField(nil, "A", "b")
	b = AppendField(b, []byte("C"), []byte("d"))
	b = AppendChunkHead(b, 0x1a2b)
	b = AppendUint(b, 1<<63)
	if got, want := string(b), "A: b\r\nC: d\r\n1a2b\r\n9223372036854775808"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestStatusText(t *testing.T) {
	for status := range 1000 {
		got, want := StatusText(status), http.StatusText(status)
		if status == 418 || strings.EqualFold(got, want) {
			continue
		}
		t.Errorf("%d is %q, not %q", status, got, want)
	}
}

func TestAppendHead(t *testing.T) {
	for _, c := range []struct{ method, target, authority string }{
		{"GET", "/", "a"}, {"OPTIONS", "*", "a:80"}, {"PATCH", "/a?b\\c", "[::1]:443"}, {"M-SEARCH", "//a", "A_b"},
	} {
		b, err := AppendHead(nil, c.method, c.target, c.authority)
		if err != nil {
			t.Errorf("%v: %v", c, err)
			continue
		}
		b = append(b, "\r\n"...)
		r := parse(t, string(b))
		if string(r.Method.Of(b)) != c.method || string(r.Target.Of(b)) != c.target || string(r.Host.Of(b)) != c.authority {
			t.Errorf("%v came back as %q", c, b)
		}
	}
	for _, c := range []struct{ method, target, authority string }{ // http-notes §11
		{"GET /x HTTP/1.1", "/", "a"}, {"", "/", "a"}, {"G\r\nX", "/", "a"}, {"G:", "/", "a"},
		{"GET", "", "a"}, {"GET", "x", "a"}, {"GET", "/ x", "a"}, {"GET", "/#", "a"}, {"GET", "/\\", "a"}, {"GET", "/\x80", "a"},
		{"GET", "/\r\n", "a"}, {"GET", "http://a/", "a"}, {"GET", "/ HTTP/1.1\r\nX: y", "a"}, {"GET", "/\x00", "a"}, {"GET", "**", "a"},
		{"GET", "/", ""}, {"GET", "/", "a b"}, {"GET", "/", "a/b"}, {"GET", "/", "u@a"}, {"GET", "/", "a,b"}, {"GET", "/", "a\r\nX: y"}, {"GET", "/", "a\nb"},
	} {
		if b, err := AppendHead(nil, c.method, c.target, c.authority); err == nil || len(b) > 0 {
			t.Errorf("%q written as %q, %v", c, b, err)
		}
	}
}

func TestAppendHeadField(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"accept", "*/*", "accept: */*\r\n"}, {"x", " \ty\t ", "x: y\r\n"}, {"x", "", "x: \r\n"}, {"x", "\xff", "x: \xff\r\n"},
		{"x_y", "z", "x_y: z\r\n"}, {"te", "Trailers", "te: Trailers\r\n"}, {"cookie", "a=b\tc", "cookie: a=b\tc\r\n"},
		{"", "y", ""}, {"x ", "y", ""}, {"x:", "y", ""}, {"x\r\n", "y", ""}, {"x\x80", "y", ""}, {":path", "/", ""},
		{"x", "y\r\nZ: w", ""}, {"x", "y\n", ""}, {"x", "\x00", ""}, {"x", "\x7f", ""},
		{"host", "a", ""}, {"content-length", "5", ""}, {"transfer-encoding", "chunked", ""}, {"connection", "close", ""},
		{"keep-alive", "timeout=5", ""}, {"proxy-connection", "close", ""}, {"upgrade", "h2c", ""}, {"http2-settings", "x", "http2-settings: x\r\n"}, {"te", "gzip", ""},
	} {
		b, err := AppendHeadField(nil, c.name, c.value)
		if string(b) != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q: %q gives %q, %v", c.name, c.value, b, err)
		}
	}
}

func TestValid(t *testing.T) {
	for s, want := range map[string]bool{"": false, "GET": true, "a b": false, "a\x00": false, "!~": true, "é": false} {
		if ValidMethod(s) != want || ValidFieldName([]byte(s)) != want {
			t.Errorf("token %q: not %t", s, want)
		}
	}
	for s, want := range map[string]bool{"": true, "a b\tc\xff": true, " a": false, "a\t": false, "a\r": false, "a\n": false, "\x00": false, "\x7f": false} {
		if ValidFieldValue(s) != want || ValidFieldValue([]byte(s)) != want {
			t.Errorf("value %q: not %t", s, want)
		}
	}
}
