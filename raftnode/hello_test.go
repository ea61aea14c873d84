package raftnode

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMessageRoundTrip(t *testing.T) {
	text := rapid.StringN(-1, -1, 100)
	rapid.Check(t, func(t *rapid.T) {
		h := Hello{
			ID: text.Draw(t, "id"), Name: text.Draw(t, "name"), ClusterID: text.Draw(t, "cluster"),
			Version: text.Draw(t, "version"), Schema: rapid.Uint16().Draw(t, "schema"),
			Start: text.Draw(t, "start"), Address: text.Draw(t, "address"),
		}
		var buf bytes.Buffer
		if err := writeMessage(&buf, h); err != nil {
			t.Fatal(err)
		}
		buf.WriteString("rest")
		var got Hello
		if err := readMessage(&buf, &got); err != nil || got != h {
			t.Fatalf("%+v came back as %+v, %v", h, got, err)
		}
		if buf.String() != "rest" {
			t.Fatalf("%q is left for the next reader", buf.String())
		}
	})
}

func TestVerdictRoundTrip(t *testing.T) {
	if err := verdictOf(nil).err(); err != nil {
		t.Errorf("acceptance came back as %v", err)
	}
	for _, v := range verdicts {
		got := verdictOf(v.err).err()
		if !errors.Is(got, v.err) || got.Error() != v.err.Error() {
			t.Errorf("%v came back as %v", v.err, got)
		}
	}
	if got := verdictOf(errSilent).err(); got == nil || !strings.Contains(got.Error(), errSilent.Error()) {
		t.Errorf("%v came back as %v", errSilent, got)
	}
	if got := (verdict{Refused: "of a later version", Detail: "why"}).err(); got == nil {
		t.Error("a refusal in unknown words was taken for a welcome")
	}
}

func TestExchangeTellsBoth(t *testing.T) {
	one, other := net.Pipe()
	defer one.Close()
	defer other.Close()
	// A pipe has no buffer: both sides write first, so a copy loop must stand between.
	type end struct {
		theirs Hello
		err    error
	}
	a, b := make(chan end, 1), make(chan end, 1)
	ca, cb := buffered(one), buffered(other)
	go func() {
		h, err := exchange(ca, Hello{ID: "a"}, func(h Hello) error { return ErrRemoved })
		a <- end{h, err}
	}()
	go func() {
		h, err := exchange(cb, Hello{ID: "b"}, func(Hello) error { return nil })
		b <- end{h, err}
	}()
	if got := <-a; got.theirs.ID != "b" || !errors.Is(got.err, ErrRemoved) {
		t.Errorf("a: %+v", got)
	}
	if got := <-b; got.theirs.ID != "a" || !errors.Is(got.err, ErrRemoved) {
		t.Errorf("b: %+v", got)
	}
}

// bufferedConn writes without waiting for a reader, as TCP does.
type bufferedConn struct {
	net.Conn
	out chan []byte
}

func buffered(c net.Conn) *bufferedConn {
	b := &bufferedConn{c, make(chan []byte, 10)}
	go func() {
		for range 2 { // a hello and a verdict
			c.Write(<-b.out)
		}
	}()
	return b
}

func (b *bufferedConn) Write(p []byte) (int, error) {
	b.out <- bytes.Clone(p)
	return len(p), nil
}

func FuzzReadMessage(f *testing.F) {
	var seed bytes.Buffer
	if err := writeMessage(&seed, Hello{ID: "a", Schema: 1}); err != nil {
		f.Fatal(err)
	}
	f.Add(seed.Bytes())
	f.Add([]byte{0, 2, '{', '}', 'x'})
	f.Add([]byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		var h Hello
		if err := readMessage(r, &h); err != nil {
			return
		}
		if rest, _ := io.ReadAll(r); len(rest) != len(b)-2-int(b[0])<<8-int(b[1]) {
			t.Fatalf("%d of %d bytes left", len(rest), len(b))
		}
		var again bytes.Buffer
		if err := writeMessage(&again, h); err != nil {
			return // longer than what was read: escapes
		}
		var h2 Hello
		if err := readMessage(&again, &h2); err != nil || h2 != h {
			t.Fatalf("%+v came back as %+v, %v", h, h2, err)
		}
	})
}
