package migrate

import (
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
			v, ok := map[bool]string{true: "true"}[on(d.arg(0))]
			if !ok && !off(d.arg(0)) {
				w.wrong(d, "On or Off")
				return
			}
			w.s.aliases = d
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
		"errordocument":             manual("errors have quorate's plain pages"),
		"remoteipheader":            remoteHeader,
		"remoteipinternalproxy":     remoteProxies,
		"remoteiptrustedproxy":      remoteProxies,
		"remoteipinternalproxylist": remoteList,
		"remoteiptrustedproxylist":  remoteList,
		"remoteipproxyprotocol":     remoteProtocol,
		"loglevel":                  logLevel,
		"errorlog":                  logFile("log.output"),
		"customlog":                 customLog,
		"transferlog":               logFile("access_log.output"),
		"logformat":                 logFormat,
		"redirect":                  redirects,
		"redirectpermanent":         redirects,
		"documentroot":              manual("httpd served local files"),
		"directoryindex":            manual("httpd served local files"),
		"header":                    manual("headers are the worker's"),
		"requestheader":             requestHeader,

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
			s.host.tls.certs = append(s.host.tls.certs, w.c.absolute(d.arg(0)))
			w.c.note(d, Converted, tlsPath(s), "")
		},
		"sslcertificatekeyfile": func(w *walk, d *directive, s scope) {
			s.host.tls.keys = append(s.host.tls.keys, w.c.absolute(d.arg(0)))
			w.c.note(d, Converted, tlsPath(s), "")
		},
		"sslcertificatechainfile": manual("append it to the certificate: cat CHAIN >> CERT"),
		"sslprotocol":             func(w *walk, d *directive, s scope) { w.protocol(d, &s.host.tls.min, tlsPath(s)+".min_version") },
		"sslciphersuite":          manual("TLS 1.2 suites are Go's own, ECDHE with AEAD first"),
		"sslhonorcipherorder":     needless("the order is fixed"),
		"sslverifyclient":         verifyClient,
		"sslverifydepth":          manual("chains of any length are followed"),
		"sslcacertificatefile": func(w *walk, d *directive, s scope) {
			s.host.tls.ca = w.c.absolute(d.arg(0))
			w.c.note(d, Converted, tlsPath(s)+".client_ca_file", "")
		},
		"sslcacertificatepath":    manual("put the certificates into one file: client_ca_file"),
		"sslcarevocationfile":     manual("no revocation lists: issue short certificates, or name those who may in client_names"),
		"sslcarevocationpath":     manual("no revocation lists: issue short certificates, or name those who may in client_names"),
		"sslcarevocationcheck":    manual("no revocation lists"),
		"ssloptions":              needless("workers get no environment of TLS"),
		"sslstrictsnivhostcheck":  needless("an unknown name gets the first certificate, and rules look at Host"),
		"sslsessioncache":         needless("sessions resume by tickets"),
		"sslsessioncachetimeout":  needless("sessions resume by tickets"),
		"sslsessiontickets":       needless("sessions resume by tickets"),
		"sslusestapling":          needless("no stapling"),
		"sslstaplingcache":        needless("no stapling"),
		"sslproxyengine":          needless("https workers need no switch"),
		"sslproxyverify":          func(w *walk, d *directive, _ scope) { w.s.verify = d },
		"sslproxycheckpeername":   checksName,
		"sslproxycheckpeercn":     checksName,
		"sslproxycheckpeerexpire": needless("expired certificates are refused"),
		"sslproxyverifydepth":     manual("chains of any length are followed"),
		"sslproxycacertificatefile": func(w *walk, d *directive, s scope) {
			w.c.note(d, Converted, "upstream.tls.ca_file", w.one(d, s, "upstream.tls.ca_file", w.c.absolute(d.arg(0))))
		},
		"sslproxycacertificatepath": manual("put the certificates into one file: upstream.tls.ca_file"),
		"sslproxycarevocationfile":  manual("no revocation lists"),
		"sslproxycarevocationpath":  manual("no revocation lists"),
		"sslproxymachinecertificatefile": func(w *walk, d *directive, s scope) {
			w.one(d, s, "upstream.tls.cert_file", w.c.absolute(d.arg(0)))
			w.one(d, s, "upstream.tls.key_file", w.c.absolute(d.arg(0)))
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
