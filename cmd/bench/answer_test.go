//go:build linux

package main

import (
	"strings"
	"testing"
)

func TestAnswer(t *testing.T) {
	const want = "0123456789"
	right := "HTTP/1.1 200 OK\r\nX-Worker: w4\r\ncontent-length: 10\r\nConnection: close\r\n\r\n" + want
	for cut := range right {
		a := &answer{want: []byte(want)}
		first, err := a.feed([]byte(right[:cut]), "w4")
		if err != nil || first {
			t.Fatalf("%q: done %t, %v", right[:cut], first, err)
		}
		done, err := a.feed([]byte(right[cut:]), "w4")
		if err != nil || !done || !a.close || !a.slow {
			t.Fatalf("cut at %d: done %t, close %t, slow %t, %v", cut, done, a.close, a.slow, err)
		}
	}
	for name, wrong := range map[string]string{
		"status":          "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 10\r\n\r\n" + want,
		"version":         "HTTP/1.0 200 OK\r\nContent-Length: 10\r\n\r\n" + want,
		"no length":       "HTTP/1.1 200 OK\r\n\r\n" + want,
		"other length":    "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n" + want,
		"two lengths":     "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Length: 10\r\n\r\n" + want,
		"no colon":        "HTTP/1.1 200 OK\r\nContent-Length 10\r\n\r\n" + want,
		"one byte":        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456780",
		"one behind it":   right + "x",
		"another answer":  right + right,
		"an endless head": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxHead),
	} {
		a := &answer{want: []byte(want)}
		if done, err := a.feed([]byte(wrong), ""); err == nil {
			t.Errorf("%s: taken, done %t", name, done)
		}
	}
}

func TestAnswerAgain(t *testing.T) {
	const head, body = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", "x"
	a := new(answer)
	for range 3 {
		a.reset([]byte(body))
		if done, err := a.feed([]byte(head[:20]), ""); done || err != nil {
			t.Fatal(done, err)
		}
		if done, err := a.feed([]byte(head[20:]+body), ""); !done || err != nil {
			t.Fatal(done, err)
		}
	}
}
