//go:build check

package main

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// unmountBelow detaches what a daemon left mounted in its folder.
func unmountBelow(t *testing.T, dir string) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Error(err)
		return
	}
	var points []string
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			points = append(points, f[1])
		}
	}
	slices.Reverse(points) // the innermost first
	for _, p := range points {
		if err := syscall.Unmount(p, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", p, err)
		}
	}
}
