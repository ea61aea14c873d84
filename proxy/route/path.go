package route

import "strings"

// EncodedSlash says what "%2F" in a path means (traffic.path.encoded_slash).
type EncodedSlash uint8

// The meanings of an encoded slash.
const (
	SlashReject EncodedSlash = iota // 400, as Tomcat does
	SlashKeep                       // three bytes, no separator, as Undertow does
	SlashDecode                     // a separator, and sent as "/"
)

// PathOptions is traffic.path of the configuration. The zero value is its default.
type PathOptions struct {
	EncodedSlash EncodedSlash
	ResolveDots  bool // dot_segments: decode; otherwise they are refused
	MergeSlashes bool // merge_slashes
}

// Path is a request target, taken apart once: what is matched is what is sent
// (http-notes.md §4).
type Path struct {
	Match     string // decoded, without path parameters, empty segments as they stand
	Collapsed string // Match without its empty segments; "" if it has none
	Target    string // to be sent: path with parameters and escapes, and the query
	sent      int    // length of the path in Target
	params    bool   // there are path parameters
}

// Sent returns the path to be sent, without the query.
func (p *Path) Sent() string { return p.Target[:p.sent] }

// Query returns the raw query with its "?", or "".
func (p *Path) Query() string { return p.Target[p.sent:] }

// ParsePath takes a request target in origin form apart, by the rules of
// http-notes.md §4. A Reason other than None says why it is refused, with 400.
// A plain path costs no allocation.
//
// Rule 5, on empty segments, needs the contexts: Decide applies it.
func ParsePath(target string, o PathOptions) (Path, Reason) {
	if target == "" || target[0] != '/' {
		return Path{}, BadTarget
	}
	end, plain := len(target), true
	for i := 0; i < len(target); i++ {
		c := target[i]
		switch {
		case c < 0x21 || c > 0x7e || c == '#':
			return Path{}, BadByte
		case i >= end: // in the query
		case c == '?':
			end = i
		case c == '\\':
			return Path{}, Backslash
		case c == '%' || c == ';':
			plain = false
		case (c == '/' || c == '.') && i > 0 && target[i-1] == '/':
			plain = false // "//", or perhaps a dot segment
		}
	}
	if plain {
		return Path{Match: target[:end], Target: target, sent: end}, None
	}
	return parseSegments(target, end, o)
}

// segment is one piece between slashes. name is its decoded name in the buffer,
// raw what is sent for it, parameters included.
type segment struct {
	start, end int
	raw        string
}

func parseSegments(target string, end int, o PathOptions) (Path, Reason) {
	var (
		path    = target[:end]
		names   [256]byte
		list    [24]segment
		buf     = names[:0]
		segs    = list[:0]
		changed bool // what is sent is not what came
	)
	for rest := path[1:]; ; {
		raw, after, more := strings.Cut(rest, "/")
		name, _, _ := strings.Cut(raw, ";") // first cut, then decode
		start, from := len(buf), 0
		for i := 0; i < len(name); i++ {
			c := name[i]
			if c == '%' {
				if i+2 >= len(name) {
					return Path{}, BadEscape
				}
				hi, lo := unhex(name[i+1]), unhex(name[i+2])
				if hi > 15 || lo > 15 {
					return Path{}, BadEscape
				}
				i += 2
				switch c = hi<<4 | lo; c {
				case 0:
					return Path{}, EncodedNUL
				case '\\':
					return Path{}, Backslash
				case '/':
					switch o.EncodedSlash {
					case SlashReject:
						return Path{}, SlashEscaped
					case SlashKeep:
						buf = append(buf, name[i-2:i+1]...)
					case SlashDecode:
						segs = append(segs, segment{start, len(buf), raw[from : i-2]})
						start, from = len(buf), i+1
						changed = true
					}
					continue
				}
			}
			buf = append(buf, c)
		}
		segs = append(segs, segment{start, len(buf), raw[from:]})
		if !more {
			break
		}
		rest = after
	}

	dots, empty := false, false
	for i, s := range segs {
		dots = dots || s.dots(buf) > 0
		empty = empty || s.start == s.end && i < len(segs)-1
	}
	if dots && !o.ResolveDots {
		return Path{}, DotSegment
	}
	if empty && o.MergeSlashes {
		segs, changed, empty = collapse(segs), true, false
	}
	if dots {
		if empty {
			return Path{}, EmptySegment // Tomcat and Undertow would resolve it differently
		}
		kept := segs[:0]
		for i, s := range segs {
			switch s.dots(buf) {
			case 2:
				if len(kept) == 0 {
					return Path{}, DotSegment // above the root
				}
				kept = kept[:len(kept)-1]
				fallthrough
			case 1:
				if i == len(segs)-1 {
					kept = append(kept, segment{})
				}
			default:
				kept = append(kept, s)
			}
		}
		segs, changed = kept, true
	}

	p := Path{Match: join(path, buf, segs), Target: target, sent: end}
	if changed {
		var b strings.Builder
		for _, s := range segs {
			b.WriteByte('/')
			b.WriteString(s.raw)
		}
		p.sent = b.Len()
		b.WriteString(target[end:])
		p.Target = b.String()
	}
	p.params = strings.Contains(p.Sent(), ";")
	if empty {
		p.Collapsed = join(path, buf, collapse(segs))
	}
	return p, None
}

// dots returns 1 for ".", 2 for "..", else 0.
func (s segment) dots(names []byte) int {
	switch string(names[s.start:s.end]) {
	case ".":
		return 1
	case "..":
		return 2
	}
	return 0
}

// collapse drops the empty segments but the last, which is a trailing slash.
func collapse(segs []segment) []segment {
	var kept []segment
	for i, s := range segs {
		if s.start < s.end || i == len(segs)-1 {
			kept = append(kept, s)
		}
	}
	return kept
}

// join makes a match path. Where it is the beginning of the raw path, as with a
// session id at the end, it shares those bytes.
func join(raw string, names []byte, segs []segment) string {
	var room [256]byte
	b := room[:0]
	for _, s := range segs {
		b = append(b, '/')
		b = append(b, names[s.start:s.end]...)
	}
	if len(b) <= len(raw) && string(b) == raw[:len(b)] {
		return raw[:len(b)]
	}
	return string(b)
}

// unhex returns the value of a hex digit, above 15 for any other byte.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}
