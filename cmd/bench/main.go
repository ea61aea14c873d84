//go:build linux

// Bench measures quorate beside HAProxy, nginx, Apache httpd, Caddy and a bare
// httputil.ReverseProxy, each with what it needs in earnest: access log,
// X-Forwarded-For, sessions that stay at their worker, health checks, and the rights
// of an ordinary user.
//
//	go run ./cmd/bench                               all of it, about an hour
//	go run ./cmd/bench -short                        a first look, a minute
//	go run ./cmd/bench -scenarios get1k,tls -peers haproxy,nginx,quorate
//	go run ./cmd/bench -scenarios ajp-get1k,ajp-post10k,ajp-get100k
//	go run ./cmd/bench -out docs                     also writes figures and picture
//
// One run is a list of scenarios, each in two series: pinned, where the proxy has
// processor 0 with one thread, and workers and load have processor 1; and unpinned,
// where all have all. In a scenario every proxy runs all the time and gets the load in
// turn, A B C A B C; ratios are taken within a round, and the median of the rounds
// counts. Memory is measured with 10,000 connections, or as many as the limit of open
// files carries. Every answer is compared with what it must be, byte by byte: one that is
// wrong spoils the cell.
//
// Everything happens on loopback, and what was started here is ended here.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the flags, taken apart.
type options struct {
	scenarios []*scenario
	peers     []*peer
	series    []series
	rounds    int
	duration  time.Duration
	short     bool
	rerun     bool
	to        string // folder for performance.svg, .json and the figures of performance.md; "": none
	binary    string // of quorate; "": built from ./cmd/quorate
	files     int    // limit of open files, found out at the start
}

func main() { os.Exit(run(os.Args[1:])) }

// run returns 0 when every goal is met, 3 when one is missed, 1 when a cell failed,
// 2 for wrong use.
func run(args []string) int {
	if len(args) > 0 {
		switch args[0] {
		case "load":
			return loadMain()
		case "origin":
			return originMain(args[1:])
		case "reverseproxy":
			return reverseProxyMain(args[1:])
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{out: os.Stdout}
	if err := b.parse(args, os.Stderr); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	code, err := b.all(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	if ctx.Err() != nil {
		return 130
	}
	return code
}

// all is a run from start to end.
func (b *bench) all(ctx context.Context) (code int, err error) {
	lock, err := alone(ctx, filepath.Join(os.TempDir(), "quorate-bench.lock"), b.out)
	if err != nil {
		return 1, err
	}
	defer lock.Close()
	if b.dir, err = os.MkdirTemp("", "quorate-bench-"); err != nil {
		return 1, err
	}
	defer os.RemoveAll(b.dir)
	if err := b.prepare(ctx); err != nil {
		return 1, err
	}
	b.report.begin(b)
	b.report.head(b.out)
	if err := b.run(ctx); err != nil {
		return 1, err
	}
	b.report.summary(b.out)
	if b.to != "" {
		if err := b.report.write(b.to); err != nil {
			return 1, err
		}
	}
	return b.report.code(), nil
}

// alone waits until no other run measures on this machine. Closing the file lets the
// next one go.
func alone(ctx context.Context, name string, out io.Writer) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return nil, err
	}
	for said := false; ; said = true {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		if !said {
			fmt.Fprintln(out, "another run is measuring; waiting for its end")
		}
		if err := sleep(ctx, time.Second); err != nil {
			f.Close()
			return nil, err
		}
	}
}

func (b *bench) parse(args []string, errs io.Writer) error {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(errs)
	scenarios := f.String("scenarios", "", "comma-separated; default all: "+namesOf(allScenarios(), func(s *scenario) string { return s.name }))
	peers := f.String("peers", "", "comma-separated; default all that are installed: "+namesOf(allPeers(), func(p *peer) string { return p.name }))
	pinned := f.String("pinned", "both", "yes: one processor for the proxy; no: all for all; both")
	f.IntVar(&b.rounds, "rounds", 5, "rounds per scenario; those about latency have at least 9")
	f.DurationVar(&b.duration, "duration", 2*time.Second, "measured time per proxy and round")
	f.BoolVar(&b.short, "short", false, "a first look: GET, POST and connections only unless -scenarios is given, 3 rounds of 1 s, pinned; says nothing for sure")
	f.BoolVar(&b.rerun, "rerun", true, "measure a scenario once more when a goal was missed")
	f.StringVar(&b.to, "out", "", "`folder` that gets performance.svg, performance.json and the figures in performance.md")
	f.StringVar(&b.binary, "proxy-binary", "", "quorate's binary; default: built from ./cmd/quorate")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%q: no arguments are known, only flags", f.Args())
	}
	if b.short {
		set := make(map[string]bool)
		f.Visit(func(g *flag.Flag) { set[g.Name] = true })
		preset := func(name, value string) {
			if !set[name] {
				f.Set(name, value)
			}
		}
		preset("scenarios", "get1k,get100k,post10k,connect")
		preset("peers", "haproxy,nginx,quorate")
		preset("rounds", "3")
		preset("duration", "1s")
		preset("pinned", "yes")
		preset("rerun", "false")
	}
	if b.rounds < 1 || b.duration < 100*time.Millisecond {
		return errors.New("at least one round of 100ms")
	}
	var err error
	if b.scenarios, err = choose("scenario", *scenarios, allScenarios(), func(s *scenario) string { return s.name }); err != nil {
		return err
	}
	if b.peers, err = choose("peer", *peers, allPeers(), func(p *peer) string { return p.name }); err != nil {
		return err
	}
	b.peers = slices.DeleteFunc(b.peers, func(p *peer) bool {
		if p.optional == "" {
			return false
		}
		_, err := os.Stat(p.optional)
		return err != nil
	})
	bound := series{"pinned", "0", "1", 1}
	free := series{"unpinned", "", "", runtime.NumCPU()}
	switch *pinned {
	case "yes":
		b.series = []series{bound}
	case "no":
		b.series = []series{free}
	case "both":
		b.series = []series{bound, free}
	default:
		return fmt.Errorf("-pinned %s: yes, no or both", *pinned)
	}
	return nil
}

func namesOf[T any](all []T, name func(T) string) string {
	var names []string
	for _, x := range all {
		names = append(names, name(x))
	}
	return strings.Join(names, ",")
}

// choose is those of all that list names, in the order of all; "" is all.
func choose[T any](what, list string, all []T, name func(T) string) (chosen []T, err error) {
	if list == "" {
		return all, nil
	}
	wanted := strings.Split(list, ",")
	for _, x := range all {
		if i := slices.Index(wanted, name(x)); i >= 0 {
			chosen = append(chosen, x)
			wanted = slices.Delete(wanted, i, i+1)
		}
	}
	if len(wanted) > 0 {
		return nil, fmt.Errorf("no %s %q; there are %s", what, wanted[0], namesOf(all, name))
	}
	return chosen, nil
}
