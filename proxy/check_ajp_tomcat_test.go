//go:build check

package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startAJPTomcat builds testdata/tomcat and runs it until the test ends. open takes
// requests without a secret, closed only with it.
func startAJPTomcat(t *testing.T, secret string) (open, closed string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/tomcat")); err != nil {
		t.Fatal(err)
	}
	mvn := exec.Command("mvn", "-q", "-B", "-Dmaven.wagon.http.retryHandler.count=3", "package")
	mvn.Dir = dir
	if out, err := mvn.CombinedOutput(); err != nil {
		t.Fatalf("mvn package: %v\n%s", err, out)
	}
	java := exec.Command("java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.io.tmpdir="+dir,
		"-cp", filepath.Join(dir, "target", "ajp.jar")+":"+filepath.Join(dir, "target", "lib", "*"), "quorate.Ajp", secret)
	in, err := java.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := java.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := java.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close() // it ends
		stuck := time.AfterFunc(patience, func() { java.Process.Kill() })
		defer stuck.Stop()
		if err := java.Wait(); err != nil {
			t.Errorf("Tomcat ends with %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	ports := strings.Fields(line)
	if err != nil || len(ports) != 3 || ports[0] != "listening" {
		t.Fatalf("Tomcat says %q, %v", line, err)
	}
	return net.JoinHostPort("127.0.0.1", ports[1]), net.JoinHostPort("127.0.0.1", ports[2])
}

// TestCheckAJPTomcat is the checklist of spec/ajp13.md §16 against a real Tomcat, on one
// connection to it as long as nothing breaks.
func TestCheckAJPTomcat(t *testing.T) {
	const secret = "s3cret of the check"
	open, closed := startAJPTomcat(t, secret)
	at := func(addr string) *worker { return &worker{addr: addr} }
	idle := func(r *rig) int { return r.upstream(r.targetOf("w1")).pool.Stats().Idle }

	for _, s := range []struct {
		addr string
		ajp  AJP
	}{{open, AJP{}}, {closed, AJP{Secret: secret, MaxPacketBytes: 64 << 10, CPingAfterIdle: time.Second}}} {
		r, secure, client := runTLS(t, func(c *Config) { c.Upstream.AJP = s.ajp })
		r.register("w1", at(s.addr), isAJP)
		askServlets(t, r)
		askBySecure(t, r, secure, client)
		// A client may ask again before the end of its answer is heard.
		if n := idle(r); n == 0 || n > 8 {
			t.Errorf("%d idle connections behind all that", n)
		}
		r.stop()
	}

	r := run(t, func(c *Config) { c.Upstream.ResponseTimeout = 3 * time.Second })
	r.register("w1", at(open), isAJP)
	breakOff(t, r)
	r.stop()

	for _, wrong := range []string{"", "wrong"} {
		r := run(t, func(c *Config) { c.Upstream.AJP = AJP{Secret: wrong} })
		r.register("w1", at(closed), isAJP)
		for range 5 {
			r.get("/").want(t, 403, "")
		}
		r.do("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello").want(t, 403, "")
		if err := r.Check(t.Context(), "w1"); err != nil {
			t.Errorf("CPING: %v", err)
		}
		if _, why := r.Table().Why("w1", r.clock); !strings.Contains(why, "wrong AJP secret") {
			t.Errorf("secret %q: why says %q", wrong, why)
		}
		if n := idle(r); n != 0 {
			t.Errorf("secret %q: %d connections are kept", wrong, n)
		}
		r.stop()
	}
}

// askServlets asks for all that a servlet can do; every connection stays good.
func askServlets(t *testing.T, r *rig) {
	facts := r.get("/caf%C3%A9;jsessionid=abc.w1/x%20y?q=%C3%BC&r", "Cookie: JSESSIONID=def.w1", "X-Forwarded-For: 6.6.6.6", "X-Two: 1", "X-Two: 2").lines()
	for name, want := range map[string]string{
		"method": "GET", "uri": "/caf%C3%A9;jsessionid=abc.w1/x%20y", "path": "/café/x y", "query": "q=%C3%BC&r", "protocol": "HTTP/1.1",
		"scheme": "http", "secure": "false", "server": "localhost 80", "h host": "localhost", "h x-two": "1|2", "h x-forwarded-for": "",
		"session": "def.w1", "tls": "null", "cipher": "null",
	} {
		if facts[name] != want {
			t.Errorf("%s: %q, want %q", name, facts[name], want)
		}
	}
	if !strings.HasPrefix(facts["remote"], "127.0.0.1 ") || facts["remote"] == "127.0.0.1 0" || !strings.HasPrefix(facts["local"], "127.0.0.1 ") {
		t.Errorf("remote %q, local %q", facts["remote"], facts["local"])
	}
	for _, m := range []string{"PATCH", "PROPFIND", "QUERY", "DELETE", "OPTIONS", "X-OWN"} {
		if got := r.do(m + " /x HTTP/1.1\r\nHost: localhost\r\n\r\n").lines()["method"]; got != m {
			t.Errorf("%s arrives as %q", m, got)
		}
	}
	if got := r.do("GET /x? HTTP/1.0\r\nHost: localhost\r\n\r\n").lines(); got["protocol"] != "HTTP/1.0" || got["query"] != "" {
		t.Errorf("HTTP/1.0: %v", got)
	}

	long := strings.Repeat("0123456789abcdef", 64<<10)
	for _, size := range []int{0, 1, 8184, 8185, 8186, 8187, 8188, 16 << 10, 100_000, len(long)} {
		body := long[:size]
		chunks := ""
		for rest := body; rest != ""; {
			n := min(len(rest), 5000)
			chunks += fmt.Sprintf("%x\r\n%s\r\n", n, rest[:n])
			rest = rest[n:]
		}
		chunks += "0\r\nX-Trailer: 1\r\n\r\n"
		for _, framed := range []string{fmt.Sprintf("Content-Length: %d\r\n\r\n%s", size, body), "Transfer-Encoding: chunked\r\n\r\n" + chunks} {
			a := r.pour("POST /echo HTTP/1.1\r\nHost: localhost\r\n" + framed)
			if a.StatusCode != 200 || a.text != body || a.err != nil {
				t.Errorf("%.20q: %s, %d bytes of %d, %v", framed, a.Status, len(a.text), size, a.err)
			}
			a = r.pour("POST /some HTTP/1.1\r\nHost: localhost\r\n" + framed)
			if a.StatusCode != 200 || a.text != body[:min(10, size)] || a.err != nil {
				t.Errorf("a part of %.20q: %s, %q, %v", framed, a.Status, a.text, a.err)
			}
		}
		for _, how := range []string{"", "&length=1"} {
			a := r.get(fmt.Sprintf("/bytes?n=%d%s", size, how))
			if a.StatusCode != 200 || len(a.text) != size || a.err != nil || how != "" && a.ContentLength != int64(size) {
				t.Errorf("%d bytes%s: %s, %d, %v", size, how, a.Status, len(a.text), a.err)
			}
		}
		a := r.do(fmt.Sprintf("HEAD /bytes?n=%d&length=1 HTTP/1.1\r\nHost: localhost\r\n\r\n", size))
		if a.StatusCode != 200 || a.ContentLength != int64(size) {
			t.Errorf("HEAD of %d: %s, %d", size, a.Status, a.ContentLength)
		}
	}
	form := "a=1&b=2"
	r.do(fmt.Sprintf("POST /form HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(form), form)).want(t, 200, "1|2")
	r.do("GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n").want(t, 200, "") // it reads, and there is nothing
	for _, s := range []int{200, 204, 205, 304, 404, 500} {
		for _, m := range []string{"GET", "HEAD"} {
			a := r.do(fmt.Sprintf("%s /status?of=%d HTTP/1.1\r\nHost: localhost\r\n\r\n", m, s))
			bare := m == "HEAD" || s == 204 || s == 205 || s == 304
			if a.StatusCode != s || a.err != nil || bare && a.text != "" || !bare && a.text != "not for all" || a.Header.Get("ETag") != `"1"` {
				t.Errorf("%s %d: %s %q %v", m, s, a.Status, a.text, a.err)
			}
		}
	}
	if a := r.get("/cookies?n=50"); a.StatusCode != 200 || len(a.Header["Set-Cookie"]) != 50 {
		t.Errorf("%s, %d cookies", a.Status, len(a.Header["Set-Cookie"]))
	}
	e := dial(t, r.addr)
	e.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	if line, err := e.r.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Errorf("expect: %q, %v", line, err)
	}
	e.r.ReadString('\n')
	e.send("hello")
	e.read("POST").want(t, 200, "hello")

	// Events come one by one, each when it is written.
	c := dial(t, r.addr)
	c.send("POST /stream HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	events := bufio.NewReader(resp.Body)
	for i := range 3 {
		line, err := events.ReadString('\n')
		if err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Errorf("event %d: %q, %v", i, line, err)
		}
		events.ReadString('\n')
		if i < 2 {
			c.send("1\r\nx\r\n")
		}
	}
	if rest, err := io.ReadAll(events); err != nil || len(rest) > 0 {
		t.Errorf("behind the events: %q, %v", rest, err)
	}

	// Too large here, so Tomcat hears nothing of it.
	most := r.c.Upstream.AJP.packet()
	r.do("GET / HTTP/1.1\r\nHost: localhost\r\nX-Large: "+strings.Repeat("x", most)+"\r\n\r\n").want(t, 431, "")
	r.do("GET /"+strings.Repeat("p", most)+" HTTP/1.1\r\nHost: localhost\r\n\r\n").want(t, 414, "")
	r.get("/x").want(t, 200, "method: GET")
}

// askBySecure asks by TLS and HTTP/2.
func askBySecure(t *testing.T, r *rig, addr string, client *http.Client) {
	get := func(method, path string, body io.Reader) *reply {
		q, _ := http.NewRequest(method, "https://"+addr+path, body)
		resp, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return &reply{resp, string(b), err}
	}
	_, port, _ := net.SplitHostPort(addr)
	facts := get("GET", "/facts", nil).lines()
	for name, want := range map[string]string{"scheme": "https", "secure": "true", "protocol": "HTTP/1.1", "tls": "TLSv1.3", "server": "127.0.0.1 " + port} {
		if facts[name] != want {
			t.Errorf("by TLS: %s: %q, want %q", name, facts[name], want)
		}
	}
	if !strings.HasPrefix(facts["cipher"], "TLS_") || facts["bits"] != "128" && facts["bits"] != "256" {
		t.Errorf("by TLS: cipher %q of %q bits", facts["cipher"], facts["bits"])
	}
	long := strings.Repeat("0123456789abcdef", 64<<10)
	for _, body := range []io.Reader{strings.NewReader(long), io.MultiReader(strings.NewReader(long))} {
		if a := get("POST", "/echo", body); a.StatusCode != 200 || a.text != long || a.err != nil || a.ProtoMajor != 2 {
			t.Errorf("%s %s: %d bytes, %v", a.Proto, a.Status, len(a.text), a.err)
		}
	}
	get("POST", "/refuse", strings.NewReader(long)).want(t, 413, "too much")
	get("GET", "/bytes?n=1000000", nil).want(t, 200, "")
	if a := get("HEAD", "/bytes?n=1000&length=1", nil); a.ContentLength != 1000 {
		t.Errorf("HEAD: %d", a.ContentLength)
	}
}

// breakOff breaks exchanges off, from either side: what follows is right.
func breakOff(t *testing.T, r *rig) {
	for _, framing := range []string{"Content-Length: 1000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nf4240\r\n"} {
		for _, sent := range []int{0, 100, 20_000} {
			c := dial(t, r.addr)
			c.send("POST /refuse HTTP/1.1\r\nHost: localhost\r\n" + framing + strings.Repeat("r", sent))
			c.read("POST").want(t, 413, "too much")
			c.Close()

			c = dial(t, r.addr)
			c.send("POST /wait HTTP/1.1\r\nHost: localhost\r\n" + framing + strings.Repeat("w", sent))
			c.Close()
			r.get("/x").want(t, 200, "method: GET")
		}
	}
	// Tomcat neither ends such an answer nor closes the connection: silence tells.
	if a := r.get("/break"); a.err == nil || a.text != "half" {
		t.Errorf("an answer that breaks off: %s %q, %v", a.Status, a.text, a.err)
	}
	c := dial(t, r.addr)
	c.send("GET /bytes?n=100000000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	c.r.ReadByte()
	c.Close()
	eventually(t, "nothing is in flight", func() bool { return r.Stats().InFlight == 0 })
	r.get("/x").want(t, 200, "method: GET")
	if r.table.Load().Node("w1").Suspect() {
		t.Error("the node is marked")
	}
}

// pour sends a request while its answer is read.
func (r *rig) pour(raw string) *reply {
	c := dial(r.t, r.addr)
	defer c.Close()
	go io.WriteString(c.Conn, raw)
	return c.read("POST")
}

// lines are the facts that testdata/tomcat tells, several of a name joined by "|".
func (a *reply) lines() map[string]string {
	facts := map[string]string{}
	for line := range strings.Lines(a.text) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if old, ok := facts[name]; ok {
			value = old + "|" + value
		}
		facts[name] = value
	}
	return facts
}
