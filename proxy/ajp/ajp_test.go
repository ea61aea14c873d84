package ajp

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/quorate/quorate/proxy/ajp/ajptest"
)

// unhex reads bytes as spec/ajp13.md §17 prints them.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sameBytes(t *testing.T, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%swant\n%s", hex.Dump(got), hex.Dump(want))
	}
}

// The vectors of spec/ajp13.md §17, byte for byte.
func TestForwardVectors(t *testing.T) {
	var f Forward
	f.Begin(nil, &Start{Method: "GET", Path: "/shop/cart", RemoteAddr: "192.0.2.10", ServerName: "www.example.com", ServerPort: 443, TLS: true})
	f.Header("Host", "www.example.com")
	f.Header("Cookie", "JSESSIONID=abc.node1")
	f.Header("X-Req", "7")
	f.Attribute(AttrSecret, "s3cret")
	f.Attribute(AttrQuery, "id=5")
	f.Attribute(AttrRoute, "node1")
	f.Attribute(AttrCipher, "TLS_AES_128_GCM_SHA256")
	f.KeySize(128)
	f.RequestAttribute(SSLProtocol, "TLSv1.3")
	f.RequestNumber(RemotePort, 51234)
	f.RequestAttribute(LocalAddr, "198.51.100.5")
	b, err := f.End(MinPacket)
	if err != nil || len(b) != 272 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	sameBytes(t, b, unhex(t, `1234010c02020008485454502f312e3100000a2f73686f702f6361727400000a
		3139322e302e322e313000ffff000f7777772e6578616d706c652e636f6d0001
		bb010003a00b000f7777772e6578616d706c652e636f6d00a00900144a534553
		53494f4e49443d6162632e6e6f64653100000558
		2d5265710000013700
		0c0006733363726574000500046964
		3d35000600056e6f6465310008
		0016544c535f4145535f3132385f47434d5f534841323536000b0080
		0a0010414a505f53534c5f50524f544f434f4c000007544c5376312e3300
		0a000f414a505f52454d4f54455f504f5254000005353132333400
		0a000e414a505f4c4f43414c5f4144445200000c3139382e35312e3130302e3500ff`))

	post := Start{Method: "POST", Path: "/echo", RemoteAddr: "192.0.2.10", ServerName: "app", ServerPort: 80}
	f.Begin([]byte("before"), &post)
	f.Header("host", "app")
	f.Header("CONTENT-TYPE", "text/plain")
	f.Length(5)
	if b, err = f.End(MinPacket); err != nil {
		t.Error(err)
	}
	b = AppendBody(b, []byte("hello"))
	sameBytes(t, b, append([]byte("before"), unhex(t, `1234004d02040008485454502f312e310000052f6563686f00000a3139322e302e322e313000ffff
		00036170700000500000
		03a00b000361707000a007000a746578742f706c61696e00a00800013500ff
		12340007000568656c6c6f`)...))

	f.Begin(nil, &post)
	f.Header("Host", "app")
	f.Chunked()
	if b, err = f.End(MinPacket); err != nil || len(b) != 90 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	packet := append(make([]byte, BodyHead), "hello"...)
	b = append(b, PutBody(packet, 5)...)
	b = append(b, PutBody(packet, 0)...)
	sameBytes(t, b, unhex(t, `1234005602040008485454502f312e310000052f6563686f00000a3139322e302e322e313000ffff
		0003617070000050000002a00b000361707000
		00115472616e736665722d456e636f64696e670000076368756e6b656400ff
		12340007000568656c6c6f        123400020000`))

	f.Begin(nil, &Start{Method: "PATCH", Path: "/", RemoteAddr: "192.0.2.10", ServerName: "app", ServerPort: 80})
	f.Header("Host", "app")
	f.Length(0)
	if b, err = f.End(MinPacket); err != nil || len(b) != 71 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	sameBytes(t, b, unhex(t, `1234004302ff0008485454502f312e310000012f00000a3139322e302e322e313000ffff
		0003617070000050000002a00b000361707000a00800013000
		0d0005504154434800ff`))
	sameBytes(t, []byte(Ping), unhex(t, "123400010a"))
	sameBytes(t, []byte(Pong), unhex(t, "4142000109"))
}

const vector = `4142003d0400c800033230300000
	03a001000a746578742f706c61696e00a00700144a53455353494f4e49443d6162632e6e6f64653100
	0003582d410000016200
	4142000903000568656c6c6f00        4142000403000000        414200020501`

// tell runs a stream through s, and says what came of it; step bytes more are there
// each time.
func tell(s *Stream, b []byte, step int) string {
	var log strings.Builder
	for at, n := 0, 0; ; {
		event, piece, k, took, err := s.Next(b[at:n])
		at += took
		if err != nil {
			fmt.Fprintf(&log, "%v\n", err)
			return log.String()
		}
		switch event {
		case More:
			if n == len(b) {
				if at != n {
					fmt.Fprintf(&log, "%d left\n", n-at)
				}
				return log.String()
			}
			n = min(len(b), n+step)
		case Headers:
			lines, err := AppendFields(nil, piece)
			fmt.Fprintf(&log, "head %d %q %v\n", k, lines, err)
		case Data:
			log.WriteString(string(piece))
			if s.left == 0 {
				log.WriteString("\n")
			}
		case Flush:
			log.WriteString("flush\n")
		case Ask:
			fmt.Fprintf(&log, "ask %d\n", k)
			s.Sent(1)
		case End:
			fmt.Fprintf(&log, "end %v\n", s.Reusable())
		}
	}
}

func TestStreamVectors(t *testing.T) {
	b := unhex(t, vector)
	want := "head 200 \"Content-Type: text/plain\\r\\nSet-Cookie: JSESSIONID=abc.node1\\r\\nX-A: b\\r\\n\" <nil>\nhello\nflush\nend true\n"
	for step := 1; step <= len(b); step++ { // however it is cut
		var s Stream
		s.Reset(false)
		if got := tell(&s, b, step); got != want {
			t.Fatalf("in steps of %d:\n%s", step, got)
		}
	}
	for _, c := range []struct{ name, hex, want string }{
		{"a bad request of Undertow", "414200080401900000000000 414200020500", "head 400 \"\" <nil>\nend false\n"},
		{"asks", "4142000306 1ffa 4142000306 0005", "ask 8186\nask 5\n"},
		{"flush before the head", "4142000403000000", ""},
		{"data of n + 3", "414200080400c80000000000 41420006030003616263", "head 200 \"\" <nil>\nabc\n"},
		{"an interim head", "414200080400670000000000 414200080400c80000000000", "head 103 \"\" <nil>\nhead 200 \"\" <nil>\n"},
		{"null as a reason and a value", "4142000f0400c8ffff00010003582d41 00ffff", "head 200 \"X-A: \\r\\n\" <nil>\n"},
		{"Status and Transfer-Encoding", hex.EncodeToString([]byte(ajptest.Head(200, "Status", "200", "STATUS", "1", "Transfer-Encoding", "chunked"))),
			"head 200 \"\" <nil>\n"},

		{"the other side's magic", "1234000109", errMagic.Error() + "\n"},
		{"cut off", "41420003", "4 left\n"},
		{"nothing in it", "41420000 41", errLength.Error() + "\n"},
		{"data shorter than its packet", "414200080400c80000000000 4142000903000468656c6c6f00", "head 200 \"\" <nil>\n" + errLength.Error() + "\n"},
		{"data longer than its packet", "414200080400c80000000000 4142000903000768656c6c6f00", "head 200 \"\" <nil>\n" + errLength.Error() + "\n"},
		{"data before the head", "4142000903000568656c6c6f00", errNoHead.Error() + "\n"},
		{"more headers than there are", "414200080400c80000000009", "head 200 \"\" " + errLength.Error() + "\n"},
		{"fewer headers than there are", "4142000f0400c80000000000 0003582d410000", "head 200 \"\" " + errLength.Error() + "\n"},
		{"a string of FFFE", "4142000c0400c8000000 0001fffe5841", "head 200 \"\" " + errString.Error() + "\n"},
		{"a string without its end", "414200080400c80000010000", "head 200 \"\" " + errString.Error() + "\n"},
		{"an unknown code", "4142000d0400c80000000001a00c000000", "head 200 \"\" " + errCode.Error() + "\n"},
		{"type 0B", "414200010b", errType.Error() + "\n"},
		{"CPONG", "4142000109", errType.Error() + "\n"},
		{"bytes behind the end", "414200080400c80000000000 414200020501 41", "head 200 \"\" <nil>\nend true\n" + errBehind.Error() + "\n"},
		{"a second head", "414200080400c80000000000 414200080400c80000000000", "head 200 \"\" <nil>\n" + errHeads.Error() + "\n"},
		{"the end before a head", "414200020501", errNothing.Error() + "\n"},
		{"101", "414200080400650000000000", errStatus.Error() + "\n"},
		{"status 99", "414200080400630000000000", errStatus.Error() + "\n"},
		{"status 600", "414200080402580000000000", errStatus.Error() + "\n"},
		{"a line end in a value", "414200120400c80000000001 0001580000030d0a5800", "head 200 \"X\" " + errValue.Error() + "\n"},
		{"a line end in a name", "414200110400c80000000001 0003580d0a00000000", "head 200 \"\" " + errName.Error() + "\n"},
		{"the end in three bytes", "414200080400c80000000000 41420003050101", "head 200 \"\" <nil>\n" + errLength.Error() + "\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, step := range []int{1, 7, 1000} {
				var s Stream
				s.Reset(false)
				got := tell(&s, unhex(t, c.hex), step)
				if got != c.want || s.Reusable() && strings.Contains(c.want, "ajp:") && c.name != "bytes behind the end" {
					t.Errorf("in steps of %d:\n%swant\n%s", step, got, c.want)
				}
			}
		})
	}
}

// The account of body packets (spec/ajp13.md §15).
func TestBodyAccount(t *testing.T) {
	ask := []byte(ajptest.Ask(10))
	head, end := []byte(ajptest.Head(200)), []byte(ajptest.End)
	next := func(s *Stream, b []byte) error {
		_, _, _, _, err := s.Next(b)
		return err
	}
	var s Stream
	s.Reset(true)
	if !s.Owes() || !s.Due() {
		t.Error("the first packet is owed unasked")
	}
	if next(&s, ask) != nil {
		t.Error("it may ask before that has come")
	}
	s.Sent(5)
	if !s.Owes() || s.Due() {
		t.Error("the first packet is no answer")
	}
	if next(&s, ask) != errAsks {
		t.Error("it may not ask twice at once")
	}
	s.Sent(0)
	if s.Owes() || next(&s, ask) != errAsksOn {
		t.Error("it may not ask behind the end")
	}
	for _, owed := range []bool{true, false} {
		s.Reset(owed)
		if next(&s, head) != nil || !owed && next(&s, ask) != nil || next(&s, end) != nil {
			t.Error("answers may come early")
		}
		if s.Reusable() || s.Owes() {
			t.Error("with a packet owed the connection is not clean")
		}
	}
}

// Every method comes back, every coded name is coded, and lengths are kept.
func TestForwardNames(t *testing.T) {
	var f Forward
	for _, m := range strings.Fields(`OPTIONS GET HEAD POST PUT DELETE TRACE PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK ACL REPORT
		VERSION-CONTROL CHECKIN CHECKOUT UNCHECKOUT SEARCH MKWORKSPACE UPDATE LABEL MERGE BASELINE-CONTROL MKACTIVITY PATCH QUERY get X`) {
		f.Begin(nil, &Start{Method: m, Path: "/", Old: true})
		b, err := f.End(MinPacket)
		q, failed := ajptest.Parse(b[4:])
		if err != nil || failed != nil || q.Method != m || q.Protocol != "HTTP/1.0" {
			t.Errorf("%s: %v, %v, %+v", m, err, failed, q)
		}
		if _, kept := q.Attributes[0x0d]; kept != (m == "PATCH" || m == "QUERY" || m == "get" || m == "X") {
			t.Errorf("%s: stored %v", m, kept)
		}
	}
	names := strings.Fields("Accept Accept-Charset Accept-Encoding Accept-Language Authorization Connection Content-Type Content-Length Cookie Cookie2 Host Pragma Referer User-Agent")
	for i, name := range names {
		for _, n := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			if c := headerCode(n); int(c) != i+1 {
				t.Errorf("%s: code %d", n, c)
			}
		}
		if headerCode(name+"x") != 0 || headerCode(strings.Repeat("x", len(name))) != 0 {
			t.Errorf("what is like %s is none", name)
		}
	}
}

// What does not fit is refused whole; just what fits is sent.
func TestForwardSizes(t *testing.T) {
	fill := func(value string) *Forward {
		var f Forward
		f.Begin(nil, &Start{Method: "GET", Path: "/"})
		f.Header("X", value)
		return &f
	}
	b, err := fill("").End(MinPacket)
	if err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int{MinPacket, 65535, MaxPacket} {
		room := limit - len(b)
		if b, err := fill(strings.Repeat("v", room)).End(limit); err != nil || len(b) != limit {
			t.Errorf("%d of %d: %v", len(b), limit, err)
		}
		_, err := fill(strings.Repeat("v", room+1)).End(limit)
		if e, ok := err.(*SizeError); !ok || e.Size != limit+1 || e.Target {
			t.Errorf("%d: %v", limit, err)
		}
	}
	if _, err := fill(strings.Repeat("v", 70000)).End(MaxPacket); err == nil {
		t.Error("a string of 70,000 bytes has no length")
	}
	var f Forward
	f.Begin(nil, &Start{Method: "GET", Path: "/" + strings.Repeat("p", 5000)})
	f.Attribute(AttrQuery, strings.Repeat("q", 5000))
	if _, err := f.End(MinPacket); err == nil || !err.(*SizeError).Target {
		t.Errorf("the target alone is too long: %v", err)
	}
	f.Begin(nil, &Start{Method: "GET", Path: "/"})
	f.Header(strings.Repeat("n", 256), "")
	if _, err := f.End(MinPacket); err != ErrName {
		t.Error(err)
	}
}

// Ends finds an end that Next would.
func TestEnds(t *testing.T) {
	var s Stream
	s.Reset(false)
	b := unhex(t, vector)
	for n := range len(b) {
		if want := n >= len(b)-1; s.Ends(b[:n]) != want {
			t.Fatalf("%d of %d bytes: %v", n, len(b), !want)
		}
	}
	at := len(b) - 18 // within the data
	for i := 0; i < at; {
		_, _, _, took, err := s.Next(b[i:at])
		if err != nil || took == 0 {
			break
		}
		i += took
	}
	if !s.Ends(b[at:]) {
		t.Error("behind the data that is read")
	}
}

// FuzzStream: whatever a worker sends, nothing panics, cutting it elsewhere says the
// same, and only a whole exchange that ends well is reusable.
func FuzzStream(f *testing.F) {
	f.Add(unhex(f, vector), uint8(1), true)
	f.Add(unhex(f, "414200080401900000000000414200020500"), uint8(3), false)
	f.Add([]byte(ajptest.Ask(10)+ajptest.Head(304)+ajptest.Body("")+ajptest.End), uint8(2), true)
	f.Fuzz(func(t *testing.T, b []byte, step uint8, due bool) {
		var whole, cut Stream
		whole.Reset(due)
		cut.Reset(due)
		one, other := tell(&whole, b, len(b)+1), tell(&cut, b, int(step)+1)
		if strings.ReplaceAll(one, "\n", "") != strings.ReplaceAll(other, "\n", "") || whole.Reusable() != cut.Reusable() {
			t.Fatalf("at once\n%sin steps of %d\n%s", one, int(step)+1, other)
		}
		if whole.Reusable() && !strings.Contains(one, "end true") {
			t.Fatalf("reusable behind\n%s", one)
		}
	})
}

// FuzzForward: a strict reader that knows nothing of the writer reads back what was
// written, or it was refused.
func FuzzForward(f *testing.F) {
	f.Add("GET", "/a", "q=1", "X-A", "b", "s3cret", uint16(443), true, uint16(8192))
	f.Add("PATCH", "/", "", "Cookie", strings.Repeat("c", 9000), "", uint16(80), false, uint16(0))
	f.Fuzz(func(t *testing.T, method, path, query, name, value, secret string, port uint16, secure bool, limit uint16) {
		if method == "" || name == "" {
			return
		}
		size := min(max(int(limit), MinPacket), MaxPacket)
		var w Forward
		w.Begin([]byte("x"), &Start{Method: method, Path: path, RemoteAddr: "::1", ServerName: "h", ServerPort: int(port), TLS: secure})
		w.Header(name, value)
		w.Length(int64(port))
		w.Attribute(AttrQuery, query)
		w.Attribute(AttrSecret, secret)
		w.RequestNumber(RemotePort, int(port))
		b, err := w.End(size)
		if err != nil {
			if len(b) <= size && len(name) <= 255 {
				t.Fatalf("%d bytes refused: %v", len(b), err)
			}
			return
		}
		p, err := ajptest.ReadPacket(bufio.NewReader(bytes.NewReader(b[1:])))
		if err != nil || len(p) != len(b)-5 || len(b)-1 > size {
			t.Fatalf("%d of %d bytes, %v", len(p), len(b), err)
		}
		q, err := ajptest.Parse(p)
		if err != nil {
			t.Fatal(err)
		}
		if headerCode(name) != 0 {
			name = q.Headers[0].Name
		}
		want := []ajptest.Line{{Name: name, Value: value}, {Name: "Content-Length", Value: fmt.Sprint(port)}}
		if q.Method != method || q.URI != path || q.Attributes[5] != query || q.Attributes[12] != secret || q.ServerPort != int(port) ||
			q.TLS != secure || !reflect.DeepEqual(q.Headers, want) || q.Attribute(RemotePort) != fmt.Sprint(port) {
			t.Fatalf("%+v", q)
		}
	})
}

func BenchmarkForward(b *testing.B) {
	var f Forward
	buf := make([]byte, 0, MinPacket)
	start := Start{Method: "GET", Path: "/app/catalogue/items", RemoteAddr: "192.0.2.10", ServerName: "shop.example.com", ServerPort: 443}
	b.ReportAllocs()
	for b.Loop() {
		f.Begin(buf, &start)
		f.Header("Host", "shop.example.com")
		f.Header("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
		f.Header("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
		f.Header("Cookie", "JSESSIONID=0123456789ABCDEF0123456789ABCDEF.w1")
		f.Header("X-Request-Id", "01JDHT2Q0Q9V6Z4E6CW1T3K5MX")
		f.Attribute(AttrQuery, "page=2&sort=price")
		f.RequestNumber(RemotePort, 51234)
		if _, err := f.End(MinPacket); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAnswer(b *testing.B) {
	in := []byte(ajptest.Head(200, "Content-Type", "text/html;charset=UTF-8", "Content-Length", "1024", "Set-Cookie", "JSESSIONID=0123456789ABCDEF.w1; Path=/app") +
		ajptest.Body(strings.Repeat("x", 1024)) + ajptest.End)
	head := make([]byte, 0, 4096)
	var s Stream
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		s.Reset(false)
		for at := 0; at < len(in); {
			event, piece, _, took, err := s.Next(in[at:])
			if err != nil {
				b.Fatal(err)
			}
			if event == Headers {
				if _, err := AppendFields(head, piece); err != nil {
					b.Fatal(err)
				}
			}
			at += took
		}
	}
}

// Neither direction allocates.
func TestAllocations(t *testing.T) {
	for name, run := range map[string]func(*testing.B){"forward": BenchmarkForward, "answer": BenchmarkAnswer} {
		if r := testing.Benchmark(run); r.AllocsPerOp() != 0 {
			t.Errorf("%s: %d allocations", name, r.AllocsPerOp())
		}
	}
}
