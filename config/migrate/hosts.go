package migrate

import (
	"fmt"
	"net"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// host is a VirtualHost, or the main server.
type host struct {
	d       *directive // nil: the main server
	addrs   []string   // as VirtualHost names them
	names   []string   // ServerName, ServerAlias
	mcmp    bool       // workers register there
	proxied bool       // it holds a ProxyPass: it has users
	tls     tlsFacts
	proto   []string // Protocols
	proxy   bool     // RemoteIPProxyProtocol
	toHTTPS *directive
	rules   []rule
}

// tlsFacts are what a host says of TLS.
type tlsFacts struct {
	on         *directive // SSLEngine
	certs      []string
	keys       []string
	clientAuth string
	ca         string
	min        string
}

// rule is a ProxyPass that decides before contexts do.
type rule struct {
	d        *directive
	prefix   string
	balancer string // "": rejected
	location bool   // it stood in a Location
}

// server is what is gathered of httpd's configuration.
type server struct {
	main    *host
	hosts   []*host
	listens []*directive

	creates                                          *directive // CreateBalancers
	tunnels, preserves, aliases, timeout, proxyWaits *directive
	managed, secured                                 bool     // a manager page; an AJPSecret
	allowed, admins                                  networks // of MCMP, of the manager page
	trusted                                          []string
	trusts                                           *directive
	verify, verifyName                               *directive
	advertise                                        *directive
	once                                             map[string]*directive
}

// networks is who may.
type networks struct {
	d    *directive // the first that says so
	list []string
	all  bool
}

// convert turns httpd's tree into the document.
func (c *converter) convert(tree *directive) error {
	s := &server{main: &host{}, once: map[string]*directive{}}
	for _, d := range tree.body {
		if d.section && d.is("VirtualHost") {
			h := &host{d: d, addrs: d.args}
			s.hosts = append(s.hosts, h)
			look(h, d.body)
		}
	}
	look(s.main, tree.body)
	w := &walk{c: c, s: s, table: table()}
	if err := w.all(tree.body, scope{host: s.main}); err != nil {
		return err
	}
	c.listeners(s)
	c.rules(s)
	c.settle(s)
	return nil
}

// look finds what decides about a host before its directives are converted.
func look(h *host, body []*directive) {
	for _, d := range body {
		switch {
		case d.section && !d.is("VirtualHost"):
			look(h, d.body)
		case d.is("EnableMCMPReceive"), d.is("EnableMCPMReceive"):
			h.mcmp = true
		case d.is("ProxyPass"), d.is("ProxyPassMatch"):
			h.proxied = true
		}
	}
}

// listeners makes those of workers and of users.
func (c *converter) listeners(s *server) {
	var traffic, mcmp []string
	claimed := map[*host]bool{}
	for _, l := range s.listens {
		address := listenAddress(l.arg(0))
		if address == "" {
			c.note(l, Manual, "", "no port in it")
			continue
		}
		if rule := refused("traffic.listeners[0].address", address); strings.HasPrefix(rule, "must be") {
			c.note(l, Manual, "", rule)
			continue
		}
		if slices.Contains(traffic, address) || slices.Contains(mcmp, address) {
			c.note(l, Needless, "", "named before")
			continue
		}
		var users, workers []*host
		for _, h := range s.hosts {
			if !slices.ContainsFunc(h.addrs, func(a string) bool { return serves(address, a) }) {
				continue
			}
			claimed[h] = true
			if h.mcmp {
				workers = append(workers, h)
			} else {
				users = append(users, h)
			}
		}
		if len(workers) > 0 {
			c.note(l, Converted, "mcmp.listeners", "")
			mcmp = append(mcmp, address)
			c.mcmpListener(s, l, concrete(address, workers[0]), workers[0])
			if len(users) > 0 {
				c.note(l, Manual, "traffic.listeners", "users had hosts on this address, too: give them an address of their own")
			}
			continue
		}
		if len(users) == 0 {
			users = []*host{s.main}
		}
		c.note(l, Converted, "traffic.listeners", "")
		traffic = append(traffic, address)
		c.trafficListener(s, l, address, users)
	}
	for _, h := range s.hosts {
		if !claimed[h] {
			c.note(h.d, Manual, "", "no Listen for it: httpd did not serve it")
		}
	}
	if len(mcmp) == 0 {
		c.warn("no host receives MCMP: mcmp.listeners has its default, 127.0.0.1:6666")
	}
	if len(traffic) == 0 {
		c.doc.list("traffic.listeners", nil, "no host for users was found")
		c.warn("no host for users was found: traffic.listeners is empty, which makes a witness")
	}
}

// absolute is a file's name, which httpd counts from ServerRoot.
func (c *converter) absolute(name string) string {
	if name == "" || path.IsAbs(name) || !path.IsAbs(c.root) {
		return name
	}
	return path.Join(c.root, name)
}

// concrete is the address of a host where Listen names none: workers are kept to it.
func concrete(address string, h *host) string {
	lh, port, _ := net.SplitHostPort(address)
	if lh == "" && len(h.addrs) == 1 {
		if vh, _, err := net.SplitHostPort(h.addrs[0]); err == nil && isIP(vh) {
			return net.JoinHostPort(vh, port)
		}
	}
	return address
}

// listenAddress brings Listen's forms to HOST:PORT.
func listenAddress(s string) string {
	if !strings.Contains(s, ":") {
		s = ":" + s
	}
	h, port, err := net.SplitHostPort(s)
	if err != nil || port == "" || strings.Trim(port, "0123456789") != "" {
		return ""
	}
	if h == "*" {
		h = ""
	}
	return net.JoinHostPort(h, port)
}

// serves says whether a VirtualHost's address is that of a listener.
func serves(listener, virtual string) bool {
	lh, lp, _ := net.SplitHostPort(listener)
	if virtual == "*" || strings.EqualFold(virtual, "_default_") {
		return true
	}
	vh, vp, err := net.SplitHostPort(virtual)
	if err != nil {
		vh, vp = strings.Trim(virtual, "[]"), "*"
	}
	any := func(h string) bool {
		return h == "" || h == "*" || strings.EqualFold(h, "_default_") || h == "0.0.0.0" || h == "::"
	}
	return (vp == lp || vp == "*") && (any(lh) || any(vh) || strings.EqualFold(lh, vh))
}

func (c *converter) mcmpListener(s *server, l *directive, address string, h *host) {
	t := c.tlsOf(l, h, []*host{h}, s.main, "mcmp.listeners[].tls", false)
	c.doc.add("mcmp.listeners", object("address", address, "tls", t), l.where())
}

func (c *converter) trafficListener(s *server, l *directive, address string, users []*host) {
	first := users[0]
	const key = "traffic.listeners[].tls"
	var with []*host
	for _, h := range users {
		if h.tls.on != nil {
			with = append(with, h)
		}
	}
	var t *yaml.Node
	if len(with) > 0 {
		first = with[0]
		t = c.tlsOf(l, first, with, s.main, key, true)
	} else if strings.EqualFold(l.arg(1), "https") {
		c.note(l, Manual, key, "https, but no host here has SSLEngine on")
	}
	protocols := s.main.proto
	if first.proto != nil {
		protocols = first.proto
	}
	var names []string
	h2 := slices.ContainsFunc(protocols, func(p string) bool {
		return strings.EqualFold(p, "h2") && len(with) > 0 || strings.EqualFold(p, "h2c") && len(with) == 0
	})
	switch {
	case h2 && len(with) == 0:
		names = []string{"http/1.1", "h2"}
	case !h2 && len(with) > 0:
		names = []string{"http/1.1"} // httpd's default; quorate's would have h2
	}
	proxied, redirect := "", ""
	switch {
	case !s.main.proxy && !first.proxy:
	case len(s.trusted) == 0:
		c.note(l, Manual, "traffic.listeners[].proxy_protocol", "left out: name the proxies in traffic.trusted_proxies first")
	default:
		proxied = "true"
	}
	if first.toHTTPS != nil {
		redirect = "true"
	}
	c.doc.add("traffic.listeners", object("address", address, "protocols", names, "proxy_protocol", proxied, "redirect_to_https", redirect, "tls", t), l.where())
}

// tlsOf makes the tls object of a listener; nil: plain.
func (c *converter) tlsOf(l *directive, first *host, hosts []*host, main *host, key string, several bool) *yaml.Node {
	if first.tls.on == nil {
		return nil
	}
	var certs [][2]string
	for _, h := range hosts {
		for i, cert := range h.tls.certs {
			if i < len(h.tls.keys) {
				certs = append(certs, [2]string{cert, h.tls.keys[i]})
			} else {
				certs = append(certs, [2]string{cert, cert}) // one file with both
			}
		}
	}
	if len(certs) == 0 {
		c.note(first.tls.on, Manual, key, "no SSLCertificateFile: give cert_file and key_file")
		return nil
	}
	auth, ca := or(first.tls.clientAuth, main.tls.clientAuth), or(first.tls.ca, main.tls.ca)
	for _, h := range hosts[1:] {
		if or(h.tls.clientAuth, main.tls.clientAuth) != auth {
			c.note(h.tls.on, Manual, key+".client_auth", "hosts on one address differ: that of the first counts")
		}
	}
	if auth == "none" {
		auth = ""
	}
	if auth != "" && ca == "" {
		c.note(first.tls.on, Manual, key+".client_ca_file", "no SSLCACertificateFile: give client_ca_file, or quorate does not start")
	}
	var more *yaml.Node
	if len(certs) > 1 {
		if several {
			more = &yaml.Node{Kind: yaml.SequenceNode}
			for _, p := range certs[1:] {
				more.Content = append(more.Content, object("cert_file", p[0], "key_file", p[1]))
			}
		} else {
			c.note(first.tls.on, Manual, key, "one certificate here: the others were left out")
		}
	}
	least := or(first.tls.min, main.tls.min)
	if least == "1.2" {
		least = ""
	}
	return object("cert_file", certs[0][0], "key_file", certs[0][1], "client_auth", auth, "client_ca_file", ca, "min_version", least, "certificates", more)
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// rules writes those of all hosts for users.
func (c *converter) rules(s *server) {
	var with []*host
	for _, h := range append([]*host{s.main}, s.hosts...) {
		if len(h.rules) > 0 {
			with = append(with, h)
		}
	}
	users := 0
	for _, h := range s.hosts {
		if !h.mcmp {
			users++
		}
	}
	for _, h := range with {
		// Of a Location the longest counts, and all come behind what stands in the host.
		slices.SortStableFunc(h.rules, func(a, b rule) int {
			switch {
			case a.location != b.location:
				return map[bool]int{false: -1, true: 1}[a.location]
			case a.location:
				return len(b.prefix) - len(a.prefix)
			}
			return 0
		})
		var hosts []string
		if users > 1 && h != s.main {
			for _, n := range h.names {
				if hostName.MatchString(n) {
					hosts = append(hosts, strings.ToLower(n))
				} else {
					c.note(h.d, Manual, "shared.rules[].hosts", fmt.Sprintf("%s: only *.DOMAIN is known", n))
				}
			}
		}
		for _, r := range h.rules {
			action := "route"
			if r.balancer == "" {
				action = "reject"
			}
			c.doc.add("shared.rules", object("hosts", hosts, "path_prefix", r.prefix, "action", action, "balancer", r.balancer), r.d.where())
		}
	}
	if d := s.creates; d != nil && d.arg(0) == "1" {
		c.doc.add("shared.rules", object("action", "reject"), d.where()+": what no ProxyPass names is not routed")
	}
}

var hostName = regexp.MustCompile(`^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$`)

// add reads one word of Require ip, Allow from; false: it has no equal.
func (n *networks) add(d *directive, word string) bool {
	if n.d == nil {
		n.d = d
	}
	switch w := strings.ToLower(word); {
	case w == "all":
		n.all = true
		n.list = []string{"0.0.0.0/0", "::/0"}
		return true
	case w == "local":
		n.list = append(n.list, "127.0.0.0/8", "::1/128")
		return true
	}
	p, ok := prefix(word)
	if ok && !n.all && !slices.Contains(n.list, p) {
		n.list = append(n.list, p)
	}
	return ok
}

// prefix reads an address, a network, or the beginning of one, such as 10.33.144.
func prefix(s string) (string, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked().String(), true
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()).String(), true
	}
	if address, mask, ok := strings.Cut(s, "/"); ok { // 10.0.0.0/255.0.0.0
		m, err := netip.ParseAddr(mask)
		a, aerr := netip.ParseAddr(address)
		if err != nil || aerr != nil || !m.Is4() || !a.Is4() {
			return "", false
		}
		ones, bits := net.IPMask(m.AsSlice()).Size()
		if bits == 0 {
			return "", false
		}
		return netip.PrefixFrom(a, ones).Masked().String(), true
	}
	parts := strings.Split(strings.TrimSuffix(s, "."), ".")
	if len(parts) > 3 || parts[0] == "" {
		return "", false
	}
	whole := append(slices.Clone(parts), "0", "0", "0")[:4]
	a, err := netip.ParseAddr(strings.Join(whole, "."))
	if err != nil {
		return "", false
	}
	return netip.PrefixFrom(a, 8*len(parts)).String(), true
}
