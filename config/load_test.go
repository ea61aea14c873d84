package config

import (
	"bytes"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// values is a configuration without where it came from.
func values(c *Config) Config {
	v := *c
	v.origins, v.Warnings = nil, nil
	return v
}

func load(t *testing.T, s Source) *Config {
	t.Helper()
	c, err := Load(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The tree of interface.md §1, word for word: it has every key there is, and all of
// its values are the defaults.
func TestInterface(t *testing.T) {
	c := load(t, Source{File: "testdata/interface.yaml"})
	inFolder(t)
	write(t, "empty.yaml", "", 0o644)
	if want := load(t, Source{File: "empty.yaml"}); !reflect.DeepEqual(values(c), values(want)) {
		t.Errorf("interface.yaml gives\n%+v\nthe defaults are\n%+v", values(c), values(want))
	}
	n := 0
	count(reflect.ValueOf(c).Elem(), "", func(path string) {
		n++
		if !c.Given(path) && path != "traffic.underscores_in_headers" { // a switch the page asks for, without a name
			t.Errorf("%s is not in interface.md", path)
		}
	})
	t.Logf("%d keys", n)
}

func TestStarter(t *testing.T) {
	inFolder(t)
	write(t, "empty.yaml", "", 0o644)
	want := load(t, Source{File: "empty.yaml"})
	write(t, "starter.yaml", Starter(), 0o644)
	c := load(t, Source{File: "starter.yaml"})
	if !reflect.DeepEqual(values(c), values(want)) || c.KeysSet() != 0 {
		t.Errorf("the starter sets %d keys", c.KeysSet())
	}
	// With every # of a key taken away it says the same.
	whole := regexp.MustCompile(`(?m)^( +)#([a-z0-9_]+:)`).ReplaceAllString(Starter(), "$1$2")
	write(t, "whole.yaml", whole, 0o644)
	c = load(t, Source{File: "whole.yaml"})
	if !reflect.DeepEqual(values(c), values(want)) {
		t.Errorf("uncommented:\n%+v\nwant\n%+v", values(c), values(want))
	}
	count(reflect.ValueOf(c).Elem(), "", func(path string) {
		if f := keyTag(path); f.Get("later") == "" && !c.Given(path) {
			t.Errorf("%s is missing", path)
		}
	})
	for line := range strings.Lines(Starter()) {
		if len(line) > 81 {
			t.Errorf("longer than 80: %s", line)
		}
	}
}

// keyTag is the tag of a key, with later of a section around it.
func keyTag(path string) reflect.StructTag {
	typ, tag := reflect.TypeFor[Config](), reflect.StructTag("")
	for name := range strings.SplitSeq(path, ".") {
		f, _ := fieldNamed(typ, name)
		typ, tag = f.typ, f.tag
		if tag.Get("later") != "" {
			break
		}
	}
	return tag
}

// Every tag that holds for some value is exercised: one that cannot be read panics.
func TestTags(t *testing.T) {
	var visit func(typ reflect.Type)
	visit = func(typ reflect.Type) {
		for _, f := range fieldsOf(typ) {
			inner := f.typ
			if isAuto(inner) {
				field, _ := inner.FieldByName("Value")
				inner = field.Type
			}
			if inner.Kind() == reflect.Slice || inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if isSection(inner) {
				newSection(inner)
				visit(inner)
				continue
			}
			for _, key := range []string{"min", "max"} {
				if text, found := f.tag.Lookup(key); found {
					bound(inner, text)
				}
			}
			if rule := f.tag.Get("rule"); rule != "" {
				checkText(rule, "x")
			}
			if kind := f.tag.Get("file"); kind != "" && !slices.Contains([]string{"plain", "ca", "secret"}, kind) {
				t.Errorf("%s: no kind of file: %s", f.name, kind)
			}
		}
	}
	visit(reflect.TypeFor[Config]())
}

func TestPrecedence(t *testing.T) {
	inFolder(t)
	write(t, "q.yaml", "traffic: {timeouts: {idle: 10s, header: 10s, body: 10s}}\n", 0o644)
	env := []string{"QUORATE_TRAFFIC__TIMEOUTS__IDLE=20s", "QUORATE_TRAFFIC__TIMEOUTS__HEADER=20s"}
	c := load(t, Source{File: "q.yaml", Env: env, Set: []string{"traffic.timeouts.idle=25s", "traffic.timeouts.idle=30s"}})
	want := Timeouts{Idle: 30 * time.Second, Header: 20 * time.Second, Body: 10 * time.Second, Write: time.Minute}
	if c.Traffic.Timeouts != want {
		t.Errorf("%+v, want %+v", c.Traffic.Timeouts, want)
	}
	if n := c.KeysSet(); n != 3 {
		t.Errorf("%d keys set, want 3", n)
	}
}

func TestDefaultsThatDepend(t *testing.T) {
	inFolder(t)
	write(t, "q.yaml", "# nothing\n", 0o644)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	file, none := load(t, Source{File: "q.yaml"}), load(t, Source{})
	if file.Replica.DataDir != "/var/lib/quorate" || none.Replica.DataDir != "./quorate-data" {
		t.Errorf("data_dir %s with a file, %s without", file.Replica.DataDir, none.Replica.DataDir)
	}
	if file.Replica.Name != host {
		t.Errorf("name %s, want %s", file.Replica.Name, host)
	}
	if !none.Standalone() || none.Voters() != 1 {
		t.Errorf("standalone %v, voters %d", none.Standalone(), none.Voters())
	}
	c := load(t, Source{Set: []string{"cluster.secret_file=secret.txt", "cluster.bootstrap_expect=3", "replica.data_dir=d"}})
	if c.Standalone() || c.Voters() != 3 || c.Replica.DataDir != "d" {
		t.Errorf("standalone %v, voters %d, data_dir %s", c.Standalone(), c.Voters(), c.Replica.DataDir)
	}
	c = load(t, Source{Set: []string{"cluster.secret_file=secret.txt", "shared.voters=5"}})
	if c.Voters() != 5 {
		t.Errorf("voters %d, want 5", c.Voters())
	}
}

func TestOverrides(t *testing.T) {
	inFolder(t)
	prefix := netip.MustParsePrefix
	for _, x := range []struct {
		env, set []string
		got      func(c *Config) any
		want     any
	}{
		{set: []string{"cluster.secret_file=secret.txt", "cluster.join=lb1:7301, lb2:7301"},
			got: func(c *Config) any { return c.Cluster.Join }, want: []string{"lb1:7301", "lb2:7301"}},
		{set: []string{"traffic.listeners="},
			got: func(c *Config) any { return len(c.Traffic.Listeners) }, want: 0},
		{env: []string{"QUORATE_TRAFFIC__LISTENERS="},
			got: func(c *Config) any { return len(c.Traffic.Listeners) }, want: 0},
		{set: []string{"traffic.listeners=:8000,:8001"},
			got: func(c *Config) any { return c.Traffic.Listeners }, want: []TrafficListener{{Address: ":8000"}, {Address: ":8001"}}},
		{set: []string{"traffic.listeners[0].address=:8000"},
			got: func(c *Config) any { return c.Traffic.Listeners }, want: []TrafficListener{{Address: ":8000"}}},
		{set: []string{"traffic.listeners[1]=:8000"},
			got: func(c *Config) any { return c.Traffic.Listeners }, want: []TrafficListener{{Address: "0.0.0.0:8080"}, {Address: ":8000"}}},
		{env: []string{"QUORATE_TRAFFIC__LISTENERS__2__ADDRESS=:8002", "QUORATE_TRAFFIC__LISTENERS__1__ADDRESS=:8001", "QUORATE_TRAFFIC__LISTENERS=:8000"},
			got: func(c *Config) any { return c.Traffic.Listeners }, want: []TrafficListener{{Address: ":8000"}, {Address: ":8001"}, {Address: ":8002"}}},
		{set: []string{"mcmp.listeners[0].tls.cert_file=cert.pem", "mcmp.listeners[0].tls.key_file=key.pem"},
			got: func(c *Config) any { return *c.MCMP.Listeners[0].TLS }, want: TLS{CertFile: "cert.pem", KeyFile: "key.pem", ClientAuth: "none", MinVersion: "1.2"}},
		{set: []string{"traffic.listeners[0].tls.certificates[0].cert_file=cert.pem", "traffic.listeners[0].tls.certificates[0].key_file=key.pem"},
			got: func(c *Config) any { return c.Traffic.Listeners[0].TLS.Pairs() }, want: []Certificate{{"cert.pem", "key.pem"}}},
		{set: []string{"shared.rules[0].action=reject", "shared.rules[0].hosts=a.example,b.example"},
			got: func(c *Config) any { return c.Shared.Rules }, want: []Rule{{Hosts: []string{"a.example", "b.example"}, PathPrefix: "/", Action: "reject", Status: 404}}},
		{env: []string{"QUORATE_SHARED__RULES__0__ACTION=redirect", "QUORATE_SHARED__RULES__0__TO=/new"},
			got: func(c *Config) any { return c.Shared.Rules }, want: []Rule{{PathPrefix: "/", Action: "redirect", Status: 302, To: "/new"}}},
		{set: []string{"mcmp.allowed_cidrs=10.1.2.3/8,192.168.1.7", "mcmp.allowed_cidrs[2]=::1"},
			got:  func(c *Config) any { return c.MCMP.AllowedCIDRs.Value },
			want: []netip.Prefix{prefix("10.0.0.0/8"), prefix("192.168.1.7/32"), prefix("::1/128")}},
		{set: []string{"shared.use_alias=false", "shared.use_alias=auto"},
			got: func(c *Config) any { return c.Shared.UseAlias }, want: Auto[bool]{}},
		{set: []string{"shared.affinity.cookie="},
			got: func(c *Config) any { return c.Shared.Affinity.Cookie }, want: Auto[string]{Given: true}},
		{set: []string{"admin.console=true", "archive.max_age=7d", "access_log.sample=1.0", "upstream.ajp.max_packet_bytes=8192"},
			got: func(c *Config) any { return c.Admin.Console }, want: true},
		{set: []string{"upstream.upgrade.connectors.w1=http://x:1", "upstream.upgrade.connectors.w2=https://[::1]:2"},
			got: func(c *Config) any { return c.Upstream.Upgrade.Connectors }, want: map[string]string{"w1": "http://x:1", "w2": "https://[::1]:2"}},
		// Not keys: our own three, what Kubernetes sets, and everybody else's.
		{env: []string{"QUORATE_ADDR=x", "QUORATE_TOKEN_FILE=x", "QUORATE_CONFIG=x", "QUORATE_PORT=tcp://10.0.0.1:80", "QUORATE_PORT_8080_TCP=x",
			"QUORATE_TRAFFIC_SERVICE_HOST=10.0.0.1", "QUORATE__X=1", "QUORATE_=1", "TRAFFIC__READY_PATH=/x", "quorate_log__level=debug"},
			got: func(c *Config) any { return c.KeysSet() }, want: 0},
	} {
		if got := x.got(load(t, Source{Env: x.env, Set: x.set})); !reflect.DeepEqual(got, x.want) {
			t.Errorf("%q %q: %+v, want %+v", x.env, x.set, got, x.want)
		}
	}
}

func TestOverridesRefused(t *testing.T) {
	inFolder(t)
	for _, x := range []struct {
		env, set, want []string
	}{
		{set: []string{"traffic.timeouts.idel=30s"},
			want: []string{"--set: traffic.timeouts.idel: 30s: no such key; did you mean idle?"}},
		{set: []string{"traffic.timeouts.idle=soon"},
			want: []string{"--set: traffic.timeouts.idle: soon: must be a duration such as 10s, 5m or 7d"}},
		{set: []string{"traffic.timeouts=30s", "shared.rules=x", "traffic.listeners[0].tls=x"}, want: []string{
			"--set: traffic.timeouts: 30s: is a section: set one of its keys",
			"--set: shared.rules: x: is a list of sections: set its items by place, as in key[0].name",
			"--set: traffic.listeners[0].tls: x: is a section: set one of its keys"}},
		{set: []string{"shared.voters", "=3", "a..b=1", "traffic.listeners[x]=1", "traffic.listeners[0=1", "traffic.listeners[0]x=1"}, want: []string{
			`--set: shared.voters: must be KEY=VALUE, as in traffic.timeouts.idle=30s`,
			`--set: =3: must be KEY=VALUE, as in traffic.timeouts.idle=30s`,
			`--set: a..b=1: must be KEY=VALUE, as in traffic.timeouts.idle=30s`,
			`--set: traffic.listeners[x]=1: must be KEY=VALUE, as in traffic.timeouts.idle=30s`,
			`--set: traffic.listeners[0=1: must be KEY=VALUE, as in traffic.timeouts.idle=30s`,
			`--set: traffic.listeners[0]x=1: must be KEY=VALUE, as in traffic.timeouts.idle=30s`}},
		{set: []string{"traffic.listeners[2]=:1", "traffic[0]=1", "log.level.x=1"}, want: []string{
			"--set: traffic.listeners[2]: :1: the next item is [1]",
			"--set: traffic.0: 1: no such key",
			"--set: log.level.x: 1: no such key"}},
		{set: []string{"mcmp.listeners=0.0.0.0:6666"}, want: []string{
			"--set: mcmp.listeners[0]: 0.0.0.0:6666: not loopback",
			"  give mcmp.allowed_cidrs, tls.client_auth: require or mcmp.tokens_file"}},
		{set: []string{"mcmp.listeners[0].address=:6666"}, want: []string{
			"--set: mcmp.listeners[0].address: :6666: not loopback",
			"  give mcmp.allowed_cidrs, tls.client_auth: require or mcmp.tokens_file"}},
		{set: []string{"admin.console=false", "archive.max_age=soon"}, want: []string{
			"--set: admin.console: false: not available in this version",
			"--set: archive.max_age: soon: not available in this version"}},
		{env: []string{"QUORATE_TRAFFIC__TIMEOUTS__IDEL=30s", "QUORATE_SHARED__VOTERS=4", "QUORATE_TRAFIC__READY_PATH=/x", "QUORATE_LOG__=debug"}, want: []string{
			"env QUORATE_LOG__: log.: debug: no such key",
			"env QUORATE_SHARED__VOTERS: shared.voters: 4: must be 1, 3, 5 or 7",
			"env QUORATE_TRAFFIC__TIMEOUTS__IDEL: traffic.timeouts.idel: 30s: no such key; did you mean idle?",
			"env QUORATE_TRAFIC__READY_PATH: trafic: /x: no such key; did you mean traffic?"}},
	} {
		c, err := Load(Source{Env: x.env, Set: x.set})
		if c != nil || err == nil {
			t.Errorf("%q %q loads", x.env, x.set)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		if got := lines[:len(lines)-1]; !slices.Equal(got, x.want) {
			t.Errorf("%q %q:\n%s\nwant\n%s", x.env, x.set, strings.Join(got, "\n"), strings.Join(x.want, "\n"))
		}
	}
}

// Errors of the file come first, in its order, then the environment's, then --set's.
func TestErrorOrder(t *testing.T) {
	inFolder(t)
	write(t, "q.yaml", "log:\n  level: loud\nreplica:\n  nam: x\n", 0o644)
	_, err := Load(Source{File: "q.yaml", Set: []string{"x=1"}, Env: []string{"QUORATE_METRICS__ON=1"}})
	want := "q.yaml:2: log.level: loud: must be debug, info, warn or error\n" +
		"q.yaml:4: replica.nam: x: no such key; did you mean name?\n" +
		"env QUORATE_METRICS__ON: metrics.on: 1: no such key\n" +
		"--set: x: 1: no such key\n" +
		"q.yaml: 4 errors"
	if err == nil || err.Error() != want {
		t.Errorf("%v\nwant\n%s", err, want)
	}
}

func TestUnreadableFile(t *testing.T) {
	inFolder(t)
	_, err := Load(Source{File: "none.yaml"})
	if !errors.Is(err, fs.ErrNotExist) || err.Error() != "configuration none.yaml: file does not exist" {
		t.Errorf("%v", err)
	}
	write(t, "big.yaml", strings.Repeat("#\n", maxFile), 0o644)
	if _, err := Load(Source{File: "big.yaml"}); err == nil || err.Error() != "configuration big.yaml: larger than 1 MiB" {
		t.Errorf("%v", err)
	}
}

// The line of a YAML error is the one to look at, which the parser does not always say.
func TestYAMLErrorLines(t *testing.T) {
	inFolder(t)
	for _, x := range []struct {
		text string
		want string
	}{
		{"a: b: c\n", "1: not YAML: mapping values are not allowed in this context"},
		{"log:\n  level: info\n format: text\n", "3: not YAML: did not find expected key"},
		{"log:\n\tlevel: info\n", "2: not YAML: found character that cannot start any token"},
		{"log:\n  level: 'info\n\nmetrics: {}\n", "2: not YAML: found unexpected end of stream"},
		{"log: {level: info\nmetrics: {}\n", "2: not YAML: did not find expected ',' or '}'"},
		{"log:\n  level: *info\n", "2: not YAML: unknown anchor 'info' referenced"},
		{"log:\n  level: \xff\n", "2: not YAML: must be UTF-8 without control characters"},
		{"log: {}\n---\n- a\n b\n", "2: a second document: put everything into one"},
	} {
		write(t, "q.yaml", x.text, 0o644)
		_, err := Load(Source{File: "q.yaml"})
		if want := "q.yaml:" + x.want + "\nq.yaml: 1 error"; err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", x.text, err, want)
		}
	}
}

// Anchors are what YAML says they are; sections without keys count as absent.
func TestYAMLForms(t *testing.T) {
	inFolder(t)
	write(t, "q.yaml", "---\ntraffic:\n  listeners: &l [\":1\", {address: \":2\"}]\nmcmp:\n  # all commented out\nshared:\n  rules: &r\n  - &first {action: reject, path_prefix: /a}\n  - *first\n", 0o644)
	c := load(t, Source{File: "q.yaml"})
	if want := []TrafficListener{{Address: ":1"}, {Address: ":2"}}; !reflect.DeepEqual(c.Traffic.Listeners, want) {
		t.Errorf("%+v, want %+v", c.Traffic.Listeners, want)
	}
	if r := c.Shared.Rules; len(r) != 2 || !reflect.DeepEqual(r[0], r[1]) || r[1].Status != 404 {
		t.Errorf("%+v", r)
	}
	if len(c.MCMP.Listeners) != 1 || c.KeysSet() != 2 {
		t.Errorf("%+v, %d keys", c.MCMP.Listeners, c.KeysSet())
	}
}

// Secrets others can read are a warning, those they can write an error.
func TestSecretModes(t *testing.T) {
	inFolder(t)
	set := []string{"cluster.secret_file=s"}
	write(t, "s", "secret\n", 0o600)
	if c := load(t, Source{Set: set}); len(c.Warnings) > 0 {
		t.Errorf("0600: %q", c.Warnings)
	}
	write(t, "s", "secret\n", 0o644)
	if c, want := load(t, Source{Set: set}), []string{"--set: cluster.secret_file: s: readable by others: chmod 600 s"}; !slices.Equal(c.Warnings, want) {
		t.Errorf("0644: %q, want %q", c.Warnings, want)
	}
	write(t, "s", "secret\n", 0o622)
	want := "--set: cluster.secret_file: s: writable by others\n  chmod 600 s\nconfiguration: 1 error"
	if _, err := Load(Source{Set: set}); err == nil || err.Error() != want {
		t.Errorf("0622: %v, want %s", err, want)
	}
	write(t, "s", " \n", 0o600)
	if _, err := Load(Source{Set: set}); err == nil || !strings.Contains(err.Error(), "s: is empty") {
		t.Errorf("empty: %v", err)
	}
}

// What opens a listener that is not loopback, and what a loopback one is.
func TestOpenListeners(t *testing.T) {
	inFolder(t)
	for _, set := range [][]string{
		{"mcmp.listeners=:6666", "mcmp.allowed_cidrs=10.0.0.0/8"},
		{"mcmp.listeners=:6666", "mcmp.tokens_file=secret.txt"},
		{"mcmp.listeners[0].address=:6666", "mcmp.listeners[0].tls.cert_file=cert.pem", "mcmp.listeners[0].tls.key_file=key.pem",
			"mcmp.listeners[0].tls.client_auth=require", "mcmp.listeners[0].tls.client_ca_file=cert.pem"},
		{"mcmp.listeners=localhost:6666,[::1]:6667,127.0.0.2:0"},
		{"admin.address=:7302", "admin.allowed_cidrs=10.0.0.0/8"},
		{"admin.address=:7302", "admin.tokens_file=secret.txt"},
		{"admin.address=:7302", "admin.tls.cert_file=cert.pem", "admin.tls.key_file=key.pem", "admin.tls.client_auth=require", "admin.tls.client_ca_file=cert.pem"},
		{"cluster.tls.cert_file=cert.pem", "cluster.tls.key_file=key.pem", "cluster.tls.ca_file=cert.pem", "cluster.join=lb1:7301"},
		{"cluster.secret_file=secret.txt", "cluster.join=lb1:7301"}, // all that a joiner needs
		{"cluster.secret_file=secret.txt", "cluster.join=127.0.0.1:7301", "cluster.address=127.0.0.1:0", "cluster.gossip_address=127.0.0.1:0"},
		{"traffic.listeners=:0,:0", "admin.address=127.0.0.1:0"},
		{"traffic.listeners[0].proxy_protocol=true", "traffic.trusted_proxies=10.0.0.0/8"},
		{"traffic.listeners[0].protocols=h2,http/1.1"},
	} {
		if _, err := Load(Source{Set: set}); err != nil {
			t.Errorf("%q: %v", set, err)
		}
	}
}

func TestALPN(t *testing.T) {
	plain, secured := TrafficListener{}, TrafficListener{TLS: &TrafficTLS{}}
	given := TrafficListener{TLS: &TrafficTLS{}, Protocols: Auto[[]string]{true, []string{"http/1.1"}}}
	for _, x := range []struct {
		l    TrafficListener
		want string
	}{{plain, "http/1.1"}, {secured, "h2 http/1.1"}, {given, "http/1.1"}} {
		if got := strings.Join(x.l.ALPN(), " "); got != x.want {
			t.Errorf("%+v: %s, want %s", x.l, got, x.want)
		}
	}
}

// Who redirects to https needs somebody who answers it: a listener of its own, or
// what stands in front.
func TestRedirectWithoutTLS(t *testing.T) {
	inFolder(t)
	redirect := "traffic.listeners[0].redirect_to_https=true"
	for _, x := range []struct {
		set  []string
		warn int
	}{
		{[]string{redirect}, 1},
		{[]string{redirect, "traffic.trusted_proxies=10.0.0.0/8"}, 0},
		{[]string{redirect, "traffic.listeners[1].address=:8443", "traffic.listeners[1].tls.cert_file=cert.pem", "traffic.listeners[1].tls.key_file=key.pem"}, 0},
	} {
		c := load(t, Source{Set: x.set})
		if len(c.Warnings) != x.warn || !c.Traffic.Listeners[0].RedirectToHTTPS {
			t.Errorf("%q: warnings %q, want %d", x.set, c.Warnings, x.warn)
		}
	}
}

// What announces itself where nobody else can hear it is told so.
func TestAdvertiseLoopback(t *testing.T) {
	for _, x := range []struct {
		set  []string
		want []string
	}{
		{nil, nil},
		{[]string{"mcmp.advertise.enabled=true"}, []string{"--set: mcmp.advertise.enabled: true: mcmp.listeners[0] is loopback: only workers on this machine can reach it"}},
		{[]string{"mcmp.advertise.enabled=true", "mcmp.advertise.address=10.0.0.5"}, nil},
		{[]string{"mcmp.advertise.enabled=true", "mcmp.listeners=0.0.0.0:6666", "mcmp.allowed_cidrs=10.0.0.0/8", "mcmp.advertise.address=lb1:7000"}, nil},
	} {
		if c := load(t, Source{Set: x.set}); !slices.Equal(c.Warnings, x.want) {
			t.Errorf("%q: %q, want %q", x.set, c.Warnings, x.want)
		}
	}
}

func TestDifferences(t *testing.T) {
	a := load(t, Source{}).Shared
	b := load(t, Source{Set: []string{"shared.voters=5", "shared.affinity.mode=ranked", "shared.rules[0].action=reject"}}).Shared
	if d := Differences(a, a); len(d) > 0 {
		t.Errorf("of itself: %v", d)
	}
	want := []Difference{
		{"shared.voters", "auto", "5"},
		{"shared.affinity.mode", "single", "ranked"},
		{"shared.rules", "[]", "[{action: reject}]"},
	}
	if got := Differences(a, b); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestChanged(t *testing.T) {
	inFolder(t)
	secured := []string{"traffic.listeners[0].tls.cert_file=cert.pem", "traffic.listeners[0].tls.key_file=key.pem"}
	for _, x := range []struct {
		a, b []string
		want string
	}{
		{nil, nil, ""},
		{[]string{"traffic.trusted_proxies="}, nil, ""},
		{nil, []string{"traffic.timeouts.idle=30s", "log.level=debug"}, "traffic.timeouts.idle log.level"},
		{nil, []string{"admin.allowed_cidrs=10.0.0.0/8", "mcmp.listeners=127.0.0.1:7777"}, "mcmp.listeners[0].address admin.allowed_cidrs"},
		{nil, []string{"traffic.listeners=:8000,:8001"}, "traffic.listeners"},
		{nil, secured, "traffic.listeners[0].tls"},
		{secured, append(secured, "traffic.listeners[0].tls.min_version=1.3"), "traffic.listeners[0].tls.min_version"},
		{secured, append(secured, "traffic.listeners[0].tls.certificates[0].cert_file=cert.pem", "traffic.listeners[0].tls.certificates[0].key_file=key.pem"),
			"traffic.listeners[0].tls.certificates"},
	} {
		a, b := load(t, Source{Set: x.a}), load(t, Source{Set: x.b})
		if got := strings.Join(Changed(a, b), " "); got != x.want {
			t.Errorf("%q and %q: %s, want %s", x.a, x.b, got, x.want)
		}
	}
}

func TestKeysSet(t *testing.T) {
	inFolder(t, "testdata/quorate.yaml")
	c := load(t, Source{File: "quorate.yaml"})
	if n := c.KeysSet(); n != 9 { // a list is one key
		t.Errorf("%d keys set, want 9", n)
	}
	if !c.Given("shared.rules") || !c.Given("shared") || c.Given("shared.voters") || c.Given("traffic.time") {
		t.Error("Given is wrong")
	}
}

// FuzzLoad: nothing panics, and what loads is printed such that it loads again and
// gives the same.
func FuzzLoad(f *testing.F) {
	for _, name := range []string{"testdata/interface.yaml", "testdata/quorate.yaml"} {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), "", "")
	}
	f.Add(Starter(), "shared.rules[0].action=route", "QUORATE_TRAFFIC__LISTENERS__0=:80")
	f.Add("replica: {name: lb1, data_dir: \" a'b \\u2028\"}\nlog: {output: 'null'}", "log.output=~", "QUORATE_LOG__OUTPUT=[x")
	f.Add("a: &x [*x]\n---\n", "traffic.listeners[0].tls.client_names=a,b", "QUORATE_SHARED__AFFINITY__COOKIE=")
	f.Add("upstream: {retry: {budget: 0.25}, http: &h {preserve_host: false}}\ntraffic: {body_min_rate: 1KiB/s}\n", "mcmp.rate.per_source=2.5/s", "")
	f.Add("cluster: {address: \"127.0.0.1:1\"}\nshared:\n  rules:\n  - {hosts: [\"*.example.org\"], path_prefix: /x, action: redirect, to: /y}\n", "shared.rules[0].status=308", "")
	f.Fuzz(func(t *testing.T, text, set, env string) {
		dir := t.TempDir()
		write(t, dir+"/q.yaml", text, 0o600)
		s := Source{File: dir + "/q.yaml", Env: []string{env}}
		if set != "" {
			s.Set = []string{set}
		}
		c, err := Load(s)
		if err != nil {
			if err.Error() == "" || c != nil {
				t.Fatalf("error %q with %v", err, c)
			}
			return
		}
		var b bytes.Buffer
		if err := c.Effective(&b); err != nil {
			t.Fatal(err)
		}
		write(t, dir+"/again.yaml", b.String(), 0o600)
		again, err := Load(Source{File: dir + "/again.yaml"})
		if err != nil {
			t.Fatalf("%v in\n%s", err, b.String())
		}
		if !reflect.DeepEqual(values(c), values(again)) {
			t.Fatalf("%+v came back as\n%+v by\n%s", values(c), values(again), b.String())
		}
	})
}
