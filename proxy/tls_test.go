package proxy

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/fsm"
)

// certificate makes a self-signed one for a name and an address.
func certificate(t testing.TB, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	if ip := net.ParseIP(name); ip != nil {
		template.DNSNames, template.IPAddresses = nil, []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// runTLS starts a Proxy with a TLS listener beside the plain one.
func runTLS(t *testing.T, change func(*Config)) (r *rig, address string, client *http.Client) {
	cert, pool := certificate(t, "127.0.0.1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r = run(t, func(c *Config) {
		c.Listeners = append(c.Listeners, Listener{Listener: l, TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
		c.MaxStreams = 10
		if change != nil {
			change(c)
		}
	})
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return r, l.Addr().String(), &http.Client{Transport: transport, Timeout: patience}
}

func TestHTTP2(t *testing.T) {
	r, addr, client := runTLS(t, nil)
	w := startWorker(t, nil)
	w.answer = func(c net.Conn, q *received) bool {
		text := q.body + "!"
		_, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n%x\r\n%s\r\n0\r\nX-Sum: 7\r\n\r\n", len(text), text)
		return err == nil
	}
	r.register("w1", w)
	for _, body := range []string{"", "hello", strings.Repeat("x", 300_000)} {
		req, _ := http.NewRequest("POST", "https://"+addr+"/a;x=1/%2520?q", strings.NewReader(body))
		req.Header.Set("Cookie", "JSESSIONID=x.w1")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.ProtoMajor != 2 || string(got) != body+"!" || resp.Trailer.Get("X-Sum") != "7" || resp.Header.Get("X-Hop") != "" {
			t.Errorf("%s %d bytes, %v, trailers %v", resp.Proto, len(got), err, resp.Trailer)
		}
	}
	q := w.requests()[1]
	if q.line != "POST /a;x=1/%2520?q HTTP/1.1" || q.value("Host") != addr || q.value("X-Forwarded-Proto") != "https" || q.value("Content-Length") != "5" {
		t.Errorf("%s\n%s", q.line, q.head)
	}
	if resp, err := client.Get("https://" + addr + "/a/../x"); err != nil || resp.StatusCode != 400 {
		t.Errorf("dots: %v %v", resp, err)
	} else {
		resp.Body.Close()
	}
	// A stop tells the client to go, and answers what is under way.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.Drain(ctx); err != nil {
		t.Error(err)
	}
	if n := r.Stats().ClientConnections; n != 0 {
		t.Errorf("%d connections left", n)
	}
}

// A client that resets its stream ends what its worker does.
func TestHTTP2ClientLeaves(t *testing.T) {
	r, addr, client := runTLS(t, nil)
	arrived, closed := make(chan bool), make(chan bool)
	w := startWorker(t, func(c net.Conn, q *received) bool {
		close(arrived)
		q.r.ReadByte()
		close(closed)
		return false
	})
	r.register("w1", w)
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "GET", "https://"+addr+"/", nil)
	go func() {
		<-arrived
		cancel()
	}()
	if resp, err := client.Do(req); err == nil {
		resp.Body.Close()
		t.Error("answered")
	}
	wait(t, closed, "the worker's connection is closed")
}

// An answer that breaks off is a reset stream; the connection lives on.
func TestHTTP2AnswerBreaksOff(t *testing.T) {
	r, addr, client := runTLS(t, nil)
	w := startWorker(t, func(c net.Conn, q *received) bool {
		if q.target() == "/half" {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
			return false
		}
		return named("w1")(c, q)
	})
	r.register("w1", w)
	resp, err := client.Get("https://" + addr + "/half")
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("half an answer looks whole")
	}
	resp, err = client.Get("https://" + addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if n := r.Stats().ClientConnections; n != 1 {
		t.Errorf("%d connections", n)
	}
}

// How an https worker proves who it is.
func TestTLSWorkers(t *testing.T) {
	ours, pool := certificate(t, "127.0.0.1")
	named1, pool1 := certificate(t, "app.example")
	_, strangers := certificate(t, "127.0.0.1")
	clientCert, clients := certificate(t, "quorate")
	for _, c := range []struct {
		name    string
		cert    tls.Certificate
		conf    UpstreamTLS
		problem string
	}{
		{"full", ours, UpstreamTLS{RootCAs: pool}, ""},
		{"unknown authority", ours, UpstreamTLS{RootCAs: strangers}, "certificate not trusted: set upstream.tls.ca_file"},
		{"system's authorities", ours, UpstreamTLS{}, "certificate not trusted: set upstream.tls.ca_file"},
		{"another name", named1, UpstreamTLS{RootCAs: pool1}, "certificate not trusted: set upstream.tls.server_name"},
		{"server_name", named1, UpstreamTLS{RootCAs: pool1, ServerName: "app.example"}, ""},
		{"ca, any name", named1, UpstreamTLS{RootCAs: pool1, Verify: "ca"}, ""},
		{"ca, unknown", named1, UpstreamTLS{RootCAs: pool, Verify: "ca"}, "certificate not trusted: set upstream.tls.ca_file"},
		{"none", named1, UpstreamTLS{Verify: "none"}, ""},
		{"too old", ours, UpstreamTLS{RootCAs: pool, MinVersion: tls.VersionTLS13}, "protocol version"},
		{"client certificate", ours, UpstreamTLS{RootCAs: pool, Certificates: []tls.Certificate{clientCert}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := run(t, func(conf *Config) {
				conf.Upstream.TLS = c.conf
				conf.Upstream.Health = Health{Interval: time.Hour}
			})
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			conf := &tls.Config{Certificates: []tls.Certificate{c.cert}}
			if c.name == "too old" {
				conf.MaxVersion = tls.VersionTLS12
			}
			if c.name == "client certificate" {
				conf.ClientAuth, conf.ClientCAs = tls.RequireAndVerifyClientCert, clients
			}
			w := startWorkerOn(t, tls.NewListener(l, conf), named("w1"))
			r.register("w1", w, func(n *fsm.NodeConfig) { n.Type = "https" })
			a := r.get("/")
			err = r.Check(t.Context(), "w1")
			if c.problem == "" {
				a.want(t, 200, "w1")
				if err != nil {
					t.Error(err)
				}
				return
			}
			a.want(t, 503, sayNoWorker)
			if err == nil || !strings.Contains(err.Error(), c.problem) {
				t.Errorf("%v, want %q", err, c.problem)
			}
			if ok, why := r.Reachable("w1"); ok || !strings.Contains(why.Error(), c.problem) || strings.HasPrefix(c.problem, "certificate") != strings.HasPrefix(why.Error(), "certificate") {
				t.Errorf("reachable: %v %v", ok, why)
			}
		})
	}
}

// h2 requests that HTTP/1 could not carry (http-notes.md §11), frame by frame.
func TestHTTP2Refuses(t *testing.T) {
	r, addr, client := runTLS(t, nil)
	w := startWorker(t, named("w1"))
	r.register("w1", w)
	for name, change := range map[string]func(*http.Request){
		"host with a user":     func(q *http.Request) { q.Host = "u@localhost" },
		"host with a slash":    func(q *http.Request) { q.Host = "localhost/x" },
		"path with a backward": func(q *http.Request) { q.URL.Opaque = "/a\\b" },
		"path with a number":   func(q *http.Request) { q.URL.Opaque = "/a#b" },
		"path with an umlaut":  func(q *http.Request) { q.URL.Opaque = "/\xc3\xa4" },
	} {
		req, _ := http.NewRequest("GET", "https://"+addr+"/", nil)
		change(req)
		resp, err := client.Do(req)
		if err != nil {
			continue // package http would not even send it
		}
		resp.Body.Close()
		if resp.StatusCode != 400 {
			t.Errorf("%s: %s", name, resp.Status)
		}
	}
	if n := len(w.requests()); n != 0 {
		t.Errorf("%d reached the worker", n)
	}
}

// The times of a client are not those of its worker: a pause that the worker makes,
// in either direction, is none of the client's.
func TestHTTP2WorkerPauses(t *testing.T) {
	const limit, size = 250 * time.Millisecond, 20 << 20 // more than the buffers on the way take
	pause := func() { time.Sleep(limit * 3 / 2) }
	r, addr, client := runTLS(t, func(c *Config) { c.Timeouts.Write, c.Timeouts.Body = limit, limit })
	w := startWorker(t, nil)
	w.early = true
	w.answer = func(c net.Conn, q *received) bool {
		pause()
		if !q.readBody() {
			return false
		}
		io.WriteString(c, "HTTP/1.1 103 Early Hints\r\n\r\n")
		pause()
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
		pause()
		_, err := io.WriteString(c, "5\r\n done\r\n0\r\n\r\n")
		return err == nil
	}
	r.register("w1", w)
	req, _ := http.NewRequest("POST", "https://"+addr+"/", bytes.NewReader(make([]byte, size)))
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 200 || string(b) != "half done" || err != nil {
		t.Errorf("%s %q %v", resp.Status, b, err)
	}
	if n := len(w.requests()[0].body); n != size {
		t.Errorf("%d bytes arrived", n)
	}
}
