package migrate

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// table is what is known of httpd's directives, by their names in lower case
// (spec/directives.md §5.1 and §5.2).
func table() map[string]handler {
	t := map[string]handler{
		// mod_manager
		"enablemcmpreceive": receives,
		"enablemcpmreceive": receives,
		"memmanagerfile":    needless("the state is in replica.data_dir"),
		"persistslots":      needless("the state is always kept"),
		"maxnode":           serverOnly(atLeast("shared.limits.workers", 1000)),
		"maxhost":           serverOnly(atLeast("shared.limits.aliases_per_worker", 100)),
		"maxcontext":        serverOnly(atLeast("shared.limits.contexts_per_worker", 500)),
		"maxsessionid":      needless("sessions are not kept in a table"),
		"maxjgroupsid":      needless("obsolete"),
		"mutex":             needless(""),
		"maxmcmpmesssize": serverOnly(value(Converted, "mcmp.max_message_bytes", func(d *directive) (string, string, bool) {
			n, note, ok := number(d, 1024, huge)
			return size(int64(max(n, 64<<10))), note, ok
		})),
		"managerbalancername": value(Copied, "shared.default_balancer", func(d *directive) (string, string, bool) {
			if d.arg(0) == "" {
				return "", "must name a balancer", false
			}
			return strings.ToLower(d.arg(0)), "", true
		}),
		"checknonce":    toggle(Copied, "admin.manager.check_nonce", "true", "false"),
		"allowcmd":      toggle(Copied, "admin.manager.allow_cmd", "true", "false"),
		"allowdisplay":  needless("the manager page shows all"),
		"reducedisplay": needless("the manager page shows all"),
		"enablewstunnel": serverOnly(func(w *walk, d *directive, _ scope) {
			w.tunnel(d, []string{"websocket"})
			w.c.note(d, Copied, "upstream.upgrade.protocols", "")
		}),
		"wsupgradeheader": serverOnly(upgradeHeader),
		"ajpsecret": serverOnly(func(w *walk, d *directive, _ scope) {
			w.s.secured = true
			w.c.secret(d, "upstream.ajp.secret_file", "ajp-secret", d.arg(0))
			w.c.hide(d, Converted, "upstream.ajp.secret_file", "in a file of its own")
		}),
		"responsefieldsize": serverOnly(value(Converted, "upstream.http.max_response_header_bytes", func(d *directive) (string, string, bool) {
			n, note, ok := number(d, 0, huge)
			if n == 0 {
				n = 8192
			}
			return size(max(8*int64(n), 64<<10)), or(note, "a line there, the whole head here"), ok
		})),
		"sethandler": func(w *walk, d *directive, s scope) {
			if !strings.EqualFold(d.arg(0), "mod_cluster-manager") {
				w.c.note(d, Manual, "", "httpd answered itself")
				return
			}
			w.s.managed = true
			w.c.note(d, Converted, "admin.manager.enabled", "on admin.address, under /mod_cluster_manager")
		},

		// mod_proxy_cluster
		"createbalancers": func(w *walk, d *directive, _ scope) {
			w.s.creates = d // its line of the report comes with the rules
		},
		"usealias": func(w *walk, d *directive, s scope) {
			w.s.aliases = d
			v, ok := map[bool]string{true: "true"}[on(d.arg(0))]
			if !ok && !off(d.arg(0)) {
				w.wrong(d, "On or Off")
				return
			}
			w.c.note(d, Copied, "shared.use_alias", w.one(d, s, "shared.use_alias", or(v, "false")))
		},
		"lbstatusrecaltime": recalculation,
		"waitbeforeremove":  wait(Copied, "shared.remove_delay", 10*time.Second),
		"enableoptions": func(w *walk, d *directive, s scope) {
			if !off(d.arg(0)) {
				w.c.note(d, Converted, "upstream.health.probe", "auto asks OPTIONS, too")
				return
			}
			w.one(d, s, "upstream.health.probe", "tcp")
			w.c.note(d, Manual, "upstream.health.probe", "tcp was written; httpd checked nothing then")
		},
		"deterministicfailover": value(Converted, "shared.failover", func(d *directive) (string, string, bool) {
			switch {
			case on(d.arg(0)):
				return "deterministic", "", true
			case off(d.arg(0)):
				return "load_balanced", "", true
			}
			return "", "must be On or Off", false
		}),
		"cachesharefor":                 needless("the table is exchanged whole"),
		"modproxyclusterhctemplate":     healthTemplate,
		"modproxyclusterthreadcount":    needless(""),
		"usenocanon":                    needless("targets are sent as they came"),
		"responsestatuscodeonnocontext": value(Copied, "shared.no_context_status", status),
		"serveradvertise":               advertises,
		"advertisegroup":                advertiseGroup,
		"advertisefrequency":            advertiseFrequency,
		"advertisesecuritykey":          advertiseKey,
		"advertisemanagerurl":           needless("informational"),
		"advertisebindaddress":          advertiseBind,

		// core, MPMs and others, of hosts
		"listen":           func(w *walk, d *directive, _ scope) { w.s.listens = append(w.s.listens, d) },
		"servername":       names,
		"serveralias":      names,
		"keepalive":        users(keepAlive, needless("workers keep their connection")),
		"keepalivetimeout": users(wait(Converted, "traffic.timeouts.idle", 0), workerKeepAlive),
		"maxkeepaliverequests": users(count(Converted, "traffic.limits.requests_per_connection", 0),
			needless("workers' connections have no limit")),
		"timeout": users(func(w *walk, d *directive, s scope) {
			w.s.timeout = d
			t, ok := duration(d.arg(0))
			if !ok {
				w.wrong(d, "a duration")
				return
			}
			note := w.one(d, s, "traffic.timeouts.body", seconds(t))
			w.one(d, s, "traffic.timeouts.write", seconds(t))
			w.c.note(d, Converted, "traffic.timeouts.body, .write", note)
		}, needless("mcmp.idle_timeout and mcmp.reply_budget are for workers")),
		"requestreadtimeout": users(readTimeout, needless("mcmp has its own")),
		"limitrequestline":   users(bytesOf("traffic.limits.request_line_bytes", 1, 0), needless("mcmp.max_message_bytes is for workers")),
		"limitrequestfieldsize": users(bytesOf("traffic.limits.header_bytes", 4, 32<<10),
			needless("mcmp.max_message_bytes is for workers")),
		"limitrequestfields": users(count(Converted, "traffic.limits.headers", 0), needless("")),
		"limitrequestbody":   users(bytesOf("traffic.limits.body_bytes", 1, 0), needless("")),
		"protocols": func(w *walk, d *directive, s scope) {
			s.host.proto = d.args
			w.c.note(d, Converted, "traffic.listeners[].protocols", "")
		},
		"h2maxsessionstreams": count(Copied, "traffic.http2.max_concurrent_streams", 1),
		"h2windowsize":        needless("64 KiB per stream, 256 KiB per connection"),
		"h2maxdataframelen":   needless(""),
		"gracefulshutdowntimeout": func(w *walk, d *directive, s scope) {
			if d.arg(0) == "0" {
				w.c.note(d, Converted, "replica.drain_timeout", "0 waits for ever there; here the default")
				return
			}
			wait(Converted, "replica.drain_timeout", time.Second)(w, d, s)
		},
		"usecanonicalname": needless("the Host that was asked for counts"),
		"allowencodedslashes": choice(Converted, "traffic.path.encoded_slash",
			map[string]string{"on": "decode", "off": "reject", "nodecode": "keep"}, map[string]string{"": "must be On, Off or NoDecode"}),
		"mergeslashes":        toggle(Converted, "traffic.path.merge_slashes", "true", "false"),
		"httpprotocoloptions": needless("always strict"),
		"traceenable": func(w *walk, d *directive, s scope) {
			if off(d.arg(0)) {
				w.c.note(d, Needless, "", "TRACE is refused")
				return
			}
			w.c.doc.list("traffic.disallowed_methods", nil, d.where())
			w.c.note(d, Converted, "traffic.disallowed_methods", "")
		},
		"errordocument":         manual("errors have quorate's plain pages"),
		"remoteipheader":        remoteHeader,
		"remoteipinternalproxy": remoteProxies,
		"remoteiptrustedproxy":  remoteProxies,
		"remoteipproxyprotocol": remoteProtocol,
		"loglevel":              logLevel,
		"errorlog":              logFile("log.output"),
		"customlog":             customLog,
		"transferlog":           logFile("access_log.output"),
		"logformat":             logFormat,
		"redirect":              redirects,
		"redirectpermanent":     redirects,
		"documentroot":          manual("httpd served local files"),
		"directoryindex":        manual("httpd served local files"),
		"header":                manual("headers are the worker's"),
		"requestheader":         requestHeader,

		// who may
		"require": requires, "allow": allows, "deny": denies,
		"order":   needless("who is not allowed is refused"),
		"satisfy": manual("networks and certificates are both asked for"),

		// mod_proxy
		"proxyrequests":  needless("it is off here, too"),
		"proxypass":      proxyPass,
		"proxypassmatch": proxyPass,
		"balancermember": manual("workers register themselves"),
		"proxyset":       manual("workers and their CONFIG say so"),
		"proxypreservehost": func(w *walk, d *directive, s scope) {
			w.s.preserves = d
			toggle(Copied, "upstream.http.preserve_host", "true", "false")(w, d, s)
		},
		"proxytimeout": func(w *walk, d *directive, s scope) {
			w.s.proxyWaits = d
			wait(Copied, "upstream.response_timeout", time.Second)(w, d, s)
		},
		"proxyiobuffersize": value(Converted, "upstream.ajp.max_packet_bytes", func(d *directive) (string, string, bool) {
			n, note, ok := number(d, 0, huge)
			n = (max(8<<10, min(n, 64<<10)) + 1023) / 1024 * 1024
			if ok && n > 8<<10 {
				note = "give workers' AJP connectors packetSize=\"" + strconv.Itoa(n) + "\""
			}
			return size(int64(n)), note, ok
		}),
		"proxyreceivebuffersize": needless(""),
		"proxysourceaddress":     manual("the kernel chooses the address"),
		"proxyaddheaders":        toggle(Converted, "upstream.forwarded.x_forwarded", "true", "false"),
		"proxyvia": func(w *walk, d *directive, _ scope) {
			if off(d.arg(0)) {
				w.c.note(d, Needless, "", "no Via is added")
				return
			}
			w.c.note(d, Manual, "", "no Via is added")
		},
		"proxymaxforwards":   needless(""),
		"proxyerroroverride": manual("answers of workers pass as they are"),
		"proxybadheader":     needless("a malformed answer is 502"),
		"proxystatus":        needless("see quorate workers"),
		"proxy100continue":   needless("always"),
		"balancerpersist":    needless("the state is always kept"),
		"balancerinherit":    needless("every listener routes by the same table"),
		"balancergrowth":     needless("there are no slots"),
		"proxypassinherit":   needless("every listener routes by the same table"),

		// mod_ssl
		"sslengine": sslEngine,
		"sslcertificatefile": func(w *walk, d *directive, s scope) {
			s.host.tls.certs = append(s.host.tls.certs, d.arg(0))
			w.c.note(d, Converted, tlsPath(s), "")
		},
		"sslcertificatekeyfile": func(w *walk, d *directive, s scope) {
			s.host.tls.keys = append(s.host.tls.keys, d.arg(0))
			w.c.note(d, Converted, tlsPath(s), "")
		},
		"sslcertificatechainfile": manual("append it to the certificate: cat CHAIN >> CERT"),
		"sslprotocol":             func(w *walk, d *directive, s scope) { w.protocol(d, &s.host.tls.min, tlsPath(s)+".min_version") },
		"sslciphersuite":          manual("TLS 1.2 suites are Go's own, ECDHE with AEAD first"),
		"sslhonorcipherorder":     needless("the order is fixed"),
		"sslverifyclient":         verifyClient,
		"sslverifydepth":          manual("chains of any length are followed"),
		"sslcacertificatefile": func(w *walk, d *directive, s scope) {
			s.host.tls.ca = d.arg(0)
			w.c.note(d, Converted, tlsPath(s)+".client_ca_file", "")
		},
		"sslcacertificatepath":      manual("put the certificates into one file: client_ca_file"),
		"sslcarevocationfile":       manual("no revocation lists: issue short certificates, or name those who may in client_names"),
		"sslcarevocationpath":       manual("no revocation lists: issue short certificates, or name those who may in client_names"),
		"sslcarevocationcheck":      manual("no revocation lists"),
		"ssloptions":                needless("workers get no environment of TLS"),
		"sslstrictsnivhostcheck":    needless("an unknown name gets the first certificate, and rules look at Host"),
		"sslsessioncache":           needless("sessions resume by tickets"),
		"sslsessioncachetimeout":    needless("sessions resume by tickets"),
		"sslsessiontickets":         needless("sessions resume by tickets"),
		"sslusestapling":            needless("no stapling"),
		"sslstaplingcache":          needless("no stapling"),
		"sslproxyengine":            needless("https workers need no switch"),
		"sslproxyverify":            func(w *walk, d *directive, _ scope) { w.s.verify = d },
		"sslproxycheckpeername":     checksName,
		"sslproxycheckpeercn":       checksName,
		"sslproxycheckpeerexpire":   needless("expired certificates are refused"),
		"sslproxyverifydepth":       manual("chains of any length are followed"),
		"sslproxycacertificatefile": copyFile("upstream.tls.ca_file", ""),
		"sslproxycacertificatepath": manual("put the certificates into one file: upstream.tls.ca_file"),
		"sslproxycarevocationfile":  manual("no revocation lists"),
		"sslproxycarevocationpath":  manual("no revocation lists"),
		"sslproxymachinecertificatefile": func(w *walk, d *directive, s scope) {
			w.one(d, s, "upstream.tls.cert_file", d.arg(0))
			w.one(d, s, "upstream.tls.key_file", d.arg(0))
			w.c.note(d, Converted, "upstream.tls.cert_file, .key_file", "one file with both is taken")
		},
		"sslproxymachinecertificatechainfile": manual("append it to upstream.tls.cert_file"),
		"sslproxyprotocol":                    func(w *walk, d *directive, s scope) { w.proxyProtocol(d, s) },
		"sslproxyciphersuite":                 manual("TLS 1.2 suites are Go's own"),
	}
	for why, all := range map[string]string{
		"connections have limits, processes have none": `MaxRequestWorkers MaxClients ThreadsPerChild ThreadLimit ServerLimit StartServers MinSpareThreads MaxSpareThreads
			MinSpareServers MaxSpareServers MaxConnectionsPerChild MaxRequestsPerChild AsyncRequestWorkerFactor ThreadStackSize MaxMemFree`,
		"": `ListenBacklog AcceptFilter AcceptMutex PidFile ScoreBoardFile CoreDumpDirectory User Group ServerAdmin ServerSignature ServerTokens
			HostnameLookups EnableSendfile EnableMMAP TypesConfig AddType AddHandler AddCharset AddDefaultCharset AddEncoding AddLanguage MIMEMagicFile DefaultType
			ExtendedStatus ContentDigest FileETag AllowOverride Options UseCanonicalPhysicalPort SSLRandomSeed SSLPassPhraseDialog
			SSLCryptoDevice H2Push H2Direct H2Upgrade H2MinWorkers H2MaxWorkers RegisterHttpMethod LanguagePriority ForceLanguagePriority`,
	} {
		for name := range strings.FieldsSeq(all) {
			t[strings.ToLower(name)] = needless(why)
		}
	}
	return t
}

// hide reports a directive without its value, which is a secret.
func (c *converter) hide(d *directive, kind Kind, path, note string) {
	c.items = append(c.items, Item{d.file, d.line, d.name, "", kind, path, note})
}

func receives(w *walk, d *directive, s scope) {
	note := "httpd served users on this address, too; quorate does not"
	switch {
	case s.host == w.s.main:
		w.c.note(d, Manual, "mcmp.listeners", "outside of VirtualHost: name the address in mcmp.listeners")
	case s.host.proxied:
		w.c.note(d, Manual, "mcmp.listeners", "this host has users (ProxyPass): give them an address in traffic.listeners")
	default:
		w.c.note(d, Converted, "mcmp.listeners", note)
	}
}

// atLeast copies a limit only where it is larger than the default: httpd's count all,
// quorate's are caps.
func atLeast(path string, least int) handler {
	return func(w *walk, d *directive, s scope) {
		n, note, ok := number(d, 1, huge)
		switch {
		case !ok:
			w.c.note(d, Manual, path, note)
		case n <= least:
			w.c.note(d, Converted, path, fmt.Sprintf("the default, %d, is enough", least))
		default:
			w.c.note(d, Converted, path, w.one(d, s, path, strconv.Itoa(n)))
		}
	}
}

func bytesOf(path string, times, least int) handler {
	return value(Converted, path, func(d *directive) (string, string, bool) {
		n, note, ok := number(d, 0, huge)
		if n == 0 {
			return "0", note, ok
		}
		return size(max(int64(n)*int64(times), int64(least))), note, ok
	})
}

func (w *walk) tunnel(d *directive, protocols []string) {
	w.s.tunnels = d
	if len(protocols) == 1 && protocols[0] == "websocket" {
		w.c.doc.remove("upstream.upgrade.protocols")
		return
	}
	w.c.doc.list("upstream.upgrade.protocols", protocols, d.where())
}

func upgradeHeader(w *walk, d *directive, _ scope) {
	switch strings.ToUpper(d.arg(0)) {
	case "":
		w.wrong(d, "a protocol")
		return
	case "*", "ANY", "NONE":
		w.tunnel(d, []string{"*"})
	default:
		w.tunnel(d, strings.FieldsFunc(d.arg(0), func(r rune) bool { return r == ',' || r == ' ' }))
	}
	w.c.note(d, Converted, "upstream.upgrade.protocols", "")
}

func recalculation(w *walk, d *directive, s scope) {
	t, ok := duration(d.arg(0))
	if !ok {
		w.wrong(d, "a number of seconds")
		return
	}
	t = max(t, time.Second)
	note := w.one(d, s, "shared.recalculation_interval", seconds(t))
	w.one(d, s, "upstream.health.interval", seconds(t))
	w.one(d, s, "upstream.health.remove_after", seconds(60*t))
	w.c.note(d, Copied, "shared.recalculation_interval, upstream.health.interval, .remove_after", note)
}

func status(d *directive) (string, string, bool) {
	n, note, ok := number(d, 400, 599)
	return strconv.Itoa(n), note, ok
}

func healthTemplate(w *walk, d *directive, s scope) {
	note, kind := "", Converted
	complain := func(format string, args ...any) {
		kind, note = Manual, strings.TrimPrefix(note+"; "+fmt.Sprintf(format, args...), "; ")
	}
	for _, arg := range d.args {
		k, v, _ := strings.Cut(arg, "=")
		switch strings.ToLower(k) {
		case "hcmethod":
			probe, known := map[string]string{"cping": "auto", "options": "options", "options11": "options", "get": "get", "get11": "get",
				"head": "head", "head11": "head", "tcp": "tcp", "none": "none"}[strings.ToLower(v)]
			if !known {
				complain("hcmethod=%s: unknown", v)
				continue
			}
			w.one(d, s, "upstream.health.probe", probe)
		case "hcinterval":
			t, ok := duration(v)
			if !ok || t < time.Second {
				complain("hcinterval=%s: no duration", v)
				continue
			}
			w.one(d, s, "upstream.health.interval", seconds(t))
		case "hcfails":
			w.one(d, s, "upstream.health.fails", v)
		case "hcpasses":
			if v != "1" {
				complain("hcpasses=%s: one pass is enough here", v)
			}
		case "hcuri":
			w.one(d, s, "upstream.health.path", v)
		default:
			complain("%s: no equal", arg)
		}
	}
	w.c.note(d, kind, "upstream.health", note)
}

// Advertising.

func advertises(w *walk, d *directive, s scope) {
	if off(d.arg(0)) {
		w.s.advertise = d
		w.c.doc.remove("mcmp.advertise.enabled")
		w.c.note(d, Converted, "mcmp.advertise.enabled", "")
		return
	}
	w.announce(d)
	if to := d.arg(1); to != "" {
		if _, rest, ok := strings.Cut(to, "://"); ok {
			to = rest
		}
		w.one(d, s, "mcmp.advertise.address", to)
	}
	w.c.note(d, Converted, "mcmp.advertise.enabled", "")
}

// announce switches advertising on: httpd does where any of its directives is there,
// but for one that says Off.
func (w *walk) announce(d *directive) {
	if a := w.s.advertise; a != nil && a.is("ServerAdvertise") && off(a.arg(0)) {
		return
	}
	w.s.advertise = d
	w.c.set(d, "mcmp.advertise.enabled", "true")
}

func advertiseGroup(w *walk, d *directive, s scope) {
	group, port := d.arg(0), ""
	if h, p, err := net.SplitHostPort(group); err == nil {
		group, port = h, p
	}
	if !isIP(group) {
		w.wrong(d, "an address, with a port or without")
		return
	}
	w.announce(d)
	note := w.one(d, s, "mcmp.advertise.group", group)
	if port != "" {
		w.one(d, s, "mcmp.advertise.port", port)
	}
	w.c.note(d, Converted, "mcmp.advertise.group, .port", note)
}

// advertiseFrequency is s, s.ms or s,ms: the fraction is a whole number of ms.
func advertiseFrequency(w *walk, d *directive, s scope) {
	whole, ms, _ := strings.Cut(strings.Replace(d.arg(0), ",", ".", 1), ".")
	a, err := strconv.Atoi(whole)
	b, berr := strconv.Atoi(or(ms, "0"))
	if err != nil || berr != nil || a < 0 || b < 0 || a+b == 0 {
		w.wrong(d, "seconds, with milliseconds behind a point")
		return
	}
	w.announce(d)
	note := w.one(d, s, "mcmp.advertise.interval", seconds(time.Duration(a)*time.Second+time.Duration(b)*time.Millisecond))
	w.c.note(d, Converted, "mcmp.advertise.interval", note)
}

func advertiseKey(w *walk, d *directive, _ scope) {
	w.announce(d)
	w.c.secret(d, "mcmp.advertise.security_key_file", "advertise-key", d.arg(0))
	w.c.hide(d, Converted, "mcmp.advertise.security_key_file", "in a file of its own")
}

func advertiseBind(w *walk, d *directive, _ scope) {
	w.announce(d)
	port := portOf(d.arg(0))
	if port != "" && port != "23364" {
		w.c.note(d, Manual, "", "the port of the sender is not fixed here")
		return
	}
	w.c.note(d, Needless, "", "mcmp.advertise.interfaces says where to send")
}

// Hosts.

func names(w *walk, d *directive, s scope) {
	for _, n := range d.args {
		if _, rest, ok := strings.Cut(n, "://"); ok {
			n = rest
		}
		if h, _, err := net.SplitHostPort(n); err == nil {
			n = h
		}
		s.host.names = append(s.host.names, n)
	}
	if s.host.mcmp || s.host == w.s.main {
		w.c.note(d, Needless, "", "")
		return
	}
	w.c.note(d, Converted, "shared.rules[].hosts", "where hosts differ; contexts and aliases decide else")
}

func keepAlive(w *walk, d *directive, s scope) {
	if !off(d.arg(0)) {
		w.c.note(d, Needless, "", "")
		return
	}
	note := w.one(d, s, "traffic.limits.requests_per_connection", "1")
	w.c.note(d, Converted, "traffic.limits.requests_per_connection", note)
}

func workerKeepAlive(w *walk, d *directive, s scope) {
	t, ok := duration(d.arg(0))
	if !ok {
		w.wrong(d, "a duration")
		return
	}
	note := ""
	if t < time.Minute {
		t, note = time.Minute, "60s is the least: workers hold one connection"
	}
	if other := w.one(d, s, "mcmp.idle_timeout", seconds(t)); other != "" {
		note = other
	}
	w.c.note(d, Converted, "mcmp.idle_timeout", note)
}

// readTimeout is header=20-40,MinRate=500 body=20,MinRate=500.
func readTimeout(w *walk, d *directive, s scope) {
	note, kind := "", Converted
	for _, arg := range d.args {
		stage, rest, _ := strings.Cut(strings.ToLower(arg), "=")
		span, options, _ := strings.Cut(rest, ",")
		first, most, ranged := strings.Cut(span, "-")
		if ranged {
			first = most
		}
		t, ok := duration(first)
		path, known := map[string]string{"header": "traffic.timeouts.header", "body": "traffic.timeouts.body"}[stage]
		if !known || !ok {
			kind, note = Manual, arg+": no equal"
			continue
		}
		w.one(d, s, path, seconds(t))
		if rate, ok := strings.CutPrefix(options, "minrate="); ok && stage == "body" {
			w.one(d, s, "traffic.body_min_rate", rate+"B/s")
		}
	}
	w.c.note(d, kind, "traffic.timeouts, traffic.body_min_rate", note)
}

// Who the client is.

func remoteHeader(w *walk, d *directive, _ scope) {
	if strings.EqualFold(d.arg(0), "X-Forwarded-For") {
		w.c.note(d, Converted, "traffic.trusted_proxies", "X-Forwarded-For of trusted proxies is believed")
		return
	}
	w.c.note(d, Manual, "traffic.trusted_proxies", "X-Forwarded-For is the only one that is read")
}

func remoteProxies(w *walk, d *directive, _ scope) {
	var bad []string
	for _, a := range d.args {
		if p, ok := prefix(a); ok {
			if !slices.Contains(w.s.trusted, p) {
				w.s.trusted = append(w.s.trusted, p)
			}
		} else {
			bad = append(bad, a)
		}
	}
	w.s.trusts = d
	if len(bad) > 0 {
		w.c.note(d, Manual, "traffic.trusted_proxies", strings.Join(bad, " ")+": names are not resolved: give networks")
		return
	}
	w.c.note(d, Converted, "traffic.trusted_proxies", "")
}

func remoteProtocol(w *walk, d *directive, s scope) {
	s.host.proxy = on(d.arg(0))
	w.c.note(d, Converted, "traffic.listeners[].proxy_protocol", "only traffic.trusted_proxies may send it")
}

// Logs.

func logLevel(w *walk, d *directive, s scope) {
	general := ""
	for _, a := range d.args {
		if !strings.Contains(a, ":") {
			general = strings.ToLower(a)
		}
	}
	level := "debug"
	switch {
	case general == "":
		w.c.note(d, Needless, "", "of modules")
		return
	case isOneOf(general, "emerg", "alert", "crit", "error"):
		level = "error"
	case general == "warn":
		level = "warn"
	case isOneOf(general, "notice", "info"):
		level = "info"
	}
	w.c.note(d, Converted, "log.level", w.one(d, s, "log.level", level))
}

func logFile(path string) handler {
	return func(w *walk, d *directive, s scope) {
		name := d.arg(0)
		switch {
		case strings.HasPrefix(name, "|"), strings.HasPrefix(name, "syslog"):
			w.c.note(d, Manual, path, "write to stderr or stdout, and let the service manager pass it on")
		case name == "/dev/stderr", name == "/dev/stdout":
			w.c.note(d, Converted, path, w.one(d, s, path, strings.TrimPrefix(name, "/dev/")))
		case strings.HasPrefix(name, "/"):
			w.c.note(d, Converted, path, w.one(d, s, path, name))
		default:
			w.c.note(d, Converted, path, "a name without a folder: the default was left")
		}
	}
}

func customLog(w *walk, d *directive, s scope) {
	logFile("access_log.output")(w, d, s)
	switch format := strings.ToLower(d.arg(1)); {
	case format == "combined":
		w.c.doc.list("access_log.fields", []string{"user_agent", "referer"}, d.where())
	case format == "common", format == "":
	default:
		w.c.note(d, Manual, "access_log", "the format is quorate's: "+formatHint(d.arg(1)))
	}
}

func logFormat(w *walk, d *directive, _ scope) {
	if isOneOf(strings.ToLower(d.arg(1)), "common", "combined", "combinedio", "referer", "agent") {
		w.c.note(d, Needless, "", "the format is quorate's")
		return
	}
	w.c.note(d, Manual, "access_log", "the format is quorate's: "+formatHint(d.arg(0)))
}

// formatHint says which fields stand for what mod_cluster's users log.
func formatHint(format string) string {
	hints := []struct{ old, now string }{{"BALANCER_WORKER_ROUTE", "worker"}, {"BALANCER_SESSION_ROUTE", "route_wanted"}, {"BALANCER_NAME", "balancer"},
		{"BALANCER_ROUTE_CHANGED", "route_changed"}, {"%D", "duration"}, {"%T", "duration"}, {"%h", "client"}, {"%a", "client"}, {"%r", "method, path, query, protocol"},
		{"%>s", "status"}, {"%b", "bytes_out"}, {"%O", "bytes_out"}, {"%I", "bytes_in"}, {"User-agent", "user_agent"}, {"Referer", "referer"}}
	var found []string
	for _, h := range hints {
		if strings.Contains(strings.ToLower(format), strings.ToLower(h.old)) && !slices.Contains(found, h.now) {
			found = append(found, h.now)
		}
	}
	if found == nil {
		return "JSON, a line a request"
	}
	return "its fields are " + strings.Join(found, ", ")
}

// redirects of everything to https are a listener's switch.
func redirects(w *walk, d *directive, s scope) {
	args := d.args
	if len(args) == 3 {
		args = args[1:]
	}
	if len(args) == 2 && args[0] == "/" && s.location == "" && !s.host.mcmp {
		if u, err := url.Parse(args[1]); err == nil && u.Scheme == "https" && (u.Path == "/" || u.Path == "") {
			s.host.toHTTPS = d
			w.c.note(d, Converted, "traffic.listeners[].redirect_to_https", "with 308, to the host that was asked for")
			return
		}
	}
	w.c.note(d, Manual, "shared.rules", "a rule with action: redirect")
}

func requestHeader(w *walk, d *directive, _ scope) {
	if isOneOf(strings.ToLower(d.arg(1)), "x-forwarded-proto", "x-forwarded-port", "x-forwarded-for", "x-forwarded-host") {
		w.c.note(d, Needless, "", "built in")
		return
	}
	w.c.note(d, Manual, "", "headers of requests pass as they came")
}

// Access.

func (w *walk) networksOf(s scope) (n *networks, path string) {
	switch {
	case s.manager:
		return &w.s.admins, "admin.allowed_cidrs"
	case s.host.mcmp && (s.location == "" || s.location == "/"):
		return &w.s.allowed, "mcmp.allowed_cidrs"
	}
	return nil, ""
}

func requires(w *walk, d *directive, s scope) {
	n, path := w.networksOf(s)
	if n == nil {
		if strings.EqualFold(strings.Join(d.args, " "), "all granted") {
			w.c.note(d, Needless, "", "")
			return
		}
		w.c.note(d, Manual, "", "users are let in by the application")
		return
	}
	w.let(d, n, path, strings.ToLower(d.arg(0)), d.args[min(1, len(d.args)):])
}

func allows(w *walk, d *directive, s scope) {
	n, path := w.networksOf(s)
	if n == nil || !strings.EqualFold(d.arg(0), "from") {
		w.c.note(d, Manual, "", "users are let in by the application")
		return
	}
	what := "ip"
	if strings.EqualFold(d.arg(1), "all") {
		what = "all"
	}
	w.let(d, n, path, what, d.args[1:])
}

func denies(w *walk, d *directive, s scope) {
	if strings.EqualFold(strings.Join(d.args, " "), "from all") {
		w.c.note(d, Needless, "", "who is not allowed is refused")
		return
	}
	w.c.note(d, Manual, "", "networks are allowed, not denied")
}

// let adds to the networks that may.
func (w *walk) let(d *directive, n *networks, path, what string, args []string) {
	switch what {
	case "all":
		if strings.EqualFold(strings.Join(args, " "), "denied") {
			w.c.note(d, Needless, "", "who is not allowed is refused")
			return
		}
		n.add(d, "all")
		w.c.note(d, Manual, path, "open to everybody: name the networks of the workers")
	case "local":
		n.add(d, "local")
		w.c.note(d, Converted, path, "")
	case "ip":
		for _, a := range args {
			if !n.add(d, a) {
				w.c.note(d, Manual, path, a+": names are not resolved: give networks")
				return
			}
		}
		w.c.note(d, Converted, path, "")
	case "host", "forward-dns":
		w.c.note(d, Manual, path, "names are not resolved: give networks")
	default:
		w.c.note(d, Manual, path, "by address, certificate (client_auth) or token (tokens_file) only")
	}
}

// mod_proxy.

// literal is a regular expression that is a path and whatever follows.
var literal = regexp.MustCompile(`^\^?(/[A-Za-z0-9/_-]*?)/?(\(?\.\*\)?)?\$?$`)

func proxyPass(w *walk, d *directive, s scope) {
	from, to := s.location, d.arg(0)
	params := d.args[min(1, len(d.args)):]
	if from == "" {
		from, to = d.arg(0), d.arg(1)
		params = d.args[min(2, len(d.args)):]
	}
	if d.is("ProxyPassMatch") {
		m := literal.FindStringSubmatch(from)
		if m == nil {
			w.c.note(d, Manual, "shared.rules", "a pattern: rules know prefixes")
			return
		}
		from = m[1]
		if from == "" {
			from = "/"
		}
	}
	prefix := strings.TrimSuffix(from, "/")
	if prefix == "" {
		prefix = "/"
	}
	r := rule{d: d, prefix: prefix, location: s.location != ""}
	switch rest, ok := strings.CutPrefix(to, "balancer://"); {
	case to == "!":
		s.host.rules = append(s.host.rules, r)
		w.c.note(d, Manual, "shared.rules", "rejected with 404; httpd served local files")
	case ok:
		name, path, _ := strings.Cut(rest, "/")
		r.balancer = strings.ToLower(name)
		s.host.rules = append(s.host.rules, r)
		if "/"+strings.Trim(path, "/") != "/"+strings.Trim(from, "/") && !d.is("ProxyPassMatch") {
			w.c.note(d, Manual, "shared.rules", "paths are not rewritten: workers see "+from)
		} else {
			w.c.note(d, Converted, "shared.rules", "")
		}
	default:
		w.c.note(d, Manual, "", "quorate routes to workers that register, not to addresses")
	}
	for _, p := range params {
		w.parameter(d, p)
	}
}

// parameter reports a k=v of ProxyPass.
func (w *walk) parameter(d *directive, p string) {
	k, _, _ := strings.Cut(p, "=")
	in := &directive{file: d.file, line: d.line, name: d.name, args: []string{p}}
	switch strings.ToLower(k) {
	case "stickysession", "stickysessionsep", "scolonpathdelim", "nofailover", "maxattempts", "timeout":
		w.c.note(in, Needless, "", "what the worker's CONFIG says counts, as it did")
	case "growth", "forcerecovery", "nonce", "lbmethod":
		if strings.EqualFold(p, "lbmethod=byrequests") || strings.EqualFold(p, "lbmethod=cluster") || !strings.EqualFold(k, "lbmethod") {
			w.c.note(in, Needless, "", "")
			return
		}
		w.c.note(in, Manual, "", "workers are elected by their load")
	case "failonstatus", "failontimeout":
		w.c.note(in, Manual, "", "a failed request never marks a worker")
	default:
		w.c.note(in, Manual, "", "upstream has these for all workers")
	}
}

// mod_ssl.

func tlsPath(s scope) string {
	if s.host.mcmp {
		return "mcmp.listeners[].tls"
	}
	return "traffic.listeners[].tls"
}

func sslEngine(w *walk, d *directive, s scope) {
	if !on(d.arg(0)) {
		w.c.note(d, Needless, "", "")
		return
	}
	s.host.tls.on = d
	w.c.note(d, Converted, tlsPath(s), "")
}

func verifyClient(w *walk, d *directive, s scope) {
	switch strings.ToLower(d.arg(0)) {
	case "none":
		s.host.tls.clientAuth = "none"
	case "optional":
		s.host.tls.clientAuth = "request"
	case "require":
		s.host.tls.clientAuth = "require"
	default:
		w.c.note(d, Manual, tlsPath(s)+".client_auth", "a certificate that is given must be good")
		return
	}
	w.c.note(d, Converted, tlsPath(s)+".client_auth", "")
}

func checksName(w *walk, d *directive, _ scope) {
	w.s.verifyName = d
	w.c.note(d, Converted, "upstream.tls.verify", "")
}

// protocol finds the lowest version that is on.
func (w *walk) protocol(d *directive, least *string, path string) {
	allowed := map[string]bool{}
	all := []string{"tlsv1", "tlsv1.1", "tlsv1.2", "tlsv1.3"}
	for _, a := range d.args {
		a = strings.ToLower(a)
		name := strings.TrimLeft(a, "+-")
		for _, v := range all {
			if name == "all" || name == v {
				allowed[v] = a[0] != '-'
			}
		}
	}
	note := ""
	if allowed["tlsv1"] || allowed["tlsv1.1"] {
		note = "1.2 is the least here"
	}
	*least = "1.3"
	if allowed["tlsv1.2"] || note != "" {
		*least = "1.2"
	}
	w.c.note(d, Converted, path, note)
}

func (w *walk) proxyProtocol(d *directive, s scope) {
	least := ""
	w.protocol(d, &least, "upstream.tls.min_version")
	w.one(d, s, "upstream.tls.min_version", least)
}

func copyFile(path, note string) handler {
	return value(Converted, path, func(d *directive) (string, string, bool) { return d.arg(0), note, d.arg(0) != "" })
}
