// Package trace reads recorded MCMP conversations ("#! mcmp-trace 1"). It is for
// tests: it refuses a file that is damaged rather than guess what was recorded.
//
//	#! mcmp-trace 1
//	# title: first registration
//	+0.000 B1/1 open
//	+0.002 B1/1 > 4                 four bytes from the worker's side
//	|ab\r\n
//	+0.003 B1/1 < 2 until +0.005    two from the balancer's; the last came at 0.005
//	|ok
//	+1.000 note worker killed
//	+1.100 B1/1 close worker
package trace

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

const magic = "#! mcmp-trace 1"

// Trace is one recording.
type Trace struct {
	Header map[string]string // title, worker, balancer, period, shows
	Events []Event           // in the order of the file, which is that of time
}

// Kind says what an Event is.
type Kind string

const (
	Note    Kind = "note"    // something outside the connections: Text
	Open    Kind = "open"    // the worker's side opened a connection
	Refused Kind = "refused" // nobody listened
	Sent    Kind = ">"       // Data went from the worker's side to the balancer's
	Got     Kind = "<"       // Data went the other way
	Close   Kind = "close"   // Who ended its direction (FIN)
	Reset   Kind = "reset"   // Who's side failed (RST, or a write into a closed connection)
)

// Event is one thing that happened.
type Event struct {
	At    time.Duration // since the first event
	Until time.Duration // Sent and Got: when the last byte came; At if the file does not say
	Kind  Kind
	Peer  string // B1, B2, F1: a balancer's MCMP listener; D1: its ordinary one; W1: a worker's connector
	Conn  int    // number of the connection with Peer, from 1
	Who   string // Close and Reset: worker or balancer
	Text  string // Note
	Data  []byte // Sent and Got
}

// Exchange is one block from the opening side and what came back before its next block.
type Exchange struct {
	At      time.Duration
	Peer    string
	Conn    int
	Request []byte
	Answer  []byte // nil: not answered
}

// Exchanges lists what was asked of the peers whose name starts with prefix ("" is
// all), in order of the requests.
func (t *Trace) Exchanges(prefix string) []Exchange {
	type key struct {
		peer string
		conn int
	}
	var list []Exchange
	last := make(map[key]int)
	for _, e := range t.Events {
		if e.Kind != Sent && e.Kind != Got || !strings.HasPrefix(e.Peer, prefix) {
			continue
		}
		k := key{e.Peer, e.Conn}
		if e.Kind == Sent {
			last[k] = len(list)
			list = append(list, Exchange{At: e.At, Peer: e.Peer, Conn: e.Conn, Request: e.Data})
		} else if i, ok := last[k]; ok {
			list[i].Answer = append(list[i].Answer, e.Data...)
		}
	}
	return list
}

// Parse reads a whole recording. An error names the line.
func Parse(r io.Reader) (*Trace, error) {
	t := &Trace{Header: make(map[string]string)}
	want := 0 // payload bytes the current event still lacks
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	n := 0
	for lines.Scan() {
		n++
		line := lines.Text()
		var err error
		switch {
		case n == 1:
			if line != magic {
				err = fmt.Errorf("want %q", magic)
			}
		case strings.HasPrefix(line, "|"):
			want, err = t.payload(line[1:], want)
		case want > 0:
			err = fmt.Errorf("%d bytes of payload missing before this line", want)
		case strings.HasPrefix(line, "#"):
			err = t.header(line)
		default:
			want, err = t.event(line)
		}
		if err != nil {
			return nil, fmt.Errorf("mcmp-trace line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("mcmp-trace line %d: %w", n+1, err)
	}
	if n == 0 {
		return nil, fmt.Errorf("mcmp-trace line 1: want %q", magic)
	}
	if want > 0 {
		return nil, fmt.Errorf("mcmp-trace line %d: %d bytes of payload missing at the end", n, want)
	}
	return t, nil
}

func (t *Trace) header(line string) error {
	key, value, ok := strings.Cut(strings.TrimPrefix(line, "# "), ": ")
	if !ok || len(t.Events) > 0 {
		return fmt.Errorf("want a header before the events, got %q", line)
	}
	t.Header[key] = value
	return nil
}

// payload adds one escaped piece to the last event and says how much it still lacks.
func (t *Trace) payload(piece string, want int) (int, error) {
	data, err := unescape(piece)
	if err != nil {
		return 0, err
	}
	if want == 0 || len(data) > want {
		return 0, fmt.Errorf("%d bytes of payload where %d are due", len(data), want)
	}
	e := &t.Events[len(t.Events)-1]
	e.Data = append(e.Data, data...)
	return want - len(data), nil
}

// event reads one "+SECONDS ..." line and says how much payload follows.
func (t *Trace) event(line string) (int, error) {
	seconds, rest, _ := strings.Cut(line, " ")
	at, err := offset(seconds)
	if err != nil {
		return 0, err
	}
	e := Event{At: at, Until: at}
	if text, ok := strings.CutPrefix(rest, "note "); ok {
		e.Kind, e.Text = Note, text
		t.Events = append(t.Events, e)
		return 0, nil
	}
	words := strings.Fields(rest)
	if len(words) < 2 {
		return 0, fmt.Errorf("want PEER/N and what happened, got %q", line)
	}
	peer, conn, _ := strings.Cut(words[0], "/")
	if e.Conn, err = strconv.Atoi(conn); err != nil || peer == "" || e.Conn < 1 {
		return 0, fmt.Errorf("want PEER/N, got %q", words[0])
	}
	e.Peer, e.Kind = peer, Kind(words[1])
	size := 0
	words = words[2:]
	switch {
	case e.Kind == Open && len(words) == 0, e.Kind == Refused && len(words) == 0:
	case (e.Kind == Close || e.Kind == Reset) && len(words) == 1 && (words[0] == "worker" || words[0] == "balancer"):
		e.Who = words[0]
	case (e.Kind == Sent || e.Kind == Got) && (len(words) == 1 || len(words) == 3 && words[1] == "until"):
		if size, err = strconv.Atoi(words[0]); err != nil || size < 1 {
			return 0, fmt.Errorf("want a number of bytes, got %q", words[0])
		}
		if len(words) == 3 {
			if e.Until, err = offset(words[2]); err != nil {
				return 0, err
			}
		}
	default:
		return 0, fmt.Errorf("no such event: %q", line)
	}
	t.Events = append(t.Events, e)
	return size, nil
}

func offset(word string) (time.Duration, error) {
	digits, ok := strings.CutPrefix(word, "+")
	d, err := time.ParseDuration(digits + "s")
	if !ok || err != nil || d < 0 {
		return 0, fmt.Errorf("want +SECONDS, got %q", word)
	}
	return d, nil
}

// unescape turns \r \n \t \\ and \xNN into bytes.
func unescape(s string) ([]byte, error) {
	var b bytes.Buffer
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			return nil, fmt.Errorf("lone backslash at the end of %q", s)
		}
		switch s[i] {
		case 'r':
			b.WriteByte('\r')
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case '\\':
			b.WriteByte('\\')
		case 'x':
			if i+3 > len(s) {
				return nil, fmt.Errorf("short \\x in %q", s)
			}
			v, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return nil, fmt.Errorf("bad \\x in %q", s)
			}
			b.WriteByte(byte(v))
			i += 2
		default:
			return nil, fmt.Errorf("unknown escape \\%c in %q", s[i], s)
		}
	}
	return b.Bytes(), nil
}
