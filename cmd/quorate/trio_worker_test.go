package main

// The worker's side of the harness: a web server and mcmp/client.
//
//	w := c.worker("w1", "/shop", "/api")     runs, registered with all replicas, used by all that run
//	w := newWorker(t, workerConfig{...})     serves; registers by w.cycle() or w.run()
//	w.cycle()                                one status period, now
//	w.kill()                                 as a killed process: listener closed, connections reset
//	w.load, w.served                         what it tells; how many requests it has answered
//
// A request's query says what it does: nothing (its name), ?do=slow&for=200ms,
// ?do=stream&for=1s (half of the answer at once, half later), ?do=status&code=500,
// ?do=cut (half of the answer, then the end of the connection), ?do=garbage.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate/mcmp/client"
)

type workerConfig struct {
	Name      string
	Contexts  []string
	Balancers []string      // MCMP addresses
	Period    time.Duration // of run; default 1 s
}

// worker is an application server, as far as a balancer can tell.
type worker struct {
	t      testing.TB
	name   string
	port   int
	apps   []string
	mcmp   *client.Client
	load   atomic.Int64 // told once a period; 100 at first
	served atomic.Int64 // answers given by applications

	server *http.Server
	stop   context.CancelFunc // of run
	group  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// worker starts one that is registered with all replicas, and waits until those
// that run use it.
func (c *trio) worker(name string, contexts ...string) *worker {
	c.t.Helper()
	conf := workerConfig{Name: name, Contexts: contexts}
	for _, r := range c.replicas {
		conf.Balancers = append(conf.Balancers, r.mcmp)
	}
	w := newWorker(c.t, conf)
	w.run()
	c.waitUp(name)
	return w
}

// waitUp returns when all running replicas send new sessions to these workers.
func (c *trio) waitUp(names ...string) {
	c.t.Helper()
	for i, r := range c.replicas {
		if !r.running() {
			continue
		}
		for _, name := range names {
			waitFor(c.t, patience, r.name+" to use "+name, func() error {
				w := c.workerAt(i, name)
				if w == nil {
					return errors.New("unknown")
				}
				if w.Status != "up" {
					return fmt.Errorf("%s: %s", w.Status, w.Why)
				}
				return nil
			})
		}
	}
}

// newWorker serves, and has told nobody yet.
func newWorker(t testing.TB, conf workerConfig) *worker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{t: t, name: conf.Name, port: l.Addr().(*net.TCPAddr).Port, apps: conf.Contexts, conns: map[net.Conn]bool{}}
	w.load.Store(100)
	mc := client.Config{
		Node:         client.Node{Route: w.name, Host: "127.0.0.1", Port: w.port, Type: "http"},
		Load:         func() int { return int(w.load.Load()) },
		StatusPeriod: conf.Period,
		Log:          slog.New(slog.DiscardHandler),
	}
	if mc.StatusPeriod == 0 {
		mc.StatusPeriod = time.Second
	}
	for _, b := range conf.Balancers {
		mc.Proxies = append(mc.Proxies, client.Proxy{Address: b})
	}
	host := client.Host{Name: "localhost"}
	for _, p := range conf.Contexts {
		host.Contexts = append(host.Contexts, client.Context{Path: p})
	}
	mc.Hosts = []client.Host{host}
	if w.mcmp, err = client.New(mc); err != nil {
		t.Fatal(err)
	}
	w.server = &http.Server{Handler: w, ConnState: w.track, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	w.group.Go(func() { w.server.Serve(l) })
	t.Cleanup(w.kill)
	return w
}

// run tells the balancers all it does, until kill or the end of the test.
func (w *worker) run() {
	var ctx context.Context
	ctx, w.stop = context.WithCancel(context.Background())
	w.group.Go(func() { w.mcmp.Run(ctx) })
}

// cycle is one status period of a worker that does not run.
func (w *worker) cycle() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return w.mcmp.Cycle(ctx)
}

func (w *worker) track(c net.Conn, s http.ConnState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch s {
	case http.StateNew:
		w.conns[c] = true
	case http.StateClosed:
		delete(w.conns, c)
	}
}

// kill ends it without a word, as the kernel ends a killed process: new
// connections are refused, open ones reset. Twice is once.
func (w *worker) kill() {
	w.mu.Lock()
	for c := range w.conns {
		c.(*net.TCPConn).SetLinger(0)
	}
	w.mu.Unlock()
	w.server.Close()
	if w.stop != nil {
		w.stop()
	}
	w.group.Wait()
	w.mcmp.Close()
}

// app is the context that a path belongs to.
func (w *worker) app(path string) string {
	best := ""
	for _, a := range w.apps {
		if len(a) > len(best) && (a == "/" || path == a || strings.HasPrefix(path, a+"/")) {
			best = a
		}
	}
	return best
}

func (w *worker) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if r.RequestURI == "*" {
		return
	}
	app := w.app(r.URL.Path)
	if app != "" {
		defer w.mcmp.RequestFinished(app)
	}
	w.served.Add(1)
	h := rw.Header()
	h.Set("X-Worker", w.name)
	if _, err := r.Cookie("JSESSIONID"); err != nil {
		h.Set("Set-Cookie", "JSESSIONID="+strconv.FormatInt(w.served.Load(), 16)+"F00D."+w.name+"; Path="+app)
	}
	q := r.URL.Query()
	wait, _ := time.ParseDuration(q.Get("for"))
	text := fmt.Sprintf("%s %s\n", w.name, r.URL.Path)
	switch q.Get("do") {
	case "slow":
		select {
		case <-time.After(wait):
		case <-r.Context().Done():
			return
		}
	case "stream":
		h.Set("Content-Length", strconv.Itoa(2*len(text)))
		rw.Write([]byte(text))
		rw.(http.Flusher).Flush()
		select {
		case <-time.After(wait):
		case <-r.Context().Done():
			return
		}
	case "status":
		code, err := strconv.Atoi(q.Get("code"))
		if err != nil {
			code = http.StatusInternalServerError
		}
		rw.WriteHeader(code)
	case "cut":
		h.Set("Content-Length", strconv.Itoa(2*len(text)))
		rw.Write([]byte(text))
		rw.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	case "garbage":
		conn, _, err := rw.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		conn.Write([]byte("no HTTP at all\r\n\r\n"))
		conn.Close()
		return
	}
	rw.Write([]byte(text))
}
