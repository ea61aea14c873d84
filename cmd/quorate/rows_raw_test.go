package main

// What the rows about the data path's own cost share: one replica, and a worker and
// clients on bare sockets, so that the balancer is what is measured.
//
//	c, secure, how := single(t, "", set...)    one replica; plain at c.replicas[0].traffic, TLS at secure
//	o := c.raw("w1", "/app")                   a worker that it uses
//	p := dial(t, addr, how)                    a client's connection; how nil: plain
//	n, err := p.ask(request("GET", path, nil)) one request on it
//	all := gather(t, 64, addr, nil)            many of them; all.ask(t, 10000, ...)
//
// A raw worker answers by the last two segments of the path, and to others "ok":
//
//	/app/bytes/1024     as many bytes, with a length
//	/app/chunks/1024    as many bytes in chunks of 1000
//	/app/hold/30s       nothing for so long
//	/app/half/30s       the head and a part at once, nothing more for so long
//	/app/events/500ms   an event each so often: when it was sent, by o.clock

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate/mcmp/client"
)

// single is one replica that is no cluster, with access log and metrics on. It
// listens with TLS, too, at the address that is returned.
func single(t testing.TB, binary string, set ...string) (c *trio, secure string, authority *tls.Config) {
	t.Helper()
	cert, key := certificateFor("localhost")
	dir := t.TempDir()
	for name, text := range map[string]string{"cert.pem": cert, "key.pem": key} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(cert))
	secure = reserve(t)
	c = prepare(t, trioConfig{Replicas: 1, Binary: binary, Set: append([]string{
		"traffic.listeners[1].address=" + secure,
		"traffic.listeners[1].tls.cert_file=" + filepath.Join(dir, "cert.pem"),
		"traffic.listeners[1].tls.key_file=" + filepath.Join(dir, "key.pem"),
	}, set...)})
	c.startAll()
	return c, secure, &tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: []string{"http/1.1"}}
}

// program is the binary itself, which `make build` makes: QUORATE_BINARY or bin/quorate.
func program(t testing.TB) string {
	t.Helper()
	binary := envOr("QUORATE_BINARY", filepath.Join("..", "..", "bin", "quorate"))
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	return binary
}

// rawWorker is a worker.
type rawWorker struct {
	address string
	mcmp    *client.Client
	body    []byte         // what answers repeat
	began   time.Time      // of the clock
	taken   atomic.Int64   // bytes of requests' bodies
	held    atomic.Int64   // requests that are held
	ended   chan time.Time // for each held request, when its connection ended

	listener net.Listener
	stop     context.CancelFunc
	group    sync.WaitGroup
	mu       sync.Mutex
	conns    map[net.Conn]bool
}

// rawWorker starts one and waits until the replicas use it.
func (c *trio) raw(name string, contexts ...string) *rawWorker {
	c.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	o := &rawWorker{
		address:  l.Addr().String(),
		body:     bytes.Repeat([]byte("0123456789abcde\n"), 64<<10/16),
		began:    time.Now(),
		ended:    make(chan time.Time, 1000),
		listener: l,
		conns:    map[net.Conn]bool{},
	}
	mc := client.Config{
		Node:         client.Node{Route: name, Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Type: "http"},
		StatusPeriod: 5 * time.Second,
		Log:          slog.New(slog.DiscardHandler),
	}
	for _, r := range c.replicas {
		mc.Proxies = append(mc.Proxies, client.Proxy{Address: r.mcmp})
	}
	host := client.Host{Name: "localhost"}
	for _, p := range contexts {
		host.Contexts = append(host.Contexts, client.Context{Path: p})
	}
	mc.Hosts = []client.Host{host}
	if o.mcmp, err = client.New(mc); err != nil {
		c.t.Fatal(err)
	}
	var ctx context.Context
	ctx, o.stop = context.WithCancel(context.Background())
	o.group.Go(o.accept)
	o.group.Go(func() { o.mcmp.Run(ctx) })
	c.t.Cleanup(o.end)
	c.waitUp(name)
	return o
}

func (o *rawWorker) end() {
	o.stop()
	o.listener.Close()
	o.mu.Lock()
	for conn := range o.conns {
		conn.Close()
	}
	o.conns = nil
	o.mu.Unlock()
	o.group.Wait()
	o.mcmp.Close()
}

func (o *rawWorker) accept() {
	for {
		conn, err := o.listener.Accept()
		if err != nil {
			return
		}
		o.mu.Lock()
		if o.conns == nil {
			conn.Close()
		} else {
			o.conns[conn] = true
			o.group.Go(func() { o.serve(conn) })
		}
		o.mu.Unlock()
	}
}

// call is a request to a rawWorker.
type call struct {
	conn     net.Conn
	in       *bufio.Reader
	method   string
	what     string // bytes, chunks, ...
	argument string
	length   int64 // of the body; -1: chunks
}

func (o *rawWorker) serve(conn net.Conn) {
	defer func() {
		conn.Close()
		o.mu.Lock()
		delete(o.conns, conn)
		o.mu.Unlock()
	}()
	k := &call{conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}
	for k.read() == nil && o.consume(k) == nil && o.answer(k) == nil {
	}
}

// read reads a head. It believes it: what a balancer sends is tested elsewhere.
func (k *call) read() error {
	line, err := k.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	words := strings.Fields(string(line))
	if len(words) != 3 {
		return fmt.Errorf("request line %q", line)
	}
	k.method, k.length = words[0], 0
	path, _, _ := strings.Cut(words[1], "?")
	segments := strings.Split(path, "/")
	k.what, k.argument = "", ""
	if n := len(segments); n >= 2 {
		k.what, k.argument = segments[n-2], segments[n-1]
	}
	for {
		line, err := k.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		name, value, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(": "))
		switch {
		case len(name) == 0:
			return nil
		case bytes.EqualFold(name, []byte("Content-Length")):
			if k.length, err = strconv.ParseInt(string(value), 10, 64); err != nil {
				return err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			k.length = -1
		}
	}
}

var sinks = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// consume reads the body and drops it.
func (o *rawWorker) consume(k *call) error {
	if k.length < 0 {
		for {
			line, err := k.in.ReadSlice('\n')
			if err != nil {
				return err
			}
			n, err := strconv.ParseInt(strings.TrimSpace(string(line)), 16, 64)
			if err != nil {
				return err
			}
			if err := o.drop(k, n); err != nil {
				return err
			}
			if _, err := k.in.Discard(len("\r\n")); err != nil || n == 0 {
				return err
			}
		}
	}
	return o.drop(k, k.length)
}

func (o *rawWorker) drop(k *call, n int64) error {
	if there := min(n, int64(k.in.Buffered())); there > 0 {
		k.in.Discard(int(there))
		o.taken.Add(there)
		n -= there
	}
	if n == 0 {
		return nil
	}
	sink := sinks.Get().(*[256 << 10]byte)
	defer sinks.Put(sink)
	for n > 0 {
		got, err := k.in.Read(sink[:min(n, int64(len(sink)))])
		o.taken.Add(int64(got))
		if n -= int64(got); err != nil {
			return err
		}
	}
	return nil
}

func (o *rawWorker) answer(k *call) error {
	switch k.what {
	case "bytes":
		return o.bytes(k)
	case "chunks":
		return o.chunks(k)
	case "hold", "half":
		return o.hold(k)
	case "events":
		return o.events(k)
	}
	_, err := io.WriteString(k.conn, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
	return err
}

func (o *rawWorker) bytes(k *call) error {
	n, err := strconv.Atoi(k.argument)
	if err != nil {
		return err
	}
	out := net.Buffers{fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n", n)}
	for n > 0 {
		piece := min(n, len(o.body))
		out = append(out, o.body[:piece])
		n -= piece
	}
	_, err = out.WriteTo(k.conn)
	return err
}

func (o *rawWorker) chunks(k *call) error {
	n, err := strconv.Atoi(k.argument)
	if err != nil {
		return err
	}
	out := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
	for n > 0 {
		piece := min(n, 1000)
		out = fmt.Appendf(out, "%x\r\n%s\r\n", piece, o.body[:piece])
		n -= piece
	}
	_, err = k.conn.Write(append(out, "0\r\n\r\n"...))
	return err
}

// hold answers nothing, or not all, until the time is over or the connection ends.
func (o *rawWorker) hold(k *call) error {
	wait, err := time.ParseDuration(k.argument)
	if err != nil {
		return err
	}
	if k.what == "half" {
		if _, err := io.WriteString(k.conn, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nok\n"); err != nil {
			return err
		}
	}
	o.held.Add(1)
	defer o.held.Add(-1)
	k.conn.SetReadDeadline(time.Now().Add(wait))
	if _, err := k.in.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
		o.ended <- time.Now()
		return io.EOF
	}
	k.conn.SetReadDeadline(time.Time{})
	out := "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"
	if k.what == "half" {
		out = "ok\n"
	}
	_, err = io.WriteString(k.conn, out)
	return err
}

// clock is the time since the worker was made, in ns: of clients and worker, which
// are one process.
func (o *rawWorker) clock() int64 { return int64(time.Since(o.began)) }

// events sends one after the other, each written and so flushed by itself, until the
// connection ends. Streams do not keep step.
func (o *rawWorker) events(k *call) error {
	interval, err := time.ParseDuration(k.argument)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(k.conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"); err != nil {
		return err
	}
	time.Sleep(rand.N(interval))
	var event, out []byte
	for {
		event = fmt.Appendf(event[:0], "data: %d\n\n", o.clock())
		out = fmt.Appendf(out[:0], "%x\r\n%s\r\n", len(event), event)
		if _, err := k.conn.Write(out); err != nil {
			return err
		}
		time.Sleep(interval)
	}
}

// party is a client's connection.
type party struct {
	conn net.Conn
	in   *bufio.Reader
}

// dial connects, with TLS if secure says how.
func dial(t testing.TB, addr string, secure *tls.Config) *party {
	t.Helper()
	p, err := tryDial(addr, secure)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.conn.Close() })
	return p
}

func tryDial(addr string, secure *tls.Config) (*party, error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	if secure != nil {
		conn.SetDeadline(time.Now().Add(patience))
		over := tls.Client(conn, secure)
		if err := over.Handshake(); err != nil {
			conn.Close()
			return nil, err
		}
		conn.SetDeadline(time.Time{})
		conn = over
	}
	return &party{conn: conn, in: bufio.NewReaderSize(conn, 4<<10)}, nil
}

// ask sends a whole request and reads the answer to its end; it returns the bytes of its body.
func (p *party) ask(request []byte) (int64, error) {
	if _, err := p.conn.Write(request); err != nil {
		return 0, err
	}
	return p.hear()
}

func (p *party) hear() (int64, error) {
	resp, err := http.ReadResponse(p.in, nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return n, err
}

// sockets is clients that each keep a connection.
type sockets []*party

func gather(t testing.TB, k int, addr string, secure *tls.Config) sockets {
	t.Helper()
	var all sockets
	for range k {
		all = append(all, dial(t, addr, secure))
	}
	return all
}

// ask sends n requests, as many at once as there are clients, and checks the length
// of each answer.
func (all sockets) ask(t testing.TB, n int, request []byte, want int64) (took time.Duration) {
	t.Helper()
	began := time.Now()
	var left atomic.Int64
	left.Store(int64(n))
	var group sync.WaitGroup
	for _, p := range all {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				if got, err := p.ask(request); err != nil || got != want {
					t.Errorf("%.40q: %d bytes of %d, %v", request, got, want, err)
					return
				}
			}
		})
	}
	group.Wait()
	return time.Since(began)
}

// leave closes the connections.
func (all sockets) leave() {
	for _, p := range all {
		if p != nil {
			p.conn.Close()
		}
	}
}

// request is one as a browser sends it.
func request(method, path string, body []byte, fields ...string) []byte {
	b := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\nAccept: */*\r\nCookie: JSESSIONID=6F1A0C5E2B.w1\r\n", method, path)
	for _, f := range fields {
		b = append(append(b, f...), "\r\n"...)
	}
	return append(append(b, "\r\n"...), body...)
}
