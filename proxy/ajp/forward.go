package ajp

import (
	"errors"
	"fmt"
	"strconv"
)

// Sizes of packets, their four bytes of header included (ajp13.md §2).
const (
	MinPacket = 8 << 10
	MaxPacket = 64 << 10

	header  = 4
	payload = 0xffff // the most a length field can say
	// BodyHead are the bytes of a body packet before its data.
	BodyHead = header + 2
)

// Ping asks a worker whether it is there, Pong is the one right answer.
const (
	Ping = "\x12\x34\x00\x01\x0a"
	Pong = "\x41\x42\x00\x01\x09"
)

// ErrName: Undertow would take the length of a longer name for a code.
var ErrName = errors.New("header name of more than 255 bytes")

// SizeError is a request that does not fit a packet. Nothing may be written of it.
type SizeError struct {
	Size, Limit int  // bytes, header included
	Target      bool // it would not fit for its path and query alone
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("request of %d bytes for ajp, where a packet holds %d", e.Size, e.Limit)
}

// A Start is what stands before the headers of a request.
type Start struct {
	Method     string
	Old        bool   // the client speaks HTTP/1.0
	Path       string // raw, without query; from "/" on, or "*"
	RemoteAddr string // numeric, no brackets, no zone
	ServerName string // host of Host, no port
	ServerPort int    // of the client's connection at this end
	TLS        bool
}

// Forward writes a FORWARD_REQUEST: Begin, Header for each line, then attributes, then
// End. Whatever is wrong on the way End says.
type Forward struct {
	b       []byte
	start   int // where the packet begins
	count   int // where the number of headers stands
	headers int
	target  int    // bytes of path and query
	method  string // to be stored; "" if it has a code
	closed  bool   // the number of headers is written
	err     error
}

// Begin starts the packet behind b.
func (f *Forward) Begin(b []byte, s *Start) {
	code := methodCode(s.Method)
	*f = Forward{start: len(b), target: len(s.Path)}
	if code == stored {
		f.method = s.Method
	}
	f.b = append(b, 0x12, 0x34, 0, 0, 2, code)
	if s.Old {
		f.text("HTTP/1.0")
	} else {
		f.text("HTTP/1.1")
	}
	f.text(s.Path)
	f.text(s.RemoteAddr)
	f.b = append(f.b, 0xff, 0xff) // its name is not known
	f.text(s.ServerName)
	f.b = append(f.b, byte(s.ServerPort>>8), byte(s.ServerPort), 0)
	if s.TLS {
		f.b[len(f.b)-1] = 1
	}
	f.count = len(f.b)
	f.b = append(f.b, 0, 0)
}

func (f *Forward) text(s string) {
	f.b = append(f.b, byte(len(s)>>8), byte(len(s)))
	f.b = append(f.b, s...)
	f.b = append(f.b, 0)
	if len(s) > payload-1 && f.err == nil { // FFFF is no string
		f.err = &SizeError{Size: len(s)}
	}
}

// Header adds a line; both are valid as HTTP has it.
func (f *Forward) Header(name, value string) {
	f.headers++
	if code := headerCode(name); code != 0 {
		f.b = append(f.b, 0xa0, code)
	} else {
		if len(name) > 255 && f.err == nil {
			f.err = ErrName
		}
		f.b = append(f.b, byte(len(name)>>8), byte(len(name)))
		f.b = append(f.b, name...)
		f.b = append(f.b, 0)
	}
	f.b = append(f.b, byte(len(value)>>8), byte(len(value)))
	f.b = append(f.b, value...)
	f.b = append(f.b, 0)
	if len(value) > payload-1 && f.err == nil {
		f.err = &SizeError{Size: len(value)}
	}
}

// Chunked says that a body follows whose length is not known.
func (f *Forward) Chunked() {
	f.headers++
	f.text("Transfer-Encoding")
	f.text("chunked")
}

// Length says how long the body is.
func (f *Forward) Length(n int64) {
	f.headers++
	f.b = append(f.b, 0xa0, 0x08, 0, 0)
	at := len(f.b)
	f.b = strconv.AppendInt(f.b, n, 10)
	f.b[at-1] = byte(len(f.b) - at)
	f.b = append(f.b, 0)
}

// Headers is how many there are so far.
func (f *Forward) Headers() int { return f.headers }

// endHeaders writes their number: attributes follow.
func (f *Forward) endHeaders() {
	if !f.closed {
		f.closed = true
		f.b[f.count], f.b[f.count+1] = byte(f.headers>>8), byte(f.headers)
		if f.headers > payload && f.err == nil {
			f.err = &SizeError{Size: f.headers}
		}
	}
}

// Attribute adds one of the Attr ones, each at most once.
func (f *Forward) Attribute(code byte, value string) {
	f.endHeaders()
	f.b = append(f.b, code)
	f.text(value)
	if code == AttrQuery {
		f.target += len(value)
	}
}

// KeySize adds the bits of the client's cipher.
func (f *Forward) KeySize(bits int) {
	f.endHeaders()
	f.b = append(f.b, attrKeySize, byte(bits>>8), byte(bits))
}

// RequestAttribute adds one of the names above.
func (f *Forward) RequestAttribute(name, value string) {
	f.endHeaders()
	f.b = append(f.b, attrRequest)
	f.text(name)
	f.text(value)
}

// RequestNumber is RequestAttribute with a number.
func (f *Forward) RequestNumber(name string, n int) {
	f.endHeaders()
	f.b = append(f.b, attrRequest)
	f.text(name)
	f.b = append(f.b, 0, 0)
	at := len(f.b)
	f.b = strconv.AppendInt(f.b, int64(n), 10)
	f.b[at-1] = byte(len(f.b) - at)
	f.b = append(f.b, 0)
}

// End returns the buffer with the whole packet. If it has more than limit bytes
// (MinPacket to MaxPacket) it is a [*SizeError]; the buffer is returned in any case.
func (f *Forward) End(limit int) ([]byte, error) {
	f.endHeaders()
	if f.method != "" {
		f.Attribute(attrMethod, f.method)
	}
	f.b = append(f.b, attrEnd)
	b, size := f.b, len(f.b)-f.start
	f.b = nil
	if f.err == ErrName {
		return b, f.err
	}
	if size > min(limit, header+payload) || f.err != nil {
		// What stands in any request beside its target takes less than this.
		const rest = 512
		return b, &SizeError{Size: size, Limit: limit, Target: f.target > limit-rest}
	}
	n := size - header
	b[f.start+2], b[f.start+3] = byte(n>>8), byte(n)
	return b, nil
}

// PutBody makes a body packet of the n bytes that lie in buf behind BodyHead, and
// returns it. 0 bytes are the end of a body, and are sent only where a worker asks.
func PutBody(buf []byte, n int) []byte {
	l := n + 2
	buf[0], buf[1], buf[2], buf[3], buf[4], buf[5] = 0x12, 0x34, byte(l>>8), byte(l), byte(n>>8), byte(n)
	return buf[:BodyHead+n]
}

// AppendBody appends a body packet.
func AppendBody(b, data []byte) []byte {
	n, l := len(data), len(data)+2
	b = append(b, 0x12, 0x34, byte(l>>8), byte(l), byte(n>>8), byte(n))
	return append(b, data...)
}
