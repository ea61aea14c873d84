// Package ajptest is the worker's side of AJP/1.3 for tests: it takes apart what a
// balancer sent, and is strict about it, and writes what a worker says. It knows nothing
// of package ajp, so that neither can hide a mistake of the other.
package ajptest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Line is one header line or request attribute.
type Line struct{ Name, Value string }

// Request is a FORWARD_REQUEST.
type Request struct {
	Method, Protocol, URI, RemoteAddr string
	RemoteHost                        *string // nil: null
	ServerName                        string
	ServerPort                        int
	TLS                               bool
	Headers                           []Line
	Attributes                        map[byte]string // by code
	KeySize                           int             // -1: not said
	Extra                             []Line          // request attributes
}

// Header returns a line's value; all of them joined by "|".
func (r *Request) Header(name string) string {
	var list []string
	for _, h := range r.Headers {
		if strings.EqualFold(h.Name, name) {
			list = append(list, h.Value)
		}
	}
	return strings.Join(list, "|")
}

// Attribute returns the request attribute of a name, "" if there is none.
func (r *Request) Attribute(name string) string {
	for _, a := range r.Extra {
		if a.Name == name {
			return a.Value
		}
	}
	return ""
}

var methods = []string{"", "OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "PROPFIND", "PROPPATCH", "MKCOL",
	"COPY", "MOVE", "LOCK", "UNLOCK", "ACL", "REPORT", "VERSION-CONTROL", "CHECKIN", "CHECKOUT", "UNCHECKOUT", "SEARCH",
	"MKWORKSPACE", "UPDATE", "LABEL", "MERGE", "BASELINE-CONTROL", "MKACTIVITY"}

var headers = []string{"", "Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Authorization", "Connection",
	"Content-Type", "Content-Length", "Cookie", "Cookie2", "Host", "Pragma", "Referer", "User-Agent"}

// ReadPacket reads one packet of a balancer, and returns its payload.
func ReadPacket(r *bufio.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	if head[0] != 0x12 || head[1] != 0x34 {
		return nil, fmt.Errorf("% x is no packet of a balancer", head)
	}
	p := make([]byte, binary.BigEndian.Uint16(head[2:]))
	if _, err := io.ReadFull(r, p); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	return p, nil
}

// ReadBody reads a body packet, and returns its data.
func ReadBody(r *bufio.Reader) ([]byte, error) {
	p, err := ReadPacket(r)
	if err != nil {
		return nil, err
	}
	if len(p) < 2 || int(binary.BigEndian.Uint16(p)) != len(p)-2 {
		return nil, fmt.Errorf("% .8x is no body packet", p)
	}
	return p[2:], nil
}

// ErrPing: a packet that is CPING, not a request.
var ErrPing = errors.New("CPING")

// ReadRequest reads a FORWARD_REQUEST; ErrPing if it is none, but CPING.
func ReadRequest(r *bufio.Reader) (*Request, error) {
	p, err := ReadPacket(r)
	if err != nil {
		return nil, err
	}
	if len(p) == 1 && p[0] == 10 {
		return nil, ErrPing
	}
	return Parse(p)
}

// Parse takes the payload of a FORWARD_REQUEST apart.
func Parse(p []byte) (*Request, error) {
	c := &cutter{b: p}
	if kind := c.byte(); kind != 2 {
		return nil, fmt.Errorf("packet of type %d", kind)
	}
	q := &Request{Attributes: map[byte]string{}, KeySize: -1}
	method := c.byte()
	q.Protocol, q.URI, q.RemoteAddr = c.text(), c.text(), c.text()
	q.RemoteHost = c.optional()
	q.ServerName, q.ServerPort = c.text(), c.int()
	q.TLS = c.byte() != 0
	for range c.int() {
		if c.bad != nil {
			break
		}
		name := ""
		if len(c.b) >= 2 && c.b[0] == 0xa0 {
			code := c.int() & 0xff
			if code == 0 || code >= len(headers) {
				return nil, fmt.Errorf("header code %d", code)
			}
			name = headers[code]
		} else if name = c.text(); len(name) > 255 || name == "" {
			return nil, fmt.Errorf("header name of %d bytes", len(name))
		}
		q.Headers = append(q.Headers, Line{name, c.text()})
	}
	for c.bad == nil {
		code := c.byte()
		switch code {
		case 0xff:
			if len(c.b) > 0 {
				return nil, fmt.Errorf("%d bytes behind the end", len(c.b))
			}
			return q, q.name(method)
		case 0x0a:
			q.Extra = append(q.Extra, Line{c.text(), c.text()})
		case 0x0b:
			q.KeySize = c.int()
		case 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x0c, 0x0d:
			if _, twice := q.Attributes[code]; twice {
				return nil, fmt.Errorf("attribute %#x twice", code)
			}
			q.Attributes[code] = c.text()
		default:
			return nil, fmt.Errorf("attribute %#x", code)
		}
	}
	return nil, c.bad
}

func (q *Request) name(code byte) error {
	if code == 0xff {
		q.Method = q.Attributes[0x0d]
	} else if code > 0 && int(code) < len(methods) {
		q.Method = methods[code]
	}
	if q.Method == "" {
		return fmt.Errorf("method code %d", code)
	}
	return nil
}

// cutter cuts values off the front, until something is wrong.
type cutter struct {
	b   []byte
	bad error
}

func (c *cutter) take(n int) []byte {
	if c.bad == nil && n > len(c.b) {
		c.bad = io.ErrUnexpectedEOF
	}
	if c.bad != nil {
		return make([]byte, n)
	}
	b := c.b[:n]
	c.b = c.b[n:]
	return b
}

func (c *cutter) byte() byte { return c.take(1)[0] }
func (c *cutter) int() int   { return int(binary.BigEndian.Uint16(c.take(2))) }

func (c *cutter) optional() *string {
	n := c.int()
	if n == 0xffff {
		return nil
	}
	s := string(c.take(n))
	if c.byte() != 0 {
		c.bad = errors.New("a string without its last byte")
	}
	return &s
}

func (c *cutter) text() string {
	s := c.optional()
	if s == nil {
		c.bad = errors.New("null where a string must be")
		return ""
	}
	return *s
}

// What a worker says, as packets.
const (
	Pong = "AB\x00\x01\x09"
	End  = "AB\x00\x02\x05\x01" // the connection may be used again
	Over = "AB\x00\x02\x05\x00" // it may not
)

// Packet is a payload with its head.
func Packet(payload string) string { return "AB" + number(len(payload)) + payload }

func number(n int) string { return string([]byte{byte(n >> 8), byte(n)}) }

// Text is a string as it is sent.
func Text(s string) string { return number(len(s)) + s + "\x00" }

// Head is SEND_HEADERS; the names and values of lines alternate.
func Head(status int, lines ...string) string {
	s := "\x04" + number(status) + Text(fmt.Sprint(status)) + number(len(lines)/2)
	for i, v := range lines {
		code := ""
		if i%2 == 0 {
			for c, name := range answerNames {
				if name == v {
					code = string([]byte{0xa0, byte(c + 1)})
				}
			}
		}
		if code == "" {
			code = Text(v)
		}
		s += code
	}
	return Packet(s)
}

var answerNames = []string{"Content-Type", "Content-Language", "Content-Length", "Date", "Last-Modified", "Location",
	"Set-Cookie", "Set-Cookie2", "Servlet-Engine", "Status", "WWW-Authenticate"}

// Body is SEND_BODY_CHUNK; of nothing it is a flush.
func Body(data string) string { return Packet("\x03" + number(len(data)) + data + "\x00") }

// Ask is GET_BODY_CHUNK.
func Ask(n int) string { return Packet("\x06" + number(n)) }
