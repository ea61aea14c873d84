package main

// The users' side of the harness: clients that each keep one connection to one
// address, as browsers and balancers in front do.
//
//	u := startUsers(t, usersConfig{Targets: ..., Rate: 300, Path: "/shop/"})
//	...
//	got := u.end()                 got.requests, got.failed, got.cut, got.slowest, ...
//	status, worker, err := get(addr, path, cookie)    one request on its own connection

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

type usersConfig struct {
	Targets []string // user k begins with target k modulo their number
	Users   int      // default 20
	Rate    float64  // requests per second, of all together
	Path    string   // of user k's n-th request, if Paths is nil
	Paths   func(user, n int) string
	Session bool // a user keeps the session that it was given
	Fresh   bool // each request has a connection of its own

	// Move lets a user go to the next address when an answer said Connection: close
	// or a connection is refused, as what stands in front of replicas does. A new
	// connection that is reset before anything was answered counts as refused: the
	// kernel does that to those it took and no process had accepted.
	Move bool

	// Cut: an answer that began and was not finished is expected, and counted by itself.
	Cut bool
}

// seen is what the users saw.
type seen struct {
	requests int
	failed   []string       // what was not answered below 500, and why
	cut      int            // answers that began and were not finished
	reset    int            // new connections reset before an answer, with Move
	again    int            // sent again because a kept connection was closed unasked (RFC 9112 §9.3.1)
	moves    int            // changes of the address
	workers  map[string]int // answers by worker
	switched int            // answers to a session by another worker than before
	slowest  time.Duration
}

func (y *seen) String() string {
	s := fmt.Sprintf("%d requests, %d failed, %d answers cut, %d sent again, slowest %s", y.requests, len(y.failed), y.cut, y.again, y.slowest.Round(time.Millisecond))
	if len(y.failed) > 0 {
		s += "; first failures: " + strings.Join(y.failed[:min(5, len(y.failed))], "; ")
	}
	return s
}

func (y *seen) add(o *seen) {
	y.requests += o.requests
	y.failed = append(y.failed, o.failed...)
	y.cut += o.cut
	y.again += o.again
	y.reset += o.reset
	y.moves += o.moves
	y.switched += o.switched
	y.slowest = max(y.slowest, o.slowest)
	for w, n := range o.workers {
		y.workers[w] += n
	}
}

type users struct {
	c     usersConfig
	begin time.Time
	stop  chan struct{}
	once  sync.Once
	group sync.WaitGroup

	mu  sync.Mutex
	sum seen
}

// startUsers sends requests until end, or the end of the test.
func startUsers(t testing.TB, c usersConfig) *users {
	if c.Users == 0 {
		c.Users = 20
	}
	u := &users{c: c, begin: time.Now(), stop: make(chan struct{}), sum: seen{workers: map[string]int{}}}
	for k := range c.Users {
		u.group.Go(func() { u.one(k) })
	}
	t.Cleanup(func() { u.end() })
	return u
}

// soFar is the number of requests that have ended.
func (u *users) soFar() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.sum.requests
}

// end lets what is in flight end and says what was seen.
func (u *users) end() *seen {
	u.once.Do(func() { close(u.stop) })
	u.group.Wait()
	return &u.sum
}

// visitor is one of them: a connection, and perhaps a session.
type visitor struct {
	c      *usersConfig
	target int
	conn   net.Conn
	read   *bufio.Reader
	cookie string
	worker string // of the session
}

func (u *users) one(k int) {
	me := &visitor{c: &u.c, target: k % len(u.c.Targets)}
	defer me.hangUp()
	for n := 0; ; n++ {
		at := u.begin.Add(time.Duration(float64(n*u.c.Users+k) / u.c.Rate * float64(time.Second)))
		timer := time.NewTimer(time.Until(at))
		select {
		case <-u.stop:
			timer.Stop()
			return
		case <-timer.C:
		}
		path := u.c.Path
		if u.c.Paths != nil {
			path = u.c.Paths(k, n)
		}
		got := &seen{requests: 1, workers: map[string]int{}}
		began := time.Now()
		if err := me.ask(path, got); err != nil {
			got.failed = append(got.failed, fmt.Sprintf("%s %s after %s: %v", u.c.Targets[me.target], path, time.Since(began).Round(time.Millisecond), err))
		}
		got.slowest = time.Since(began)
		u.mu.Lock()
		u.sum.add(got)
		u.mu.Unlock()
	}
}

func (me *visitor) hangUp() {
	if me.conn != nil {
		me.conn.Close()
		me.conn = nil
	}
}

// dial connects, when it may move to whichever address accepts.
func (me *visitor) dial(got *seen) error {
	for tries := 1; ; tries++ {
		conn, err := net.DialTimeout("tcp", me.c.Targets[me.target], 5*time.Second)
		if err == nil {
			me.adopt(conn)
			return nil
		}
		reset := errors.Is(err, syscall.ECONNRESET)
		if !me.c.Move || !reset && !errors.Is(err, syscall.ECONNREFUSED) || tries == 2*len(me.c.Targets) {
			return err
		}
		if reset {
			got.reset++
		}
		me.move(got)
	}
}

func (me *visitor) adopt(conn net.Conn) { me.conn, me.read = conn, bufio.NewReader(conn) }

func (me *visitor) move(got *seen) {
	me.target = (me.target + 1) % len(me.c.Targets)
	got.moves++
}

// ask is one request. An error is a failure.
func (me *visitor) ask(path string, got *seen) error {
	for {
		kept := me.conn != nil
		if !kept {
			if err := me.dial(got); err != nil {
				return err
			}
		}
		me.conn.SetDeadline(time.Now().Add(30 * time.Second))
		resp, body, begun, err := me.exchange(path)
		switch {
		case err == nil:
			return me.take(resp, body, got)
		case begun:
			me.hangUp()
			if me.c.Cut {
				got.cut++
				return nil
			}
			return fmt.Errorf("answer cut after %d bytes: %w", len(body), err)
		case kept && !isTimeout(err):
			me.hangUp() // it was closed between two requests
			got.again++
		case me.c.Move && got.reset < len(me.c.Targets) && !isTimeout(err):
			me.hangUp()
			got.reset++
			me.move(got)
		default:
			me.hangUp()
			return fmt.Errorf("no answer: %w", err)
		}
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// exchange sends one request and reads the answer; begun: some of it came.
func (me *visitor) exchange(path string) (resp *http.Response, body []byte, begun bool, err error) {
	head := "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n"
	if me.cookie != "" {
		head += "Cookie: JSESSIONID=" + me.cookie + "\r\n"
	}
	if _, err := io.WriteString(me.conn, head+"\r\n"); err != nil {
		return nil, nil, false, err
	}
	if _, err := me.read.Peek(1); err != nil {
		return nil, nil, false, err
	}
	if resp, err = http.ReadResponse(me.read, nil); err != nil {
		return nil, nil, true, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp, body, true, err
}

// take draws the conclusions of a whole answer.
func (me *visitor) take(resp *http.Response, body []byte, got *seen) error {
	if resp.Close || me.c.Fresh {
		me.hangUp()
	}
	if resp.Close && me.c.Move {
		me.move(got)
	}
	if resp.StatusCode >= 400 {
		return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	worker := resp.Header.Get("X-Worker")
	got.workers[worker]++
	if !me.c.Session {
		return nil
	}
	if me.cookie != "" && worker != me.worker {
		got.switched++
	}
	me.worker = worker
	for _, c := range resp.Cookies() {
		if c.Name == "JSESSIONID" {
			me.cookie = c.Value
		}
	}
	return nil
}

// get is one GET on its own connection; the worker is that of the header X-Worker.
func get(addr, path, cookie string) (status int, worker string, err error) {
	me := &visitor{c: &usersConfig{Targets: []string{addr}}, cookie: cookie}
	defer me.hangUp()
	if err := me.dial(&seen{}); err != nil {
		return 0, "", err
	}
	me.conn.SetDeadline(time.Now().Add(30 * time.Second))
	resp, _, _, err := me.exchange(path)
	if err != nil {
		return 0, "", err
	}
	return resp.StatusCode, resp.Header.Get("X-Worker"), nil
}
