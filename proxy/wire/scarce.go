package wire

import "syscall"

// reserved is how many of the process's descriptors users do not get: those are for
// its operator, its logs and its peers. Of a small limit it is a sixteenth.
const reserved = 32

// Scarce says whether the connection got one of the last descriptors that the process
// may have. The kernel gives the lowest that is free, so all below it are in use. A
// connection of a user, or for one, is to be closed then: where accepting itself fails
// for want of descriptors, it fails for the operator too.
func (c *Conn) Scarce() bool {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return false
	}
	most := uint64(limit.Cur)
	first := most - min(reserved, most/16)
	scarce := false
	err := c.raw.Control(func(fd uintptr) { scarce = uint64(fd) >= first })
	return err == nil && scarce
}
