package proxy

import (
	"log/slog"
	"testing"
)

// One keep-alive client, one worker, 1 KB.
func BenchmarkGet(b *testing.B) {
	r := run(b, func(c *Config) { c.Log = slog.New(slog.DiscardHandler) })
	w := startWorker(b, named(string(make([]byte, 1024))))
	w.quiet = true
	r.register("w1", w)
	c := dial(b, r.addr)
	b.ReportAllocs()
	for b.Loop() {
		c.send("GET /shop/a?b=c HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nCookie: JSESSIONID=1.w1\r\n\r\n")
		if a := c.read("GET"); a.StatusCode != 200 || len(a.text) != 1024 {
			b.Fatal(a.Status)
		}
	}
}
