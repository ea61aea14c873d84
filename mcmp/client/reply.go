package client

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds the Java client lacks; without them a mad balancer could fill the memory.
const (
	maxLine = 64 << 10
	maxHead = 1 << 20
	maxBody = 64 << 20
)

var errTooLong = errors.New("reply too long")

// reply is what a balancer answered.
type reply struct {
	status int    // 500 if the head could not be understood
	kind   string // header Type, compared with its case
	mess   string // header Mess
	close  bool   // the balancer ends the connection after this
	body   string
}

// replyReader reads replies as the Java client does (spec/mcmp.md §12.3), which is
// not quite HTTP: that is its point, for a balancer must please this reader.
type replyReader struct {
	r      *bufio.Reader
	skipLF bool // the last line ended with CR, so a LF right after belongs to it
}

func newReplyReader(r io.Reader) *replyReader {
	return &replyReader{r: bufio.NewReader(r)}
}

// line ends at LF, CR or CRLF, or at the end of the stream if it is not empty.
func (rr *replyReader) line() (string, error) {
	var b strings.Builder
	for b.Len() <= maxLine {
		c, err := rr.r.ReadByte()
		if err == io.EOF && b.Len() > 0 {
			return b.String(), nil
		}
		if err != nil {
			return "", err
		}
		skip := rr.skipLF && c == '\n'
		rr.skipLF = c == '\r'
		switch {
		case skip:
		case c == '\n' || c == '\r':
			return b.String(), nil
		default:
			b.WriteByte(c)
		}
	}
	return "", errTooLong
}

// rest reads the remainder of a reply whose first line is given. An error means that
// the connection failed; a head that cannot be understood is status 500 instead.
func (rr *replyReader) rest(line string) (reply, error) {
	broken := reply{status: 500}
	// What an earlier answer left behind is skipped as long as it has no blank.
	for total := 0; !strings.Contains(line, " "); {
		var err error
		if line, err = rr.line(); err != nil {
			return broken, fmt.Errorf("status line: %w", unexpected(err))
		}
		if total += len(line) + 1; total > maxHead {
			return broken, fmt.Errorf("status line: %w", errTooLong)
		}
	}
	words := strings.SplitN(line, " ", 3)
	if len(words) < 3 { // no second blank
		return broken, nil
	}
	status, err := strconv.Atoi(words[1])
	if err != nil {
		return broken, nil
	}

	out := reply{status: status}
	length, chunked := 0, false
	for total := 0; ; {
		line, err := rr.line()
		if err != nil {
			return broken, fmt.Errorf("headers: %w", unexpected(err))
		}
		if line == "" {
			break
		}
		if total += len(line); total > maxHead {
			return broken, fmt.Errorf("headers: %w", errTooLong)
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return broken, nil
		}
		value = javaTrim(value)
		switch strings.ToLower(javaTrim(name)) {
		case "type":
			out.kind = value
		case "mess":
			out.mess = value
		case "content-length":
			if length, err = strconv.Atoi(value); err != nil {
				return broken, nil
			}
		case "connection":
			out.close = strings.EqualFold(value, "close")
		case "transfer-encoding":
			chunked = strings.EqualFold(value, "chunked")
		}
	}
	if status != 200 {
		return out, nil // its body is left unread, the connection is dropped
	}
	switch {
	case out.close:
		out.body, err = rr.toEnd()
	case length > 0:
		out.body, err = rr.chars(length)
	case chunked:
		out.body, err = rr.chunks()
	}
	if err != nil {
		return out, fmt.Errorf("body: %w", unexpected(err))
	}
	return out, nil
}

// chars reads n characters, not bytes: a body that is not ASCII is waited for in vain.
// The end of the stream ends it early without an error.
func (rr *replyReader) chars(n int) (string, error) {
	var b strings.Builder
	for n > 0 {
		c, size, err := rr.r.ReadRune()
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", err
		}
		skip := rr.skipLF && c == '\n'
		rr.skipLF = false
		if skip {
			continue
		}
		if n--; c > 0xffff { // two of Java's characters
			n--
		}
		if c == utf8.RuneError && size == 1 {
			b.WriteString("\uFFFD")
		} else {
			b.WriteRune(c)
		}
		if b.Len() > maxBody {
			return "", errTooLong
		}
	}
	return b.String(), nil
}

func (rr *replyReader) toEnd() (string, error) {
	return rr.chars(maxBody + 1)
}

// chunks reads a chunked body: bare hex sizes, no extensions, no trailers.
func (rr *replyReader) chunks() (string, error) {
	var b strings.Builder
	for {
		line, err := rr.line()
		if err != nil {
			return "", err
		}
		size, err := strconv.ParseUint(line, 16, 31)
		if err != nil {
			return "", fmt.Errorf("chunk size %q", line)
		}
		if size > 0 {
			piece, err := rr.chars(int(size))
			if err != nil {
				return "", err
			}
			b.WriteString(piece)
		}
		if b.Len() > maxBody {
			return "", errTooLong
		}
		if _, err := rr.line(); err != nil { // the line end after a chunk, or after the last one
			return "", err
		}
		if size == 0 {
			return b.String(), nil
		}
	}
}

// unexpected: a stream that ends inside a reply is a failure, not an end.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// javaTrim is Java's String.trim.
func javaTrim(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return r <= ' ' })
}
