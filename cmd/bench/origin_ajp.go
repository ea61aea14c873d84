//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
)

// Packets have four bytes of head; what else stands beside the data of a body is in
// these.
const (
	ajpBodyHead  = 6 // of a body packet to a worker: head, length
	ajpChunkRest = 8 // of SEND_BODY_CHUNK: head, type, length, a zero at the end
	ajpLargest   = 64 << 10
)

// ajpAnswer is one answer, ready made: SEND_HEADERS, as many SEND_BODY_CHUNK as packets
// of that size need, END_RESPONSE. The names and values of lines alternate.
func ajpAnswer(packet int, body []byte, lines ...string) []byte {
	head := []byte("\x04\x00\xc8\x00\x03200\x00")
	head = binary.BigEndian.AppendUint16(head, uint16(len(lines)/2))
	for i, s := range lines {
		if code := ajpHeader(s); code != 0 && i%2 == 0 {
			head = append(head, 0xa0, code)
			continue
		}
		head = append(binary.BigEndian.AppendUint16(head, uint16(len(s))), s...)
		head = append(head, 0)
	}
	out := appendAJP(nil, head)
	for most := packet - ajpChunkRest; len(body) > 0; {
		n := min(len(body), most)
		chunk := append(binary.BigEndian.AppendUint16([]byte{3}, uint16(n)), body[:n]...)
		out, body = appendAJP(out, append(chunk, 0)), body[n:]
	}
	return appendAJP(out, []byte{5, 1}) // the connection may be used again
}

func ajpHeader(name string) byte {
	switch name {
	case "Content-Type":
		return 1
	case "Content-Length":
		return 3
	case "Date":
		return 4
	case "Set-Cookie":
		return 7
	}
	return 0
}

func appendAJP(b, payload []byte) []byte {
	return append(binary.BigEndian.AppendUint16(append(b, 'A', 'B'), uint16(len(payload))), payload...)
}

// serveAJP answers the requests of one connection.
func (s *site) serveAJP(c net.Conn) error {
	r := bufio.NewReaderSize(c, ajpLargest)
	for {
		p, err := readAJP(r)
		if err != nil {
			return err
		}
		if len(p) == 1 && p[0] == 10 { // CPING
			if _, err := c.Write(appendAJP(nil, []byte{9})); err != nil {
				return err
			}
			continue
		}
		method, target, client, ok := parseAJP(p)
		if !ok {
			return fmt.Errorf("a request that starts with %q", cut(p))
		}
		out := s.none
		switch {
		case target == pathSink && method == "POST":
			if err := s.takeUploadAJP(c, r); err != nil {
				return err
			}
			out = s.sink
		case method == "GET":
			if out, err = s.get(target, fmt.Appendf(nil, "%s %s\r\n%s: %s\r\n", method, target, ajpClient, client)); err != nil {
				return err
			}
		}
		s.wait(target)
		if _, err := c.Write(out); err != nil {
			return err
		}
	}
}

// ajpClient names the line of pathHead with the client's address.
const ajpClient = "remote_addr"

// readAJP is the payload of the next packet, valid until the one after it.
func readAJP(r *bufio.Reader) ([]byte, error) {
	head, err := r.Peek(4)
	if err != nil {
		return nil, err
	}
	if head[0] != 0x12 || head[1] != 0x34 {
		return nil, fmt.Errorf("% x is no packet", head)
	}
	p, err := r.Peek(4 + int(binary.BigEndian.Uint16(head[2:])))
	if err != nil {
		return nil, err
	}
	_, err = r.Discard(len(p))
	return p[4:], err
}

// parseAJP takes the start of a FORWARD_REQUEST apart.
func parseAJP(p []byte) (method, target, client string, ok bool) {
	if len(p) < 2 || p[0] != 2 {
		return "", "", "", false
	}
	switch p[1] {
	case 2:
		method = "GET"
	case 4:
		method = "POST"
	}
	p = p[2:]
	var texts [3]string // protocol, path, client
	for i := range texts {
		if len(p) < 2 {
			return "", "", "", false
		}
		n := int(binary.BigEndian.Uint16(p))
		if len(p) < 2+n+1 || p[2+n] != 0 {
			return "", "", "", false
		}
		texts[i], p = string(p[2:2+n]), p[2+n+1:]
	}
	return method, texts[1], texts[2], true
}

// takeUploadAJP reads the body of a POST and compares every byte. The first packet
// comes without being asked for.
func (s *site) takeUploadAJP(c net.Conn, r *bufio.Reader) error {
	for got := 0; got < postBody; {
		if got > 0 {
			ask := binary.BigEndian.AppendUint16([]byte{6}, uint16(s.packet-ajpBodyHead))
			if _, err := c.Write(appendAJP(nil, ask)); err != nil {
				return err
			}
		}
		p, err := readAJP(r)
		if err != nil {
			return fmt.Errorf("a POST that ended after %d bytes: %w", got, err)
		}
		if len(p) < 3 || int(binary.BigEndian.Uint16(p)) != len(p)-2 {
			return fmt.Errorf("a POST of %d bytes with %q behind them", got, cut(p))
		}
		p = p[2:]
		if len(p) > postBody-got || !bytes.Equal(p, s.upload[got:got+len(p)]) {
			return fmt.Errorf("a POST with a wrong body at byte %d: %q", got, cut(p))
		}
		got += len(p)
	}
	return nil
}
