//go:build check

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/quorate/quorate/mcmp/advertise"
	"golang.org/x/sys/unix"
)

// Between two machines, which are two network namespaces with a wire: by IPv4 and IPv6,
// through the interface that is named and through that of the address.
func TestCheckAdvertiseBetweenMachines(t *testing.T) {
	here, there := fmt.Sprintf("qa%d", os.Getpid()), fmt.Sprintf("qb%d", os.Getpid())
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s(network namespaces need root and iproute2)", args, err, out)
		}
	}
	for _, ns := range []string{here, there} {
		ip("netns", "add", ns)
		t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
	}
	ip("link", "add", "wire0", "netns", here, "type", "veth", "peer", "name", "wire0", "netns", there)
	for i, ns := range []string{here, there} {
		ip("-n", ns, "addr", "add", fmt.Sprintf("10.77.0.%d/24", i+1), "dev", "wire0")
		ip("-n", ns, "addr", "add", fmt.Sprintf("fd77::%d/64", i+1), "dev", "wire0", "nodad")
		ip("-n", ns, "link", "set", "wire0", "up")
	}
	for _, c := range []struct {
		name, group, address string
		interfaces           []string
	}{
		{"IPv4, interface named", "224.0.1.105:23364", "10.77.0.1:6666", []string{"wire0"}},
		{"IPv4, interface of the address", "224.0.1.105:23364", "10.77.0.1:6666", nil},
		{"IPv6, interface named", "[ff05::4d]:23364", "[fd77::1]:6666", []string{"wire0"}},
		{"IPv6, interface of the address", "[ff05::4d]:23364", "[fd77::1]:6666", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			group := netip.MustParseAddrPort(c.group)
			var sender *advertise.Sender
			sent := within(t, here, func() error {
				var err error
				sender, err = advertise.New(advertise.Config{Group: group, TTL: 1, Interval: 50 * time.Millisecond, Interfaces: c.interfaces,
					Address: c.address, Protocol: "http", Host: "lb1", Key: []byte("k"), Keyed: true})
				if err != nil {
					return err
				}
				return sender.Run(ctx)
			})
			began := time.Now()
			var address string
			finder := advertise.NewFinder([]byte("k"), true)
			heard := within(t, there, func() error {
				return advertise.Listen(ctx, group, "wire0", func(b []byte) bool {
					var err error
					if address, err = finder.Hear(b); err != nil {
						t.Errorf("%q: %v", b, err)
					}
					return address != ""
				})
			})
			err := <-heard
			took := time.Since(began)
			cancel()
			if err := errors.Join(err, <-sent); err != nil || address != c.address {
				t.Fatalf("heard %q, want %s: %v", address, c.address, err)
			}
			t.Logf("figure: advertised between two network namespaces, %s: heard after %s", c.name, took.Round(time.Millisecond))
		})
	}
}

// within runs do in a network namespace, on a thread that ends with it.
func within(t *testing.T, ns string, do func() error) <-chan error {
	t.Helper()
	f, err := os.Open("/run/netns/" + ns)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		defer f.Close()
		runtime.LockOSThread() // and never unlocked: the thread must not be used again
		if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network namespace %s: %w", ns, err)
			return
		}
		done <- do()
	}()
	return done
}
