package proxy

import (
	"net/http"
	"testing"
	"time"
)

// What package http lets pass (http-notes.md §11).
func TestWellFormed(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*http.Request)
		want   bool
	}{
		{"plain", func(*http.Request) {}, true},
		{"own method", func(r *http.Request) { r.Method = "M-SEARCH" }, true},
		{"two requests in a method", func(r *http.Request) { r.Method = "GET /x HTTP/1.1" }, false},
		{"no host", func(r *http.Request) { r.Host = "" }, false},
		{"the same host twice", func(r *http.Request) { r.Header["Host"] = []string{"localhost"} }, true},
		{"another host", func(r *http.Request) { r.Header["Host"] = []string{"evil"} }, false},
		{"two more hosts", func(r *http.Request) { r.Header["Host"] = []string{"localhost", "evil"} }, false},
		{"length", func(r *http.Request) { r.Header["Content-Length"], r.ContentLength = []string{"5"}, 5 }, true},
		{"length without a body", func(r *http.Request) { r.Header["Content-Length"] = []string{"5"} }, false},
		{"two lengths", func(r *http.Request) { r.Header["Content-Length"], r.ContentLength = []string{"5", "5"}, 5 }, false},
		{"signed length", func(r *http.Request) { r.Header["Content-Length"], r.ContentLength = []string{"+5"}, 5 }, false},
		{"no length", func(r *http.Request) { r.Header["Content-Length"] = []string{"x"} }, false},
	} {
		r := &http.Request{Method: "GET", ProtoMajor: 2, Host: "localhost", Header: http.Header{}}
		c.change(r)
		if got := wellFormed(r); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if !wellFormed(&http.Request{Method: "GET", ProtoMajor: 1}) {
		t.Error("HTTP/1.0 needs no host")
	}
}

func TestBodyRate(t *testing.T) {
	for _, c := range []struct {
		took time.Duration
		n    int64
		slow bool
	}{
		{time.Second, 0, false}, // everybody may be slow at first
		{rateGrace + time.Second, 2900, true},
		{rateGrace + time.Second, 3200, false},
	} {
		b := &body{began: time.Now().Add(-c.took), n: c.n}
		if got := b.slow(500); got != c.slow {
			t.Errorf("%d bytes in %s: slow %v", c.n, c.took, got)
		}
	}
}

// A body that a try has begun to read is never given to another.
func TestBodyIsReadOnce(t *testing.T) {
	b := &body{}
	b.request, _ = http.NewRequest("POST", "/", nil)
	first := b.begin()
	if !first.withdraw() {
		t.Fatal("nobody has read it")
	}
	if _, err := first.Read(make([]byte, 1)); err != errBodyOver {
		t.Errorf("a try that is over reads: %v", err)
	}
	first.interrupt() // late
	second := b.begin()
	if second == nil || second.broken.Load() {
		t.Fatal("an untouched body is not given")
	}
	b.began = time.Now()
	if second.withdraw() || b.begin() != nil {
		t.Error("a body is given twice")
	}
}
