package wire

import "syscall"

// reserved is how many of the process's descriptors users do not get: those are for
// its operator, its logs and its peers. Of a small limit it is a sixteenth.
const reserved = 32

// Files knows the process's limit of open files. It asks the kernel when a descriptor
// is higher than those it has seen, and now and then, for the limit may be changed from
// outside: not for each connection. It is for one goroutine.
type Files struct {
	first   uint64 // of those that users do not get
	highest uint64 // seen since the kernel was asked
	left    int    // how many more are judged by it
}

// judged is how many connections one answer of the kernel is for.
const judged = 100

// Scarce says whether the connection got one of the last descriptors that the process
// may have. The kernel gives the lowest that is free, so all below it are in use. A
// connection of a user, or for one, is to be closed then: where accepting itself fails
// for want of descriptors, it fails for the operator too.
func (f *Files) Scarce(c *Conn) bool {
	var fd uint64
	if err := c.raw.Control(func(d uintptr) { fd = uint64(d) }); err != nil {
		return false
	}
	if fd > f.highest || f.left == 0 {
		var limit syscall.Rlimit
		if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
			return false
		}
		f.first = limit.Cur - min(reserved, limit.Cur/16)
		f.highest, f.left = fd, judged
	}
	f.left--
	return fd >= f.first
}
