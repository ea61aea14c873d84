//go:build check || soak

package main

import (
	"archive/zip"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A WildFly with the three replicas as static proxies, and an example worker
// that has the same context, so that somebody serves while WildFly does not.
func TestCheckWildFly(t *testing.T) {
	rows := report{t: t}
	defer rows.print()
	began := time.Now()
	home := unpackWildFly(t)
	rows.add("WildFly fetched by Maven and unpacked", "%s", seconds(time.Since(began)))

	c := prepare(t, trioConfig{Set: []string{"upstream.tls.verify=none"}}) // WildFly makes its own certificate
	c.startAll()
	var traffic, mcmp []string
	for _, r := range c.replicas {
		traffic, mcmp = append(traffic, r.traffic), append(mcmp, r.mcmp)
	}
	began = time.Now()
	w := startWildFly(t, home, "wf1", "default", mcmp)
	c.waitUsable("wf1", "/shop")
	rows.add("WildFly started and registered at all 3 replicas", "%s after its start", seconds(time.Since(began)))
	rows.add("a session through the 3 replicas in turn", "%s", oneSession(t, traffic, "/shop/index.jsp", 12))

	mate := startExample(t, "w1", mcmp, "/shop")
	c.waitUsable("w1", "/shop")
	visits := []visit{
		{method: http.MethodGet, path: "/shop/index.jsp"}, // with a session
		{method: http.MethodGet, path: "/shop/index.jsp", stranger: true},
		{method: http.MethodGet, path: "/shop/index.jsp?ms=60", stranger: true},
	}
	crowd := sendCrowd(t, traffic, 9, 90, visits)
	crowd.untilUsed(t, "wf1", false)
	w.undeploy()
	for i, r := range c.replicas {
		if a := c.workerAt(i, "wf1"); hasContext(a, "/shop", "") {
			t.Errorf("%s: after the undeploy wf1 has %+v", r.name, a.Contexts)
		}
	}
	crowd.during(t, 30)
	before := crowd.answersOf("wf1")
	crowd.during(t, 90)
	if n := crowd.answersOf("wf1") - before; n != 0 {
		t.Errorf("wf1 answered %d requests for /shop after the undeploy", n)
	}
	w.deploy()
	crowd.untilUsed(t, "wf1", false)
	rows.total("undeploy and redeploy of /shop", crowd.sendHome(), false)

	crowd = sendCrowd(t, traffic, 9, 90, visits)
	crowd.untilUsed(t, "wf1", false)
	// WildFly first suspends itself, which ends with STOP-APP. Then it undeploys, which
	// begins with DISABLE-APP: until the next STOP-APP it asks for the requests of its
	// sessions, and refuses each. A balancer can only do as it is told.
	crowd.maySulk("wf1")
	began = time.Now()
	if err := w.stop(); err != nil {
		t.Errorf("wf1: %v after SIGTERM", err)
	}
	took := time.Since(began)
	crowd.during(t, 90)
	rows.total("orderly stop (SIGTERM)", crowd.sendHome(), false)
	rows.add("  its end", "after %s", seconds(took))
	for i, r := range c.replicas {
		if a := c.workerAt(i, "wf1"); a != nil && a.Status != "removed" {
			t.Errorf("%s: wf1 said goodbye and is %s: %s", r.name, a.Status, a.Why)
		}
	}
	if err := mate(); err != nil {
		t.Errorf("w1: %v after SIGTERM", err)
	}

	for _, listener := range []string{"ajp", "https"} {
		name := "wf-" + listener
		w := startWildFly(t, home, name, listener, mcmp)
		c.waitUsable(name, "/shop")
		if a := c.workerAt(0, name); a.Type != listener {
			t.Errorf("%s registered as %s", name, a.Type)
		}
		rows.add("registered with its "+listener+" listener, a session", "%s", oneSession(t, traffic, "/shop/index.jsp", 12))
		if err := w.stop(); err != nil {
			t.Errorf("%s: %v after SIGTERM", name, err)
		}
	}
}

// unpackWildFly returns the folder of a fresh WildFly.
func unpackWildFly(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/wildfly")); err != nil {
		t.Fatal(err)
	}
	maven(t, dir, "package")
	homes, err := filepath.Glob(filepath.Join(dir, "target", "wildfly-*"))
	if err != nil || len(homes) != 1 {
		t.Fatalf("unpacked: %v, %v", homes, err)
	}
	return homes[0]
}

// wildfly is one server process.
type wildfly struct {
	t      *testing.T
	shop   string // the deployment's file, without the marker's suffix
	cmd    *exec.Cmd
	ended  chan error
	server string // its log
}

// startWildFly starts a server whose mod_cluster subsystem names the replicas,
// with the shop deployed, and waits until that serves. listener is the one it
// registers with.
func startWildFly(t *testing.T, home, name, listener string, mcmp []string) *wildfly {
	t.Helper()
	file := filepath.Join(home, "standalone", "configuration", "standalone-ha.xml")
	fresh := file + ".fresh"
	text, err := os.ReadFile(fresh)
	if errors.Is(err, os.ErrNotExist) { // the first start
		text, err = os.ReadFile(file)
		err = errors.Join(err, os.WriteFile(fresh, text, 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	var names, bindings []string
	for i, addr := range mcmp {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, fmt.Sprintf("lb%d", i+1))
		bindings = append(bindings, fmt.Sprintf(`<outbound-socket-binding name=%q><remote-destination host=%q port=%q/></outbound-socket-binding>`, names[i], host, port))
	}
	changed := string(text)
	for _, r := range [][2]string{
		{`<proxy name="default" advertise-socket="modcluster" listener="ajp">`,
			fmt.Sprintf(`<proxy name="default" advertise="false" listener=%q stop-context-timeout="3" proxies=%q>`, listener, strings.Join(names, " "))},
		{`<outbound-socket-binding name="mail-smtp">`,
			strings.Join(bindings, "") + `<outbound-socket-binding name="mail-smtp">`},
		// By default the load is the machine's: on a busy one the server would get next to nothing.
		{`<load-metric type="cpu"/>`, `<load-metric type="heap"/>`},
	} {
		if strings.Count(changed, r[0]) != 1 {
			t.Fatalf("%s has no %s", file, r[0])
		}
		changed = strings.Replace(changed, r[0], r[1], 1)
	}
	if err := os.WriteFile(file, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}

	w := &wildfly{
		t:      t,
		shop:   filepath.Join(home, "standalone", "deployments", "shop.war"),
		ended:  make(chan error, 1),
		server: filepath.Join(home, "standalone", "log", "server.log"),
	}
	writeWar(t, w.shop, "testdata/wildfly/shop")
	w.mark(".dodeploy")
	args := []string{filepath.Join(home, "bin", "standalone.sh"), "-c", "standalone-ha.xml",
		"-Djboss.bind.address=127.0.0.1", "-Djboss.bind.address.management=127.0.0.1", "-Djboss.node.name=" + name}
	for _, p := range []string{"http", "https", "ajp", "management.http", "management.https"} {
		_, port, _ := net.SplitHostPort(reserve(t))
		args = append(args, fmt.Sprintf("-Djboss.%s.port=%s", p, port))
	}
	w.cmd = exec.Command("bash", args...)
	w.cmd.Env = append(os.Environ(), "JAVA_OPTS=-Xms64m -Xmx512m -Djava.net.preferIPv4Stack=true")
	w.cmd.SysProcAttr = childAttributes() // a process group: the script and its java
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { w.ended <- w.cmd.Wait() }()
	t.Cleanup(func() {
		syscall.Kill(-w.cmd.Process.Pid, syscall.SIGKILL)
		if text, err := os.ReadFile(w.server); err == nil && t.Failed() {
			t.Logf("%s:\n%s", name, tail(text, 60))
		}
	})
	w.waitMark(".deployed")
	return w
}

// mark leaves the file by which WildFly's scanner is told what to do.
func (w *wildfly) mark(suffix string) {
	w.t.Helper()
	if err := os.WriteFile(w.shop+suffix, nil, 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// waitMark waits for the scanner's answer.
func (w *wildfly) waitMark(suffix string) {
	w.t.Helper()
	waitFor(w.t, 2*patience, filepath.Base(w.shop)+suffix, func() error {
		if _, err := os.Stat(w.shop + ".failed"); err == nil {
			w.t.Fatal("the deployment failed")
		}
		_, err := os.Stat(w.shop + suffix)
		return err
	})
}

func (w *wildfly) deploy() {
	w.t.Helper()
	w.mark(".dodeploy")
	w.waitMark(".deployed")
}

func (w *wildfly) undeploy() {
	w.t.Helper()
	if err := os.Remove(w.shop + ".deployed"); err != nil {
		w.t.Fatal(err)
	}
	w.waitMark(".undeployed")
}

// stop is SIGTERM to the server, which is the script's child, and the wait for its end.
func (w *wildfly) stop() error {
	script := w.cmd.Process.Pid
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", script, script))
	if err != nil {
		return err
	}
	var java int
	if _, err := fmt.Sscan(string(children), &java); err != nil {
		return fmt.Errorf("children of %d: %q: %w", script, children, err)
	}
	if err := syscall.Kill(java, syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-w.ended:
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == 128+int(syscall.SIGTERM) {
			return nil // so Java ends after SIGTERM, however orderly
		}
		return err
	case <-time.After(patience):
		return errors.New("still runs")
	}
}

// writeWar packs the files of a folder.
func writeWar(t *testing.T, file, dir string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	err = errors.Join(z.AddFS(os.DirFS(dir)), z.Close(), f.Close())
	if err != nil {
		t.Fatal(err)
	}
}

// startExample starts `quorate demo worker` and returns what stops it.
func startExample(t *testing.T, name string, mcmp []string, contexts string) (stop func() error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "demo", "worker", "--name", name, "--mcmp", strings.Join(mcmp, ","), "--context", contexts, "--period", "1s")
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { cmd.Process.Kill() })
	return func() error {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			return errors.New("still runs")
		}
	}
}
