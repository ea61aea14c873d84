package proxy

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/proxy/ajp/ajptest"
)

// thin serves one connection after the other without an allocation for a request.
func thin(b testing.TB, serve func(c net.Conn, buf []byte) bool) *worker {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	w := &worker{serving: func(c net.Conn) {
		for buf := make([]byte, 64<<10+4); serve(c, buf); {
		}
	}}
	w.start(b, l)
	return w
}

// thinAJP takes a request with size bytes of body, and answers with as many, or 1 KB.
func thinAJP(b testing.TB, size, packet int) *worker {
	answer := []byte(ajptest.Head(200, "Content-Length", "1024") + ajptest.Body(strings.Repeat("x", 1024)) + ajptest.End)
	ask, pong := []byte(ajptest.Ask(packet-6)), []byte(ajptest.Pong)
	read := func(c net.Conn, buf []byte) int {
		if _, err := io.ReadFull(c, buf[:4]); err != nil {
			return 0
		}
		n, err := io.ReadFull(c, buf[:int(buf[2])<<8|int(buf[3])])
		if err != nil {
			return 0
		}
		return n
	}
	return thin(b, func(c net.Conn, buf []byte) bool {
		switch n := read(c, buf); {
		case n == 0:
			return false
		case n == 1:
			_, err := c.Write(pong)
			return err == nil
		}
		for got, first := 0, true; got < size; first = false {
			if !first {
				if _, err := c.Write(ask); err != nil {
					return false
				}
			}
			n := read(c, buf)
			if n < 3 {
				return false
			}
			got += n - 2
		}
		_, err := c.Write(answer)
		return err == nil
	})
}

func thinHTTP(b testing.TB, size int) *worker {
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n" + strings.Repeat("x", 1024))
	return thin(b, func(c net.Conn, buf []byte) bool {
		for n, want := 0, 0; want == 0 || n < want; {
			k, err := c.Read(buf[min(n, 4096):])
			if err != nil {
				return false
			}
			if n += k; want == 0 {
				for i := 3; i < n; i++ {
					if buf[i-3] == '\r' && buf[i-2] == '\n' && buf[i-1] == '\r' && buf[i] == '\n' {
						want = i + 1 + size
						break
					}
				}
			}
		}
		_, err := c.Write(answer)
		return err == nil
	})
}

// BenchmarkCarriers compares both ways to a worker: one keep-alive client; client and
// worker are part of what is measured, and the same for both but for their protocol.
func BenchmarkCarriers(b *testing.B) {
	for _, size := range []int{0, 10 << 10, 100 << 10} {
		for _, carrier := range []string{"http", "ajp"} {
			b.Run(fmt.Sprintf("%d/%s", size, carrier), func(b *testing.B) { carry(b, size, carrier) })
		}
	}
}

func carry(b *testing.B, size int, carrier string) {
	packet := 8 << 10
	if size > 64<<10 {
		packet = 64 << 10
	}
	r := run(b, func(c *Config) {
		c.Log = slog.New(slog.DiscardHandler)
		c.Upstream.AJP = AJP{MaxPacketBytes: packet, CPingAfterIdle: time.Minute}
	})
	if carrier == "ajp" {
		r.register("w1", thinAJP(b, size, packet), isAJP)
	} else {
		r.register("w1", thinHTTP(b, size))
	}
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	request, buf := loadRequest(size), make([]byte, 4096)
	once := func() {
		if err := exchangeOnce(c, request, buf); err != nil {
			b.Fatal(err)
		}
	}
	once()
	b.ReportAllocs()
	for b.Loop() {
		once()
	}
}

func loadRequest(size int) []byte {
	if size == 0 {
		return []byte("GET /shop/a?b=c HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nCookie: JSESSIONID=1.w1\r\n\r\n")
	}
	return fmt.Appendf(nil, "POST /shop/a?b=c HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nCookie: JSESSIONID=1.w1\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("y", size))
}

// exchangeOnce sends a request and reads an answer with 1 KB of body.
func exchangeOnce(c net.Conn, request, buf []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	for n := 0; n < 1024+60; { // a head is a little longer
		k, err := c.Read(buf)
		if err != nil {
			return err
		}
		n += k
	}
	return nil
}

// An exchange by AJP allocates nothing, as one by HTTP does not.
func TestAJPAllocations(t *testing.T) {
	if testing.Short() || raced {
		t.Skip("a benchmark")
	}
	for _, size := range []int{0, 10 << 10, 100 << 10} {
		if r := testing.Benchmark(func(b *testing.B) { carry(b, size, "ajp") }); r.N > 1000 && r.AllocsPerOp() > 0 {
			t.Errorf("%d bytes: %d allocations, %d bytes", size, r.AllocsPerOp(), r.AllocedBytesPerOp())
		}
	}
}
