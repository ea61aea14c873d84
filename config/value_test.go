package config

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestTexts(t *testing.T) {
	for _, x := range []struct {
		text  string
		value any
		back  string // "" = text
	}{
		{"10s", 10 * time.Second, ""},
		{"75s", 75 * time.Second, ""},
		{"60s", time.Minute, ""},
		{"1m", time.Minute, "60s"},
		{"5m", 5 * time.Minute, ""},
		{"90m", 90 * time.Minute, ""},
		{"7d", 7 * 24 * time.Hour, ""},
		{"1d12h", 36 * time.Hour, "36h"},
		{"250ms", 250 * time.Millisecond, ""},
		{"0", time.Duration(0), "0s"},
		{"106751d", 106751 * 24 * time.Hour, ""},
		{"512", Size(512), ""},
		{"512B", Size(512), "512"},
		{"8KiB", Size(8 << 10), ""},
		{"1536KiB", Size(1536 << 10), ""},
		{"1GiB", Size(1 << 30), ""},
		{"0", Size(0), ""},
		{"100/s", Rate(100), ""},
		{"0.5/s", Rate(0.5), ""},
		{"0", Rate(0), ""},
		{"500B/s", ByteRate(500), ""},
		{"500/s", ByteRate(500), "500B/s"},
		{"64KiB/s", ByteRate(64 << 10), ""},
		{"0", ByteRate(0), ""},
		{"0.2", Share(0.2), ""},
		{"1.0", Share(1), "1"},
		{"true", true, ""},
		{"42", 42, ""},
		{"10.0.0.0/8", netip.MustParsePrefix("10.0.0.0/8"), ""},
		{"10.1.2.3", netip.MustParsePrefix("10.1.2.3/32"), "10.1.2.3/32"},
		{"::ffff:10.0.0.0/104", netip.MustParsePrefix("10.0.0.0/8"), "10.0.0.0/8"},
		{"2001:db8::/32", netip.MustParsePrefix("2001:db8::/32"), ""},
	} {
		v := reflect.New(reflect.TypeOf(x.value)).Elem()
		if err := parseText(v, x.text); err != nil || v.Interface() != x.value {
			t.Errorf("%s: %v, %v, want %v", x.text, v, err, x.value)
		}
		if x.back == "" {
			x.back = x.text
		}
		if got := formatText(v); got != x.back {
			t.Errorf("%v is written %s, want %s", x.value, got, x.back)
		}
	}
}

func TestTextsRefused(t *testing.T) {
	for _, x := range []struct {
		like  any
		texts []string
	}{
		{time.Duration(0), []string{"", "5", "-1s", "+1s", "1d-1h", "d", "1.5d", "106752d", "106751d24h", "1w", "1 s", "10S", "99999999999999999999d"}},
		{Size(0), []string{"", "KiB", "-1", "1KB", "1.5KiB", "1 KiB", "8EiB", "99999999999999999999", "9007199254740992TiB"}},
		{Rate(0), []string{"", "100", "/s", "-1/s", "1/m", "1e3/s", "NaN/s", "Inf/s", "1.2.3/s", "10000000000000/s"}},
		{ByteRate(0), []string{"", "500", "500B", "-1B/s", "1KB/s"}},
		{Share(0), []string{"", "1.1", "-0.1", "20%", "NaN", "1e-1", "."}},
		{0, []string{"", "-1", "+1", "0x10", "1.0", "1_000", "2147483648"}},
		{true, []string{"", "yes", "on", "True", "1"}},
		{netip.Prefix{}, []string{"", "10.0.0.0/33", "10.0.0", "example.org", "fe80::1%eth0", "fe80::1%eth0/64", "::ffff:10.0.0.0/8"}},
		{"", []string{"a\nb", "\x00", "\xff", "\x7f"}},
	} {
		for _, text := range x.texts {
			v := reflect.New(reflect.TypeOf(x.like)).Elem()
			if err := parseText(v, text); err == nil {
				t.Errorf("%T %q gives %v", x.like, text, v)
			}
		}
	}
}

// What is written for a value is read as that value.
func TestTextRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for _, x := range []any{
			time.Duration(rapid.Int64Min(0).Draw(t, "duration")),
			time.Duration(rapid.Int64Range(0, 1<<20).Draw(t, "seconds")) * time.Second,
			Size(rapid.Int64Min(0).Draw(t, "size")),
			Size(rapid.Int64Range(0, 1<<20).Draw(t, "KiB")) << 10,
			ByteRate(rapid.Int64Min(0).Draw(t, "rate")),
			Rate(rapid.Float64Range(0, 1e12).Draw(t, "rate")),
			Share(rapid.Float64Range(0, 1).Draw(t, "share")),
		} {
			v := reflect.New(reflect.TypeOf(x)).Elem()
			text := formatText(reflect.ValueOf(x))
			if err := parseText(v, text); err != nil || v.Interface() != x {
				t.Fatalf("%T %v is written %s, read %v, %v", x, x, text, v, err)
			}
		}
	})
}

func TestCheckText(t *testing.T) {
	for rule, x := range map[string]struct{ good, bad []string }{
		"address":      {[]string{":80", "0.0.0.0:0", "[::]:80", "lb1:80", "localhost:65535", "[fe80::1%eth0]:80"}, []string{"", "80", "lb1", "lb1:", "lb1:65536", "::1:80", "a b:80", "1.2.3:80", "lb1:-1"}},
		"remote":       {[]string{"lb1:7301", "10.0.0.1:1", "lb1.example.org.:7301", "lb_1:7301"}, []string{":7301", "lb1:0", "[::]:7301", "lb1", "-lb1:7301"}},
		"host":         {[]string{"", "lb1", "10.0.0.1", "::1", "fe80::1"}, []string{"0.0.0.0", "::", "lb1:7300", "[::1]", "lb1/8"}},
		"ready_path":   {[]string{"", "/.ready", "/a/b"}, []string{"ready", "/a?b", "/a#b", "/a b", `/a\b`, "/ä"}},
		"probe_path":   {[]string{"*", "/health", "/health?full=1"}, []string{"", "health", "**"}},
		"token":        {[]string{"TRACE", "M-SEARCH"}, []string{"", "A B", "A/B", "Ä"}},
		"upgrade":      {[]string{"websocket", "*", "x/1"}, []string{"", "h2c", "H2C", "HTTP/2.0", "TLS/1.0", "tls"}},
		"connector":    {[]string{"http://w1:8080", "https://[::1]:1", "http://10.0.0.1:65535/"}, []string{"", "w1:8080", "http://w1", "ws://w1:1", "http://u@w1:1", "http://w1:1/x", "http://w1:0"}},
		"session_name": {[]string{"", "JSESSIONID"}, []string{"a b", "a=b", "a;b", "123456789012345678901234567890"}},
		"delimiter":    {[]string{".", ":"}, []string{"", "..", ";", " ", "ä"}},
		"balancer":     {[]string{"mycluster", "a", "prod:1", "x-y_z.0", "@[]{}"}, []string{"", "A", "a b", "a,b", `a"b`, "a<b", `a\b`, "a'b", "1234567890123456789012345678901234567890"}},
		"rule_host":    {[]string{"example.org", "*.example.org", "10.0.0.1"}, []string{"", "*", "*.", "a.*.b", "example.org:80", "http://x"}},
		"target":       {[]string{"", "/new", "https://example.org/x?y#z"}, []string{"new", "ftp://x/", "https://", "http://u:p@x/", "javascript:x"}},
		"name":         {[]string{"lb1", "lb-1.example"}, []string{"", "a b", "ä", "a/b"}},
	} {
		for _, s := range x.good {
			if must := checkText(rule, s); must != "" {
				t.Errorf("%s %q: %s", rule, s, must)
			}
		}
		for _, s := range x.bad {
			if checkText(rule, s) == "" {
				t.Errorf("%s %q passes", rule, s)
			}
		}
	}
}

func TestClash(t *testing.T) {
	for _, x := range []struct {
		a, b string
		want bool
	}{
		{":80", "127.0.0.1:80", true},
		{"0.0.0.0:80", "[::]:80", true},
		{"127.0.0.1:80", "localhost:80", true},
		{"[::ffff:127.0.0.1]:80", "127.0.0.1:80", true},
		{"lb1:80", "LB1:80", true},
		{"127.0.0.1:80", "127.0.0.2:80", false},
		{"[::1]:80", "127.0.0.1:80", false},
		{":80", ":81", false},
		{":0", ":0", false},
		{"nonsense", "nonsense", false},
	} {
		if clash(x.a, x.b) != x.want || clash(x.b, x.a) != x.want {
			t.Errorf("%s and %s: want %v", x.a, x.b, x.want)
		}
	}
}
