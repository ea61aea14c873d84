package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/proxy/wire"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2Peer speaks HTTP/2 frame by frame. What comes is read by a goroutine, which
// acknowledges settings and gives room for what it read, unless it is told to stall.
type h2Peer struct {
	net.Conn
	t       testing.TB
	fr      *http2.Framer
	block   bytes.Buffer
	enc     *hpack.Encoder
	stalled bool // give no room

	writing sync.Mutex
	mu      sync.Mutex
	changed *sync.Cond
	streams map[uint32]*h2Answer
	windows []http2.Setting // the peer's settings
	room    uint32          // of the connection, beyond the default
	credit  map[uint32]int  // what streams may send yet
	given   map[uint32]int  // what they have sent
	away    *http2.GoAwayFrame
	acks    int
	err     error // the end of the connection
}

// h2Answer is what came on a stream.
type h2Answer struct {
	informational []string
	status        int
	fields        map[string]string
	body          string
	trailers      string
	whole         bool
	reset         http2.ErrCode
	wasReset      bool
}

// dialH2 speaks HTTP/2 by prior knowledge, or over TLS if conf is not nil.
func dialH2(t testing.TB, addr string, conf *tls.Config, settings ...http2.Setting) *h2Peer {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	if conf != nil {
		conf = conf.Clone()
		conf.NextProtos = []string{"h2"}
		c = tls.Client(c, conf)
	}
	return speakH2(t, c, settings...)
}

func speakH2(t testing.TB, c net.Conn, settings ...http2.Setting) *h2Peer {
	t.Helper()
	p := &h2Peer{Conn: c, t: t, fr: http2.NewFramer(c, c), streams: map[uint32]*h2Answer{}, credit: map[uint32]int{}, given: map[uint32]int{}}
	p.changed = sync.NewCond(&p.mu)
	p.enc = hpack.NewEncoder(&p.block)
	p.fr.AllowIllegalWrites = true
	p.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(c, preface); err != nil {
		t.Fatal(err)
	}
	if err := p.fr.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.read()
	}()
	t.Cleanup(func() {
		c.Close()
		<-done
	})
	return p
}

func (p *h2Peer) read() {
	for {
		f, err := p.fr.ReadFrame()
		p.mu.Lock()
		if err != nil {
			p.err = err
			p.mu.Unlock()
			p.changed.Broadcast()
			return
		}
		id := f.Header().StreamID
		s := p.stream(id)
		reply := func() error { return nil }
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			s.take(f)
		case *http2.DataFrame:
			s.body += string(f.Data())
			s.whole = f.StreamEnded()
			if n := uint32(len(f.Data())); n > 0 && !p.stalled {
				reply = func() error {
					return errors.Join(p.fr.WriteWindowUpdate(0, n), p.fr.WriteWindowUpdate(id, n))
				}
			}
		case *http2.RSTStreamFrame:
			if !s.wasReset { // later ones answer frames that were on their way
				s.reset, s.wasReset = f.ErrCode, true
			}
		case *http2.WindowUpdateFrame:
			if id == 0 {
				p.room += f.Increment
			} else {
				p.credit[id] += int(f.Increment)
			}
		case *http2.GoAwayFrame:
			away := *f
			p.away = &away
		case *http2.SettingsFrame:
			if f.IsAck() {
				p.acks++
				break
			}
			f.ForeachSetting(func(x http2.Setting) error {
				p.windows = append(p.windows, x)
				return nil
			})
			reply = p.fr.WriteSettingsAck
		}
		p.mu.Unlock()
		p.changed.Broadcast()
		p.writing.Lock()
		reply() // an error ends the next read, too
		p.writing.Unlock()
	}
}

func (p *h2Peer) stream(id uint32) *h2Answer {
	if p.streams[id] == nil {
		p.streams[id] = &h2Answer{}
	}
	return p.streams[id]
}

func (s *h2Answer) take(f *http2.MetaHeadersFrame) {
	status, _ := strconv.Atoi(f.PseudoValue("status"))
	fields, text := map[string]string{}, ""
	for _, x := range f.RegularFields() {
		fields[x.Name] = x.Value
		text += x.Name + ": " + x.Value + "\n"
	}
	switch {
	case status/100 == 1:
		s.informational = append(s.informational, strconv.Itoa(status)+" "+text)
	case s.status == 0:
		s.status, s.fields = status, fields
	default:
		s.trailers = text
	}
	s.whole = f.StreamEnded()
}

// wait returns when ok says so of what came; the end of the connection, or of
// patience, before is fatal.
func (p *h2Peer) wait(what string, ok func() bool) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !ok() {
		if p.err != nil {
			p.t.Fatalf("%s: not before %v; GOAWAY %v", what, p.err, p.away)
		}
		p.changed.Wait()
	}
}

// answer waits for a stream's end.
func (p *h2Peer) answer(id uint32) h2Answer {
	p.t.Helper()
	p.wait("stream "+strconv.Itoa(int(id)), func() bool { s := p.stream(id); return s.whole || s.wasReset })
	p.mu.Lock()
	defer p.mu.Unlock()
	return *p.streams[id]
}

// goAway waits for GOAWAY; package http closes a second later.
func (p *h2Peer) goAway() *http2.GoAwayFrame {
	p.t.Helper()
	p.wait("GOAWAY", func() bool { return p.away != nil })
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.away
}

// ended waits for the end of the connection.
func (p *h2Peer) ended() (*http2.GoAwayFrame, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.err == nil {
		p.changed.Wait()
	}
	return p.away, p.err
}

// encode makes a block of "name: value" lines.
func (p *h2Peer) encode(lines ...string) []byte {
	p.block.Reset()
	for _, line := range lines {
		at := strings.Index(line[1:], ":") + 1
		p.enc.WriteField(hpack.HeaderField{Name: line[:at], Value: strings.TrimPrefix(line[at+1:], " ")})
	}
	return p.block.Bytes()
}

// headers opens a stream, or ends it with trailers.
func (p *h2Peer) headers(id uint32, end bool, lines ...string) error {
	p.mu.Lock()
	if _, ok := p.credit[id]; !ok {
		p.credit[id] = streamWindow
	}
	p.mu.Unlock()
	p.writing.Lock()
	defer p.writing.Unlock()
	return p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.encode(lines...), EndStream: end, EndHeaders: true})
}

// ask opens a stream with a request; more are further fields.
func (p *h2Peer) ask(id uint32, end bool, method, path string, more ...string) {
	p.t.Helper()
	lines := append([]string{":method: " + method, ":scheme: http", ":authority: localhost", ":path: " + path}, more...)
	if err := p.headers(id, end, lines...); err != nil {
		p.t.Fatal(err)
	}
}

func (p *h2Peer) data(id uint32, end bool, text string) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	return p.fr.WriteData(id, end, []byte(text))
}

func (p *h2Peer) cancel(id uint32) {
	p.t.Helper()
	p.writing.Lock()
	defer p.writing.Unlock()
	if err := p.fr.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
		p.t.Fatal(err)
	}
}

// send is data that waits until there is room, or the stream is over.
func (p *h2Peer) send(id uint32, text string) error {
	p.mu.Lock()
	for p.credit[id] < len(text) && p.err == nil && !p.stream(id).wasReset {
		p.changed.Wait()
	}
	p.credit[id] -= len(text)
	p.given[id] += len(text)
	p.mu.Unlock()
	return p.data(id, false, text)
}

// stuck says whether a stream has no room for long.
func (p *h2Peer) stuck(id uint32, long time.Duration) bool {
	for end := time.Now().Add(long); time.Now().Before(end); time.Sleep(time.Millisecond) {
		p.mu.Lock()
		room := p.credit[id] >= 16<<10
		p.mu.Unlock()
		if room {
			return false
		}
	}
	return true
}

func (p *h2Peer) over(id uint32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stream(id)
	return s.whole || s.wasReset
}

// hasEnded says whether the peer of a connection that nobody reads has closed it.
func hasEnded(c *net.TCPConn) bool {
	w, err := wire.New(c)
	return err != nil || w.Gone()
}
