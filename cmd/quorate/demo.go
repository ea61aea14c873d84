package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/admin"
	"github.com/quorate/quorate/raftnode"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

func demoCommand(g *globals) *cobra.Command {
	d := demo{g: g}
	c := &cobra.Command{
		Use:     "demo",
		Short:   "Run three replicas, four workers and light traffic on this machine",
		GroupID: groupStart,
		Long: `The replicas are child processes: kill one and see what happens. They form
their cluster by secret, join and promises like any other. Needs no root, network
or Docker. Ctrl-C ends everything and removes its files (those in --dir are kept).`,
		Example: `  quorate demo
  quorate demo --workers 8 --traffic-rate 200
  quorate demo --replicas 1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if n := d.replicas; n != 1 && n != 3 && n != 5 && n != 7 {
				return usageError{fmt.Errorf("demo: --replicas: %d: must be 1, 3, 5 or 7", n)}
			}
			if d.workers < 0 || d.workers > 100 {
				return usageError{fmt.Errorf("demo: --workers: %d: must be 0 to 100", d.workers)}
			}
			if d.rate < 0 || d.rate > 10000 {
				return usageError{fmt.Errorf("demo: --traffic-rate: %d: must be 0 to 10000", d.rate)}
			}
			return d.run(cmd.Context())
		},
	}
	f := c.Flags()
	f.IntVar(&d.replicas, "replicas", 3, "number of replicas: 1, 3, 5 or 7")
	f.IntVar(&d.workers, "workers", 4, "number of example workers")
	f.IntVar(&d.rate, "traffic-rate", 50, "requests per second")
	f.StringVar(&d.dir, "dir", "", "keep data, configuration and logs in `DIR`; default: a temporary folder, removed at the end")
	c.AddCommand(demoWorkerCommand(g))
	return c
}

// demo owns its replicas (child processes), its workers and its traffic.
type demo struct {
	g                       *globals
	replicas, workers, rate int
	dir                     string

	nodes    []*demoReplica
	terminal bool
	requests atomic.Int64
	errors   atomic.Int64
	leader   atomic.Pointer[string]
}

func (d *demo) run(ctx context.Context) error {
	start := time.Now()
	if d.dir == "" {
		dir, err := os.MkdirTemp("", "quorate-demo-")
		if err != nil {
			return err
		}
		d.dir = dir
		defer os.RemoveAll(dir)
	} else if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	d.terminal = isTerminal(d.g.stdout)
	if err := d.prepare(); err != nil {
		return err
	}
	fmt.Fprintf(d.g.stdout, "quorate demo: %s, %s, %d requests/s, this machine only\n\n",
		plural(d.replicas, "replica", "replicas"), plural(d.workers, "worker", "workers"), d.rate)

	// The children outlive ctx: workers say goodbye first, replicas stop then.
	children, stopChildren := context.WithCancel(context.Background())
	defer stopChildren()
	var replicas errgroup.Group
	for _, n := range d.nodes {
		if err := n.start(); err != nil {
			stopChildren()
			return errors.Join(err, replicas.Wait())
		}
		replicas.Go(func() error { return d.keep(children, n) })
	}
	workers, stopWorkers := context.WithCancel(context.Background())
	var apps errgroup.Group
	for i := range d.workers {
		w := &exampleWorker{
			name:     "w" + strconv.Itoa(i+1),
			contexts: []string{"/shop", "/api"},
			listen:   "127.0.0.1:0",
			period:   10 * time.Second,
			log:      slog.New(slog.DiscardHandler),
			out:      discard{},
		}
		for _, n := range d.nodes {
			w.balancers = append(w.balancers, n.mcmp)
		}
		apps.Go(func() error {
			// A message before the cluster has a leader would be answered "again
			// later", and later is the worker's next period.
			if d.led(workers) != nil {
				return nil
			}
			return w.run(workers)
		})
	}
	err := d.ready(ctx)
	if err == nil {
		d.announce(time.Since(start))
		d.work(ctx)
	}
	stopWorkers()
	err = errors.Join(err, apps.Wait())
	stopChildren()
	err = errors.Join(err, replicas.Wait())
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		fmt.Fprintf(d.g.stdout, "\n%d requests, %d errors. All stopped.\n", d.requests.Load(), d.errors.Load())
		return nil
	}
	return err
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// prepare chooses ports and writes one configuration a replica.
func (d *demo) prepare() error {
	secret := filepath.Join(d.dir, "secret")
	if _, err := os.Stat(secret); errors.Is(err, os.ErrNotExist) {
		if err := os.WriteFile(secret, []byte(raftnode.NewSecret().Text()+"\n"), 0o600); err != nil {
			return err
		}
	}
	var join []string
	for i := range d.replicas {
		n := &demoReplica{name: "lb" + strconv.Itoa(i+1), dir: d.dir}
		for _, p := range []struct {
			addr *string
			want int
		}{{&n.traffic, 8080 + i}, {&n.mcmp, 6666 + i}, {&n.admin, 7302 + i}, {&n.gossip, 0}, {&n.cluster, 0}} {
			addr, err := freeAddress(p.want)
			if err != nil {
				return err
			}
			*p.addr = addr
		}
		join = append(join, n.gossip)
		d.nodes = append(d.nodes, n)
	}
	for _, n := range d.nodes {
		text := fmt.Sprintf(`replica: {name: %s, data_dir: %q, drain_timeout: 5s}
traffic: {listeners: ["%s"]}
mcmp: {listeners: ["%s"]}
admin: {address: "%s"}
log: {format: text}
access_log: {output: %q}
`, n.name, filepath.Join(d.dir, n.name), n.traffic, n.mcmp, n.admin, filepath.Join(d.dir, n.name+"-access.log"))
		if d.replicas > 1 {
			text += fmt.Sprintf(`cluster:
  address: "%s"
  gossip_address: "%s"
  bootstrap_expect: %d
  join: ["%s"]
  secret_file: %q
`, n.cluster, n.gossip, d.replicas, strings.Join(join, `", "`), secret)
		}
		if err := os.WriteFile(n.config(), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// freeAddress is 127.0.0.1 with the wanted port, or a free one where that is
// taken. TCP and UDP are both tried, because gossip uses both.
func freeAddress(want int) (string, error) {
	for _, port := range []int{want, 0, 0, 0} {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		addr := l.Addr().String()
		u, err := net.ListenPacket("udp", addr)
		l.Close()
		if err != nil {
			continue
		}
		u.Close()
		return addr, nil
	}
	return "", errors.New("no free port on 127.0.0.1")
}

// led waits until every replica knows the leader.
func (d *demo) led(ctx context.Context) error {
	for _, n := range d.nodes {
		for {
			if s, err := n.status(ctx); err == nil && s.Cluster.Leader != "" {
				break
			}
			if err := pause(ctx, 20*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// ready waits until all replicas are ready, agree on a leader and use all workers.
func (d *demo) ready(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		good := 0
		missing := ""
		for _, n := range d.nodes {
			s, err := n.status(limit)
			switch {
			case n.failed.Load() != nil:
				return fmt.Errorf("%s ended: %s", n.name, n.tail())
			case err != nil:
				missing = n.name + " does not answer"
			case !s.Replica.Ready:
				missing = n.name + " is not ready"
			case s.Cluster.Leader == "":
				missing = n.name + " knows no leader"
			case s.Workers.Usable < d.workers:
				missing = fmt.Sprintf("%s uses %d of %d workers", n.name, s.Workers.Usable, d.workers)
			default:
				good++
				leader := s.Cluster.Leader
				d.leader.Store(&leader)
			}
		}
		if good == len(d.nodes) {
			return nil
		}
		if pause(limit, 50*time.Millisecond) != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("not ready after a minute: %s", missing)
		}
	}
}

func (d *demo) announce(took time.Duration) {
	t := table{head: []string{"REPLICA", "PID", "TRAFFIC", "MCMP", "ADMIN"}, right: map[string]bool{"PID": true}}
	var leader *demoReplica
	for _, n := range d.nodes {
		t.add(n.name, strconv.Itoa(n.pid()), "http://"+n.traffic, n.mcmp, "http://"+n.admin)
		if n.name == *d.leader.Load() {
			leader = n
		}
	}
	t.print(d.g.stdout)
	var names []string
	for i := range d.workers {
		names = append(names, "w"+strconv.Itoa(i+1))
	}
	serve := ""
	if len(names) > 0 {
		serve = "Workers " + strings.Join(names, " ") + " serve /shop and /api. "
	}
	fmt.Fprintf(d.g.stdout, "\n%sReady in %s, leader %s.\n\nIn another terminal:\n", serve, seconds(took), *d.leader.Load())
	addr := ""
	if d.nodes[0].admin != defaultAddr {
		addr = " --addr " + d.nodes[0].admin
	}
	others := ""
	if len(d.nodes) > 1 {
		_, p1, _ := net.SplitHostPort(d.nodes[1].traffic)
		others = "      " + p1
		if len(d.nodes) > 2 {
			_, p2, _ := net.SplitHostPort(d.nodes[2].traffic)
			others += " and " + p2
		}
		others += ": the same worker"
	}
	fmt.Fprintf(d.g.stdout, "  curl -c c -b c %s/shop/%s\n  quorate status%s\n", d.nodes[0].traffic, others, addr)
	if len(d.nodes) > 1 && leader != nil {
		fmt.Fprintf(d.g.stdout, "  kill -9 %-33dthe leader: errors stay 0\n", leader.pid())
	}
	fmt.Fprintf(d.g.stdout, "Ctrl-C ends everything")
	if strings.HasPrefix(filepath.Base(d.dir), "quorate-demo-") {
		fmt.Fprint(d.g.stdout, " and removes its files")
	}
	fmt.Fprint(d.g.stdout, ".\n\n")
}

// work makes traffic and tells about it until ctx ends.
func (d *demo) work(ctx context.Context) {
	var all errgroup.Group
	if d.rate > 0 && d.workers > 0 {
		all.Go(func() error { d.traffic(ctx); return nil })
	}
	p := progress{w: d.g.stdout, terminal: d.terminal}
	for pause(ctx, 200*time.Millisecond) == nil {
		for _, n := range d.nodes {
			s, err := n.status(ctx)
			if err == nil && s.Cluster.Leader != "" {
				leader := s.Cluster.Leader
				d.leader.Store(&leader)
				break
			}
		}
		p.say("%s  %d requests, %d errors, leader %s", time.Now().UTC().Format("15:04:05"), d.requests.Load(), d.errors.Load(), *d.leader.Load())
	}
	p.end()
	all.Wait()
}

// traffic asks at the rate, a few users with sessions, each through all
// replicas in turn. Like a browser that has several addresses of a site, a user
// tries the next one when a connection fails.
func (d *demo) traffic(ctx context.Context) {
	const users = 8
	transport := &http.Transport{MaxIdleConnsPerHost: users, DialContext: (&net.Dialer{Timeout: time.Second}).DialContext}
	defer transport.CloseIdleConnections()
	turns := make(chan int)
	var all errgroup.Group
	for u := range users {
		jar, _ := cookiejar.New(nil) // without options it cannot fail
		user := &http.Client{Transport: transport, Jar: jar, Timeout: 10 * time.Second}
		all.Go(func() error {
			for turn := range turns {
				d.one(ctx, user, turn+u)
			}
			return nil
		})
	}
	tick := time.NewTicker(time.Second / time.Duration(d.rate))
	defer tick.Stop()
	for turn := 0; ; turn++ {
		select {
		case <-ctx.Done():
			close(turns)
			all.Wait()
			return
		case <-tick.C:
			select {
			case turns <- turn:
			case <-ctx.Done():
			}
		}
	}
}

// one sends a request to the next replica, then to the others.
func (d *demo) one(ctx context.Context, user *http.Client, turn int) {
	path := []string{"/shop/", "/api/plain", "/shop/", "/api/"}[turn%4]
	for i := range d.nodes {
		n := d.nodes[(turn+i)%len(d.nodes)]
		r, err := http.NewRequestWithContext(ctx, "GET", "http://"+n.traffic+path, nil)
		if err != nil {
			return
		}
		resp, err := user.Do(r)
		if ctx.Err() != nil {
			if err == nil {
				resp.Body.Close()
			}
			return
		}
		if err != nil {
			continue
		}
		var drop discard
		_, err = copyBody(drop, resp)
		if err != nil {
			continue
		}
		d.requests.Add(1)
		if resp.StatusCode >= 400 {
			d.errors.Add(1)
		}
		return
	}
	d.requests.Add(1)
	d.errors.Add(1)
}

// status asks a replica's admin listener.
func (n *demoReplica) status(ctx context.Context) (*admin.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", "http://"+n.admin+"/api/v1/status", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	s := new(admin.Status)
	return s, json.NewDecoder(resp.Body).Decode(s)
}
