package pool

import (
	"sync/atomic"
	"testing"
)

func benchmarkPool(b *testing.B, n int) *Pool {
	w := newWorker(b, "127.0.0.1:0", nil)
	p := newPool(b, Config{Address: w.address(), MaxIdle: -1, Sent: new(atomic.Int64), Received: new(atomic.Int64)})
	conns := make([]*Conn, n)
	for i := range conns {
		conns[i] = open(b, p)
	}
	for _, c := range conns {
		p.Put(c, 600)
	}
	b.ReportAllocs()
	b.ResetTimer()
	return p
}

// One Get and one Put.
func BenchmarkGetPut(b *testing.B) {
	p := benchmarkPool(b, 64)
	for b.Loop() {
		p.Put(p.Get(), -1)
	}
}

func BenchmarkGetPutParallel(b *testing.B) {
	p := benchmarkPool(b, 64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p.Put(p.Get(), -1)
		}
	})
}

func BenchmarkOpenDrop(b *testing.B) {
	p := benchmarkPool(b, 0)
	for b.Loop() {
		c, err := p.Open(nil, nil)
		if err != nil {
			b.Fatal(err)
		}
		p.Drop(c, true)
	}
}

// One sweep over 64 connections, each looked at.
func BenchmarkSweep(b *testing.B) {
	p := benchmarkPool(b, 64)
	now := p.born
	for b.Loop() {
		p.Sweep(now)
	}
}
