//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// What the workers of the bench serve. Everything below contextReal is theirs.
const (
	contextReal = "/app"
	pathKB      = contextReal + "/1k"
	path100KB   = contextReal + "/100k"
	pathSink    = contextReal + "/sink"  // takes postBody bytes
	pathEcho    = contextReal + "/echo"  // WebSocket
	pathLogin   = contextReal + "/login" // a session of this worker
	pathHead    = contextReal + "/head"  // the request as it arrived
	pathDelay   = "/delay/"              // asked directly: from now on the worker answers so much later

	postBody   = 10 * 1024
	sinkAnswer = "10240 bytes, all right\n"
)

// worker is one back end.
type worker struct {
	Name, Address string
}

// originMain is the child process that plays all workers: count of them at 127.0.0.1
// and further ones, which get no traffic, at addresses of their own. It prints their
// addresses as one line of JSON and ends with its standard input. Its arguments are
// the number of the further ones and the bytes of an AJP packet, 0 for HTTP.
func originMain(args []string) int {
	count, more, packet := 4, 0, 0
	if len(args) == 2 {
		more, _ = strconv.Atoi(args[0])
		packet, _ = strconv.Atoi(args[1])
	}
	var workers []worker
	for i := range count + more {
		host := "127.0.0.1"
		if i >= count {
			host = fmt.Sprintf("127.10.%d.%d", i/250, 1+i%250)
		}
		l, err := net.Listen("tcp", host+":0")
		if err != nil {
			fmt.Fprintln(os.Stderr, "listen:", err)
			return 1
		}
		w := worker{fmt.Sprintf("w%d", i+1), l.Addr().String()}
		workers = append(workers, w)
		go serveWorker(l, newSite(w.Name, packet))
	}
	if err := json.NewEncoder(os.Stdout).Encode(workers); err != nil {
		return 1
	}
	io.Copy(io.Discard, os.Stdin)
	return 0
}

// site is what one worker answers, ready made.
type site struct {
	name            string
	packet          int // bytes of an AJP packet; 0: it speaks HTTP
	kb, kb100, sink []byte
	none            []byte // to OPTIONS, HEAD and health checks
	upload          []byte
	delay           atomic.Int64 // nanoseconds
}

func newSite(name string, packet int) *site {
	s := &site{name: name, packet: packet, upload: pattern(postBody)}
	s.kb = s.answer("text/html;charset=UTF-8", wantBody(pathKB))
	s.kb100 = s.answer("application/octet-stream", wantBody(path100KB))
	s.sink = s.answer("text/plain", wantBody(pathSink))
	s.none = s.answer("text/plain", nil)
	return s
}

// answer is a whole one; the names and values of more lines alternate.
func (s *site) answer(kind string, body []byte, more ...string) []byte {
	lines := append([]string{"X-Worker", s.name, "Content-Type", kind}, more...)
	lines = append(lines, "Content-Length", strconv.Itoa(len(body)), "Date", "Thu, 01 Jan 2026 00:00:00 GMT")
	if s.packet > 0 {
		return ajpAnswer(s.packet, body, lines...)
	}
	b := []byte("HTTP/1.1 200 OK\r\n")
	for i := 0; i < len(lines); i += 2 {
		b = fmt.Appendf(b, "%s: %s\r\n", lines[i], lines[i+1])
	}
	return append(append(b, "\r\n"...), body...)
}

func serveWorker(l net.Listener, s *site) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "accept:", err)
			time.Sleep(10 * time.Millisecond)
			continue
		}
		go func() {
			defer c.Close()
			serve := s.serve
			if s.packet > 0 {
				serve = s.serveAJP
			}
			err := serve(c)
			gone := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
			if err != nil && !gone {
				fmt.Fprintf(os.Stderr, "%s: %v\n", s.name, err)
			}
		}()
	}
}

// serve answers the requests of one connection.
func (s *site) serve(c net.Conn) error {
	b := make([]byte, 16<<10)
	have := 0
	for {
		end := bytes.Index(b[:have], []byte("\r\n\r\n"))
		if end < 0 {
			if have == len(b) {
				return errors.New("a head of more than 16 KiB")
			}
			n, err := c.Read(b[have:])
			if n == 0 {
				return err
			}
			have += n
			continue
		}
		head, rest := b[:end+4], b[end+4:have]
		method, target, ok := requestLine(head)
		if !ok {
			return fmt.Errorf("a request that starts with %q", cut(head))
		}
		if bytes.Contains(bytes.ToLower(head), []byte("\r\ntransfer-encoding:")) {
			return fmt.Errorf("a chunked request: %q", head)
		}
		out := s.none
		var err error
		switch {
		case target == pathEcho:
			return s.echo(c, head, rest)
		case target == pathSink && method == "POST":
			if rest, err = s.takeUpload(c, head, rest); err != nil {
				return err
			}
			out = s.sink
		case method == "GET":
			if out, err = s.get(target, head); err != nil {
				return err
			}
		}
		s.wait(target)
		if _, err := c.Write(out); err != nil {
			return err
		}
		if bytes.Contains(head, []byte("\r\nConnection: close\r\n")) {
			return nil
		}
		have = copy(b, rest)
	}
}

// get is the answer to a GET whose head, as text, is head.
func (s *site) get(target string, head []byte) ([]byte, error) {
	switch {
	case target == pathKB:
		return s.kb, nil
	case target == path100KB:
		return s.kb100, nil
	case target == pathHead:
		return s.answer("text/plain", head), nil
	case target == pathLogin:
		return s.answer("text/plain", []byte(s.name), "Set-Cookie", "JSESSIONID=0123456789ABCDEF0123456789ABCDEF."+s.name+"; Path=/; HttpOnly"), nil
	case strings.HasPrefix(target, pathDelay):
		d, err := time.ParseDuration(target[len(pathDelay):])
		if err != nil {
			return nil, err
		}
		s.delay.Store(int64(d))
	}
	return s.none, nil
}

// wait is the time that an answer takes.
func (s *site) wait(target string) {
	if d := time.Duration(s.delay.Load()); d > 0 && strings.HasPrefix(target, contextReal) {
		time.Sleep(d)
	}
}

func requestLine(head []byte) (method, target string, ok bool) {
	line := head[:bytes.IndexByte(head, '\r')]
	m, rest, _ := bytes.Cut(line, []byte(" "))
	t, version, ok := bytes.Cut(rest, []byte(" "))
	if !ok || !bytes.HasPrefix(version, []byte("HTTP/1.")) {
		return "", "", false
	}
	return string(m), string(t), true
}

// takeUpload reads the body of a POST and compares every byte; it returns what came
// behind it.
func (s *site) takeUpload(c net.Conn, head, rest []byte) ([]byte, error) {
	i := bytes.Index(bytes.ToLower(head), []byte("\r\ncontent-length: "))
	if i < 0 {
		return nil, errors.New("a POST without Content-Length")
	}
	value, _, _ := bytes.Cut(head[i+18:], []byte("\r\n"))
	if string(value) != strconv.Itoa(postBody) {
		return nil, fmt.Errorf("a POST of %q bytes", value)
	}
	var more [4 << 10]byte
	got := 0
	for piece := rest; ; {
		n := min(len(piece), postBody-got)
		if !bytes.Equal(piece[:n], s.upload[got:got+n]) {
			return nil, fmt.Errorf("a POST with a wrong body at byte %d: %q", got, cut(piece))
		}
		got += n
		if got == postBody {
			return piece[n:], nil
		}
		n, err := c.Read(more[:])
		if err != nil {
			return nil, fmt.Errorf("a POST that ended after %d bytes: %w", got, err)
		}
		piece = more[:n]
	}
}

// echo sends every WebSocket message back.
func (s *site) echo(c net.Conn, head, rest []byte) error {
	i := bytes.Index(bytes.ToLower(head), []byte("\r\nsec-websocket-key: "))
	if i < 0 {
		return errors.New("an upgrade without a key")
	}
	key, _, _ := bytes.Cut(head[i+21:], []byte("\r\n"))
	if _, err := fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		acceptKey(string(key))); err != nil {
		return err
	}
	b := make([]byte, 16<<10)
	have := copy(b, rest)
	for {
		payload, size := unmask(b[:have])
		if size == 0 {
			n, err := c.Read(b[have:])
			if n == 0 {
				return err
			}
			have += n
			continue
		}
		if _, err := c.Write(frame(payload, nil)); err != nil {
			return err
		}
		have = copy(b, b[size:have])
	}
}

// unmask takes the first message of b apart in place; size is 0 while it is not whole.
func unmask(b []byte) (payload []byte, size int) {
	if len(b) < 6 {
		return nil, 0
	}
	length, at := int(b[1]&0x7f), 2
	if length == 126 {
		length, at = int(binary.BigEndian.Uint16(b[2:])), 4
	}
	if len(b) < at+4+length {
		return nil, 0
	}
	mask, payload := b[at:at+4], b[at+4:at+4+length]
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return payload, at + 4 + length
}
