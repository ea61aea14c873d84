package ajp

import "errors"

// What a worker may do wrong. The connection is of no use then.
var (
	errMagic   = errors.New("ajp: not a packet of a worker")
	errType    = errors.New("ajp: unknown type of packet")
	errLength  = errors.New("ajp: a length does not fit its packet")
	errString  = errors.New("ajp: a string does not fit its packet")
	errCode    = errors.New("ajp: unknown code of a header")
	errName    = errors.New("ajp: malformed name of a header")
	errValue   = errors.New("ajp: control byte in a header")
	errStatus  = errors.New("ajp: status out of place")
	errHeads   = errors.New("ajp: a second head")
	errNoHead  = errors.New("ajp: body before the head")
	errNothing = errors.New("ajp: the end before a head")
	errBehind  = errors.New("ajp: bytes behind the end")
	errAsks    = errors.New("ajp: asks for body while it has an answer to come")
	errAsksOn  = errors.New("ajp: asks for body behind its end")
)

// An Event is what a worker says.
type Event uint8

const (
	More    Event = iota // nothing whole is there
	Headers              // an interim or final head: status, and the payload for AppendFields
	Data                 // bytes of the body: what is there of them
	Flush                // the client should have now what came so far
	Ask                  // for so many bytes of the request's body at most
	End
)

// types of packets from a worker
const (
	sendBody    = 3
	sendHeaders = 4
	endResponse = 5
	getBody     = 6
)

// A Stream is one exchange as the worker goes through it (ajp13.md §15).
type Stream struct {
	headed  bool // a final head was there
	ended   bool
	reuse   bool
	due     bool // the packet that is sent unasked has not been
	asked   bool // an Ask has no answer yet
	emptied bool // the end of the body was sent
	left    int  // bytes of data to come of the SEND_BODY_CHUNK that is read
	tail    int  // bytes behind them
}

// Reset makes s ready for an exchange. due: its request says Content-Length, and not
// 0, so that a body packet is to follow unasked.
func (s *Stream) Reset(due bool) { *s = Stream{due: due} }

// Owes says whether a body packet is to be sent.
func (s *Stream) Owes() bool { return !s.ended && (s.due || s.asked) }

// Due says whether that is the one nobody asks for, which is never empty.
func (s *Stream) Due() bool { return s.due }

// Sent notes that a body packet with n bytes was sent.
func (s *Stream) Sent(n int) {
	if s.due {
		s.due = false
		return
	}
	s.asked = false
	s.emptied = n == 0
}

// Refuses says whether the worker has ended the connection with the exchange.
func (s *Stream) Refuses() bool { return s.ended && !s.reuse }

// Reusable says whether the exchange has left the connection clean. Bytes that were
// read behind it are for the caller to see.
func (s *Stream) Reusable() bool { return s.ended && s.reuse && !s.due && !s.asked }

// Next takes the first event out of b, what the worker sent and was not taken yet.
//
//	Headers   n: the status; piece: the payload behind the type
//	Data      piece
//	Ask       n: how many bytes at most
//	More      took may be more than 0 all the same; read on
//
// piece lies in b.
func (s *Stream) Next(b []byte) (event Event, piece []byte, n, took int, err error) {
	for {
		if s.left > 0 {
			if took == len(b) {
				return More, nil, 0, took, nil
			}
			k := min(s.left, len(b)-took)
			s.left -= k
			return Data, b[took : took+k], 0, took + k, nil
		}
		if s.tail > 0 {
			if took == len(b) {
				return More, nil, 0, took, nil
			}
			took++
			s.tail = 0
		}
		if s.ended {
			if took < len(b) {
				return More, nil, 0, took, errBehind
			}
			return More, nil, 0, took, nil
		}
		p := b[took:]
		if len(p) > 0 && p[0] != 'A' || len(p) > 1 && p[1] != 'B' {
			return More, nil, 0, took, errMagic
		}
		if len(p) < header+1 {
			return More, nil, 0, took, nil
		}
		size := int(p[2])<<8 | int(p[3])
		if size == 0 {
			return More, nil, 0, took, errLength
		}
		whole := len(p) >= header+size
		switch p[4] {
		case sendBody:
			if size < 3 {
				return More, nil, 0, took, errLength
			}
			if len(p) < header+3 {
				return More, nil, 0, took, nil
			}
			l := int(p[5])<<8 | int(p[6])
			if size != l+4 && size != l+3 { // nobody is known to leave the last byte out
				return More, nil, 0, took, errLength
			}
			if !s.headed && l > 0 {
				return More, nil, 0, took, errNoHead
			}
			took += header + 3
			s.left, s.tail = l, size-l-3
			if l == 0 {
				if s.tail > 0 && took < len(b) {
					s.tail = 0
					took++
				}
				if s.headed {
					return Flush, nil, 0, took, nil
				}
			}
		case sendHeaders:
			if size < 3 {
				return More, nil, 0, took, errLength
			}
			if s.headed {
				return More, nil, 0, took, errHeads
			}
			if !whole {
				return More, nil, 0, took, nil
			}
			status := int(p[5])<<8 | int(p[6])
			if status < 100 || status > 599 || status == 101 {
				return More, nil, 0, took, errStatus
			}
			s.headed = status >= 200
			return Headers, p[header+1 : header+size], status, took + header + size, nil
		case endResponse:
			if size != 2 {
				return More, nil, 0, took, errLength
			}
			if !s.headed {
				return More, nil, 0, took, errNothing
			}
			if !whole {
				return More, nil, 0, took, nil
			}
			s.ended, s.reuse = true, p[5] != 0
			return End, nil, 0, took + header + size, nil
		case getBody:
			if size != 3 {
				return More, nil, 0, took, errLength
			}
			if !whole {
				return More, nil, 0, took, nil
			}
			switch {
			case s.emptied:
				return More, nil, 0, took, errAsksOn
			case s.asked:
				return More, nil, 0, took, errAsks
			}
			s.asked = true
			return Ask, nil, int(p[5])<<8 | int(p[6]), took + header + size, nil
		default:
			return More, nil, 0, took, errType
		}
	}
}

// Ends says whether the end of the exchange is among what b holds, which Next has not
// taken.
func (s *Stream) Ends(b []byte) bool {
	at := s.left + s.tail
	for at+header < len(b) {
		if b[at+header] == endResponse {
			return true
		}
		at += header + (int(b[at+2])<<8 | int(b[at+3]))
	}
	return false
}

// Need is how many bytes the packet that b begins with takes, as far as it has to be
// whole to be understood; 0: not known yet.
func (s *Stream) Need(b []byte) int {
	if s.left+s.tail > 0 || len(b) < header+1 || b[4] == sendBody {
		return 0
	}
	return header + (int(b[2])<<8 | int(b[3]))
}

// AppendFields appends the header lines of a SEND_HEADERS payload as HTTP/1.1 has them,
// each with its line end. What frames a message is left out but for Content-Length, and
// so is Status. A name or value that could be read as more than one line is an error.
func AppendFields(to, p []byte) ([]byte, error) {
	if len(p) < 2 {
		return to, errLength
	}
	p = p[2:] // the status
	_, p, err := text(p)
	if err != nil {
		return to, err
	}
	if len(p) < 2 {
		return to, errLength
	}
	count := int(p[0])<<8 | int(p[1])
	p = p[2:]
	for range count {
		if len(p) < 2 {
			return to, errLength
		}
		begin := len(to)
		skip := false
		if p[0] == 0xa0 {
			code := int(p[1])
			if code == 0 || code > len(answerNames) {
				return to, errCode
			}
			to = append(to, answerNames[code-1]...)
			skip = code == 0x0a
			p = p[2:]
		} else {
			var name []byte
			if name, p, err = text(p); err != nil {
				return to, err
			}
			if !isToken(name) {
				return to, errName
			}
			skip = isFold(name, "status") || isFold(name, "transfer-encoding")
			to = append(to, name...)
		}
		var value []byte
		if value, p, err = text(p); err != nil {
			return to, err
		}
		for _, c := range value {
			if c < 0x20 && c != '\t' || c == 0x7f {
				return to, errValue
			}
		}
		to = append(to, ": "...)
		to = append(to, value...)
		to = append(to, "\r\n"...)
		if skip {
			to = to[:begin]
		}
	}
	if len(p) != 0 {
		return to, errLength
	}
	return to, nil
}

// text cuts a string off p; null is an empty one.
func text(p []byte) (s, rest []byte, err error) {
	if len(p) < 2 {
		return nil, nil, errString
	}
	n := int(p[0])<<8 | int(p[1])
	if n == 0xffff {
		return nil, p[2:], nil
	}
	if len(p) < n+3 || p[n+2] != 0 {
		return nil, nil, errString
	}
	return p[2 : n+2], p[n+3:], nil
}

func isToken(s []byte) bool {
	for _, c := range s {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '_', c == '.', c == '!', c == '#', c == '$', c == '%', c == '&', c == '\'',
			c == '*', c == '+', c == '^', c == '`', c == '|', c == '~':
		default:
			return false
		}
	}
	return len(s) > 0
}
