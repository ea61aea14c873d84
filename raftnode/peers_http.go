package raftnode

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// A connection without a frame for pingAfter is asked for a sign of life, and dropped
	// pingTimeout later: a frozen replica accepts and never answers.
	pingAfter   = time.Second
	pingTimeout = 2 * time.Second

	maxAPIBody = 16 << 20 // bytes of one request or answer between replicas
)

type callerKey struct{}

// callerOf is who sent the request in whose context it is asked, as proved by TLS and
// told by its hello when the connection began.
func callerOf(ctx context.Context) Hello {
	h, _ := ctx.Value(callerKey{}).(Hello)
	return h
}

// answerError is an answer from another replica with a status other than 2xx.
type answerError struct {
	Status int
	Body   []byte // what its handler wrote
}

func (e *answerError) Error() string {
	return fmt.Sprintf("answered %d: %s", e.Status, strings.TrimSpace(string(e.Body)))
}

// Call sends one request to replica id and returns the body of its answer. An error that
// is ErrUnreachable means that nothing was sent, an *answerError that the handler there
// refused; after any other the request may have been served.
func (l *link) Call(ctx context.Context, id, method, path string, body []byte) ([]byte, error) {
	if l.ctx.Err() != nil {
		return nil, &dialError{id, net.ErrClosed}
	}
	// The scheme only selects the transport's dialer; the id stands where a host would.
	req, err := http.NewRequestWithContext(ctx, method, "https://"+id+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s %s of %s: %w", method, path, id, err)
	}
	res, err := l.client.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", path, id, err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAPIBody+1))
	if err == nil && len(answer) > maxAPIBody {
		err = fmt.Errorf("answer above %d bytes", maxAPIBody)
	}
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", path, id, err)
	}
	if res.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s of %s: %w", path, id, &answerError{res.StatusCode, answer})
	}
	return answer, nil
}

func onlyHTTP2() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP2(true)
	return p
}

func (l *link) newClient() *http.Transport {
	return &http.Transport{
		Protocols: onlyHTTP2(),
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:  pingAfter,
			PingTimeout:      pingTimeout,
			WriteByteTimeout: pingAfter + pingTimeout,
		},
		DisableCompression: true,
		DialTLSContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			id, _, err := net.SplitHostPort(addr) // "<id>:443"
			if err != nil {
				return nil, err
			}
			// The *tls.Conn itself: only then does the transport see ALPN's choice.
			conn, err := l.dialID(ctx, id, protoAPI)
			if err != nil {
				return nil, err
			}
			return conn, nil
		},
	}
}

func (l *link) newServer() *http.Server {
	return &http.Server{
		Protocols: onlyHTTP2(),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 1000,
			SendPingTimeout:      pingAfter,
			PingTimeout:          pingTimeout,
			WriteByteTimeout:     pingAfter + pingTimeout,
		},
		Handler: http.HandlerFunc(l.serve),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, callerKey{}, conn.(*tls.Conn).NetConn().(*wire).hello)
		},
		// StateNew comes from Serve, which Run waits for: the count is above zero then.
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				l.running.Add(1)
			case http.StateClosed:
				l.running.Done()
			}
		},
		ErrorLog: log.New(serverLog{l}, "", 0),
	}
}

// serve keeps Run waiting for the handler, which may outlive its connection.
func (l *link) serve(w http.ResponseWriter, r *http.Request) {
	if !l.peers.ifOpen(func() { l.running.Add(1) }) {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return
	}
	defer l.running.Done()
	r.Body = http.MaxBytesReader(w, r.Body, maxAPIBody)
	l.config.Handler.ServeHTTP(w, r)
}

// serverLog takes net/http's lines.
type serverLog struct{ l *link }

func (s serverLog) Write(line []byte) (int, error) {
	s.l.log.Debug("replica to replica API", "line", strings.TrimSpace(string(line)))
	return len(line), nil
}

// apiListener hands greeted connections to http.Server.
type apiListener struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newAPIListener(addr net.Addr) *apiListener {
	return &apiListener{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (a *apiListener) hand(conn *tls.Conn) {
	select {
	case a.conns <- conn:
	case <-a.done:
		conn.NetConn().Close()
	}
}

// Accept implements net.Listener.
func (a *apiListener) Accept() (net.Conn, error) {
	select {
	case conn := <-a.conns:
		return conn, nil
	case <-a.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (a *apiListener) Close() error {
	a.once.Do(func() { close(a.done) })
	return nil
}

// Addr implements net.Listener.
func (a *apiListener) Addr() net.Addr { return a.addr }
