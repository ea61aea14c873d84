package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// transport carries memberlist's packets over UDP and its streams over TCP, on one
// port. memberlist has one of its own; this one binds without starting anything, refuses
// networks by the packet's source, and leaves no connection behind.
type transport struct {
	tcp     *net.TCPListener
	udp     *net.UDPConn
	self    netip.AddrPort
	allowed []netip.Prefix

	packets chan *memberlist.Packet
	streams chan net.Conn
	ctx     context.Context // ends with Shutdown
	stop    context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil after Shutdown
}

// listen binds one port for both protocols.
func listen(bind string, advertise netip.Addr, allowed []netip.Prefix) (*transport, error) {
	tcpAddr, err := net.ResolveTCPAddr("tcp", bind)
	if err != nil {
		return nil, fmt.Errorf("gossip address %s: %w", bind, err)
	}
	// A port that TCP got by chance may be taken for UDP: then another one.
	attempts := 1
	if tcpAddr.Port == 0 {
		attempts = 10
	}
	for range attempts {
		var tcp *net.TCPListener
		if tcp, err = net.ListenTCP("tcp", tcpAddr); err != nil {
			continue
		}
		port := tcp.Addr().(*net.TCPAddr).Port
		var udp *net.UDPConn
		if udp, err = net.ListenUDP("udp", &net.UDPAddr{IP: tcpAddr.IP, Port: port, Zone: tcpAddr.Zone}); err != nil {
			tcp.Close()
			continue
		}
		ctx, stop := context.WithCancel(context.Background())
		return &transport{
			tcp: tcp, udp: udp,
			self:    netip.AddrPortFrom(advertise, uint16(port)),
			allowed: allowed,
			packets: make(chan *memberlist.Packet),
			streams: make(chan net.Conn),
			ctx:     ctx, stop: stop,
			conns: make(map[net.Conn]struct{}),
		}, nil
	}
	return nil, fmt.Errorf("listen %s (cluster.gossip_address): %w", bind, err)
}

func (t *transport) advertised() netip.AddrPort { return t.self }

func (t *transport) start() {
	t.running.Go(t.accept)
	t.running.Go(t.receive)
}

func (t *transport) accept() {
	for {
		conn, err := t.tcp.Accept()
		if err != nil {
			if t.pause(err) {
				continue
			}
			return
		}
		if !t.allows(conn.RemoteAddr().(*net.TCPAddr).AddrPort()) {
			conn.Close()
			continue
		}
		tracked, err := t.track(conn)
		if err != nil {
			return
		}
		select {
		case t.streams <- tracked:
		case <-t.ctx.Done():
			return
		}
	}
}

func (t *transport) receive() {
	buf := make([]byte, 65536)
	for {
		n, from, err := t.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			if t.pause(err) {
				continue
			}
			return
		}
		if n == 0 || !t.allows(from) {
			continue
		}
		packet := &memberlist.Packet{
			Buf:       append([]byte(nil), buf[:n]...), // memberlist decrypts in place and keeps it
			From:      net.UDPAddrFromAddrPort(from),
			Timestamp: time.Now(),
		}
		select {
		case t.packets <- packet:
		case <-t.ctx.Done():
			return
		}
	}
}

// pause waits a little after a passing error, such as too many open files, and
// reports whether to go on.
func (t *transport) pause(err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return false
	}
	select {
	case <-time.After(50 * time.Millisecond):
		return true
	case <-t.ctx.Done():
		return false
	}
}

func (t *transport) allows(from netip.AddrPort) bool {
	ip := from.Addr().Unmap()
	for _, p := range t.allowed {
		if p.Contains(ip) {
			return true
		}
	}
	return len(t.allowed) == 0
}

// FinalAdvertiseAddr implements memberlist.Transport: what Open found holds.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.self.Addr().AsSlice(), int(t.self.Port()), nil
}

// WriteTo implements memberlist.Transport.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("gossip to %s: %w", addr, err)
	}
	_, err = t.udp.WriteToUDPAddrPort(b, to)
	return time.Now(), err
}

// WriteToAddress implements memberlist.NodeAwareTransport.
func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, a.Addr)
}

// DialTimeout implements memberlist.Transport.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.ctx, timeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return t.track(conn)
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(a.Addr, timeout)
}

// PacketCh implements memberlist.Transport.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh implements memberlist.Transport.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// Shutdown implements memberlist.Transport. It also ends every stream, so that none of
// memberlist's goroutines sits in one; calling it again does nothing.
func (t *transport) Shutdown() error {
	t.mu.Lock()
	conns := t.conns
	t.conns = nil
	t.mu.Unlock()
	if conns == nil {
		return nil
	}
	t.stop()
	err := errors.Join(t.tcp.Close(), t.udp.Close())
	for conn := range conns {
		conn.Close()
	}
	t.running.Wait()
	return err
}

// trackedConn forgets itself when it is closed.
type trackedConn struct {
	net.Conn
	transport *transport
}

func (t *transport) track(conn net.Conn) (net.Conn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conns == nil {
		conn.Close()
		return nil, net.ErrClosed
	}
	t.conns[conn] = struct{}{}
	return &trackedConn{conn, t}, nil
}

func (c *trackedConn) Close() error {
	c.transport.mu.Lock()
	delete(c.transport.conns, c.Conn)
	c.transport.mu.Unlock()
	return c.Conn.Close()
}
