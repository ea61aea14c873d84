package main

import "syscall"

// childAttributes keep Ctrl-C for the parent alone, and end the child with it.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
