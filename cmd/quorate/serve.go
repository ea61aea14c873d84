package main

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/quorate/quorate/admin"
	"github.com/quorate/quorate/config"
	"github.com/quorate/quorate/gossip"
	"github.com/quorate/quorate/mcmp"
	"github.com/quorate/quorate/mcmp/advertise"
	"github.com/quorate/quorate/proxy"
	"github.com/quorate/quorate/proxy/accesslog"
	"github.com/quorate/quorate/raftnode"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

func serveCommand(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:     "serve",
		Short:   "Run a replica",
		GroupID: groupStart,
		Long: `Without a file it is a replica of its own: workers register on 127.0.0.1:6666,
users come to port 8080, data is in ./quorate-data. SIGTERM and Ctrl-C stop it in
order, a second one at once. SIGHUP reloads, SIGUSR1 opens log files again.`,
		Example: `  quorate serve
  quorate serve --config /etc/quorate/quorate.yaml
  quorate serve --set traffic.listeners=:8000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := g.load()
			if err != nil {
				return err
			}
			logs, err := g.logs(conf)
			if err != nil {
				return err
			}
			defer logs.close()
			return serve(cmd.Context(), g, conf, logs)
		},
	}
	g.configFlags(c)
	return c
}

// server is one replica: the parts, and what they are told of each other.
type server struct {
	conf    *config.Config                // as at the start
	written atomic.Pointer[config.Config] // as last read
	log     *slog.Logger
	logs    *logs
	start   time.Time

	replica *raftnode.Replica
	gossip  *gossip.Gossip // nil when standalone
	proxy   *proxy.Proxy
	mcmp    *mcmp.Server
	admin   *admin.Server
	access  *accesslog.Log    // nil: none
	adverts *advertise.Sender // nil: none

	certificates *certificates

	addresses admin.Addresses
	registry  *prometheus.Registry
	accepting atomic.Bool // all listeners are served
	stopping  atomic.Bool
	lastIndex atomic.Pointer[admin.Change]
}

// serve is a list: open everything, run everything, stop in order.
// ctx ends with the first signal.
func serve(ctx context.Context, g *globals, conf *config.Config, logs *logs) error {
	log := logs.Logger
	s := &server{conf: conf, log: log, logs: logs, start: time.Now(), registry: prometheus.NewRegistry(), certificates: newCertificates(log)}
	s.written.Store(conf)
	reload := newReloader(s, g.read)
	defer reload.close()
	// net/http's Transport knows only the standard logger for answers nobody asked for.
	stdlog.SetFlags(0)
	stdlog.SetOutput(slog.NewLogLogger(log.Handler(), slog.LevelDebug).Writer())
	// Who reads our output may end: that is an error of a write, not the end of a replica.
	signal.Ignore(syscall.SIGPIPE)
	log.Info("starting", "version", version, "config", g.file)
	if err := s.open(); err != nil {
		s.close()
		return err
	}

	// Each part has a context of its own, because the order of stopping matters.
	parts := newParts()
	last := newParts() // what hears of the others to their end
	if s.access != nil {
		last.run("access log", s.access.Run)
	}
	parts.run("replica", s.replica.Run)
	parts.run("traffic", s.proxy.Run)
	parts.run("mcmp", s.mcmp.Run)
	parts.run("admin", s.admin.Run)
	if s.adverts != nil {
		parts.run("advertise", s.adverts.Run)
	}
	parts.run("reload", reload.Run)
	if s.gossip != nil {
		parts.run("gossip", s.gossip.Run)
	}
	s.accepting.Store(true)
	s.tellReady(g)

	var failed error
	select {
	case <-ctx.Done():
	case failed = <-parts.failed:
	}
	began := time.Now()
	defer s.endAtNextSignal(began)()
	s.stopping.Store(true) // not ready, from now on
	if failed != nil {
		s.log.Error("stopping", "reason", failed)
	} else {
		s.stop(parts, context.Cause(ctx))
	}
	parts.stopAll()
	if err := parts.wait(); failed == nil {
		failed = err
	}
	last.stopAll()
	if err := last.wait(); err != nil {
		s.log.Warn("access log is not complete", "error", err)
	}
	s.log.Info("stopped", "took", time.Since(began).Round(time.Millisecond))
	return failed
}

// endAtNextSignal ends the process at the next signal, however far the stop has
// come, until the returned func is called.
func (s *server) endAtNextSignal(began time.Time) (cancel func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
			s.log.Warn("stopped at once", "after", time.Since(began).Round(time.Millisecond))
			os.Exit(1)
		case <-done:
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
	}
}

// stop leaves in the order of design.md §5: nobody is surprised by any step.
func (s *server) stop(p *parts, reason error) {
	s.log.Info("stopping", "reason", reason, "in_flight", s.proxy.Stats().InFlight)
	ctx, cancel := context.WithTimeout(context.Background(), s.readyDelay()+s.conf.Replica.DrainTimeout+10*time.Second)
	defer cancel()

	// Workers keep what they have heard: none shall hear of us from now on.
	if s.adverts != nil {
		p.stop("advertise")
	}
	// Balancers in front see "not ready" before anything changes for their users.
	pause(ctx, s.readyDelay())
	hand, done := context.WithTimeout(ctx, 5*time.Second)
	if err := s.replica.HandOver(hand); err != nil {
		s.log.Warn("leadership was not handed over", "error", err)
	}
	done()
	p.stop("mcmp")
	drain, done := context.WithTimeout(ctx, s.conf.Replica.DrainTimeout)
	if err := s.proxy.Drain(drain); err != nil {
		s.log.Warn("requests were cut off", "in_flight", s.proxy.Stats().InFlight, "error", err)
	}
	done()
	if s.gossip != nil {
		s.gossip.Leave(time.Second)
	}
}

func (s *server) readyDelay() time.Duration {
	auto := time.Duration(0)
	if s.conf.Traffic.ReadyPath != "" {
		auto = 5 * time.Second
	}
	return s.conf.Replica.ReadyDelay.Or(auto)
}

// open takes every address and file; nothing is answered yet, and State gives
// the table its first content before the traffic listener accepts.
func (s *server) open() error {
	if err := s.openReplica(); err != nil {
		return err
	}
	if err := s.openAccessLog(); err != nil {
		return err
	}
	if err := s.openTraffic(); err != nil {
		return err
	}
	if err := s.openMCMP(); err != nil {
		return err
	}
	if err := s.openAdvertise(); err != nil {
		return err
	}
	return s.openAdmin()
}

func (s *server) close() {
	if s.admin != nil {
		s.admin.Close()
	}
	if s.gossip != nil {
		s.gossip.Close()
	}
	if s.replica != nil {
		s.replica.Close()
	}
}

func (s *server) openReplica() error {
	c := s.conf
	rc := raftnode.Config{
		Dir:               c.Replica.DataDir,
		Name:              c.Replica.Name,
		Version:           version,
		Join:              c.Cluster.Join,
		BootstrapExpect:   c.Cluster.BootstrapExpect,
		WantedVoters:      c.Voters(),
		Settings:          settingsOf(c),
		Multiplier:        c.Cluster.RaftMultiplier,
		SnapshotThreshold: uint64(c.Cluster.SnapshotThreshold),
		TrailingLogs:      uint64(c.Cluster.TrailingLogs),
		Hints:             s.hints,
		Report:            s.report,
		OnApply:           s.applied,
		OnReset:           s.reset,
		Log:               s.log,
	}
	var keys [][]byte
	host := ""
	if !c.Standalone() {
		var err error
		if host, err = gossip.AdvertiseHost(c.Cluster.GossipAddress, c.Cluster.AdvertiseAddress, c.Cluster.Join); err != nil {
			return fmt.Errorf("cluster.advertise_address: %w", err)
		}
		rc.Listen, rc.Advertise = c.Cluster.Address, host
		secrets, err := secretsOf(c)
		if err != nil {
			return err
		}
		for _, secret := range secrets {
			keys = append(keys, secret.GossipKey())
		}
		if c.Cluster.TLS.CertFile == "" {
			rc.Secrets = secrets
		} else if rc.Credentials, err = raftnode.LoadCredentials(c.Cluster.TLS.CertFile, c.Cluster.TLS.KeyFile, c.Cluster.TLS.CAFile); err != nil {
			return configError{fmt.Errorf("cluster.tls: %w", err)}
		} else if err := s.certificates.keep(config.Certificate{CertFile: c.Cluster.TLS.CertFile, KeyFile: c.Cluster.TLS.KeyFile}); err != nil {
			return configError{fmt.Errorf("cluster.tls: %w", err)}
		}
		if len(keys) == 0 {
			s.log.Warn("gossip is not encrypted", "advice", "give cluster.secret_file beside cluster.tls")
		}
	}
	var err error
	if s.replica, err = raftnode.Open(rc); err != nil {
		return explainListen(err, "cluster.address", c.Cluster.Address)
	}
	if c.Standalone() {
		return nil
	}
	s.addresses.Cluster = s.replica.Address()
	s.gossip, err = gossip.Open(gossip.Config{
		ID:             s.replica.ID(),
		Name:           c.Replica.Name,
		ClusterID:      s.replica.ClusterID,
		Ready:          func() bool { return len(s.notReady()) == 0 },
		Version:        version,
		ClusterAddress: s.replica.Address(),
		Bind:           c.Cluster.GossipAddress,
		Advertise:      host,
		Join:           c.Cluster.Join,
		Keys:           keys,
		Log:            s.log,
	})
	if err != nil {
		return explainListen(err, "cluster.gossip_address", c.Cluster.GossipAddress)
	}
	s.addresses.Gossip = s.gossip.Addr()
	return nil
}

// secretsOf reads cluster.secret_file; nil without one.
func secretsOf(c *config.Config) ([]raftnode.Secret, error) {
	if c.Cluster.SecretFile == "" {
		return nil, nil
	}
	secrets, _, err := raftnode.ReadSecretFile(c.Cluster.SecretFile) // config has warned of its mode
	if err != nil {
		return nil, configError{fmt.Errorf("cluster.secret_file: %w", err)}
	}
	return secrets, nil
}

// adminTokens reads admin.tokens_file.
func adminTokens(file string) ([]admin.Token, error) {
	tokens, err := admin.ReadTokens(file)
	if err != nil {
		return nil, configError{fmt.Errorf("admin.tokens_file: %w", err)}
	}
	return tokens, nil
}

func (s *server) openAdmin() error {
	a := s.conf.Admin
	ac := admin.Config{
		Address:  a.Address,
		Allowed:  a.AllowedCIDRs.Or(loopback),
		NotReady: s.notReady,
		Status:   s.status,
		Workers:  s.workers,
		Form:     s.replica.Init,
		Manager:  s.manager(),
		Log:      s.log,
	}
	if a.AllowedCIDRs.Given {
		ac.Allowed = append(ac.Allowed, loopback...) // `quorate status` beside the replica always works
	} else if a.TokensFile != "" || a.TLS.ClientAuth == "require" {
		ac.Allowed = everywhere
	}
	var err error
	if a.TokensFile != "" {
		if ac.Tokens, err = adminTokens(a.TokensFile); err != nil {
			return err
		}
	}
	if a.TLS.CertFile != "" {
		if ac.TLS, err = s.listenerTLS("admin.tls", a.TLS.ClientAuth, "1.2", nil, "h2", "http/1.1"); err != nil {
			return err
		}
	}
	if s.conf.Metrics.Enabled {
		s.registerMetrics()
		ac.Metrics = s.registry
	}
	if s.admin, err = admin.Open(ac); err != nil {
		return explainListen(err, "admin.address", a.Address)
	}
	s.addresses.Admin = s.admin.Addr().String()
	return nil
}

// listen opens one address of the configuration.
func listen(address, key string) (net.Listener, error) {
	var c net.ListenConfig
	if strings.HasPrefix(key, "traffic.") {
		// What idles is closed by the timeouts of proxy, so that four system calls
		// for each connection are saved; and splice(2) and TCP_INFO are for TCP.
		c.KeepAlive = -1
		c.SetMultipathTCP(false)
	}
	if strings.HasPrefix(address, ":") {
		address = "0.0.0.0" + address
		if l, err := c.Listen(context.Background(), "tcp", address[len("0.0.0.0"):]); err == nil {
			return l, nil
		}
	}
	l, err := c.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, explainListen(err, key, address)
	}
	return l, nil
}

// explainListen names the key beside the address, and what to do about a port that is taken.
func explainListen(err error, key, address string) error {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "listen" {
		return err
	}
	cause := op.Err
	var call *os.SyscallError
	if errors.As(err, &call) {
		cause = call.Err
	}
	text := fmt.Errorf("listen %s (%s): %w", address, key, cause)
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && strings.HasPrefix(key, "traffic"):
		return hinted{text, "Tomcat and WildFly use 8080 too: choose another traffic address"}
	case errors.Is(err, syscall.EADDRINUSE):
		return hinted{text, "Is another quorate running here? Choose another address"}
	case errors.Is(err, syscall.EACCES):
		return hinted{text, "Ports below 1024 need root or CAP_NET_BIND_SERVICE"}
	}
	return text
}

// tellReady says where everything is: to people on a terminal, else to the log.
func (s *server) tellReady(g *globals) {
	if isTerminal(g.stderr) {
		a := s.addresses
		data, _ := filepath.Abs(s.conf.Replica.DataDir)
		fmt.Fprintf(g.stderr, "quorate %s: replica %s, data in %s\n\n", version, s.conf.Replica.Name, data)
		for _, row := range [][2]string{{"traffic", strings.Join(a.Traffic, " ")}, {"mcmp", strings.Join(a.MCMP, " ")}, {"admin", a.Admin},
			{"cluster", a.Cluster}, {"gossip", a.Gossip}} {
			if row[1] != "" {
				fmt.Fprintf(g.stderr, "  %-8s %s\n", row[0], row[1])
			}
		}
		if len(s.replica.State().State.Nodes()) == 0 && len(a.MCMP) > 0 {
			fmt.Fprintf(g.stderr, "\nNo worker has registered yet. On the worker: proxyList=\"%s\"\n", strings.Join(a.MCMP, ","))
		}
		fmt.Fprintln(g.stderr)
		return
	}
	s.log.Info("ready", "traffic", s.addresses.Traffic, "mcmp", s.addresses.MCMP, "admin", s.addresses.Admin,
		"cluster", s.addresses.Cluster, "gossip", s.addresses.Gossip, "took", time.Since(s.start).Round(time.Millisecond))
}

// notReady lists why this replica should get no traffic.
func (s *server) notReady() []string {
	var reasons []string
	if s.stopping.Load() {
		reasons = append(reasons, "stopping")
	}
	if !s.accepting.Load() {
		reasons = append(reasons, "starting")
	}
	if s.replica.ClusterID() == "" {
		reasons = append(reasons, "cluster not formed")
	}
	return reasons
}

// parts are the running pieces, each with a context of its own.
type parts struct {
	group  errgroup.Group
	cancel map[string]context.CancelFunc
	failed chan error // the first end that nobody asked for
}

func newParts() *parts {
	return &parts{cancel: map[string]context.CancelFunc{}, failed: make(chan error, 1)}
}

func (p *parts) run(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel[name] = cancel
	p.group.Go(func() error {
		err := run(ctx)
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			err = nil
		}
		if ctx.Err() == nil {
			if err == nil {
				err = fmt.Errorf("%s ended by itself", name)
			}
			select {
			case p.failed <- err:
			default:
			}
		}
		return err
	})
}

func (p *parts) stop(name string) { p.cancel[name]() }

func (p *parts) stopAll() {
	for _, cancel := range p.cancel {
		cancel()
	}
}

func (p *parts) wait() error { return p.group.Wait() }
