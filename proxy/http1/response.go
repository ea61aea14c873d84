package http1

// A Response is the head of an answer, interim ones too: places in the buffer
// given to Parse, and what they mean. The zero value is ready after Reset.
type Response struct {
	Head bool // set it before Parse: the request was HEAD, so that no framing is used

	Status    int  // 100 to 999
	Reason    Span // may be empty
	Minor     uint8
	Fields    []Field // every line in order
	Length    int64   // what the head says: -1: chunked; -2: neither
	HasLength bool    // a Content-Length line was there; then Length is its value

	Close, KeepAlive bool // Connection lists it
	KeepAliveTimeout int  // seconds of Keep-Alive: timeout=N; -1: none
	Upgrade          Span // value of the one Upgrade line; empty: none, or more than one
	ConnUpgrade      bool // Connection lists upgrade

	step     step
	upgraded bool
	lines    lines
	fields   int
	framing  framing
	options  options
}

// Body says where a body ends.
type Body uint8

const (
	NoBody Body = iota
	ByLength
	ByChunks
	UntilClose
)

// Reset makes r ready for the next head and keeps the array of fields.
func (r *Response) Reset() {
	*r = Response{Fields: emptied(r.Fields), KeepAliveTimeout: -1, Length: -2}
}

// Parse takes the head apart as far as it is there, as Request.Parse does. Whatever
// is wrong with it: to the client it is 502, and the connection cannot be used again.
func (r *Response) Parse(b []byte, l Limits) (n int, err *Error) {
	if r.step == atEnd {
		return r.lines.line, nil
	}
	if r.step != atFields {
		if err = r.statusLine(b, l.Line); err != nil || r.step != atFields {
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

// statusLine reads HTTP/1.x SP 3DIGIT [SP reason] CRLF, as far as it is there.
func (r *Response) statusLine(b []byte, limit int) *Error {
	const form = "HTTP/1.0 000" // 0 stands for any digit
	if limit > 0 {
		limit += 2
	}
	w := window(b, 0, limit)
	i := r.lines.at
	for ; i < len(w) && i < len(form); i++ {
		if w[i] != form[i] && (form[i] != '0' || classes[w[i]]&isDigit == 0) {
			return errStatusLine
		}
	}
	if i >= len(form) {
		if i == len(form) && i < len(w) && w[i] != ' ' && w[i] != '\r' {
			return errStatusLine
		}
		i = control(w, i)
		for i < len(w) && w[i] == '\t' {
			i = control(w, i+1)
		}
		ended, err := lineEnd(w, i)
		if err != nil {
			return err
		}
		if ended {
			return r.status(w, i)
		}
	}
	r.lines.at = i
	if limit > 0 && len(w) == limit {
		return errLineLong
	}
	return nil
}

// status reads the values out of a line that ends at end.
func (r *Response) status(b []byte, end int) *Error {
	r.Status = int(b[9]-'0')*100 + int(b[10]-'0')*10 + int(b[11]-'0')
	if b[7] > '1' || r.Status < 100 {
		return errStatusLine
	}
	r.Minor = b[7] - '0'
	r.Reason = span(min(13, end), end)
	r.fields = end + 2
	r.lines.begin(r.fields)
	r.step = atFields
	return nil
}

func (r *Response) field(f *Field, b []byte) *Error {
	v := f.Value.Of(b)
	switch f.ID {
	case ContentLength:
		return r.framing.contentLength(v)
	case TransferEncoding:
		return r.framing.transferEncoding(v)
	case Connection:
		return r.options.connection(v)
	case KeepAlive:
		r.keepAlive(v)
	case Upgrade:
		r.Upgrade = f.Value
		if r.upgraded {
			r.Upgrade = Span{}
		}
		r.upgraded = true
	}
	return nil
}

// keepAlive reads timeout=N out of a list.
func (r *Response) keepAlive(v []byte) {
	const name = "timeout="
	for len(v) > 0 {
		var e []byte
		e, v = element(v)
		if len(e) < len(name) || !isFold(e[:len(name)], name) {
			continue
		}
		if n, ok := decimal(e[len(name):]); ok {
			r.KeepAliveTimeout = int(min(n, 1<<30))
		}
	}
}

// judge looks at what only the whole head can tell.
func (r *Response) judge(b []byte) *Error {
	r.Close, r.KeepAlive, r.ConnUpgrade = r.options.close, r.options.keepAlive, r.options.upgrade
	r.options.mark(b, r.Fields)
	r.HasLength = r.framing.lengths
	if r.HasLength {
		r.Length = r.framing.length
	}
	if r.bare() {
		if r.framing.chunked && !r.HasLength {
			r.Length = -1
		}
		return nil
	}
	if err := r.framing.judge(r.Minor); err != nil {
		return err
	}
	if r.framing.chunked {
		r.Length = -1
	}
	return nil
}

// bare: no body, whatever the head says (RFC 9112 §6.3).
func (r *Response) bare() bool {
	return r.Head || r.Status < 200 || r.Status == 204 || r.Status == 304
}

// Body says where the body of a final answer ends, and its length if that is
// known beforehand.
func (r *Response) Body() (Body, int64) {
	switch {
	case r.bare():
		return NoBody, 0
	case r.Length == -1:
		return ByChunks, -1
	case r.Length == -2:
		return UntilClose, -1
	case r.Length == 0:
		return NoBody, 0
	}
	return ByLength, r.Length
}
