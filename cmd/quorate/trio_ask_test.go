package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/admin"
)

// asker is how tests ask admin and MCMP listeners.
var asker = &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 8}}

func (c *trio) ask(i int) (*admin.Status, error) {
	s := new(admin.Status)
	return s, getJSON("http://"+c.replicas[i].admin+"/api/v1/status", s)
}

func (c *trio) status(i int) *admin.Status {
	c.t.Helper()
	s, err := c.ask(i)
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

func (c *trio) workers(i int) *admin.Workers {
	c.t.Helper()
	w := new(admin.Workers)
	if err := getJSON("http://"+c.replicas[i].admin+"/api/v1/workers", w); err != nil {
		c.t.Fatal(err)
	}
	return w
}

// workerAt is one worker as replica i sees it, nil if it knows none of that name.
func (c *trio) workerAt(i int, name string) *admin.Worker {
	c.t.Helper()
	all := c.workers(i).Workers
	for k := range all {
		if all[k].Route == name {
			return &all[k]
		}
	}
	return nil
}

func getJSON(url string, into any) error {
	resp, err := asker.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// info is replica i's answer to MCMP INFO.
func (c *trio) info(i int) string {
	c.t.Helper()
	a := send(c.t, c.replicas[i].mcmp, "INFO", "/", "")
	if a.status != http.StatusOK {
		c.t.Fatalf("INFO at %s: %v", c.replicas[i].name, a)
	}
	return a.body
}

// metric is the sum of a metric's samples whose labels hold all of having; 0 without any.
func (c *trio) metric(i int, name string, having ...string) float64 {
	c.t.Helper()
	resp, err := asker.Get("http://" + c.replicas[i].admin + "/metrics")
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	sum := 0.0
	scan := bufio.NewScanner(resp.Body)
lines:
	for scan.Scan() {
		series, value, ok := strings.Cut(scan.Text(), " ")
		if base, _, _ := strings.Cut(series, "{"); !ok || base != name {
			continue
		}
		for _, label := range having {
			if !strings.Contains(series, label) {
				continue lines
			}
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			c.t.Fatalf("%s: %v", scan.Text(), err)
		}
		sum += v
	}
	return sum
}

// memory is what Linux says of replica i's process, in KiB.
func (c *trio) memory(i int) map[string]int {
	c.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.replicas[i].pid()))
	if err != nil {
		c.t.Fatal(err)
	}
	out := map[string]int{}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		if n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB")); err == nil {
			out[name] = n
		}
	}
	return out
}

// logLines are replica i's log lines with this message, from all its starts.
func (c *trio) logLines(i int, msg string) []map[string]any {
	c.t.Helper()
	f, err := os.Open(c.replicas[i].log)
	if err != nil {
		c.t.Fatal(err)
	}
	defer f.Close()
	var out []map[string]any
	scan := bufio.NewScanner(f)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		line := map[string]any{}
		if json.Unmarshal(scan.Bytes(), &line) == nil && line["msg"] == msg {
			out = append(out, line)
		}
	}
	return out
}

// quorate runs a command that asks replica i.
func (c *trio) quorate(i int, args ...string) (code int, stdout, stderr string) {
	c.t.Helper()
	var out, complaints strings.Builder
	cmd := exec.Command(c.c.Binary, append(args, "--addr", c.replicas[i].admin)...)
	cmd.Stdout, cmd.Stderr = &out, &complaints
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), complaints.String()
}

func (c *trio) lastLine(i int) string {
	b, _ := os.ReadFile(c.replicas[i].log)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}

// answer is what a balancer said to one MCMP message.
type answer struct {
	status int
	kind   string // Type: SYNTAX, MEM, GENERAL
	body   string
	took   time.Duration
}

func (a answer) String() string {
	return strings.TrimSpace(fmt.Sprintf("%d %s %s", a.status, a.kind, a.body))
}

// send sends one MCMP message; target is "/" or "/*". A connection that cannot
// be had ends the test.
func send(t testing.TB, addr, command, target, body string) answer {
	t.Helper()
	a, err := trySend(addr, command, target, body)
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return a
}

func trySend(addr, command, target, body string) (answer, error) {
	began := time.Now()
	r, err := http.NewRequest(command, "http://"+addr+target, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	resp, err := asker.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	return answer{resp.StatusCode, resp.Header.Get("Type"), string(text), time.Since(began)}, nil
}

// mustSend is send for a message that must be answered 200.
func mustSend(t testing.TB, addr, command, target, body string) answer {
	t.Helper()
	a := send(t, addr, command, target, body)
	if a.status != http.StatusOK {
		t.Fatalf("%s %s %s: %v", command, target, body, a)
	}
	return a
}
