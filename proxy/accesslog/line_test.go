package accesslog

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// usual is a record as most are, with what an operator may add.
func usual() Record {
	return Record{
		Time:     time.Date(2026, 11, 24, 21, 9, 40, 123_456_789, time.UTC),
		Listener: "0.0.0.0:8080", Client: "10.0.0.7", Host: "shop.example", Method: "GET", Path: "/cart/items", Query: "id=1&page=2", Protocol: "HTTP/1.1",
		Status: 200, BytesIn: 310, BytesOut: 14563, Duration: 38_120_999, Connect: -1, Response: 36_002_000,
		Balancer: "mycluster", Context: "/cart", Worker: "app-1", Attempts: 1, Index: 8412, RequestID: "01JDG7Q4M8Z5W2N3R6T9X0V1B2",
		UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", Referer: "https://shop.example/",
	}
}

// failed is one with everything in it that is rare.
func failed() Record {
	r := usual()
	r.Time = r.Time.Add(883 * time.Millisecond)
	r.Status, r.BytesOut, r.Duration, r.Connect = 502, 51, 3012*time.Millisecond, 310*time.Microsecond
	r.RouteWanted, r.RouteChanged, r.Attempts, r.ClosedBy = "app-4", true, 2, "worker"
	r.Error = `read answer: "EOF"`
	return r
}

func asJSON(r Record, x extra) string {
	var n line
	n.json(&r, x)
	return string(n.b)
}

func asText(r Record, x extra) string {
	var n line
	n.text(&r, x)
	return string(n.b)
}

func TestJSON(t *testing.T) {
	bad := Record{Time: time.Unix(0, 1999), Listener: ":1", Client: "::1", Status: 400, Duration: 1999, Connect: -1, Response: -1,
		UserAgent: "\x00\t\n\"\\\x7f\x80caf\xe9 café \u0085\u2028\U0001F600\xff", Referer: "<a>&'/"}
	for _, c := range []struct {
		name string
		r    Record
		x    extra
		want string
	}{
		{"usual", usual(), extra{}, `{"time":"2026-11-24T21:09:40.123456Z","listener":"0.0.0.0:8080","client":"10.0.0.7","host":"shop.example","method":"GET","path":"/cart/items","query":"id=1&page=2","protocol":"HTTP/1.1","status":200,"bytes_in":310,"bytes_out":14563,"duration":0.038120,"response_duration":0.036002,"balancer":"mycluster","context":"/cart","worker":"app-1","route_changed":false,"attempts":1,"index":8412,"request_id":"01JDG7Q4M8Z5W2N3R6T9X0V1B2"}`},
		{"failed", failed(), extra{userAgent: true, referer: true}, `{"time":"2026-11-24T21:09:41.006456Z","listener":"0.0.0.0:8080","client":"10.0.0.7","host":"shop.example","method":"GET","path":"/cart/items","query":"id=1&page=2","protocol":"HTTP/1.1","status":502,"bytes_in":310,"bytes_out":51,"duration":3.012000,"connect_duration":0.000310,"response_duration":0.036002,"balancer":"mycluster","context":"/cart","worker":"app-1","route_wanted":"app-4","route_changed":true,"attempts":2,"closed_by":"worker","index":8412,"request_id":"01JDG7Q4M8Z5W2N3R6T9X0V1B2","error":"read answer: \"EOF\"","user_agent":"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0","referer":"https://shop.example/"}`},
		{"bad request", bad, extra{userAgent: true, referer: true}, `{"time":"1970-01-01T00:00:00.000001Z","listener":":1","client":"::1","status":400,"bytes_in":0,"bytes_out":0,"duration":0.000001,"route_changed":false,"attempts":0,"index":0,"user_agent":"\u0000\u0009\u000a\"\\\u007f` + "\uFFFDcaf\uFFFD café " + `\u0085` + "\u2028\U0001F600\uFFFD" + `","referer":"<a>&'/"}`},
		{"zero", Record{Time: time.Unix(1<<31, 0).In(time.FixedZone("X", 3600))}, extra{userAgent: true}, `{"time":"2038-01-19T03:14:08.000000Z","status":0,"bytes_in":0,"bytes_out":0,"duration":0.000000,"connect_duration":0.000000,"response_duration":0.000000,"route_changed":false,"attempts":0,"index":0}`},
	} {
		if got := asJSON(c.r, c.x); got != c.want+"\n" {
			t.Errorf("%s:\n%swant\n%s", c.name, got, c.want)
		}
	}
}

func TestText(t *testing.T) {
	gone := Record{Time: usual().Time, Client: "10.0.0.7", Status: 499, Duration: 192 * time.Second, RouteChanged: true}
	asked := usual()
	asked.Query, asked.RouteWanted, asked.Worker = "", "app-1", "app-1"
	for _, c := range []struct {
		r    Record
		x    extra
		want string
	}{
		{usual(), extra{}, `2026-11-24T21:09:40.123Z 10.0.0.7 GET shop.example/cart/items?id=1&page=2 200 14.2 KiB 38ms app-1`},
		{failed(), extra{}, `2026-11-24T21:09:41.006Z 10.0.0.7 GET shop.example/cart/items?id=1&page=2 502 51 B 3.0s app-1 (moved from app-4, 2 attempts, closed by worker, read answer: \"EOF\", request 01JDG7Q4M8Z5W2N3R6T9X0V1B2)`},
		{asked, extra{true, true}, `2026-11-24T21:09:40.123Z 10.0.0.7 GET shop.example/cart/items 200 14.2 KiB 38ms app-1 (user agent "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", referer "https://shop.example/")`},
		{gone, extra{true, true}, `2026-11-24T21:09:40.123Z 10.0.0.7 - - 499 0 B 3m12s - (moved)`},
	} {
		if got := asText(c.r, c.x); got != c.want+"\n" {
			t.Errorf("%swant\n%s", got, c.want)
		}
	}
}

func TestUnits(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-1: "-", 0: "0.0ms", 412 * time.Microsecond: "0.4ms", 2199 * time.Microsecond: "2.1ms", 38 * time.Millisecond: "38ms", 999*time.Millisecond + 999: "999ms",
		1900 * time.Millisecond: "1.9s", 14 * time.Second: "14s", time.Minute: "1m", 192 * time.Second: "3m12s", 6*time.Hour + time.Minute: "6h1m", 146 * time.Hour: "6d2h", math.MaxInt64: "106751d23h",
	} {
		if got := string(appendDuration(nil, d)); got != want {
			t.Errorf("%d is %s, want %s", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 14563: "14.2 KiB", 1<<20 - 1: "1023.9 KiB", 3 << 30: "3.0 GiB", math.MaxInt64: "7.9 EiB"} {
		if got := string(appendSize(nil, n)); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}

// One line's room is used for the next: nothing of the last one stays, and the second
// is that of its own time.
func TestRoomIsUsedAgain(t *testing.T) {
	var n line
	for range 2 {
		for _, r := range []Record{usual(), failed(), {}, {Time: usual().Time.Add(time.Hour)}} {
			n.json(&r, extra{})
			if want := asJSON(r, extra{}); string(n.b) != want {
				t.Errorf("%swant\n%s", n.b, want)
			}
		}
	}
}

// order is that of interface.md §4.
var order = strings.Fields(`time listener client host method path query protocol status bytes_in bytes_out duration connect_duration response_duration
	balancer context worker route_wanted route_changed attempts closed_by index request_id error user_agent referer`)

// plain is what a line must decode to, the slow way.
func plain(r Record) map[string]any {
	m := map[string]any{
		"time": r.Time.UTC().Truncate(time.Microsecond), "status": float64(r.Status), "bytes_in": float64(r.BytesIn), "bytes_out": float64(r.BytesOut),
		"route_changed": r.RouteChanged, "attempts": float64(r.Attempts), "index": float64(r.Index),
	}
	for key, v := range map[string]string{"listener": r.Listener, "client": r.Client, "host": r.Host, "method": r.Method, "path": r.Path, "query": r.Query,
		"protocol": r.Protocol, "balancer": r.Balancer, "context": r.Context, "worker": r.Worker, "route_wanted": r.RouteWanted, "closed_by": r.ClosedBy,
		"request_id": r.RequestID, "error": r.Error, "user_agent": r.UserAgent, "referer": r.Referer} {
		if v != "" {
			m[key] = string([]rune(v)) // each byte that is no UTF-8 becomes U+FFFD
		}
	}
	for key, d := range map[string]time.Duration{"duration": r.Duration, "connect_duration": r.Connect, "response_duration": r.Response} {
		if d >= 0 {
			m[key] = float64(d/time.Microsecond) / 1e6
		}
	}
	return m
}

// checkJSON holds a line of JSON against its record.
func checkJSON(t *testing.T, got string, r Record) {
	t.Helper()
	if strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, "}\n") || !utf8.ValidString(got) {
		t.Fatalf("not one line of UTF-8: %q", got)
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(got), &m); err != nil {
		t.Fatalf("%v: %q", err, got)
	}
	at, err := time.Parse(time.RFC3339Nano, m["time"].(string))
	if err != nil {
		t.Fatal(err)
	}
	m["time"] = at.UTC()
	if want := plain(r); !reflect.DeepEqual(m, want) {
		t.Fatalf("%q\ndecodes to %v\nwant       %v", got, m, want)
	}
	// A key twice would have been lost in the map.
	var keys []string
	d := json.NewDecoder(strings.NewReader(got))
	for i := 0; ; i++ {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if s, ok := token.(string); ok && i%2 == 1 {
			keys = append(keys, s)
		}
	}
	want := slices.DeleteFunc(slices.Clone(order), func(key string) bool { _, there := m[key]; return !there })
	if !slices.Equal(keys, want) {
		t.Fatalf("keys %v, want %v", keys, want)
	}
}

// Every line is one JSON object that decodes to what was put in, its keys in order; and
// the line for people is one line that commands no terminal.
func FuzzLine(f *testing.F) {
	f.Add("10.0.0.7", "shop.example", "GET", "/a", "b=c", "app-1", "read: \"EOF\"", "Mozilla/5.0", int64(1795554580_123456), 200, int64(1), int64(38e6), int64(-1), uint64(9), true, 2)
	f.Add("\x1b[31m", "\xff\xfe", "G\nT", "/\u0085\u009b31m", "\\\"\x7f\t", "\xe2\x80", "\u2028\U0001F600", "\xed\xa0\x80\xc2", int64(-1), -1, int64(-1), int64(1<<62), int64(999), uint64(1)<<52, false, 0)
	f.Fuzz(func(t *testing.T, client, host, method, path, query, worker, failure, agent string, micros int64, status int, size, duration, connect int64, index uint64, moved bool, attempts int) {
		const year9999 = 253402300799e6
		index %= 1 << 53 // what a float64 of the test tells apart
		size %= 1 << 53
		r := Record{
			Time: time.UnixMicro(micros % year9999).Add(time.Duration(status) % time.Microsecond), Listener: agent, Client: client, Host: host, Method: method, Path: path, Query: query, Protocol: worker,
			Status: int(int32(status)), BytesIn: size, BytesOut: size / 3, Duration: time.Duration(duration % (1 << 52)), Connect: time.Duration(connect % (1 << 52)), Response: time.Duration(size),
			Balancer: path, Context: host, Worker: worker, RouteWanted: method, RouteChanged: moved, Attempts: int(int32(attempts)), ClosedBy: client, Index: index, RequestID: query, Error: failure, UserAgent: agent, Referer: path,
		}
		if y := r.Time.UTC().Year(); y < 0 || y > 9999 {
			t.Skip("RFC 3339 has no such year")
		}
		checkJSON(t, asJSON(r, extra{userAgent: true, referer: true}), r)

		text := asText(r, extra{userAgent: true, referer: true})
		if !utf8.ValidString(text) || strings.ContainsFunc(text[:len(text)-1], unicode.IsControl) || text[len(text)-1] != '\n' {
			t.Fatalf("text %q", text)
		}
	})
}

// Each byte by itself, and each in the middle.
func TestEveryByte(t *testing.T) {
	for c := range 256 {
		for _, s := range []string{string([]byte{byte(c)}), string([]byte{'a', byte(c), 'b'}), string([]byte{0xc2, byte(c)})} {
			r := usual()
			r.UserAgent, r.Referer = s, s+s
			checkJSON(t, asJSON(r, extra{userAgent: true, referer: true}), r)
		}
	}
}

// What is left out is left out because it is empty, never because of its neighbour.
func TestEachFieldAlone(t *testing.T) {
	v := reflect.TypeFor[Record]()
	for i := range v.NumField() {
		r := Record{Time: usual().Time, Duration: -1, Connect: -1, Response: -1}
		full := usual()
		full.RouteWanted, full.ClosedBy, full.Error, full.RouteChanged, full.Connect = "w", "client", "e", true, 5000
		reflect.ValueOf(&r).Elem().Field(i).Set(reflect.ValueOf(full).Field(i))
		checkJSON(t, asJSON(r, extra{userAgent: true, referer: true}), r)
		if !bytes.Contains([]byte(asJSON(r, extra{})), []byte(`"status"`)) {
			t.Errorf("%s: no status", v.Field(i).Name)
		}
	}
}
