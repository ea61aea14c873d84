package http1

import (
	"strings"
	"testing"
)

// browserHead is what a browser sends: about 500 bytes.
var browserHead = strings.ReplaceAll(`GET /app/catalogue/items?page=2&sort=price HTTP/1.1
Host: shop.example.com
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8
Accept-Language: en-US,en;q=0.5
Accept-Encoding: gzip, deflate, br, zstd
Referer: https://shop.example.com/app/catalogue
Connection: keep-alive
Cookie: JSESSIONID=0123456789ABCDEF0123456789ABCDEF.w1
Upgrade-Insecure-Requests: 1
Priority: u=0, i

`, "\n", "\r\n")

const workerHead = "HTTP/1.1 200 \r\nSet-Cookie: JSESSIONID=0123456789ABCDEF0123456789ABCDEF.w1; Path=/app; HttpOnly\r\n" +
	"Content-Type: text/html;charset=UTF-8\r\nContent-Length: 1024\r\nDate: Tue, 25 Nov 2025 02:13:00 GMT\r\n" +
	"Keep-Alive: timeout=20\r\nConnection: keep-alive\r\n\r\n"

func BenchmarkRequest(b *testing.B) {
	for _, c := range []struct{ name, head string }{
		{"browser", browserHead},
		{"short", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"absolute", "GET http://shop.example.com/a HTTP/1.1\r\nHost: shop.example.com\r\n\r\n"},
	} {
		b.Run(c.name, func(b *testing.B) {
			head := []byte(c.head)
			var r Request
			b.SetBytes(int64(len(head)))
			b.ReportAllocs()
			for b.Loop() {
				r.Reset()
				if n, err := r.Parse(head, Limits{8 << 10, 32 << 10}); n != len(head) || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

// A client that sends a long field byte by byte: one op is all of it.
func BenchmarkSlowClient(b *testing.B) {
	head := []byte("GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("y", 30<<10) + "\r\n\r\n")
	var r Request
	b.SetBytes(int64(len(head)))
	for b.Loop() {
		r.Reset()
		for i := range head {
			if _, err := r.Parse(head[:i+1], Limits{Header: 32 << 10}); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkResponse(b *testing.B) {
	head := []byte(workerHead)
	var r Response
	b.SetBytes(int64(len(head)))
	b.ReportAllocs()
	for b.Loop() {
		r.Reset()
		if n, err := r.Parse(head, Limits{8 << 10, 64 << 10}); n != len(head) || err != nil {
			b.Fatal(n, err)
		}
	}
}

// The worst that 32 KiB can hold: many names listed, many fields to compare.
func BenchmarkListed(b *testing.B) {
	head := "GET / HTTP/1.1\r\nHost: a\r\nConnection: " + strings.Repeat("b,", maxListed) + "\r\n" +
		strings.Repeat("a:\r\n", 8000) + "\r\n"
	var r Request
	b.SetBytes(int64(len(head)))
	for b.Loop() {
		r.Reset()
		if n, err := r.Parse([]byte(head), Limits{}); n == 0 || err != nil {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkChunked(b *testing.B) {
	for _, c := range []struct {
		name  string
		chunk int
	}{{"small", 16}, {"8k", 8 << 10}} {
		b.Run(c.name, func(b *testing.B) {
			body := AppendChunkHead(nil, c.chunk)
			body = append(body, strings.Repeat("x", c.chunk)+"\r\n0\r\n\r\n"...)
			dst := make([]byte, 0, 16<<10)
			var d Chunked
			b.SetBytes(int64(c.chunk))
			b.ReportAllocs()
			for b.Loop() {
				d.Reset(32 << 10)
				if n, _, done, err := d.Decode(dst, body); n != c.chunk || !done || err != nil {
					b.Fatal(n, done, err)
				}
			}
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	head := []byte(browserHead)
	var r Request
	r.Parse(head, Limits{})
	out := make([]byte, 0, 16<<10)
	b.ReportAllocs()
	for b.Loop() {
		out = writeRequest(out[:0], &r, head)
	}
	b.SetBytes(int64(len(out)))
}

func BenchmarkAppendHead(b *testing.B) {
	out := make([]byte, 0, 16<<10)
	b.ReportAllocs()
	for b.Loop() {
		var err *Error
		if out, err = AppendHead(out[:0], "GET", "/app/catalogue/items?page=2&sort=price", "shop.example.com"); err != nil {
			b.Fatal(err)
		}
		out, _ = AppendHeadField(out, "user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	}
}

// writeRequest writes r as it would be read again.
func writeRequest(out []byte, r *Request, b []byte) []byte {
	out = append(out, r.Method.Of(b)...)
	out = append(out, ' ')
	out = append(out, r.Target.Of(b)...)
	out = append(out, " HTTP/1."...)
	out = AppendUint(out, uint64(r.Minor))
	out = append(out, "\r\n"...)
	for _, f := range r.Fields {
		out = AppendField(out, f.Name.Of(b), f.Value.Of(b))
	}
	return append(out, "\r\n"...)
}
