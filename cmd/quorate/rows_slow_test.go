package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Clients that send or read a byte now and then cost the others nothing.
func TestSlowClients(t *testing.T) {
	slowClients(t, 300, rounds{least: 3, most: 8, limit: 1.5, slack: 10 * time.Millisecond}, 400*time.Millisecond)
}

// slowClients holds each of three kinds against users who come at a steady rate: to a
// replica with these clients, and to one without. The slow ones move only while the
// former is measured, so that their own work is part of what is felt.
func slowClients(t *testing.T, each int, r rounds, window time.Duration) {
	// Nothing may end them while it lasts, and each reader holds a connection to its worker.
	set := []string{"traffic.timeouts.header=10m", "traffic.timeouts.body=10m", "traffic.body_min_rate=0B/s", "traffic.timeouts.write=10m", "upstream.health.probe=none", "upstream.pool.max_connections=0"}
	var pair [2]*trio
	for i := range pair {
		pair[i] = prepare(t, trioConfig{Replicas: 1, Set: set})
		pair[i].startAll()
		pair[i].origin("w1", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "fast\n") }), "/shop")
	}
	c := pair[0]
	uploads := c.origin("w2", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err == nil {
			fmt.Fprintf(w, "%s\n", b)
		}
	}), "/upload")
	var sending atomic.Int64
	big := bytes.Repeat([]byte("0123456789abcdef"), bigAnswer/16)
	c.origin("w3", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sending.Add(1)
		defer sending.Add(-1)
		w.Header().Set("Content-Length", strconv.Itoa(len(big)))
		w.Write(big)
	}), "/big").thrifty.Store(true)

	s := &snails{t: t, addr: c.replicas[0].traffic}
	defer s.leave()
	began := time.Now()
	s.come(each, slowHeader, slowBody, slowReader)
	t.Logf("figure: %d slow clients of each of 3 kinds came within %s", each, time.Since(began).Round(time.Millisecond))
	waitFor(t, patience, "all to be there", func() error {
		if n := c.status(0).Traffic.ClientConnections; int(n) < 3*each {
			return fmt.Errorf("%d connections", n)
		}
		if n := sending.Load(); int(n) < each {
			return fmt.Errorf("%d answers under way", n)
		}
		return nil
	})

	users := &pacer{}
	defer users.close()
	const rate = 250
	measure := func(c *trio) time.Duration {
		got := users.window(paceConfig{Target: c.replicas[0].traffic, Path: "/shop/", Rate: rate, For: window})
		noFailures(t, c.replicas[0].traffic, got)
		return p99(took(got, nil))
	}
	for _, c := range pair {
		measure(c) // connections
	}
	r.compare(t, fmt.Sprintf("%d slow headers, %d slow bodies, %d slow readers beside %d requests/s", each, each, each, rate),
		func() time.Duration {
			stop := s.move()
			defer stop()
			return measure(pair[0])
		},
		func() time.Duration { return measure(pair[1]) })

	if n := sending.Load(); int(n) < each {
		t.Errorf("%d of %d slow readers have got all they asked for: they were not slow", each-int(n), each)
	}
	if n := uploads.made.Load(); n != 0 {
		t.Errorf("%d slow bodies: the worker sees %d connections for them, want 0", each, n)
	}
	// They are clients all the same: each gets what it came for.
	s.finish()
	if n := uploads.made.Load(); n == 0 {
		t.Error("no body came to the worker in the end")
	}
	m, without := c.memory(0)["RssAnon"], pair[1].memory(0)["RssAnon"]
	t.Logf("figure: %d slow clients: RssAnon %.0f MiB, without %.0f MiB", 3*each, float64(m)/1024, float64(without)/1024)
}

// bigAnswer does not fit the kernel's buffers on its way to a slow reader, who comes
// through a network, not through the loopback's enormous packets.
const bigAnswer = 4 << 20

const (
	slowHeader = iota
	slowBody
	slowReader
)

// snail is a client that moves by a byte at a time.
type snail struct {
	kind int
	id   int
	conn *net.TCPConn
	left string // to send yet
}

// snails are all of them.
type snails struct {
	t    *testing.T
	addr string
	all  []*snail
}

const slowBodyLength = 4000

// come connects n of each kind, and sends what each begins with.
func (s *snails) come(n int, kinds ...int) {
	s.t.Helper()
	d := net.Dialer{Timeout: patience, Control: farAway}
	queue := make(chan *snail)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for x := range queue {
				c, err := d.Dial("tcp", s.addr)
				if err != nil {
					s.t.Error(err)
					continue
				}
				x.conn = c.(*net.TCPConn)
				if err := x.begin(); err != nil {
					s.t.Error(err)
				}
			}
		})
	}
	for i := range n {
		for _, kind := range kinds {
			x := &snail{kind: kind, id: i}
			s.all = append(s.all, x)
			queue <- x
		}
	}
	close(queue)
	group.Wait()
}

// farAway makes the connection that of a network: packets of 1,400 bytes, and little
// room for what was not read.
func farAway(_, _ string, raw syscall.RawConn) (err error) {
	e := raw.Control(func(fd uintptr) {
		if err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1400); err == nil {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10)
		}
	})
	return cmp.Or(err, e)
}

func (x *snail) begin() error {
	var text string
	switch x.kind {
	case slowHeader:
		text = "GET /upload/ HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
	case slowBody:
		text = fmt.Sprintf("POST /upload/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\nsnail %d ", slowBodyLength, x.id)
		x.left = strings.Repeat("b", slowBodyLength-len(fmt.Sprintf("snail %d ", x.id)))
	case slowReader:
		text = "GET /big/ HTTP/1.1\r\nHost: localhost\r\n\r\n"
	}
	_, err := io.WriteString(x.conn, text)
	return err
}

// step is one byte.
func (x *snail) step() error {
	switch x.kind {
	case slowHeader:
		_, err := io.WriteString(x.conn, "h")
		return err
	case slowBody:
		_, err := io.WriteString(x.conn, x.left[:1])
		x.left = x.left[1:]
		return err
	}
	_, err := x.conn.Read(make([]byte, 512))
	return err
}

// move lets all of them do a step about once a second, evenly spread, until stop.
func (s *snails) move() (stop func()) {
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		begin := time.Now()
		for i, x := range s.all {
			at := begin.Add(time.Duration(i) * time.Second / time.Duration(len(s.all)))
			if wait := time.Until(at); wait > 0 {
				select {
				case <-done:
					return
				case <-time.After(wait):
				}
			}
			select {
			case <-done:
				return
			default:
			}
			if err := x.step(); err != nil {
				s.t.Errorf("slow client of kind %d: %v", x.kind, err)
				return
			}
		}
	})
	return func() {
		close(done)
		group.Wait()
	}
}

// finish lets those that send come to their end, and reads their answers.
func (s *snails) finish() {
	s.t.Helper()
	queue := make(chan *snail)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for x := range queue {
				if err := x.end(); err != nil {
					s.t.Errorf("slow client %d of kind %d: %v", x.id, x.kind, err)
				}
			}
		})
	}
	for _, x := range s.all {
		if x.kind != slowReader {
			queue <- x
		}
	}
	close(queue)
	group.Wait()
}

func (x *snail) end() error {
	x.conn.SetDeadline(time.Now().Add(patience))
	text := x.left
	if x.kind == slowHeader {
		text = "\r\n\r\n"
	}
	if _, err := io.WriteString(x.conn, text); err != nil {
		return err
	}
	v := &visitor{c: &usersConfig{}}
	v.adopt(x.conn)
	resp, err := http.ReadResponse(v.read, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		return fmt.Errorf("%s %.100q %v", resp.Status, body, err)
	}
	if begins := fmt.Sprintf("snail %d b", x.id); x.kind == slowBody && (!strings.HasPrefix(string(body), begins) || len(body) != slowBodyLength+1) {
		return fmt.Errorf("the worker got %d bytes: %.40q", len(body), body)
	}
	return nil
}

func (s *snails) leave() {
	for _, x := range s.all {
		if x.conn != nil {
			x.conn.SetLinger(0)
			x.conn.Close()
		}
	}
}
