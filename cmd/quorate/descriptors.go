package main

import (
	"fmt"
	"math"
	"syscall"
)

// reservedFiles are the open files that are not for users: Raft and gossip, workers'
// messages, the operator, logs.
const reservedFiles = 1000

// filesFor is how many open files so many client connections need: each may have one
// to a worker beside its own.
func filesFor(connections int) uint64 { return 2*uint64(connections) + reservedFiles }

// connectionsFor is how many client connections so many open files carry. Of a small
// limit a quarter is reserved.
func connectionsFor(files uint64) int {
	return int(min(math.MaxInt32, max(1, (files-min(reservedFiles, files/4))/2)))
}

// openFiles is how many files this process may have open. Package os has raised the
// soft limit to the hard one at the start of the process, and gives children the old
// one back.
func openFiles() (uint64, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("limit of open files: %w", err)
	}
	return uint64(limit.Cur), nil
}

// connections is traffic.limits.connections, or what the limit of open files carries
// if that is less: a client is better told 503 than left in a queue that nobody
// can accept from.
func (s *server) connections(configured int) int {
	files, err := openFiles()
	if err != nil {
		s.log.Warn("open files", "error", err)
		return configured
	}
	carried := connectionsFor(files)
	switch {
	case configured == 0:
		s.log.Debug("open files", "limit", files, "connections", carried)
		return carried
	case configured <= carried:
		return configured
	}
	s.log.Warn("open files", "limit", files, "connections", configured, "need", filesFor(configured), "lowered_to", carried,
		"advice", "raise LimitNOFILE, or lower traffic.limits.connections")
	return carried
}
