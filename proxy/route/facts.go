package route

import (
	"strings"

	"github.com/quorate/quorate/fsm"
)

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
	return Facts{Path: path, Cookies: cookies, host: hostOf(host)}
}

// Avoid keeps later decisions of this exchange from n, the session's own worker
// included.
func (f *Facts) Avoid(n *Node) {
	f.tried = append(f.tried, n)
}

// hostOf cuts port and trailing dot and lowers the case (spec/routing.md §0.2).
func hostOf(h string) string {
	end := strings.LastIndexByte(h, ':')
	if end >= 0 && strings.IndexByte(h[end:], ']') < 0 { // not inside [::1]
		h = h[:end]
	}
	return fsm.Lower(strings.TrimSuffix(h, "."))
}
