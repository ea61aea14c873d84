//go:build check

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/admin"
)

// shopVisits is what users of the shop do: sessions, strangers who are given any
// worker, slow pages that are in flight at any moment, and changes.
var shopVisits = []visit{
	{method: http.MethodGet, path: "/shop/session", session: true},
	{method: http.MethodGet, path: "/shop/", stranger: true},
	{method: http.MethodGet, path: "/shop/slow?ms=60", stranger: true},
	{method: http.MethodGet, path: "/shop/session", session: true},
	{method: http.MethodPost, path: "/shop/echo", body: "one article", stranger: true},
}

// Three Tomcats with the published client register with every replica. What they
// and the replicas go through must not be seen by the users.
func TestCheckTomcat(t *testing.T) {
	rows := report{t: t}
	defer rows.print()
	began := time.Now()
	classes := buildTomcat(t)
	rows.add("worker built by Maven", "%s", seconds(time.Since(began)))

	c := startTrio(t)
	var traffic, mcmp []string
	for _, r := range c.replicas {
		traffic, mcmp = append(traffic, r.traffic), append(mcmp, r.mcmp)
	}
	workers := map[string]*tomcat{}
	started := map[string]time.Time{}
	for _, route := range []string{"w1", "w2", "w3"} {
		workers[route] = startTomcat(t, classes, route, mcmp)
		started[route] = time.Now()
	}
	slowest := time.Duration(0)
	for route, at := range started {
		c.waitUsable(route, "/shop", "/api")
		slowest = max(slowest, time.Since(at))
	}
	rows.add("3 Tomcats up, all 3 replicas route to each", "%s after the last one listened (its STATUS period is 1s)", seconds(slowest))

	rows.add("a session through the 3 replicas in turn", "%s", oneSession(t, traffic, "/shop/session", 12))

	crowd := sendCrowd(t, traffic, 12, 120, shopVisits)
	crowd.untilUsed(t, "w1", true)
	workers["w1"].do("undeploy /shop")
	for i := range c.replicas {
		if w := c.workerAt(i, "w1"); hasContext(w, "/shop", "") || !hasContext(w, "/api", "enabled") {
			t.Errorf("%s: after the undeploy w1 has %+v", c.replicas[i].name, w.Contexts)
		}
	}
	crowd.during(t, 30) // what was on its way is counted
	before := crowd.answersOf("w1")
	crowd.during(t, 120)
	if n := crowd.answersOf("w1") - before; n != 0 {
		t.Errorf("w1 answered %d requests for /shop after the undeploy", n)
	}
	workers["w1"].do("deploy /shop")
	crowd.untilUsed(t, "w1", true)
	rows.total("undeploy and redeploy of /shop on w1", crowd.sendHome(), false)

	crowd = sendCrowd(t, traffic, 12, 120, shopVisits)
	crowd.untilUsed(t, "w2", true)
	if err := workers["w2"].stop(); err != nil {
		t.Errorf("w2: %v after stop", err)
	}
	crowd.during(t, 120)
	rows.total("graceful stop of w2", crowd.sendHome(), false)
	workers["w2"] = startTomcat(t, classes, "w2", mcmp)
	c.waitUsable("w2", "/shop", "/api")

	crowd = sendCrowd(t, traffic, 12, 120, append([]visit{{method: http.MethodGet, path: "/shop/drip?ms=400", stranger: true, drips: 10}}, shopVisits...))
	crowd.untilUsed(t, "w3", true)
	crowd.during(t, 60)
	workers["w3"].kill()
	crowd.during(t, 240)
	for i := range c.replicas {
		for _, healthy := range []string{"w1", "w2"} {
			if w := c.workerAt(i, healthy); w.Status != "up" {
				t.Errorf("%s: w3 was killed, and %s is %s: %s", c.replicas[i].name, healthy, w.Status, w.Why)
			}
		}
	}
	workers["w3"] = startTomcat(t, classes, "w3", mcmp)
	c.waitUsable("w3", "/shop", "/api")
	crowd.untilUsed(t, "w3", true)
	rows.total("kill -9 of w3, later started again", crowd.sendHome(), true)

	leader := c.leader()
	crowd = sendCrowd(t, traffic, 12, 120, shopVisits)
	crowd.during(t, 120)
	crowd.dies(c.replicas[leader].traffic)
	killed := time.Now()
	c.kill(leader)
	next := -1
	waitFor(t, patience, "another leader", func() error {
		if next = c.leader(); next == leader {
			return errors.New("the old one is still called leader")
		}
		return nil
	})
	elected := time.Since(killed)
	crowd.during(t, 240)
	total := crowd.sendHome()
	if total.moved > 0 {
		t.Errorf("%d sessions moved when a replica was killed", total.moved)
	}
	rows.total(fmt.Sprintf("kill -9 of the leader %s", c.replicas[leader].name), total, true)
	rows.add("  next leader "+c.replicas[next].name, "after %s", seconds(elected))
	c.start(leader)
	c.waitHealthy(0, 1, 2)
	for route := range workers {
		c.waitUsable(route, "/shop", "/api")
	}
	rows.add("  the killed replica started again", "healthy, routes to all workers")
	rows.add("a session through the 3 replicas in turn", "%s", oneSession(t, traffic, "/shop/session", 12))
	for route, w := range workers {
		if err := w.stop(); err != nil {
			t.Errorf("%s: %v after stop", route, err)
		}
	}
}

// waitUsable returns when every replica gives route new sessions of these contexts.
func (c *trio) waitUsable(route string, contexts ...string) {
	c.t.Helper()
	for i, r := range c.replicas {
		waitFor(c.t, patience, r.name+" to use "+route, func() error {
			w := c.workerAt(i, route)
			switch {
			case w == nil:
				return errors.New("not registered")
			case w.Status != "up":
				return fmt.Errorf("%s: %s", w.Status, w.Why)
			}
			for _, path := range contexts {
				if !hasContext(w, path, "enabled") {
					return fmt.Errorf("%s is not enabled: %+v", path, w.Contexts)
				}
			}
			return nil
		})
	}
}

// hasContext says whether w has a context, and with this status if one is given.
func hasContext(w *admin.Worker, path, status string) bool {
	return slices.ContainsFunc(w.Contexts, func(x admin.Context) bool {
		return x.Path == path && (status == "" || strings.EqualFold(x.Effective, status))
	})
}

// oneSession makes n visits, each through the next replica. The session must
// stay with its worker, which counts 1, 2, 3, …
func oneSession(t *testing.T, targets []string, path string, n int) string {
	t.Helper()
	u := &user{conns: map[string]*userConn{}}
	defer u.leave()
	first, worker := "", ""
	for i := 1; i <= n; i++ {
		a, _, err := u.ask(targets[i%len(targets)], visit{method: http.MethodGet, path: path})
		if err != nil {
			t.Fatalf("visit %d: %v", i, err)
		}
		id, visits := a.session()
		if first == "" {
			first, worker = id, a.worker
		}
		if id == "" || id != first || visits != i || a.worker != worker {
			t.Fatalf("visit %d of session %s at %s: %d, worker %s: %s", i, first, worker, a.status, a.worker, a.body)
		}
	}
	return fmt.Sprintf("%d visits, all at %s, which counted 1 to %d", n, worker, n)
}

// report is the table that a check prints at its end.
type report struct {
	t    *testing.T
	rows [][2]string
}

func (r *report) add(what, format string, args ...any) {
	r.rows = append(r.rows, [2]string{what, fmt.Sprintf(format, args...)})
}

// total adds what the users saw, and holds them to have seen nothing. Only a
// kill may cut an answer off, and leave a POST that nobody may send twice.
func (r *report) total(what string, a tally, killed bool) {
	r.t.Helper()
	r.add(what, "%s", a)
	for _, f := range a.failures[:min(len(a.failures), 10)] {
		r.t.Errorf("%s: %s", what, f)
	}
	if !killed && a.cut+a.lostPosts > 0 {
		r.t.Errorf("%s: %d answers cut off, %d POSTs lost, and nothing was killed", what, a.cut, a.lostPosts)
	}
}

func (r *report) print() {
	wide := 0
	for _, row := range r.rows {
		wide = max(wide, len(row[0]))
	}
	var b strings.Builder
	for _, row := range r.rows {
		fmt.Fprintf(&b, "\n%-*s  %s", wide, row[0], row[1])
	}
	r.t.Log(b.String())
}

// buildTomcat compiles testdata/tomcat and returns its class path.
func buildTomcat(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/tomcat")); err != nil {
		t.Fatal(err)
	}
	maven(t, dir, "package")
	return filepath.Join(dir, "target", "worker.jar") + ":" + filepath.Join(dir, "target", "lib", "*")
}

// maven runs goals of the project in dir.
func maven(t *testing.T, dir string, goals ...string) {
	t.Helper()
	args := append([]string{"-q", "-B", "-Dmaven.wagon.http.retryHandler.count=3"}, goals...)
	cmd := exec.Command("mvn", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mvn %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// tomcat is one worker process; see Worker.java.
type tomcat struct {
	t     *testing.T
	route string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // of its stdout; closed at its end
	ended chan error
}

func startTomcat(t *testing.T, classes, route string, mcmp []string) *tomcat {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	stderr, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	w := &tomcat{t: t, route: route, lines: make(chan string, 16), ended: make(chan error, 1)}
	w.cmd = exec.Command("java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.io.tmpdir="+dir,
		"-cp", classes, "quorate.Worker", route, "0", "1000", strings.Join(mcmp, ","), "/shop,/api")
	w.cmd.Stderr = stderr
	w.cmd.SysProcAttr = childAttributes()
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		scan := bufio.NewScanner(out)
		for scan.Scan() {
			w.lines <- scan.Text()
		}
		close(w.lines)
		w.ended <- w.cmd.Wait()
	}()
	t.Cleanup(func() {
		w.cmd.Process.Kill()
		for range w.lines {
		}
		if text, err := os.ReadFile(log); err == nil && t.Failed() {
			t.Logf("%s:\n%s", route, tail(text, 30))
		}
	})
	w.wait("listening")
	return w
}

// do gives a command and waits until it is done.
func (w *tomcat) do(command string) {
	w.t.Helper()
	if _, err := io.WriteString(w.in, command+"\n"); err != nil {
		w.t.Fatalf("%s: %s: %v", w.route, command, err)
	}
	w.wait("done " + command)
}

func (w *tomcat) wait(line string) {
	w.t.Helper()
	select {
	case got := <-w.lines:
		if !strings.HasPrefix(got, line) {
			w.t.Fatalf("%s says %q, not %q", w.route, got, line)
		}
	case <-time.After(patience):
		w.t.Fatalf("%s does not say %q", w.route, line)
	}
}

// stop says goodbye to the replicas and ends the process.
func (w *tomcat) stop() error {
	w.do("stop")
	select {
	case err := <-w.ended:
		return err
	case <-time.After(patience):
		return errors.New("still runs")
	}
}

func (w *tomcat) kill() {
	w.cmd.Process.Kill()
	<-w.ended
}

// tail is the last n lines of text.
func tail(text []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
