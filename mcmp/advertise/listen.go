package advertise

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/ipv4"
)

// Listen joins a group on an interface ("": the system's choice) and reads datagrams
// until ctx ends or heard says that it has enough.
func Listen(ctx context.Context, group netip.AddrPort, name string, heard func(datagram []byte) (enough bool)) error {
	return listen(ctx, group, name, func() {}, heard)
}

// listen calls joined as soon as it hears.
func listen(ctx context.Context, group netip.AddrPort, name string, joined func(), heard func(datagram []byte) (enough bool)) error {
	var in *net.Interface
	if name != "" {
		var err error
		if in, err = net.InterfaceByName(name); err != nil {
			return fmt.Errorf("interface %s: %w", name, err)
		}
	}
	network := "udp4"
	if group.Addr().Is6() {
		network = "udp6"
	}
	c, err := net.ListenMulticastUDP(network, in, net.UDPAddrFromAddrPort(group))
	if err != nil {
		return err
	}
	defer c.Close()
	if network == "udp4" { // package net switches it off, for others on this machine, too
		_ = ipv4.NewPacketConn(c).SetMulticastLoopback(true) // of no matter for what is received
	}
	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	joined()
	b := make([]byte, MaxPacket)
	for {
		n, _, err := c.ReadFrom(b)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		if heard(b[:n]) {
			return nil
		}
	}
}
