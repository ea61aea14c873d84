//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// running is one proxy that takes requests.
type running struct {
	peer    *peer
	process *process
	setup   setup
	cookies []string // one for each worker, as this proxy wants them
	end     context.CancelFunc
	ended   sync.WaitGroup
	failed  error // of the registrar; read after ended
	asked   int   // requests it must have logged
}

// start starts p, and returns when it serves all workers and was seen to do what
// every peer has to.
func (b *bench) start(ctx context.Context, p *peer, s setup, cpus string) (_ *running, err error) {
	s.Dir = filepath.Join(b.dir, p.name+".run")
	if err := os.RemoveAll(s.Dir); err != nil {
		return nil, err
	}
	if err := os.Mkdir(s.Dir, 0o755); err != nil {
		return nil, err
	}
	if b.user != nil {
		if err := os.Chown(s.Dir, int(b.user.Uid), int(b.user.Gid)); err != nil {
			return nil, err
		}
	}
	ports, err := freePorts(4)
	if err != nil {
		return nil, err
	}
	s.Port, s.PortTLS, s.PortMCMP, s.PortAdmin = ports[0], ports[1], ports[2], ports[3]
	s.Register = p.register
	if err := p.write(&s); err != nil {
		return nil, fmt.Errorf("%s: configuration: %w", p.name, err)
	}
	var env []string
	if cpus != "" {
		env = append(env, "GOMAXPROCS=1")
	}
	r := &running{peer: p, setup: s}
	r.process, err = startProcess(p.name, s.Dir, b.user, env, onCPUs(cpus, append([]string{b.programs[p.name]}, p.args(&s)...)...))
	if err != nil {
		return nil, err
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.end = cancel
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w\n%s", p.name, err, r.process.said())
			r.stop()
		}
	}()
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	if err := r.await(ctx, s.Port); err != nil {
		return nil, err
	}
	if p.register {
		if err := r.await(ctx, s.PortMCMP); err != nil {
			return nil, err
		}
		kind := "http"
		if s.Packet > 0 {
			kind = "ajp"
		}
		// A balancer that has just started may refuse; workers come again.
		reg, err := register(ctx, address(s.PortMCMP), kind, s.Groups)
		for err != nil {
			if sleep(ctx, 200*time.Millisecond) != nil {
				return nil, err
			}
			reg, err = register(ctx, address(s.PortMCMP), kind, s.Groups)
		}
		r.ended.Go(func() { r.failed = reg.run(background, s.Groups) })
	}
	return r, r.check(ctx)
}

// await waits until somebody accepts on port.
func (r *running) await(ctx context.Context, port int) error {
	for {
		c, err := net.DialTimeout("tcp", address(port), time.Second)
		if err == nil {
			return c.Close()
		}
		select {
		case <-r.process.gone:
			return errors.New("it ended")
		default:
		}
		if sleep(ctx, 20*time.Millisecond) != nil {
			return fmt.Errorf("nobody listens on %s: %w", address(port), err)
		}
	}
}

// stop ends the proxy and tells what is wrong with what it leaves.
func (r *running) stop() error {
	r.end()
	r.ended.Wait()
	r.process.stop()
	if r.failed != nil {
		return fmt.Errorf("%s: %w", r.peer.name, r.failed)
	}
	if r.peer.bare || r.asked == 0 {
		return nil
	}
	name := r.setup.Dir + "/access.log"
	if r.peer.name == "haproxy" {
		name = r.process.log
	}
	lines, err := countLines(name)
	if err != nil {
		return fmt.Errorf("%s: access log: %w", r.peer.name, err)
	}
	if lines < r.asked {
		return fmt.Errorf("%s: %d lines in the access log after %d requests", r.peer.name, lines, r.asked)
	}
	return nil
}

func countLines(name string) (n int, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b := make([]byte, 1<<20)
	for {
		k, err := f.Read(b)
		n += bytes.Count(b[:k], []byte("\n"))
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// check sees that the proxy answers right, runs as an ordinary user, tells workers the
// client's address, and keeps a session at its worker. It gathers one session of each
// worker.
func (r *running) check(ctx context.Context) error {
	for {
		_, body, err := get(ctx, r.setup.Port, pathKB, "")
		if err == nil && bytes.Equal(body, wantBody(pathKB)) {
			break
		}
		if sleep(ctx, 50*time.Millisecond) != nil {
			return fmt.Errorf("no right answer to a GET: %v %q", err, cut(body))
		}
	}
	if os.Geteuid() == 0 {
		if err := checkUsers(r.process.pid()); err != nil {
			return err
		}
	}
	_, head, err := get(ctx, r.setup.Port, pathHead, "")
	if err != nil {
		return err
	}
	line := "x-forwarded-for"
	if r.setup.Packet > 0 {
		line = ajpClient
	}
	if n := strings.Count(strings.ToLower(string(head)), "\r\n"+line+": 127.0.0.1\r\n"); n != 1 {
		return fmt.Errorf("%d times %s: %q", n, line, head)
	}
	if r.peer.bare {
		return nil
	}
	sessions := make(map[string]string)
	for range 400 {
		resp, name, err := get(ctx, r.setup.Port, pathLogin, "")
		if err != nil {
			return err
		}
		var pairs []string
		for _, c := range resp.Cookies() {
			pairs = append(pairs, c.Name+"="+c.Value)
		}
		sessions[string(name)] = strings.Join(pairs, "; ")
		if len(sessions) == len(r.setup.Groups[0].Workers) {
			break
		}
	}
	if len(sessions) < len(r.setup.Groups[0].Workers) {
		return fmt.Errorf("400 new sessions went to %d workers only", len(sessions))
	}
	for name, cookie := range sessions {
		r.cookies = append(r.cookies, cookie)
		for range 5 {
			resp, _, err := get(ctx, r.setup.Port, pathKB, cookie)
			if err != nil {
				return err
			}
			if got := resp.Header.Get("X-Worker"); got != name {
				return fmt.Errorf("a session of %s went to %s, cookie %s", name, got, cookie)
			}
		}
	}
	slices.Sort(r.cookies)
	return nil
}

// get is one request on a connection of its own, answered 200.
func get(ctx context.Context, port int, path, cookie string) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address(port)+path, nil)
	if err != nil {
		return nil, nil, err
	}
	req.Host, req.Close = "localhost", true
	if cookie != "" {
		req.Header.Set("Cookie", cookie)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: answered %s %q", path, resp.Status, cut(body))
	}
	return resp, body, err
}

// checkResumption sees that a second connection resumes the session of the first.
func (r *running) checkResumption(ctx context.Context, ca []byte) error {
	conf := clientTLS(ca, "http/1.1")
	conf.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	job := Job{Method: "GET", Path: pathKB, NewConn: true}
	for n := range 2 {
		conn, err := dialTLS(ctx, address(r.setup.PortTLS), 0, conf)
		if err != nil {
			return fmt.Errorf("%s: %w", r.peer.name, err)
		}
		var a answer
		a.reset(wantBody(pathKB))
		err = exchange(conn, job.request(1), &a, make([]byte, 4096))
		resumed := conn.ConnectionState().DidResume
		conn.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", r.peer.name, err)
		}
		if n == 1 && !resumed {
			return fmt.Errorf("%s: a TLS session was not resumed", r.peer.name)
		}
	}
	return nil
}

func address(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// freePorts are n ports nobody uses now.
func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
