package config

import (
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// check holds the whole configuration against every rule.
func (l *loader) check(root reflect.Value) {
	walk(root, "", false, func(x leaf) {
		if x.later {
			if !isDefault(x.value, x.tag) {
				l.refuse(x.path, notAvailable, "")
			}
			return
		}
		x.scalars(func(path string, v reflect.Value) { l.checkTags(path, v, x.tag) })
	})
	l.checkCluster()
	l.checkMCMP()
	l.checkAdmin()
	l.checkTraffic()
	l.checkUpstream()
	l.checkRules()
	l.checkAddresses()
}

// refuse notes a broken rule of the key at path, wherever it was written. What could
// not be read has its error already, and so has all below it.
func (l *loader) refuse(path, rule, advice string) {
	for p := path; p != ""; p = parent(p) {
		if _, bad := l.bad[p]; bad {
			return
		}
	}
	at := l.config.origins.find(path)
	l.fail(at, path, l.valueOf(path, at), rule, advice)
}

// warn notes something about the key at path that keeps nothing from running.
func (l *loader) warn(path, what string) {
	at := l.config.origins.find(path)
	l.config.Warnings = append(l.config.Warnings, Error{Place: at.place, Key: path, Value: l.valueOf(path, at), Rule: what}.String())
}

// valueOf is what the operator wrote for path, else what it is now.
func (l *loader) valueOf(path string, at origin) string {
	if _, found := l.config.origins[path]; found {
		return at.text
	}
	text := ""
	walk(reflect.ValueOf(l.config).Elem(), "", false, func(x leaf) {
		if x.path == path {
			text = flow(x.value)
		}
		x.scalars(func(p string, v reflect.Value) {
			// A bare listener of a list that was set at once has its item's path.
			if p == path || p == path+".address" {
				text = formatText(v)
			}
		})
	})
	return text
}

// checkTags holds one scalar against the tags of its key.
func (l *loader) checkTags(path string, v reflect.Value, tag reflect.StructTag) {
	if allowed, found := tag.Lookup("oneof"); found {
		if words := strings.Split(allowed, "|"); !slices.Contains(words, formatText(v)) {
			l.refuse(path, "must be "+orList(words), "")
		}
	}
	low, high := tag.Get("min"), tag.Get("max")
	below := low != "" && v.Int() < bound(v.Type(), low)
	above := high != "" && v.Int() > bound(v.Type(), high)
	switch {
	case !below && !above:
	case low == "":
		l.refuse(path, "must be at most "+high, "")
	case high == "":
		l.refuse(path, "must be at least "+low, "")
	default:
		l.refuse(path, "must be "+low+" to "+high, "")
	}
	if rule := tag.Get("rule"); rule != "" {
		if broken := checkText(rule, v.String()); broken != "" {
			l.refuse(path, broken, "")
		}
	}
	if kind := tag.Get("file"); kind != "" && v.String() != "" {
		l.checkFile(path, v.String(), kind)
	}
}

// bound reads a min or max tag as a value of type t.
func bound(t reflect.Type, text string) int64 {
	v := reflect.New(t).Elem()
	if err := parseText(v, text); err != nil {
		panic("config: bound " + text + ": " + err.Error())
	}
	return v.Int()
}

// orList gives a, b or c.
func orList(words []string) string {
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func (l *loader) checkCluster() {
	c := &l.config.Cluster
	if n := c.BootstrapExpect; n == 2 {
		l.refuse("cluster.bootstrap_expect", "must be 1, 3, 5 or 7",
			"two machines: add a third replica with traffic.listeners: [], a witness of a few MB that may run beside a worker; "+
				"or give 1 and shared.voters: 1, the second replica then keeps routing when the first is lost")
	} else if !slices.Contains([]int{1, 3, 5, 7}, n) {
		l.refuse("cluster.bootstrap_expect", "must be 1, 3, 5 or 7", "")
	}
	certs := c.TLS != ClusterTLS{}
	switch t := c.TLS; {
	case !certs:
	case t.CertFile == "" && t.KeyFile == "":
		l.refuse("cluster.tls.ca_file", "needs cert_file and key_file", "")
	case t.CAFile == "" && t.CertFile != "":
		l.refuse("cluster.tls.cert_file", "needs key_file and ca_file", "")
	default:
		l.checkPair("cluster.tls", t.CertFile, t.KeyFile)
	}
	if c.SecretFile == "" && !certs {
		const rule, advice = "needs cluster.secret_file", "`quorate secret --out FILE` makes one, the same for all replicas"
		if len(c.Join) > 0 {
			l.refuse("cluster.join", rule, advice)
		}
		if c.BootstrapExpect > 1 {
			l.refuse("cluster.bootstrap_expect", rule, advice)
		}
	}
	l.checkReach()
}

// checkReach refuses to tell others a loopback address when a seed is elsewhere.
func (l *loader) checkReach() {
	c := &l.config.Cluster
	away := slices.IndexFunc(c.Join, func(seed string) bool { return !isLoopback(hostOf(seed)) })
	if away < 0 {
		return
	}
	rule := "is loopback, but the seed " + c.Join[away] + " is not"
	if c.AdvertiseAddress != "" {
		if isLoopback(c.AdvertiseAddress) {
			l.refuse("cluster.advertise_address", rule, "")
		}
		return
	}
	const advice = "give cluster.advertise_address, or listen on 0.0.0.0"
	if isLoopback(hostOf(c.Address)) {
		l.refuse("cluster.address", rule, advice)
	}
	if isLoopback(hostOf(c.GossipAddress)) {
		l.refuse("cluster.gossip_address", rule, advice)
	}
}

// checkAdvertise refuses to announce what no worker can reach.
func (l *loader) checkAdvertise(m *MCMP) {
	const path = "mcmp.advertise.address"
	a := &m.Advertise
	if a.Address != "" {
		host := a.Address
		if h, _, err := net.SplitHostPort(a.Address); err == nil {
			host = h
			if !isAddress(a.Address, false) {
				l.refuse(path, "must be HOST or HOST:PORT, as workers reach it", "")
				return
			}
		}
		if !isHost(host) || isWildcard(host) {
			l.refuse(path, "must be HOST or HOST:PORT, as workers reach it", "")
		}
		return
	}
	switch {
	case !a.Enabled:
	case len(m.Listeners) == 0:
		l.refuse("mcmp.advertise.enabled", "there is no MCMP listener to announce", "")
	case isWildcard(hostOf(m.Listeners[0].Address)):
		l.refuse("mcmp.advertise.enabled", "mcmp.listeners[0] is a wildcard, which no worker can reach", "give mcmp.advertise.address")
	case isLoopback(hostOf(m.Listeners[0].Address)):
		l.warn("mcmp.advertise.enabled", "mcmp.listeners[0] is loopback: only workers on this machine can reach it")
	}
}

func (l *loader) checkMCMP() {
	m := &l.config.MCMP
	l.checkAdvertise(m)
	if m.ReplyBudget <= 0 || m.ReplyBudget >= 20*time.Second {
		l.refuse("mcmp.reply_budget", "must be more than 0 and less than 20s, when workers give up", "")
	}
	l.checkCIDRs("mcmp.allowed_cidrs", m.AllowedCIDRs)
	for i, x := range m.Listeners {
		path := indexed("mcmp.listeners", i)
		clientAuth := ""
		if x.TLS != nil {
			l.checkServer(path+".tls", x.TLS.CertFile, x.TLS.KeyFile, x.TLS.ClientAuth, x.TLS.ClientCAFile)
			l.checkClientNames(path+".tls", x.TLS)
			clientAuth = x.TLS.ClientAuth
		}
		if !isLoopback(hostOf(x.Address)) && !m.AllowedCIDRs.Given && clientAuth != "require" && m.TokensFile == "" {
			l.refuse(l.addressPath(path), "not loopback", "give mcmp.allowed_cidrs, tls.client_auth: require or mcmp.tokens_file")
		}
	}
}

func (l *loader) checkAdmin() {
	a := &l.config.Admin
	l.checkCIDRs("admin.allowed_cidrs", a.AllowedCIDRs)
	switch t := a.TLS; {
	case t.CertFile != "" || t.KeyFile != "":
		l.checkServer("admin.tls", t.CertFile, t.KeyFile, t.ClientAuth, t.ClientCAFile)
	case t.ClientAuth != "none":
		l.refuse("admin.tls.client_auth", "needs cert_file and key_file", "")
	case t.ClientCAFile != "":
		l.refuse("admin.tls.client_ca_file", "needs cert_file and key_file", "")
	}
	if !isLoopback(hostOf(a.Address)) && !a.AllowedCIDRs.Given && a.TLS.ClientAuth != "require" && a.TokensFile == "" {
		l.refuse("admin.address", "not loopback", "give admin.allowed_cidrs, admin.tls.client_auth: require or admin.tokens_file")
	}
}

// checkCIDRs refuses a list that lets nobody in.
func (l *loader) checkCIDRs(path string, a Auto[[]netip.Prefix]) {
	if a.Given && len(a.Value) == 0 && !l.broken(path) {
		l.refuse(path, "must name a network, or be auto for loopback", "")
	}
}

// broken reports whether path or something below it has an error.
func (l *loader) broken(path string) bool {
	for p := range l.bad {
		if inside(p, path) {
			return true
		}
	}
	return false
}

// addressPath names the address of a listener as it was written: the item itself
// when that was its bare address.
func (l *loader) addressPath(item string) string {
	if full := item + ".address"; l.config.origins.under(full) {
		return full
	}
	return item
}

func (l *loader) checkTraffic() {
	t := &l.config.Traffic
	secured := slices.ContainsFunc(t.Listeners, func(x TrafficListener) bool { return x.TLS != nil })
	for i, x := range t.Listeners {
		path := indexed("traffic.listeners", i)
		if x.ProxyProtocol && len(t.TrustedProxies) == 0 {
			l.refuse(path+".proxy_protocol", "needs traffic.trusted_proxies", "name the networks whose PROXY headers are believed")
		}
		switch {
		case !x.RedirectToHTTPS:
		case x.TLS != nil:
			l.refuse(path+".redirect_to_https", "is https already: leave it out, or leave out tls", "")
		case !secured && len(t.TrustedProxies) == 0: // else what stands in front may speak TLS
			l.warn(path+".redirect_to_https", "no traffic listener has tls: something else must answer https")
		}
		if x.Protocols.Given && len(x.Protocols.Value) == 0 && !l.broken(path+".protocols") {
			l.refuse(path+".protocols", "must be auto or name http/1.1, h2 or both", "")
		}
		if x.TLS == nil {
			continue
		}
		tls := path + ".tls"
		if x.TLS.CertFile != "" || x.TLS.KeyFile != "" || len(x.TLS.Certificates) == 0 {
			l.checkPair(tls, x.TLS.CertFile, x.TLS.KeyFile)
		}
		for j, c := range x.TLS.Certificates {
			l.checkPair(indexed(tls+".certificates", j), c.CertFile, c.KeyFile)
		}
		l.checkClientAuth(tls, x.TLS.ClientAuth, x.TLS.ClientCAFile)
		l.checkClientNames(tls, &x.TLS.TLS)
	}
}

// checkServer holds the server side of TLS against its rules.
func (l *loader) checkServer(path, cert, key, clientAuth, clientCA string) {
	l.checkPair(path, cert, key)
	l.checkClientAuth(path, clientAuth, clientCA)
}

func (l *loader) checkClientAuth(path, clientAuth, clientCA string) {
	switch {
	case clientAuth == "none" && clientCA != "":
		l.refuse(path+".client_ca_file", "needs client_auth: require or request", "")
	case (clientAuth == "require" || clientAuth == "request") && clientCA == "":
		l.refuse(path+".client_auth", "needs client_ca_file", "")
	}
}

func (l *loader) checkClientNames(path string, t *TLS) {
	if len(t.ClientNames) > 0 && t.ClientAuth != "require" {
		l.refuse(path+".client_names", "needs client_auth: require", "")
	}
}

func (l *loader) checkUpstream() {
	t := &l.config.Upstream.TLS
	if t.CertFile != "" || t.KeyFile != "" {
		l.checkPair("upstream.tls", t.CertFile, t.KeyFile)
	}
	if size := l.config.Upstream.AJP.MaxPacketBytes; size < 8<<10 || size > 64<<10 {
		l.refuse("upstream.ajp.max_packet_bytes", "must be 8KiB to 64KiB", "")
	}
	if t.Verify == "none" {
		l.warn("upstream.tls.verify", "anybody on the network can pose as a worker")
	}
}

func (l *loader) checkRules() {
	for i, r := range l.config.Shared.Rules {
		path := indexed("shared.rules", i)
		status := path + ".status"
		switch r.Action {
		case "route":
			if l.config.origins.under(status) && r.Status != 404 {
				l.refuse(status, "needs action: reject or redirect", "")
			}
		case "reject":
			if r.Status < 400 || r.Status > 599 {
				l.refuse(status, "must be 400 to 599", "")
			}
		case "redirect":
			if !slices.Contains([]int{301, 302, 303, 307, 308}, r.Status) {
				l.refuse(status, "must be 301, 302, 303, 307 or 308", "")
			}
			if r.To == "" {
				l.refuse(path+".to", "must say where redirect leads: a URL or a path", "")
			}
		}
		if r.Action != "redirect" && r.To != "" {
			l.refuse(path+".to", "needs action: redirect", "")
		}
		if r.Action != "route" && r.Balancer != "" {
			l.refuse(path+".balancer", "needs action: route", "")
		}
	}
}

// checkAddresses refuses two TCP listeners on one address.
func (l *loader) checkAddresses() {
	c := l.config
	type use struct{ path, address string }
	uses := []use{}
	for i, x := range c.MCMP.Listeners {
		uses = append(uses, use{l.addressPath(indexed("mcmp.listeners", i)), x.Address})
	}
	for i, x := range c.Traffic.Listeners {
		uses = append(uses, use{l.addressPath(indexed("traffic.listeners", i)), x.Address})
	}
	uses = append(uses, use{"admin.address", c.Admin.Address})
	if !c.Standalone() {
		uses = append(uses, use{"cluster.address", c.Cluster.Address}, use{"cluster.gossip_address", c.Cluster.GossipAddress})
	}
	for i, a := range uses {
		for _, b := range uses[:i] {
			if !clash(a.address, b.address) {
				continue
			}
			// The one that was written is the one to change.
			first, second := b.path, a.path
			if !c.origins.under(second) && c.origins.under(first) {
				first, second = second, first
			}
			l.refuse(second, "same address as "+first, "")
		}
	}
}

// clash reports whether two addresses cannot both be listened on. A wildcard takes
// the port of every interface; port 0 is always free.
func clash(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil {
		return false
	}
	nA, _ := strconv.Atoi(portA)
	nB, _ := strconv.Atoi(portB)
	return nA == nB && nA != 0 && (isWildcard(hostA) || isWildcard(hostB) || sameHost(hostA, hostB))
}

// sameHost compares addresses, and names by their letters; localhost is 127.0.0.1.
func sameHost(a, b string) bool {
	ipA, errA := netip.ParseAddr(strings.Replace(strings.ToLower(a), "localhost", "127.0.0.1", 1))
	ipB, errB := netip.ParseAddr(strings.Replace(strings.ToLower(b), "localhost", "127.0.0.1", 1))
	if errA == nil && errB == nil {
		return ipA.Unmap() == ipB.Unmap()
	}
	return strings.EqualFold(a, b)
}

// hostOf is the host of HOST:PORT, "" if there is none.
func hostOf(address string) string {
	host, _, _ := net.SplitHostPort(address)
	return host
}

func isWildcard(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.Unmap().IsUnspecified()
}

// isLoopback knows addresses and localhost; any other name may be elsewhere.
func isLoopback(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	name := strings.ToLower(host)
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}
