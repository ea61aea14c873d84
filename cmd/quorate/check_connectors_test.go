//go:build check

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/mcmp/client"
)

// The same suite through every connector of every Tomcat. Each cell of the table is a
// worker with a context of its own.
func TestCheckConnectors(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificateFor("localhost")
	files := map[string]string{"cert.pem": cert, "key.pem": key, "secret": "geheim\n"}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, secure, how := single(t, program(t), "upstream.tls.ca_file="+filepath.Join(dir, "cert.pem"), "upstream.tls.server_name=localhost",
		"upstream.ajp.secret_file="+filepath.Join(dir, "secret"),
		// Of an application that breaks off Tomcat 10.1 and 11 say nothing more by AJP.
		"upstream.response_timeout=3s")
	m := &matrix{t: t, c: c, secure: secure, how: how, dir: dir}
	m.fetch()
	for _, container := range []string{"9", "10.1", "11"} {
		m.container(container)
	}
	m.print()
}

// matrix is what the cells share.
type matrix struct {
	t      *testing.T
	c      *trio
	secure string // traffic address with TLS
	how    *tls.Config
	dir    string
	cells  []*cell
}

// cell is one connector of one container.
type cell struct {
	m                    *matrix
	container, connector string
	route                string
	plain, h2            *http.Client
	passed               int
	took                 time.Duration
	late                 time.Duration // the latest event of the round that counts
}

// connectors of each Tomcat: a name, the kind of connector, its secret.
var connectors = [][3]string{{"http", "http", ""}, {"https", "https", ""}, {"ajp", "ajp", ""}, {"ajp-secret", "ajp", "geheim"}, {"ajp-wrong", "ajp", "other"}}

// fetch gets the Tomcats.
func (m *matrix) fetch() {
	m.t.Helper()
	if err := os.CopyFS(m.dir, os.DirFS("testdata/connectors")); err != nil {
		m.t.Fatal(err)
	}
	maven(m.t, m.dir, "package")
}

func (m *matrix) container(version string) {
	m.t.Helper()
	classes := m.compile(version)
	ports := m.start(version, classes)
	for i, k := range connectors {
		x := &cell{m: m, container: "Tomcat " + version, connector: k[0], route: routeOf(version, k[0])}
		x.clients()
		m.register(x.route, k[1], ports[i])
		m.cells = append(m.cells, x)
	}
	var wg sync.WaitGroup
	for _, x := range m.cells[len(m.cells)-len(connectors):] {
		m.c.waitUp(x.route)
		wg.Go(x.run)
	}
	wg.Wait()
}

func routeOf(version, connector string) string {
	return "t" + strings.ReplaceAll(version, ".", "") + "-" + connector
}

// compile returns the class path. Tomcat 9 has the older package names.
func (m *matrix) compile(version string) string {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join(m.dir, "Connectors.java"))
	if err != nil {
		m.t.Fatal(err)
	}
	if version == "9" {
		text = bytes.ReplaceAll(text, []byte("jakarta.servlet"), []byte("javax.servlet"))
	}
	source := filepath.Join(m.dir, version, "Connectors.java")
	if err := errors.Join(os.MkdirAll(filepath.Dir(source), 0o755), os.WriteFile(source, text, 0o644)); err != nil {
		m.t.Fatal(err)
	}
	jars, classes := filepath.Join(m.dir, "target", version, "*"), filepath.Join(m.dir, version, "classes")
	if out, err := exec.Command("javac", "-cp", jars, "-d", classes, source).CombinedOutput(); err != nil {
		m.t.Fatalf("javac: %v\n%s", err, out)
	}
	return classes + ":" + jars
}

// start runs the container until the end of the test, and returns its ports.
func (m *matrix) start(version, classes string) (ports []int) {
	m.t.Helper()
	args := []string{"-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.io.tmpdir=" + m.dir,
		"-Dcert=" + filepath.Join(m.dir, "cert.pem"), "-Dkey=" + filepath.Join(m.dir, "key.pem"), "-cp", classes, "quorate.Connectors"}
	for _, k := range connectors {
		args = append(args, routeOf(version, k[0])+","+k[1]+","+k[2])
	}
	cmd := exec.Command("java", args...)
	cmd.SysProcAttr = childAttributes()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		in.Close()
		cmd.Wait()
		if m.t.Failed() {
			m.t.Logf("Tomcat %s:\n%s", version, tail(stderr.Bytes(), 40))
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	words := strings.Fields(line)
	if err != nil || len(words) != 2+len(connectors) || words[0] != "listening" || !strings.HasPrefix(words[1], version+".") {
		m.t.Fatalf("Tomcat %s says %q, %v\n%s", version, line, err, tail(stderr.Bytes(), 40))
	}
	for _, w := range words[2:] {
		port, err := strconv.Atoi(w)
		if err != nil {
			m.t.Fatal(err)
		}
		ports = append(ports, port)
	}
	return ports
}

// register tells quorate of a connector, as a worker would.
func (m *matrix) register(route, kind string, port int) {
	m.t.Helper()
	w, err := client.New(client.Config{
		Proxies:      []client.Proxy{{Address: m.c.replicas[0].mcmp}},
		Node:         client.Node{Route: route, Host: "127.0.0.1", Port: port, Type: kind},
		Hosts:        []client.Host{{Name: "localhost", Contexts: []client.Context{{Path: "/" + route}}}},
		StatusPeriod: time.Second,
		Log:          slog.New(slog.DiscardHandler),
	})
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { w.Run(ctx) })
	m.t.Cleanup(func() {
		cancel()
		wg.Wait()
		w.Close()
	})
}

func (m *matrix) print() {
	rows := report{t: m.t}
	for _, x := range m.cells {
		text := fmt.Sprintf("%2d of %d passed, %s", x.passed, len(x.cases()), seconds(x.took))
		if x.late > 0 {
			text += fmt.Sprintf(", events after at most %s", x.late.Round(time.Millisecond))
		}
		rows.add(x.container+", "+x.connector, "%s", text)
	}
	rows.print()
	passed, all := 0, 0
	for _, x := range m.cells {
		passed, all = passed+x.passed, all+len(x.cases())
	}
	m.t.Logf("figure: connectors of Tomcat 9, 10.1 and 11: %d of %d cases in %d cells", passed, all, len(m.cells))
}

// clientAddress is another one than quorate's own.
var clientAddress = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}

func (x *cell) clients() {
	dial := (&net.Dialer{LocalAddr: clientAddress}).DialContext
	plain := &http.Transport{DialContext: dial, DisableCompression: true}
	h2 := &http.Transport{DialContext: dial, DisableCompression: true, TLSClientConfig: &tls.Config{RootCAs: x.m.how.RootCAs, ServerName: "localhost"},
		Protocols: new(http.Protocols)}
	h2.Protocols.SetHTTP2(true)
	x.plain, x.h2 = &http.Client{Transport: plain, Timeout: patience}, &http.Client{Transport: h2, Timeout: patience}
	x.m.t.Cleanup(plain.CloseIdleConnections)
	x.m.t.Cleanup(h2.CloseIdleConnections)
}

// run runs the suite. Workers with another secret are to refuse everything.
func (x *cell) run() {
	began := time.Now()
	for _, k := range x.cases() {
		if err := k.run(); err != nil {
			x.m.t.Errorf("%s, %s: %s: %v", x.container, x.connector, k.name, err)
			continue
		}
		x.passed++
	}
	x.took = time.Since(began)
}

type connectorCase struct {
	name string
	run  func() error
}

func (x *cell) cases() []connectorCase {
	if x.connector == "ajp-wrong" {
		return []connectorCase{{"wrong secret", x.wrongSecret}}
	}
	all := []connectorCase{
		{"what the servlet sees", x.sees}, {"scheme and address by TLS and HTTP/2", x.seesTLS}, {"session", x.session},
		{"uploads", func() error { return x.uploads(x.plain, x.base()) }}, {"uploads by HTTP/2", func() error { return x.uploads(x.h2, x.baseTLS()) }},
		{"downloads", func() error { return x.downloads(x.plain, x.base()) }}, {"downloads by HTTP/2", func() error { return x.downloads(x.h2, x.baseTLS()) }},
		{"HEAD", x.head}, {"304", x.notModified}, {"methods", x.methods}, {"slow", x.slow}, {"events at once", x.events}, {"error in mid-body", x.broken},
		{"large headers", x.large}, {"UTF-8 paths", x.utf8}, {"cookies", x.cookies}, {"statuses", x.statuses}, {"100 requests at once", x.many},
	}
	if strings.HasPrefix(x.connector, "ajp") {
		all = append(all, connectorCase{"a head that fits no packet", x.tooLarge})
	}
	return all
}

func (x *cell) base() string    { return "http://" + x.m.c.replicas[0].traffic + "/" + x.route }
func (x *cell) baseTLS() string { return "https://" + x.m.secure + "/" + x.route }

// ask sends a request and reads the whole answer.
func ask(c *http.Client, method, url string, body io.Reader, fields ...string) (*http.Response, string, error) {
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		return nil, "", err
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp, string(text), err
}

// want asks, and wants 200 with this text.
func want(c *http.Client, method, url string, body io.Reader, text string, fields ...string) error {
	resp, got, err := ask(c, method, url, body, fields...)
	if err != nil {
		return err
	}
	if resp.StatusCode != 200 || got != text {
		return fmt.Errorf("%s %s: %s: %.200q, want %.200q", method, url, resp.Status, got, text)
	}
	return nil
}

func (x *cell) sees() error {
	host := x.m.c.replicas[0].traffic
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		return err
	}
	return want(x.plain, "GET", x.base()+"/a%20b;p=1?x=1&y=%20", nil, strings.Join([]string{"GET", "/" + x.route + "/a%20b;p=1", "/a b", "x=1&y=%20",
		"http false", "127.0.0.2", name + " " + port, "-1"}, "\n"))
}

func (x *cell) seesTLS() error {
	name, port, err := net.SplitHostPort(x.m.secure)
	if err != nil {
		return err
	}
	return want(x.h2, "GET", x.baseTLS()+"/", nil, strings.Join([]string{"GET", "/" + x.route + "/", "/", "null",
		"https true", "127.0.0.2", name + " " + port, "-1"}, "\n"))
}

func (x *cell) session() error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	c := &http.Client{Transport: x.plain.Transport, Jar: jar, Timeout: patience}
	first := ""
	for i := 1; i <= 5; i++ {
		_, text, err := ask(c, "GET", x.base()+"/session", nil)
		if err != nil {
			return err
		}
		id, n, _ := strings.Cut(text, " ")
		if first == "" {
			first = id
		}
		if id != first || n != strconv.Itoa(i) || !strings.HasSuffix(id, "."+x.route) {
			return fmt.Errorf("visit %d of session %s: %q", i, first, text)
		}
	}
	return nil
}

func (x *cell) uploads(c *http.Client, base string) error {
	for _, n := range []int{1, 10_000, 8_186, 100_000, 10 << 20} {
		body := bytes.Repeat([]byte("0123456789abcdef-"), n/17+1)[:n]
		answer := fmt.Sprintf("%d %x", n, sha256.Sum256(body))
		if err := want(c, "POST", base+"/upload", bytes.NewReader(body), answer); err != nil {
			return fmt.Errorf("%d bytes: %w", n, err)
		}
		if err := want(c, "PUT", base+"/upload", io.MultiReader(bytes.NewReader(body)), answer); err != nil {
			return fmt.Errorf("%d bytes of unknown length: %w", n, err)
		}
	}
	return want(c, "POST", base+"/upload", http.NoBody, fmt.Sprintf("0 %x", sha256.Sum256(nil)))
}

func (x *cell) downloads(c *http.Client, base string) error {
	for _, n := range []int{1, 8184, 8192, 100_000, 5_000_000} {
		for _, length := range []string{"", "&length=1"} {
			resp, text, err := ask(c, "GET", fmt.Sprintf("%s/download?n=%d%s", base, n, length), nil)
			if err != nil {
				return err
			}
			wrong := len(text) != n || resp.StatusCode != 200 || length != "" && resp.ContentLength != int64(n)
			for i := 0; i < len(text) && !wrong; i++ {
				wrong = text[i] != byte(i%251)
			}
			if wrong {
				return fmt.Errorf("%d bytes%s: %s, %d bytes came, length %d", n, length, resp.Status, len(text), resp.ContentLength)
			}
		}
	}
	return nil
}

func (x *cell) head() error {
	for range 2 {
		resp, text, err := ask(x.plain, "HEAD", x.base()+"/download?n=20000&length=1", nil)
		if err != nil {
			return err
		}
		if resp.StatusCode != 200 || text != "" || resp.ContentLength != 20000 {
			return fmt.Errorf("%s, %d bytes, length %d", resp.Status, len(text), resp.ContentLength)
		}
	}
	return want(x.plain, "GET", x.base()+"/slow?ms=0", nil, "slow")
}

func (x *cell) notModified() error {
	resp, text, err := ask(x.plain, "GET", x.base()+"/cached", nil, "If-None-Match", `"1"`)
	if err != nil {
		return err
	}
	if resp.StatusCode != 304 || text != "" || resp.Header.Get("ETag") != `"1"` {
		return fmt.Errorf("%s: %q, %v", resp.Status, text, resp.Header)
	}
	return want(x.plain, "GET", x.base()+"/cached", nil, "new")
}

func (x *cell) methods() error {
	for _, method := range []string{"OPTIONS", "DELETE", "PATCH", "PROPFIND", "REPORT", "QUERY"} {
		_, text, err := ask(x.plain, method, x.base()+"/m", nil)
		if err != nil {
			return err
		}
		if !strings.HasPrefix(text, method+"\n") {
			return fmt.Errorf("%s: %q", method, text)
		}
	}
	return nil
}

func (x *cell) slow() error {
	began := time.Now()
	if err := want(x.plain, "GET", x.base()+"/slow?ms=700", nil, "slow"); err != nil {
		return err
	}
	if took := time.Since(began); took < 700*time.Millisecond {
		return fmt.Errorf("answered after %s", took)
	}
	return nil
}

// events: each comes before the next is made, as a flush is passed on at once. The
// worker's clock, in milliseconds, says when it was made.
func (x *cell) events() error {
	for round := 1; ; round++ {
		resp, err := x.plain.Get(x.base() + "/events")
		if err != nil {
			return err
		}
		var late time.Duration
		n := 0
		scan := bufio.NewScanner(resp.Body)
		for scan.Scan() {
			if at, ok := strings.CutPrefix(scan.Text(), "data: "); ok {
				ms, err := strconv.ParseInt(at, 10, 64)
				if err != nil {
					return err
				}
				n++
				late = max(late, time.Since(time.UnixMilli(ms)))
			}
		}
		resp.Body.Close()
		switch {
		case scan.Err() != nil || n != 5:
			return fmt.Errorf("%d events, %v", n, scan.Err())
		case late < 60*time.Millisecond:
			x.late = late
			return nil
		case round == 5: // on a busy machine one of them may be late
			return fmt.Errorf("an event came after %s in each of %d rounds", late, round)
		}
	}
}

func (x *cell) broken() error {
	for range 2 {
		_, text, err := ask(x.plain, "GET", x.base()+"/broken", nil)
		if err == nil {
			return fmt.Errorf("%d of 20000 bytes came, and no error", len(text))
		}
	}
	return want(x.plain, "GET", x.base()+"/slow?ms=0", nil, "slow")
}

func (x *cell) large() error {
	const n = 6000
	resp, text, err := ask(x.plain, "GET", fmt.Sprintf("%s/header?n=%d", x.base(), n), nil, "X-Long", strings.Repeat("x", n))
	if err != nil {
		return err
	}
	if text != strconv.Itoa(n) || len(resp.Header.Get("X-Long")) != n {
		return fmt.Errorf("%s: %q, a field of %d", resp.Status, text, len(resp.Header.Get("X-Long")))
	}
	return nil
}

func (x *cell) utf8() error {
	_, text, err := ask(x.plain, "GET", x.base()+"/caf%C3%A9/%E2%82%AC?q=%C3%BC", nil)
	if err != nil {
		return err
	}
	if !strings.Contains(text, "\n/café/€\nq=%C3%BC\n") {
		return fmt.Errorf("the servlet saw %q", text)
	}
	return nil
}

func (x *cell) cookies() error {
	resp, text, err := ask(x.plain, "GET", x.base()+"/cookies", nil, "Cookie", "a=1; b=2", "Cookie", "c=3")
	if err != nil {
		return err
	}
	var names []string
	for _, c := range resp.Cookies() {
		names = append(names, c.Name)
	}
	if text != "a=1 b=2 c=3" || !slices.Contains(names, "first") || !slices.Contains(names, "second") {
		return fmt.Errorf("the servlet saw %q, the client %q", text, names)
	}
	return nil
}

func (x *cell) statuses() error {
	for _, status := range []int{200, 201, 204, 400, 401, 403, 404, 409, 410, 418, 429, 500, 501} {
		resp, _, err := ask(x.plain, "GET", fmt.Sprintf("%s/status/%d", x.base(), status), nil)
		if err != nil {
			return err
		}
		if resp.StatusCode != status {
			return fmt.Errorf("%s, want %d", resp.Status, status)
		}
	}
	return nil
}

// many asks for bodies of its own from ten goroutines at once.
func (x *cell) many() error {
	errs := make(chan error, 10)
	for i := range cap(errs) {
		go func() {
			for k := range 10 {
				body := fmt.Appendf(nil, "%d-%d-%s", i, k, strings.Repeat("y", 1000*k))
				if err := want(x.plain, "POST", x.base()+"/upload", bytes.NewReader(body), fmt.Sprintf("%d %x", len(body), sha256.Sum256(body))); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	var all error
	for range cap(errs) {
		all = errors.Join(all, <-errs)
	}
	return all
}

func (x *cell) tooLarge() error {
	for range 2 {
		resp, _, err := ask(x.plain, "GET", x.base()+"/", nil, "X-Long", strings.Repeat("x", 9000))
		if err != nil {
			return err
		}
		if resp.StatusCode != 431 {
			return fmt.Errorf("%s, want 431", resp.Status)
		}
	}
	return want(x.plain, "GET", x.base()+"/slow?ms=0", nil, "slow")
}

// wrongSecret: everything is refused, and why says so.
func (x *cell) wrongSecret() error {
	for range 20 {
		resp, _, err := ask(x.plain, "GET", x.base()+"/", nil)
		if err != nil {
			return err
		}
		if resp.StatusCode != 403 {
			return fmt.Errorf("%s, want 403", resp.Status)
		}
	}
	w := x.m.c.workerAt(0, x.route)
	if w == nil || !strings.Contains(w.Why, "secret") {
		return fmt.Errorf("why says nothing of the secret: %+v", w)
	}
	return nil
}
