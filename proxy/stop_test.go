package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// busy is a Proxy in the midst of everything: an HTTP/2 stream, a tunnel, an upload,
// and an answer that goes on.
type busy struct {
	*rig
	h2     *h2Peer
	tunnel *rawClient
	upload *rawClient
	events *rawClient
	more   chan bool // the worker ends stream and events
}

const uploadSize = 4 << 20

func startBusy(t *testing.T) *busy {
	more := make(chan bool)
	r, secure, _ := runTLS(t, func(c *Config) { c.Upstream.Upgrade.Protocols = []string{"websocket"} })
	w := startWorker(t, nil)
	w.early = true
	w.answer = func(c net.Conn, q *received) bool {
		switch q.target() {
		case "/ws":
			io.WriteString(c, switched)
			io.Copy(c, q.r)
			c.(*net.TCPConn).CloseWrite()
		case "/upload":
			if q.readBody() {
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n%7d", len(q.body))
			}
		default:
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
			if _, open := <-more; !open {
				io.WriteString(c, "5\r\n done\r\n0\r\n\r\n")
			}
		}
		return false
	}
	r.register("w1", w)
	b := &busy{rig: r, more: more}
	b.h2 = dialH2(t, secure, &tls.Config{InsecureSkipVerify: true})
	b.h2.ask(1, true, "GET", "/events")
	b.h2.wait("half an answer", func() bool { return b.h2.stream(1).body == "half" })
	b.tunnel = upgrade(t, r, "")
	b.upload = dial(t, r.addr)
	b.upload.send(fmt.Sprintf("POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", uploadSize))
	b.upload.send(strings.Repeat("x", uploadSize/2))
	b.events = dial(t, r.addr)
	b.events.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if _, err := b.events.r.Peek(1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all are in flight", func() bool { return r.Stats().InFlight == 4 })
	return b
}

// A stop waits for what is under way, in every form, and takes nothing new.
func TestStopWaitsForAll(t *testing.T) {
	b := startBusy(t)
	ended := make(chan error, 1)
	go func() { ended <- b.Drain(t.Context()) }()
	b.h2.wait("GOAWAY", func() bool { return b.h2.away != nil })
	for _, l := range b.listeners {
		if c, err := net.Dial("tcp", l.label); err == nil {
			c.Close()
			t.Errorf("%s still listens", l.label)
		}
	}
	b.tunnel.send("still here")
	echo := make([]byte, 10)
	if _, err := io.ReadFull(b.tunnel.r, echo); err != nil || string(echo) != "still here" {
		t.Errorf("tunnel: %q %v", echo, err)
	}
	b.upload.send(strings.Repeat("x", uploadSize/2))
	a := b.upload.read("POST")
	a.want(t, 200, fmt.Sprint(uploadSize))
	if !a.Close {
		t.Error("upload: it does not say that this was the last")
	}
	close(b.more)
	b.events.read("GET").want(t, 200, "half done")
	if a := b.h2.answer(1); a.body != "half done" || !a.whole {
		t.Errorf("stream: %+v", a)
	}
	select {
	case err := <-ended:
		t.Errorf("the tunnel is open, but Drain returned %v", err)
	default:
	}
	b.tunnel.Conn.(*net.TCPConn).CloseWrite()
	if rest, err := io.ReadAll(b.tunnel.r); len(rest) > 0 || err != nil {
		t.Errorf("tunnel: %q %v", rest, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if s := b.Stats(); s.InFlight != 0 {
		t.Errorf("%+v", s)
	}
}

// What lasts longer than a stop has time is cut off, and nobody takes it for whole.
func TestStopCutsOff(t *testing.T) {
	b := startBusy(t)
	defer close(b.more)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := b.Drain(ctx); err == nil || !strings.Contains(err.Error(), "4 requests left") {
		t.Errorf("Drain: %v", err)
	}
	eventually(t, "nothing is left", func() bool { s := b.Stats(); return s.InFlight == 0 && s.ClientConnections == 0 })
	b.h2.ended()
	if b.h2.stream(1).whole {
		t.Error("stream: half an answer looks whole")
	}
	if resp, err := http.ReadResponse(b.events.r, nil); err == nil {
		if text, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("events: %q looks whole", text)
		}
	}
	for name, c := range map[string]*rawClient{"tunnel": b.tunnel, "upload": b.upload} {
		if _, err := io.ReadAll(c.r); isTimeout(err) {
			t.Errorf("%s: still open", name)
		}
	}
	b.stop()
}

// Certificates change under load: every handshake sees one of those that were there,
// open connections go on, and sessions are resumed with the new one.
func TestCertificatesChangeUnderLoad(t *testing.T) {
	const changes = 30
	var current atomic.Pointer[tls.Certificate]
	var newest atomic.Int64 // number of the certificate that is there, or will be
	renew := func(n int64) {
		cert, _ := certificate(t, fmt.Sprintf("n%d.example", n))
		leaf, err := x509.ParseCertificate(cert.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		cert.Leaf = leaf
		newest.Store(n)
		current.Store(&cert)
	}
	renew(0)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, func(c *Config) {
		c.Listeners = append(c.Listeners, Listener{Listener: l, TLS: &tls.Config{
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return current.Load(), nil },
		}})
	})
	r.register("w1", startWorker(t, named("w1")))
	get := func(c net.Conn, in *bufio.Reader) error {
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			return err
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "w1" {
			return errors.Join(err, errors.New(resp.Status))
		}
		return nil
	}
	var fresh, resumed atomic.Int64
	var ended atomic.Bool
	connect := func(conf *tls.Config) error {
		least := newest.Load() - 1 // it may be about to be stored
		c, err := tls.Dial("tcp", l.Addr().String(), conf)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		in := bufio.NewReader(c)
		for range 3 {
			if err := get(c, in); err != nil {
				return err
			}
		}
		state := c.ConnectionState()
		if state.DidResume {
			resumed.Add(1)
			return nil
		}
		fresh.Add(1)
		var n int64
		if _, err := fmt.Sscanf(state.PeerCertificates[0].Subject.CommonName, "n%d.example", &n); err != nil || n < least || n > newest.Load() {
			return fmt.Errorf("certificate %s while %d was there", state.PeerCertificates[0].Subject.CommonName, newest.Load())
		}
		return nil
	}
	var clients sync.WaitGroup
	for i := range 4 {
		conf := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}
		if i%2 == 0 {
			conf.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		}
		clients.Go(func() {
			for !ended.Load() {
				if err := connect(conf); err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
			}
		})
	}
	kept, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	kept.SetDeadline(time.Now().Add(patience))
	in := bufio.NewReader(kept)
	for n := range int64(changes) {
		renew(n + 1)
		before := fresh.Load()
		eventually(t, "handshakes go on", func() bool { return fresh.Load() > before || t.Failed() })
		if err := get(kept, in); err != nil {
			t.Fatalf("an open connection: %v", err)
		}
	}
	ended.Store(true)
	clients.Wait()
	if resumed.Load() == 0 {
		t.Error("no session was resumed")
	}
	t.Logf("%d handshakes, %d resumed", fresh.Load(), resumed.Load())
}
