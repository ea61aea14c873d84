package route

import (
	"slices"
	"strings"
	"unsafe"
)

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
// A plain path costs no allocation, nor does one with parameters at its end.
//
// Rule 5, on empty segments, needs the contexts: Decide applies it.
func ParsePath(target string, o PathOptions) (Path, Reason) {
	var p Path
	_, why := p.Parse(target, o, nil)
	return p, why
}

// Parse makes p the path of a target, as ParsePath does. What is not a part of
// target is appended to scratch, which is returned: where it has room for twice
// the target, nothing is allocated. So p holds as long as neither is overwritten.
func (p *Path) Parse(target string, o PathOptions, scratch []byte) ([]byte, Reason) {
	*p = Path{}
	if target == "" || target[0] != '/' {
		return scratch, BadTarget
	}
	end := strings.IndexByte(target, '?')
	if end < 0 {
		end = len(target)
	}
	var all, pairs, before uint8
	for i := range end {
		class := classes[target[i]]
		all |= class
		pairs |= class & (before << 1)
		before = class
	}
	for i := end; i < len(target); i++ {
		all |= classes[target[i]] & badByte
	}
	if all&(badByte|backslash) != 0 {
		return scratch, firstBad(target, end)
	}
	p.Target, p.sent, p.params = target, end, all&semicolon != 0
	if all&(percent|semicolon) == 0 && pairs&dotOrSlash == 0 {
		p.Match = target[:end]
		return scratch, None
	}
	if all&percent == 0 && pairs&dotOrSlash == 0 {
		if cut := strings.IndexByte(target[:end], ';'); strings.IndexByte(target[cut:end], '/') < 0 {
			p.Match = target[:cut]
			return scratch, None
		}
	}
	return p.decode(o, scratch)
}

// What a byte means in a target. dotOrSlash is the bit above slash.
const (
	slash uint8 = 1 << iota
	dotOrSlash
	percent
	semicolon
	backslash
	badByte
)

var classes = classify()

func classify() (t [256]uint8) {
	for c := range t {
		if c < 0x21 || c > 0x7e {
			t[c] = badByte
		}
	}
	t['/'], t['.'], t['%'], t[';'], t['\\'], t['#'] = slash|dotOrSlash, dotOrSlash, percent, semicolon, backslash, badByte
	return t
}

// firstBad says what is wrong with a target that ends its path at end.
func firstBad(target string, end int) Reason {
	for i := range len(target) {
		switch class := classes[target[i]]; {
		case class&badByte != 0:
			return BadByte
		case class&backslash != 0 && i < end:
			return Backslash
		}
	}
	return None
}

// decode is Parse for a path with escapes, or with parameters, dots or empty
// segments that are not simply cut off.
func (p *Path) decode(o PathOptions, scratch []byte) ([]byte, Reason) {
	var (
		path                 = p.Sent()
		start                = len(scratch)
		b                    = slices.Grow(scratch, len(path))
		from                 = start + 1 // where the name of the segment begins
		dots, empty, changed bool        // changed: what is sent is not what came
	)
	ends := func(last bool) { // the segment at from
		switch len(b) - from {
		case 0:
			empty = empty || !last
		case 1, 2:
			dots = dots || b[from] == '.' && b[len(b)-1] == '.'
		}
	}
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case c == '/':
			if i > 0 {
				ends(false)
			}
			from = len(b) + 1
		case c == ';': // cut before decoding
			next := strings.IndexByte(path[i:], '/')
			if next < 0 {
				next = len(path) - i
			}
			i += next - 1
			continue
		case c == '%':
			if i+2 >= len(path) {
				return scratch, BadEscape
			}
			hi, lo := unhex(path[i+1]), unhex(path[i+2])
			if hi > 15 || lo > 15 {
				return scratch, BadEscape
			}
			i += 2
			switch c = hi<<4 | lo; c {
			case 0:
				return scratch, EncodedNUL
			case '\\':
				return scratch, Backslash
			case '/':
				switch o.EncodedSlash {
				case SlashReject:
					return scratch, SlashEscaped
				case SlashKeep:
					b = append(b, path[i-2:i+1]...)
					continue
				case SlashDecode:
					ends(false)
					from, changed = len(b)+1, true
				}
			}
		}
		b = append(b, c)
	}
	ends(true)

	merge := empty && o.MergeSlashes
	switch {
	case dots && !o.ResolveDots:
		return scratch, DotSegment
	case dots && empty && !merge:
		return scratch, EmptySegment // Tomcat and Undertow would resolve it differently
	case dots || merge || changed:
		why := None
		if b, why = p.rearrange(b, start, o); why != None {
			return scratch, why
		}
	case strings.HasPrefix(path, view(b[start:])):
		p.Match = path[:len(b)-start]
		b = b[:start]
	default:
		p.Match = view(b[start:])
	}
	if empty && !merge {
		at := len(b)
		b = collapse(b, p.Match)
		p.Collapsed = view(b[at:])
	}
	return b, None
}

// segment is one piece between slashes: its decoded name, and what is sent for it,
// parameters included.
type segment struct{ name, raw string }

// rearrange is for a path whose decoded form, from start on in b, is not what is
// matched, or whose raw form is not what is sent. It appends both to b.
func (p *Path) rearrange(b []byte, start int, o PathOptions) ([]byte, Reason) {
	var (
		few   [24]segment
		kept  = few[:0]
		names = view(b[start:])[1:]
		raws  = p.Sent()[1:]
	)
	for more := true; more; {
		var s segment
		s.name, names, more = strings.Cut(names, "/")
		s.raw, raws = cutRaw(raws, o.EncodedSlash == SlashDecode)
		switch {
		case s.name == "" && more && o.MergeSlashes:
		case s.name == "." || s.name == "..":
			if s.name == ".." {
				if len(kept) == 0 {
					return b, DotSegment // above the root
				}
				kept = kept[:len(kept)-1]
			}
			if !more {
				kept = append(kept, segment{})
			}
		default:
			kept = append(kept, s)
		}
	}

	query := p.Query()
	b = slices.Grow(b, len(p.Target)+len(p.Sent()))
	at := len(b)
	for _, s := range kept {
		b = append(append(b, '/'), s.name...)
	}
	p.Match = view(b[at:])
	at = len(b)
	for _, s := range kept {
		b = append(append(b, '/'), s.raw...)
	}
	p.sent = len(b) - at
	b = append(b, query...)
	p.Target = view(b[at:])
	p.params = strings.Contains(p.Sent(), ";")
	return b, None
}

// cutRaw cuts the first segment off a raw path. An escaped slash ends one, too, if
// it is decoded and not in a parameter.
func cutRaw(path string, decoded bool) (first, rest string) {
	param := false
	for i := range len(path) {
		switch {
		case path[i] == '/':
			return path[:i], path[i+1:]
		case path[i] == ';':
			param = true
		case path[i] == '%' && decoded && !param && path[i+1] == '2' && unhex(path[i+2]) == 15:
			return path[:i], path[i+3:]
		}
	}
	return path, ""
}

// collapse appends a match path without its empty segments to b. The last one stays:
// it is a trailing slash.
func collapse(b []byte, path string) []byte {
	for i := range len(path) {
		if i == 0 || path[i] != '/' || path[i-1] != '/' {
			b = append(b, path[i])
		}
	}
	return b
}

// view returns bytes that nobody changes as a string.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

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
