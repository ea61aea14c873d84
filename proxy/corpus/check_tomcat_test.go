//go:build check

package corpus

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// For each path that is sent on, a real Tomcat finds the same context, or refuses
// it. What quorate refuses is Tomcat's business no more; the log says how much of
// it Tomcat would have taken, and where to.
func TestCheckPathsAtTomcat(t *testing.T) {
	addr := startTomcat(t)
	agreed, refused := 0, 0
	for _, c := range readPaths(t) {
		target := c.sent
		if target == "" {
			target = c.target
		}
		status, context, err := ask(addr, target)
		switch {
		case err != nil:
			t.Errorf("%s: %s: %v", c.place, escape(target), err)
		case c.sent == "" && status == http.StatusOK:
			t.Logf("refused here, of %-8s there: %s", context, escape(target))
		case c.sent == "":
		case status == http.StatusBadRequest:
			refused++
			t.Logf("sent on, refused by Tomcat: %s", escape(target))
		case status != http.StatusOK:
			t.Errorf("%s: %s: Tomcat says %d", c.place, escape(target), status)
		case context != c.context:
			t.Errorf("%s: %s: is of %s here, and of %s at Tomcat", c.place, escape(target), c.context, context)
		default:
			agreed++
		}
	}
	t.Logf("the same context for %d paths; %d more are refused by Tomcat", agreed, refused)
	if agreed < 50 {
		t.Errorf("Tomcat agrees on %d paths only", agreed)
	}
}

// ask sends a target as it is.
func ask(addr, target string) (status int, context string, err error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return 0, "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "GET "+target+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		return 0, "", err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, "", err
	}
	resp.Body.Close()
	context, err = url.PathUnescape(resp.Header.Get("X-Context"))
	return resp.StatusCode, context, err
}

// startTomcat builds testdata/tomcat and runs it until the test ends.
func startTomcat(t *testing.T) (addr string) {
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
	args := []string{"-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.io.tmpdir=" + dir,
		"-cp", filepath.Join(dir, "target", "paths.jar") + ":" + filepath.Join(dir, "target", "lib", "*"), "quorate.Paths"}
	for _, c := range contexts {
		args = append(args, (&url.URL{Path: c}).EscapedPath())
	}
	java := exec.Command("java", args...)
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
	port, ok := strings.CutPrefix(strings.TrimSpace(line), "listening ")
	if err != nil || !ok {
		t.Fatalf("Tomcat says %q, %v", line, err)
	}
	return net.JoinHostPort("127.0.0.1", port)
}
