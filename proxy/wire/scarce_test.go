package wire

import (
	"syscall"
	"testing"
)

// The last descriptors below the limit are scarce, the others are not.
func TestScarce(t *testing.T) {
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	// From here on descriptors are those above the ones that are open.
	var conns []*Conn
	for range 40 {
		c, _ := plain(t)
		conns = append(conns, c)
	}
	numbers := make([]uint64, len(conns))
	most := uint64(0)
	for i, c := range conns {
		if err := c.raw.Control(func(fd uintptr) { numbers[i] = uint64(fd) }); err != nil {
			t.Fatal(err)
		}
		most = max(most, numbers[i])
	}
	limit := before
	limit.Cur = most + 1 // no further one
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before)
	scarce := 0
	var files Files
	for i, c := range conns {
		want := numbers[i] >= limit.Cur-limit.Cur/16
		if got := files.Scarce(c); got != want {
			t.Errorf("descriptor %d of %d: scarce %v, want %v", numbers[i], limit.Cur, got, want)
		}
		if want {
			scarce++
		}
	}
	if scarce == 0 || scarce == len(conns) {
		t.Errorf("%d of %d are scarce", scarce, len(conns))
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	last := conns[len(conns)-1]
	for range judged {
		files.Scarce(last) // at the latest after these it asks again
	}
	if files.Scarce(last) && before.Cur > 2*most {
		t.Errorf("descriptor %d of %d is scarce", numbers[len(conns)-1], before.Cur)
	}
}
