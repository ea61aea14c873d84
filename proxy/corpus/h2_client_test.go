package corpus

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2Client speaks HTTP/2 frame by frame, also such that no client sends. It writes
// from the conversation's goroutine, reads in one of its own, and acknowledges
// settings.
type h2Client struct {
	k    *talk
	told chan<- error
	fr   *http2.Framer
	enc  *hpack.Encoder
	blk  bytes.Buffer // of enc

	writing sync.Mutex
	mu      sync.Mutex
	changed *sync.Cond
	streams map[uint32]*h2Stream
	goaway  bool
	ended   bool // the connection
	late    bool // only because patience did
	done    sync.WaitGroup
}

// h2Stream is what came on a stream.
type h2Stream struct {
	informational []int
	status        int
	fields        string // sorted as they came, "name: value\n"
	data          string
	trailers      string
	whole         bool // END_STREAM
	reset         bool
}

// h2 begins to read. told hears of refusals and of the end, for who waits for
// something else.
func (k *talk) h2(told chan<- error) *h2Client {
	c := &h2Client{k: k, told: told, fr: http2.NewFramer(k.client, k.client), streams: map[uint32]*h2Stream{}}
	c.changed = sync.NewCond(&c.mu)
	c.enc = hpack.NewEncoder(&c.blk)
	c.fr.AllowIllegalWrites = true
	c.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.done.Go(c.read)
	return c
}

func (c *h2Client) read() {
	defer func() {
		c.mu.Lock()
		c.ended = true
		c.mu.Unlock()
		c.changed.Broadcast()
	}()
	for {
		f, err := c.fr.ReadFrame()
		c.mu.Lock()
		if c.late = isTimeout(err); err != nil {
			c.mu.Unlock()
			return
		}
		s := c.stream(f.Header().StreamID)
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			s.take(f)
		case *http2.DataFrame:
			s.data += string(f.Data())
			s.whole = f.StreamEnded()
		case *http2.RSTStreamFrame:
			s.reset = true
		case *http2.GoAwayFrame:
			c.goaway = true
		}
		settings, _ := f.(*http2.SettingsFrame)
		var refusal error
		if s.status >= 400 || s.reset || c.goaway {
			refusal = fmt.Errorf("stream %d: %+v, GOAWAY %t", f.Header().StreamID, *s, c.goaway)
		}
		c.mu.Unlock()
		if refusal != nil {
			select {
			case c.told <- refusal:
			default:
			}
		}
		c.changed.Broadcast()
		if settings != nil && !settings.IsAck() {
			c.writing.Lock()
			c.fr.WriteSettingsAck()
			c.writing.Unlock()
		}
	}
}

func (c *h2Client) stream(id uint32) *h2Stream {
	if c.streams[id] == nil {
		c.streams[id] = &h2Stream{}
	}
	return c.streams[id]
}

func (s *h2Stream) take(f *http2.MetaHeadersFrame) {
	text := ""
	for _, x := range f.RegularFields() {
		text += x.Name + ": " + x.Value + "\n"
	}
	status, _ := strconv.Atoi(f.PseudoValue("status"))
	switch {
	case status >= 100 && status < 200:
		s.informational = append(s.informational, status)
		return
	case s.status == 0:
		s.status, s.fields = status, text
	default:
		s.trailers = text
	}
	s.whole = f.StreamEnded()
}

// wait returns when ok is true, or the connection has ended.
func (c *h2Client) wait(ok func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !ok() && !c.ended {
		c.changed.Wait()
	}
}

// send writes the frames of a block; see testdata/h2.
func (c *h2Client) send(lines []string) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	for i := 0; i < len(lines); i++ {
		c.blk.Reset()
		line := lines[i]
		for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "  ") {
			i++
			if err := c.field(lines[i][2:]); err != nil {
				return err
			}
		}
		if err := c.frame(strings.Split(line, " ")); err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
	}
	return nil
}

func (c *h2Client) field(line string) error {
	line, err := unescape(line)
	if err != nil {
		return err
	}
	count := 1
	if times, rest, ok := strings.Cut(line, " x "); ok {
		if count, err = strconv.Atoi(times); err != nil {
			return err
		}
		line = rest
	}
	at := strings.Index(line[min(1, len(line)):], ":") + 1
	if at == 0 {
		return fmt.Errorf("%q is no field", line)
	}
	for range count {
		c.enc.WriteField(hpack.HeaderField{Name: line[:at], Value: strings.TrimPrefix(line[at+1:], " ")})
	}
	return nil
}

// request is the block of a plain GET.
func (c *h2Client) request(path string) []byte {
	c.blk.Reset()
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "localhost"}, {":path", path}} {
		c.enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	return bytes.Clone(c.blk.Bytes())
}

func (c *h2Client) frame(word []string) error {
	var id uint32
	number := func(i int) uint32 {
		if i >= len(word) {
			return 0
		}
		n, _ := strconv.ParseUint(word[i], 10, 32)
		return uint32(n)
	}
	id = number(1)
	flags := strings.Join(word, " ")
	end, last := strings.Contains(flags, " END_STREAM"), !strings.Contains(flags, " NO_END_HEADERS")
	text := func() (string, error) { // behind the number and END_STREAM
		rest := word[2:]
		if end {
			rest = rest[1:]
		}
		return unescape(strings.Join(rest, " "))
	}
	switch word[0] {
	case "HEADERS":
		return c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.blk.Bytes(), EndStream: end, EndHeaders: last})
	case "CONTINUATION":
		return c.fr.WriteContinuation(id, last, c.blk.Bytes())
	case "PUSH_PROMISE":
		return c.fr.WritePushPromise(http2.PushPromiseParam{StreamID: id, PromiseID: id + 1, BlockFragment: c.blk.Bytes(), EndHeaders: true})
	case "DATA":
		s, err := text()
		if err != nil {
			return err
		}
		return c.fr.WriteData(id, end, []byte(s))
	case "RST_STREAM":
		return c.fr.WriteRSTStream(id, http2.ErrCode(number(2)))
	case "SETTINGS":
		var list []http2.Setting
		for _, w := range word[1:] {
			k, v, _ := strings.Cut(w, "=")
			n, _ := strconv.ParseUint(k, 10, 16)
			m, _ := strconv.ParseUint(v, 10, 32)
			list = append(list, http2.Setting{ID: http2.SettingID(n), Val: uint32(m)})
		}
		return c.fr.WriteSettings(list...)
	case "WINDOW_UPDATE":
		return c.fr.WriteWindowUpdate(id, number(2))
	case "PRIORITY":
		return c.fr.WritePriority(id, http2.PriorityParam{StreamDep: number(2)})
	case "FRAME": // type flags stream payload
		s, err := unescape(strings.Join(word[4:], " "))
		if err != nil {
			return err
		}
		return c.fr.WriteRawFrame(http2.FrameType(number(1)), http2.Flags(number(2)), number(3), []byte(s))
	case "FLOOD": // n frames
		return c.flood(int(id), word[2])
	}
	return fmt.Errorf("%s is no frame", word[0])
}

// flood writes many frames. The end of the connection meanwhile is no error here.
func (c *h2Client) flood(n int, what string) error {
	block := []byte(nil)
	if what != "PING" && what != "SETTINGS" {
		block = c.request("/a")
	}
	for i := range n {
		id := uint32(2*i + 1)
		var err error
		switch what {
		case "RESETS":
			block = c.request("/a")
			err = c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: true, EndHeaders: true})
			if err == nil {
				err = c.fr.WriteRSTStream(id, http2.ErrCodeCancel)
			}
		case "CONTINUATIONS":
			if i == 0 {
				err = c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndStream: true})
			} else {
				err = c.fr.WriteContinuation(1, false, []byte("\x00\x01x\x01y"))
			}
		case "EMPTY_CONTINUATIONS":
			if i == 0 {
				err = c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndStream: true})
			} else {
				err = c.fr.WriteContinuation(1, false, nil)
			}
		case "PING":
			err = c.fr.WritePing(false, [8]byte{1})
		case "SETTINGS":
			err = c.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 65535})
		default:
			return fmt.Errorf("a flood of %s is not known", what)
		}
		if err != nil {
			return nil
		}
	}
	return nil
}

// The frames that a case writes can be read as they were meant.
func TestH2Frames(t *testing.T) {
	var b bytes.Buffer
	c := &h2Client{fr: http2.NewFramer(&b, &b)}
	c.fr.AllowIllegalWrites = true
	c.enc = hpack.NewEncoder(&c.blk)
	c.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := c.send([]string{"HEADERS 1 END_STREAM", "  :method: GET", "  :path: /", "  :scheme: http", "  2 x a: b c", "RST_STREAM 1 8"}); err != nil {
		t.Fatal(err)
	}
	f, err := c.fr.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	m, ok := f.(*http2.MetaHeadersFrame)
	if !ok || m.PseudoValue("method") != "GET" || len(m.RegularFields()) != 2 || m.RegularFields()[1].Value != "b c" || !m.StreamEnded() {
		t.Errorf("a frame came back as %v", f)
	}
	if f, err = c.fr.ReadFrame(); err != nil || f.Header().Type != http2.FrameRSTStream {
		t.Errorf("a frame came back as %v, %v", f, err)
	}
	if err := c.send([]string{"NOTHING 1"}); err == nil {
		t.Error("a frame of no type was written")
	}
}
