package accesslog

import (
	"strconv"
	"time"
)

// text formats r as one line for people.
func (n *line) text(r *Record, x extra) {
	b := n.appendTime(n.b[:0], r.Time, 3)
	b = appendWord(append(b, ' '), r.Client)
	b = appendWord(append(b, ' '), r.Method)
	b = append(b, ' ')
	if r.Host == "" && r.Path == "" {
		b = append(b, '-')
	}
	b = escape(escape(b, r.Host), r.Path)
	if r.Query != "" {
		b = escape(append(b, '?'), r.Query)
	}
	b = strconv.AppendInt(append(b, ' '), int64(r.Status), 10)
	b = appendSize(append(b, ' '), r.BytesOut)
	b = appendDuration(append(b, ' '), r.Duration)
	b = appendWord(append(b, ' '), r.Worker)

	notes := notes{b: b}
	if r.RouteChanged {
		if r.RouteWanted != "" {
			notes.add("moved from ", r.RouteWanted, "")
		} else {
			notes.add("moved", "", "")
		}
	}
	if r.Attempts > 1 {
		notes.b = strconv.AppendInt(notes.open(), int64(r.Attempts), 10)
		notes.b = append(notes.b, " attempts"...)
	}
	if r.ClosedBy != "" {
		notes.add("closed by ", r.ClosedBy, "")
	}
	if r.Error != "" {
		notes.add("", r.Error, "")
	}
	// An answer of ours shows the client this id and nothing else.
	if r.RequestID != "" && (r.Status >= 400 || r.Error != "") {
		notes.add("request ", r.RequestID, "")
	}
	if x.userAgent && r.UserAgent != "" {
		notes.add(`user agent "`, r.UserAgent, `"`)
	}
	if x.referer && r.Referer != "" {
		notes.add(`referer "`, r.Referer, `"`)
	}
	n.b = append(notes.close(), '\n')
}

// notes are what is unusual about a request: none, or a list in brackets.
type notes struct {
	b   []byte
	any bool
}

func (n *notes) open() []byte {
	if n.any {
		return append(n.b, ", "...)
	}
	n.any = true
	return append(n.b, " ("...)
}

func (n *notes) add(before, value, after string) {
	n.b = append(escape(append(n.open(), before...), value), after...)
}

func (n *notes) close() []byte {
	if n.any {
		return append(n.b, ')')
	}
	return n.b
}

// appendWord appends s, or a hyphen for nothing.
func appendWord(b []byte, s string) []byte {
	if s == "" {
		return append(b, '-')
	}
	return escape(b, s)
}

// appendSize appends a size as 512 B, 14.2 KiB, 3.0 GiB (ux.md §2).
func appendSize(b []byte, size int64) []byte {
	unit, power := int64(1), 0
	for size/unit >= 1024 {
		unit *= 1024
		power++
	}
	if power == 0 {
		return append(strconv.AppendInt(b, size, 10), " B"...)
	}
	b = appendTenths(b, size/unit, size/(unit/1024)%1024*10/1024)
	return append(b, ' ', " KMGTPE"[power], 'i', 'B')
}

func appendTenths(b []byte, whole, tenths int64) []byte {
	return append(strconv.AppendInt(b, whole, 10), '.', byte('0'+tenths))
}

// appendDuration appends a duration as 0.4ms, 38ms, 1.9s, 14s, 3m12s, 6h2m (ux.md §2,
// with a digit more where it is short); a hyphen below 0.
func appendDuration(b []byte, d time.Duration) []byte {
	switch {
	case d < 0:
		return append(b, '-')
	case d < 10*time.Millisecond:
		b = appendTenths(b, int64(d/time.Millisecond), int64(d%time.Millisecond/(time.Millisecond/10)))
		return append(b, "ms"...)
	case d < time.Second:
		return append(strconv.AppendInt(b, d.Milliseconds(), 10), "ms"...)
	case d < 10*time.Second:
		return append(appendTenths(b, int64(d/time.Second), int64(d%time.Second/(time.Second/10))), 's')
	case d < time.Minute:
		return append(strconv.AppendInt(b, int64(d/time.Second), 10), 's')
	case d < time.Hour:
		return appendTwo(b, d, time.Minute, 'm', time.Second, 's')
	case d < 24*time.Hour:
		return appendTwo(b, d, time.Hour, 'h', time.Minute, 'm')
	}
	return appendTwo(b, d, 24*time.Hour, 'd', time.Hour, 'h')
}

func appendTwo(b []byte, d, big time.Duration, bigName byte, small time.Duration, smallName byte) []byte {
	b = append(strconv.AppendInt(b, int64(d/big), 10), bigName)
	if rest := int64(d % big / small); rest > 0 {
		b = append(strconv.AppendInt(b, rest, 10), smallName)
	}
	return b
}
