package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// A worker dies in the middle of traffic. Users who only read see no failure,
// but for the answers that had begun.
func TestWorkerKilledUnderTraffic(t *testing.T) {
	c := startTrio(t)
	w1, w2, w3 := c.worker("w1", "/shop"), c.worker("w2", "/shop"), c.worker("w3", "/shop")
	var targets []string
	for _, r := range c.replicas {
		targets = append(targets, r.traffic)
	}
	paths := func(user, n int) string {
		return "/shop/" + []string{"?do=slow&for=40ms", "?do=stream&for=100ms", "a?b=c", "d"}[(user+n)%4]
	}
	// Half of them have sessions: those of the dead worker move.
	withSessions := startUsers(t, usersConfig{Targets: targets, Rate: 150, Paths: paths, Session: true, Cut: true})
	without := startUsers(t, usersConfig{Targets: targets, Rate: 150, Paths: paths, Cut: true})
	withSessions.waitFor(t, 200)
	busy := w2.open()
	w2.kill()
	withSessions.waitFor(t, withSessions.soFar()+300)
	without.waitFor(t, without.soFar()+200)
	for i, r := range c.replicas {
		waitFor(t, patience, r.name+" to tell that w2 is gone", func() error {
			if w := c.workerAt(i, "w2"); w.Status != "unreachable" {
				return fmt.Errorf("%s: %s", w.Status, w.Why)
			}
			return nil
		})
		for _, name := range []string{"w1", "w3"} {
			if w := c.workerAt(i, name); w.Status != "up" {
				t.Errorf("%s: %s is %s (%s), and is well", r.name, name, w.Status, w.Why)
			}
		}
	}
	for _, got := range []*seen{withSessions.end(), without.end()} {
		t.Logf("figure: worker killed with %d connections: %s; %d sessions moved", busy, got, got.switched)
		if len(got.failed) > 0 {
			t.Errorf("%d requests failed", len(got.failed))
		}
		if got.again > 0 {
			t.Errorf("%d connections of users were closed between two requests", got.again)
		}
		if got.workers["w1"] == 0 || got.workers["w2"] == 0 || got.workers["w3"] == 0 {
			t.Errorf("answers by worker: %v: one had none", got.workers)
		}
		if got.cut > got.requests/20 {
			t.Errorf("%d of %d answers were cut", got.cut, got.requests)
		}
	}
	if n := w1.served.Load() + w3.served.Load(); n == 0 {
		t.Error("the others served nothing")
	}
}

// open counts the connections that a worker has.
func (w *worker) open() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.conns)
}

// Whatever a user asks for and however the worker answers: the worker stays up.
func TestRequestsMarkNoWorkerDown(t *testing.T) {
	c := prepare(t, trioConfig{Set: []string{
		"upstream.response_timeout=300ms", // so that a slow page is a 504
		"traffic.timeouts.body=1s",
	}})
	c.startAll()
	names := []string{"w1", "w2"}
	for _, n := range names {
		c.worker(n, "/shop")
	}
	requests := []string{
		"GET /shop/?do=status&code=500 HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /shop/?do=status&code=503 HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /shop/?do=status&code=404 HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /shop/?do=slow&for=1s HTTP/1.1\r\nHost: x\r\n\r\n", // 504
		"GET /shop/?do=cut HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /shop/?do=garbage HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /shop/?do=garbage HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
		"POST /shop/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nnever finished",
		"POST /shop/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"GET /shop/ HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 40<<10) + "\r\n\r\n",
		"GET /shop/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
		"GET /shop/../../etc HTTP/1.1\r\nHost: x\r\n\r\n",
		"BREW /shop/ HTTP/1.1\r\nHost: x\r\n\r\n",
		"CONFIG /shop/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
		"no HTTP at all\r\n\r\n",
	}
	// Each comes twice: once read to the end, once from a user who has left.
	const rounds = 4
	var group sync.WaitGroup
	stop := make(chan struct{})
	watched := 0
	group.Go(func() {
		for {
			for i, r := range c.replicas {
				for _, w := range c.workers(i).Workers {
					watched++
					if w.Status != "up" {
						t.Errorf("%s: %s is %s: %s", r.name, w.Route, w.Status, w.Why)
						return
					}
				}
			}
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	var users sync.WaitGroup
	answered := make([]int, len(c.replicas))
	for i, r := range c.replicas {
		users.Go(func() {
			for n := range rounds * len(requests) {
				text := requests[n%len(requests)]
				for _, patient := range []bool{true, false} {
					if shout(r.traffic, text, patient) {
						answered[i]++
					}
				}
			}
		})
	}
	users.Wait()
	// Whoever looked away from the worker would have looked by now: let STATUS and probes come.
	for _, n := range names {
		before := c.metric(0, "quorate_mcmp_messages_total", `command="STATUS"`)
		waitFor(t, patience, n+"'s next STATUS", func() error {
			if now := c.metric(0, "quorate_mcmp_messages_total", `command="STATUS"`); now < before+2 {
				return fmt.Errorf("%v since %v", now, before)
			}
			return nil
		})
	}
	close(stop)
	group.Wait()
	unreachable := 0
	for i, r := range c.replicas {
		lines := c.logLines(i, "worker unreachable")
		unreachable += len(lines)
		if len(lines) > 0 {
			t.Errorf("%s: %v", r.name, lines[0])
		}
		if answered[i] == 0 {
			t.Errorf("%s answered nothing", r.name)
		}
		if status, _, err := get(r.traffic, "/shop/", ""); status != 200 {
			t.Errorf("%s afterwards: %d, %v", r.name, status, err)
		}
	}
	t.Logf("figure: %d requests of %d bad kinds, half of them abandoned, %d answered: %d looks at the workers found them up, %d lines \"worker unreachable\"",
		2*rounds*len(requests)*len(c.replicas), len(requests), answered[0]+answered[1]+answered[2], watched, unreachable)
}

// shout sends text on a connection of its own. A patient one waits for the
// answer, the other leaves within 20 ms. It says whether there was an answer.
func shout(addr, text string, patient bool) bool {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(3 * time.Second))
	io.WriteString(conn, text)
	if !patient {
		conn.SetReadDeadline(time.Now().Add(rand.N(20 * time.Millisecond)))
		conn.(*net.TCPConn).SetLinger(rand.IntN(2) - 1) // 0: a reset; -1: an orderly end
	}
	head := make([]byte, 9)
	n, _ := io.ReadFull(conn, head)
	return bytes.HasPrefix(head[:n], []byte("HTTP/1.1 "))
}
