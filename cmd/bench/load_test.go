//go:build linux

package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// listen is a listener on loopback, closed at the end; done waits for its server.
func listen(t *testing.T, serve func(net.Listener)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() { serve(l) })
	t.Cleanup(func() {
		l.Close()
		group.Wait()
	})
	return l.Addr().String()
}

// origins is one worker, plain and with TLS, and one that speaks HTTP/2.
func origins(t *testing.T) (plain, secure, h2 string, cert certificate) {
	t.Helper()
	cert, err := newCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(cert.cert, cert.key)
	if err != nil {
		t.Fatal(err)
	}
	plain = listen(t, func(l net.Listener) { serveWorker(l, newSite("w1", 0)) })
	conf := &tls.Config{Certificates: []tls.Certificate{pair}}
	secure = listen(t, func(l net.Listener) { serveWorker(tls.NewListener(l, conf), newSite("w1", 0)) })
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(wantBody(r.URL.Path)) })}
	t.Cleanup(func() { server.Close() })
	h2 = listen(t, func(l net.Listener) { server.ServeTLS(l, cert.cert, cert.key) })
	return plain, secure, h2, cert
}

// Every kind of load against workers themselves: all answers are right.
func TestLoads(t *testing.T) {
	plain, secure, h2, cert := origins(t)
	for name, j := range map[string]Job{
		"keep-alive": {Kind: "http", Path: pathKB},
		"100 KB":     {Kind: "http", Path: path100KB},
		"upload":     {Kind: "http", Method: "POST", Path: pathSink, Body: postBody},
		"connect":    {Kind: "http", Path: pathKB, NewConn: true},
		"idle too":   {Kind: "http", Path: pathKB, Idle: 100},
		"rate":       {Kind: "http", Path: pathKB, Rate: 500, Slow: "w1"},
		"websocket":  {Kind: "websocket"},
		"TLS":        {Kind: "tls", Path: pathKB, Address: secure},
		"handshakes": {Kind: "tls", Path: pathKB, Address: secure, NewConn: true},
		"HTTP/2":     {Kind: "h2", Path: pathKB, Address: h2, Streams: 2},
	} {
		t.Run(name, func(t *testing.T) {
			j.PID, j.Clients, j.CA, j.Cookies = os.Getpid(), 4, cert.der, []string{"JSESSIONID=1.w1"}
			j.Warm, j.Measure = 20*time.Millisecond, 200*time.Millisecond
			if j.Address == "" {
				j.Address = plain
			}
			if j.Method == "" {
				j.Method = http.MethodGet
			}
			r := loadOf(t, &j)
			if r.Err != "" || r.Requests == 0 || r.Total < r.Requests || r.Seconds < 0.2 || r.RSS == 0 {
				t.Fatalf("%+v", r)
			}
			if j.Rate > 0 && (r.All.P50 <= 0 || r.All.P99 < r.All.P50 || r.Others.P99 != 0) {
				t.Errorf("latency %+v, of other workers %+v", r.All, r.Others)
			}
		})
	}
	for kind, address := range map[string]string{"idle": plain, "idletls": secure} {
		j := Job{Kind: kind, Address: address, PID: os.Getpid(), Method: http.MethodGet, Path: pathKB, CA: cert.der,
			Clients: 4, Idle: 20, Hold: 10 * time.Millisecond}
		if r := loadOf(t, &j); r.Err != "" || r.Requests != 20 || r.Total != 40 || r.Before == 0 {
			t.Errorf("%s: %+v", kind, r)
		}
	}
}

// loadOf runs j as the child process does, on a thread of its own.
func loadOf(t *testing.T, j *Job) (r Result) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		var err error
		if r, err = j.run(); err != nil {
			r.Err = err.Error()
		}
	}()
	<-done
	return r
}

// A load that is answered wrong in any way has no figures.
func TestWrongAnswers(t *testing.T) {
	right := string(newSite("w1", 0).kb)
	late := 300 * time.Millisecond
	for name, c := range map[string]struct {
		answer string // to each request
		close  bool   // at once
		idle   bool   // closes while nothing is asked
		says   string
	}{
		"status":     {answer: strings.Replace(right, "200 OK", "502 Bad Gateway", 1), says: "answered"},
		"byte":       {answer: right[:len(right)-1] + "?", says: "wrong body"},
		"too much":   {answer: right + "?", says: "behind the answer"},
		"short":      {answer: right[:len(right)-5], close: true, says: "closed after 1019 bytes"},
		"nothing":    {answer: "", close: true, says: "closed after 0 bytes"},
		"silence":    {answer: right[:len(right)-5], says: "no answer"},
		"idle close": {answer: right, idle: true, says: "closed while it was idle"},
	} {
		t.Run(name, func(t *testing.T) {
			address := listen(t, func(l net.Listener) {
				var group sync.WaitGroup
				defer group.Wait()
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					group.Go(func() {
						defer conn.Close()
						b := make([]byte, 4096)
						for {
							if _, err := conn.Read(b); err != nil {
								return
							}
							io.WriteString(conn, c.answer)
							if c.close || c.idle {
								return
							}
						}
					})
				}
			})
			j := Job{Kind: "http", Address: address, PID: os.Getpid(), Method: http.MethodGet, Path: pathKB,
				Clients: 1, Measure: late, Patience: late}
			if c.idle {
				j.Rate = 2 // so that the connection waits for its next turn
			}
			if r := loadOf(t, &j); !strings.Contains(r.Err, c.says) {
				t.Errorf("%q, not %q", r.Err, c.says)
			}
		})
	}
}

func TestWrongUpload(t *testing.T) {
	address := listen(t, func(l net.Listener) { serveWorker(l, newSite("w1", 0)) })
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := pattern(postBody)
	body[postBody-1]++
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s", pathSink, postBody, body)
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if b, err := io.ReadAll(conn); err == nil && len(b) > 0 {
		t.Errorf("a wrong upload was answered %q", b)
	}
}
