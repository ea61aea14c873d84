package route

import "strings"

// Facts is what a decision needs to know of a request.
type Facts struct {
	Path    Path
	Cookies []string // values of the Cookie lines, in order

	host  string // in lower case, without port and trailing dot
	tried []*Node
}

// NewFacts returns the facts of a request. host is the value of the Host line
// (or :authority), "" if there is none. Only a host with capitals allocates.
func NewFacts(host string, path Path, cookies []string) Facts {
	f := Facts{Path: path}
	f.Reuse(host, cookies, nil)
	return f
}

// Reuse makes f the facts of another request, with the path that f.Path has been
// given by Parse, and allocates nothing: a host with capitals is appended to
// scratch, which is returned. f and the decisions made of it hold as long as
// nobody overwrites scratch, or what host, cookies and path are views of. Nothing
// else does: when Decide has returned, this package keeps none of it.
func (f *Facts) Reuse(host string, cookies []string, scratch []byte) []byte {
	clear(f.tried)
	f.Cookies, f.tried = cookies, f.tried[:0]
	f.host, scratch = hostOf(host, scratch)
	return scratch
}

// Avoid keeps later decisions of this exchange from n, the session's own worker
// included.
func (f *Facts) Avoid(n *Node) {
	f.tried = append(f.tried, n)
}

// hostOf cuts port and trailing dot and lowers the case (spec/routing.md §0.2), in
// scratch if there is anything to lower.
func hostOf(h string, scratch []byte) (string, []byte) {
	if end := strings.LastIndexByte(h, ':'); end >= 0 && strings.IndexByte(h[end:], ']') < 0 { // not inside [::1]
		h = h[:end]
	}
	h = strings.TrimSuffix(h, ".")
	if !capitals(h) {
		return h, scratch
	}
	start := len(scratch)
	scratch = append(scratch, h...)
	for i, c := range scratch[start:] {
		if 'A' <= c && c <= 'Z' {
			scratch[start+i] = c + 'a' - 'A'
		}
	}
	return view(scratch[start:]), scratch
}

func capitals(s string) bool {
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'Z' {
			return true
		}
	}
	return false
}
