package client

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// readReply reads one reply and says what it left.
func readReply(text string) (rep reply, left string, err error) {
	rr := newReplyReader(strings.NewReader(text))
	line, err := rr.line()
	if err == nil {
		rep, err = rr.rest(line)
	}
	rest, _ := io.ReadAll(rr.r)
	return rep, string(rest), err
}

func TestReply(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for _, test := range []struct {
		name, text string
		want       reply
		left       string
	}{
		{"empty", ok + "Content-Length: 0\r\n\r\nnext", reply{status: 200}, "next"},
		{"length", ok + "Content-Length: 3\r\n\r\nabcnext", reply{status: 200, body: "abc"}, "next"},
		{"names in any case", ok + "CONTENT-LENGTH : 3 \r\n\r\nabcnext", reply{status: 200, body: "abc"}, "next"},
		{"chunked", ok + "Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", reply{status: 200, body: "abc0123456789"}, "\n"},
		{"length before chunked", ok + "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nabcd", reply{status: 200, body: "ab"}, "cd"},
		{"close", ok + "Connection: Close\r\nContent-Length: 1\r\n\r\nabc", reply{status: 200, close: true, body: "abc"}, ""},
		{"neither", ok + "\r\nbody\n", reply{status: 200}, "body\n"},
		{"no blank, no status line", "leftover\n\r\n" + ok + "\r\n", reply{status: 200}, ""},
		{"bare LF", "HTTP/1.1 200 OK\nContent-Length: 1\n\na", reply{status: 200, body: "a"}, ""},
		{"bare CR", "HTTP/1.1 200 OK\rContent-Length: 1\r\ra", reply{status: 200, body: "a"}, ""},
		{"empty reason", "HTTP/1.1 200 \r\n\r\n", reply{status: 200}, ""},
		{"no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", reply{status: 500}, "\nContent-Length: 0\r\n\r\n"},
		{"no number", "HTTP/1.1 20x OK\r\n", reply{status: 500}, "\n"},
		{"no colon", ok + "Oops\r\n\r\n", reply{status: 500}, "\n\r\n"},
		{"bad length", ok + "Content-Length: many\r\n\r\n", reply{status: 500}, "\n\r\n"},
		{"100 is an answer", "HTTP/1.1 100 Continue\r\n\r\n" + ok + "\r\n", reply{status: 100}, "\n" + ok + "\r\n"},
		{"error", "HTTP/1.1 500 No\r\nVersion: 0.2.1\r\ntype: MEM\r\nMESS: MEM: x: y\r\nContent-Length: 1\r\n\r\nx", reply{status: 500, kind: "MEM", mess: "MEM: x: y"}, "\nx"},
		{"length past the end", ok + "Content-Length: 9\r\n\r\nabc", reply{status: 200, body: "abc"}, ""},
		{"characters, not bytes", ok + "Content-Length: 2\r\n\r\nééx", reply{status: 200, body: "éé"}, "x"},
		{"two characters in Java", ok + "Content-Length: 2\r\n\r\n\U0001F600x", reply{status: 200, body: "\U0001F600"}, "x"},
	} {
		// Where the head ends in CR LF and no body is read, the LF is still to come.
		rep, left, err := readReply(test.text)
		if err != nil || rep != test.want || strings.TrimPrefix(left, "\n") != strings.TrimPrefix(test.left, "\n") {
			t.Errorf("%s: got %+v, %v, left %q\nwant %+v, left %q", test.name, rep, err, left, test.want, test.left)
		}
	}
}

func TestReplyBroken(t *testing.T) {
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for name, text := range map[string]string{
		"nothing":           "",
		"end after rubbish": "rubbish\n",
		"end in headers":    "HTTP/1.1 200 OK\r\nType: x\r\n",
		"no chunk":          chunked,
		"chunk extension":   chunked + "3;a=b\r\nabc\r\n0\r\n\r\n",
		"blank after size":  chunked + "3 \r\nabc\r\n0\r\n\r\n",
		"negative size":     chunked + "-1\r\n",
		"huge size":         chunked + "ffffffffff\r\n",
		"no last line":      chunked + "0\r\n",
		"endless line":      strings.Repeat("a", maxLine+1),
		"endless rubbish":   strings.Repeat(strings.Repeat("a", maxLine/2)+"\n", 2*maxHead/maxLine+1),
		"endless headers":   "HTTP/1.1 200 OK\r\n" + strings.Repeat("a:"+strings.Repeat("b", maxLine/2)+"\n", 2*maxHead/maxLine+1),
	} {
		if rep, _, err := readReply(text); err == nil {
			t.Errorf("%s: accepted as %+v", name, rep)
		}
	}
}

// counting says how many bytes were taken from r.
type counting struct {
	r io.Reader
	n int
}

func (c *counting) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += n
	return n, err
}

// A reply depends on its own bytes alone: nothing behind it is waited for, so a
// balancer that has sent a whole reply never sees the worker time out.
func FuzzReply(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n")
	f.Add("x\nHTTP/1.1 200 \nTransfer-Encoding: chunked\n\n3\r\nabc\r\n0\r\n\r\nmore")
	f.Add("HTTP/1.1 200 OK\rConnection: close\r\r\nabc")
	f.Add("HTTP/1.1 500 No\r\nType: SYNTAX\r\nMess: a: b\r\n\r\n<html>")
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xc3")
	f.Fuzz(func(t *testing.T, text string) {
		// One byte per read: what is counted is what the reader could not do without.
		in := &counting{r: iotest.OneByteReader(strings.NewReader(text))}
		rr := &replyReader{r: bufio.NewReader(in)}
		line, err := rr.line()
		if err != nil {
			return
		}
		rep, err := rr.rest(line)
		again, _, againErr := readReply(text[:in.n])
		if (err == nil) != (againErr == nil) || rep != again {
			t.Fatalf("%q was read as %+v, %v; its first %d bytes as %+v, %v", text, rep, err, in.n, again, againErr)
		}
		if err == nil && rep.status != 200 && rep.body != "" {
			t.Fatalf("%q: the body of an error was read: %+v", text, rep)
		}
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%q: a broken reply looks like an end: %v", text, err)
		}
	})
}
