package mcmp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// read reads one request from raw, as a connection does, and says what is left.
func read(raw string, limit int64) (*request, string, error) {
	r := bufio.NewReader(strings.NewReader(raw))
	req, err := readHead(r, func() {})
	if err == nil {
		err = readBody(r, req, limit)
	}
	rest, _ := io.ReadAll(r)
	return req, string(rest), err
}

// head is a request line and a header that is complete but for the lines given.
func head(lines ...string) string {
	return strings.Join(append([]string{"STATUS / HTTP/1.1", "Host: h:6666"}, lines...), "\r\n") + "\r\n\r\n"
}

// TestRequest: what the reader accepts, and with which status it refuses the rest
// (http-notes.md §1, §2).
func TestRequest(t *testing.T) {
	long := strings.Repeat("a", 9000)
	for _, c := range []struct {
		raw  string
		want string // status, or "method path body" and what is left
	}{
		// request line
		{"INFO / HTTP/1.1\r\nHost: h\r\n\r\n", "INFO / "},
		{"\r\nINFO / HTTP/1.1\r\nHost: h\r\n\r\n", "INFO / "},
		{"\r\n\r\nINFO / HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
		{"info /a/*?b/* HTTP/1.1\r\nHost: h\r\n\r\n", "info /a/* "},
		{"INFO  / HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
		{"INFO /  HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
		{"INFO /\tHTTP/1.1\r\nHost: h\r\n\r\n", "400"},
		{" INFO / HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
		{"INFO /\r\nHost: h\r\n\r\n", "400"},
		{"INFO / HTTP/1.1 \r\nHost: h\r\n\r\n", "400"},
		{"INFO / http/1.1\r\nHost: h\r\n\r\n", "400"},
		{"INFO / HTTP/1.2\r\nHost: h\r\n\r\n", "505"},
		{"INFO / HTTP/2.0\r\nHost: h\r\n\r\n", "505"},
		{"INFO / HTTP/11\r\nHost: h\r\n\r\n", "400"},
		{"IN(FO / HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
		{"INFO /a#b HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
		{"INFO /\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
		{"INFO a HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
		{"INFO * HTTP/1.1\r\nHost: h\r\n\r\n", "INFO * "},
		{"INFO http://h/x/* HTTP/1.1\r\nHost: h\r\n\r\n", "INFO /x/* "},
		{"INFO HTTP://H HTTP/1.1\r\nHost: h\r\n\r\n", "INFO / "},
		{"INFO http://other/ HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
		{"INFO http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
		{"INFO ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
		{"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", "CONNECT h:1 "},
		{"INFO /" + long + " HTTP/1.1\r\nHost: h\r\n\r\n", "414"},
		// line ends and control bytes
		{"INFO / HTTP/1.1\nHost: h\r\n\r\n", "400"},
		{"INFO / HTTP/1.1\r\nHost: h\n\r\n", "400"},
		{"INFO / HTTP/1.1\r\nHost: h\r\n\n", "400"},
		{"INFO / HTTP/1.1\r\nHost: h\r\r\n\r\n", "400"},
		{"INFO / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", "400"},
		{head("X: a\x00b"), "400"},
		{head("X: a\x01b"), "400"},
		{head("X: a\x7fb"), "400"},
		{head("X: a\tb"), "STATUS / "},
		{head("X: a\xe9b"), "STATUS / "},
		{head("X:"), "STATUS / "},
		// header lines
		{head("X: a", " folded"), "400"},
		{head("X: a", "\tfolded"), "400"},
		{head("X : a"), "400"},
		{head(": a"), "400"},
		{head("X"), "400"},
		{head("X(: a"), "400"},
		{head("Content_Length: 5"), "STATUS / "},
		{head("X: " + strings.Repeat("a", 33000)), "431"},
		{head(strings.Split(strings.Repeat("X: a\n", 98)+"X: a", "\n")...), "STATUS / "},
		{head(strings.Split(strings.Repeat("X: a\n", 99)+"X: a", "\n")...), "431"},
		// Host
		{"INFO / HTTP/1.1\r\n\r\n", "400"},
		{"INFO / HTTP/1.0\r\n\r\n", "INFO / "},
		{"INFO / HTTP/1.1\r\nHost:\r\n\r\n", "400"},
		{head("Host: h:6666"), "400"},
		{"INFO / HTTP/1.1\r\nHost: a,b\r\n\r\n", "400"},
		{"INFO / HTTP/1.1\r\nHost: u@h\r\n\r\n", "400"},
		{"INFO / HTTP/1.1\r\nHost: h:0\r\n\r\n", "400"},
		{"INFO / HTTP/1.1\r\nHost: h:65536\r\n\r\n", "400"},
		{"INFO / HTTP/1.1\r\nHost: h:\r\n\r\n", "400"},
		{"INFO / HTTP/1.1\r\nHost: h%41\r\n\r\n", "400"},
		{"INFO / HTTP/1.1\r\nHost: a b\r\n\r\n", "400"},
		{"INFO / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400"},
		{"INFO / HTTP/1.1\r\nHost: a_b:80\r\n\r\n", "INFO / "},
		{"INFO / HTTP/1.1\r\nHost: [::1]:6666\r\n\r\n", "INFO / "},
		{"INFO / HTTP/1.1\r\nHost: [::1\r\n\r\n", "400"},
		{"INFO / HTTP/1.1\r\nHost: ::1\r\n\r\n", "400"},
		// Expect
		{head("Expect: 100-Continue", "Content-Length: 1") + "a", "STATUS / a"},
		{head("Expect: other"), "417"},
		// framing
		{head("Content-Length: 3") + "abcd", "STATUS / abc|d"},
		{head("Content-Length: 0003") + "abc", "STATUS / abc"},
		{head("Content-Length: 0") + "x", "STATUS / |x"},
		{head("Content-Length: 3") + "ab", "unexpected EOF"},
		{head("Content-Length: +3") + "abc", "400"},
		{head("Content-Length: -3") + "abc", "400"},
		{head("Content-Length: 0x3") + "abc", "400"},
		{head("Content-Length:") + "abc", "400"},
		{head("Content-Length: 3 ") + "abc", "STATUS / abc"},
		{head("Content-Length: 3,3") + "abc", "400"},
		{head("Content-Length: 3", "Content-Length: 3") + "abc", "400"},
		{head("Content-Length: 9223372036854775807"), "message too long"},
		{head("Content-Length: 9223372036854775808"), "400"},
		{head("Content-Length: 101"), "message too long"},
		{head("Transfer-Encoding: chunked", "Content-Length: 3") + "0\r\n\r\n", "400"},
		{head("Content-Length: 3", "Transfer-Encoding: x") + "abc", "400"},
		{head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + "0\r\n\r\n", "400"},
		{head("Transfer-Encoding: Chunked") + "3\r\nabc\r\n0\r\n\r\nrest", "STATUS / abc|rest"},
		{head("Transfer-Encoding: chunked, chunked"), "501"},
		{head("Transfer-Encoding: gzip, chunked"), "501"},
		{head("Transfer-Encoding: xchunked"), "501"},
		{head("Transfer-Encoding: \"chunked\""), "501"},
		{head("Transfer-Encoding:"), "501"},
		{head("Transfer-Encoding: chunk\xe9d"), "400"},
		{"STATUS / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		// chunks
		{head("Transfer-Encoding: chunked") + "1\r\na\r\n2;x=y\r\nbc\r\n000\r\nTrailer: t\r\n\r\n", "STATUS / abc"},
		{head("Transfer-Encoding: chunked") + "A\r\n0123456789\r\n0\r\n\r\n", "STATUS / 0123456789"},
		{head("Transfer-Encoding: chunked") + "3\nabc\r\n0\r\n\r\n", "400"},
		{head("Transfer-Encoding: chunked") + "3\r\nabc\n0\r\n\r\n", "400"},
		{head("Transfer-Encoding: chunked") + "3\r\nabcd\r\n0\r\n\r\n", "400"},
		{head("Transfer-Encoding: chunked") + "3 \r\nabc\r\n0\r\n\r\n", "400"},
		{head("Transfer-Encoding: chunked") + "0x3\r\nabc\r\n0\r\n\r\n", "400"},
		{head("Transfer-Encoding: chunked") + "-1\r\n", "400"},
		{head("Transfer-Encoding: chunked") + "\r\nabc\r\n", "400"},
		{head("Transfer-Encoding: chunked") + "00000000000000001\r\na\r\n", "400"},
		{head("Transfer-Encoding: chunked") + "FFFFFFFFFFFFFFFF\r\n", "400"},
		{head("Transfer-Encoding: chunked") + "4000000000000000\r\n", "message too long"},
		{head("Transfer-Encoding: chunked") + "40\r\n" + strings.Repeat("a", 64) + "\r\n40\r\n", "message too long"},
		{head("Transfer-Encoding: chunked") + "1;" + strings.Repeat("x", 256) + "\r\na\r\n0\r\n\r\n", "STATUS / a"},
		{head("Transfer-Encoding: chunked") + "1;" + strings.Repeat("x", 257) + "\r\na\r\n0\r\n\r\n", "400"},
		{head("Transfer-Encoding: chunked") + "1;\x01\r\na\r\n0\r\n\r\n", "400"},
		{head("Transfer-Encoding: chunked") + "0\r\n folded: x\r\n\r\n", "400"},
		{head("Transfer-Encoding: chunked") + "3\r\nab", "unexpected EOF"},
		{"", "no request"},
		{"INFO", "unexpected EOF"},
	} {
		req, rest, err := read(c.raw, 100)
		got := ""
		var h *httpError
		switch {
		case errors.As(err, &h):
			got = fmt.Sprint(h.status)
		case err != nil:
			got = err.Error()
		default:
			got = fmt.Sprintf("%s %s %s", req.method, req.path, req.body)
			if rest != "" {
				got += "|" + rest
			}
		}
		if got != c.want {
			t.Errorf("%.90q\n got %q, %v\nwant %q", c.raw, got, err, c.want)
		}
	}
}

// TestConnectionHeader: who closes.
func TestConnectionHeader(t *testing.T) {
	for _, c := range []struct {
		raw         string
		close, keep bool
	}{
		{head("Connection: Keep-Alive"), false, false},
		{head(), false, false},
		{head("Connection: close"), true, false},
		{head("Connection: x , CLOSE"), true, false},
		{head("Connection: x", "Connection: close"), true, false},
		{"INFO / HTTP/1.0\r\n\r\n", true, false},
		{"INFO / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false, true},
	} {
		req, _, err := read(c.raw, 100)
		if err != nil || req.close != c.close || req.keepAlive != c.keep {
			t.Errorf("%q: %+v, %v", c.raw, req, err)
		}
	}
}

// FuzzRequest: the reader never panics, and what both it and net/http accept they
// understand alike: method, target, body, what is left for the next request.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(head("Content-Length: 3") + "abcINFO / HTTP/1.1\r\nHost: h\r\n\r\n"))
	f.Add([]byte(head("Transfer-Encoding: chunked") + "1\r\na\r\n2;x=y\r\nbc\r\n0\r\nTrailer: t\r\n\r\nrest"))
	f.Add([]byte("\r\nconfig http://h/x/* HTTP/1.1\r\nhost:h\r\nConnection: x, close\r\n\r\n"))
	f.Add([]byte("INFO / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		req, rest, err := read(string(raw), 1<<16)
		if err != nil {
			return
		}
		br := bufio.NewReader(bytes.NewReader(raw))
		std, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		body, err := io.ReadAll(std.Body)
		if err != nil {
			return
		}
		left, _ := io.ReadAll(br)
		if std.Method != req.method || std.RequestURI != req.target || !bytes.Equal(body, req.body) || string(left) != rest {
			t.Fatalf("%q:\n ours %s %s %q, left %q\n  std %s %s %q, left %q", raw, req.method, req.target, req.body, rest, std.Method, std.RequestURI, body, left)
		}
		if std.Close && !req.close {
			t.Fatalf("%q: net/http closes, we do not", raw)
		}
	})
}
