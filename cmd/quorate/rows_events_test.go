package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"
)

// What a worker flushes is with the client at once, however many streams there are.
func TestServerSentEvents(t *testing.T) {
	events(t, "", 500, 4, slowdown*100*time.Millisecond, time.Second)
}

// events compares streams by the replica with the same from the worker itself, in
// turns. Others that keep the machine busy make both slower: of each the best turn
// counts, and there are up to so many, until one from the worker itself was quick.
func events(t *testing.T, binary string, streams, turns int, limit, lasts time.Duration) {
	c, _, _ := single(t, binary)
	o := c.raw("w1", "/app")
	var added time.Duration
	least := [2]time.Duration{patience, patience}
	for range turns {
		direct := o.listen(t, o.address, streams, lasts)
		via := o.listen(t, c.replicas[0].traffic, streams, lasts)
		t.Logf("%d events: p50 %s, p99 %s; from the worker itself %s, %s", len(via),
			quantile(via, 0.5).Round(time.Microsecond), p99(via).Round(time.Microsecond),
			quantile(direct, 0.5).Round(time.Microsecond), p99(direct).Round(time.Microsecond))
		least[0], least[1] = min(least[0], p99(direct)), min(least[1], p99(via))
		if added = least[1] - least[0]; added <= limit && least[0] <= limit {
			break
		}
	}
	t.Logf("figure: %d streams of events: flush to client p99 %s, from the worker itself %s: %s added", streams,
		least[1].Round(time.Microsecond), least[0].Round(time.Microsecond), added.Round(time.Microsecond))
	if added > limit {
		t.Errorf("p99 of %s added, want at most %s", added, limit)
	}
}

// listen opens streams, and when all have begun takes how long each event was on its way.
func (o *rawWorker) listen(t testing.TB, addr string, streams int, lasts time.Duration) []time.Duration {
	t.Helper()
	all := gather(t, streams, addr, nil)
	var began, group sync.WaitGroup
	var mu sync.Mutex
	var delays []time.Duration
	var from time.Time // when all have begun
	ready := make(chan struct{})
	for _, p := range all {
		began.Add(1)
		group.Go(func() {
			begin := sync.OnceFunc(began.Done)
			defer begin()
			next, err := p.events()
			if err == nil {
				_, err = next()
			}
			if err != nil {
				t.Error(err)
				return
			}
			begin()
			var mine []time.Duration
			<-ready
			for time.Since(from) < lasts {
				sent, err := next()
				if err != nil {
					t.Error(err)
					return
				}
				// What lay there when the others had not begun was not waited for.
				if sent >= from.Sub(o.began).Nanoseconds() {
					mine = append(mine, time.Duration(o.clock()-sent))
				}
			}
			mu.Lock()
			delays = append(delays, mine...)
			mu.Unlock()
		})
	}
	began.Wait()
	from = time.Now()
	close(ready)
	group.Wait()
	all.leave()
	if len(delays) < streams {
		t.Fatalf("%d events of %d streams", len(delays), streams)
	}
	return delays
}

// events asks for a stream; next returns when the next event was sent, by the worker's clock.
func (p *party) events() (next func() (int64, error), err error) {
	if _, err := p.conn.Write(request("GET", "/app/events/250ms", nil)); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(p.in, nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s", resp.Status)
	}
	in := bufio.NewReaderSize(resp.Body, 256)
	return func() (int64, error) {
		for {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return 0, err
			}
			if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
				return strconv.ParseInt(string(bytes.TrimSpace(data)), 10, 64)
			}
		}
	}, nil
}
