package proxy

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// A thousand requests on their way at once are answered in their order, whatever
// they carry.
func TestPipelined(t *testing.T) {
	const count = 1000
	digest := func(b string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(b)))[:8] }
	r := run(t, nil)
	w := startWorker(t, nil)
	w.quiet = true
	w.answer = func(c net.Conn, q *received) bool {
		text := q.target() + " " + digest(q.body) + " " + q.trailer
		if q.nth%3 == 0 {
			_, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(text), text)
			return err == nil
		}
		last := "" // as Tomcat does
		if q.nth == 100 {
			last = "Connection: close\r\n"
		}
		_, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", last, len(text), text)
		return err == nil && last == ""
	}
	r.register("w1", w)
	for name, body := range map[string]func(i int) (framing, sent, body, trailer string){
		"GET": func(int) (string, string, string, string) { return "", "", "", "" },
		"bodies": func(i int) (string, string, string, string) {
			text := strings.Repeat("x", i%7) + strings.Repeat("long ", i%50/49*5000) // 25 KB do not fit the buffer
			if i%2 == 0 {
				return "Transfer-Encoding: chunked\r\n", fmt.Sprintf("%x\r\n%s\r\n0\r\nX-Sum: %d\r\n\r\n", len(text)+1, text+"!", i), text + "!", fmt.Sprintf("X-Sum: %d\n", i)
			}
			return fmt.Sprintf("Content-Length: %d\r\n", len(text)), text, text, ""
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, r.addr)
			written := make(chan error, 1)
			go func() {
				out := bufio.NewWriterSize(c, 64<<10)
				for i := range count {
					framing, sent, _, _ := body(i)
					fmt.Fprintf(out, "POST /%d HTTP/1.1\r\nHost: localhost\r\n%s\r\n%s", i, framing, sent)
				}
				written <- out.Flush()
			}()
			for i := range count {
				_, _, text, trailer := body(i)
				a := c.read("POST")
				if want := fmt.Sprintf("/%d %s %s", i, digest(text), trailer); a.StatusCode != 200 || a.err != nil || a.text != want {
					t.Fatalf("answer %d: %s %q (%v), want %q", i, a.Status, a.text, a.err, want)
				}
			}
			if err := <-written; err != nil {
				t.Error(err)
			}
		})
	}
}

// What HTTP/1.0 clients are told is what they understand.
func TestHTTP10(t *testing.T) {
	const hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
	r := run(t, nil)
	w := startWorker(t, nil)
	w.answer = func(c net.Conn, q *received) bool {
		if strings.HasPrefix(q.line, "HEAD") {
			return say(map[string]string{
				"/length":  okHead,
				"/chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
			}[q.target()])(c, q)
		}
		_, err := io.WriteString(c, map[string]string{
			"/length":   okHead + "ok",
			"/hints":    hints + okHead + "ok",
			"/chunked":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n",
			"/rest":     "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok",
			"/204":      "HTTP/1.1 204 No Content\r\n\r\n",
			"/304":      "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
			"/old":      "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
			"/old-keep": "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok",
		}[q.target()])
		return err == nil && q.target() != "/rest" && q.target() != "/old"
	}
	r.register("w1", w)
	const keep = "Connection: keep-alive\r\n"
	for _, c := range []struct {
		request string // without version and Host
		fields  string
		want    string // of the head, sorted by the worker
		body    string
		stays   bool
	}{
		{"GET /length", "", "Content-Length: 2\r\nConnection: close\r\n", "ok", false},
		{"GET /length", keep, "Content-Length: 2\r\nConnection: keep-alive\r\n", "ok", true},
		{"GET /length", "Connection: Keep-Alive, X\r\n", "Content-Length: 2\r\nConnection: keep-alive\r\n", "ok", true},
		{"GET /length", "Connection: keep-alive, close\r\n", "Content-Length: 2\r\nConnection: close\r\n", "ok", false},
		{"GET /hints", keep, "Content-Length: 2\r\nConnection: keep-alive\r\n", "ok", true},
		{"GET /chunked", keep, "Connection: close\r\n", "ok", false},
		{"GET /rest", keep, "Connection: close\r\n", "ok", false},
		{"GET /204", keep, "Connection: keep-alive\r\n", "", true},
		{"GET /304", keep, "Content-Length: 5\r\nConnection: keep-alive\r\n", "", true},
		{"HEAD /length", keep, "Content-Length: 2\r\nConnection: keep-alive\r\n", "", true},
		{"HEAD /chunked", keep, "Connection: keep-alive\r\n", "", true},
		{"GET /old", keep, "Content-Length: 2\r\nConnection: keep-alive\r\n", "ok", true},
		{"GET /old-keep", keep, "Content-Length: 2\r\nConnection: keep-alive\r\n", "ok", true},
		{"POST /length", keep + "Content-Length: 2\r\nExpect: 100-continue\r\n", "Content-Length: 2\r\nConnection: keep-alive\r\n", "ok", true},
		{"POST /length", keep + "Transfer-Encoding: chunked\r\n", "400", "", false},
	} {
		t.Run(c.request+" "+c.fields, func(t *testing.T) {
			conn := dial(t, r.addr)
			sent := ""
			if strings.Contains(c.fields, "Content-Length") {
				sent = "hi"
			}
			conn.send(c.request + " HTTP/1.0\r\nHost: localhost\r\n" + c.fields + "\r\n" + sent)
			if c.stays {
				conn.send("GET /length HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n")
			}
			all, err := io.ReadAll(conn.r)
			if err != nil {
				t.Fatal(err)
			}
			got := string(all)
			if c.want == "400" {
				if !strings.HasPrefix(got, "HTTP/1.1 400 ") {
					t.Errorf("%q", got)
				}
				return
			}
			head, rest, _ := strings.Cut(got, "\r\n\r\n")
			lines := ""
			for line := range strings.Lines(head + "\r\n") {
				if !strings.HasPrefix(line, "HTTP/") && !strings.HasPrefix(line, "Date: ") {
					lines += line
				}
			}
			if c.stays {
				var second string
				if rest, second, _ = strings.Cut(rest, "HTTP/1.1 200"); !strings.HasSuffix(second, "\r\n\r\nok") {
					t.Errorf("no second answer in %q", got)
				}
			}
			if lines != c.want || rest != c.body {
				t.Errorf("%q and body %q, want %q and %q", lines, rest, c.want, c.body)
			}
		})
	}
}

// A request of HTTP/1.0 may come without Host: no alias is meant, and its worker
// gets its own address.
func TestHTTP10WithoutHost(t *testing.T) {
	r := run(t, nil)
	w := startWorker(t, named("w1"))
	r.register("w1", w)
	r.do("GET / HTTP/1.0\r\n\r\n").want(t, 200, "w1")
	if q := w.requests()[0]; q.value("Host") != w.addr || q.value("X-Forwarded-Host") != "" {
		t.Errorf("%q", q.head)
	}
}

// Trailers pass both ways, also behind bodies that fit no buffer.
func TestTrailers(t *testing.T) {
	r := run(t, nil)
	w := startWorker(t, nil)
	w.answer = func(c net.Conn, q *received) bool {
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for at := 0; at < len(q.body); at += 9999 {
			piece := q.body[at:min(at+9999, len(q.body))]
			fmt.Fprintf(c, "%x\r\n%s\r\n", len(piece), piece)
		}
		_, err := io.WriteString(c, "0\r\nX-Down: 8\r\nSet-Cookie: a=b\r\nX_Down: 9\r\n\r\n")
		return err == nil
	}
	r.register("w1", w)
	c := dial(t, r.addr)
	for i, size := range []int{1, 10, 1000, 100_000, 1_000_000} {
		body := strings.Repeat("0123456789", size)
		go func() { // an error is one of the worker's, too
			out := bufio.NewWriter(c)
			io.WriteString(out, "POST / HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n")
			for at := 0; at < len(body); at += 7777 {
				piece := body[at:min(at+7777, len(body))]
				fmt.Fprintf(out, "%x;x=y\r\n%s\r\n", len(piece), piece)
			}
			io.WriteString(out, "0\r\nX-Up: 7\r\nCookie: a=b\r\nX_Up: 9\r\n\r\n")
			out.Flush()
		}()
		a := c.read("POST")
		if a.text != body || a.err != nil || len(a.Trailer) != 1 || a.Trailer.Get("X-Down") != "8" {
			t.Fatalf("%d bytes of %d (%v), trailers %v", len(a.text), len(body), a.err, a.Trailer)
		}
		if q := w.requests()[i]; q.body != body || q.trailer != "X-Up: 7\n" || q.value("TE") != "trailers" {
			t.Fatalf("%d bytes at the worker, trailers %q", len(q.body), q.trailer)
		}
	}
}

// Who uploads much and is refused early can write it all, and then reads why.
func TestEarlyRefusalOfUpload(t *testing.T) {
	const size = 24 << 20
	cert, _ := certificate(t, "127.0.0.1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := runPatient(t, patience, func(c *Config) {
		c.Limits.BodyBytes = size
		c.Listeners = append(c.Listeners, Listener{Listener: l, TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
	})
	secure := l.Addr().String()
	w := startWorker(t, nil)
	w.early = true
	w.answer = func(c net.Conn, q *received) bool {
		io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
		if q.target() == "/lingers" {
			c.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, q.r)
		}
		return false // else its kernel resets
	}
	r.register("w1", w)
	for _, c := range []struct {
		name, target  string
		size          int
		chunked, ours bool
	}{
		{"worker lingers", "/lingers", size, false, false},
		{"worker lingers, chunks", "/lingers", size, true, false},
		{"worker resets", "/resets", size, false, false},
		{"worker resets, chunks", "/resets", size, true, false},
		{"over the limit", "/", size + 1, false, true},
	} {
		for _, addr := range []string{r.addr, secure} {
			t.Run(c.name+map[bool]string{true: ", TLS"}[addr == secure], func(t *testing.T) {
				before := w.connections()
				var conn net.Conn = dial(t, addr)
				if addr == secure {
					conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
				}
				framing := fmt.Sprintf("Content-Length: %d", c.size)
				if c.chunked {
					framing = "Transfer-Encoding: chunked"
				}
				_, err := io.WriteString(conn, "POST "+c.target+" HTTP/1.1\r\nHost: localhost\r\n"+framing+"\r\n\r\n")
				piece := strings.Repeat("x", 64<<10)
				if c.chunked {
					piece = fmt.Sprintf("%x\r\n%s\r\n", len(piece), piece)
				}
				for sent := 0; sent < c.size && err == nil; sent += 64 << 10 {
					_, err = io.WriteString(conn, piece)
				}
				if err == nil && c.chunked {
					_, err = io.WriteString(conn, "0\r\n\r\n")
				}
				if err != nil {
					t.Fatalf("write: %v", err)
				}
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatalf("read: %v", err)
				}
				b, err := io.ReadAll(resp.Body)
				if err != nil || resp.StatusCode != 413 || !resp.Close || (string(b) == "no") == c.ours {
					t.Errorf("%s %q %v", resp.Status, b, err)
				}
				if c.ours && w.connections() != before {
					t.Error("a worker was dialled")
				}
			})
		}
	}
}
