package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// listenSmall is a listener whose connections hold little in the kernel.
func listenSmall(t *testing.T) net.Listener {
	t.Helper()
	var failed error
	conf := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			for _, option := range []int{syscall.SO_SNDBUF, syscall.SO_RCVBUF} {
				failed = errors.Join(failed, syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, option, 16<<10))
			}
		})
	}}
	l, err := conf.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	return l
}

// usage is what this process takes.
type usage struct {
	goroutines int
	heap       uint64 // bytes in use
}

func measure() usage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{runtime.NumGoroutine(), m.HeapInuse}
}

// watch looks every few milliseconds, until what it returns is called for the most.
func watch(t *testing.T) func() usage {
	var most usage
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			now := measure()
			most = usage{max(most.goroutines, now.goroutines), max(most.heap, now.heap)}
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	end := sync.OnceFunc(func() {
		close(stop)
		<-stopped
	})
	t.Cleanup(end)
	return func() usage {
		end()
		return most
	}
}

// Floods of frames end their connection, or cost no more than they bring: the memory
// and the goroutines of this process stay where they were, and others are served.
func TestHTTP2Floods(t *testing.T) {
	const plenty = 16 << 20 // bytes, far more than a flood takes
	var header []byte
	for name, flood := range map[string]struct {
		write func(fr *http2.Framer, p *h2Peer, i int) error
		count int
		reads bool // the client reads what comes
		code  http2.ErrCode
		lives bool // the connection may survive
	}{
		// CVE-2023-44487: each reset makes room for another request.
		"resets": {count: 2_000, reads: true, code: http2.ErrCodeEnhanceYourCalm, write: func(fr *http2.Framer, p *h2Peer, i int) error {
			id := uint32(2*i + 1)
			err := fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndStream: true, EndHeaders: true,
				BlockFragment: p.encode(":method: GET", ":scheme: http", ":authority: localhost", ":path: /")})
			if err == nil {
				err = fr.WriteRSTStream(id, http2.ErrCodeCancel)
			}
			return err
		}},
		// CVE-2023-45288: a head that never ends.
		"continuations": {count: 5_000, reads: true, code: http2.ErrCodeProtocol, write: func(fr *http2.Framer, p *h2Peer, i int) error {
			if i == 0 {
				return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true,
					BlockFragment: p.encode(":method: GET", ":scheme: http", ":authority: localhost", ":path: /")})
			}
			return fr.WriteContinuation(1, false, header)
		}},
		// Answers that the client does not take (CVE-2019-9512).
		"pings": {count: 2_000_000, write: func(fr *http2.Framer, _ *h2Peer, _ int) error {
			return fr.WritePing(false, [8]byte{1})
		}},
		// One answer is enough for many of these (CVE-2019-9515).
		"settings": {count: 20_000, lives: true, write: func(fr *http2.Framer, _ *h2Peer, _ int) error {
			return fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 65535})
		}},
		// Frames that bring nothing (CVE-2019-9518).
		"empty data": {count: 20_000, reads: true, lives: true, write: func(fr *http2.Framer, p *h2Peer, i int) error {
			if i == 0 {
				return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true,
					BlockFragment: p.encode(":method: POST", ":scheme: http", ":authority: localhost", ":path: /")})
			}
			return fr.WriteData(1, false, nil)
		}},
		"window updates": {count: 20_000, reads: true, lives: true, write: func(fr *http2.Framer, _ *h2Peer, i int) error {
			return fr.WriteWindowUpdate(0, 1)
		}},
		"priorities": {count: 20_000, reads: true, lives: true, write: func(fr *http2.Framer, _ *h2Peer, i int) error {
			return fr.WritePriority(uint32(2*i+1), http2.PriorityParam{StreamDep: 0, Weight: 1})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := runH2(t, func(c *Config) {
				c.Limits.HeaderBytes = 16 << 10
				c.Listeners[0].Listener.Close()
				c.Listeners[0].Listener = listenSmall(t)
			})
			r.addr = r.listeners[0].label
			r.register("w1", startWorker(t, func(c net.Conn, q *received) bool {
				if q.target() == "/ok" {
					return named("w1")(c, q)
				}
				io.Copy(io.Discard, q.r) // silent until the exchange ends
				return false
			}))
			p := dialH2(t, r.addr, nil)
			other := dialH2(t, r.addr, nil)
			other.ask(1, true, "GET", "/ok")
			other.answer(1)
			header = append([]byte(nil), p.encode("x-a: b")...)
			conn := p.Conn
			if !flood.reads {
				raw := dial(t, r.addr)
				if tcp := raw.Conn.(*net.TCPConn); tcp.SetReadBuffer(4<<10) != nil {
					t.Fatal("no small buffer")
				}
				raw.send(preface)
				conn = raw.Conn
			}
			out := bufio.NewWriter(conn)
			fr := http2.NewFramer(out, nil)
			if !flood.reads {
				fr.WriteSettings()
			}
			before := measure()
			sampled := watch(t)
			var err error
			i := 0
			for ; i < flood.count && err == nil; i++ {
				p.writing.Lock()
				err = flood.write(fr, p, i)
				if i%100 == 99 || i == flood.count-1 {
					err = errors.Join(err, out.Flush())
				}
				p.writing.Unlock()
			}
			switch {
			case flood.lives:
			case !flood.reads:
				if err == nil {
					t.Error("the connection lives on")
				}
			default:
				if away := p.goAway(); away.ErrCode != flood.code {
					t.Errorf("%v", away)
				}
			}
			other.ask(3, true, "GET", "/ok")
			if a := other.answer(3); a.body != "w1" {
				t.Errorf("%+v", a)
			}
			most := sampled()
			t.Logf("%d frames, %v; %d goroutines and %d KiB, before %d and %d", i, err, most.goroutines, most.heap>>10, before.goroutines, before.heap>>10)
			if most.goroutines > before.goroutines+5*20 { // streams at once, and what each may need
				t.Errorf("%d goroutines, before %d", most.goroutines, before.goroutines)
			}
			if most.heap > before.heap+plenty {
				t.Errorf("%d bytes, before %d", most.heap, before.heap)
			}
			conn.Close()
			p.Close()
			eventually(t, "nothing is left of it", func() bool {
				return r.Stats().InFlight == 0 && r.Stats().ClientConnections == 1
			})
		})
	}
}
