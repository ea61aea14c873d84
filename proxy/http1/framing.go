package http1

import "math"

// framing is what the lines of a head say about where its body ends.
type framing struct {
	length  int64
	lengths bool // a Content-Length line
	codings bool // a Transfer-Encoding line
	chunked bool // exactly one, and it says exactly that
}

// contentLength takes one line: 1*DIGIT up to 2^63-1, and no second one, equal or
// not (RFC 9112 §6.3).
func (f *framing) contentLength(v []byte) *Error {
	if f.lengths {
		return errLengths
	}
	n, ok := decimal(v)
	if !ok {
		return errLength
	}
	f.length, f.lengths = n, true
	return nil
}

// transferEncoding takes one line. What the codings mean is judged at the end of
// the head, beside Content-Length.
func (f *framing) transferEncoding(v []byte) *Error {
	for _, c := range v {
		if c >= 0x80 {
			return errCoding
		}
	}
	if len(v) == 0 {
		return errCoding
	}
	f.chunked = !f.codings && isFold(v, "chunked")
	f.codings = true
	return nil
}

// judge reports a framing that cannot be used (http-notes §2).
func (f *framing) judge(minor uint8) *Error {
	switch {
	case !f.codings:
		return nil
	case f.lengths:
		return errBoth
	case !f.chunked:
		return errCodingNot
	case minor == 0:
		return errCodingOld
	}
	return nil
}

// decimal reads 1*DIGIT up to 2^63-1.
func decimal(v []byte) (int64, bool) {
	var n int64
	for _, c := range v {
		c -= '0'
		if c > 9 || n > (math.MaxInt64-int64(c))/10 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	return n, len(v) > 0
}

// options is what Connection lines list.
type options struct {
	close, keepAlive, upgrade bool
	names                     int // how many are none of these
}

// maxListed names are looked for among the fields: with more a small head would
// cost a lot of comparing.
const maxListed = 16

// connection takes one line. An element that is no token names no field, and means
// nothing.
func (o *options) connection(v []byte) *Error {
	for len(v) > 0 {
		var name []byte
		name, v = element(v)
		switch {
		case len(name) == 0:
		case isFold(name, "close"):
			o.close = true
		case isFold(name, "keep-alive"):
			o.keepAlive = true
		case isFold(name, "upgrade"):
			o.upgrade = true
		case o.names == maxListed:
			return errListed
		default:
			o.names++
		}
	}
	return nil
}

// mark sets Listed on what the Connection lines of fields name.
func (o *options) mark(b []byte, fields []Field) {
	if o.names == 0 {
		return
	}
	for i := range fields {
		if fields[i].ID == Connection {
			markListed(b, fields, fields[i].Value.Of(b))
		}
	}
}

func markListed(b []byte, fields []Field, list []byte) {
	for len(list) > 0 {
		var name []byte
		name, list = element(list)
		for i := range fields {
			f := &fields[i]
			if f.Name.Len() == len(name) && sameFold(f.Name.Of(b), name) && f.ID.droppable() {
				f.Listed = true
			}
		}
	}
}
