package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"
)

const mixedUsers = 16

// mixedUser makes one request after the other: on a kept connection, a TLS one, and by
// HTTP/2.
type mixedUser struct {
	m     *mixed
	id    string // of the request
	plain *visitor
	tls   *visitor
	h2    *http.Client
}

// mixedKinds are the requests. Each returns nil for the right answer.
var mixedKinds = []struct {
	name string
	make func(*mixedUser) error
}{
	{"get", func(u *mixedUser) error { return u.one(u.plain, http.MethodGet, "1.1", 0, rand.IntN(2000)) }},
	{"get long", func(u *mixedUser) error {
		return u.one(u.plain, http.MethodGet, "1.1", 0, 30_000+rand.IntN(400_000))
	}},
	{"get chunked", func(u *mixedUser) error {
		return u.one(u.plain, http.MethodGet, "1.1", 0, rand.IntN(60_000), "X-Chunked: 1")
	}},
	{"get 1.0", func(u *mixedUser) error {
		return u.one(u.plain, http.MethodGet, "1.0", 0, rand.IntN(60_000), []string{"Connection: keep-alive", "X-Chunked: 1"}[rand.IntN(2)])
	}},
	{"head", func(u *mixedUser) error { return u.one(u.plain, http.MethodHead, "1.1", 0, 0) }},
	{"post", func(u *mixedUser) error {
		return u.one(u.plain, http.MethodPost, "1.1", rand.IntN(12_000), rand.IntN(2000))
	}},
	{"post long", func(u *mixedUser) error {
		return u.one(u.plain, http.MethodPost, "1.1", 20_000+rand.IntN(300_000), rand.IntN(50_000))
	}},
	{"post expect", func(u *mixedUser) error {
		return u.one(u.plain, http.MethodPost, "1.1", 1+rand.IntN(50_000), rand.IntN(2000), "Expect: 100-continue")
	}},
	{"post chunked", (*mixedUser).chunked},
	{"pipelined", (*mixedUser).pipelined},
	{"tls get", func(u *mixedUser) error {
		return u.one(u.tls, http.MethodGet, "1.1", 0, rand.IntN(200_000))
	}},
	{"tls post", func(u *mixedUser) error {
		return u.one(u.tls, http.MethodPost, "1.1", rand.IntN(100_000), rand.IntN(2000))
	}},
	{"h2 get", func(u *mixedUser) error { return u.http2(http.MethodGet, 0, rand.IntN(100_000)) }},
	{"h2 post", func(u *mixedUser) error { return u.http2(http.MethodPost, rand.IntN(100_000), rand.IntN(2000)) }},
	{"tunnel", (*mixedUser).tunnel},
	{"leave", (*mixedUser).leave},
}

func (m *mixed) user(k int, stop <-chan struct{}) {
	insecure := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true, DisableCompression: true}
	u := &mixedUser{
		m:     m,
		plain: &visitor{c: &usersConfig{Targets: []string{m.plain}}},
		tls:   &visitor{c: &usersConfig{Targets: []string{m.secure}}},
		h2:    &http.Client{Transport: transport, Timeout: patience},
	}
	defer transport.CloseIdleConnections()
	defer u.plain.hangUp()
	defer u.tls.hangUp()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		if u.tls.conn == nil {
			conn, err := tls.Dial("tcp", m.secure, insecure)
			if err != nil {
				m.t.Errorf("TLS: %v", err)
				return
			}
			u.tls.adopt(conn)
		}
		if u.plain.conn == nil {
			if err := u.plain.dial(&seen{}); err != nil {
				m.t.Error(err)
				return
			}
		}
		u.plain.conn.SetDeadline(time.Now().Add(patience))
		u.tls.conn.SetDeadline(time.Now().Add(patience))
		kind := mixedKinds[rand.IntN(len(mixedKinds))]
		m.mu.Lock()
		m.made++
		u.id = fmt.Sprintf("%s-%d-%d-%d", strings.ReplaceAll(kind.name, " ", ""), k, n, m.made)
		m.mu.Unlock()
		m.result(kind.name, kind.make(u))
		if !pausing(stop, rand.N(8*time.Millisecond)) {
			return
		}
	}
}

// head is that of a request, without the blank line.
func (u *mixedUser) head(id, method, version string, body []byte, answer int, more ...string) string {
	return fmt.Sprintf("%s /mix/%s HTTP/%s\r\nHost: localhost\r\nX-Id: %s\r\nX-Digest: %s\r\nX-Size: %d\r\n%s",
		method, id, version, id, digest(body), answer, strings.Join(append(more, ""), "\r\n"))
}

// one is a request whose body has a length.
func (u *mixedUser) one(me *visitor, method, version string, length, answer int, more ...string) (err error) {
	defer func() {
		if err != nil {
			me.hangUp()
		}
	}()
	body := content("body of "+u.id, length)
	head := u.head(u.id, method, version, body, answer, more...)
	if method == http.MethodPost {
		head += fmt.Sprintf("Content-Length: %d\r\n", length)
	}
	head += "\r\n"
	if strings.Contains(head, "Expect:") {
		if _, err := io.WriteString(me.conn, head); err != nil {
			return err
		}
		resp, early, err := readAnswer(me.read, method)
		switch {
		case err != nil:
			return err
		case resp.StatusCode != http.StatusContinue:
			me.hangUp() // the body is not wanted
			return check(u.id, resp, early, answer)
		}
		head = ""
	}
	// The answer may come before the body is sent: it must not be waited for by both.
	sent := make(chan error, 1)
	conn := me.conn
	go func() {
		_, err := conn.Write(append([]byte(head), body...))
		sent <- err
	}()
	resp, got, err := readAnswer(me.read, method)
	if err != nil {
		me.hangUp()
		<-sent
		return err
	}
	if resp.Close || version == "1.0" && !strings.EqualFold(resp.Header.Get("Connection"), "keep-alive") {
		me.hangUp()
	}
	if err := <-sent; err != nil && me.conn != nil {
		return err
	}
	return check(u.id, resp, got, answer)
}

// chunked is a body of an unknown length, with a trailer.
func (u *mixedUser) chunked() error {
	me := u.plain
	body := content("body of "+u.id, rand.IntN(80_000))
	var b bytes.Buffer
	b.WriteString(u.head(u.id, http.MethodPost, "1.1", body, 100, "Transfer-Encoding: chunked", "Trailer: X-Sum", "X-Trailer-Wanted: "+digest(body)) + "\r\n")
	for rest := body; len(rest) > 0; {
		n := min(len(rest), 1+rand.IntN(9000))
		fmt.Fprintf(&b, "%x;ignored=1\r\n%s\r\n", n, rest[:n])
		rest = rest[n:]
	}
	fmt.Fprintf(&b, "0\r\nX-Sum: %s\r\n\r\n", digest(body))
	if _, err := me.conn.Write(b.Bytes()); err != nil {
		me.hangUp()
		return err
	}
	resp, got, err := readAnswer(me.read, http.MethodPost)
	if err != nil || resp.Close {
		me.hangUp()
	}
	if err != nil {
		return err
	}
	return check(u.id, resp, got, 100)
}

// pipelined are requests sent before the first answer: answered in order.
func (u *mixedUser) pipelined() error {
	me := u.plain
	const n = 6
	var b strings.Builder
	for i := range n {
		b.WriteString(u.head(fmt.Sprintf("%s-%d", u.id, i), http.MethodGet, "1.1", nil, 100*i*i) + "\r\n")
	}
	if _, err := io.WriteString(me.conn, b.String()); err != nil {
		me.hangUp()
		return err
	}
	var failed error
	for i := range n {
		resp, got, err := readAnswer(me.read, http.MethodGet)
		if err != nil || resp.Close {
			me.hangUp()
		}
		if err != nil {
			return err
		}
		if err := check(fmt.Sprintf("%s-%d", u.id, i), resp, got, 100*i*i); err != nil {
			failed = err
		}
		if resp.Close {
			break
		}
	}
	return failed
}

func (u *mixedUser) http2(method string, length, answer int) error {
	body := content("body of "+u.id, length)
	r, err := http.NewRequest(method, "https://"+u.m.secure+"/mix/"+u.id, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("X-Id", u.id)
	r.Header.Set("X-Digest", digest(body))
	r.Header.Set("X-Size", fmt.Sprint(answer))
	r.GetBody = nil // this client must not repeat it
	resp, err := u.h2.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.ProtoMajor != 2 {
		return wrongAnswer(u.id + ": by " + resp.Proto)
	}
	return check(u.id, resp, got, answer)
}

// tunnel sends bytes through a WebSocket upgrade and gets them back.
func (u *mixedUser) tunnel() error {
	conn, err := net.DialTimeout("tcp", u.m.plain, patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	me := &visitor{}
	me.adopt(conn)
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, u.head(u.id, http.MethodGet, "1.1", nil, 0, "Connection: Upgrade", "Upgrade: websocket")+"\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(me.read, nil)
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusBadGateway || resp.StatusCode == http.StatusServiceUnavailable:
		return fmt.Errorf("%s: %s", u.id, resp.Status)
	case resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("X-Id") != u.id:
		return wrongAnswer(fmt.Sprintf("%s: %s for %q", u.id, resp.Status, resp.Header.Get("X-Id")))
	}
	for i := range 3 {
		text := content(fmt.Sprintf("%s-%d", u.id, i), 1+rand.IntN(3000))
		if _, err := conn.Write(text); err != nil {
			return err
		}
		got := make([]byte, len(text))
		if _, err := io.ReadFull(me.read, got); err != nil {
			return err
		}
		if !bytes.Equal(got, text) {
			return wrongAnswer(u.id + ": the tunnel says something else")
		}
	}
	return nil
}

// leave is a client that goes away in the middle: of its head, of its body, while it
// waits, or of the answer.
func (u *mixedUser) leave() error {
	conn, err := net.DialTimeout("tcp", u.m.plain, patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	tcp := conn.(*net.TCPConn)
	conn.SetDeadline(time.Now().Add(patience))
	body := content("body of "+u.id, 200_000)
	switch rand.IntN(5) {
	case 0:
		io.WriteString(conn, "GET /mix/ HTTP/1.1\r\nHost: loc")
	case 1: // POST, so that whoever sees it twice tells
		io.WriteString(conn, u.head(u.id, http.MethodPost, "1.1", body, 10)+fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)))
		conn.Write(body[:rand.IntN(len(body))])
	case 2:
		io.WriteString(conn, u.head(u.id, http.MethodPost, "1.1", body, 10)+"Transfer-Encoding: chunked\r\n\r\n1000\r\n")
		conn.Write(body[:rand.IntN(0x1000)])
	case 3:
		io.WriteString(conn, u.head(u.id, http.MethodGet, "1.1", nil, 10, "X-Wait: 2000")+"\r\n")
		time.Sleep(rand.N(30 * time.Millisecond))
	case 4:
		io.WriteString(conn, u.head(u.id, http.MethodGet, "1.1", nil, 1<<20, []string{"X-Chunked: 1", "X: y"}[rand.IntN(2)])+"\r\n")
		io.ReadFull(conn, make([]byte, rand.IntN(300_000)))
	}
	if rand.IntN(2) == 0 {
		tcp.SetLinger(0)
	}
	return errLeft
}
