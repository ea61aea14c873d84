package pool

import (
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"
)

// newBlackHole listens on a port of 127.0.0.1 with the smallest backlog and takes
// nothing from it, until connections are not answered any more.
func newBlackHole(t *testing.T) (address string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address = fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for range 20 {
		c, err := net.DialTimeout("tcp", address, 100*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("a full backlog still takes connections")
	return ""
}

// The first address takes no connection and refuses none: the second has time left.
func TestSilentAddress(t *testing.T) {
	port := portOf(newBlackHole(t))
	l, err := net.Listen("tcp", "127.0.0.2:"+port)
	for tries := 0; err != nil && tries < 5; tries++ { // somebody else has the port there
		port = portOf(newBlackHole(t))
		l, err = net.Listen("tcp", "127.0.0.2:"+port)
	}
	if err != nil {
		t.Fatal(err)
	}
	w := serveOn(t, l, nil)
	n := &names{}
	n.set(nil, "127.0.0.1", "127.0.0.2")
	p := newPool(t, Config{Address: "worker:" + port, Lookup: n.lookup, ConnectTimeout: 2 * time.Second})
	if c := open(t, p); remote(c) != w.address() {
		t.Errorf("connected to %s", remote(c))
	}
}

// A worker whose backlog is full looks like a host that is not there.
func TestBlackHole(t *testing.T) {
	address := newBlackHole(t)
	p := newPool(t, Config{Address: address, ConnectTimeout: 50 * time.Millisecond})
	_, err := p.Open(nil, nil)
	if isDialError(t, err); !isTimeout(err) {
		t.Errorf("got %v", err)
	}
	if want := "dial tcp " + address + ": i/o timeout"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	wantStats(t, p, Stats{})
}
