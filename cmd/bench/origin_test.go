//go:build linux

package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// ajpPacket is one as a balancer sends it.
func ajpPacket(payload string) string {
	return "\x12\x34" + string(binary.BigEndian.AppendUint16(nil, uint16(len(payload)))) + payload
}

func ajpText(s string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s + "\x00"
}

// ajpForward is a FORWARD_REQUEST without headers.
func ajpForward(method byte, path string) string {
	return ajpPacket("\x02" + string(method) + ajpText("HTTP/1.1") + ajpText(path) + ajpText("127.0.0.9") +
		"\xff\xff" + ajpText("localhost") + "\x00\x50\x00\x00\x00\xff")
}

func ajpBody(data []byte) string {
	return ajpPacket(string(binary.BigEndian.AppendUint16(nil, uint16(len(data)))) + string(data))
}

func dialAJP(t *testing.T, packet int) (net.Conn, *bufio.Reader) {
	t.Helper()
	address := listen(t, func(l net.Listener) { serveWorker(l, newSite("w1", packet)) })
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn, bufio.NewReader(conn)
}

// said reads one packet of a worker.
func said(t *testing.T, r io.Reader, packet int) []byte {
	t.Helper()
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		t.Fatal(err)
	}
	n := int(binary.BigEndian.Uint16(head[2:]))
	if string(head[:2]) != "AB" || n < 1 || n+4 > packet {
		t.Fatalf("% x is no packet of at most %d bytes", head, packet)
	}
	p := make([]byte, n)
	if _, err := io.ReadFull(r, p); err != nil {
		t.Fatal(err)
	}
	return p
}

// answered reads an answer up to END_RESPONSE, and returns its body.
func answered(t *testing.T, r io.Reader, packet int, lines ...string) string {
	t.Helper()
	head := said(t, r, packet)
	if !strings.HasPrefix(string(head), "\x04\x00\xc8\x00\x03200\x00") {
		t.Fatalf("%q, not SEND_HEADERS", head)
	}
	for _, line := range lines {
		if !strings.Contains(string(head), line) {
			t.Errorf("no %q in %q", line, head)
		}
	}
	var body strings.Builder
	for {
		switch p := said(t, r, packet); {
		case p[0] == 3 && int(binary.BigEndian.Uint16(p[1:])) == len(p)-4 && p[len(p)-1] == 0:
			body.Write(p[3 : len(p)-1])
		case string(p) == "\x05\x01":
			return body.String()
		default:
			t.Fatalf("%q in an answer", cut(p))
		}
	}
}

// A worker that speaks AJP answers what one that speaks HTTP does, with any packets.
func TestWorkerAJP(t *testing.T) {
	for _, packet := range []int{8 << 10, 64 << 10} {
		conn, r := dialAJP(t, packet)
		fmt.Fprint(conn, ajpPacket("\x0a"))
		if p := said(t, r, packet); string(p) != "\x09" {
			t.Fatalf("CPING was answered %q", p)
		}
		for _, path := range []string{pathKB, path100KB} {
			fmt.Fprint(conn, ajpForward(2, path))
			want := string(wantBody(path))
			if body := answered(t, r, packet, "\xa0\x03"+ajpText(fmt.Sprint(len(want))), ajpText("X-Worker")+ajpText("w1")); body != want {
				t.Fatalf("%s: %d bytes, starting with %q", path, len(body), cut([]byte(body)))
			}
		}
		fmt.Fprint(conn, ajpForward(2, pathLogin))
		if body := answered(t, r, packet, "\xa0\x07", "JSESSIONID=0123456789ABCDEF0123456789ABCDEF.w1;"); body != "w1" {
			t.Errorf("login: %q", body)
		}
		fmt.Fprint(conn, ajpForward(2, pathHead))
		if body := answered(t, r, packet); body != "GET "+pathHead+"\r\nremote_addr: 127.0.0.9\r\n" {
			t.Errorf("head: %q", body)
		}
		fmt.Fprint(conn, ajpForward(4, pathSink))
		for body := pattern(postBody); len(body) > 0; {
			n := min(len(body), packet-ajpBodyHead)
			fmt.Fprint(conn, ajpBody(body[:n]))
			if body = body[n:]; len(body) == 0 {
				break
			}
			if p := said(t, r, packet); p[0] != 6 || int(binary.BigEndian.Uint16(p[1:])) != packet-ajpBodyHead {
				t.Fatalf("%q, not GET_BODY_CHUNK", cut(p))
			}
		}
		if body := answered(t, r, packet); body != sinkAnswer {
			t.Errorf("upload: %q", body)
		}
	}
}

// What is wrong is not answered.
func TestWorkerAJPRefuses(t *testing.T) {
	bad := pattern(postBody)
	bad[100]++
	for name, sent := range map[string]string{
		"HTTP":            "GET / HTTP/1.1\r\n\r\n",
		"another type":    ajpPacket("\x08"),
		"a cut string":    ajpPacket("\x02\x02\x00\x08HTTP"),
		"a wrong body":    ajpForward(4, pathSink) + ajpBody(bad[:8000]),
		"no body":         ajpForward(4, pathSink) + ajpBody(nil),
		"too long a body": ajpForward(4, pathSink) + ajpBody(pattern(postBody+1)),
	} {
		conn, r := dialAJP(t, 64<<10)
		fmt.Fprint(conn, sent)
		if b, err := io.ReadAll(r); len(b) > 0 {
			t.Errorf("%s was answered %q, %v", name, cut(b), err)
		}
	}
}
