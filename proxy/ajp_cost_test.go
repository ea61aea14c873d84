package proxy

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkAJPCost compares what an exchange costs by AJP with what it costs by HTTP:
// processor time of this process, which is the proxy alone; clients and worker, one and
// the same, are another. It is to be at most 1.15, 2.2 and 1.6 times as much.
func BenchmarkAJPCost(b *testing.B) {
	if os.Getenv("QUORATE_LOAD") != "" {
		load(b)
		return
	}
	for _, x := range []struct {
		name         string
		size, packet int
		requests     int
	}{
		{"GET 1 KB", 0, 8 << 10, 12000},
		{"POST 10 KB", 10 << 10, 8 << 10, 6000},
		{"POST 100 KB", 100 << 10, 64 << 10, 2000},
	} {
		b.Run(x.name, func(b *testing.B) {
			// In turns, the least of each: the machine does other things, too.
			least := map[string]float64{}
			for b.Loop() {
				for range 3 {
					for _, carrier := range []string{"http", "ajp"} {
						c := cost(b, carrier, x.size, x.packet, x.requests)
						if had, ok := least[carrier]; !ok || c < had {
							least[carrier] = c
						}
					}
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(least["http"], "http-cpu-s/10k")
			b.ReportMetric(least["ajp"], "ajp-cpu-s/10k")
			b.ReportMetric(least["ajp"]/least["http"], "ajp/http")
		})
	}
}

// cost is seconds of processor for 10,000 requests.
func cost(t testing.TB, carrier string, size, packet, requests int) float64 {
	t.Helper()
	r := run(t, func(c *Config) {
		c.Log = slog.New(slog.DiscardHandler)
		c.Upstream.AJP = AJP{MaxPacketBytes: packet, CPingAfterIdle: time.Minute}
	})
	defer r.stop()
	cmd := exec.Command(os.Args[0], "-test.run=^$", "-test.bench=^BenchmarkAJPCost$", "-test.benchtime=1x")
	cmd.Env = append(os.Environ(), fmt.Sprintf("QUORATE_LOAD=%s %s %d %d %d", carrier, r.addr, size, packet, requests))
	cmd.Stderr = os.Stderr
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	lines := bufio.NewReader(out)
	addr, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{addr: strings.TrimSpace(addr)}
	if carrier == "ajp" {
		r.register("w1", w, isAJP)
	} else {
		r.register("w1", w)
	}
	step := func() {
		io.WriteString(in, "go\n")
		if line, err := lines.ReadString('\n'); err != nil || line != "done\n" {
			t.Fatalf("the load: %q, %v", line, err)
		}
	}
	step() // warm
	before := processor()
	step()
	return (processor() - before).Seconds() * 10000 / float64(requests)
}

func processor() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// load is the other process: a worker, and four clients. Each line it reads is one round.
func load(t testing.TB) {
	f := strings.Fields(os.Getenv("QUORATE_LOAD"))
	number := func(i int) int { n, _ := strconv.Atoi(f[i]); return n }
	size, packet, requests := number(2), number(3), number(4)
	var w *worker
	if f[0] == "ajp" {
		w = thinAJP(t, size, packet)
	} else {
		w = thinHTTP(t, size)
	}
	fmt.Println(w.addr)
	const clients = 4
	conns := make([]net.Conn, clients)
	request := loadRequest(size)
	rounds := bufio.NewReader(os.Stdin)
	for {
		if _, err := rounds.ReadString('\n'); err != nil {
			for _, c := range conns {
				if c != nil {
					c.Close()
				}
			}
			return
		}
		var wg sync.WaitGroup
		for i := range conns {
			wg.Go(func() {
				if conns[i] == nil {
					c, err := net.Dial("tcp", f[1])
					if err != nil {
						t.Error(err)
						return
					}
					conns[i] = c
				}
				buf := make([]byte, 4096)
				for range requests / clients {
					if err := exchangeOnce(conns[i], request, buf); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		fmt.Println("done")
	}
}
