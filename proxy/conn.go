package proxy

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
)

// countedConn counts the bytes of a connection.
type countedConn struct {
	net.Conn
	in, out *atomic.Int64
	once    sync.Once
	closed  func()                  // may be nil
	user    atomic.Pointer[tryBody] // what is sent on it now
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.in.Add(int64(n))
	return n, err
}

func (c *countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.out.Add(int64(n))
	return n, err
}

// CloseWrite passes the end of what we write on, for tunnels and TLS.
func (c *countedConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

func (c *countedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		if c.closed != nil {
			c.closed()
		}
		if b := c.user.Load(); b != nil {
			b.interrupt()
		}
	})
	return err
}

// countedUnder finds the countedConn below TLS.
func countedUnder(c net.Conn) *countedConn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	counted, _ := c.(*countedConn)
	return counted
}

// reset makes Close tell the peer that something is missing.
func reset(c net.Conn) {
	for {
		switch inner := c.(type) {
		case interface{ SetLinger(int) error }:
			inner.SetLinger(0)
			return
		case interface{ NetConn() net.Conn }: // tls.Conn
			c = inner.NetConn()
		case *countedConn:
			c = inner.Conn
		default:
			return
		}
	}
}
