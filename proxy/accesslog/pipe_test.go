package accesslog

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// childVar makes this test binary the process whose standard output and error are one
// pipe.
const childVar = "ACCESSLOG_TEST_CHILD"

const childLines, childOthers = 5000, 2000

func TestMain(m *testing.M) {
	if os.Getenv(childVar) == "" {
		goleak.VerifyTestMain(m)
		return
	}
	if err := child(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// child writes an access log to standard output while others write to standard error.
func child() error {
	l, err := Open(Config{Output: "stdout", Sample: 1})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	var others sync.WaitGroup
	others.Go(func() {
		for range childOthers {
			fmt.Fprintln(os.Stderr, "other")
		}
	})
	numbered(l, 0, childLines)
	others.Wait()
	cancel()
	return <-done
}

// Where standard output and error are one pipe and its reader is slow, no line is torn.
func TestOnePipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childVar+"=1")
	c.Stdout, c.Stderr = w, w
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	var ours strings.Builder
	others := 0
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if lines.Text() == "other" {
			others++
		} else {
			fmt.Fprintln(&ours, lines.Text())
		}
	}
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	inOrder(t, ours.String(), childLines)
	if others != childOthers {
		t.Errorf("%d lines of others, want %d", others, childOthers)
	}
}
