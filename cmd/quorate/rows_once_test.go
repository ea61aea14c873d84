package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// A worker is restarted between requests, so that every connection to it that was kept
// is dead: nobody sees a failure, and each request arrives once, POST like GET.
func TestWorkerRestartedBetweenRequests(t *testing.T) {
	restartBetween(t, 1000/slowdown)
}

// ledger counts what arrived, by id.
type ledger struct {
	mu   sync.Mutex
	seen map[string]int
}

func newLedger() *ledger { return &ledger{seen: map[string]int{}} }

// note returns how often id has arrived.
func (l *ledger) note(id string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen[id]++
	return l.seen[id]
}

// more lists the ids that arrived more than once, and says how many arrived at all.
func (l *ledger) more() (ids int, twice []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, n := range l.seen {
		if n > 1 {
			twice = append(twice, fmt.Sprintf("%s: %d times", id, n))
		}
	}
	slices.Sort(twice)
	return len(l.seen), twice
}

// tell sends one request as it is, on the kept connection or a new one, and never
// again.
func (me *visitor) tell(method, text string) (*http.Response, []byte, error) {
	if me.conn == nil {
		if err := me.dial(&seen{}); err != nil {
			return nil, nil, err
		}
	}
	me.conn.SetDeadline(time.Now().Add(30 * time.Second))
	resp, body, err := me.exchangeAs(method, text)
	if err != nil || resp.Close {
		me.hangUp()
	}
	return resp, body, err
}

func (me *visitor) exchangeAs(method, text string) (*http.Response, []byte, error) {
	if _, err := io.WriteString(me.conn, text); err != nil {
		return nil, nil, err
	}
	resp, err := http.ReadResponse(me.read, &http.Request{Method: method})
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

// bringer makes requests with an id, and holds the answer to be the worker's.
func (me *visitor) bring(method, path, id string) error {
	body := ""
	if method == http.MethodPost {
		body = "this is " + id
	}
	resp, got, err := me.tell(method, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\nX-Id: %s\r\nContent-Length: %d\r\n\r\n%s", method, path, id, len(body), body))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, id, err)
	}
	if want := id + " 1 " + body; resp.StatusCode != http.StatusOK || string(got) != want {
		return fmt.Errorf("%s %s: %s %q, want %q", method, id, resp.Status, got, want)
	}
	return nil
}

// countAndEcho answers with the id, how often it has come, and the body.
func countAndEcho(l *ledger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // it has not arrived
		}
		id := r.Header.Get("X-Id")
		fmt.Fprintf(w, "%s %d %s", id, l.note(id), body)
	})
}

func restartBetween(t *testing.T, times int) {
	c := prepare(t, trioConfig{Replicas: 1, Set: []string{"upstream.health.probe=none"}})
	c.startAll()
	arrived := newLedger()
	o := c.origin("w1", countAndEcho(arrived), "/shop")
	address := o.hole.Addr().String()

	// Several at once, so that several connections are left, all of them dead.
	const users = 3
	var me [users]*visitor
	for i := range me {
		me[i] = &visitor{c: &usersConfig{Targets: []string{c.replicas[0].traffic}}}
		defer me[i].hangUp()
	}
	began := time.Now()
	sent, connections := 0, int64(0)
	for n := range times {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			var group sync.WaitGroup
			for i, u := range me {
				group.Go(func() {
					if err := u.bring(method, "/shop/", fmt.Sprintf("%s-%d-%d", method, n, i)); err != nil {
						t.Error(err)
					}
				})
			}
			group.Wait()
			sent += users
			if t.Failed() {
				t.Fatalf("in round %d", n)
			}
			// The end of a process: in order, or at once with a reset.
			if n%2 == 1 {
				o.reset()
			}
			o.stop()
			connections += o.made.Load()
			l, err := net.Listen("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			o = serveOrigin(t, "w1", l, countAndEcho(arrived))
		}
	}
	ids, twice := arrived.more()
	t.Logf("figure: a worker restarted %d times between requests: %d GET and %d POST, 0 errors, %d arrived, %d more than once; %d connections to it; %s",
		2*times, sent/2, sent/2, ids, len(twice), connections, time.Since(began).Round(time.Millisecond))
	if ids != sent || len(twice) > 0 {
		t.Errorf("%d of %d arrived, more than once: %v", ids, sent, twice)
	}
	if connections < int64(2*times) {
		t.Errorf("%d connections for %d incarnations of the worker", connections, 2*times)
	}
}
