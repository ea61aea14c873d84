package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/mcmp/client/trace"
)

// A standIn plays the balancers of one recording: it expects the recorded requests in
// the recorded order, on the recorded connections, and answers what was answered.
type standIn struct {
	t       *testing.T
	steps   []step // what the worker is expected to do, and notes
	scripts map[string][]script

	mu    sync.Mutex
	seen  []string // what the worker did
	conns map[string]int
}

// step is one thing the recorded worker did, or a note.
type step struct {
	at      time.Duration
	note    string
	what    string // as in standIn.seen
	request string // that of an open is the first on its connection, "" if none followed
}

// script is one recorded connection.
type script struct {
	refused bool
	turns   []turn
}

type turn struct {
	request string
	answer  []byte
	fin     bool // the balancer ended the connection before another request came
}

func readTrace(t *testing.T, name string) *trace.Trace {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "traces", name))
	if err != nil {
		t.Fatal(err)
	}
	tr, err := trace.Parse(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return tr
}

// newStandIn takes the events up to until (0: all) that concern the worker under test:
// not those of other programs, which lack its User-Agent, and not ordinary traffic.
func newStandIn(t *testing.T, tr *trace.Trace, until time.Duration) *standIn {
	s := &standIn{t: t, scripts: make(map[string][]script), conns: make(map[string]int)}
	type key struct {
		peer string
		conn int
	}
	foreign := make(map[key]bool)
	for _, e := range tr.Events {
		if e.Kind == trace.Sent && !bytes.Contains(e.Data, []byte("\r\nUser-Agent: ClusterListener/1.0\r\n")) {
			foreign[key{e.Peer, e.Conn}] = true
		}
	}
	number := make(map[key]int) // foreign connections leave no gap
	opened := make(map[key]int) // index of the open step
	ended := make(map[key]bool) // by the worker
	for _, e := range tr.Events {
		if until > 0 && e.At > until {
			break
		}
		if e.Kind == trace.Note {
			s.steps = append(s.steps, step{at: e.At, note: e.Text})
			continue
		}
		k := key{e.Peer, e.Conn}
		if foreign[k] || e.Peer[0] != 'B' && e.Peer[0] != 'F' {
			continue
		}
		if e.Kind == trace.Open {
			s.scripts[e.Peer] = append(s.scripts[e.Peer], script{})
			number[k] = len(s.scripts[e.Peer])
			opened[k] = len(s.steps)
			s.steps = append(s.steps, step{at: e.At, what: fmt.Sprintf("%s/%d open", e.Peer, number[k])})
			continue
		}
		sc := &s.scripts[e.Peer][number[k]-1]
		switch e.Kind {
		case trace.Refused:
			sc.refused = true
		case trace.Sent:
			what := fmt.Sprintf("%s/%d > %q", e.Peer, number[k], e.Data)
			s.steps = append(s.steps, step{at: e.At, what: what, request: string(e.Data)})
			if len(sc.turns) == 0 {
				s.steps[opened[k]].request = string(e.Data)
			}
			sc.turns = append(sc.turns, turn{request: string(e.Data)})
		case trace.Got:
			sc.turns[len(sc.turns)-1].answer = e.Data
		case trace.Close, trace.Reset:
			if e.Who == "worker" {
				ended[k] = true
			} else if !ended[k] && len(sc.turns) > 0 {
				sc.turns[len(sc.turns)-1].fin = true
			}
		}
	}
	return s
}

func (s *standIn) saw(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, what)
}

func (s *standIn) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen)
}

// dial is the worker's way to the recorded balancers: port 6666 is B1 or F1, 6667 is B2.
func (s *standIn) dial(_ context.Context, _, address string) (net.Conn, error) {
	peer := "B2"
	if strings.HasSuffix(address, ":6666") {
		peer = "B1"
		if len(s.scripts["F1"]) > 0 {
			peer = "F1"
		}
	}
	s.mu.Lock()
	s.conns[peer]++
	n := s.conns[peer]
	s.mu.Unlock()
	s.saw(fmt.Sprintf("%s/%d open", peer, n))
	if n > len(s.scripts[peer]) {
		return nil, errors.New("no such connection was recorded")
	}
	sc := s.scripts[peer][n-1]
	if sc.refused {
		return nil, errors.New("connection refused")
	}
	worker, balancer := halfPipes()
	go serve(sc, balancer)
	return recordedConn{worker, func(message []byte) {
		s.saw(fmt.Sprintf("%s/%d > %q", peer, n, message))
	}}, nil
}

// serve answers as recorded, until a request is not the recorded one: the comparison
// at the end of the replay tells which.
func serve(sc script, c *halfPipe) {
	defer c.Close()
	r := bufio.NewReader(c)
	for i := 0; ; i++ {
		request, err := readRequest(r)
		if err != nil || i >= len(sc.turns) || request != sc.turns[i].request {
			return
		}
		if _, err := c.Write(sc.turns[i].answer); err != nil {
			return
		}
		if sc.turns[i].fin {
			c.CloseWrite()
		}
	}
}

// readRequest returns the bytes of one request.
func readRequest(r *bufio.Reader) (string, error) {
	var b strings.Builder
	length := 0
	for {
		line, err := r.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			return b.String(), err
		}
		fmt.Sscanf(line, "Content-Length: %d\r\n", &length)
		if line == "\r\n" {
			break
		}
	}
	body := make([]byte, length)
	n, err := io.ReadFull(r, body)
	b.Write(body[:n])
	return b.String(), err
}

// halfPipe is one end of a connection in memory whose directions end separately, as
// those of TCP do. It works inside a synctest bubble.
type halfPipe struct {
	net.Conn          // written to
	in       net.Conn // read from
}

func halfPipes() (a, b *halfPipe) {
	ab1, ab2 := net.Pipe()
	ba1, ba2 := net.Pipe()
	return &halfPipe{ab1, ba1}, &halfPipe{ba2, ab2}
}

func (p *halfPipe) Read(b []byte) (int, error) { return p.in.Read(b) }
func (p *halfPipe) CloseWrite() error          { return p.Conn.Close() }
func (p *halfPipe) Close() error               { p.in.Close(); return p.Conn.Close() }

// SetReadDeadline succeeds, as TCP's does, when the other side has closed: Read tells.
func (p *halfPipe) SetReadDeadline(t time.Time) error {
	p.in.SetReadDeadline(t)
	return nil
}

// recordedConn notes each write of the worker before the balancer can see it. The Client
// writes a request at once, so a write is a request.
type recordedConn struct {
	net.Conn
	saw func(message []byte)
}

func (c recordedConn) Write(b []byte) (int, error) {
	c.saw(b)
	return c.Conn.Write(b)
}
