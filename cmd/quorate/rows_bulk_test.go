package main

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"
)

// Long bodies cost no memory, however many and however slow.
func TestBulk(t *testing.T) { bulk(t, "", 50, 10<<20, 2*time.Second) }

// bulk is n uploads of size bytes at once, then n downloads by clients that take 100
// KB/s, for so long.
func bulk(t *testing.T, binary string, n int, size int64, slow time.Duration) {
	limit := 10_000 // KB
	if slowdown > 1 {
		limit *= 3 // what the race detector keeps is not what we ship
	}
	c, _, _ := single(t, binary)
	o := c.raw("w1", "/app")
	addr := c.replicas[0].traffic
	warm := gather(t, n, addr, nil)
	warm.ask(t, 10*n, request("GET", "/app/bytes/102400", nil), 102400)
	warm.ask(t, 10*n, request("POST", "/app/bytes/1024", o.body, fmt.Sprintf("Content-Length: %d", len(o.body))), 1024)
	warm.leave()

	for _, framing := range []string{"a length", "chunks"} {
		o.taken.Store(0)
		grown := c.growth(0, func() {
			var group sync.WaitGroup
			for range n {
				p := dial(t, addr, nil)
				group.Go(func() {
					defer p.conn.Close()
					if err := p.upload(o.body, size, framing == "chunks"); err != nil {
						t.Error(err)
					}
				})
			}
			group.Wait()
		})
		t.Logf("figure: %d uploads of %d MB at once, with %s: %s", n, size>>20, framing, grown)
		if got := o.taken.Load(); got != int64(n)*size {
			t.Errorf("the worker has got %d bytes of %d", got, int64(n)*size)
		}
		if grown.kb > limit {
			t.Errorf("RSS has grown by %d KB, want at most %d", grown.kb, limit)
		}
	}

	var mu sync.Mutex
	var read int64
	grown := c.growth(0, func() {
		var group sync.WaitGroup
		for range n {
			p := dial(t, addr, nil)
			group.Go(func() {
				defer p.conn.Close()
				k, err := p.sip(request("GET", "/app/bytes/1000000000", nil), 100_000, slow)
				mu.Lock()
				read += k
				mu.Unlock()
				if err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
	})
	t.Logf("figure: %d downloads at 100 KB/s: %s; %d KB/s each", n, grown, read/int64(n)/1000*int64(time.Second)/int64(slow))
	if grown.kb > limit {
		t.Errorf("RSS has grown by %d KB, want at most %d", grown.kb, limit)
	}
}

// upload sends a body of size bytes, which text repeats.
func (p *party) upload(text []byte, size int64, chunked bool) error {
	framing := fmt.Sprintf("Content-Length: %d", size)
	if chunked {
		framing = "Transfer-Encoding: chunked"
	}
	if _, err := p.conn.Write(request("POST", "/app/bytes/1024", nil, framing)); err != nil {
		return err
	}
	for left := size; left > 0; {
		piece := text[:min(left, int64(len(text)))]
		left -= int64(len(piece))
		if chunked {
			piece = fmt.Appendf(nil, "%x\r\n%s\r\n", len(piece), piece)
		}
		if _, err := p.conn.Write(piece); err != nil {
			return fmt.Errorf("%d bytes before the end: %w", left, err)
		}
	}
	if chunked {
		if _, err := io.WriteString(p.conn, "0\r\n\r\n"); err != nil {
			return err
		}
	}
	_, err := p.hear()
	return err
}

// sip reads an answer at so many bytes per second, for so long.
func (p *party) sip(visit []byte, rate int, lasts time.Duration) (read int64, err error) {
	if _, err := p.conn.Write(visit); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(p.in, nil)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for time.Since(began) < lasts {
		<-tick.C
		due := int64(time.Since(began).Seconds() * float64(rate))
		n, err := io.CopyN(io.Discard, resp.Body, due-read)
		read += n
		if err != nil {
			return read, err
		}
	}
	return read, nil
}

// growth is what replica i's RSS grows by, at most, while do runs.
type growth struct {
	from, kb int
	took     time.Duration
}

func (g growth) String() string {
	return fmt.Sprintf("RSS %.1f MB, at most %.1f MB more, in %.1fs", float64(g.from)/1000, float64(g.kb)/1000, g.took.Seconds())
}

func (c *trio) growth(i int, do func()) growth {
	c.t.Helper()
	began := time.Now()
	from := c.memory(i)["VmRSS"]
	most := from
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, c.memory(i)["VmRSS"])
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	})
	do()
	close(stop)
	group.Wait()
	return growth{from: from, kb: (most - from) * 1024 / 1000, took: time.Since(began)}
}
