package http1

import (
	"encoding/binary"
	"math/bits"
)

// A Span is a piece of the buffer that was parsed. It stays right when the bytes
// move together to another buffer.
type Span struct{ Start, End uint32 }

// Of returns the bytes of s in b.
func (s Span) Of(b []byte) []byte { return b[s.Start:s.End] }

// Len is the number of bytes.
func (s Span) Len() int { return int(s.End - s.Start) }

func span(start, end int) Span { return Span{uint32(start), uint32(end)} }

// Text is what the validators look at.
type Text interface{ ~string | ~[]byte }

// A class says where a byte may stand.
type class uint8

const (
	inToken  class = 1 << iota // RFC 9110 §5.6.2
	inTarget                   // 21-7E without '#'
	inHost                     // reg-name without "%" and ",": a list of hosts is none
	isDigit
	isHex
	underscore
	backslash
)

// classes and lower are tables: made once, never written.
var (
	classes = classify()
	lower   = fold()
)

func classify() (t [256]class) {
	for c := range 256 {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		digit := '0' <= c && c <= '9'
		if letter || digit {
			t[c] |= inToken | inHost
		}
		if digit {
			t[c] |= isDigit | isHex
		}
		if 'a' <= c|0x20 && c|0x20 <= 'f' {
			t[c] |= isHex
		}
		if 0x21 <= c && c <= 0x7e && c != '#' {
			t[c] |= inTarget
		}
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] |= inToken
	}
	for _, c := range "-._~!$&'()*+;=" {
		t[c] |= inHost
	}
	t['_'] |= underscore
	t['\\'] |= backslash
	return t
}

func fold() (t [256]byte) {
	for c := range 256 {
		t[c] = byte(c)
		if 'A' <= c && c <= 'Z' {
			t[c] += 'a' - 'A'
		}
	}
	return t
}

// isFold reports whether s is t in any case. t is written in small letters.
func isFold[T Text](s T, t string) bool {
	if len(s) != len(t) {
		return false
	}
	for i := range len(t) {
		if lower[s[i]] != t[i] {
			return false
		}
	}
	return true
}

// sameFold compares two pieces of a message in any case.
func sameFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if lower[c] != lower[b[i]] {
			return false
		}
	}
	return true
}

// all reports whether s is of one class and not empty.
func all[T Text](s T, c class) bool {
	for i := range len(s) {
		if classes[s[i]]&c == 0 {
			return false
		}
	}
	return len(s) > 0
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// control returns the place of the first control byte (00-1F, 7F) of b from i on,
// or len(b). Eight bytes at a time: values are most of a head.
func control(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		// A subtraction borrows only upwards, so the lowest bit that is set is right.
		del := x ^ 0x7f*ones
		if hit := ((x-0x20*ones)&^x | (del-ones)&^del) & highs; hit != 0 {
			return i + bits.TrailingZeros64(hit)>>3
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < 0x20 || c == 0x7f {
			return i
		}
	}
	return i
}

// trim takes blanks and tabs off both ends.
func trim[T Text](s T) T {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// element cuts the first element off a comma-separated list.
func element(list []byte) (first, rest []byte) {
	for i, c := range list {
		if c == ',' {
			return trim(list[:i]), list[i+1:]
		}
	}
	return trim(list), nil
}
