package wire

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

// proxyBuffer holds every version 1 header (107 bytes) and what usually follows a version
// 2 header: few bytes that are read too far.
const proxyBuffer = 256

// ReadProxyHeader reads the PROXY protocol header, version 1 or 2, that the stream must
// begin with. local: the sender names no TCP client (LOCAL, UNKNOWN, another family), the
// socket's address holds. rest is what was read behind the header. The read deadline of c
// stays at the deadline. It is the caller's to ask only peers who are trusted.
func ReadProxyHeader(c *Conn, deadline time.Time) (src netip.AddrPort, local bool, rest []byte, err error) {
	if err = c.SetReadDeadline(deadline); err == nil {
		src, local, rest, err = proxyHeader(c.NetConn())
	}
	if err != nil {
		err = fmt.Errorf("read the PROXY header of %s: %w", c.tcp.RemoteAddr(), err)
	}
	return src, local, rest, err
}

func proxyHeader(r io.Reader) (src netip.AddrPort, local bool, rest []byte, err error) {
	begin, err := proxyBegin(r)
	if err != nil {
		return src, false, nil, err
	}
	b := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(begin), r), proxyBuffer)
	h, err := proxyproto.Read(b)
	if err != nil {
		return src, false, nil, err
	}
	rest, _ = b.Peek(b.Buffered()) // what is there is no error
	a, ok := h.SourceAddr.(*net.TCPAddr)
	if !ok || !h.Command.IsProxy() {
		return src, true, rest, nil
	}
	src = a.AddrPort()
	return netip.AddrPortFrom(src.Addr().Unmap(), src.Port()), false, rest, nil
}

// proxyBegin reads until a version 1 header is whole, because its parser takes it in one
// piece only, or it is clear that there is none.
func proxyBegin(r io.Reader) ([]byte, error) {
	b := make([]byte, 0, proxyBuffer)
	for {
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if n == 0 {
			return b, err
		}
		sign := min(len(b), len(proxyproto.SIGV1))
		if !bytes.Equal(b[:sign], proxyproto.SIGV1[:sign]) || bytes.IndexByte(b, '\n') >= 0 || len(b) >= 107 {
			return b, nil
		}
	}
}
