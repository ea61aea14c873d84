package pool

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/quorate/quorate/proxy/wire"
)

// DialError says that no connection was made, so nothing of a request was sent. Err
// is as package net or crypto/tls gave it: what it says of the worker, or of our own
// trouble (EMFILE, EADDRNOTAVAIL, ENOBUFS), is for the caller to tell.
type DialError struct {
	Address   string // of the worker, as configured
	Handshake bool   // TCP was connected; TLS was not agreed on
	Err       error
}

func (e *DialError) Error() string {
	if e.Handshake {
		return "TLS with " + e.Address + ": " + e.Err.Error()
	}
	return e.Err.Error()
}

func (e *DialError) Unwrap() error { return e.Err }

// dial makes one connection, for whoever needs it when it is there. One of
// Pool.dials is its own.
func (p *Pool) dial() {
	began := p.elapsed()
	ctx, cancel := context.WithTimeout(p.life, p.c.ConnectTimeout)
	defer cancel()
	c, err := p.connect(ctx)
	if err != nil {
		p.dialFailed(began, err)
		return
	}
	p.mu.Lock()
	p.dials--
	kept := p.keep(c, p.elapsed())
	p.dialForWaiters()
	p.mu.Unlock()
	if !kept {
		p.discard(c, false)
	}
}

// dialFailed tells the longest waiter, if there are fewer dials left than waiters
// and this one began when he was waiting already: else another one may do for him.
func (p *Pool) dialFailed(began time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dials--
	p.open--
	if w := p.queue.first; w != nil && p.dials < p.queue.length && began >= w.began {
		p.queue.answer(w, nil, err)
	}
	p.dialForWaiters()
}

// connect dials and, for https, shakes hands. Errors are *DialError.
func (p *Pool) connect(ctx context.Context) (*Conn, error) {
	to, err := p.addresses(ctx)
	if err != nil {
		return nil, p.dialError(err)
	}
	w, err := p.connectTCP(ctx, to)
	if err != nil {
		return nil, p.dialError(err)
	}
	w.SetWriteTimeout(p.c.WriteTimeout)
	if p.c.TLS != nil {
		t := tls.Client(w.NetConn(), p.c.TLS)
		// Before the handshake: the worker's tickets may come right behind it, and
		// wire must see the records from the first on.
		w.Secure(t)
		if err := t.HandshakeContext(ctx); err != nil {
			w.Close()
			return nil, &DialError{Address: p.c.Address, Handshake: true, Err: err}
		}
	}
	return &Conn{Conn: w, pool: p, moves: to.moves, age: p.age(-1)}, nil
}

func (p *Pool) dialError(err error) error { return &DialError{Address: p.c.Address, Err: err} }

// connectTCP tries the worker's addresses in turn, from the one that answered last;
// each gets its share of the time that is left.
func (p *Pool) connectTCP(ctx context.Context, to destination) (*wire.Conn, error) {
	var failed error
	for i := range to.list {
		n := (to.current + i) % len(to.list)
		c, err := p.connectOne(ctx, netip.AddrPortFrom(to.list[n], to.port), len(to.list)-i)
		if err == nil {
			p.answered(to, n)
			return c, nil
		}
		// The first error is the one to tell, but for a protocol this machine does
		// not have (`localhost` is often ::1 too): the worker has no part in that.
		if failed == nil || errors.Is(failed, syscall.EADDRNOTAVAIL) {
			failed = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	p.unanswered()
	return nil, failed
}

// connectOne dials one address in the n-th part of the time that ctx leaves.
func (p *Pool) connectOne(ctx context.Context, to netip.AddrPort, n int) (*wire.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok && n > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(n))
		defer cancel()
	}
	nc, err := p.dialer.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	tcp := nc.(*net.TCPConn)
	c, err := wire.New(tcp)
	if err != nil {
		tcp.Close()
		return nil, err
	}
	if new(wire.Files).Scarce(c) {
		c.Close()
		return nil, fmt.Errorf("dial %s: %w: the last are not for users", to, syscall.EMFILE)
	}
	return c, nil
}
