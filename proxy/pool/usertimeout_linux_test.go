package pool

import (
	"syscall"
	"testing"
	"time"
)

func TestUserTimeout(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	p := newPool(t, Config{Address: w.address(), UserTimeout: 12345 * time.Millisecond})
	raw, err := open(t, p).TCP().SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		if ms, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout); err != nil || ms != 12345 {
			t.Errorf("TCP_USER_TIMEOUT is %d ms, %v", ms, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}
