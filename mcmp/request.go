package mcmp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/quorate/quorate/fsm"
)

// Limits of a request head; what exceeds them is 414 or 431.
const (
	maxLine    = 8 << 10
	maxHead    = 32 << 10 // all header lines, and all chunk extensions and trailers
	maxHeaders = 100
)

// request is one MCMP request, read strictly: framing that two parsers could
// understand differently is refused, never repaired (http-notes.md §1, §2).
type request struct {
	method    string
	target    string // as received
	path      string // origin form up to the first "?"; "*" for the asterisk form
	http10    bool
	accept    string
	close     bool  // the client closes, or has not asked an HTTP/1.0 connection to stay
	keepAlive bool  // HTTP/1.0 that asked to stay
	length    int64 // of the body; -1: chunked
	body      []byte
}

// whole says that the target ends in "/*": the message is for a whole node.
func (r *request) whole() bool { return strings.HasSuffix(r.path, "/*") }

// httpError ends a connection with a status of HTTP, not of MCMP.
type httpError struct {
	status int
	why    string
}

func (e *httpError) Error() string { return fmt.Sprintf("%d: %s", e.status, e.why) }

func bad(format string, args ...any) error { return &httpError{400, fmt.Sprintf(format, args...)} }

// errNoRequest: the connection ended, or its time was over, before a request began.
var errNoRequest = errors.New("no request")

// errTooLong: the body exceeds max_message_bytes.
var errTooLong = errors.New("message too long")

// readHead reads a request up to its body. started is called when its first byte
// is there.
func readHead(r *bufio.Reader, started func()) (*request, error) {
	if _, err := r.Peek(1); err != nil {
		return nil, errNoRequest
	}
	started()
	line, err := readLine(r, maxLine, 414)
	if err == nil && len(line) == 0 { // one empty line may precede a request
		line, err = readLine(r, maxLine, 414)
	}
	if err != nil {
		return nil, err
	}
	req, err := parseRequestLine(string(line))
	if err != nil {
		return nil, err
	}
	h, err := readFields(r, maxHead)
	if err != nil {
		return nil, err
	}
	return req, req.headers(h)
}

// readLine returns a line without its CRLF. The line may hold HTAB but no other
// control byte; a bare CR or LF is 400, a line over limit is over.
func readLine(r *bufio.Reader, limit, over int) ([]byte, error) {
	var line []byte
	for {
		piece, err := r.ReadSlice('\n')
		line = append(line, piece...)
		if len(line) > limit+2 {
			return nil, &httpError{over, "line too long"}
		}
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, noEOF(err)
		}
	}
	text, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok {
		return nil, bad("line ends in a bare LF")
	}
	for _, c := range text {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return nil, bad("control byte %02X", c)
		}
	}
	return text, nil
}

// noEOF: an end inside a request is not the orderly end between two.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func parseRequestLine(line string) (*request, error) {
	method, rest, ok := strings.Cut(line, " ")
	target, version, ok2 := strings.Cut(rest, " ")
	if !ok || !ok2 || !isToken(method) || target == "" {
		return nil, bad("malformed request line")
	}
	r := &request{method: method, target: target}
	switch version {
	case "HTTP/1.1":
	case "HTTP/1.0":
		r.http10 = true
	default:
		if len(version) == 8 && version[:5] == "HTTP/" && isDigit(version[5]) && version[6] == '.' && isDigit(version[7]) {
			return nil, &httpError{505, "HTTP version"}
		}
		return nil, bad("malformed request line")
	}
	for i := range len(target) {
		if c := target[i]; c <= 0x20 || c >= 0x7f || c == '#' {
			return nil, bad("byte %02X in the target", c)
		}
	}
	return r, nil
}

// field is a header line.
type field struct{ name, value string } // name in lower case

// readFields reads header or trailer lines up to the empty one.
func readFields(r *bufio.Reader, budget int) ([]field, error) {
	var fields []field
	for {
		line, err := readLine(r, budget, 431)
		if err != nil {
			return nil, err
		}
		if len(line) == 0 {
			return fields, nil
		}
		if budget -= len(line) + 2; budget < 0 || len(fields) == maxHeaders {
			return nil, &httpError{431, "header too big"}
		}
		name, value, ok := strings.Cut(string(line), ":")
		if !ok || !isToken(name) {
			return nil, bad("malformed header line") // also a folded one: its name has a blank
		}
		fields = append(fields, field{fsm.Lower(name), strings.Trim(value, " \t")})
	}
}

// headers reads what matters from the header: framing, Host, Connection, Accept.
func (r *request) headers(fields []field) error {
	var hosts, lengths, codings []string
	var connection string
	for _, f := range fields {
		switch f.name {
		case "host":
			hosts = append(hosts, f.value)
		case "content-length":
			lengths = append(lengths, f.value)
		case "transfer-encoding":
			codings = append(codings, f.value)
		case "connection":
			connection += "," + fsm.Lower(f.value)
		case "accept":
			r.accept += "," + f.value
		case "expect":
			if fsm.Lower(f.value) != "100-continue" {
				return &httpError{417, "Expect"}
			}
		}
	}
	if err := r.framing(lengths, codings); err != nil {
		return err
	}
	if err := r.origin(hosts); err != nil {
		return err
	}
	for token := range strings.SplitSeq(connection, ",") {
		switch strings.Trim(token, " \t") {
		case "close":
			r.close = true
		case "keep-alive":
			r.keepAlive = r.http10
		}
	}
	if r.http10 && !r.keepAlive {
		r.close = true
	}
	return nil
}

// framing is the table of http-notes.md §2.
func (r *request) framing(lengths, codings []string) error {
	switch {
	case len(codings) == 0 && len(lengths) == 0:
		return nil
	case len(codings) == 0 && len(lengths) == 1:
		for i := range len(lengths[0]) {
			if !isDigit(lengths[0][i]) {
				return bad("Content-Length")
			}
		}
		n, err := strconv.ParseInt(lengths[0], 10, 64)
		if err != nil {
			return bad("Content-Length")
		}
		r.length = n
		return nil
	case len(codings) != 1 || len(lengths) != 0:
		return bad("ambiguous framing")
	case fsm.Lower(codings[0]) != "chunked":
		if !isASCII(codings[0]) {
			return bad("Transfer-Encoding")
		}
		return &httpError{501, "Transfer-Encoding"}
	case r.http10:
		return bad("Transfer-Encoding in HTTP/1.0")
	}
	r.length = -1
	return nil
}

// origin checks Host and brings the target into origin form.
func (r *request) origin(hosts []string) error {
	if len(hosts) > 1 || len(hosts) == 0 && !r.http10 {
		return bad("Host missing or twice")
	}
	if len(hosts) == 1 && !isHost(hosts[0]) {
		return bad("Host")
	}
	path, _, _ := strings.Cut(r.target, "?")
	scheme, rest, absolute := strings.Cut(path, "://")
	switch {
	case strings.HasPrefix(r.target, "/"), r.target == "*":
	case absolute && (fsm.Lower(scheme) == "http" || fsm.Lower(scheme) == "https"):
		authority := rest
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			authority, path = rest[:i], rest[i:]
		} else {
			path = "/"
		}
		if !isHost(authority) || len(hosts) == 1 && fsm.Lower(authority) != fsm.Lower(hosts[0]) {
			return bad("target and Host differ")
		}
	case canonical(r.method) == "" && isHost(r.target): // CONNECT's authority form: 405 follows
	default:
		return bad("target")
	}
	r.path = path
	return nil
}

// isHost accepts host, host:port, [v6] and [v6]:port.
func isHost(s string) bool {
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		host, port = s[:i], s[i+1:]
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return false
		}
	}
	if strings.HasPrefix(host, "[") {
		if !strings.HasSuffix(host, "]") {
			return false
		}
		a, err := netip.ParseAddr(host[1 : len(host)-1])
		return err == nil && a.Is6() && a.Zone() == ""
	}
	for i := range len(host) {
		c := host[i]
		if !isTokenByte(c) && strings.IndexByte("();=", c) < 0 || c == '%' {
			return false
		}
	}
	return host != ""
}

// readBody reads the body of a request, at most limit bytes of it; more is
// errTooLong, and the connection cannot go on.
func readBody(r *bufio.Reader, req *request, limit int64) error {
	if req.length > limit {
		return errTooLong
	}
	if req.length >= 0 {
		req.body = make([]byte, req.length)
		_, err := io.ReadFull(r, req.body)
		return noEOF(err)
	}
	extra := maxHead // extensions and trailers
	for {
		line, err := readLine(r, 16+1+256, 400)
		if err != nil {
			return err
		}
		digits, extension, _ := strings.Cut(string(line), ";")
		if extra -= len(extension); extra < 0 || len(extension) > 256 || strings.Contains(extension, "\t") {
			return bad("chunk extension")
		}
		size, err := chunkSize(digits)
		if err != nil {
			return err
		}
		if size == 0 {
			_, err := readFields(r, extra) // trailers mean nothing to MCMP
			return err
		}
		if size > limit-int64(len(req.body)) {
			return errTooLong
		}
		at := len(req.body)
		req.body = append(req.body, make([]byte, size)...)
		if _, err := io.ReadFull(r, req.body[at:]); err != nil {
			return noEOF(err)
		}
		end, err := readLine(r, 0, 400)
		if err != nil {
			return err
		}
		if len(end) > 0 {
			return bad("chunk data without CRLF")
		}
	}
}

// chunkSize reads 1 to 16 hex digits, at most 2^62.
func chunkSize(s string) (int64, error) {
	if len(s) == 0 || len(s) > 16 {
		return 0, bad("chunk size")
	}
	for i := range len(s) {
		if unhex(s[i]) < 0 {
			return 0, bad("chunk size")
		}
	}
	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil || n > 1<<62 {
		return 0, bad("chunk size")
	}
	return int64(n), nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func isToken(s string) bool {
	for i := range len(s) {
		if !isTokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

// isTokenByte: tchar of RFC 9110 §5.6.2.
func isTokenByte(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
