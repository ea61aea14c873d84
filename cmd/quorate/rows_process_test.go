package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// cpu is what replica i's process has used of processors so far, in steps of 10 ms.
func (c *trio) cpu(i int) (used time.Duration) {
	c.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.replicas[i].pid()))
	if err != nil {
		c.t.Fatal(err)
	}
	// Behind the name, which may hold anything, utime and stime are the 12th and the
	// 13th of proc_pid_stat(5), in hundredths of a second.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			c.t.Fatal(err)
		}
		used += time.Duration(n) * 10 * time.Millisecond
	}
	return used
}

// descriptors are those that replica i's process has open.
func (c *trio) descriptors(i int) int {
	c.t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.replicas[i].pid()))
	if err != nil {
		c.t.Fatal(err)
	}
	return len(list)
}
