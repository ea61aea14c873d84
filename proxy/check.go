package proxy

import (
	"net/http"
	"strconv"
	"strings"
)

// wellFormed checks what package http lets pass (http-notes.md §1 and §11).
func wellFormed(r *http.Request) bool {
	for i := range len(r.Method) {
		if c := r.Method[i]; !isAlnum(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	if r.Host == "" && (r.ProtoMajor > 1 || r.ProtoMinor > 0) {
		return false
	}
	if r.Host != "" && !validHost(r.Host) {
		return false
	}
	if r.ProtoMajor < 2 {
		return true
	}
	// HTTP/2: what must agree with the pseudo-headers and the frames.
	for _, h := range r.Header["Host"] {
		if h != r.Host {
			return false
		}
	}
	length := r.Header["Content-Length"]
	switch {
	case len(length) > 1:
		return false
	case len(length) == 1:
		n, err := strconv.ParseInt(length[0], 10, 64)
		return err == nil && length[0][0] != '+' && n == r.ContentLength
	}
	return true
}

// validHost checks host[:port] (http-notes.md §1).
func validHost(s string) bool {
	host, port := s, ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return false
		}
		host, port = s[1:end], s[end+1:]
		for i := range len(host) {
			if c := host[i]; !isAlnum(c) && c != ':' && c != '.' {
				return false
			}
		}
		if port != "" && port[0] != ':' {
			return false
		}
		port = strings.TrimPrefix(port, ":")
	} else {
		host, port, _ = strings.Cut(s, ":")
		for i := range len(host) {
			if c := host[i]; !isAlnum(c) && strings.IndexByte("-._~!$&'()*+;=", c) < 0 {
				return false
			}
		}
	}
	if host == "" {
		return false
	}
	if s[len(s)-1] == ':' {
		return false
	}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		return err == nil && n > 0
	}
	return true
}

// originForm is the raw request target without scheme and authority.
func originForm(r *http.Request) string {
	t := r.RequestURI
	if r.Method == http.MethodConnect || strings.HasPrefix(t, "/") || t == "*" {
		return t
	}
	scheme, rest, ok := strings.Cut(t, "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") || strings.Contains(rest[:authorityEnd(rest)], "@") {
		return t // refused by its first byte
	}
	rest = rest[authorityEnd(rest):]
	if !strings.HasPrefix(rest, "/") {
		rest = "/" + rest
	}
	return rest
}

func authorityEnd(s string) int {
	if i := strings.IndexAny(s, "/?#"); i >= 0 {
		return i
	}
	return len(s)
}

// headerBytes is about what the head was on the wire, without its first line.
func headerBytes(r *http.Request) int {
	n := len("Host: \r\n\r\n") + len(r.Host)
	for k, list := range r.Header {
		for _, v := range list {
			n += len(k) + len(v) + len(": \r\n")
		}
	}
	return n
}
