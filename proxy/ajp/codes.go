package ajp

// Attributes of a FORWARD_REQUEST (ajp13.md §5.3). A code that a worker does not know
// makes it read the value as further codes: there are no others.
const (
	AttrRemoteUser  = 0x03
	AttrAuthType    = 0x04
	AttrQuery       = 0x05
	AttrRoute       = 0x06
	AttrCertificate = 0x07
	AttrCipher      = 0x08
	attrRequest     = 0x0a
	attrKeySize     = 0x0b
	AttrSecret      = 0x0c
	attrMethod      = 0x0d
	attrEnd         = 0xff
)

// Names of request attributes: the fixed list of ajp13.md §5.4. Tomcat answers 403 to
// any other, and none may ever come from a client.
const (
	RemotePort  = "AJP_REMOTE_PORT"
	LocalAddr   = "AJP_LOCAL_ADDR"
	SSLProtocol = "AJP_SSL_PROTOCOL"
)

// stored: the method is in an attribute.
const stored = 0xff

// methodCode is the code of a method, in upper case only (ajp13.md §5.1).
func methodCode(m string) byte {
	switch m {
	case "OPTIONS":
		return 1
	case "GET":
		return 2
	case "HEAD":
		return 3
	case "POST":
		return 4
	case "PUT":
		return 5
	case "DELETE":
		return 6
	case "TRACE":
		return 7
	case "PROPFIND":
		return 8
	case "PROPPATCH":
		return 9
	case "MKCOL":
		return 10
	case "COPY":
		return 11
	case "MOVE":
		return 12
	case "LOCK":
		return 13
	case "UNLOCK":
		return 14
	case "ACL":
		return 15
	case "REPORT":
		return 16
	case "VERSION-CONTROL":
		return 17
	case "CHECKIN":
		return 18
	case "CHECKOUT":
		return 19
	case "UNCHECKOUT":
		return 20
	case "SEARCH":
		return 21
	case "MKWORKSPACE":
		return 22
	case "UPDATE":
		return 23
	case "LABEL":
		return 24
	case "MERGE":
		return 25
	case "BASELINE-CONTROL":
		return 26
	case "MKACTIVITY":
		return 27
	}
	return stored
}

// headerCode is the low byte of the code that stands for a name, 0 if there is none
// (ajp13.md §5.2).
func headerCode(name string) byte {
	code, known := byte(0), ""
	switch len(name) {
	case 4:
		code, known = 0x0b, "host"
	case 6:
		switch name[0] | 0x20 {
		case 'a':
			code, known = 0x01, "accept"
		case 'c':
			code, known = 0x09, "cookie"
		case 'p':
			code, known = 0x0c, "pragma"
		}
	case 7:
		switch name[0] | 0x20 {
		case 'c':
			code, known = 0x0a, "cookie2"
		case 'r':
			code, known = 0x0d, "referer"
		}
	case 10:
		switch name[0] | 0x20 {
		case 'c':
			code, known = 0x06, "connection"
		case 'u':
			code, known = 0x0e, "user-agent"
		}
	case 12:
		code, known = 0x07, "content-type"
	case 13:
		code, known = 0x05, "authorization"
	case 14:
		switch name[0] | 0x20 {
		case 'a':
			code, known = 0x02, "accept-charset"
		case 'c':
			code, known = 0x08, "content-length"
		}
	case 15:
		switch name[7] | 0x20 {
		case 'e':
			code, known = 0x03, "accept-encoding"
		case 'l':
			code, known = 0x04, "accept-language"
		}
	}
	if code == 0 || !isFold(name, known) {
		return 0
	}
	return code
}

// isFold reports whether s is t, which is in small letters, in any case.
func isFold[T ~string | ~[]byte](s T, t string) bool {
	if len(s) != len(t) {
		return false
	}
	for i := range len(t) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != t[i] {
			return false
		}
	}
	return true
}

// answerNames are what codes of SEND_HEADERS stand for, from A001 on (ajp13.md §6).
var answerNames = [...]string{
	"Content-Type", "Content-Language", "Content-Length", "Date", "Last-Modified", "Location",
	"Set-Cookie", "Set-Cookie2", "Servlet-Engine", "Status", "WWW-Authenticate",
}
