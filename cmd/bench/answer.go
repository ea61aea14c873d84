//go:build linux

package main

import (
	"bytes"
	"fmt"
	"strconv"
)

const maxHead = 16 << 10 // bytes of an answer's head

// answer checks one HTTP/1.1 answer as its bytes come: status 200, a Content-Length,
// and exactly the body that is wanted.
type answer struct {
	want   []byte
	head   []byte // what came of a head that is not there yet
	inBody bool
	got    int  // bytes of the body so far
	close  bool // the proxy will close the connection
	slow   bool // worker slowName answered
}

func (a *answer) reset(want []byte) {
	*a = answer{want: want, head: a.head[:0]}
}

// begun tells whether any byte of the answer has come.
func (a *answer) begun() bool { return a.inBody || len(a.head) > 0 }

// feed takes what came. It is an error if b holds more than this answer.
func (a *answer) feed(b []byte, slowName string) (done bool, err error) {
	if !a.inBody {
		head := b
		if len(a.head) > 0 {
			a.head = append(a.head, b...)
			head = a.head
		}
		end := bytes.Index(head, []byte("\r\n\r\n"))
		if end < 0 {
			if len(head) > maxHead {
				return false, fmt.Errorf("a head of more than %d bytes", maxHead)
			}
			if len(a.head) == 0 {
				a.head = append(a.head, b...)
			}
			return false, nil
		}
		if err := a.readHead(head[:end+2], slowName); err != nil {
			return false, err
		}
		a.inBody = true
		b = head[end+4:]
	}
	rest := a.want[a.got:]
	if len(b) > len(rest) {
		return false, fmt.Errorf("%d bytes behind the answer: %q", len(b)-len(rest), cut(b[len(rest):]))
	}
	if !bytes.Equal(b, rest[:len(b)]) {
		return false, fmt.Errorf("wrong body at byte %d: %q", a.got, cut(b))
	}
	a.got += len(b)
	return a.got == len(a.want), nil
}

var (
	nameLength     = []byte("content-length")
	nameConnection = []byte("connection")
	nameWorker     = []byte("x-worker")
	wordClose      = []byte("close")
)

func (a *answer) readHead(h []byte, slowName string) error {
	if !bytes.HasPrefix(h, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("answered %q", cut(h))
	}
	length := -1
	for {
		end := bytes.IndexByte(h, '\n')
		h = h[end+1:]
		if len(h) == 0 {
			break
		}
		colon := bytes.IndexByte(h, ':')
		eol := bytes.IndexByte(h, '\r')
		if colon < 0 || eol < colon {
			return fmt.Errorf("a line without a name: %q", cut(h))
		}
		name, value := h[:colon], bytes.TrimSpace(h[colon+1:eol])
		switch len(name) {
		case len(nameLength):
			if bytes.EqualFold(name, nameLength) {
				n, err := strconv.Atoi(string(value))
				if err != nil || length >= 0 {
					return fmt.Errorf("Content-Length %q", value)
				}
				length = n
			}
		case len(nameConnection):
			if bytes.EqualFold(name, nameConnection) && bytes.EqualFold(value, wordClose) {
				a.close = true
			}
		case len(nameWorker):
			if slowName != "" && bytes.EqualFold(name, nameWorker) && string(value) == slowName {
				a.slow = true
			}
		}
	}
	if length != len(a.want) {
		return fmt.Errorf("Content-Length %d, not %d", length, len(a.want))
	}
	return nil
}

// cut is enough of b to recognise it.
func cut(b []byte) []byte { return b[:min(len(b), 120)] }

// tail is the end of what a process printed.
func tail(b []byte) []byte { return bytes.TrimSpace(b[max(0, len(b)-600):]) }
