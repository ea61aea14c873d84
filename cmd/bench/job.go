//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// Job is one load on one proxy. A child process reads it as JSON from its standard
// input and writes a Result to its standard output.
type Job struct {
	Kind    string // "http", "websocket", "tls", "h2", "idle" or "idletls"
	Address string // of the proxy, host:port
	PID     int    // of the proxy; its processor time is read at both ends of the measured time

	Method  string
	Path    string
	Body    int      // bytes of the request's body
	Cookies []string // every second connection carries one of them; may be empty
	CA      []byte   // DER of the one certificate that is accepted; kinds with TLS

	Clients int           // connections with traffic; for idle kinds: how many open and ask at a time
	Idle    int           // connections that ask once and then stay open
	NewConn bool          // every request has a connection of its own
	Rate    int           // requests per second of all clients together; 0: each as soon as it is answered
	Streams int           // h2: requests in flight per connection
	Warm    time.Duration // load before the measured time
	Measure time.Duration
	Hold    time.Duration // idle kinds: from the last request to the look at memory
	// Patience is how long the last answers may take when the load is over; default 5 s.
	Patience time.Duration
	Slow     string // answers of this worker are left out of Result.Others
}

// Result is what one Job found. Err is empty only if every answer was right.
type Result struct {
	Err      string
	Requests int     // answered right in the measured time
	Seconds  float64 // the measured time
	CPU      float64 // user and system seconds of all the proxy's processes in it
	RSS      int64   // bytes resident in all the proxy's processes at its end
	Before   int64   // idle kinds: bytes resident before the first connection
	Total    int     // answered right from start to end; what the access log must hold
	All      Latency // Rate > 0 only: from the time a request was due
	Others   Latency // without those of worker Slow
}

// Latency is in microseconds.
type Latency struct{ P50, P99, P999 float64 }

const (
	bodyKB    = 1024
	body100KB = 100 * 1024
	frameSize = 128 // bytes of a WebSocket message
	closeWait = 5 * time.Second
)

// wantBody is what the origin answers to path.
func wantBody(path string) []byte {
	switch path {
	case pathKB:
		return pattern(bodyKB)
	case path100KB:
		return pattern(body100KB)
	case pathSink:
		return []byte(sinkAnswer)
	}
	return nil
}

// pattern is n bytes that repeat nowhere near, so that a piece that is lost, doubled
// or from elsewhere is seen.
func pattern(n int) []byte {
	b := make([]byte, 0, n+16)
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, "%07x-", i*2654435761&0xfffffff)
	}
	return b[:n]
}

// request is the bytes of one request of connection number i.
func (j *Job) request(i int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) quorate-bench\r\n", j.Method, j.Path)
	b.WriteString("Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en\r\n")
	if c := j.cookie(i); c != "" {
		fmt.Fprintf(&b, "Cookie: %s\r\n", c)
	}
	if j.NewConn {
		b.WriteString("Connection: close\r\n")
	}
	if j.Body > 0 {
		fmt.Fprintf(&b, "Content-Type: application/octet-stream\r\nContent-Length: %d\r\n", j.Body)
	}
	b.WriteString("\r\n")
	b.Write(pattern(j.Body))
	return b.Bytes()
}

func (j *Job) cookie(i int) string {
	if len(j.Cookies) == 0 || i%2 == 1 {
		return ""
	}
	return j.Cookies[i/2%len(j.Cookies)]
}

// load runs j in a child process on the processors that cpus names.
func (b *bench) load(ctx context.Context, j Job, cpus string) Result {
	in, err := json.Marshal(j)
	if err != nil {
		return Result{Err: err.Error()}
	}
	limit := j.Warm + j.Measure + j.Hold + 30*time.Second + time.Duration(j.Idle)*10*time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	argv := onCPUs(cpus, b.self, "load")
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &errs
	cmd.SysProcAttr = apart(nil)
	if err := cmd.Run(); err != nil {
		if ctx.Err() == context.DeadlineExceeded {
			err = fmt.Errorf("the load did not end within %s", limit)
		}
		return Result{Err: fmt.Sprintf("%v %s", err, tail(errs.Bytes()))}
	}
	var r Result
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return Result{Err: fmt.Sprintf("result of the load: %v", err)}
	}
	return r
}

// loadMain is the child process.
func loadMain() int {
	var j Job
	if err := json.NewDecoder(os.Stdin).Decode(&j); err != nil {
		fmt.Fprintln(os.Stderr, "job:", err)
		return 2
	}
	r, err := j.run()
	if err != nil {
		r.Err = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		fmt.Fprintln(os.Stderr, "result:", err)
		return 2
	}
	return 0
}

func (j *Job) run() (Result, error) {
	switch j.Kind {
	case "http", "websocket":
		return loadRaw(j)
	case "tls":
		return loadTLS(j)
	case "h2":
		return loadH2(j)
	case "idle", "idletls":
		return loadIdle(j)
	}
	return Result{}, fmt.Errorf("no kind %q", j.Kind)
}

// meter reads the proxy's processor time at both ends of the measured time.
type meter struct {
	pid   int
	cpu   float64
	start time.Time
}

func startMeter(pid int) (meter, error) {
	cpu, err := treeCPU(pid)
	return meter{pid, cpu, time.Now()}, err
}

func (m *meter) stop(r *Result) error {
	cpu, err := treeCPU(m.pid)
	if err != nil {
		return err
	}
	r.CPU, r.Seconds = cpu-m.cpu, time.Since(m.start).Seconds()
	r.RSS, err = treeRSS(m.pid)
	return err
}
