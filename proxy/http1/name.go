package http1

// A Name is a field name that means something to a proxy.
type Name uint8

const (
	Other Name = iota // all the rest

	// Framing and routing.
	Host
	ContentLength
	TransferEncoding
	Expect

	// About one connection, never passed on.
	Connection
	KeepAlive
	ProxyConnection
	ProxyAuthorization
	TE
	Trailer
	Upgrade
	HTTP2Settings

	Proxy // CGI would make HTTP_PROXY of it

	// Who the client is and what it asked for, if a trusted peer says so.
	Forwarded
	XForwardedFor
	XForwardedHost
	XForwardedProto
	XForwardedPort
	XForwardedServer
	XForwardedOther // X-Forwarded- and anything else
	XRealIP
	XOriginalURL
	XRewriteURL
	XRequestID

	// Read for decisions, or for the log.
	Cookie
	Authorization
	UserAgent
	Referer

	// Of answers.
	Date
	SetCookie
	Location
	ContentType
	Server
)

// NameOf tells which name s is, in any case of letters.
func NameOf[T Text](s T) Name {
	if len(s) == 0 {
		return Other
	}
	c := lower[s[0]]
	if c == 'x' {
		return extension(s)
	}
	n, known := Other, ""
	switch len(s) {
	case 2:
		n, known = TE, "te"
	case 4:
		switch c {
		case 'h':
			n, known = Host, "host"
		case 'd':
			n, known = Date, "date"
		}
	case 5:
		n, known = Proxy, "proxy"
	case 6:
		switch c {
		case 'c':
			n, known = Cookie, "cookie"
		case 'e':
			n, known = Expect, "expect"
		case 's':
			n, known = Server, "server"
		}
	case 7:
		switch c {
		case 'u':
			n, known = Upgrade, "upgrade"
		case 't':
			n, known = Trailer, "trailer"
		case 'r':
			n, known = Referer, "referer"
		}
	case 8:
		n, known = Location, "location"
	case 9:
		n, known = Forwarded, "forwarded"
	case 10:
		switch c {
		case 'c':
			n, known = Connection, "connection"
		case 'u':
			n, known = UserAgent, "user-agent"
		case 'k':
			n, known = KeepAlive, "keep-alive"
		case 's':
			n, known = SetCookie, "set-cookie"
		}
	case 12:
		n, known = ContentType, "content-type"
	case 13:
		n, known = Authorization, "authorization"
	case 14:
		switch c {
		case 'c':
			n, known = ContentLength, "content-length"
		case 'h':
			n, known = HTTP2Settings, "http2-settings"
		}
	case 16:
		n, known = ProxyConnection, "proxy-connection"
	case 17:
		n, known = TransferEncoding, "transfer-encoding"
	case 19:
		n, known = ProxyAuthorization, "proxy-authorization"
	}
	if n == Other || known[0] != c || !isFold(s, known) {
		return Other
	}
	return n
}

// extension tells names that begin with x.
func extension[T Text](s T) Name {
	const prefix = "x-forwarded-"
	if len(s) >= len(prefix) && isFold(s[:len(prefix)], prefix) {
		s = s[len(prefix):]
		switch {
		case isFold(s, "for"):
			return XForwardedFor
		case isFold(s, "host"):
			return XForwardedHost
		case isFold(s, "proto"):
			return XForwardedProto
		case isFold(s, "port"):
			return XForwardedPort
		case isFold(s, "server"):
			return XForwardedServer
		}
		return XForwardedOther
	}
	switch {
	case isFold(s, "x-real-ip"):
		return XRealIP
	case isFold(s, "x-request-id"):
		return XRequestID
	case isFold(s, "x-rewrite-url"):
		return XRewriteURL
	case isFold(s, "x-original-url"):
		return XOriginalURL
	}
	return Other
}

// droppable reports whether a field goes when Connection lists it. Not what says
// where a message ends, who asks, or on whose behalf: a client could hide it from
// the worker by listing it (http-notes §5 rule 1).
func (n Name) droppable() bool {
	switch n {
	case Host, ContentLength, TransferEncoding, Cookie, SetCookie, Authorization,
		Forwarded, XForwardedFor, XForwardedHost, XForwardedProto, XForwardedPort, XForwardedServer, XForwardedOther,
		XRealIP, XOriginalURL, XRewriteURL, XRequestID:
		return false
	}
	return true
}
