package accesslog

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Under load, with the file moved away again and again, every line is in one of the
// files, whole and once.
func TestReopenUnderLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "access.log")
	l := open(t, Config{Output: path, Sample: 1})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()

	const writers, each, rotations = 4, 1000, 20
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				numbered(l, w*each+i, 1)
				if i%64 == 0 {
					runtime.Gosched() // else all lines are there before the first rotation
				}
			}
		})
	}
	for i := range rotations {
		if err := os.Rename(path, fmt.Sprintf("%s.%d", path, i)); err != nil {
			t.Fatal(err)
		}
		if err := l.Reopen(); err != nil {
			t.Fatal(err)
		}
	}
	all.Wait()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var found []int
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != rotations+1 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, indexes(t, string(b))...)
	}
	slices.Sort(found)
	if len(found)+int(l.Dropped()) != writers*each || len(slices.Compact(found)) != len(found) {
		t.Errorf("%d lines and %d dropped of %d", len(found), l.Dropped(), writers*each)
	}
	if l.next != nil {
		t.Error("a file is left open")
	}
	if err := l.Reopen(); err != nil || l.next != nil {
		t.Errorf("after the end: %v, %v", err, l.next)
	}
}

// Once Reopen was called, an idle log leaves the old file alone, and what is written
// goes to the new one.
func TestReopenIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "access.log")
		l := open(t, Config{Output: path, Sample: 1})
		stop := run(t, l)
		numbered(l, 0, 2)
		time.Sleep(flushAfter)
		synctest.Wait()
		old := l.out.(*os.File)
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := l.Reopen(); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if _, err := old.Stat(); err == nil {
			t.Error("the old file is still open")
		}
		numbered(l, 0, 3)
		if err := stop(); err != nil {
			t.Error(err)
		}
		for name, n := range map[string]int{path: 3, path + ".1": 2} {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			inOrder(t, string(b), n)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm()&0o137 != 0 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	})
}

// A file that exists is appended to.
func TestAppends(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	for i := range 3 {
		l := open(t, Config{Output: path, Sample: 1})
		numbered(l, i, 1)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Run(ctx); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	inOrder(t, string(b), 3)
}

// A disk ran full within a line; the operator moves the log to another disk. The line
// stands whole in the new file, and nothing that followed is lost.
func TestReopenWithinLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "access.log")
		l := open(t, Config{Output: path, Sample: 1})
		l.close()
		size := len(asJSON(usual(), extra{}))
		old := &sink{fail: func() error { return errFull }, most: size + size/2}
		l.out = old
		stop := run(t, l)
		numbered(l, 0, 4)
		time.Sleep(flushAfter)
		synctest.Wait()
		if got := len(old.text()); got != size+size/2 {
			t.Fatalf("the full disk has %d bytes", got)
		}
		if err := l.Reopen(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // at once, not when the second is over
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// Index 0 is whole in the old file, 1 to 3 in the new one.
		if list := indexes(t, string(b)); !slices.Equal(list, []int{1, 2, 3}) {
			t.Errorf("the new file has %v", list)
		}
		if err := stop(); err != nil || l.Dropped() != 0 {
			t.Errorf("%v, %d dropped", err, l.Dropped())
		}
	})
}

func TestReopenErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "log")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "access.log")
		l := open(t, Config{Output: path, Sample: 1})
		stop := run(t, l)
		if err := os.Rename(dir, dir+".old"); err != nil {
			t.Fatal(err)
		}
		err := l.Reopen()
		if err == nil || !strings.HasPrefix(err.Error(), "reopen access log: open "+path) {
			t.Errorf("%v", err)
		}
		numbered(l, 0, 2) // goes on into the old file
		if err := stop(); err != nil {
			t.Error(err)
		}
		b, err := os.ReadFile(filepath.Join(dir+".old", "access.log"))
		if err != nil {
			t.Fatal(err)
		}
		inOrder(t, string(b), 2)
		if err := open(t, Config{Writer: &sink{}}).Reopen(); err != nil {
			t.Error("a writer:", err)
		}
	})
}

// Lines of many goroutines do not mix.
func TestTogether(t *testing.T) {
	out := &sink{}
	l := open(t, Config{Writer: out, Sample: 1})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	const writers, each = 8, 500
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() { numbered(l, w*each, each) })
	}
	all.Wait()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	list := indexes(t, out.text())
	last := [writers]int{}
	for _, i := range list {
		if i%each != last[i/each] {
			t.Fatalf("goroutine %d: line %d after %d lines", i/each, i%each, last[i/each])
		}
		last[i/each]++
	}
	if len(list) != writers*each || l.Dropped() != 0 {
		t.Errorf("%d lines, %d dropped", len(list), l.Dropped())
	}
}
