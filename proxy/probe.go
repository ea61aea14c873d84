package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// CPing and CPong of AJP13 (ajp13.md): the one thing this version says to ajp.
var (
	cping = []byte{0x12, 0x34, 0x00, 0x01, 0x0a}
	cpong = []byte{0x41, 0x42, 0x00, 0x01, 0x09}
)

// probe asks once whether somebody is there, on a connection of its own.
func (p *Proxy) probe(ctx context.Context, scheme, host string, port int) error {
	how := p.c.Upstream.Health.Probe
	if how == "none" {
		return nil
	}
	address := addressOf(host, port)
	var secure *tls.Config
	if scheme == "https" && how != "tcp" {
		secure = p.tlsFor(host)
	}
	c, err := connect(ctx, address, secure)
	if err != nil {
		return err
	}
	defer c.Close()
	if how == "tcp" {
		return nil
	}
	if deadline, ok := ctx.Deadline(); ok {
		c.SetDeadline(deadline)
	}
	defer context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })()
	if scheme == "ajp" {
		return probeAJP(c)
	}
	return probeHTTP(c, how, p.c.Upstream.Health.Path, address)
}

func probeAJP(c net.Conn) error {
	if _, err := c.Write(cping); err != nil {
		return fmt.Errorf("CPING: %w", err)
	}
	got := make([]byte, len(cpong))
	if _, err := io.ReadFull(c, got); err != nil {
		return fmt.Errorf("CPING: no answer: %w", err)
	}
	if string(got) != string(cpong) {
		return fmt.Errorf("CPING: answered % x: not ajp", got)
	}
	return nil
}

// probeHTTP takes any status line for life with OPTIONS *; for a path that was
// chosen, 5xx is a failure.
func probeHTTP(c net.Conn, how, path, host string) error {
	method := "OPTIONS"
	switch how {
	case "get", "head":
		method = strings.ToUpper(how)
		if path == "" || path == "*" {
			path = "/"
		}
	default:
		path = "*"
	}
	_, err := io.WriteString(c, method+" "+path+" HTTP/1.1\r\nHost: "+host+"\r\nUser-Agent: quorate\r\nConnection: close\r\n\r\n")
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	line, err := bufio.NewReaderSize(io.LimitReader(c, 4096), 512).ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) && len(line) == 0 {
		return fmt.Errorf("%s %s: no answer: %w", method, path, err)
	}
	status := string(line)
	if len(status) < 12 || !strings.HasPrefix(status, "HTTP/1.") || status[8] != ' ' {
		return fmt.Errorf("%s %s: answered %.20q: not HTTP", method, path, status)
	}
	if method != "OPTIONS" && status[9] == '5' {
		return fmt.Errorf("%s %s: status %s", method, path, status[9:12])
	}
	return nil
}
