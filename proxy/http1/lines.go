package http1

import (
	"math"
	"slices"
)

// Limits of a head, in bytes. 0: no limit.
type Limits struct {
	Line   int // the first line, without its line end
	Header int // the field lines and the blank line, with their line ends
}

// A Field is one field line.
type Field struct {
	Name, Value Span // the value without blanks around it
	ID          Name
	Underscore  bool // "_" in the name: a worker may take it for "-"
	Listed      bool // Connection names it, and it goes for that
}

// lines takes field lines apart, one after the other.
type lines struct {
	line  int   // where the line begins
	at    int   // the first byte nobody has looked at
	colon int   // of the line; 0: its name has not ended
	seen  class // all classes of the name so far
}

type found uint8

const (
	part found = iota // the line has not ended
	field
	blank
)

func (s *lines) begin(at int) { *s = lines{line: at, at: at} }

// next takes one line out of b, which is all of the message that may be looked at,
// and puts it into f.
func (s *lines) next(b []byte, f *Field) (found, *Error) {
	i := s.at
	if s.colon == 0 {
		seen := s.seen
		for i < len(b) {
			c := classes[b[i]]
			if c&inToken == 0 {
				break
			}
			seen |= c
			i++
		}
		s.seen = seen
		if i == len(b) {
			s.at = i
			return part, nil
		}
		if b[i] != ':' || i == s.line {
			return s.unnamed(b, i)
		}
		s.colon = i
		i++
	}
	i = control(b, i)
	for i < len(b) && b[i] == '\t' {
		i = control(b, i+1)
	}
	if i+1 >= len(b) || b[i] != '\r' || b[i+1] != '\n' {
		s.at = i
		_, err := lineEnd(b, i)
		return part, err
	}
	start, end := s.colon+1, i
	for start < end && (b[start] == ' ' || b[start] == '\t') {
		start++
	}
	for start < end && (b[end-1] == ' ' || b[end-1] == '\t') {
		end--
	}
	f.Name = span(s.line, s.colon)
	f.Value = span(start, end)
	f.ID = NameOf(b[s.line:s.colon])
	f.Underscore = s.seen&underscore != 0
	f.Listed = false
	s.begin(i + 2)
	return field, nil
}

// unnamed is the blank line, or wrong: byte i ends a name that is none.
func (s *lines) unnamed(b []byte, i int) (found, *Error) {
	switch c := b[i]; {
	case i > s.line && (c == '\r' || c == '\n'):
		return part, errNoColon
	case c == '\r' || c == '\n':
		if ended, err := lineEnd(b, i); !ended {
			s.at = i
			return part, err
		}
		s.begin(i + 2)
		return blank, nil
	case i == s.line && (c == ' ' || c == '\t'):
		return part, errFold
	case c < 0x20 && c != '\t' || c == 0x7f:
		return part, errControl
	}
	return part, errName
}

// lineEnd looks for CR LF at i. Neither true nor an error: more is needed.
func lineEnd(b []byte, i int) (bool, *Error) {
	switch {
	case i >= len(b):
		return false, nil
	case b[i] == '\n':
		return false, errLineEnd
	case b[i] != '\r':
		return false, errControl
	case i+1 == len(b):
		return false, nil
	case b[i+1] != '\n':
		return false, errLineEnd
	}
	return true, nil
}

// window is what may be looked at of b: limit bytes from start on.
func window(b []byte, start, limit int) []byte {
	if limit <= 0 || limit > math.MaxInt32 {
		limit = math.MaxInt32 // a Span holds no more
	}
	return b[:min(len(b), start+limit)]
}

// The capacity that is kept for the next message: more is rare, and would stay
// with every connection that once had it.
const keptFields = 256

func emptied(f []Field) []Field {
	if cap(f) > keptFields {
		return nil
	}
	return f[:0]
}

// slot is the place behind the last field: what is put there need not be copied.
func slot(list *[]Field) *Field {
	n := len(*list)
	if n == cap(*list) {
		*list = slices.Grow(*list, max(32, n))
	}
	return &(*list)[:n+1][n]
}
