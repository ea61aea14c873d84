package http1

import "bytes"

const (
	maxChunk     = 1 << 62
	maxDigits    = 16
	maxExtension = 256 // bytes behind the semicolon
)

// Chunked decodes a chunked body (RFC 9112 §7.1). It is ready after Reset.
type Chunked struct {
	Trailers []byte  // the trailer section, once Decode is done
	Fields   []Field // its lines, over Trailers

	step      chunkStep
	digits    int    // of the size that is read
	extension int    // bytes of the extension that is read
	left      uint64 // of the chunk
	overhead  int    // what extensions and trailers may still take; -1: all they want
	lines     lines
}

type chunkStep uint8

const (
	chunkSize chunkStep = iota
	chunkExtension
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	chunkLast // behind the chunk of size 0
	chunkLastLF
	chunkTrailers
	chunkDone
)

// Reset makes c ready for a body. All its extensions and trailers together may
// take overhead bytes (0: no limit).
func (c *Chunked) Reset(overhead int) {
	if overhead == 0 {
		overhead = -1
	}
	*c = Chunked{Trailers: c.Trailers[:0], Fields: emptied(c.Fields), overhead: overhead}
}

// Decode takes what it can of src. The bytes of the body are put behind dst, into
// the capacity it has and no further; dst may be src[:0], as what is written never
// overtakes what is read. It returns how many bytes it put there and took. done:
// the last chunk and the trailers were read; what follows in src is not taken.
//
// Without done, took is less than len(src) only if dst is full.
func (c *Chunked) Decode(dst, src []byte) (wrote, took int, done bool, err *Error) {
	room := dst[len(dst):cap(dst)]
	i := 0
	for i < len(src) && c.step != chunkDone {
		switch c.step {
		case chunkData:
			n := min(len(src)-i, len(room)-wrote)
			if uint64(n) > c.left {
				n = int(c.left)
			}
			if n == 0 {
				return wrote, i, false, nil
			}
			if to, from := room[wrote:wrote+n], src[i:i+n]; &to[0] != &from[0] {
				copy(to, from)
			}
			wrote += n
			i += n
			if c.left -= uint64(n); c.left == 0 {
				c.step = chunkDataCR
			}
		case chunkTrailers:
			n, err := c.trailers(src[i:])
			i += n
			if err != nil {
				return wrote, i, false, err
			}
		default:
			if err := c.take(src[i]); err != nil {
				return wrote, i, false, err
			}
			if c.step != chunkTrailers { // the byte belongs to it otherwise
				i++
			}
		}
	}
	return wrote, i, c.step == chunkDone, nil
}

// take looks at one byte outside of data and trailers.
func (c *Chunked) take(b byte) *Error {
	switch c.step {
	case chunkSize:
		return c.size(b)
	case chunkExtension:
		switch {
		case b == '\r':
			c.step = chunkSizeLF
		case b < 0x20 || b == 0x7f:
			return errChunkExt
		case c.extension == maxExtension:
			return errChunkLong
		default:
			c.extension++
			return c.spend(1)
		}
	case chunkSizeLF:
		if b != '\n' {
			return errLineEnd
		}
		c.step = chunkData
		if c.left == 0 {
			c.step = chunkLast
		}
	case chunkDataCR:
		if b != '\r' {
			return errChunkEnd
		}
		c.step = chunkDataLF
	case chunkDataLF:
		if b != '\n' {
			return errChunkEnd
		}
		c.step, c.digits, c.extension = chunkSize, 0, 0
	case chunkLast:
		if b == '\r' {
			c.step = chunkLastLF
			return nil
		}
		c.step = chunkTrailers
	case chunkLastLF:
		if b != '\n' {
			return errLineEnd
		}
		c.step = chunkDone
	}
	return nil
}

// size looks at one byte of a size: 1 to 16 hex digits, up to 2^62.
func (c *Chunked) size(b byte) *Error {
	switch {
	case classes[b]&isHex != 0:
		if c.digits == maxDigits {
			return errChunkSize
		}
		d := uint64(b & 0xf)
		if b >= 'A' {
			d += 9
		}
		c.digits++
		c.left = c.left<<4 | d
		if c.left > maxChunk {
			return errChunkBig
		}
	case c.digits == 0:
		return errChunkSize
	case b == '\r':
		c.step = chunkSizeLF
	case b == ';':
		c.step = chunkExtension
		return c.spend(1)
	default:
		return errChunkSize
	}
	return nil
}

func (c *Chunked) spend(n int) *Error {
	switch {
	case c.overhead < 0:
	case n > c.overhead:
		return errOverhead
	default:
		c.overhead -= n
	}
	return nil
}

// trailers takes the rest of one line of the section, as far as it is there.
func (c *Chunked) trailers(src []byte) (int, *Error) {
	n := bytes.IndexByte(src, '\n') + 1
	if n == 0 {
		n = len(src)
	}
	over := c.overhead >= 0 && n > c.overhead
	if over {
		n = c.overhead
	}
	c.Trailers = append(c.Trailers, src[:n]...)
	switch what, err := c.lines.next(c.Trailers, slot(&c.Fields)); {
	case err != nil:
		return n, err
	case over:
		return n, errOverhead
	case what == field:
		c.Fields = c.Fields[:len(c.Fields)+1]
	case what == blank:
		c.step = chunkDone
	}
	return n, c.spend(n)
}

// TrailerAllowed reports whether f, of the buffer b, may be passed on behind a
// body: not what frames a message, routes it, says who asks, or is about one
// connection (RFC 9110 §6.5.1, http-notes §2).
func TrailerAllowed(f *Field, b []byte) bool {
	name := f.Name.Of(b)
	if f.ID != Other || f.Underscore || len(name) > 3 && isFold(name[:3], "if-") {
		return false
	}
	for _, never := range notBehind {
		if isFold(name, never) {
			return false
		}
	}
	return true
}

// notBehind: what no Name stands for and cannot come behind a body.
var notBehind = [...]string{
	"age", "authentication-info", "cache-control", "content-encoding", "content-location", "content-range",
	"expires", "max-forwards", "pragma", "proxy-authenticate", "proxy-authentication-info", "proxy-status", "range",
	"retry-after", "set-cookie2", "vary", "via", "warning", "www-authenticate",
}
