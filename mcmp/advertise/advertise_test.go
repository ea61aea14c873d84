package advertise

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	vectorDate   = "Mon, 02 Mar 2026 10:15:30 GMT"
	vectorServer = "0f0e0d0c-0b0a-4908-8706-050403020100"
)

// The digests of spec/advertise.md §3.
func TestDigest(t *testing.T) {
	for _, v := range []struct {
		key      string
		given    bool
		sequence uint64
		want     string
	}{
		{"", false, 1, "9934bca84b9c3156035a99a8cef6bcbf"},
		{"", false, 42, "a0c2719b8e84bf4bfb1dfae43298ca2e"},
		{"", true, 1, "5a758c47a2e55a4789d0e24a61dd4974"},
		{"", true, 42, "1dec69fc3523fb680011c5f1d0eaa135"},
		{"s3cret", true, 1, "0a0e70deed147826ba3dad0cbd9b19d5"},
		{"s3cret", true, 42, "336a0b2c695dc51c85024444d65f58e0"},
	} {
		p := Packet{Date: vectorDate, Sequence: v.sequence, Server: vectorServer}
		if got := p.Digest(Salt([]byte(v.key), v.given)); got != v.want {
			t.Errorf("key %q (%v), sequence %d: %s, want %s", v.key, v.given, v.sequence, got, v.want)
		}
	}
}

var example = strings.ReplaceAll(`HTTP/1.0 200 OK
Date: Mon, 02 Mar 2026 10:15:30 GMT
Sequence: 42
Digest: a0c2719b8e84bf4bfb1dfae43298ca2e
Server: 0f0e0d0c-0b0a-4908-8706-050403020100
X-Manager-Address: 10.0.0.5:6666
X-Manager-Url: /0f0e0d0c-0b0a-4908-8706-050403020100
X-Manager-Protocol: http
X-Manager-Host: lb1.example.com

`, "\n", "\r\n")

// The packet of spec/advertise.md §3, byte for byte, and back.
func TestExample(t *testing.T) {
	p := Packet{Status: 200, Date: vectorDate, Sequence: 42, Server: vectorServer, Address: "10.0.0.5:6666",
		URL: "/" + vectorServer, Protocol: "http", Host: "lb1.example.com"}
	got := string(p.Append(nil, Salt(nil, false)))
	if got != example || len(got) != 305 {
		t.Errorf("%d bytes:\n%s", len(got), got)
	}
	back, digest, err := Parse([]byte(got))
	if err != nil || back != p || digest != p.Digest(Salt(nil, false)) {
		t.Errorf("%+v, %s, %v", back, digest, err)
	}
}

// What the Java client's listener does with each datagram (§4).
func TestFinder(t *testing.T) {
	with := func(old, new string) string { return strings.Replace(example, old, new, 1) }
	for name, c := range map[string]struct {
		datagrams []string
		want      []string // an address, "" or the beginning of an error after !
	}{
		"twice":              {[]string{example, example}, []string{"10.0.0.5:6666", ""}},
		"undertow":           {[]string{strings.TrimSuffix(example, "\r\n")}, []string{"10.0.0.5:6666"}},
		"digest in capitals": {[]string{with("a0c2719b8e84bf4bfb1dfae43298ca2e", "A0C2719B8E84BF4BFB1DFAE43298CA2E")}, []string{"10.0.0.5:6666"}},
		"other key":          {[]string{with("a0c2", "a0c3"), example}, []string{"!the digest", "10.0.0.5:6666"}},
		"status first":       {[]string{with("200 OK", "403 Forbidden")[:strings.Index(example, "X-Manager")+7], example}, []string{"", ""}},
		"no reason":          {[]string{with("200 OK", "200")}, []string{"!malformed"}},
		"low status":         {[]string{with("200 OK", "99 x")}, []string{"!malformed"}},
		"no number":          {[]string{with("200 OK", "abc OK")}, []string{"!malformed"}},
		"address first":      {[]string{with("Date:", "X-Manager-Address: 10.0.0.5:6666\r\nDate:")[:strings.Index(example, "X-Manager")+35]}, []string{""}},
		"no blank":           {[]string{with("Server: ", "Server:")}, []string{"!no Server"}},
		"no date":            {[]string{with("Date: "+vectorDate+"\r\n", "")}, []string{"!a Server without"}},
		"no sequence":        {[]string{with("Sequence: 42\r\n", "")}, []string{"!a Server without"}},
		"other":              {[]string{"M-SEARCH * HTTP/1.1\r\n\r\n"}, []string{"!no announcement"}},
		"empty":              {[]string{""}, []string{"!no announcement"}},
	} {
		f := NewFinder(nil, false)
		for i, d := range c.datagrams {
			address, err := f.Hear([]byte(d))
			want, fails := strings.CutPrefix(c.want[i], "!")
			if fails && (err == nil || !strings.HasPrefix(err.Error(), want)) || !fails && (err != nil || address != want) {
				t.Errorf("%s, datagram %d: %q, %v, want %q", name, i+1, address, err, c.want[i])
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte("HTTP/1.0 403 Forbidden\r\nDate: x\r\nSequence: 1\r\nDigest: y\r\nServer: z\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, _, err := Parse(b)
		if err != nil || p.Server == "" || reasons[p.Status] == "" || strings.ContainsAny(p.Date+p.Server+p.Address+p.URL+p.Protocol+p.Host, "\r\n") {
			return
		}
		again, _, err := Parse(p.Append(nil, Salt(nil, false)))
		if len(p.Append(nil, [16]byte{})) > MaxPacket {
			return // cut
		}
		if p.Address == "" {
			p.URL, p.Protocol, p.Host = "", "", ""
		}
		if err != nil || again != p {
			t.Fatalf("%+v, again %+v, %v", p, again, err)
		}
	})
}

func TestNew(t *testing.T) {
	good := Config{Group: netip.MustParseAddrPort("224.0.1.105:23364"), Address: "10.0.0.5:6666", Interval: time.Second}
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"good":         {func(*Config) {}, ""},
		"wildcard":     {func(c *Config) { c.Address = "0.0.0.0:6666" }, "announce 0.0.0.0:6666: workers cannot reach a wildcard"},
		"wildcard6":    {func(c *Config) { c.Address = "[::]:6666" }, "announce [::]:6666: workers cannot reach a wildcard"},
		"no host":      {func(c *Config) { c.Address = ":6666" }, "announce :6666: workers cannot reach a wildcard"},
		"no port":      {func(c *Config) { c.Address = "10.0.0.5" }, `announce "10.0.0.5": no HOST:PORT`},
		"no group":     {func(c *Config) { c.Group = netip.MustParseAddrPort("10.0.0.1:23364") }, "announce to 10.0.0.1:23364: no multicast group"},
		"mapped":       {func(c *Config) { c.Group = netip.MustParseAddrPort("[::ffff:224.0.1.105]:23364") }, "announce to [::ffff:224.0.1.105]:23364: no multicast group"},
		"no pause":     {func(c *Config) { c.Interval = 0 }, "announce every 0s: no interval"},
		"key":          {func(c *Config) { c.Key, c.Keyed = []byte("schlüssel"), true }, "the key must be ASCII: workers replace what is not"},
		"wildcard4in6": {func(c *Config) { c.Address = "[::ffff:0.0.0.0]:6666" }, "announce [::ffff:0.0.0.0]:6666: workers cannot reach a wildcard"},
	} {
		conf := good
		c.change(&conf)
		_, err := New(conf)
		if c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// A zone means nothing to others.
func TestZone(t *testing.T) {
	s, err := New(Config{Group: netip.MustParseAddrPort("[ff05::1:5]:23364"), Address: "[fe80::1%eth0]:6666", Interval: time.Second})
	if err != nil || s.packet.Address != "[fe80::1]:6666" {
		t.Errorf("%v, %v", s, err)
	}
}

// heardOn runs s, and returns what a worker on loopback hears of it to its end. Each
// test has a group of its own.
func heardOn(t *testing.T, group string, key string, s *Sender) (packets []Packet) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	run, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	started := false
	finder := NewFinder([]byte(key), key != "")
	err := listen(ctx, netip.MustParseAddrPort(group), "lo", func() {
		if !started {
			started = true
			wg.Go(func() { s.Run(run) })
		}
	}, func(b []byte) bool {
		p, _, err := Parse(b)
		if err != nil || p.Server != s.packet.Server {
			return false
		}
		if address, err := finder.Hear(b); err != nil || (address != "") != (len(packets) == 0) {
			t.Errorf("packet %d: %q, %v", len(packets)+1, address, err)
		}
		packets = append(packets, p)
		if len(packets) == 3 {
			stop()
		}
		return p.Status == 410
	})
	stop()
	wg.Wait()
	if err != nil {
		t.Fatalf("%s: %v; %d sent, %d failed: %s", group, err, s.Sent(), s.Failed(), s.paths[0].trouble)
	}
	return packets
}

// Over loopback: at once and each interval, 403 and 410 at the end; with a key and
// without. (IPv6 has no multicast route there: cmd/quorate's check has another network.)
func TestLoopback(t *testing.T) {
	for _, c := range []struct{ group, key string }{{"239.255.77.1:23364", ""}, {"239.255.77.2:23364", "s3cret"}} {
		s, err := New(Config{Group: netip.MustParseAddrPort(c.group), TTL: 1, Interval: 20 * time.Millisecond, Interfaces: []string{"lo"},
			Address: "127.0.0.1:6666", Protocol: "http", Host: "lb1", Key: []byte(c.key), Keyed: c.key != ""})
		if err != nil {
			t.Fatal(err)
		}
		packets := heardOn(t, c.group, c.key, s)
		n := len(packets)
		for i, p := range packets {
			want := 200
			if i >= n-2 {
				want = 403 + 7*(i-(n-2))
			}
			if p.Status != want || p.Sequence != uint64(i+1) || (p.Address == "127.0.0.1:6666") != (want == 200) {
				t.Errorf("%s: packet %d of %d: %+v", c.group, i+1, n, p)
			}
		}
		if s.Sent() != uint64(n) || s.Failed() != 0 {
			t.Errorf("%s: %d sent, %d failed, %d heard", c.group, s.Sent(), s.Failed(), n)
		}
	}
}

// What the network refuses is told once and tried again, less and less often; what works
// again is told, too.
func TestTrouble(t *testing.T) {
	for name, broken := range map[string]Config{
		"no interface":   {Interfaces: []string{"gone0"}},
		"cannot be sent": {Interfaces: []string{"lo"}, Host: strings.Repeat("x", 1<<16)}, // more than a datagram holds
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			c := broken
			c.Group, c.Interval, c.Address = netip.MustParseAddrPort("239.255.77.4:23364"), 10*time.Second, "127.0.0.1:6666"
			c.Log = slog.New(slog.NewTextHandler(&log, nil))
			s, err := New(c)
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			var tried []int
			for i := range 24 { // every 10 s
				before := s.Failed()
				s.announce(200)
				if s.Failed() > before {
					tried = append(tried, i)
				}
			}
			if want := []int{0, 1, 3, 7, 13, 19}; !slices.Equal(tried, want) {
				t.Errorf("tried at %v, want %v: after 10s, 20s, 40s, then each minute", tried, want)
			}
			s.announce(403)
			if n := s.Failed(); n != uint64(len(tried)) {
				t.Errorf("%d tries: who never told its address must not tell that it goes", n)
			}
			s.paths[0].name, s.packet.Host = "lo", "lb1"
			for s.Sent() == 0 && s.packet.Sequence < 40 {
				s.announce(200)
			}
			text := log.String()
			if strings.Count(text, "advertising fails") != 1 || strings.Count(text, "advertising works again") != 1 || strings.Count(text, "\n") != 2 {
				t.Errorf("logged:\n%s", text)
			}
		})
	}
}

// Another key counts from the next packet on.
func TestSetKey(t *testing.T) {
	s, err := New(Config{Group: netip.MustParseAddrPort("239.255.77.4:23364"), Address: "127.0.0.1:6666", Interval: time.Second, Key: []byte("old"), Keyed: true})
	if err != nil {
		t.Fatal(err)
	}
	s.SetKey([]byte("new"), true)
	p := s.packet
	p.Status, p.Date, p.Sequence = 200, vectorDate, 1
	b := p.Append(nil, *s.salt.Load())
	if a, err := NewFinder([]byte("new"), true).Hear(b); err != nil || a != "127.0.0.1:6666" {
		t.Errorf("%q, %v", a, err)
	}
	if a, err := NewFinder([]byte("old"), true).Hear(b); err == nil {
		t.Errorf("the old key takes %q", a)
	}
}

func TestListenNowhere(t *testing.T) {
	if err := Listen(t.Context(), netip.MustParseAddrPort("239.255.77.5:23364"), "gone0", nil); err == nil {
		t.Error("no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Listen(ctx, netip.MustParseAddrPort("239.255.77.5:23364"), "lo", nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
