//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// bench is one run.
type bench struct {
	options
	out      io.Writer
	dir      string // of this run; everything in it goes at the end
	self     string // this program, where everybody may execute it
	user     *syscall.Credential
	programs map[string]string // of each peer
	cert     certificate
	report   Report
}

// series is how the processors are shared out.
type series struct {
	name    string
	proxy   string // processors of the proxy; "": all
	load    string // processors of workers and load
	threads int
}

// run measures what the options ask for.
func (b *bench) run(ctx context.Context) error {
	for _, s := range b.series {
		for _, sc := range b.scenarios {
			if sc.memory && s != b.series[0] {
				continue // memory does not depend on processors
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			out := b.scenario(ctx, s, sc)
			if missed(out) && b.rerun && ctx.Err() == nil {
				fmt.Fprintln(b.out, "a goal was missed: once more")
				out = b.scenario(ctx, s, sc)
				out.Again = true
			}
			b.report.Outcomes = append(b.report.Outcomes, out)
		}
	}
	return ctx.Err()
}

// scenario measures all peers in turn, round by round.
func (b *bench) scenario(ctx context.Context, s series, sc *scenario) (out *Outcome) {
	out = &Outcome{Scenario: sc.name, Title: sc.title, Series: s.name}
	fmt.Fprintf(b.out, "\n%s (%s)\n", sc.title, s.name)
	defer func() {
		out.judge()
		out.print(b.out)
	}()
	origin, workers, err := b.startOrigin(s, sc)
	if err != nil {
		out.Err = err.Error()
		return out
	}
	defer func() {
		if said := origin.stop(); said != "" && ctx.Err() == nil {
			out.Err = "the workers saw: " + said
		}
	}()
	var proxies []*running
	defer func() {
		for i, r := range proxies {
			if r == nil {
				continue
			}
			if err := r.stop(); err != nil && out.Cells[i].Err == "" && ctx.Err() == nil {
				out.Cells[i].Err = err.Error()
			}
		}
	}()
	set := setup{
		Cert: b.cert.cert, Key: b.cert.key, PEM: b.cert.both,
		Threads: s.threads, Connections: b.files/2 - 1500, Files: b.files,
		Groups: groupsOf(workers, sc.table), Table: sc.table, Packet: sc.packet,
	}
	for _, p := range b.peers {
		if !sc.takes(p.name) {
			continue
		}
		cell := &Cell{Peer: p.name}
		r, err := b.start(ctx, p, set, s.proxy)
		if err == nil && sc.tls {
			err = r.checkResumption(ctx, b.cert.der)
		}
		if err != nil {
			cell.Err = err.Error()
		}
		proxies, out.Cells = append(proxies, r), append(out.Cells, cell)
	}
	if sc.slow {
		// Only now: the checks at the start should not wait.
		if err := delay(ctx, workers[3], slowDelay); err != nil {
			out.Err = err.Error()
			return out
		}
	}
	others := share()
	defer func() { out.Others = others() }()
	if sc.memory {
		var group sync.WaitGroup
		for i, r := range proxies {
			if out.Cells[i].Err == "" {
				group.Go(func() { b.cell(ctx, s, sc, r, out.Cells[i]) })
			}
		}
		group.Wait()
		return out
	}
	rounds := b.rounds
	if !b.short {
		rounds = max(rounds, sc.rounds)
	}
	for range rounds {
		for i, r := range proxies {
			if out.Cells[i].Err == "" && ctx.Err() == nil {
				b.cell(ctx, s, sc, r, out.Cells[i])
			}
		}
	}
	return out
}

// cell is one load on one proxy.
func (b *bench) cell(ctx context.Context, s series, sc *scenario, r *running, cell *Cell) {
	j := sc.job
	j.PID, j.Cookies, j.CA = r.process.pid(), r.cookies, b.cert.der
	j.Address = address(r.setup.Port)
	if sc.tls {
		j.Address = address(r.setup.PortTLS)
	}
	j.Warm, j.Measure = b.duration/5, b.duration
	if j.Rate > 0 {
		j.Measure *= 2 // so that clock ticks of 10 ms do not show
	}
	if sc.memory {
		j.Measure = 0
		if b.short {
			j.Hold, j.Idle = 5*time.Second, 2000
		}
		j.Idle = min(j.Idle, r.setup.Connections-500) // two descriptors each are a proxy's need
	}
	res := b.load(ctx, j, s.load)
	if res.Err == "" && ctx.Err() != nil {
		res.Err = ctx.Err().Error()
	}
	if j.Kind != "websocket" {
		r.asked += res.Total
	}
	if res.Err != "" {
		cell.Err = fmt.Sprintf("round %d: %s", len(cell.Rounds)+1, res.Err)
		return
	}
	cell.Rounds = append(cell.Rounds, res)
}

// delay makes w answer so much later from now on.
func delay(ctx context.Context, w worker, d time.Duration) error {
	var port int
	if _, err := fmt.Sscanf(w.Address, "127.0.0.1:%d", &port); err != nil {
		return err
	}
	_, _, err := get(ctx, port, pathDelay+d.String(), "")
	return err
}

// origin is the process that plays the workers.
type origin struct {
	process *exec.Cmd
	in      io.Closer
	said    string // file with what it complained of
}

func (b *bench) startOrigin(s series, sc *scenario) (*origin, []worker, error) {
	more := "0"
	if sc.table {
		more = "996"
	}
	argv := onCPUs(s.load, b.self, "origin", more, strconv.Itoa(sc.packet))
	o := &origin{process: exec.Command(argv[0], argv[1:]...), said: filepath.Join(b.dir, "origin.log")}
	errs, err := os.Create(o.said)
	if err != nil {
		return nil, nil, err
	}
	defer errs.Close()
	o.process.Stderr = errs
	o.process.SysProcAttr = apart(nil)
	in, err := o.process.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	o.in = in
	out, err := o.process.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := o.process.Start(); err != nil {
		return nil, nil, fmt.Errorf("workers: %w", err)
	}
	var workers []worker
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &workers)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("workers: %w: %s", err, o.stop())
	}
	return o, workers, nil
}

// stop ends the workers and returns what they complained of: such as a request with
// a wrong body.
func (o *origin) stop() string {
	o.in.Close()
	end := time.AfterFunc(5*time.Second, func() { o.process.Process.Kill() })
	defer end.Stop()
	o.process.Wait()
	b, _ := os.ReadFile(o.said)
	return string(tail(b))
}

// prepare makes what every scenario needs.
func (b *bench) prepare(ctx context.Context) (err error) {
	if b.user, err = ordinary(); err != nil {
		return err
	}
	// Proxies of another user have to reach it.
	if err := os.Chmod(b.dir, 0o755); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b.self = filepath.Join(b.dir, "bench")
	if err := copyProgram(self, b.self); err != nil {
		return err
	}
	if b.cert, err = newCertificate(b.dir); err != nil {
		return err
	}
	b.files = raiseFiles()
	b.programs = make(map[string]string)
	b.report.Versions = make(map[string]string)
	var missing []error
	for _, p := range b.peers {
		program := b.self
		switch {
		case p.name == "quorate":
			program = filepath.Join(b.dir, "quorate")
			err = b.quorate(ctx, program)
		case p.program != "":
			program, err = find(p.program)
		}
		if err == nil && p.version != nil {
			b.report.Versions[p.name], err = versionOf(program, p.version)
		}
		if err != nil {
			missing = append(missing, err)
		}
		b.programs[p.name] = program
	}
	if len(b.series) > 0 && b.series[0].proxy != "" || len(b.series) > 1 {
		if _, err := find("taskset"); err != nil {
			missing = append(missing, err)
		}
		if runtime.NumCPU() < 2 {
			missing = append(missing, errors.New("the pinned series needs two processors: -pinned=no"))
		}
	}
	return errors.Join(missing...)
}

// quorate puts the binary to be measured at path, and looks what it knows.
func (b *bench) quorate(ctx context.Context, path string) error {
	if b.binary != "" {
		if err := copyProgram(b.binary, path); err != nil {
			return err
		}
	} else {
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./cmd/quorate")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("go build ./cmd/quorate: %w\n%s", err, out)
		}
	}
	return nil
}

func copyProgram(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

// raiseFiles raises the limit of open files for us and all that we start, and
// returns it.
func raiseFiles() int {
	const wanted = 65536
	for _, n := range []uint64{wanted, 0} {
		var limit syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			return 1024
		}
		limit.Max = max(limit.Max, n)
		limit.Cur = min(limit.Max, wanted)
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
			return int(limit.Cur)
		}
	}
	return 1024
}
