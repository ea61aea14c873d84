//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const ticks = 100 // USER_HZ: what /proc counts processor time in

// process is a program that was started here and will be ended here.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string // file with what it prints
	gone chan struct{}
	time time.Duration // that it gets for an orderly end
}

// apart gives a child a process group of its own, so that Ctrl-C reaches it through
// us alone, and the rights of u (nil: ours). It ends with us, however we end.
func apart(u *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM, Credential: u}
}

// ordinary is the user that proxies run as when we are root, else nil.
func ordinary() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// onCPUs is argv, bound to processors such as "0" or "0-1"; "" binds it to none.
func onCPUs(cpus string, argv ...string) []string {
	if cpus == "" {
		return argv
	}
	return append([]string{"taskset", "-c", cpus}, argv...)
}

// startProcess starts argv; what it prints goes to a file in dir.
func startProcess(name, dir string, u *syscall.Credential, env, argv []string) (*process, error) {
	log := filepath.Join(dir, "output.log")
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p := &process{name: name, log: log, gone: make(chan struct{}), time: 5 * time.Second}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Dir = dir
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = apart(u)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() {
		defer close(p.gone)
		// It is not waited for before stop: until then its number stays its own.
		for unix.Waitid(unix.P_PID, p.pid(), nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
		}
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// said is the end of what it printed, for errors.
func (p *process) said() []byte {
	b, _ := os.ReadFile(p.log)
	return tail(b)
}

// stop ends p in order, and after a time at once, with all that it started.
func (p *process) stop() {
	syscall.Kill(p.pid(), syscall.SIGTERM)
	select {
	case <-p.gone:
	case <-time.After(p.time):
	}
	// The group has its number and holds only what it started.
	syscall.Kill(-p.pid(), syscall.SIGKILL)
	<-p.gone
	p.cmd.Wait()
}

// stat is what /proc knows of one process.
type stat struct {
	pid, parent int
	cpu         int64 // ticks, with those of children that ended
}

// readStat reads /proc/PID/stat: proc_pid_stat(5). The command in brackets may hold
// anything, so fields count from the last bracket.
func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 15 {
		return stat{}, fmt.Errorf("/proc/%d/stat: %q", pid, b)
	}
	s := stat{pid: pid}
	s.parent, _ = strconv.Atoi(string(f[1]))
	for _, i := range []int{11, 12, 13, 14} { // utime, stime, cutime, cstime
		n, err := strconv.ParseInt(string(f[i]), 10, 64)
		if err != nil {
			return stat{}, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		s.cpu += n
	}
	return s, nil
}

// tree is pid and all that descend from it.
func tree(pid int) ([]stat, error) {
	root, err := readStat(pid)
	if err != nil {
		return nil, err
	}
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	children := make(map[int][]stat)
	for _, name := range names {
		n, _ := strconv.Atoi(filepath.Base(name))
		if s, err := readStat(n); err == nil { // it may have ended
			children[s.parent] = append(children[s.parent], s)
		}
	}
	all := []stat{root}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i].pid]...)
	}
	return all, nil
}

// treeCPU is user and system seconds of pid and all that descend from it so far.
func treeCPU(pid int) (float64, error) {
	all, err := tree(pid)
	var sum int64
	for _, s := range all {
		sum += s.cpu
	}
	return float64(sum) / ticks, err
}

// busy is how long all processors together have worked so far, in seconds, for
// programs or for other machines on the same host.
func busy() (float64, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	f := strings.Fields(strings.SplitN(string(b), "\n", 2)[0])
	if len(f) < 9 || f[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat: %q", cut(b))
	}
	var sum int64
	for _, i := range []int{1, 2, 3, 8} { // user, nice, system, steal
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		sum += n
	}
	return float64(sum) / ticks, nil
}

// share starts to watch; the func that it returns tells which share of the processors
// others than we and ours have used since then.
func share() func() float64 {
	all, err := busy()
	ours, err2 := treeCPU(os.Getpid())
	start := time.Now()
	return func() float64 {
		allNow, err3 := busy()
		oursNow, err4 := treeCPU(os.Getpid())
		if errors.Join(err, err2, err3, err4) != nil {
			return 0
		}
		used := (allNow - all) - (oursNow - ours)
		return max(0, used) / time.Since(start).Seconds() / float64(runtime.NumCPU())
	}
}

// treeRSS is the bytes resident in pid and all that descend from it: what is theirs
// alone of each, and the largest share of what they may have in common.
func treeRSS(pid int) (int64, error) {
	all, err := tree(pid)
	if err != nil {
		return 0, err
	}
	var own, common int64
	for _, s := range all {
		f, err := statusOf(s.pid, "RssAnon", "RssFile", "RssShmem")
		if err != nil {
			return 0, err
		}
		own += f[0]
		common = max(common, f[1]+f[2])
	}
	return own + common, nil
}

// statusOf reads lines of /proc/PID/status: sizes in bytes, or the first number.
func statusOf(pid int, names ...string) ([]int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	values := make([]int64, len(names))
	for line := range strings.Lines(string(b)) {
		name, rest, _ := strings.Cut(line, ":")
		i := slices.Index(names, name)
		words := strings.Fields(rest)
		if i < 0 || len(words) == 0 {
			continue
		}
		n, err := strconv.ParseInt(words[0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("/proc/%d/status: %s: %w", pid, name, err)
		}
		if len(words) > 1 && words[1] == "kB" {
			n *= 1024
		}
		values[i] = n
	}
	return values, nil
}

// checkUsers refuses a proxy of which any process runs as root.
func checkUsers(pid int) error {
	all, err := tree(pid)
	if err != nil {
		return err
	}
	for _, s := range all {
		uid, err := statusOf(s.pid, "Uid")
		if err != nil {
			return err
		}
		if uid[0] == 0 {
			return fmt.Errorf("process %d runs as root", s.pid)
		}
	}
	return nil
}

// sleep waits, unless ctx ends before.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
