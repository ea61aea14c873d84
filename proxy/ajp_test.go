package proxy

import (
	"testing"
	"time"

	"github.com/quorate/quorate/proxy/ajp/ajptest"
)

// A plain GET: what the worker is told, what the client gets, and the connection serves
// on, asked for life only at first.
func TestAJPGet(t *testing.T) {
	r := run(t, func(c *Config) { c.Upstream.AJP.CPingAfterIdle = time.Minute })
	w := startAJP(t, ajpSay(ajptest.Head(200, "Content-Type", "text/plain", "X-A", "b"), ajptest.Body("hello"), ajptest.End))
	r.register("w1", w.worker, isAJP)
	c := dial(t, r.addr)
	for range 3 {
		c.send("GET /shop/a%20b;x=1?id=5 HTTP/1.1\r\nHost: localhost\r\nCookie: JSESSIONID=abc.w1\r\nX-Forwarded-For: 6.6.6.6\r\n" +
			"Connection: X-Gone\r\nX-Gone: 1\r\nTE: trailers\r\n\r\n")
		a := c.read("GET")
		a.want(t, 200, "hello")
		if a.Header.Get("X-A") != "b" || a.Header.Get("Content-Type") != "text/plain" || a.Status != "200 OK" {
			t.Errorf("%s %v", a.Status, a.Header)
		}
	}
	if w.connections() != 1 || w.pinged() != 1 {
		t.Errorf("%d connections, %d pings", w.connections(), w.pinged())
	}
	q := w.requests()[0]
	if q.Method != "GET" || q.Protocol != "HTTP/1.1" || q.URI != "/shop/a%20b;x=1" || q.RemoteAddr != "127.0.0.1" || q.RemoteHost != nil ||
		q.ServerName != "localhost" || q.ServerPort == 0 || q.TLS || q.Attributes[5] != "id=5" || q.Attributes[6] != "w1" || len(q.Attributes) != 2 ||
		q.Attribute("AJP_REMOTE_PORT") == "" || q.Attribute("AJP_LOCAL_ADDR") != "127.0.0.1" || len(q.Extra) != 2 {
		t.Errorf("%+v", q)
	}
	if len(q.Headers) != 3 || q.Header("Host") != "localhost" || q.Header("Cookie") != "JSESSIONID=abc.w1" || q.Header("X-Request-Id") == "" {
		t.Errorf("%+v", q.Headers)
	}
}
