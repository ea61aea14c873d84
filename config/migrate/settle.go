package migrate

import (
	"net"
	"strings"
)

// settle writes what several directives decide together, and what httpd did where
// nothing was said.
func (c *converter) settle(s *server) {
	c.balancers(s)
	c.access(s)
	c.workersTLS(s)
	if s.aliases == nil {
		c.doc.set("shared.use_alias", "false", "UseAlias is off in httpd unless it is said")
	}
	if s.preserves == nil {
		c.doc.set("upstream.http.preserve_host", "false", "ProxyPreserveHost is off in httpd unless it is said")
		c.warn("workers get their own address as Host, as with httpd: quorate's default, upstream.http.preserve_host: true, gives them the client's")
	}
	if s.tunnels == nil {
		c.doc.list("upstream.upgrade.protocols", nil, "httpd did not tunnel without EnableWsTunnel")
		c.warn("WebSockets are off, as with httpd: take the line upstream.upgrade.protocols out to allow them")
	}
	if s.proxyWaits == nil && s.timeout != nil {
		if t, ok := duration(s.timeout.arg(0)); ok {
			c.doc.set("upstream.response_timeout", seconds(t), s.timeout.where()+", as there is no ProxyTimeout")
		}
	}
	if len(s.trusted) > 0 {
		c.doc.list("traffic.trusted_proxies", s.trusted, s.trusts.where())
	}
	c.announced(s)
	c.always()
	if !s.secured {
		c.warn("AJP workers get no secret: give them and quorate one (upstream.ajp.secret_file)")
	}
}

// announced switches advertising off again where quorate would refuse it: workers cannot
// reach a wildcard.
func (c *converter) announced(s *server) {
	on, listeners := c.doc.get("mcmp.advertise.enabled"), c.doc.get("mcmp.listeners")
	if on == nil || c.doc.get("mcmp.advertise.address") != nil {
		return
	}
	if listeners != nil {
		h, _, _ := net.SplitHostPort(child(listeners.Content[0], "address").Value)
		if h != "" && h != "0.0.0.0" && h != "::" {
			return
		}
	}
	c.note(s.advertise, Manual, "mcmp.advertise.enabled", "left off: mcmp.listeners has no address that workers can reach: give mcmp.advertise.address, then enabled: true")
	c.doc.remove("mcmp.advertise.enabled")
}

// always is what everybody who comes from one of them must know.
func (c *converter) always() {
	c.warn("several balancers become one cluster: workers may keep all addresses in their proxyList")
	c.warn("a slow or failed request no longer puts a worker into error, and there is no retry timer of 60 s")
	c.warn("the manager page is on the admin listener, and limits are for each worker")
}

// balancers decides what CreateBalancers and the rules mean together.
func (c *converter) balancers(s *server) {
	d := s.creates
	if d == nil {
		return
	}
	rules := 0
	for _, h := range append([]*host{s.main}, s.hosts...) {
		rules += len(h.rules)
	}
	switch v := d.arg(0); {
	case v == "0", v == "2" && rules == 0:
		c.note(d, Needless, "", "every listener routes")
	case v == "2":
		c.note(d, Manual, "shared.rules", "hosts for users have ProxyPass: look whether paths without one should be rejected")
	case v == "1":
		c.note(d, Converted, "shared.rules", "only what a ProxyPass names is routed")
	default:
		c.note(d, Manual, "", "must be 0, 1 or 2")
	}
}

// access writes who may register and who may administer.
func (c *converter) access(s *server) {
	open := false
	if n := s.allowed; n.d != nil && len(n.list) == 0 {
		c.doc.list("mcmp.allowed_cidrs", []string{"127.0.0.0/8", "::1/128"}, n.d.where()+": name the networks of the workers")
	} else if n.d != nil {
		c.doc.list("mcmp.allowed_cidrs", n.list, n.d.where())
		open = n.all
	} else if c.doc.get("mcmp.listeners") != nil {
		c.doc.list("mcmp.allowed_cidrs", []string{"0.0.0.0/0", "::/0"}, "httpd asked nobody: name the networks of the workers")
		open = true
	}
	if open {
		c.warn("workers may register from everywhere: name their networks in mcmp.allowed_cidrs")
	}
	if n := s.admins; len(n.list) > 0 && s.managed {
		c.warn("the manager page is at admin.address, 127.0.0.1:7302; networks that may see it (%s) count once that is another address", strings.Join(n.list, ", "))
		c.doc.list("admin.allowed_cidrs", n.list, n.d.where())
	}
}

// workersTLS decides how certificates of https workers are verified.
func (c *converter) workersTLS(s *server) {
	verify, how := s.verify, "none"
	if verify != nil && isOneOf(strings.ToLower(verify.arg(0)), "require", "optional") {
		how = "full"
		if s.verifyName != nil && off(s.verifyName.arg(0)) {
			how = "ca"
		}
	}
	switch {
	case verify == nil:
		c.doc.set("upstream.tls.verify", "none", "SSLProxyVerify is none in httpd unless it is said")
	case how == "none":
		c.note(verify, Converted, "upstream.tls.verify", "")
		c.doc.set("upstream.tls.verify", "none", verify.where())
	default:
		c.note(verify, Converted, "upstream.tls.verify", "")
		c.set(verify, "upstream.tls.verify", how)
	}
	if how == "none" {
		c.warn("certificates of https workers are NOT verified, as with httpd: set upstream.tls.verify to full and give upstream.tls.ca_file")
	}
}
