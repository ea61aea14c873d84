package raftnode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestCallErrors(t *testing.T) {
	b := startLink(t, "b", func(c *linkConfig) {
		c.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "not now", http.StatusConflict)
		})
	})
	a := startLink(t, "a", func(c *linkConfig) {
		c.Lookup = func(id string) (string, bool) { return b.Addr().String(), id == "b" }
	})
	_, err := a.Call(t.Context(), "b", "POST", "/propose", nil)
	answer, ok := errors.AsType[*answerError](err)
	if !ok || answer.Status != 409 || string(answer.Body) != "not now\n" || errors.Is(err, ErrUnreachable) {
		t.Errorf("a refusal by the handler: %v", err)
	}
	if _, err := a.Call(t.Context(), "nobody", "GET", "/", nil); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "no address known") {
		t.Errorf("an unknown id: %v", err)
	}
	addr := b.Addr().String()
	b.stop()
	soon(t, "the connection ends", func() bool { return a.connected("b") == 0 })
	if _, err := a.Call(t.Context(), "b", "GET", "/", nil); !errors.Is(err, ErrUnreachable) || !strings.HasSuffix(err.Error(), addr+": connection refused") {
		t.Errorf("a stopped replica: %v", err)
	}
	a.stop()
	if _, err := a.Call(t.Context(), "b", "GET", "/", nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("a stopped link: %v", err)
	}
}

// Many calls at once share one connection.
func TestCallsShareAConnection(t *testing.T) {
	b := startLink(t, "b", nil)
	a := startLink(t, "a", func(c *linkConfig) { c.Lookup = at(b) })
	if _, err := a.Call(t.Context(), "b", "GET", "/", nil); err != nil {
		t.Fatal(err)
	}
	var calls sync.WaitGroup
	for i := range 50 {
		calls.Go(func() {
			body := bytes.Repeat([]byte{byte('a' + i%26)}, 10_000)
			got, err := a.Call(t.Context(), "b", "POST", "/", body)
			if want := "HTTP/2 a " + string(body); err != nil || string(got) != want {
				t.Errorf("call %d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	calls.Wait()
	if n := a.connected("b"); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestCallEndsWithItsContext(t *testing.T) {
	began, gone := make(chan struct{}), make(chan struct{})
	b := startLink(t, "b", func(c *linkConfig) {
		c.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(began)
			<-r.Context().Done()
			close(gone)
		})
	})
	a := startLink(t, "a", func(c *linkConfig) { c.Lookup = at(b) })
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	if _, err := a.Call(ctx, "b", "GET", "/", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-gone // the handler hears of it
}

func TestRunWaitsForHandlers(t *testing.T) {
	began, finish := make(chan struct{}), make(chan struct{})
	b := startLink(t, "b", func(c *linkConfig) {
		c.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			close(began)
			<-finish
		})
	})
	a := startLink(t, "a", func(c *linkConfig) { c.Lookup = at(b) })
	called := make(chan error, 1)
	go func() {
		_, err := a.Call(t.Context(), "b", "GET", "/", nil)
		called <- err
	}()
	<-began
	b.Close()
	if err := <-called; err == nil {
		t.Error("an answer from a closed link")
	}
	select {
	case <-b.done:
		t.Error("Run ended before the handler")
	default:
	}
	close(finish)
	if err := b.stop(); err != nil {
		t.Error(err)
	}
}

func TestFrozenPeerIsDropped(t *testing.T) {
	t.Parallel() // takes the ping's time-out
	f := freezer(t)
	b := startLink(t, "b", func(c *linkConfig) {
		c.Self = func() Hello { return Hello{ID: "b", Address: f.Addr().String()} }
	})
	f.to(b.Addr().String())
	a := startLink(t, "a", func(c *linkConfig) {
		c.Lookup = func(string) (string, bool) { return f.Addr().String(), true }
	})
	if _, err := a.Call(t.Context(), "b", "GET", "/", nil); err != nil {
		t.Fatal(err)
	}
	f.freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	began := time.Now()
	_, err := a.Call(ctx, "b", "GET", "/", nil)
	if err == nil || ctx.Err() != nil {
		t.Fatalf("a frozen replica: %v", err)
	}
	t.Logf("dropped after %s: %v", time.Since(began).Round(10*time.Millisecond), err)
	soon(t, "the connection is closed", func() bool { return a.connected("b") == 0 })
	// It accepts new connections, as a stopped process does, and says nothing.
	ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := a.meet(ctx, f.Addr().String()); !errors.Is(err, ErrUnreachable) || err.Error() != fmt.Sprintf("%s: timeout", f.Addr()) {
		t.Errorf("a new connection: %v", err)
	}
	if conn, err := a.Raft().Dial("b", 200*time.Millisecond); err == nil {
		conn.Close()
		t.Error("Raft reached a frozen replica")
	}
}

// frozenProxy forwards TCP until it is frozen; then it still accepts, as the kernel of a
// stopped process does.
type frozenProxy struct {
	net.Listener
	target chan string
	frozen chan struct{}
}

func freezer(t *testing.T) *frozenProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &frozenProxy{l, make(chan string, 1), make(chan struct{})}
	var running sync.WaitGroup
	done := make(chan struct{})
	running.Go(func() {
		target := ""
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			if target == "" {
				target = <-f.target
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				in.Close()
				continue
			}
			running.Go(func() { f.copy(out, in) })
			running.Go(func() { f.copy(in, out) })
			running.Go(func() {
				<-done
				in.Close()
				out.Close()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		close(done)
		running.Wait()
	})
	return f
}

func (f *frozenProxy) to(target string) { f.target <- target }
func (f *frozenProxy) freeze()          { close(f.frozen) }

func (f *frozenProxy) copy(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		select {
		case <-f.frozen:
			return // neither forwards nor closes
		default:
		}
		if err != nil {
			to.Close()
			return
		}
		to.Write(buf[:n])
	}
}
