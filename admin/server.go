// Package admin is the operator's side of a replica: health, status, workers
// and metrics over HTTP. It reads what it is handed and decides nothing.
package admin

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config says what a Server needs. All funcs are required and are called from
// many goroutines at once.
type Config struct {
	Address  string         // host:port
	TLS      *tls.Config    // nil: plain HTTP
	Allowed  []netip.Prefix // sources that are answered
	Tokens   []Token        // nil: no token is asked
	NotReady func() []string
	Status   func() Status
	Workers  func() Workers
	Metrics  prometheus.Gatherer                               // nil: /metrics is absent
	Form     func(context.Context) (cluster string, err error) // quorate init
	Manager  *Manager                                          // nil: httpd's manager page is absent
	Log      *slog.Logger                                      // default: discard
}

// Token lets its holder in: one line of admin.tokens_file.
type Token struct {
	Name string
	Role string   // view, drain, admin
	Hash [32]byte // SHA-256 of the token
}

// ReadTokens reads admin.tokens_file: a line is "NAME ROLE HASH", the hash
// being the SHA-256 of the token in hex; blank lines and # comments are skipped.
// A file without a token is an error: a Server without tokens asks for none.
func ReadTokens(path string) ([]Token, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var tokens []Token
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("%s:%d: a line is NAME ROLE HASH", path, n)
		}
		t := Token{Name: fields[0], Role: fields[1]}
		if _, ok := rank[t.Role]; !ok {
			return nil, fmt.Errorf("%s:%d: role %q: must be view, drain or admin", path, n, t.Role)
		}
		hash, err := hex.DecodeString(fields[2])
		if err != nil || len(hash) != len(t.Hash) {
			return nil, fmt.Errorf("%s:%d: hash: must be 64 hex digits", path, n)
		}
		copy(t.Hash[:], hash)
		tokens = append(tokens, t)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(tokens) == 0 {
		return nil, fmt.Errorf("%s: no token in it", path)
	}
	return tokens, nil
}

// rank orders the roles: a higher one may do what a lower one may.
var rank = map[string]int{"view": 1, "drain": 2, "admin": 3}

// Server answers the admin listener.
type Server struct {
	c        Config
	tokens   atomic.Pointer[[]Token] // nil: none is asked
	listener net.Listener
	http     *http.Server
}

// Open binds the address; nothing is answered before Run.
func Open(c Config) (*Server, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	l, err := net.Listen("tcp", c.Address)
	if err != nil {
		return nil, err
	}
	s := &Server{c: c, listener: l}
	if c.Tokens != nil {
		s.tokens.Store(&c.Tokens)
	}
	s.http = &http.Server{
		Handler:           s.handler(),
		TLSConfig:         c.TLS,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// SetTokens replaces the tokens while the Server runs. Whether one is asked for at
// all is decided by Open.
func (s *Server) SetTokens(tokens []Token) error {
	if s.tokens.Load() == nil || len(tokens) == 0 {
		return errors.New("admin: tokens cannot be begun or ended while running")
	}
	s.tokens.Store(&tokens)
	return nil
}

// Addr is the address it listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close gives the address back; for a Server that never ran.
func (s *Server) Close() error { return s.listener.Close() }

// Run answers until ctx ends, then lets open answers end for a second.
func (s *Server) Run(ctx context.Context) error {
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if s.http.Shutdown(grace) != nil {
			s.http.Close()
		}
	})
	var err error
	if s.c.TLS != nil {
		err = s.http.ServeTLS(s.listener, "", "")
	} else {
		err = s.http.Serve(s.listener)
	}
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health/live", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /health/ready", s.ready)
	mux.HandleFunc("GET /api/v1/status", s.view(func() any { return s.c.Status() }))
	mux.HandleFunc("GET /api/v1/workers", s.view(func() any { return s.c.Workers() }))
	mux.HandleFunc("POST /api/v1/init", s.form)
	if s.c.Metrics != nil {
		metrics := promhttp.HandlerFor(s.c.Metrics, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(s.c.Log.Handler(), slog.LevelError)})
		mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
			if s.allow(w, r, "view") {
				metrics.ServeHTTP(w, r)
			}
		})
	}
	if s.c.Manager != nil {
		m := newManager(s, *s.c.Manager)
		for _, path := range managerPaths {
			mux.Handle(path, m)
		}
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if m := r.Method; m != "GET" && m != "HEAD" && m != "POST" { // a worker's proxyList names the wrong port, perhaps
			w.Header().Set("Allow", "GET, HEAD, POST")
			refuse(w, http.StatusMethodNotAllowed, "method not allowed", m+" is not known here")
			return
		}
		refuse(w, http.StatusNotFound, "not found", r.URL.Path+" is not known here")
	})
	return s.network(mux)
}

// network refuses sources that are not allowed, health checks included.
func (s *Server) network(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		source, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !allowed(s.c.Allowed, source.Addr().Unmap()) {
			refuse(w, http.StatusForbidden, "forbidden", "this network is not in admin.allowed_cidrs")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func allowed(networks []netip.Prefix, source netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(source) {
			return true
		}
	}
	return false
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	reasons := s.c.NotReady()
	if len(reasons) == 0 {
		io.WriteString(w, "ok\n")
		return
	}
	answer(w, http.StatusServiceUnavailable, map[string]any{"reasons": reasons})
}

// form makes a cluster of this replica alone. A browser's form cannot send the
// header that is asked for where no token is (interface.md §3).
func (s *Server) form(w http.ResponseWriter, r *http.Request) {
	if !s.allow(w, r, "admin") {
		return
	}
	if s.tokens.Load() == nil && r.Header.Get("X-Quorate-Request") != "1" {
		refuse(w, http.StatusForbidden, "forbidden", "a change must carry X-Quorate-Request: 1")
		return
	}
	cluster, err := s.c.Form(r.Context())
	if err != nil {
		refuse(w, http.StatusConflict, "not formed", err.Error())
		return
	}
	answer(w, http.StatusOK, map[string]string{"cluster": cluster})
}

func (s *Server) view(body func() any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.allow(w, r, "view") {
			answer(w, http.StatusOK, body())
		}
	}
}

// allow asks for a token of a role where tokens are configured.
func (s *Server) allow(w http.ResponseWriter, r *http.Request, role string) bool {
	if s.tokens.Load() == nil {
		return true
	}
	if token, ok := bearer(r); ok {
		if _, ok := s.holder(token, role); ok {
			return true
		}
	}
	s.unauthorized(w, role)
	return false
}

func bearer(r *http.Request) (token string, ok bool) {
	return strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
}

// holder names the one who holds a token, if it is of that role or a higher one.
func (s *Server) holder(token, role string) (name string, ok bool) {
	hash := sha256.Sum256([]byte(token))
	for _, t := range *s.tokens.Load() {
		if subtle.ConstantTimeCompare(t.Hash[:], hash[:]) == 1 && rank[t.Role] >= rank[role] {
			return t.Name, true
		}
	}
	return "", false
}

func (s *Server) unauthorized(w http.ResponseWriter, role string) {
	w.Header().Add("WWW-Authenticate", "Bearer")
	refuse(w, http.StatusUnauthorized, "unauthorized", "a token with the role "+role+" is needed")
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.Encode(body) // an error here is the client's, which is gone
}

func refuse(w http.ResponseWriter, code int, what, detail string) {
	answer(w, code, map[string]string{"error": what, "detail": detail, "field": ""})
}
