package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// transcript is what a child has printed so far.
type transcript struct {
	mu   sync.Mutex
	text strings.Builder
}

func (p *transcript) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// What a newcomer sees first: `quorate demo`, a killed leader, Ctrl-C.
func TestDemo(t *testing.T) {
	const limit = 10 * time.Second
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	cmd := exec.Command(self, "demo")
	cmd.Dir = tmp
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	cmd.SysProcAttr = childAttributes()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints strings.Builder
	cmd.Stderr = &complaints
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	printed := &transcript{}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for scan := bufio.NewScanner(stdout); scan.Scan(); {
			printed.mu.Lock()
			printed.text.WriteString(scan.Text() + "\n")
			printed.mu.Unlock()
		}
	}()
	ended := make(chan struct{})
	go func() {
		<-read
		cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("the demo said:\n%s%s", printed, complaints.String())
		}
	})
	says := func(pattern string) []string {
		t.Helper()
		find := regexp.MustCompile(pattern)
		var found []string
		waitFor(t, patience, "the demo to say "+pattern, func() error {
			if found = find.FindStringSubmatch(printed.String()); found == nil {
				return fmt.Errorf("it says: %s", printed)
			}
			return nil
		})
		return found
	}

	leader := says(`(?m)Ready in \S+, leader (lb\d)\.$`)[1]
	ready := time.Since(began)
	if ready > limit {
		t.Errorf("ready after %s, want %s", ready, limit)
	}
	says(`(?m)^quorate demo: 3 replicas, 4 workers, 50 requests/s, this machine only$`)
	says(`(?m)^Workers w1 w2 w3 w4 serve /shop and /api\.`)
	says(`(?m)^Ctrl-C ends everything and removes its files\.$`)
	rows := regexp.MustCompile(`(?m)^(lb\d) +(\d+)  http://(\S+) +(\S+) +http://(\S+)$`).FindAllStringSubmatch(printed.String(), -1)
	if len(rows) != 3 {
		t.Fatalf("%d rows of replicas, want 3", len(rows))
	}
	var pids []int
	var addresses []string
	for _, row := range rows {
		pid, err := strconv.Atoi(row[2])
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
		addresses = append(addresses, row[3:6]...)
	}
	for _, row := range rows {
		for _, path := range []string{"/shop/", "/api/"} {
			if status, worker, err := get(row[3], path, ""); status != 200 || !strings.HasPrefix(worker, "w") {
				t.Errorf("%s%s: %d from %q, %v", row[3], path, status, worker, err)
			}
		}
	}

	for k, row := range rows {
		if row[1] == leader {
			if err := syscall.Kill(pids[k], syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	death := says(`(?m)^` + leader + ` died \(signal 9\), leader (lb\d) after (\S+), back in 5s$`)

	cmd.Process.Signal(os.Interrupt)
	interrupted := time.Now()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("it does not end after Ctrl-C")
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit %d after Ctrl-C, want 0", code)
	}
	sum := says(`(?m)^(\d+) requests, (\d+) errors\. All stopped\.$`)
	if sum[2] != "0" {
		t.Errorf("%s errors of %s requests", sum[2], sum[1])
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); err == nil {
			t.Errorf("process %d is left", pid)
		}
	}
	for _, a := range addresses {
		if conn, err := net.DialTimeout("tcp", a, time.Second); err == nil {
			conn.Close()
			t.Errorf("%s is still served", a)
		}
	}
	left, err := os.ReadDir(tmp)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		t.Errorf("%s is left", f.Name())
	}
	t.Logf("figure: demo ready after %s, its leader killed: %s leads after %s; %s requests, %s errors; Ctrl-C: exit 0 after %s, nothing left",
		ready.Round(time.Millisecond), death[1], death[2], sum[1], sum[2], time.Since(interrupted).Round(time.Millisecond))
}
