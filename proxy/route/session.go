package route

import "strings"

// session is what a request says of its session, read with the names of one
// balancer.
type session struct {
	id     string // "" if there is none
	base   string // the id without its route: it stays when the session moves
	route  string // what follows the first dot
	cookie bool   // found in a cookie, else in the path
}

// read looks for the session id: cookie first, then the last parameter of the
// path, never the query (spec/routing.md §0.3).
func (s *session) read(f *Facts, p *Policy) {
	s.id, s.cookie = cookieValue(f.Cookies, p.Cookie), true
	if s.id == "" {
		s.cookie = false
		if !f.Path.params {
			return
		}
		s.id = pathValue(f.Path.Sent(), p.PathParam)
	}
	s.base, s.route = s.id, ""
	if dot := strings.IndexByte(s.id, '.'); dot >= 0 {
		s.base, s.route = s.id[:dot], s.id[dot+1:]
	}
}

// cookieValue returns the value of the first cookie of that name, without quotes.
func cookieValue(lines []string, name string) string {
	if name == "" {
		return ""
	}
	for _, line := range lines {
		from := strings.IndexByte(line, name[0])
		if from < 0 {
			continue
		}
		if _, start, end := findCookie(line, name, from); end > start {
			v := line[start:end]
			if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
				v = v[1 : len(v)-1]
			}
			return v
		}
	}
	return ""
}

// findCookie looks for a name at the start or after ";", "," or blank, followed by
// "=" and a value that ends at ";" or ",". It returns where name and value begin
// and where the value ends; start = end if there is none. What is before from is
// known to have none.
func findCookie(line, name string, from int) (at, start, end int) {
	for at = from; ; at = from {
		if at >= len(line) || line[at] != name[0] {
			i := strings.IndexByte(line[from:], name[0])
			if i < 0 {
				return 0, 0, 0
			}
			at = from + i
		}
		from = at + 1
		if at > 0 && !separates(line[at-1]) || !strings.HasPrefix(line[at:], name) {
			continue
		}
		from = at + len(name)
		start = skipBlanks(line, from)
		if start >= len(line) || line[start] != '=' {
			continue
		}
		start = skipBlanks(line, start+1)
		end = len(line)
		if i := strings.IndexByte(line[start:], ';'); i >= 0 {
			end = start + i
		}
		if i := strings.IndexByte(line[start:end], ','); i >= 0 {
			end = start + i
		}
		for end > start && (line[end-1] == ' ' || line[end-1] == '\t') {
			end--
		}
		if end > start {
			return at, start, end
		}
	}
}

// separates says whether a cookie's name can follow c.
func separates(c byte) bool { return c == ' ' || c == ';' || c == ',' || c == '\t' }

func skipBlanks(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\t') {
		i++
	}
	return i
}

// pathValue returns the value of the last ";name=value" of a raw path: the one
// Tomcat takes.
func pathValue(path, name string) string {
	_, start, end := findParam(path, name)
	return path[start:end]
}

// findParam returns where the last ";name=value" begins, where its value begins
// and where it ends; zeros if there is none.
func findParam(path, name string) (at, start, end int) {
	if name == "" {
		return 0, 0, 0
	}
	for at = len(path); ; {
		at = strings.LastIndexByte(path[:at], ';')
		if at < 0 {
			return 0, 0, 0
		}
		start = at + 1 + len(name) + 1
		if start > len(path) || path[at+1:start-1] != name || path[start-1] != '=' {
			continue
		}
		end = start
		for end < len(path) && path[end] != ';' && path[end] != '/' {
			end++
		}
		return at, start, end
	}
}

// StripSession takes the session id out of what is sent: every parameter of the
// path and every cookie with the balancer's names (StickySessionRemove). It
// returns the target and the Cookie lines, without those that are empty now; the
// caller's slice stays as it is.
func StripSession(p *Path, cookies []string, names *Policy) (target string, lines []string) {
	path := p.Sent()
	for {
		at, start, end := findParam(path, names.PathParam)
		if start == 0 {
			break
		}
		path = path[:at] + path[end:]
	}
	for _, line := range cookies {
		for names.Cookie != "" {
			at, start, end := findCookie(line, names.Cookie, 0)
			if end == start {
				break
			}
			before := strings.TrimRight(line[:at], "; ,\t")
			after := strings.TrimLeft(line[end:], "; ,\t")
			switch {
			case before == "":
				line = after
			case after == "":
				line = before
			default:
				line = before + "; " + after
			}
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	return path + p.Query(), lines
}
