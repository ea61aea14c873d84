package main

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

// What a request costs in allocations, in the program itself with access log and
// metrics on, by runtime/metrics. Of few requests it can only be said that most cost
// none.
func TestAllocationsPerRequest(t *testing.T) {
	if slowdown > 1 {
		t.Skip("with the race detector sync.Pool drops some of what it gets")
	}
	allocations(t, "", 4000, 30, 0.5)
}

// allocations asks for each kind of request so often, with so many looks before and
// behind.
func allocations(t *testing.T, binary string, requests, looks int, limit float64) {
	c, _, _ := single(t, binary)
	o := c.raw("w1", "/app")
	chunks := func(n int) (b []byte) {
		for ; n > 0; n -= 1000 {
			b = fmt.Appendf(b, "%x\r\n%s\r\n", 1000, o.body[:1000])
		}
		return append(b, "0\r\n\r\n"...)
	}
	ten := bytes.Repeat(o.body[:1<<10], 10)
	clients := gather(t, 16, c.replicas[0].traffic, nil)
	wait := time.Duration(looks) * time.Second / 15
	idle := c.allocated(0, looks, func() { time.Sleep(wait) }) / wait.Seconds()
	for _, k := range []struct {
		name    string
		request []byte
		answer  int64
	}{
		{"GET", request("GET", "/app/bytes/1024", nil), 1024},
		{"POST of 10 KB", request("POST", "/app/bytes/1024", ten, "Content-Length: 10240"), 1024},
		{"POST of 60 KB", request("POST", "/app/bytes/1024", o.body[:60000], "Content-Length: 60000"), 1024},
		{"GET of 100 KB", request("GET", "/app/bytes/102400", nil), 102400},
		{"chunked answer", request("GET", "/app/chunks/10000", nil), 10000},
		{"chunked request", request("POST", "/app/bytes/1024", chunks(10000), "Transfer-Encoding: chunked"), 1024},
		{"long chunked request", request("POST", "/app/bytes/1024", chunks(60000), "Transfer-Encoding: chunked"), 1024},
	} {
		clients.ask(t, requests/10, k.request, k.answer) // pools fill
		var each float64
		for range 2 { // what else the machine does can spoil one
			var took time.Duration
			n := c.allocated(0, looks, func() { took = clients.ask(t, requests, k.request, k.answer) })
			each = (n - idle*took.Seconds()) / float64(requests)
			t.Logf("figure: %d × %s in %.1fs: %.4f allocations per request (idle %.0f/s)", requests, k.name, took.Seconds(), each, idle)
			if each <= limit {
				break
			}
		}
		if each > limit {
			t.Errorf("%s: %.4f allocations per request, want at most %v", k.name, each, limit)
		}
	}
}

// allocated is how many objects replica i allocates while do runs. To ask it is to
// allocate, and the runtime counts what a processor took from its cache only when
// that is refilled: so it is asked often, before and behind, and the step between
// the two lines of equal slope is taken.
func (c *trio) allocated(i, looks int, do func()) float64 {
	var sum [2]float64 // of the values
	var sxy, sxx float64
	for side := range 2 {
		y := make([]float64, looks)
		for n := range y {
			y[n] = c.metric(i, "go_memstats_mallocs_total")
			sum[side] += y[n]
		}
		for n := range y {
			x := float64(n) - float64(looks-1)/2
			sxy += x * (y[n] - sum[side]/float64(looks))
			sxx += x * x
		}
		if side == 0 {
			do()
		}
	}
	return (sum[1]-sum[0])/float64(looks) - sxy/sxx*float64(looks)
}
