//go:build check || soak

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
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
	k := &tomcats{report: report{t: t}, workers: map[string]*tomcat{}}
	defer k.print()
	began := time.Now()
	k.classes = buildTomcat(t)
	k.add("worker built by Maven", "%s", seconds(time.Since(began)))
	const group, interval = "239.255.77.10", time.Second
	key := filepath.Join(t.TempDir(), "key")
	k.c = prepare(t, trioConfig{Set: []string{"mcmp.advertise.enabled=true", "mcmp.advertise.group=" + group,
		"mcmp.advertise.interval=" + interval.String(), "mcmp.advertise.security_key_file=" + key}})
	k.c.write(key, "s3cret\n")
	k.c.startAll()
	for _, r := range k.c.replicas {
		k.traffic, k.mcmp = append(k.traffic, r.traffic), append(k.mcmp, r.mcmp)
	}

	k.discover(group+":23364", "s3cret", interval)
	k.register()
	k.add("a session through the 3 replicas in turn", "%s", oneSession(t, k.traffic, "/shop/session", 12))
	k.redeploy("w1")
	k.stop("w2")
	k.killWorker("w3")
	k.killLeader()
	k.add("a session through the 3 replicas in turn", "%s", oneSession(t, k.traffic, "/shop/session", 12))
	for route, w := range k.workers {
		if err := w.stop(); err != nil {
			t.Errorf("%s: %v after stop", route, err)
		}
	}
}

// tomcats is what the steps of the check share.
type tomcats struct {
	report
	c             *trio
	classes       string
	traffic, mcmp []string
	workers       map[string]*tomcat
}

func (k *tomcats) start(route string) {
	k.t.Helper()
	k.workers[route] = startTomcat(k.t, k.classes, route, k.mcmp)
}

func (k *tomcats) crowd(more ...visit) *crowd {
	k.t.Helper()
	return sendCrowd(k.t, k.traffic, 12, 120, append(more, shopVisits...))
}

// discover starts two Tomcats that know no replica, the first with another key. Nobody
// else sends STATUS yet: a replica that counts one was found by the second.
func (k *tomcats) discover(group, key string, interval time.Duration) {
	stranger := startTomcat(k.t, k.classes, "stranger", []string{"other@" + group})
	deaf, told := time.Now(), k.advertised()
	w := startTomcat(k.t, k.classes, "w0", []string{key + "@" + group})
	began := time.Now()
	for i, r := range k.c.replicas {
		waitFor(k.t, patience, "w0 to find "+r.name, func() error {
			if k.c.metric(i, "quorate_mcmp_messages_total", `command="STATUS"`) == 0 {
				return errors.New("no STATUS")
			}
			return nil
		})
	}
	k.c.waitUsable("w0", "/shop", "/api")
	took := time.Since(began)
	const exchange = 500 * time.Millisecond // of the messages, and a loaded machine
	if limit := slowdown * (interval + statusPeriod + exchange); took > limit {
		k.t.Errorf("w0 is registered after %s, want at most %s: an interval, a status period and %s", took, limit, exchange)
	}
	k.add("a session of the Tomcat found by advertising", "%s", oneSession(k.t, k.traffic, "/shop/session", 12))

	k.never("stranger", told+5)
	k.t.Logf("figure: a Tomcat by advertising alone: all 3 replicas found, and route to it, %s after it listens (interval %s, status period %s); one with another key: not within %s",
		took.Round(time.Millisecond), interval, statusPeriod, time.Since(deaf).Round(time.Millisecond))
	for _, w := range []*tomcat{w, stranger} {
		if err := w.stop(); err != nil {
			k.t.Errorf("%s: %v after stop", w.route, err)
		}
	}
}

// never watches, until every replica has advertised itself so often, that none of them
// knows route.
func (k *tomcats) never(route string, often float64) {
	k.t.Helper()
	waitFor(k.t, patience, "the replicas to advertise themselves", func() error {
		for i, r := range k.c.replicas {
			if w := k.c.workerAt(i, route); w != nil {
				k.t.Fatalf("%s knows %s: %+v", r.name, route, w)
			}
		}
		if n := k.advertised(); n < often {
			return fmt.Errorf("%v times, not %v", n, often)
		}
		return nil
	})
}

// advertised is how often the replica that did so least has advertised itself.
func (k *tomcats) advertised() float64 {
	k.t.Helper()
	least := math.Inf(1)
	for i := range k.c.replicas {
		least = min(least, k.c.metric(i, "quorate_advertisements_sent_total"))
	}
	return least
}

func (k *tomcats) register() {
	var slowest time.Duration
	for _, route := range []string{"w1", "w2", "w3"} {
		k.start(route)
		began := time.Now()
		k.c.waitUsable(route, "/shop", "/api")
		slowest = max(slowest, time.Since(began))
	}
	k.add("registration: all 3 replicas route to a Tomcat", "%s after it listens, at most (3 Tomcats)", seconds(slowest))
}

func (k *tomcats) redeploy(route string) {
	users := k.crowd()
	users.untilUsed(k.t, route, true)
	k.workers[route].do("undeploy /shop")
	for i, r := range k.c.replicas {
		if w := k.c.workerAt(i, route); hasContext(w, "/shop", "") || !hasContext(w, "/api", "enabled") {
			k.t.Errorf("%s: after the undeploy %s has %+v", r.name, route, w.Contexts)
		}
	}
	users.during(k.t, 30) // what was on its way is counted
	before := users.answersOf(route)
	users.during(k.t, 120)
	if n := users.answersOf(route) - before; n != 0 {
		k.t.Errorf("%s answered %d requests for /shop after the undeploy", route, n)
	}
	k.workers[route].do("deploy /shop")
	users.untilUsed(k.t, route, true)
	k.total("undeploy and redeploy of /shop on "+route, users.sendHome(), false)
}

func (k *tomcats) stop(route string) {
	users := k.crowd()
	users.untilUsed(k.t, route, true)
	if err := k.workers[route].stop(); err != nil {
		k.t.Errorf("%s: %v after stop", route, err)
	}
	users.during(k.t, 120)
	k.total("graceful stop of "+route, users.sendHome(), false)
	k.start(route)
	k.c.waitUsable(route, "/shop", "/api")
}

func (k *tomcats) killWorker(route string) {
	users := k.crowd(visit{method: http.MethodGet, path: "/shop/drip?ms=400", stranger: true, drips: 10})
	users.untilUsed(k.t, route, true)
	users.during(k.t, 60)
	k.workers[route].kill()
	users.during(k.t, 240)
	for i, r := range k.c.replicas {
		for healthy := range k.workers {
			if w := k.c.workerAt(i, healthy); healthy != route && w.Status != "up" {
				k.t.Errorf("%s: %s was killed, and %s is %s: %s", r.name, route, healthy, w.Status, w.Why)
			}
		}
	}
	k.start(route)
	k.c.waitUsable(route, "/shop", "/api")
	users.untilUsed(k.t, route, true)
	k.total("kill -9 of "+route+", later started again", users.sendHome(), true)
}

func (k *tomcats) killLeader() {
	leader := k.c.leader()
	name := k.c.replicas[leader].name
	users := k.crowd()
	users.during(k.t, 120)
	users.dies(k.c.replicas[leader].traffic)
	killed := time.Now()
	k.c.kill(leader)
	next := leader
	waitFor(k.t, patience, "another leader", func() error {
		if next = k.c.leader(); next == leader {
			return errors.New("the old one is still called leader")
		}
		return nil
	})
	elected := time.Since(killed)
	users.during(k.t, 240)
	total := users.sendHome()
	if total.moved > 0 {
		k.t.Errorf("%d sessions moved when a replica was killed", total.moved)
	}
	k.total("kill -9 of the leader "+name, total, true)
	k.add("  the next leader", "%s after %s", k.c.replicas[next].name, seconds(elected))
	k.c.start(leader)
	k.c.waitHealthy(0, 1, 2)
	for route := range k.workers {
		k.c.waitUsable(route, "/shop", "/api")
	}
	k.add("  "+name+" started again", "healthy, routes to all workers")
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

// statusPeriod is how often a Tomcat sends STATUS.
const statusPeriod = time.Second

// startTomcat starts one that tells mcmp of itself: addresses, or a single KEY@GROUP:PORT
// where it hears them.
func startTomcat(t *testing.T, classes, route string, mcmp []string, more ...string) *tomcat {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	stderr, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	w := &tomcat{t: t, route: route, lines: make(chan string, 16), ended: make(chan error, 1)}
	w.cmd = exec.Command("java", append([]string{"-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.io.tmpdir=" + dir,
		"-cp", classes, "quorate.Worker", route, "0", strconv.Itoa(int(statusPeriod.Milliseconds())), strings.Join(mcmp, ","), "/shop,/api"}, more...)...)
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
