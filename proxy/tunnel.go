package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// upgradeOf returns the protocol that a request asks for and may have, "" for
// none: then it is a plain request (http-notes.md §9).
func (p *Proxy) upgradeOf(r *http.Request) string {
	if r.ProtoMajor != 1 || r.ProtoMinor < 1 || r.ContentLength != 0 || !hasToken(r.Header["Connection"], "upgrade") {
		return ""
	}
	list := r.Header["Upgrade"]
	if len(list) != 1 || list[0] == "" {
		return ""
	}
	token := list[0]
	for i := range len(token) { // one token, perhaps with a version
		if c := token[i]; !isAlnum(c) && strings.IndexByte("!#$%&'*+-.^_`|~/", c) < 0 {
			return ""
		}
	}
	name, _, _ := strings.Cut(strings.ToLower(token), "/")
	if name == "h2c" || name == "http" || name == "tls" {
		return ""
	}
	for _, allowed := range p.c.Upstream.Upgrade.Protocols {
		if allowed == "*" || strings.EqualFold(allowed, token) {
			return token
		}
	}
	return ""
}

// names says whether a 101 names the protocol asked for.
func names(resp *http.Response, token string) bool {
	return resp.StatusCode == http.StatusSwitchingProtocols &&
		len(resp.Header["Upgrade"]) == 1 && strings.EqualFold(resp.Header["Upgrade"][0], token)
}

// tunnel carries bytes both ways after a 101, until both ends have said that they
// are done, one of them breaks, the tunnel idles too long, or this replica stops.
func (p *Proxy) tunnel(x *exchange, resp *http.Response) {
	worker, ok := resp.Body.(io.ReadWriteCloser)
	if !ok {
		p.abort(x, "quorate", errors.New("the transport gave no connection"))
	}
	client, buffered, err := x.control.Hijack()
	if err != nil {
		p.abort(x, "client", err)
	}
	x.status = http.StatusSwitchingProtocols
	p.stats.upgraded.Add(1)
	defer p.stats.upgraded.Add(-1)

	// The timers of the exchange end here: a tunnel has its own.
	client.SetDeadline(time.Time{})
	var once sync.Once
	end := func() {
		once.Do(func() {
			client.Close()
			worker.Close()
		})
	}
	defer end()
	defer context.AfterFunc(p.life, end)()
	active := func() {}
	if idle := p.c.Upstream.Upgrade.IdleTimeout; idle > 0 {
		timer := time.AfterFunc(idle, end)
		defer timer.Stop()
		active = func() { timer.Reset(idle) }
	}

	if _, err := client.Write(switching(resp)); err != nil {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { pump(worker, buffered.Reader, active, end) })
	wg.Go(func() { pump(client, worker, active, end) })
	wg.Wait()
}

// switching is the head of the 101.
func switching(resp *http.Response) []byte {
	h := make(http.Header)
	answerHeaders(h, resp.Header)
	delete(h, "Content-Length")
	h["Connection"], h["Upgrade"] = []string{"Upgrade"}, resp.Header["Upgrade"]
	if h["Content-Type"] == nil {
		delete(h, "Content-Type")
	}
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	h.Write(&b)
	b.WriteString("\r\n")
	return b.Bytes()
}

// pump copies one direction. An orderly end is passed on as one; anything else
// ends both directions.
func pump(to io.Writer, from io.Reader, active, end func()) {
	buf := buffers.Get().(*[32 << 10]byte)
	defer buffers.Put(buf)
	for {
		n, err := from.Read(buf[:])
		if n > 0 {
			active()
			if _, failed := to.Write(buf[:n]); failed != nil {
				end()
				return
			}
		}
		if err == nil {
			continue
		}
		half, ok := to.(interface{ CloseWrite() error })
		if err != io.EOF || !ok || half.CloseWrite() != nil {
			end()
		}
		return
	}
}
