package raftnode

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"slices"
	"syscall"
	"time"
)

// dialID connects to a replica at whatever address is known for it: that of Lookup, then
// those under which it was met. A wrong one costs its share of the time at most.
func (l *link) dialID(ctx context.Context, id, proto string) (*tls.Conn, error) {
	addrs := l.addresses(id)
	if len(addrs) == 0 {
		return nil, &dialError{id, errors.New("no address known")}
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	var first error
	for i, addr := range addrs {
		left := time.Until(deadline)
		try, cancel := context.WithTimeout(ctx, left/time.Duration(len(addrs)-i))
		conn, _, err := l.dial(try, addr, id, proto)
		cancel()
		if err == nil {
			return conn, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

func (l *link) addresses(id string) []string {
	var list []string
	if addr, ok := l.config.Lookup(id); ok {
		list = append(list, addr)
	}
	for _, addr := range l.peers.addresses(id) {
		if addr != "" && !slices.Contains(list, addr) {
			list = append(list, addr)
		}
	}
	return list
}

// dialError says why there is no connection. It is ErrUnreachable and its cause.
type dialError struct {
	addr  string
	cause error
}

// Error is short, for people: "10.0.0.13:7300: connection refused".
func (e *dialError) Error() string {
	why := e.cause.Error()
	if errno, ok := errors.AsType[syscall.Errno](e.cause); ok {
		why = errno.Error()
	}
	if timeout, ok := errors.AsType[net.Error](e.cause); errors.Is(e.cause, os.ErrDeadlineExceeded) || ok && timeout.Timeout() {
		why = "timeout"
	}
	return e.addr + ": " + why
}

func (e *dialError) Unwrap() []error { return []error{ErrUnreachable, e.cause} }
