package main

// What a reload does to users: processes and sockets, as in production.

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// signal sends a signal to the first replica.
func (c *trio) signal(s syscall.Signal) {
	c.t.Helper()
	if err := c.replicas[0].cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// reload writes the first replica's file with a further line for each section, and waits until that was read.
func (c *trio) reload(lines ...string) (changed, restart []any) {
	c.t.Helper()
	r := c.replicas[0]
	text, err := os.ReadFile(r.file)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, l := range lines {
		section, line, _ := strings.Cut(l, ":\n")
		text = bytes.Replace(text, []byte(section+":\n"), []byte(section+":\n  "+line+"\n"), 1)
	}
	c.write(r.file, string(text))
	before := len(c.logLines(0, "configuration reloaded"))
	c.signal(syscall.SIGHUP)
	waitFor(c.t, patience, "the reload", func() error {
		all := c.logLines(0, "configuration reloaded")
		if len(all) == before {
			return errors.New(c.lastLine(0))
		}
		changed, restart = all[before]["changed"].([]any), all[before]["needs_restart"].([]any)
		return nil
	})
	return changed, restart
}

// exchange sends a request as it is and returns the answer's status line and head.
func exchange(t *testing.T, address, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(b), "\r\n\r\n")
	return head
}

// accessed waits for the line of the access log whose path is given.
func (c *trio) accessed(path string) (line map[string]any) {
	c.t.Helper()
	waitFor(c.t, patience, "the access log's line for "+path, func() error {
		f, err := os.Open(filepath.Join(c.dir, "lb1-access.log"))
		if err != nil {
			return err
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			line = map[string]any{}
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
				return fmt.Errorf("%s: %w", lines.Text(), err)
			}
			if line["path"] == path {
				return nil
			}
		}
		return errors.New("not there")
	})
	return line
}

// TestTrafficSection: what section traffic says reaches the listeners, at the start
// and while they run.
func TestTrafficSection(t *testing.T) {
	s := newShelf(t)
	k := s.write("shop", "shop.example")
	redirect, proxied, secured := reserve(t), reserve(t), reserve(t)
	c := prepare(t, trioConfig{Replicas: 1, Set: []string{
		"traffic.listeners[1].address=" + redirect, "traffic.listeners[1].redirect_to_https=true",
		"traffic.listeners[2].address=" + proxied, "traffic.listeners[2].proxy_protocol=true",
		"traffic.listeners[3].address=" + secured, "traffic.listeners[3].tls.cert_file=" + k.CertFile, "traffic.listeners[3].tls.key_file=" + k.KeyFile,
		"traffic.trusted_proxies=127.0.0.0/8",
		"access_log.fields=user_agent",
	}})
	c.startAll()
	c.worker("w1", "/shop")

	_, port, _ := net.SplitHostPort(secured)
	head := exchange(t, redirect, "GET /a?b HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.1 308 ") || !strings.Contains(head, "\r\nLocation: https://shop.example:"+port+"/a?b") {
		t.Errorf("redirect: %s", head)
	}
	head = exchange(t, proxied, "PROXY TCP4 203.0.113.7 192.0.2.1 4711 80\r\nGET /shop/proxied HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: probe\r\nConnection: close\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.1 200 ") {
		t.Errorf("behind a PROXY header: %s", head)
	}
	line := c.accessed("/shop/proxied")
	for key, want := range map[string]any{"client": "203.0.113.7", "listener": proxied, "host": "shop.example", "status": 200.0, "worker": "w1", "context": "/shop", "user_agent": "probe"} {
		if line[key] != want {
			t.Errorf("access log: %s is %v, want %v", key, line[key], want)
		}
	}

	large := "POST /shop/ HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\nContent-Length: 20\r\n\r\n" + strings.Repeat("x", 20)
	if head := exchange(t, c.replicas[0].traffic, large); !strings.HasPrefix(head, "HTTP/1.1 200 ") {
		t.Errorf("20 bytes: %s", head)
	}
	changed, restart := c.reload("traffic:\nlimits: {body_bytes: 10}")
	if fmt.Sprint(changed, restart) != "[traffic.limits.body_bytes] []" {
		t.Errorf("changed %v, needs restart %v", changed, restart)
	}
	if head := exchange(t, c.replicas[0].traffic, large); !strings.HasPrefix(head, "HTTP/1.1 413 ") {
		t.Errorf("20 bytes after the reload: %s", head)
	}

	file := filepath.Join(c.dir, "lb1-access.log")
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	c.signal(syscall.SIGUSR1)
	waitFor(t, patience, "the new access log", func() error {
		exchange(t, c.replicas[0].traffic, "GET /shop/rotated HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
		_, err := os.Stat(file)
		return err
	})
	exchange(t, c.replicas[0].traffic, "GET /shop/after HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
	c.accessed("/shop/after")
	if n := c.metric(0, "quorate_access_log_dropped_total"); n != 0 {
		t.Errorf("%v lines dropped", n)
	}
	c.stop(0)
}

// TestCertificatesUnderLoad: renewed again and again, no request fails, open
// connections live on, sessions are resumed.
func TestCertificatesUnderLoad(t *testing.T) {
	const renewals, clients = 20, 4
	s := newShelf(t)
	k := s.write("shop", "shop.example")
	secured := reserve(t)
	c := prepare(t, trioConfig{Replicas: 1, Set: []string{
		"traffic.listeners[1].address=" + secured, "traffic.listeners[1].tls.cert_file=" + k.CertFile, "traffic.listeners[1].tls.key_file=" + k.KeyFile,
	}})
	c.startAll()
	c.worker("w1", "/shop")

	var done atomic.Bool
	var requests, resumed atomic.Int64
	var users sync.WaitGroup
	for i := range 2 * clients {
		transport := &http.Transport{
			DisableKeepAlives: i%2 == 0, // every second one keeps its connection
			TLSClientConfig:   &tls.Config{ServerName: "shop.example", InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1)},
		}
		users.Go(func() {
			defer transport.CloseIdleConnections()
			user := &http.Client{Transport: transport, Timeout: patience}
			for !done.Load() {
				resp, err := user.Get("https://" + secured + "/shop/")
				if err != nil {
					t.Errorf("user %d: %v", i, err)
					return
				}
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != 200 {
					t.Errorf("%s, %v", resp.Status, err)
					return
				}
				requests.Add(1)
				if i%2 == 0 && resp.TLS.DidResume {
					resumed.Add(1)
				}
			}
		})
	}
	for range renewals {
		seen := requests.Load()
		s.write("shop", "shop.example")
		c.reload()
		waitFor(t, patience, "requests after the renewal", func() error {
			if n := requests.Load() - seen; n < 4*clients && !t.Failed() {
				return fmt.Errorf("only %d", n)
			}
			return nil
		})
	}
	done.Store(true)
	users.Wait()
	conn, err := tls.Dial("tcp", secured, &tls.Config{ServerName: "shop.example", InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if last, err := tls.LoadX509KeyPair(k.CertFile, k.KeyFile); err != nil || !conn.ConnectionState().PeerCertificates[0].Equal(last.Leaf) {
		t.Errorf("the last certificate is not shown: %v", err)
	}
	if n := len(c.logLines(0, "certificate reloaded")); n != renewals {
		t.Errorf("%d certificates reloaded, want %d", n, renewals)
	}
	if resumed.Load() == 0 {
		t.Error("no session was resumed")
	}
	t.Logf("%d requests, %d sessions resumed, %d certificates", requests.Load(), resumed.Load(), renewals)
	c.stop(0)
}

// TestFewFiles: at the limit of open files users are turned away with 503 or a closed
// connection, operator and workers are answered all the same, and it passes.
func TestFewFiles(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const files = 200
	few := filepath.Join(t.TempDir(), "few")
	if err := os.WriteFile(few, fmt.Appendf(nil, "#!/bin/sh\nulimit -n %d\nexec '%s' \"$@\"\n", files, self), 0o700); err != nil {
		t.Fatal(err)
	}
	c := prepare(t, trioConfig{Replicas: 1, Binary: few})
	c.startAll()
	c.worker("w1", "/shop")
	told := c.logLines(0, "open files")
	if len(told) != 1 || told[0]["lowered_to"] != float64(connectionsFor(files)) {
		t.Fatalf("open files: %v", told)
	}
	const request = "GET /shop/ HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"
	var users []net.Conn
	hangUp := func() {
		for _, u := range users {
			u.Close()
		}
	}
	defer hangUp()
	for range 2 * files {
		u, err := net.Dial("tcp", c.replicas[0].traffic)
		if err != nil {
			t.Fatal(err)
		}
		u.SetDeadline(time.Now().Add(patience))
		users = append(users, u)
	}
	if _, err := c.ask(0); err != nil {
		t.Errorf("the operator: %v", err)
	}
	if text := c.info(0); !strings.Contains(text, "w1") {
		t.Errorf("INFO: %s", text)
	}
	turnedAway := 0
	for _, u := range users {
		io.WriteString(u, request)
		b, err := io.ReadAll(u)
		switch {
		case strings.HasPrefix(string(b), "HTTP/1.1 200 "):
		case strings.HasPrefix(string(b), "HTTP/1.1 503 "), len(b) == 0:
			turnedAway++
		default:
			t.Fatalf("%q, %v", b, err)
		}
	}
	if least := 2*files - connectionsFor(files); turnedAway < least {
		t.Errorf("%d of %d users were turned away, want %d", turnedAway, len(users), least)
	}
	hangUp()
	waitFor(t, patience, "users to be served again", func() error {
		if head := exchange(t, c.replicas[0].traffic, request); !strings.HasPrefix(head, "HTTP/1.1 200 ") {
			return errors.New(head)
		}
		return nil
	})
	c.stop(0)
}
