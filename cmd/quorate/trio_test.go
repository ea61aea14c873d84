package main

// The harness: replicas as child processes on loopback.
//
//	c := startTrio(t)                  three replicas, formed, healthy
//	c := prepare(t, trioConfig{...})   files and addresses only; then c.start(i)
//	c.start(i)  c.kill(i)  c.stop(i)   serve, SIGKILL, SIGTERM; kill and stop wait for the end
//	c.add("lb4")                       a further replica, told only join and secret; its index
//	c.waitHealthy(i...)                these all see a leader, all voters and no problem
//	c.leader()  c.follower()           indexes, as the replicas that run agree on it
//	c.status(i) c.workers(i)           the admin listener's answers
//	c.info(i)   c.metric(i, name)      MCMP INFO; the sum of a metric's samples
//	c.logLines(i, msg)                 log lines with this message, decoded
//	c.quorate(i, "status")             a command of the program, asked of replica i
//	c.replicas[i].traffic, .mcmp, .admin, .cluster, .gossip, .pid(), .dir
//
// Indexes count from 0, names from lb1. A replica keeps its addresses and its
// directory from one start to the next. What runs at the end of the test is
// killed by its pid. A log with an ERROR, a panic or a race fails the test; a
// failed test shows the end of every log.
//
// The questions are in trio_ask_test.go, the worker's side in trio_worker_test.go,
// the users' in trio_users_test.go.

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quorate/quorate/raftnode"
)

// patience bounds what must happen but has no limit of its own: a loaded machine is slow.
const patience = 60 * time.Second

// trioConfig says what replicas to prepare. Zero fields have their default.
type trioConfig struct {
	Replicas int      // default 3
	Binary   string   // default: the test binary, which is the program (main_test.go)
	Set      []string // KEY=VALUE of every replica
}

// trio is a cluster of child processes, mostly three.
type trio struct {
	t        testing.TB
	c        trioConfig
	dir      string
	secret   string // file
	join     []string
	replicas []*replica
	expected string // message of an ERROR that the test provokes
}

// replica is one child process, and where it listens.
type replica struct {
	name, dir, file, log                  string
	traffic, mcmp, admin, cluster, gossip string

	cmd   *exec.Cmd     // nil before the first start
	ended chan struct{} // closed when the process has been waited for
}

// startTrio returns three healthy replicas.
func startTrio(t testing.TB) *trio {
	t.Helper()
	c := prepare(t, trioConfig{})
	c.startAll()
	return c
}

// prepare writes the files of replicas that form one cluster. A single one gets
// no cluster at all.
func prepare(t testing.TB, conf trioConfig) *trio {
	t.Helper()
	if conf.Replicas == 0 {
		conf.Replicas = 3
	}
	if conf.Binary == "" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		conf.Binary = self
	}
	c := &trio{t: t, c: conf, dir: t.TempDir()}
	t.Cleanup(c.end)
	c.secret = filepath.Join(c.dir, "secret")
	c.write(c.secret, raftnode.NewSecret().Text()+"\n")
	for i := range conf.Replicas {
		r := c.place("lb" + strconv.Itoa(i+1))
		c.join = append(c.join, r.gossip)
	}
	for _, r := range c.replicas {
		if conf.Replicas == 1 {
			c.configure(r, "")
		} else {
			c.configure(r, fmt.Sprintf("  bootstrap_expect: %d\n", conf.Replicas))
		}
	}
	return c
}

// add prepares and starts a replica that is told where the others are, and the secret.
func (c *trio) add(name string) int {
	c.t.Helper()
	c.configure(c.place(name), "  # no bootstrap_expect\n")
	c.start(len(c.replicas) - 1)
	return len(c.replicas) - 1
}

// place gives a replica its addresses and names.
func (c *trio) place(name string) *replica {
	c.t.Helper()
	r := &replica{
		name:    name,
		dir:     filepath.Join(c.dir, name),
		file:    filepath.Join(c.dir, name+".yaml"),
		log:     filepath.Join(c.dir, name+".log"),
		traffic: reserve(c.t),
		mcmp:    reserve(c.t),
		admin:   reserve(c.t),
		cluster: reserve(c.t),
		gossip:  reserve(c.t),
	}
	c.replicas = append(c.replicas, r)
	return r
}

// configure writes r's file. forming is the line of the section cluster that differs; "" for no cluster.
func (c *trio) configure(r *replica, forming string) {
	c.t.Helper()
	text := fmt.Sprintf(`replica:
  name: %s
  data_dir: %q
  drain_timeout: 20s
traffic:
  listeners: ["%s"]
mcmp:
  listeners: ["%s"]
admin:
  address: "%s"
log:
  format: json
access_log:
  output: %q
`, r.name, r.dir, r.traffic, r.mcmp, r.admin, filepath.Join(c.dir, r.name+"-access.log"))
	if forming != "" {
		text += fmt.Sprintf("cluster:\n  address: %q\n  gossip_address: %q\n  join: [\"%s\"]\n  secret_file: %q\n%s",
			r.cluster, r.gossip, strings.Join(c.join, `", "`), c.secret, forming)
	}
	c.write(r.file, text)
}

func (c *trio) write(file, text string) {
	c.t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// startAll starts every replica and waits until all are healthy.
func (c *trio) startAll() {
	c.t.Helper()
	var all []int
	for i := range c.replicas {
		c.start(i)
		all = append(all, i)
	}
	c.waitHealthy(all...)
}

// start starts replica i; it does not wait for anything.
func (c *trio) start(i int) {
	c.t.Helper()
	r := c.replicas[i]
	args := []string{"serve", "--config", r.file}
	for _, kv := range c.c.Set {
		args = append(args, "--set", kv)
	}
	log, err := os.OpenFile(r.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	r.cmd = exec.Command(c.c.Binary, args...)
	r.cmd.Stdout, r.cmd.Stderr = log, log
	r.cmd.SysProcAttr = childAttributes()
	if err := r.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	r.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		cmd.Wait()
		close(ended)
	}(r.cmd, r.ended)
}

func (r *replica) pid() int { return r.cmd.Process.Pid }

// running says whether the process was started and has not ended.
func (r *replica) running() bool {
	if r.cmd == nil {
		return false
	}
	select {
	case <-r.ended:
		return false
	default:
		return true
	}
}

// kill is kill -9. Whoever is dead already is waited for.
func (c *trio) kill(i int) {
	c.t.Helper()
	r := c.replicas[i]
	if err := r.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.t.Fatalf("kill %s, pid %d: %v", r.name, r.pid(), err)
	}
	<-r.ended
	asker.CloseIdleConnections()
}

// stop is SIGTERM and the wait for the end, which must be orderly.
func (c *trio) stop(i int) {
	c.t.Helper()
	r := c.replicas[i]
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		c.t.Fatalf("stop %s: %v", r.name, err)
	}
	select {
	case <-r.ended:
	case <-time.After(patience):
		c.t.Fatalf("%s, pid %d, does not end after SIGTERM", r.name, r.pid())
	}
	asker.CloseIdleConnections()
	if code := r.cmd.ProcessState.ExitCode(); code != 0 {
		c.t.Errorf("%s: exit %d after SIGTERM, want 0", r.name, code)
	}
}

// end kills what runs. No replica may have had an error that a person must act on,
// a panic or a race. When the test failed it shows what they had to say.
func (c *trio) end() {
	for _, r := range c.replicas {
		if r.running() {
			r.cmd.Process.Kill()
			<-r.ended
		}
	}
	asker.CloseIdleConnections()
	for _, r := range c.replicas {
		b, err := os.ReadFile(r.log)
		if err != nil {
			continue
		}
		for line := range bytes.Lines(b) {
			for _, bad := range []string{"DATA RACE", "panic", `"level":"ERROR"`} {
				if bytes.Contains(line, []byte(bad)) && (c.expected == "" || !bytes.Contains(line, []byte(c.expected))) {
					c.t.Errorf("%s: %s", r.name, line)
				}
			}
		}
	}
	if !c.t.Failed() {
		return
	}
	for _, r := range c.replicas {
		b, err := os.ReadFile(r.log)
		if err != nil {
			continue
		}
		lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
		c.t.Logf("the end of %s's log:\n%s", r.name, bytes.Join(lines[max(0, len(lines)-15):], []byte("\n")))
	}
}

// waitHealthy returns when each of these replicas is ready and sees nothing wrong.
func (c *trio) waitHealthy(replicas ...int) {
	c.t.Helper()
	for _, i := range replicas {
		waitFor(c.t, patience, c.replicas[i].name+" to be healthy", func() error {
			if !c.replicas[i].running() {
				c.t.Fatalf("%s ended: %s", c.replicas[i].name, c.lastLine(i))
			}
			s, err := c.ask(i)
			switch {
			case err != nil:
				return err
			case !s.Replica.Ready:
				return errors.New("not ready")
			case !s.Cluster.Healthy:
				return fmt.Errorf("not healthy: %v", s.Problems)
			case s.Cluster.Voters != s.Cluster.WantedVoters:
				return fmt.Errorf("%d of %d voters", s.Cluster.Voters, s.Cluster.WantedVoters)
			}
			return nil
		})
	}
}

// leader is the index of the replica that all running ones call leader.
func (c *trio) leader() int {
	c.t.Helper()
	leads := -1
	waitFor(c.t, patience, "one leader", func() error {
		leads = -1
		for i, r := range c.replicas {
			if !r.running() {
				continue
			}
			s, err := c.ask(i)
			if err != nil {
				return err
			}
			at := c.named(s.Cluster.Leader)
			if at < 0 || leads >= 0 && at != leads {
				return fmt.Errorf("%s calls %q leader", r.name, s.Cluster.Leader)
			}
			leads = at
		}
		return nil
	})
	return leads
}

// follower is a running replica that does not lead.
func (c *trio) follower() int {
	c.t.Helper()
	leads := c.leader()
	for i, r := range c.replicas {
		if i != leads && r.running() {
			return i
		}
	}
	c.t.Fatal("no follower runs")
	return -1
}

func (c *trio) named(name string) int {
	for i, r := range c.replicas {
		if r.name == name {
			return i
		}
	}
	return -1
}

// waitFor asks until check returns nil.
func waitFor(t testing.TB, limit time.Duration, what string, check func() error) {
	t.Helper()
	end := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited %s for %s: %v", limit, what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

var nextPort atomic.Int32

// reserve is a loopback address that nobody uses. Its port is below those that
// the kernel gives to outgoing connections: a replica that is down must find its
// port free when it comes back.
func reserve(t testing.TB) string {
	t.Helper()
	const first, count = 12000, 18000
	for range count {
		port := first + (os.Getpid()*97+int(nextPort.Add(1)))%count
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		u, err := net.ListenPacket("udp", addr)
		l.Close()
		if err != nil {
			continue
		}
		u.Close()
		return addr
	}
	t.Fatal("no free port on 127.0.0.1")
	return ""
}
