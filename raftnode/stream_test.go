package raftnode

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// raftOver runs a transport of raft's on a link; it answers every AppendEntries with
// the term it was sent.
func raftOver(t *testing.T, l *testLink) *raft.NetworkTransport {
	t.Helper()
	trans := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: l.Raft(), MaxPool: 3, Timeout: 10 * time.Second, Logger: hclog.NewNullLogger(),
	})
	done := make(chan struct{})
	go func() {
		for {
			select {
			case rpc := <-trans.Consumer():
				req, ok := rpc.Command.(*raft.AppendEntriesRequest)
				if !ok {
					rpc.Respond(nil, errors.New("unexpected"))
					continue
				}
				rpc.Respond(&raft.AppendEntriesResponse{Term: req.Term, LastLog: uint64(len(req.Entries)), Success: true}, nil)
			case <-done:
				return
			}
		}
	}()
	t.Cleanup(func() {
		trans.Close()
		close(done)
	})
	return trans
}

func appendTo(trans *raft.NetworkTransport, id string, term uint64) (raft.AppendEntriesResponse, error) {
	req := raft.AppendEntriesRequest{Term: term, Entries: []*raft.Log{{Index: 1, Term: term, Data: []byte("entry")}}}
	var res raft.AppendEntriesResponse
	err := trans.AppendEntries(raft.ServerID(id), raft.ServerAddress(id), &req, &res)
	return res, err
}

func TestRaftTransportOverIDs(t *testing.T) {
	b := startLink(t, "b", nil)
	a := startLink(t, "a", func(c *linkConfig) { c.Lookup = at(b) })
	ta, tb := raftOver(t, a), raftOver(t, b)
	if ta.LocalAddr() != "a" || tb.LocalAddr() != "b" {
		t.Errorf("addresses %s, %s are not the ids", ta.LocalAddr(), tb.LocalAddr())
	}
	for term := range uint64(5) {
		if res, err := appendTo(ta, "b", term); err != nil || !res.Success || res.Term != term || res.LastLog != 1 {
			t.Fatalf("term %d: %+v, %v", term, res, err)
		}
	}
	// b has never been told where a is, but a has been there.
	if res, err := appendTo(tb, "a", 7); err != nil || res.Term != 7 {
		t.Errorf("back: %+v, %v", res, err)
	}
}

func TestRaftFollowsAPeerToAnotherPort(t *testing.T) {
	b := startLink(t, "b", nil)
	where := b.Addr().String()
	a := startLink(t, "a", func(c *linkConfig) {
		c.Lookup = func(string) (string, bool) { return where, true }
	})
	ta := raftOver(t, a)
	raftOver(t, b)
	if _, err := appendTo(ta, "b", 1); err != nil {
		t.Fatal(err)
	}
	b.stop()

	moved := startLink(t, "b", func(c *linkConfig) { c.Lookup = at(a) })
	raftOver(t, moved)
	if moved.Addr().String() == where {
		t.Skip("the kernel gave the same port again")
	}
	// Lookup still says the old one; b's own hello, over the API, says better.
	if _, err := moved.Call(t.Context(), "a", "GET", "/", nil); err != nil {
		t.Fatal(err)
	}
	soon(t, "a reaches b where it is now", func() bool {
		res, err := appendTo(ta, "b", 2)
		return err == nil && res.Term == 2
	})
}

func TestSilence(t *testing.T) {
	b := startLink(t, "b", nil)
	a := startLink(t, "a", func(c *linkConfig) { c.Lookup = at(b) })
	out, err := a.Raft().Dial("b", 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	in, err := b.Raft().Accept()
	if err != nil {
		t.Fatal(err)
	}
	b.Silence(true)
	for name, conn := range map[string]net.Conn{"accepted": in, "dialled": out} {
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, err := conn.Read(make([]byte, 1))
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the %s connection goes on: %v", name, err)
		}
		conn.Close()
	}
	if conn, err := a.Raft().Dial("b", 10*time.Second); err == nil {
		conn.Close()
		t.Error("a silent replica was reached")
	}
	if conn, err := b.Raft().Dial("a", 10*time.Second); err == nil {
		conn.Close()
		t.Error("a silent replica dialled")
	}
	if _, err := a.Call(t.Context(), "b", "GET", "/", nil); err != nil {
		t.Errorf("the API is silent too: %v", err)
	}
	b.Silence(false)
	out, err = a.Raft().Dial("b", 10*time.Second)
	if err != nil {
		t.Fatalf("still silent: %v", err)
	}
	out.Close()
	if in, err = b.Raft().Accept(); err != nil {
		t.Fatal(err)
	}
	in.Close()
}

func TestClosedStreamLeavesTheAPI(t *testing.T) {
	b := startLink(t, "b", nil)
	a := startLink(t, "a", func(c *linkConfig) { c.Lookup = at(b) })
	conn, err := a.Raft().Dial("b", 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b.Raft().Close()
	if _, err := b.Raft().Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection nobody accepted stays open: %v", err)
	}
	if _, err := a.Call(t.Context(), "b", "GET", "/", nil); err != nil {
		t.Errorf("API: %v", err)
	}
}
