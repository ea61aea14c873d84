package http1

import "bytes"

// A Request is the head of a request: places in the buffer given to Parse, and
// what they mean. The zero value is ready.
type Request struct {
	Method    Span
	Target    Span    // in origin-form, or "*"
	Host      Span    // value of Host; empty only in HTTP/1.0
	Minor     uint8   // 0 or 1
	Fields    []Field // every line in order, Host and framing included
	Length    int64   // of the body; -1: chunked; 0: none
	HasLength bool    // a Content-Length line was there
	Expect    bool    // 100-continue; never in HTTP/1.0 (RFC 9110 §10.1.1)

	Close, KeepAlive bool // Connection lists it
	Upgrade          Span // value of the one Upgrade line, if Connection lists upgrade and the version is 1.1
	UpgradeBad       bool // more than one Upgrade line
	TrailersOK       bool // TE lists trailers

	step      step
	skipped   bool // the CRLF that may stand before a request line
	upgraded  bool // an Upgrade line was there
	hosted    bool // a Host line was there
	lines     lines
	fields    int  // where the field lines begin
	authority Span // of a target in absolute-form
	framing   framing
	options   options
	upgrade   Span
}

// step is what is read next.
type step uint8

const (
	atStart step = iota
	atMethod
	atTarget
	atVersion
	atFields
	atEnd
)

// Reset makes r ready for the next head and keeps the array of fields.
func (r *Request) Reset() { *r = Request{Fields: emptied(r.Fields)} }

// Started reports whether a byte of the request was seen: another one than the
// one CRLF that may stand before it.
func (r *Request) Started() bool { return r.step != atStart }

// Parse takes the head apart as far as it is there, and returns its length when
// it is complete. b is everything since the exchange began: it may have grown or
// moved since the last call, the bytes seen then are the same.
//
//	n > 0            complete
//	n == 0, no error more is needed
//	400              malformed, or could be read in two ways
//	405, 417, 501, 505   CONNECT; Expect; Transfer-Encoding; version
//	414, 431         over a limit
//
// A target in absolute-form is reduced in place to its path: when that is empty,
// the last byte of the authority becomes "/" (for OPTIONS without a query "*",
// RFC 9112 §3.2.4).
func (r *Request) Parse(b []byte, l Limits) (n int, err *Error) {
	if r.step == atEnd {
		return r.lines.line, nil
	}
	if r.step != atFields {
		if err = r.requestLine(b, l.Line); err != nil || r.step != atFields {
			return 0, err
		}
	}
	w := window(b, r.fields, l.Header)
	for {
		f := slot(&r.Fields)
		what, err := r.lines.next(w, f)
		if err != nil {
			return 0, err
		}
		switch what {
		case part:
			if l.Header > 0 && len(w) == r.fields+l.Header {
				return 0, errHeadLong
			}
			return 0, nil
		case blank:
			if err := r.judge(b); err != nil {
				return 0, err
			}
			r.step = atEnd
			return r.lines.line, nil
		}
		r.Fields = r.Fields[:len(r.Fields)+1]
		if f.ID != Other && f.ID <= Upgrade {
			if err := r.field(f, b); err != nil {
				return 0, err
			}
		}
	}
}

// requestLine reads method SP target SP version CRLF, as far as it is there.
func (r *Request) requestLine(b []byte, limit int) *Error {
	i := r.lines.at
	if r.step == atStart {
		if i == len(b) {
			return nil
		}
		if b[i] == '\r' || b[i] == '\n' {
			if r.skipped {
				return errEmptyLine
			}
			ended, err := lineEnd(b, i)
			if !ended {
				return err
			}
			r.skipped = true
			i += 2
			r.lines.begin(i)
			if i == len(b) {
				return nil
			}
			if b[i] == '\r' || b[i] == '\n' {
				return errEmptyLine
			}
		}
		r.step = atMethod
	}
	line := r.lines.line
	if limit > 0 {
		limit += 2
	}
	w := window(b, line, limit)
	i, err := r.words(w, i)
	r.lines.at = i
	switch {
	case err != nil:
		return err
	case r.step == atFields:
		r.fields = i
		r.lines.begin(i)
		return r.target(b)
	case limit > 0 && len(w) == line+limit:
		return errLineLong
	}
	return nil
}

// words reads on from i and returns where it stopped: behind the line, or at the
// end of b.
func (r *Request) words(b []byte, i int) (int, *Error) {
	if r.step == atMethod {
		for i < len(b) && classes[b[i]]&inToken != 0 {
			i++
		}
		if i == len(b) {
			return i, nil
		}
		if b[i] != ' ' || i == r.lines.line {
			return i, errMethod
		}
		r.Method = span(r.lines.line, i)
		i++
		r.Target = Span{uint32(i), uint32(i)}
		r.step = atTarget
	}
	if r.step == atTarget {
		start := int(r.Target.Start)
		for i < len(b) {
			c := classes[b[i]]
			if c&(inTarget|backslash) != inTarget {
				if c&inTarget == 0 {
					break
				}
				if bytes.IndexByte(b[start:i], '?') < 0 {
					return i, errBackslash
				}
			}
			i++
		}
		if i == len(b) {
			return i, nil
		}
		if b[i] != ' ' || i == start {
			return i, errTarget
		}
		r.Target.End = uint32(i)
		i++
		r.step = atVersion
	}
	const version = "HTTP/1.1\r\n"
	start := int(r.Target.End) + 1
	if i == start && len(b)-i >= len(version) && string(b[i:i+len(version)]) == version {
		r.Minor = 1
		r.step = atFields
		return i + len(version), nil
	}
	for ; i < len(b); i++ {
		switch k := i - start; k {
		case 5, 7:
			if classes[b[i]]&isDigit == 0 {
				return i, errVersion
			}
		default:
			if b[i] != version[k] {
				return i, errVersion
			}
			if k == len(version)-1 {
				if b[start+5] != '1' || b[start+7] > '1' {
					return i, errVersionNo
				}
				r.Minor = b[start+7] - '0'
				r.step = atFields
				return i + 1, nil
			}
		}
	}
	return i, nil
}

// target judges the form of the target. An absolute one waits for Host.
func (r *Request) target(b []byte) *Error {
	t, method := r.Target.Of(b), r.Method.Of(b)
	switch {
	case string(method) == "CONNECT":
		return errConnect
	case t[0] == '/':
		return nil
	case len(t) == 1 && t[0] == '*':
		if string(method) != "OPTIONS" {
			return errAsterisk
		}
		return nil
	}
	authority := 0
	switch {
	case len(t) > 7 && isFold(t[:7], "http://"):
		authority = 7
	case len(t) > 8 && isFold(t[:8], "https://"):
		authority = 8
	default:
		return errForm
	}
	end := authority
	for end < len(t) && t[end] != '/' && t[end] != '?' {
		end++
	}
	if !ValidHost(t[authority:end]) {
		return errForm
	}
	start := int(r.Target.Start)
	r.authority = span(start+authority, start+end)
	return nil
}

// field takes the meaning of one line of the names a request is framed and kept by.
func (r *Request) field(f *Field, b []byte) *Error {
	v := f.Value.Of(b)
	switch f.ID {
	case Host:
		if r.hosted {
			return errTwoHosts
		}
		if !ValidHost(v) && (len(v) > 0 || r.Minor > 0) {
			return errHost
		}
		r.Host, r.hosted = f.Value, true
	case ContentLength:
		return r.framing.contentLength(v)
	case TransferEncoding:
		return r.framing.transferEncoding(v)
	case Connection:
		return r.options.connection(v)
	case Expect:
		if !isFold(v, "100-continue") {
			return errExpect
		}
		r.Expect = r.Minor > 0
	case TE:
		for len(v) > 0 {
			var coding []byte
			coding, v = element(v)
			r.TrailersOK = r.TrailersOK || isFold(coding, "trailers")
		}
	case Upgrade:
		r.UpgradeBad = r.upgraded
		r.upgrade, r.upgraded = f.Value, true
	}
	return nil
}

// judge looks at what only the whole head can tell.
func (r *Request) judge(b []byte) *Error {
	if !r.hosted && r.Minor > 0 {
		return errNoHost
	}
	if r.authority.Len() > 0 {
		if !sameFold(r.authority.Of(b), r.Host.Of(b)) {
			return errAuthority
		}
		r.reduce(b)
	}
	if err := r.framing.judge(r.Minor); err != nil {
		return err
	}
	r.HasLength, r.Length = r.framing.lengths, r.framing.length
	if r.framing.chunked {
		r.Length = -1
	}
	r.Close, r.KeepAlive = r.options.close, r.options.keepAlive
	if r.upgraded && !r.UpgradeBad && r.options.upgrade && r.Minor > 0 {
		r.Upgrade = r.upgrade
	}
	r.options.mark(b, r.Fields)
	return nil
}

// reduce makes origin-form of absolute-form. The authority has been compared, so
// that its last byte is free.
func (r *Request) reduce(b []byte) {
	r.Target.Start = r.authority.End
	if r.Target.Len() > 0 && b[r.Target.Start] == '/' {
		return
	}
	r.Target.Start--
	b[r.Target.Start] = '/'
	if r.Target.Len() == 1 && string(r.Method.Of(b)) == "OPTIONS" {
		b[r.Target.Start] = '*'
	}
}
