package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// A client that has gone ends its worker's work: the connection there closes, and
// nobody waits for the request any more.
func TestClientLeaves(t *testing.T) { clientLeaves(t, "", 8, slowdown*3*time.Second) }

func clientLeaves(t *testing.T, binary string, each int, limit time.Duration) {
	var apps []string
	kinds := []struct {
		name    string
		visit   []byte // without the path
		what    string // of the worker
		secure  bool
		reset   bool
		reading bool // it has read what there was
		streams bool // all of HTTP/2 on one connection
	}{
		{name: "GET, no answer yet", what: "hold"},
		{name: "GET, reset", what: "hold", reset: true},
		{name: "GET by TLS", what: "hold", secure: true},
		{name: "POST", what: "hold", visit: []byte("a=b")},
		{name: "half an answer", what: "half", reading: true},
		{name: "half an answer that was not read, reset", what: "half", reset: true},
		{name: "half an answer by TLS", what: "half", secure: true, reading: true},
		{name: "streams of HTTP/2", what: "hold", streams: true},
		{name: "half an answer to streams of HTTP/2", what: "half", streams: true, reading: true},
	}
	for i := range kinds {
		apps = append(apps, fmt.Sprintf("/app%d", i))
	}
	c, secure, how := single(t, binary)
	o := c.raw("w1", apps...)
	for i, k := range kinds {
		addr, with := c.replicas[0].traffic, (*tls.Config)(nil)
		if k.secure {
			addr, with = secure, how
		}
		var leave func()
		if k.streams {
			leave = streamsLeave(t, each, "https://"+secure+apps[i]+"/"+k.what+"/30s", how, k.reading)
		} else {
			visit := request("GET", apps[i]+"/"+k.what+"/30s", nil)
			if k.visit != nil {
				visit = request("POST", apps[i]+"/"+k.what+"/30s", k.visit, fmt.Sprintf("Content-Length: %d", len(k.visit)))
			}
			leave = connectionsLeave(t, gather(t, each, addr, with), visit, k.reading, k.reset)
		}
		waitFor(t, patience, "the worker to work", func() error {
			if n := o.held.Load(); n != int64(each) {
				return fmt.Errorf("it has %d requests", n)
			}
			return nil
		})
		if n := c.stopApp("w1", apps[i]); n != each {
			t.Errorf("%s: STOP-APP counts %d requests, want %d", k.name, n, each)
		}
		began := time.Now()
		leave()
		var last time.Time
		for range each {
			select {
			case last = <-o.ended:
			case <-time.After(patience):
				t.Fatalf("%s: the worker still works %s after its client has gone", k.name, patience)
			}
		}
		waitFor(t, patience, "STOP-APP to count none", func() error {
			if n := c.stopApp("w1", apps[i]); n != 0 {
				return errors.New("it counts " + fmt.Sprint(n))
			}
			return nil
		})
		counted, ended := time.Since(began), last.Sub(began)
		t.Logf("figure: client gone during an answer of 30 s, %s: the last of %d connections of the worker ended after %s, STOP-APP counts none after %s",
			k.name, each, ended.Round(time.Millisecond), counted.Round(time.Millisecond))
		if ended > limit || counted > limit {
			t.Errorf("%s: after %s and %s, want at most %s", k.name, ended, counted, limit)
		}
	}
}

// connectionsLeave asks by each connection; what it returns closes them all.
func connectionsLeave(t *testing.T, all sockets, visit []byte, reading, reset bool) func() {
	for _, p := range all {
		if _, err := p.conn.Write(visit); err != nil {
			t.Fatal(err)
		}
		if reading {
			resp, err := http.ReadResponse(p.in, nil)
			if err == nil {
				_, err = io.ReadFull(resp.Body, make([]byte, 3))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return func() {
		for _, p := range all {
			if tcp, ok := p.conn.(*net.TCPConn); ok && reset {
				tcp.SetLinger(0)
			}
			p.conn.Close()
		}
	}
}

// streamsLeave asks by streams of one connection; what it returns resets them all.
func streamsLeave(t *testing.T, each int, url string, how *tls.Config, reading bool) func() {
	tr := &http.Transport{TLSClientConfig: how.Clone(), Protocols: new(http.Protocols), DisableCompression: true}
	tr.Protocols.SetHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	var asked, read sync.WaitGroup
	for range each {
		read.Add(1)
		asked.Go(func() {
			first := sync.OnceFunc(read.Done)
			defer first()
			req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
			if err != nil {
				t.Error(err)
				return
			}
			if !reading {
				first()
			}
			resp, err := tr.RoundTrip(req)
			if err == nil {
				defer resp.Body.Close()
				if resp.ProtoMajor != 2 {
					t.Errorf("answered by %s", resp.Proto)
				}
				_, err = io.ReadFull(resp.Body, make([]byte, 3))
				first()
			}
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("ended by %v, not by its client", err)
			}
		})
	}
	read.Wait()
	return func() {
		cancel()
		asked.Wait()
	}
}

// stopApp is how many requests STOP-APP says are left.
func (c *trio) stopApp(worker, path string) int {
	c.t.Helper()
	a := mustSend(c.t, c.replicas[0].mcmp, "STOP-APP", "/", appOf(worker, path))
	_, tail, ok := strings.Cut(a.body, "&Requests=")
	n := -1
	if _, err := fmt.Sscan(tail, &n); err != nil || !ok {
		c.t.Fatalf("STOP-APP: %v", a)
	}
	return n
}
