package client

import "testing"

func TestFormEncode(t *testing.T) {
	for in, want := range map[string]string{
		"/":             "%2F",
		"a,b":           "a%2Cb",
		"a b+c":         "a+b%2Bc",
		"Az09.-*_":      "Az09.-*_",
		"~":             "%7E",
		"[::1]:80":      "%5B%3A%3A1%5D%3A80",
		"é&=%\x00\r":    "%C3%A9%26%3D%25%00%0D",
		"/shop*/\u20ac": "%2Fshop*%2F%E2%82%AC",
	} {
		if got := formEncode(in); got != want {
			t.Errorf("formEncode(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestConfigMessage(t *testing.T) {
	for _, test := range []struct {
		name string
		node Node
		want string
	}{
		{"defaults", Node{Route: "node1", Host: "127.0.0.1", Port: 8180, Type: "http"},
			"JVMRoute=node1&Host=127.0.0.1&Port=8180&StickySessionForce=No&Type=http"},
		{"WildFly", Node{Route: "node1", Host: "10.0.0.11", Port: 8009, Type: "ajp", MaxAttempts: new(1), Ping: new(10)},
			"JVMRoute=node1&Host=10.0.0.11&Maxattempts=1&Port=8009&StickySessionForce=No&Type=ajp&ping=10"},
		{"default names are not sent", Node{Route: "r", Host: "H.Example", Port: 1, Type: "http", StickyForce: true, Cookie: "JSESSIONID", PathParameter: "jsessionid"},
			"JVMRoute=r&Host=h.example&Port=1&Type=http"},
		{"other names", Node{Route: "r", Host: "h", Port: 1, Type: "https", StickyForce: true, Cookie: "SID", PathParameter: "sid"},
			"JVMRoute=r&Host=h&Port=1&StickySessionCookie=SID&StickySessionPath=sid&Type=https"},
		{"IPv6 with a zone", Node{Route: "r", Host: "FE80::1%eth0", Port: 1, Type: "http", StickyForce: true},
			"JVMRoute=r&Host=%5Bfe80%3A%3A1%5D&Port=1&Type=http"},
		{"IPv6 in brackets", Node{Route: "r", Host: "[::1]", Port: 1, Type: "http", StickyForce: true},
			"JVMRoute=r&Host=%5B%3A%3A1%5D&Port=1&Type=http"},
		{"zero is a number", Node{Route: "r", Host: "h", Port: 1, Type: "http", StickyForce: true, Smax: new(0)},
			"JVMRoute=r&Host=h&Port=1&Type=http&smax=0"},
	} {
		if got := test.node.config().body(); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
		}
	}
}

func TestWire(t *testing.T) {
	for _, test := range []struct {
		proxy Proxy
		r     request
		want  string
	}{
		{Proxy{Address: "lb1:6666"}, request{command: cmdInfo},
			"INFO / HTTP/1.1\r\nHost: lb1:6666\r\nUser-Agent: ClusterListener/1.0\r\nConnection: Keep-Alive\r\n\r\n"},
		{Proxy{Address: "lb1", Prefix: "/t0ken/"}, wholeMessage(cmdRemove, "w1"),
			"REMOVE-APP /t0ken/* HTTP/1.1\r\nHost: lb1:8000\r\nContent-Length: 11\r\nUser-Agent: ClusterListener/1.0\r\nConnection: Keep-Alive\r\n\r\nJVMRoute=w1"},
		{Proxy{Address: "[::1]:90", Prefix: "a/b"}, statusMessage("w1", -1),
			"STATUS /a/b/ HTTP/1.1\r\nHost: [::1]:90\r\nContent-Length: 19\r\nUser-Agent: ClusterListener/1.0\r\nConnection: Keep-Alive\r\n\r\nJVMRoute=w1&Load=-1"},
	} {
		p, err := newProxy(test.proxy, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(test.r.wire(p.address, p.prefix)); got != test.want {
			t.Errorf("%+v:\n got %q\nwant %q", test.proxy, got, test.want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	good := func() Config {
		return Config{
			Proxies: []Proxy{{Address: "lb:1"}},
			Node:    Node{Route: "w1", Port: 80},
			Hosts:   []Host{{Name: "localhost"}},
		}
	}
	if _, err := New(good()); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"no route":        func(c *Config) { c.Node.Route = "" },
		"no port":         func(c *Config) { c.Node.Port = 0 },
		"port too high":   func(c *Config) { c.Node.Port = 65536 },
		"no proxy":        func(c *Config) { c.Proxies = nil },
		"proxy no host":   func(c *Config) { c.Proxies[0].Address = ":6666" },
		"line in address": func(c *Config) { c.Proxies[0].Address = "lb\r\n:1" },
		"blank in prefix": func(c *Config) { c.Proxies[0].Prefix = "/a b" },
		"nameless host":   func(c *Config) { c.Hosts[0].Name = "" },
	} {
		c := good()
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
