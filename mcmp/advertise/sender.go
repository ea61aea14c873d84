package advertise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Config of a Sender.
type Config struct {
	Group      netip.AddrPort // of multicast
	TTL        int            // hops
	Interval   time.Duration
	Interfaces []string // names; none: that of Address, else the system's choice
	Address    string   // host:port of our MCMP listener, as workers reach it
	Protocol   string   // http, https
	Host       string   // our name
	Key        []byte
	Keyed      bool // Key counts; without it there is none
	Log        *slog.Logger
}

// Sender announces one MCMP listener.
type Sender struct {
	c      Config
	salt   atomic.Pointer[[16]byte]
	packet Packet // Run's alone, as are the paths
	paths  []*path
	sent   atomic.Uint64
	failed atomic.Uint64
}

// path is an interface to send through.
type path struct {
	name    string // "": the system's choice
	conn    net.PacketConn
	trouble string // what was last logged, "" while it works
	pause   int    // announcements to leave out after the next failure
	skip    int    // announcements still to leave out
}

// New makes a Sender; nothing is opened before Run. Errors name what cannot be announced.
func New(c Config) (*Sender, error) {
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil || port == "" || port == "0" {
		return nil, fmt.Errorf("announce %q: no HOST:PORT", c.Address)
	}
	ip, err := netip.ParseAddr(host)
	ip = ip.Unmap()
	switch {
	case host == "" || err == nil && ip.IsUnspecified():
		return nil, fmt.Errorf("announce %s: workers cannot reach a wildcard", c.Address)
	case err == nil:
		host = ip.WithZone("").String()
	}
	if !c.Group.Addr().IsMulticast() || c.Group.Addr().Is4In6() {
		return nil, fmt.Errorf("announce to %s: no multicast group", c.Group)
	}
	if c.Interval <= 0 {
		return nil, fmt.Errorf("announce every %s: no interval", c.Interval)
	}
	if err := CheckKey(c.Key); err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Sender{c: c}
	s.SetKey(c.Key, c.Keyed)
	id := uuid.NewString()
	s.packet = Packet{Server: id, Address: net.JoinHostPort(host, port), URL: "/" + id, Protocol: c.Protocol, Host: c.Host}
	names := c.Interfaces
	if len(names) == 0 {
		names = []string{holder(ip)}
	}
	for _, n := range names {
		s.paths = append(s.paths, &path{name: n})
	}
	return s, nil
}

// SetKey replaces the key from the next announcement on; CheckKey has allowed it.
func (s *Sender) SetKey(key []byte, given bool) {
	salt := Salt(key, given)
	s.salt.Store(&salt)
}

// holder is the interface that has an address, "" if none has.
func holder(ip netip.Addr) string {
	all, err := net.Interfaces()
	if err != nil {
		return ""
	}
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().WithZone("") == ip.WithZone("") {
				return i.Name
			}
		}
	}
	return ""
}

// Sent and Failed count datagrams.
func (s *Sender) Sent() uint64   { return s.sent.Load() }
func (s *Sender) Failed() uint64 { return s.failed.Load() }

// Run announces at once and then each interval, until ctx ends: then it tells that the
// listener is going and gone. What the network refuses ends nothing: it is logged when it
// changes, and tried again with the next announcement, after more failures less often.
func (s *Sender) Run(ctx context.Context) error {
	defer s.close()
	s.c.Log.Info("advertising", "address", s.packet.Address, "group", s.c.Group, "interval", s.c.Interval, "server", s.packet.Server)
	tick := time.NewTicker(s.c.Interval)
	defer tick.Stop()
	for {
		s.announce(http.StatusOK)
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.announce(http.StatusForbidden)
			s.announce(http.StatusGone)
			return nil
		}
	}
}

// rarest is the time between two tries of an interface that goes on failing, if the
// interval is not more.
const rarest = time.Minute

// announce sends one packet through every interface.
func (s *Sender) announce(status int) {
	p := s.packet
	s.packet.Sequence++
	p.Sequence = s.packet.Sequence
	p.Status, p.Date = status, time.Now().UTC().Format(http.TimeFormat)
	if status != http.StatusOK {
		p.Address = "" // a worker that knows us not must not begin with this one
	}
	b := p.Append(nil, *s.salt.Load())
	for _, way := range s.paths {
		if status != http.StatusOK && way.trouble != "" {
			continue // it may not have told our address
		}
		if way.skip > 0 {
			way.skip--
			continue
		}
		err := s.send(way, b)
		text := ""
		if err != nil {
			s.failed.Add(1)
			text = err.Error()
			way.close()
			way.skip = way.pause
			way.pause = min(2*way.pause+1, max(0, int(rarest/s.c.Interval)-1))
		} else {
			s.sent.Add(1)
			way.pause = 0
		}
		switch {
		case text == way.trouble:
		case text != "":
			s.c.Log.Warn("advertising fails", "interface", way.name, "group", s.c.Group, "error", err)
		default:
			s.c.Log.Info("advertising works again", "interface", way.name, "group", s.c.Group)
		}
		way.trouble = text
	}
}

func (s *Sender) send(way *path, b []byte) error {
	if way.conn == nil {
		if err := s.open(way); err != nil {
			return err
		}
	}
	_, err := way.conn.WriteTo(b, net.UDPAddrFromAddrPort(s.c.Group))
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err // without our port, which is another each time
	}
	return err
}

// open makes the socket of an interface, which may have come only now.
func (s *Sender) open(way *path) error {
	var in *net.Interface
	if way.name != "" {
		var err error
		if in, err = net.InterfaceByName(way.name); err != nil {
			return fmt.Errorf("interface %s: %w", way.name, err)
		}
	}
	network := "udp4"
	if s.c.Group.Addr().Is6() {
		network = "udp6"
	}
	c, err := net.ListenPacket(network, ":0")
	if err != nil {
		return err
	}
	if network == "udp4" {
		p := ipv4.NewPacketConn(c)
		err = errors.Join(p.SetMulticastTTL(s.c.TTL), p.SetMulticastLoopback(true))
		if in != nil {
			err = errors.Join(err, p.SetMulticastInterface(in))
		}
	} else {
		p := ipv6.NewPacketConn(c)
		err = errors.Join(p.SetMulticastHopLimit(s.c.TTL), p.SetMulticastLoopback(true))
		if in != nil {
			err = errors.Join(err, p.SetMulticastInterface(in))
		}
	}
	if err != nil {
		c.Close()
		return err
	}
	way.conn = c
	return nil
}

func (p *path) close() {
	if p.conn != nil {
		p.conn.Close()
		p.conn = nil
	}
}

func (s *Sender) close() {
	for _, p := range s.paths {
		p.close()
	}
}
