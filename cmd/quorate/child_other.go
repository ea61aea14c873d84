//go:build !linux

package main

import "syscall"

// childAttributes keep Ctrl-C for the parent alone.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
