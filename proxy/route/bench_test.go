package route

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/quorate/quorate/fsm"
)

// The sizes people run: each of n workers has 50 contexts, and each context is on
// at most 50 workers.
var sizes = []int{10, 100, 1000}

const perWorker = 50

// cpu reports the processor time of a loop, for machines that do other things too.
func cpu(b *testing.B) func() {
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	start := used()
	return func() { b.ReportMetric(float64(used()-start)/float64(b.N), "cpu-ns/op") }
}

// fleet registers n workers in one entry.
func fleet(t testing.TB, n int) *world {
	w := newWorld()
	var commands []fsm.Command
	for i := range n {
		route := "w" + strconv.Itoa(i)
		team := i / perWorker
		paths := make([]string, perWorker)
		for j := range paths {
			paths[j] = fmt.Sprintf("/app%d-%d", team, j)
		}
		commands = append(commands,
			fsm.Command{Op: fsm.OpConfig, Origin: fsm.FromWorker, Route: fsm.JVMRoute(route), Config: config(8000 + i)},
			app(fsm.OpEnable, route, "localhost,www.example.com", paths...),
			report(route, 1+i%100))
	}
	w.apply(t, commands...)
	w.table = Compile(w.state, Options{})
	return w
}

// requests returns facts that touch all of the fleet in turn.
func requests(n int, cookie func(i int) string) []*Facts {
	list := make([]*Facts, 64)
	for i := range list {
		worker := i * 7919 % n
		path, _ := ParsePath(fmt.Sprintf("/app%d-%d/shop/index.html?a=1", worker/perWorker, i*31%perWorker), PathOptions{})
		var cookies []string
		if cookie != nil {
			cookies = []string{cookie(worker)}
		}
		f := NewFacts("www.example.com:8080", path, cookies)
		list[i] = &f
	}
	return list
}

func fresh(int) string { return "lang=en; theme=dark" }

func sticky(i int) string {
	return "lang=en; JSESSIONID=0123456789ABCDEF0123456789ABCDEF.w" + strconv.Itoa(i)
}

func gone1(int) string { return "JSESSIONID=0123456789ABCDEF0123456789ABCDEF.w99999" }

func BenchmarkDecide(b *testing.B) {
	for _, n := range sizes {
		w := fleet(b, n)
		for _, kind := range []struct {
			name   string
			cookie func(int) string
		}{{"new", fresh}, {"sticky", sticky}, {"failover", gone1}} {
			b.Run(fmt.Sprintf("%s/%dx%d", kind.name, n, perWorker), func(b *testing.B) {
				list := requests(n, kind.cookie)
				for i := range 16 * len(list) { // some history
					d := Decide(w.table, list[i%len(list)])
					d.Begin()
				}
				b.ReportAllocs()
				defer cpu(b)()
				var d Decision
				i := 0
				for b.Loop() {
					d.Decide(w.table, list[i&63])
					if d.Node == nil {
						b.Fatal(d.Why)
					}
					i++
				}
			})
		}
	}
}

// The whole of what an exchange spends on its choice.
func BenchmarkParseDecideCount(b *testing.B) {
	w := fleet(b, 1000)
	cookies := []string{"lang=en"}
	b.ReportAllocs()
	defer cpu(b)()
	var f Facts
	var d Decision
	var scratch []byte
	for b.Loop() {
		scratch, _ = f.Path.Parse("/app3-7/shop/index.html?a=1", PathOptions{}, scratch[:0])
		scratch = f.Reuse("www.example.com:8080", cookies, scratch)
		d.Decide(w.table, &f)
		d.Begin()
		d.End()
	}
}

// One changed context: the table follows one ENABLE or DISABLE.
func BenchmarkUpdate(b *testing.B) {
	for _, n := range sizes {
		w := fleet(b, n)
		on := w.state
		off, _, err := fsm.Apply(on, fsm.Entry{Schema: 1, Time: w.now, Commands: []fsm.Command{app(fsm.OpDisable, "w7", "localhost", "/app0-7")}})
		if err != nil {
			b.Fatal(err)
		}
		nodes := []fsm.JVMRoute{"w7"}
		b.Run(fmt.Sprintf("context/%dx%d", n, perWorker), func(b *testing.B) {
			b.ReportAllocs()
			defer cpu(b)()
			t := w.table
			for i := 0; b.Loop(); i++ {
				if i%2 == 0 {
					t = t.Update(off, nodes, nil, false)
				} else {
					t = t.Update(on, nodes, nil, false)
				}
			}
		})
		slow, _, err := fsm.Apply(on, fsm.Entry{Schema: 1, Time: w.now, Commands: []fsm.Command{report("w7", 99)}})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("load/%dx%d", n, perWorker), func(b *testing.B) {
			b.ReportAllocs()
			defer cpu(b)()
			t := w.table
			for i := 0; b.Loop(); i++ {
				if i%2 == 0 {
					t = t.Update(slow, nodes, nil, false)
				} else {
					t = t.Update(on, nodes, nil, false)
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	w := fleet(b, 1000)
	for b.Loop() {
		Compile(w.state, Options{})
	}
}

func BenchmarkParsePath(b *testing.B) {
	for _, path := range []string{"/shop/cart/item?id=7", "/shop/cart;jsessionid=8F.w1?id=7", "/shop/My%20File.pdf"} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			var p Path
			var scratch []byte
			for b.Loop() {
				scratch, _ = p.Parse(path, PathOptions{}, scratch[:0])
			}
		})
	}
}

func TestNoAllocation(t *testing.T) {
	w := fleet(t, 100)
	for name, cookie := range map[string]func(int) string{"new": fresh, "sticky": sticky, "failover": gone1} {
		for _, f := range requests(100, cookie)[:8] {
			if n := testing.AllocsPerRun(100, func() {
				d := Decide(w.table, f)
				d.Begin()
				d.End()
			}); n != 0 {
				t.Errorf("%s: %v allocations to decide and count", name, n)
			}
		}
	}
	cookies := []string{"JSESSIONID=8F.w1"}
	if n := testing.AllocsPerRun(100, func() {
		path, _ := ParsePath("/app0-1/x.html;jsessionid=8F.w1?q", PathOptions{})
		f := NewFacts("www.example.com:8080", path, cookies)
		Decide(w.table, &f)
	}); n != 0 {
		t.Errorf("%v allocations to parse a target and decide", n)
	}
	// As the data path does: everything is a view of a buffer, or lies in scratch.
	var f Facts
	var d Decision
	scratch := make([]byte, 0, 1024)
	f.Avoid(w.table.Node("w99"))
	for _, target := range []string{"/app0-1", "/app0-1/;x=1/a%20b;jsessionid=8F.w1?q", "/app0-1//y", "/app0-1/x/..//%2F/z?q"} {
		if n := testing.AllocsPerRun(100, func() {
			b, why := f.Path.Parse(target, PathOptions{EncodedSlash: SlashDecode, ResolveDots: true, MergeSlashes: true}, scratch)
			b = f.Reuse("WWW.Example.com:8080", cookies, b)
			if d.Decide(w.table, &f); d.Node == nil || why != None || len(b) == 0 {
				t.Fatal(why, d.Why)
			}
			f.Avoid(w.table.Node("w98"))
		}); n != 0 {
			t.Errorf("%s: %v allocations in place", target, n)
		}
	}
}

// What a decision was made of may be overwritten.
func TestNothingIsKept(t *testing.T) {
	w := newWorld()
	w.start(t, 1, "localhost", 100, "/app")
	w.start(t, 2, "localhost", 100, "/app")
	w.apply(t, fsm.Command{Op: fsm.OpRemove, Origin: fsm.FromWorker, Route: "w2", Whole: true})
	before := dump(w.table)
	var f Facts
	for _, route := range []string{"w1", "w2", "w3"} {
		buffer := []byte("/app/a%20b;jsessionid=1?q LOCALHOST:80 JSESSIONID=8F." + route)
		target, rest, _ := strings.Cut(view(buffer), " ")
		host, cookie, _ := strings.Cut(rest, " ")
		scratch, why := f.Path.Parse(target, PathOptions{}, nil)
		scratch = f.Reuse(host, []string{cookie}, scratch)
		x := Explain(w.table, &f)
		d := Decide(w.table, &f)
		if why != None || d.Node == nil || d.Wanted != route {
			t.Fatalf("%s: %s, %+v", route, why, d)
		}
		d.Begin()
		d.End()
		said := fmt.Sprint(x.Steps, x.Outcome, d.Path)
		clear(buffer)
		clear(scratch[:cap(scratch)])
		if is := fmt.Sprint(x.Steps, x.Outcome, d.Path); strings.Clone(said) != is {
			t.Errorf("%s: from %s to %s", route, said, is)
		}
	}
	if after := dump(w.table); after != before {
		t.Errorf("from\n%s\nto\n%s", before, after)
	}
}
