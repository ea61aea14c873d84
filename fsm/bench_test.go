package fsm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"testing"
)

// crowd is a state of n workers, each with the same number of contexts on one
// vhost.
func crowd(tb testing.TB, n, contexts int) *State {
	tb.Helper()
	s := New()
	e := Entry{Schema: 1, Time: 1_000}
	for i := range n {
		r := JVMRoute(fmt.Sprintf("worker-%04d", i))
		cfg := NodeConfig{Balancer: "mycluster", Domain: "blue", Type: "http", Host: fmt.Sprintf("10.0.%d.%d", i/250, i%250), Port: 8080,
			Ping: 10_000, TTL: 60_000, Smax: -1, FlushWait: 10, Sticky: true, Cookie: "JSESSIONID", PathParam: "jsessionid", MaxAttempts: 1}
		paths := make([]Path, contexts)
		for k := range paths {
			paths[k] = Path(fmt.Sprintf("/app-%03d", k))
		}
		e.Commands = append(e.Commands,
			Command{Op: OpConfig, Route: r, Config: &cfg, Source: "10.0.0.1", Replica: "lb1"},
			Command{Op: OpEnable, Route: r, Aliases: []string{"default-host", "localhost"}, Contexts: paths},
			Command{Op: OpStatus, Route: r, Load: 50})
	}
	s, results, err := Apply(s, e)
	if err != nil {
		tb.Fatal(err)
	}
	for i, r := range results {
		if r.Code != OK {
			tb.Fatalf("command %d: %s", i, r.Mess)
		}
	}
	return s
}

// A STATUS that changes the load, as one entry: its cost must not grow with
// the number of workers.
func BenchmarkApplyStatus(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("workers=%d", n), func(b *testing.B) {
			s := crowd(b, n, 20)
			routes := make([]JVMRoute, n)
			for i, node := range s.Nodes() {
				routes[i] = node.Route
			}
			c := []Command{{Op: OpStatus, Source: "10.0.0.1", Replica: "lb1"}}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				c[0].Route = routes[i%n]
				c[0].Load = 1 + i/n%100
				binary.BigEndian.PutUint64(c[0].ID[:], uint64(i+1)*0x9e3779b97f4a7c15)
				s, _, _ = Apply(s, Entry{Schema: 1, Time: 1_000 + int64(i/5), Commands: c})
				i++
			}
		})
	}
}

// The same for ENABLE-APP and STOP-APP, whose records have 20 contexts.
func BenchmarkApplyApp(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("workers=%d", n), func(b *testing.B) {
			s := crowd(b, n, 20)
			c := []Command{{Aliases: []string{"default-host", "localhost"}, Contexts: []Path{"/app-007"}}}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				c[0].Route = JVMRoute(fmt.Sprintf("worker-%04d", i%n))
				c[0].Op = OpStop
				if i/n%2 == 1 {
					c[0].Op = OpEnable
				}
				s, _, _ = Apply(s, Entry{Schema: 1, Time: 1_000 + int64(i/5), Commands: c})
				i++
			}
		})
	}
}

// What the leader's no-op filter pays for a STATUS that changes nothing.
func BenchmarkPreviewNothing(b *testing.B) {
	s := crowd(b, 1000, 20)
	c := Command{Op: OpStatus, Route: "worker-0500", Load: 50}
	b.ReportAllocs()
	for b.Loop() {
		if _, r := Preview(s, c); r.Changed {
			b.Fatal("changed")
		}
	}
}

func BenchmarkEncodeEntry(b *testing.B) {
	e := Entry{Schema: 1, Time: 1_700_000_000_000, Commands: []Command{{ID: CommandID{1}, Origin: FromWorker, Replica: "lb1", Source: "10.0.1.24", Op: OpStatus, Route: "app-4", Load: 94}}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := EncodeEntry(e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeEntry(b *testing.B) {
	enc, err := EncodeEntry(Entry{Schema: 1, Time: 1_700_000_000_000, Commands: []Command{{ID: CommandID{1}, Origin: FromWorker, Replica: "lb1", Source: "10.0.1.24", Op: OpStatus, Route: "app-4", Load: 94}}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(enc)), "B/entry")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeEntry(enc); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWriteSnapshot(b *testing.B) {
	s := crowd(b, 1000, 50)
	var size bytes.Buffer
	if err := s.WriteSnapshot(&size); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.WriteSnapshot(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(size.Len()), "B/snapshot")
}

func BenchmarkReadSnapshot(b *testing.B) {
	s := crowd(b, 1000, 50)
	var buf bytes.Buffer
	if err := s.WriteSnapshot(&buf); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadSnapshot(bytes.NewReader(buf.Bytes())); err != nil {
			b.Fatal(err)
		}
	}
}

// The same, 256 commands to an entry, as the leader batches them under load.
func BenchmarkApplyBatch(b *testing.B) {
	const batch = 256
	s := crowd(b, 1000, 20)
	e := Entry{Schema: 1, Commands: make([]Command, batch)}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		for i := range e.Commands {
			n++
			c := &e.Commands[i]
			*c = Command{Op: OpStatus, Route: JVMRoute(fmt.Sprintf("worker-%04d", n%1000)), Load: 1 + n/1000%100}
			binary.BigEndian.PutUint64(c.ID[:], uint64(n)*0x9e3779b97f4a7c15)
		}
		e.Time = 1_000 + int64(n/20)
		s, _, _ = Apply(s, e)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/command")
}

// What a cold start does with each entry of its log: 100 workers that report
// every 10 s, decoded and applied.
func BenchmarkReplay(b *testing.B) {
	const workers = 100
	s := crowd(b, workers, 20)
	log := make([][]byte, 20_000)
	for i := range log {
		c := Command{Origin: FromWorker, Replica: "lb1", Source: "10.0.1.24", Op: OpStatus, Route: JVMRoute(fmt.Sprintf("worker-%04d", i%workers)), Load: 1 + i/workers%100}
		binary.BigEndian.PutUint64(c.ID[:], uint64(i+1)*0x9e3779b97f4a7c15)
		var err error
		if log[i], err = EncodeEntry(Entry{Schema: 1, Time: 2_000 + int64(i)*100, Commands: []Command{c}}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		at := s
		for _, raw := range log {
			e, err := DecodeEntry(raw)
			if err != nil {
				b.Fatal(err)
			}
			if at, _, err = Apply(at, e); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(log)), "ns/entry")
}
