package client

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A balancer on a real socket. answer gets each request as "STATUS / JVMRoute=..."
// and returns the bytes to send; "" closes the connection instead, thenClose behind them.
type balancer struct {
	address string
	mu      sync.Mutex
	got     []string
}

const thenClose = "\x00"

const okReply = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

func bodyReply(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func errorReply(kind string) string {
	return "HTTP/1.1 500 Internal Server Error\r\nType: " + kind + "\r\nMess: " + kind + ": x\r\nContent-Length: 0\r\n\r\n"
}

func allOK(string) string { return okReply }

func startBalancer(t *testing.T, secure *tls.Config, answer func(request string) string) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{address: l.Addr().String()}
	if secure != nil {
		l = tls.NewListener(l, secure)
	}
	var open sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			open.Go(func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for {
					text, err := readRequest(r)
					if err != nil {
						return
					}
					line, body, _ := strings.Cut(text, "\r\n")
					_, body, _ = strings.Cut(body, "\r\n\r\n")
					request := strings.TrimSpace(strings.TrimSuffix(line, " HTTP/1.1") + " " + body)
					b.mu.Lock()
					b.got = append(b.got, request)
					b.mu.Unlock()
					reply := answer(request)
					if reply == "" {
						return
					}
					reply, last := strings.CutSuffix(reply, thenClose)
					if _, err := c.Write([]byte(reply)); err != nil || last {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		open.Wait()
	})
	return b
}

// take returns and forgets the requests so far.
func (b *balancer) take() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	got := b.got
	b.got = nil
	return got
}

func (b *balancer) expect(t *testing.T, want ...string) {
	t.Helper()
	got := b.take()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("balancer got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func newWorker(t *testing.T, change func(*Config), balancers ...*balancer) *Client {
	t.Helper()
	c := Config{
		Node:  Node{Route: "w1", Host: "10.0.0.1", Port: 8080},
		Hosts: []Host{{Name: "localhost", Contexts: []Context{{Path: "/shop"}}}},
	}
	for _, b := range balancers {
		c.Proxies = append(c.Proxies, Proxy{Address: b.address})
	}
	if change != nil {
		change(&c)
	}
	w, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func (c *Client) expectStates(t *testing.T, want ...State) {
	t.Helper()
	for i, s := range c.States() {
		if s.State != want[i] {
			t.Errorf("balancer %d is %s, want %s", i, s.State, want[i])
		}
	}
}

const (
	configW1 = "CONFIG / JVMRoute=w1&Host=10.0.0.1&Port=8080&StickySessionForce=No&Type=http"
	enableW1 = "ENABLE-APP / JVMRoute=w1&Alias=localhost&Context=%2Fshop"
	statusW1 = "STATUS / JVMRoute=w1&Load=100"
)

func TestRegisterAndDeploy(t *testing.T) {
	b := startBalancer(t, nil, allOK)
	w := newWorker(t, nil, b)
	ctx := t.Context()
	if err := w.Deploy(ctx, "localhost", "/early"); err != nil {
		t.Fatal(err)
	}
	b.expect(t) // ERROR: nothing is sent
	w.expectStates(t, Error)
	if err := w.Cycle(ctx); err != nil {
		t.Fatal(err)
	}
	early := strings.Replace(enableW1, "shop", "early", 1)
	b.expect(t, "INFO /", configW1, enableW1, early, statusW1)
	w.expectStates(t, OK)
	if err := w.Deploy(ctx, "", ""); err != nil {
		t.Fatal(err)
	}
	b.expect(t, "ENABLE-APP / JVMRoute=w1&Alias=localhost&Context=%2F")
	if err := w.Deploy(ctx, "elsewhere", "/x"); err == nil {
		t.Error("deployed on an unknown host")
	}
	if err := w.Undeploy(ctx, "", "/nope"); err == nil {
		t.Error("undeployed an unknown context")
	}
	if answers, err := w.Version(ctx); err != nil || len(answers) != 1 || !answers[0].Sent {
		t.Errorf("VERSION: %+v, %v", answers, err)
	}
	b.expect(t, "VERSION /")
}

func TestRegisterDisabled(t *testing.T) {
	b := startBalancer(t, nil, allOK)
	w := newWorker(t, func(c *Config) { c.RegisterDisabled = true }, b)
	w.Cycle(t.Context())
	b.expect(t, "INFO /", configW1, strings.Replace(enableW1, "ENABLE", "DISABLE", 1), statusW1)
	w.Deploy(t.Context(), "", "/x")
	b.expect(t, "DISABLE-APP / JVMRoute=w1&Alias=localhost&Context=%2Fx")
	w.Enable(t.Context())
	w.Deploy(t.Context(), "", "/y") // enabled from now on
	b.expect(t, "ENABLE-APP /* JVMRoute=w1", "ENABLE-APP / JVMRoute=w1&Alias=localhost&Context=%2Fy")
}

func TestErrorsAreTold(t *testing.T) {
	var syntax atomic.Bool
	b := startBalancer(t, nil, func(request string) string {
		switch {
		case syntax.Load():
			return errorReply("SYNTAX")
		case request == statusW1:
			return errorReply("MEM")
		default:
			return okReply
		}
	})
	w := newWorker(t, nil, b)
	var refused *ReplyError
	err := w.Cycle(t.Context())
	if !errors.As(err, &refused) || refused.Status != 500 || refused.Type != "MEM" || refused.Mess != "MEM: x" || refused.Message != statusW1 {
		t.Fatalf("got %v, want the MEM answer to STATUS", err)
	}
	w.expectStates(t, Error)
	b.take()
	syntax.Store(true)
	if err := w.Cycle(t.Context()); !errors.As(err, &refused) || refused.Message != "INFO /" {
		t.Fatalf("got %v, want the SYNTAX answer to INFO", err)
	}
	w.expectStates(t, Down)
	b.expect(t, "INFO /")
	if err := w.Cycle(t.Context()); err != nil {
		t.Errorf("DOWN: nothing is sent, yet %v", err)
	}
	w.Refresh()
	w.expectStates(t, Down)
	w.Reset()
	w.expectStates(t, Error)
	b.expect(t)
}

// An unreadable INFO ends the period for the balancers behind it too.
func TestBadInfoEndsThePeriod(t *testing.T) {
	bad := startBalancer(t, nil, func(request string) string {
		if request == "INFO /" {
			return bodyReply("Vhost: [1:1:0], Alias: localhost\n")
		}
		return okReply
	})
	good := startBalancer(t, nil, allOK)
	w := newWorker(t, nil, bad, good)
	if err := w.Cycle(t.Context()); !errors.Is(err, errInfo) {
		t.Fatalf("got %v, want the unreadable INFO", err)
	}
	bad.expect(t, "INFO /")
	good.expect(t)
	w.expectStates(t, OK, Error)
	if err := w.Cycle(t.Context()); err != nil {
		t.Fatal(err)
	}
	bad.expect(t, statusW1)
	good.expect(t, "INFO /", configW1, enableW1, statusW1)
}

// A lost first line is asked for once more; a reply that breaks off later is not.
func TestRetry(t *testing.T) {
	drop := make(chan string, 4) // next replies to STATUS
	b := startBalancer(t, nil, func(request string) string {
		if !strings.HasPrefix(request, "STATUS") {
			return okReply
		}
		select {
		case reply := <-drop:
			return reply
		default:
			return okReply
		}
	})
	w := newWorker(t, nil, b)
	w.Cycle(t.Context())
	b.take()

	drop <- ""
	if err := w.Cycle(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.expect(t, statusW1, statusW1)

	drop <- ""
	drop <- ""
	if err := w.Cycle(t.Context()); err == nil {
		t.Fatal("dropped twice, yet no error")
	}
	b.expect(t, statusW1, statusW1)
	w.expectStates(t, Error)

	w.Cycle(t.Context())
	b.take()
	drop <- "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + thenClose
	if err := w.Cycle(t.Context()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("got %v, want an unexpected end", err)
	}
	b.expect(t, statusW1)
	w.expectStates(t, Error)
}

// A silent balancer costs two time-outs, then it is in ERROR; States does not wait.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		w := newWorker(t, func(c *Config) {
			c.Dial = func(context.Context, string, string) (net.Conn, error) {
				worker, silent := halfPipes()
				go io.Copy(io.Discard, silent)
				return worker, nil
			}
		}, &balancer{address: "lb1:6666"})
		var cycle sync.WaitGroup
		cycle.Go(func() {
			var timeout net.Error
			if err := w.Cycle(t.Context()); !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("got %v, want a time-out", err)
			}
		})
		synctest.Wait()
		w.expectStates(t, Error)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.Deploy(ctx, "", "/x"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for the turn: %v", err)
		}
		if waited := time.Since(begin); waited != time.Second {
			t.Errorf("waited %v for the turn, want 1s", waited)
		}
		cycle.Wait()
		if took := time.Since(begin); took != 40*time.Second {
			t.Errorf("the period took %v, want twice 20s", took)
		}
	})
}

// The end of a context ends an exchange at once and is not followed by a second try.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	b := startBalancer(t, nil, func(string) string {
		cancel()
		<-release
		return ""
	})
	w := newWorker(t, nil, b)
	if err := w.Cycle(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the context", err)
	}
	close(release)
	b.expect(t, "INFO /")
	w.expectStates(t, Error)
}

func TestRunUntilShutdown(t *testing.T) {
	b := startBalancer(t, nil, func(request string) string {
		if strings.HasPrefix(request, "STOP-APP") {
			return bodyReply("Type=STOP-APP-RSP&JvmRoute=w1&Alias=localhost&Context=/shop&Requests=0\n")
		}
		return okReply
	})
	w := newWorker(t, func(c *Config) { c.StatusPeriod = time.Hour }, b)
	done := make(chan error, 1)
	go func() { done <- w.Run(t.Context()) }()
	waitFor(t, func() bool { return w.States()[0].State == OK })
	if err := w.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	got := b.take()
	want := []string{
		strings.Replace(enableW1, "ENABLE", "DISABLE", 1),
		strings.Replace(enableW1, "ENABLE", "STOP", 1),
		strings.Replace(enableW1, "ENABLE", "REMOVE", 1),
		"REMOVE-APP /* JVMRoute=w1",
	}
	if n := len(got); n < 4 || strings.Join(got[n-4:], "\n") != strings.Join(want, "\n") {
		t.Errorf("the end was %q, want %q", got, want)
	}
	if err := w.Cycle(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("Cycle after the end: %v", err)
	}
	if err := w.Deploy(t.Context(), "", "/x"); !errors.Is(err, ErrStopped) {
		t.Errorf("Deploy after the end: %v", err)
	}
}

func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatal("condition not met in 10 s")
		}
		time.Sleep(time.Millisecond)
	}
}

// A stop waits for the requests of its context; one that ends while STOP-APP is under
// way is not missed.
func TestStopWaitsForRequests(t *testing.T) {
	left := make(chan string, 3)
	left <- "2"
	left <- "1"
	left <- "0"
	var w *Client
	b := startBalancer(t, nil, func(request string) string {
		if !strings.HasPrefix(request, "STOP-APP") {
			return okReply
		}
		n := <-left
		w.RequestFinished("/other")
		w.RequestFinished("/shop")
		return bodyReply("Type=STOP-APP-RSP&Requests=" + n + "\n")
	})
	w = newWorker(t, func(c *Config) { c.StopTimeout = -1 }, b) // no limit
	w.Cycle(t.Context())
	b.take()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if n, err := w.StopContext(ctx, "", "/shop"); n != 0 || err != nil {
		t.Fatalf("left %d, %v", n, err)
	}
	stop := strings.Replace(enableW1, "ENABLE", "STOP", 1)
	b.expect(t, strings.Replace(enableW1, "ENABLE", "DISABLE", 1), stop, stop, stop)
}

// Everything at once, from many goroutines: each message is whole, and at the end the
// balancer was told what the worker is.
func TestConcurrentUse(t *testing.T) {
	apps := make(map[string]bool)
	var mu sync.Mutex
	b := startBalancer(t, nil, func(request string) string {
		mu.Lock()
		defer mu.Unlock()
		words := strings.Fields(request)
		switch command := words[0]; command {
		case "ENABLE-APP":
			apps[words[2]] = true
		case "REMOVE-APP":
			delete(apps, words[2])
		}
		return okReply
	})
	w := newWorker(t, func(c *Config) {
		c.StatusPeriod = time.Millisecond
		c.Hosts[0].Contexts = nil
		c.Node.Host = "" // learned while others send
	}, b)
	ctx, cancel := context.WithCancel(t.Context())
	var run, users sync.WaitGroup
	run.Go(func() { w.Run(ctx) })
	waitFor(t, func() bool { return w.States()[0].State == OK })
	for i := range 8 {
		users.Go(func() {
			kept, gone := fmt.Sprintf("/kept%d", i), fmt.Sprintf("/gone%d", i)
			for range 5 {
				if err := errors.Join(
					w.Deploy(ctx, "", kept),
					w.Deploy(ctx, "", gone),
					w.Undeploy(ctx, "", gone),
				); err != nil {
					t.Error(err)
				}
				w.Ping(ctx)
				w.RequestFinished(gone)
				w.States()
			}
		})
	}
	users.Wait()
	cancel()
	run.Wait()
	mu.Lock()
	defer mu.Unlock()
	for i := range 8 {
		if key := fmt.Sprintf("JVMRoute=w1&Alias=localhost&Context=%%2Fkept%d", i); !apps[key] {
			t.Errorf("%s is not enabled", key)
		}
	}
	if len(apps) != 8 {
		t.Errorf("%d contexts enabled, want 8: %v", len(apps), apps)
	}
	for _, request := range b.take() {
		if strings.HasPrefix(request, "CONFIG") && !strings.Contains(request, "Host=127.0.0.1&") {
			t.Errorf("%s: want the address of the connection", request)
		}
	}
}

func TestTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	b := startBalancer(t, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, allOK)
	w := newWorker(t, func(c *Config) {
		c.Proxies[0].TLS = &tls.Config{RootCAs: roots}
		c.Proxies[0].Prefix = "/secret"
	}, b)
	if err := w.Cycle(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.expect(t, "INFO /secret/", strings.Replace(configW1, "/", "/secret/", 1),
		strings.Replace(enableW1, "/", "/secret/", 1), strings.Replace(statusW1, "/", "/secret/", 1))

	stranger := newWorker(t, func(c *Config) { c.Proxies[0].TLS = &tls.Config{RootCAs: x509.NewCertPool()} }, b)
	var unknown x509.UnknownAuthorityError
	if err := stranger.Cycle(t.Context()); !errors.As(err, &unknown) {
		t.Errorf("got %v, want an unknown authority", err)
	}
	b.expect(t)
}

func TestAnswerOK(t *testing.T) {
	for body, want := range map[string]bool{
		"Type=PING-RSP&State=OK&id=1\n":    true,
		"Type=PING-RSP&State=NOTOK&id=1\n": false,
		"State=OK=x":                       false,
		"":                                 false,
	} {
		if got := (Answer{Body: body}).OK(); got != want {
			t.Errorf("%q: %v", body, got)
		}
	}
}
