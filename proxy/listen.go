package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A draining listener closes when its accept queue is empty: the kernel resets what
// it still holds. Nothing has come for queueLook; but on a busy machine a deadline
// is heard of before a connection, so a last look follows, which ends at once.
// Where clients never cease to come it closes after queueMost all the same.
const (
	queueLook = 2 * time.Millisecond
	queueLast = 100 * time.Microsecond
	queueMost = time.Second
)

// listener is a traffic address: it counts connections and turns those away that
// are over the limit.
type listener struct {
	net.Listener
	p      *Proxy
	label  string
	tls    bool
	open   atomic.Int64
	ends   time.Time // when draining closes it at the latest; for the accepting goroutine alone
	closed sync.Once
	done   chan struct{} // closed with the listener
}

// listen makes listener and server of one traffic address.
func (p *Proxy) listen(c Listener) {
	l := &listener{Listener: c.Listener, p: p, label: c.Listener.Addr().String(), tls: c.TLS != nil, done: make(chan struct{})}
	names := c.Protocols
	if len(names) == 0 {
		names = []string{"http/1.1"}
		if l.tls {
			names = append(names, "h2")
		}
	}
	s := &http.Server{
		Handler:                      p,
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            p.c.Timeouts.Header,
		IdleTimeout:                  p.c.Timeouts.Idle,
		MaxHeaderBytes:               1 << 30, // as good as no limit
		Protocols:                    new(http.Protocols),
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: p.c.MaxStreams, MaxReceiveBufferPerConnection: 256 << 10},
		ErrorLog:                     slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
		ConnState: func(_ net.Conn, s http.ConnState) {
			switch s {
			case http.StateNew:
				p.served.add(1)
			case http.StateClosed, http.StateHijacked:
				p.served.add(-1)
			}
		},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, clientKey{}, &client{conn: c})
		},
	}
	if l := &p.c.Limits; l.HeaderBytes > 0 && l.RequestLineBytes > 0 { // admit holds each of them
		s.MaxHeaderBytes = l.HeaderBytes + l.RequestLineBytes
	}
	if s.HTTP2.MaxConcurrentStreams == 0 {
		s.HTTP2.MaxConcurrentStreams = 1 << 30
	}
	s.Protocols.SetHTTP1(slices.Contains(names, "http/1.1"))
	if slices.Contains(names, "h2") {
		s.Protocols.SetHTTP2(l.tls)
		s.Protocols.SetUnencryptedHTTP2(!l.tls)
	}
	if l.tls {
		s.TLSConfig = c.TLS.Clone()
	}
	p.listeners = append(p.listeners, l)
	p.servers = append(p.servers, s)
}

// client is what is kept of one connection.
type client struct {
	conn     net.Conn
	requests atomic.Int64
}

type clientKey struct{}

func clientOf(r *http.Request) *client {
	c, _ := r.Context().Value(clientKey{}).(*client)
	return c
}

func (l *listener) serve(s *http.Server) error {
	defer l.Close()
	var err error
	if l.tls {
		err = s.ServeTLS(l, "", "")
	} else {
		err = s.Serve(l)
	}
	if isClosed(err) {
		return nil
	}
	return err
}

// drain ends accepting as soon as the queue is empty.
func (l *listener) drain() {
	d, ok := l.Listener.(interface{ SetDeadline(time.Time) error })
	if !ok || !l.p.isRunning() || d.SetDeadline(time.Now()) != nil {
		l.Close()
	}
}

// Accept takes the next connection. While draining it takes what is queued, then
// closes.
func (l *listener) Accept() (net.Conn, error) {
	wait := queueLook
	for {
		draining := l.p.draining.Load()
		if draining && !l.look(wait) {
			l.Close()
			return nil, net.ErrClosed
		}
		c, err := l.Listener.Accept()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if draining && wait == queueLast {
				l.Close()
				return nil, net.ErrClosed
			}
			if draining {
				wait = queueLast
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		open := l.p.clients.add(1)
		l.open.Add(1)
		counted := &countedConn{Conn: c, in: &l.p.stats.received, out: &l.p.stats.sent, closed: func() {
			l.open.Add(-1)
			l.p.clients.add(-1)
		}}
		if limit := int64(l.p.c.Limits.Connections); limit > 0 && open > limit {
			l.p.stats.own(ownLimit)
			if l.tls || open > limit+limit/10+1 {
				counted.Close()
			} else {
				l.p.watchers.Go(func() { turnAway(counted) })
			}
			continue
		}
		return counted, nil
	}
}

// look gives the next Accept its time; false: draining has lasted queueMost.
func (l *listener) look(wait time.Duration) bool {
	now := time.Now()
	if l.ends.IsZero() {
		l.ends = now.Add(queueMost)
	}
	d, ok := l.Listener.(interface{ SetDeadline(time.Time) error })
	return ok && d.SetDeadline(now.Add(wait)) == nil && now.Before(l.ends)
}

func (l *listener) Close() error {
	err := l.Listener.Close()
	l.closed.Do(func() { close(l.done) })
	return err
}

// turnAway tells a client that there are too many, and waits a little so that it
// can read that: a connection closed with data unread is reset.
func turnAway(c *countedConn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	text := ownText(http.StatusServiceUnavailable, "Too many connections.", "")
	head := "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: 1\r\nConnection: close\r\n" +
		"Date: " + time.Now().UTC().Format(http.TimeFormat) + "\r\nContent-Length: " + itoa(len(text)) + "\r\n\r\n"
	if _, err := io.WriteString(c, head+text); err == nil && c.CloseWrite() == nil {
		io.Copy(io.Discard, c)
	}
}
