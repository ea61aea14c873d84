//go:build check || soak

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// crowd is users who visit the replicas in turn, at a steady rate, until they
// are sent home. They differ from startUsers's in what real workers are for:
// sessions whose visits are counted, and changes. They never repeat a request
// on their own: what fails is seen. A replica that the test kills is named by
// dies before; a user whose connection to it ends without an answer asks the
// next one, as a browser does that knows several addresses of a site.
type crowd struct {
	targets []string
	stop    chan struct{}
	all     sync.WaitGroup

	mu    sync.Mutex
	dead  map[string]bool  // replicas that may fail
	sulks string           // the worker that may refuse its own sessions
	homes map[*user]string // the worker of each user's session
	total tally
}

// tally is what happened to the users.
type tally struct {
	requests  int
	failures  []string       // each with what was asked and what came
	cut       int            // answers begun, and not ended by the worker or the replica that died
	lostPosts int            // POSTs without an answer of the worker: nobody sends them twice
	elsewhere int            // asked again at another replica
	refused   int            // 503 of a worker that had asked for its sessions
	moved     int            // sessions that another worker began anew
	workers   map[string]int // answers by worker
	slowest   time.Duration
	slow      string // the slowest request
}

// A visit is one kind of request. The answer names its worker: X-Worker.
type visit struct {
	method, path, body string

	session  bool // the page counts the visits of a session
	stranger bool // made without the user's cookie
	drips    int  // lines of an answer that begins long before it ends
}

// sendCrowd sends users who make rate requests a second in all. Each user keeps
// a session and makes its visits in order.
func sendCrowd(t *testing.T, targets []string, users, rate int, visits []visit) *crowd {
	t.Helper()
	c := &crowd{targets: targets, stop: make(chan struct{}), dead: map[string]bool{}, homes: map[*user]string{}}
	c.total.workers = map[string]int{}
	for i := range users {
		u := &user{crowd: c, turn: i, conns: map[string]*userConn{}}
		c.all.Go(func() { u.visit(visits, time.Second*time.Duration(users)/time.Duration(rate)) })
	}
	return c
}

// dies says that from now on target may break connections.
func (c *crowd) dies(target string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead[target] = true
}

// maySulk says that from now on worker may answer its own sessions with 503.
func (c *crowd) maySulk(worker string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sulks = worker
}

func (c *crowd) mayFail(target string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead[target]
}

func (c *crowd) count(f func(*tally)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.total)
}

// answered is how many requests have been made so far.
func (c *crowd) answered() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total.requests
}

// during lets the users make n more requests.
func (c *crowd) during(t *testing.T, n int) {
	t.Helper()
	want := c.answered() + n
	waitFor(t, patience, fmt.Sprintf("%d requests", n), func() error {
		if now := c.answered(); now < want {
			return fmt.Errorf("%d missing", want-now)
		}
		return nil
	})
}

// sendHome ends the traffic and returns what happened.
func (c *crowd) sendHome() tally {
	close(c.stop)
	c.all.Wait()
	return c.total
}

func (a tally) String() string {
	text := fmt.Sprintf("%d requests, %d failed", a.requests, len(a.failures))
	for _, n := range []struct {
		n    int
		what string
	}{
		{a.cut, "answers begun and cut off"},
		{a.lostPosts, "POSTs left without an answer, which nobody sends twice"},
		{a.elsewhere, "asked again at another replica"},
		{a.refused, "refused by the worker that had asked for its sessions"},
		{a.moved, "sessions begun anew on another worker"},
	} {
		if n.n > 0 {
			text += fmt.Sprintf("; %s: %d", n.what, n.n)
		}
	}
	var by []string
	for _, w := range slices.Sorted(maps.Keys(a.workers)) {
		by = append(by, fmt.Sprintf("%s %d", w, a.workers[w]))
	}
	return fmt.Sprintf("%s; %s; slowest %s (%s)", text, strings.Join(by, ", "), a.slowest.Round(time.Millisecond), a.slow)
}

// user is one browser: a cookie and one connection to each replica.
type user struct {
	crowd *crowd
	turn  int // visits made
	round int // times that all kinds of them were made
	conns map[string]*userConn

	cookie string // name=value
	id     string // of the session, route and all
	visits int    // what the worker counted for it
}

// staying is how many visits a user makes in one session: new ones must begin
// all the time, or a worker that was away gets none.
const staying = 15

// errNotSent: nothing of the request can have reached a worker.
var errNotSent = errors.New("not sent")

type userConn struct {
	net.Conn
	in *bufio.Reader
}

func (u *user) visit(visits []visit, every time.Duration) {
	defer u.leave()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-u.crowd.stop:
			return
		case <-tick.C:
			u.turn++
			if u.turn%len(visits) == 0 {
				u.round++ // another replica for each kind of visit
			}
			u.make(visits[u.turn%len(visits)])
		}
	}
}

// leave closes the user's connections.
func (u *user) leave() {
	for _, c := range u.conns {
		c.Close()
	}
}

// make makes one request, at another replica when the one that dies gave no answer.
func (u *user) make(v visit) {
	c := u.crowd
	if v.session && u.visits >= staying {
		u.cookie, u.id, u.visits = "", "", 0
	}
	again := false
	for i := range c.targets {
		target := c.targets[(u.turn+u.round+i)%len(c.targets)]
		began := time.Now()
		a, begun, err := u.ask(target, v)
		dying := c.mayFail(target)
		if err != nil && dying && !begun && (v.method == http.MethodGet || errors.Is(err, errNotSent)) {
			again = true
			c.count(func(t *tally) { t.elsewhere++ })
			continue
		}
		c.count(func(t *tally) {
			t.requests++
			if took := time.Since(began); took > t.slowest {
				t.slowest, t.slow = took, fmt.Sprintf("%s %s by %s at %s", v.method, v.path, a.worker, target)
			}
			fail := func(what string) {
				t.failures = append(t.failures, fmt.Sprintf("%s %s %s at %s, session %s, after %s: %s", began.UTC().Format("15:04:05.000"),
					v.method, v.path, target, u.cookie, time.Since(began).Round(time.Millisecond), what))
			}
			switch {
			case err != nil && begun && (dying || v.drips > 0):
				t.cut++
			case err != nil && dying, a.status == http.StatusBadGateway && v.method == http.MethodPost:
				t.lostPosts++
			case err != nil:
				fail(err.Error())
			case c.sulks != "" && u.refused(v, a):
				t.refused++
			case a.status != http.StatusOK:
				fail(fmt.Sprintf("%d %s", a.status, a.body))
			case strings.Count(a.body, "drip\n") != v.drips:
				fail("an answer that was cut off looks whole: " + a.body)
			default:
				t.workers[a.worker]++
				if v.session {
					u.compare(t, a, again, fail)
				}
			}
		})
		return
	}
	c.count(func(t *tally) {
		t.requests++
		t.failures = append(t.failures, fmt.Sprintf("%s %s: no replica answered", v.method, v.path))
	})
}

// refused says whether the worker of the user's own session answered 503 itself.
func (u *user) refused(v visit, a page) bool {
	return a.status == http.StatusServiceUnavailable && strings.HasPrefix(a.body, "<html>") &&
		!v.stranger && strings.HasSuffix(u.cookie, "."+u.crowd.sulks)
}

// compare holds the session against the visit before. A request that was sent
// again may have counted twice.
func (u *user) compare(t *tally, a page, again bool, fail func(string)) {
	id, visits := a.session()
	switch {
	case id == "":
		fail("no session: " + a.body)
	case u.id != "" && id != u.id:
		t.moved++
		if visits != 1 {
			fail(fmt.Sprintf("session %s begins with visit %d", id, visits))
		}
	case visits != u.visits+1 && !(again && visits > u.visits):
		fail(fmt.Sprintf("session %s: visit %d after %d", id, visits, u.visits))
	}
	u.id, u.visits = id, visits
	u.crowd.homes[u] = a.worker
}

// page is a worker's answer.
type page struct {
	status int
	worker string
	body   string
}

// session reads "session ID count N".
func (p page) session() (id string, visits int) {
	if _, err := fmt.Sscanf(p.body, "session %s count %d", &id, &visits); err != nil {
		return "", 0
	}
	return id, visits
}

// ask sends v to target on the connection kept for it. begun says that a part
// of the answer came.
func (u *user) ask(target string, v visit) (a page, begun bool, err error) {
	conn := u.conns[target]
	if conn == nil {
		dialled, err := net.DialTimeout("tcp", target, 10*time.Second)
		if err != nil {
			return page{}, false, fmt.Errorf("%w: %w", errNotSent, err)
		}
		conn = &userConn{dialled, bufio.NewReader(dialled)}
		u.conns[target] = conn
	}
	keep := false
	defer func() {
		if !keep {
			conn.Close()
			delete(u.conns, target)
		}
	}()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: shop.example\r\n", v.method, v.path)
	if u.cookie != "" && !v.stranger {
		head += "Cookie: " + u.cookie + "\r\n"
	}
	if v.body != "" {
		head += fmt.Sprintf("Content-Length: %d\r\n", len(v.body))
	}
	if _, err := io.WriteString(conn, head+"\r\n"+v.body); err != nil {
		return page{}, false, err
	}
	if _, err := conn.in.Peek(1); err != nil {
		return page{}, false, err
	}
	resp, err := http.ReadResponse(conn.in, &http.Request{Method: v.method})
	if err != nil {
		return page{}, true, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return page{}, true, err
	}
	keep = !resp.Close
	for _, cookie := range resp.Cookies() {
		if cookie.Name == "JSESSIONID" && !v.stranger {
			u.cookie = cookie.Name + "=" + cookie.Value
		}
	}
	return page{resp.StatusCode, resp.Header.Get("X-Worker"), string(body)}, true, nil
}

// answersOf is how many answers of a worker the users have seen.
func (c *crowd) answersOf(worker string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total.workers[worker]
}

// untilUsed lets the users go on until a worker has answered some of them, and
// holds the session of at least one.
func (c *crowd) untilUsed(t *testing.T, worker string, sessions bool) {
	t.Helper()
	want := c.answersOf(worker) + 10
	waitFor(t, patience, worker+" to get traffic", func() error {
		if now := c.answersOf(worker); now < want {
			return fmt.Errorf("%d answers missing", want-now)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, home := range c.homes {
			if home == worker {
				return nil
			}
		}
		if sessions {
			return errors.New("no session")
		}
		return nil
	})
}
