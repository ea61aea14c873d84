package raftnode

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// streamLayer is the link as hashicorp/raft's transport sees it. Addresses are replica
// ids: where an id listens is looked up at each dial, so an address may change without a
// change of Raft's configuration (design.md §5).
type streamLayer struct {
	link  *link
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

var _ raft.StreamLayer = (*streamLayer)(nil)

func newStreamLayer(l *link) *streamLayer {
	return &streamLayer{link: l, conns: make(chan net.Conn), done: make(chan struct{})}
}

// Raft is the stream layer for raft.NetworkTransport. Closing it leaves the API alone.
func (l *link) Raft() raft.StreamLayer { return l.stream }

// hand gives an accepted connection to Raft, or closes it when Raft is gone.
func (s *streamLayer) hand(conn *tls.Conn) {
	select {
	case s.conns <- conn:
	case <-s.done:
		conn.NetConn().Close()
	}
}

// Accept implements net.Listener.
func (s *streamLayer) Accept() (net.Conn, error) {
	select {
	case conn := <-s.conns:
		return conn, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It also ends Raft's connections: the transport leaves
// those open that it has accepted.
func (s *streamLayer) Close() error {
	s.once.Do(func() { close(s.done) })
	s.link.peers.endRaft()
	return nil
}

// Addr implements net.Listener: this replica's id.
func (s *streamLayer) Addr() net.Addr { return idAddr(s.link.id) }

// Dial implements raft.StreamLayer; address is a replica id.
func (s *streamLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	if s.link.peers.isSilent() {
		return nil, errSilent
	}
	ctx, cancel := context.WithTimeout(s.link.ctx, timeout)
	defer cancel()
	conn, err := s.link.dialID(ctx, string(address), protoRaft)
	if err != nil {
		return nil, err // not conn: a nil *tls.Conn in a net.Conn is not nil
	}
	return conn, nil
}

// idAddr is a replica id where the net package wants an address.
type idAddr string

func (a idAddr) Network() string { return "quorate" }
func (a idAddr) String() string  { return string(a) }
