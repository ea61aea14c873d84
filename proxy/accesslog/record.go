package accesslog

import "time"

// Record is what is known of a request at its end. Its strings may lie in buffers that
// are used again: Write copies what it needs.
type Record struct {
	Time                                        time.Time // when the request began
	Listener, Client, Host, Method, Path, Query string    // Query without the "?"
	Protocol                                    string    // "HTTP/1.1"
	Status                                      int       // 499: the client went before there was an answer
	BytesIn, BytesOut                           int64
	Duration, Connect, Response                 time.Duration // whole; of the dial; to the worker's first byte. Below 0: not measured
	Balancer, Context, Worker                   string
	RouteWanted                                 string // the route of the session the client named
	RouteChanged                                bool   // another worker than that answered
	Attempts                                    int
	ClosedBy                                    string // client, worker, quorate, or "": none before its time
	Index                                       uint64 // the place in the log of the state that decided
	RequestID, Error                            string
	UserAgent, Referer                          string
}

// trouble reports whether a record has its line at any sampling.
func (r *Record) trouble() bool { return r.Status >= 500 || r.Error != "" }

// line is the room to format one record in, and the time of the last one.
type line struct {
	b      []byte
	second int64  // since 1970, of stamp
	stamp  []byte // "2026-11-24T21:09:40"
}

// extra says which fields are added to the usual ones.
type extra struct{ userAgent, referer bool }

// appendTime appends t in UTC with so many digits (3 or 6) of the second. Only the
// first record of a second pays for the calendar.
func (n *line) appendTime(b []byte, t time.Time, digits int) []byte {
	if s := t.Unix(); s != n.second || len(n.stamp) == 0 {
		n.second, n.stamp = s, time.Unix(s, 0).UTC().AppendFormat(n.stamp[:0], "2006-01-02T15:04:05")
	}
	b = append(append(b, n.stamp...), '.')
	part := t.Nanosecond() / 1000
	if digits == 3 {
		part /= 1000
	}
	return append(appendDigits(b, part, digits), 'Z')
}

// appendDigits appends v with leading zeros.
func appendDigits(b []byte, v, digits int) []byte {
	b = append(b, "000000"[:digits]...)
	for i := len(b) - 1; v > 0; i-- {
		b[i] = byte('0' + v%10)
		v /= 10
	}
	return b
}
