package http1

import "strconv"

// AppendField adds "name: value" and the line end. Both must be valid.
func AppendField[N, V Text](b []byte, name N, value V) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// AppendUint adds n in decimal.
func AppendUint(b []byte, n uint64) []byte { return strconv.AppendUint(b, n, 10) }

// AppendChunkHead adds what stands before n bytes of data: n in hex and the line
// end. Behind the data comes CR LF, behind the last chunk (0) the trailers.
func AppendChunkHead(b []byte, n int) []byte {
	return append(strconv.AppendUint(b, uint64(n), 16), "\r\n"...)
}

// AppendHead begins a canonical HTTP/1.1 head out of what HTTP/2 gave: request
// line and Host. The caller adds fields with AppendHeadField, the framing of its
// own, and the blank line; then Request.Parse reads it by the rules it has for
// everyone. It refuses what Parse would not read back as the same.
func AppendHead(b []byte, method, target, authority string) ([]byte, *Error) {
	switch {
	case !ValidMethod(method):
		return b, errMethod
	case !ValidTarget(target):
		return b, errTarget
	case !ValidHost(authority):
		return b, errHost
	}
	b = append(b, method...)
	b = append(b, ' ')
	b = append(b, target...)
	b = append(b, " HTTP/1.1\r\n"...)
	return AppendField(b, "Host", authority), nil
}

// AppendHeadField adds a field that HTTP/2 gave, without the blanks around its
// value. It refuses those that HTTP/2 has not (RFC 9113 §8.2.2), and Host and
// Content-Length, which the caller has compared with the pseudo-fields and frames.
func AppendHeadField(b []byte, name, value string) ([]byte, *Error) {
	value = trim(value)
	switch {
	case !ValidFieldName(name):
		return b, errName
	case !ValidFieldValue(value):
		return b, errValue
	}
	switch NameOf(name) {
	case Host, ContentLength, TransferEncoding, Connection, KeepAlive, ProxyConnection, Upgrade:
		return b, errConnField
	case TE:
		if !isFold(value, "trailers") {
			return b, errConnField
		}
	}
	return AppendField(b, name, value), nil
}

// StatusText is the reason phrase of a status (RFC 9110 §15 and the registry);
// empty if it has none.
func StatusText(status int) string {
	switch status {
	case 100:
		return "Continue"
	case 101:
		return "Switching Protocols"
	case 102:
		return "Processing"
	case 103:
		return "Early Hints"
	case 200:
		return "OK"
	case 201:
		return "Created"
	case 202:
		return "Accepted"
	case 203:
		return "Non-Authoritative Information"
	case 204:
		return "No Content"
	case 205:
		return "Reset Content"
	case 206:
		return "Partial Content"
	case 207:
		return "Multi-Status"
	case 208:
		return "Already Reported"
	case 226:
		return "IM Used"
	case 300:
		return "Multiple Choices"
	case 301:
		return "Moved Permanently"
	case 302:
		return "Found"
	case 303:
		return "See Other"
	case 304:
		return "Not Modified"
	case 305:
		return "Use Proxy"
	case 307:
		return "Temporary Redirect"
	case 308:
		return "Permanent Redirect"
	case 400:
		return "Bad Request"
	case 401:
		return "Unauthorized"
	case 402:
		return "Payment Required"
	case 403:
		return "Forbidden"
	case 404:
		return "Not Found"
	case 405:
		return "Method Not Allowed"
	case 406:
		return "Not Acceptable"
	case 407:
		return "Proxy Authentication Required"
	case 408:
		return "Request Timeout"
	case 409:
		return "Conflict"
	case 410:
		return "Gone"
	case 411:
		return "Length Required"
	case 412:
		return "Precondition Failed"
	case 413:
		return "Request Entity Too Large"
	case 414:
		return "Request URI Too Long"
	case 415:
		return "Unsupported Media Type"
	case 416:
		return "Requested Range Not Satisfiable"
	case 417:
		return "Expectation Failed"
	case 418:
		return "I'm a teapot"
	case 421:
		return "Misdirected Request"
	case 422:
		return "Unprocessable Entity"
	case 423:
		return "Locked"
	case 424:
		return "Failed Dependency"
	case 425:
		return "Too Early"
	case 426:
		return "Upgrade Required"
	case 428:
		return "Precondition Required"
	case 429:
		return "Too Many Requests"
	case 431:
		return "Request Header Fields Too Large"
	case 451:
		return "Unavailable For Legal Reasons"
	case 500:
		return "Internal Server Error"
	case 501:
		return "Not Implemented"
	case 502:
		return "Bad Gateway"
	case 503:
		return "Service Unavailable"
	case 504:
		return "Gateway Timeout"
	case 505:
		return "HTTP Version Not Supported"
	case 506:
		return "Variant Also Negotiates"
	case 507:
		return "Insufficient Storage"
	case 508:
		return "Loop Detected"
	case 510:
		return "Not Extended"
	case 511:
		return "Network Authentication Required"
	}
	return ""
}
