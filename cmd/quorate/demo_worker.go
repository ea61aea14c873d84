package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/quorate/quorate/mcmp/client"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

func demoWorkerCommand(g *globals) *cobra.Command {
	w := exampleWorker{}
	var mcmp, contexts string
	c := &cobra.Command{
		Use:   "worker --name N --mcmp ADDR,...",
		Short: "Run one example worker",
		Long:  "A small web server that registers itself over MCMP as Tomcat and WildFly do:\nsessions, a slow page, an echo, and its own name in every answer.",
		Example: `  quorate demo worker --name w1 --mcmp 127.0.0.1:6666
  quorate demo worker --name w5 --mcmp lb1:6666,lb2:6666 --context /shop`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if w.name == "" {
				return usageError{errors.New("demo worker: --name is required")}
			}
			// What the balancers would refuse for ever is refused here (spec/mcmp.md §0.2).
			if len(w.name) > 63 || strings.ContainsAny(w.name, "<>\"'\\, \t") {
				return usageError{fmt.Errorf("demo worker: --name: %q: at most 63 bytes, no blanks, commas, quotes, < > or \\", w.name)}
			}
			if mcmp == "" {
				return usageError{errors.New("demo worker: --mcmp is required: the balancers' MCMP addresses")}
			}
			for _, p := range strings.Split(mcmp, ",") {
				w.balancers = append(w.balancers, strings.TrimSpace(p))
			}
			for _, p := range strings.Split(contexts, ",") {
				if !strings.HasPrefix(p, "/") {
					return usageError{fmt.Errorf("demo worker: --context: %q: must begin with /", p)}
				}
				w.contexts = append(w.contexts, p)
			}
			w.log = slog.New(slog.NewTextHandler(g.stderr, nil))
			w.out = g.stdout
			return w.run(cmd.Context())
		},
	}
	f := c.Flags()
	f.StringVar(&w.name, "name", "", "its `JVMRoute`")
	f.StringVar(&mcmp, "mcmp", "", "MCMP addresses of the replicas, `ADDR,...`")
	f.StringVar(&w.listen, "listen", "", "where it serves, `ADDR`; default: a free port, on loopback if the balancers are there")
	f.StringVar(&contexts, "context", "/shop,/api", "its contexts, `PATH,...`")
	f.DurationVar(&w.period, "period", 10*time.Second, "time between two STATUS messages")
	return c
}

// exampleWorker is a web server that a balancer cannot tell from an application server.
type exampleWorker struct {
	name      string
	balancers []string
	contexts  []string
	listen    string
	period    time.Duration
	log       *slog.Logger
	out       io.Writer

	mu       sync.Mutex
	sessions map[string]int // session id → visits
}

// maxSessions bounds what clients without cookies can make it remember.
const maxSessions = 10000

// run serves until ctx ends, then says goodbye as a worker does.
func (w *exampleWorker) run(ctx context.Context) error {
	if w.listen == "" {
		w.listen = ":0"
		if ip := localAddress(w.balancers[0]); ip != nil && ip.IsLoopback() {
			w.listen = "127.0.0.1:0"
		}
	}
	l, err := net.Listen("tcp", w.listen)
	if err != nil {
		return fmt.Errorf("listen %s: %w", w.listen, err)
	}
	at := l.Addr().(*net.TCPAddr)
	host := at.IP.String()
	switch {
	case at.IP.IsUnspecified():
		host = "" // the address that its first message leaves from
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	}
	var apps []client.Context
	for _, p := range w.contexts {
		apps = append(apps, client.Context{Path: p})
	}
	var proxies []client.Proxy
	for _, b := range w.balancers {
		proxies = append(proxies, client.Proxy{Address: b})
	}
	mcmp, err := client.New(client.Config{
		Proxies:      proxies,
		Node:         client.Node{Route: w.name, Host: host, Port: at.Port, Type: "http"},
		Hosts:        []client.Host{{Name: "localhost", Contexts: apps}},
		StatusPeriod: w.period,
		Log:          w.log,
	})
	if err != nil {
		l.Close()
		return err
	}
	server := &http.Server{Handler: w.handler(mcmp), ReadHeaderTimeout: 20 * time.Second}
	fmt.Fprintf(w.out, "worker %s serves %s on %s\n", w.name, strings.Join(w.contexts, " "), at)

	running, stop := context.WithCancel(context.Background())
	defer stop()
	var all errgroup.Group
	all.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	all.Go(func() error { return mcmp.Run(running) })
	all.Go(func() error {
		<-ctx.Done()
		bye, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		defer cancel()
		if err := mcmp.Shutdown(bye); err != nil {
			w.log.Warn("a balancer was not told of the end", "error", err)
		}
		stop()
		if server.Shutdown(bye) != nil {
			server.Close()
		}
		return nil
	})
	if err := all.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// localAddress is the address of this machine that reaches addr, nil if that
// cannot be told.
func localAddress(addr string) net.IP {
	conn, err := net.Dial("udp", addr) // sends nothing
	if err != nil {
		return nil
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).IP
}

func (w *exampleWorker) handler(mcmp *client.Client) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions && r.RequestURI == "*" {
			rw.WriteHeader(http.StatusOK)
			return
		}
		app := w.contextOf(r.URL.Path)
		if app == "" {
			http.NotFound(rw, r)
			return
		}
		defer mcmp.RequestFinished(app)
		rw.Header().Set("X-Worker", w.name)
		switch page := strings.TrimPrefix(r.URL.Path[len(app):], "/"); page {
		case "slow":
			d, err := time.ParseDuration(r.URL.Query().Get("for"))
			if err != nil || d < 0 || d > time.Minute {
				d = time.Second
			}
			select {
			case <-r.Context().Done():
				return
			case <-time.After(d):
			}
			fmt.Fprintf(rw, "%s took %s\n", w.name, d)
		case "echo":
			n, err := io.Copy(io.Discard, http.MaxBytesReader(rw, r.Body, 64<<20))
			if err != nil {
				return
			}
			fmt.Fprintf(rw, "%s read %d bytes\n", w.name, n)
		case "plain":
			fmt.Fprintf(rw, "%s\n", w.name)
		default:
			w.page(rw, r, app)
		}
	})
}

// page counts the visits of a session, which it starts where there is none.
func (w *exampleWorker) page(rw http.ResponseWriter, r *http.Request, app string) {
	id := ""
	if c, err := r.Cookie("JSESSIONID"); err == nil {
		id = c.Value
	}
	w.mu.Lock()
	n := w.sessions[id]
	if n == 0 {
		id = rand.Text() + "." + w.name
		if w.sessions == nil || len(w.sessions) >= maxSessions {
			w.sessions = map[string]int{}
		}
		http.SetCookie(rw, &http.Cookie{Name: "JSESSIONID", Value: id, Path: app, HttpOnly: true})
	}
	n++
	w.sessions[id] = n
	w.mu.Unlock()
	fmt.Fprintf(rw, "worker %s, context %s, visit %d of this session\n", w.name, app, n)
}

func (w *exampleWorker) contextOf(path string) string {
	best := ""
	for _, c := range w.contexts {
		if len(c) > len(best) && (path == c || c == "/" || strings.HasPrefix(path, c+"/")) {
			best = c
		}
	}
	return best
}
