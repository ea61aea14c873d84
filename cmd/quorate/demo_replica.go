package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

// demoReplica is one child process. start and keep run one after the other.
type demoReplica struct {
	name, dir                             string
	traffic, mcmp, admin, gossip, cluster string

	cmd    *exec.Cmd // of start, keep
	id     atomic.Int64
	failed atomic.Pointer[error] // why it ended when nobody asked it to
}

func (n *demoReplica) config() string { return filepath.Join(n.dir, n.name+".yaml") }
func (n *demoReplica) log() string    { return filepath.Join(n.dir, n.name+".log") }
func (n *demoReplica) pid() int       { return int(n.id.Load()) }

func (n *demoReplica) start() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(n.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	n.cmd = exec.Command(self, "serve", "--config", n.config())
	n.cmd.Stdout, n.cmd.Stderr = log, log
	n.cmd.SysProcAttr = childAttributes()
	if err := n.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	n.id.Store(int64(n.cmd.Process.Pid))
	n.failed.Store(nil)
	return nil
}

// keep waits for the child, and starts it again five seconds after it died,
// until ctx ends; then it stops the child.
func (d *demo) keep(ctx context.Context, n *demoReplica) error {
	for {
		ended := make(chan error, 1)
		go func() { ended <- n.cmd.Wait() }()
		select {
		case <-ctx.Done():
			n.cmd.Process.Signal(syscall.SIGTERM)
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				n.cmd.Process.Kill()
				<-ended
			}
			return nil
		case err := <-ended:
			why := "exit 0"
			if err != nil {
				why = died(err)
			}
			failure := errors.New(why)
			n.failed.Store(&failure)
			d.tellDeath(ctx, n, why)
			if pause(ctx, 5*time.Second) != nil {
				return nil
			}
			if err := n.start(); err != nil {
				return err
			}
		}
	}
}

func died(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
			return fmt.Sprintf("signal %d", s.Signal())
		}
	}
	return err.Error()
}

// tellDeath says what became of the leader, too, once that is known.
func (d *demo) tellDeath(ctx context.Context, dead *demoReplica, why string) {
	since := time.Now()
	leads := ""
	for leads == "" && time.Since(since) < 4*time.Second {
		for _, n := range d.nodes {
			if s, err := n.status(ctx); n != dead && err == nil && s.Cluster.Leader != "" && s.Cluster.Leader != dead.name {
				leads = s.Cluster.Leader
				break
			}
		}
		if leads == "" && pause(ctx, 20*time.Millisecond) != nil {
			return
		}
	}
	text := ""
	if leads != "" {
		text = fmt.Sprintf(", leader %s after %s", leads, seconds(time.Since(since)))
	}
	end := "\n"
	if d.terminal {
		end = "\x1b[K\n"
		fmt.Fprint(d.g.stdout, "\r")
	}
	fmt.Fprintf(d.g.stdout, "%s died (%s)%s, back in 5s%s", dead.name, why, text, end)
}

// tail is the last line of the child's log.
func (n *demoReplica) tail() string {
	b, err := os.ReadFile(n.log())
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return string(lines[len(lines)-1])
}

func copyBody(w io.Writer, resp *http.Response) (int64, error) {
	defer resp.Body.Close()
	return io.Copy(w, resp.Body)
}
