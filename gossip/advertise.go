package gossip

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// resolveTimeout bounds one look-up of a name.
const resolveTimeout = 5 * time.Second

// AdvertiseHost chooses the host the others are told, for the gossip and the cluster
// port alike (interface.md, cluster.advertise_address): advertise if given, else the host
// of bind; if that is a wildcard the local address of the route to the first seed that
// leads off this machine, else the first private address. A loopback address is an
// error while a seed is elsewhere: the others could not reach it.
func AdvertiseHost(bind, advertise string, seeds []string) (string, error) {
	host := advertise
	if host == "" {
		var err error
		if host, _, err = net.SplitHostPort(bind); err != nil {
			return "", fmt.Errorf("gossip address %s: %w", bind, err)
		}
	}
	var remote string // a seed that is not this machine
	var local netip.Addr
	for _, seed := range seeds {
		if ip, ok := routeTo(seed); ok && !ip.IsLoopback() {
			remote, local = seed, ip
			break
		}
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		if !local.IsValid() {
			local = ownAddress()
		}
		host = local.String()
	}
	if ip, err := resolveOne(host); err == nil && ip.IsLoopback() && remote != "" {
		return "", fmt.Errorf("advertise address %s: is loopback while the seed %s is not", host, remote)
	}
	return host, nil
}

// routeTo returns the local address packets to addr leave from. Nothing is sent.
func routeTo(addr string) (netip.Addr, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "udp", addr)
	if err != nil {
		return netip.Addr{}, false
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().WithZone(""), true
}

// ownAddress returns the first private address of this machine, else the first global
// one, else loopback.
func ownAddress() netip.Addr {
	best := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return best
	}
	for _, a := range addrs {
		network, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, ok := netip.AddrFromSlice(network.IP)
		ip = ip.Unmap()
		if !ok || !ip.IsGlobalUnicast() {
			continue
		}
		if ip.IsPrivate() {
			return ip
		}
		if best.IsLoopback() {
			best = ip
		}
	}
	return best
}

// resolve returns every address of host.
func resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	return ips, nil
}

// resolveOne returns the first address of host, IPv4 before IPv6.
func resolveOne(host string) (netip.Addr, error) {
	ips, err := resolve(context.Background(), host)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, ip := range ips {
		if ip.Is4() {
			return ip, nil
		}
	}
	if len(ips) == 0 {
		return netip.Addr{}, errNoAddress
	}
	return ips[0], nil
}
