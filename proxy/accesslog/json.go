package accesslog

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// json formats r as one line of JSON.
func (n *line) json(r *Record, x extra) {
	b := append(n.b[:0], `{"time":"`...)
	b = n.appendTime(b, r.Time, 6)
	b = append(b, '"')
	b = appendString(b, `,"listener":"`, r.Listener)
	b = appendString(b, `,"client":"`, r.Client)
	b = appendString(b, `,"host":"`, r.Host)
	b = appendString(b, `,"method":"`, r.Method)
	b = appendString(b, `,"path":"`, r.Path)
	b = appendString(b, `,"query":"`, r.Query)
	b = appendString(b, `,"protocol":"`, r.Protocol)
	b = appendInt(b, `,"status":`, int64(r.Status))
	b = appendInt(b, `,"bytes_in":`, r.BytesIn)
	b = appendInt(b, `,"bytes_out":`, r.BytesOut)
	b = appendSeconds(b, `,"duration":`, r.Duration)
	b = appendSeconds(b, `,"connect_duration":`, r.Connect)
	b = appendSeconds(b, `,"response_duration":`, r.Response)
	b = appendString(b, `,"balancer":"`, r.Balancer)
	b = appendString(b, `,"context":"`, r.Context)
	b = appendString(b, `,"worker":"`, r.Worker)
	b = appendString(b, `,"route_wanted":"`, r.RouteWanted)
	b = strconv.AppendBool(append(b, `,"route_changed":`...), r.RouteChanged)
	b = appendInt(b, `,"attempts":`, int64(r.Attempts))
	b = appendString(b, `,"closed_by":"`, r.ClosedBy)
	b = strconv.AppendUint(append(b, `,"index":`...), r.Index, 10)
	b = appendString(b, `,"request_id":"`, r.RequestID)
	b = appendString(b, `,"error":"`, r.Error)
	if x.userAgent {
		b = appendString(b, `,"user_agent":"`, r.UserAgent)
	}
	if x.referer {
		b = appendString(b, `,"referer":"`, r.Referer)
	}
	n.b = append(b, '}', '\n')
}

// appendString appends a key, which ends with the quote that opens its value, and the
// value; nothing for an empty one.
func appendString(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	return append(escape(append(b, key...), value), '"')
}

func appendInt(b []byte, key string, value int64) []byte {
	return strconv.AppendInt(append(b, key...), value, 10)
}

// appendSeconds appends a duration with all six digits; nothing for one below 0.
func appendSeconds(b []byte, key string, d time.Duration) []byte {
	if d < 0 {
		return b
	}
	b = appendInt(b, key, int64(d/time.Second))
	return appendDigits(append(b, '.'), int(d%time.Second/time.Microsecond), 6)
}

const hex = "0123456789abcdef"

// escape appends s as the inside of a JSON string that is safe to look at: see the
// package's comment.
func escape(b []byte, s string) []byte {
	from := 0 // what was not appended yet
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < 0x7f && c != '"' && c != '\\' {
			i++
			continue
		}
		size, high := 1, byte(0)
		if c >= utf8.RuneSelf {
			var r rune
			r, size = utf8.DecodeRuneInString(s[i:])
			if size > 1 && r > 0x9f && !turns(r) {
				i += size
				continue
			}
			high, c = byte(r>>8), byte(r) // U+0080 to U+009F or U+20xx, if size is not 1
		}
		b = append(b, s[from:i]...)
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case s[i] >= utf8.RuneSelf && size == 1:
			b = append(b, "\uFFFD"...)
		default:
			b = append(b, '\\', 'u', hex[high>>4], hex[high&15], hex[c>>4], hex[c&15])
		}
		i += size
		from = i
	}
	return append(b, s[from:]...)
}

// turns says whether a rune changes the direction of the text around it, so that a
// line reads as what it is not (Unicode UAX #9).
func turns(r rune) bool {
	return r == 0x200e || r == 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}
