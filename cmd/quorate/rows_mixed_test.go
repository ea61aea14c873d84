package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Everything at once: requests of all kinds, each with an id and a digest of its body,
// every answer checked; clients that leave in the middle, a worker that dies and comes
// back, a slow one, configurations reloaded. Nobody gets a wrong answer, and when all
// is over nothing is left behind.
func TestMixedLoad(t *testing.T) { mixedLoad(t, 2*time.Second) }

// mixed is one run.
type mixed struct {
	t       *testing.T
	c       *trio
	plain   string // address
	secure  string
	dying   *origin // w3
	posts   *ledger
	mu      sync.Mutex
	wrong   []string // answers or requests that were not what was sent
	failed  []string // requests without an answer that had a right to one
	done    map[string]int
	left    int // clients that went away on purpose
	kills   int
	reloads int
	made    int // requests
}

func mixedLoad(t *testing.T, lasts time.Duration) {
	s := newShelf(t)
	k := s.write("lb", "lb.example")
	m := &mixed{t: t, posts: newLedger(), done: map[string]int{}, secure: reserve(t)}
	m.c = prepare(t, trioConfig{Replicas: 1, Set: []string{
		"traffic.listeners[1].address=" + m.secure,
		"traffic.listeners[1].tls.cert_file=" + k.CertFile, "traffic.listeners[1].tls.key_file=" + k.KeyFile,
		"upstream.health.interval=200ms", // a worker that is back is soon found
		"upstream.pool.idle_timeout=1s",  // what is left is soon gone
	}})
	m.c.startAll()
	m.plain = m.c.replicas[0].traffic
	for _, name := range []string{"w1", "w2"} {
		m.c.origin(name, m.worker(0), "/mix")
	}
	m.dying = m.c.origin("w3", m.worker(0), "/mix")
	m.c.origin("w4", m.worker(200*time.Millisecond), "/mix")

	// What one round leaves behind is what every round may leave behind.
	m.load(lasts / 4)
	before := m.rest(nil)
	memory := m.load(lasts)
	after := m.rest(&before)

	sum := 0
	var kinds []string
	for kind, n := range m.done {
		sum += n
		kinds = append(kinds, fmt.Sprintf("%s %d", kind, n))
	}
	slices.Sort(kinds)
	_, twice := m.posts.more()
	t.Logf("figure: mixed load for %s: %d requests answered and checked (%s), %d clients left on purpose, %d kills of a worker, %d reloads: %d wrong answers, %d without an answer, %d POSTs twice",
		lasts, sum, strings.Join(kinds, ", "), m.left, m.kills, m.reloads, len(m.wrong), len(m.failed), len(twice))
	t.Logf("figure: goroutines %d -> %d, descriptors %d -> %d, RssAnon under load %.1f -> %.1f MiB (medians of the halves), at rest %.1f -> %.1f MiB",
		before.goroutines, after.goroutines, before.descriptors, after.descriptors,
		float64(memory[0])/1024, float64(memory[1])/1024, float64(before.memory)/1024, float64(after.memory)/1024)
	if len(m.failed) > 0 {
		t.Logf("without an answer, which a kill may do: %s", strings.Join(m.failed[:min(10, len(m.failed))], "; "))
	}
	for _, w := range m.wrong[:min(10, len(m.wrong))] {
		t.Errorf("wrong: %s", w)
	}
	if len(twice) > 0 {
		t.Errorf("POSTs that arrived more than once: %v", twice[:min(5, len(twice))])
	}
	// A kill takes with it what the worker was doing: at most one request of each user.
	if len(m.failed) > m.kills*mixedUsers {
		t.Errorf("%d requests failed, with %d kills and %d users: %v", len(m.failed), m.kills, mixedUsers, m.failed[:min(10, len(m.failed))])
	}
	if len(m.done) < len(mixedKinds)-1 || m.kills == 0 || m.reloads == 0 {
		t.Errorf("kinds answered: %v, kills %d, reloads %d: not all was tried", kinds, m.kills, m.reloads)
	}
	const slack = 16 << 10 // KiB
	if memory[1] > memory[0]*5/4+slack || after.memory > before.memory*5/4+slack {
		t.Errorf("memory grows: under load %d -> %d KiB, at rest %d -> %d", memory[0], memory[1], before.memory, after.memory)
	}
}

// leftovers are what a replica at rest holds.
type leftovers struct{ goroutines, descriptors, memory int }

func (m *mixed) leftovers() leftovers {
	return leftovers{int(m.c.metric(0, "go_goroutines")), m.c.descriptors(0), m.c.memory(0)["RssAnon"]}
}

// rest waits until nobody is there, and says what the replica holds: the least of three
// seconds, in which connections to workers go, for probes come and go. Or it waits until
// no more is held than before.
func (m *mixed) rest(before *leftovers) (now leftovers) {
	m.t.Helper()
	waitFor(m.t, patience, "everybody to have left", func() error {
		if s := m.c.status(0).Traffic; s.ClientConnections > 0 || s.InFlight > 0 {
			return fmt.Errorf("%d clients, %d requests in flight", s.ClientConnections, s.InFlight)
		}
		return nil
	})
	least := m.leftovers()
	for end := time.Now().Add(3 * time.Second); before == nil && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
		now := m.leftovers()
		least.goroutines, least.descriptors, least.memory = min(least.goroutines, now.goroutines), min(least.descriptors, now.descriptors), now.memory
	}
	if before == nil {
		return least
	}
	waitFor(m.t, patience, "the replica to hold as much as before", func() error {
		time.Sleep(50 * time.Millisecond)
		if now = m.leftovers(); now.goroutines > before.goroutines+1 || now.descriptors > before.descriptors+1 {
			return fmt.Errorf("%d goroutines and %d descriptors, before %d and %d", now.goroutines, now.descriptors, before.goroutines, before.descriptors)
		}
		return nil
	})
	return now
}

// load runs users, and troubles them. It returns the median memory under load in the
// first half and in the second.
func (m *mixed) load(lasts time.Duration) (memory [2]int) {
	stop := make(chan struct{})
	var group sync.WaitGroup
	for i := range mixedUsers {
		group.Go(func() { m.user(i, stop) })
	}
	group.Go(func() { m.die(stop) })
	group.Go(func() { m.reload(stop) })
	var samples [2][]int
	for i := range 20 {
		time.Sleep(lasts / 20)
		samples[i/10] = append(samples[i/10], m.c.memory(0)["RssAnon"])
	}
	close(stop)
	group.Wait()
	for i := range samples {
		slices.Sort(samples[i])
		memory[i] = samples[i][len(samples[i])/2]
	}
	return memory
}

// pause is false when it is over.
func pausing(stop <-chan struct{}, d time.Duration) bool {
	select {
	case <-stop:
		return false
	case <-time.After(d):
		return true
	}
}

// die kills a worker now and then, and starts it again where it was.
func (m *mixed) die(stop <-chan struct{}) {
	o := m.dying
	defer func() { m.dying = o }()
	address := o.hole.Addr().String()
	for pausing(stop, 500*time.Millisecond+rand.N(700*time.Millisecond)) {
		if rand.IntN(2) == 0 {
			o.reset()
		}
		o.stop()
		m.mu.Lock()
		m.kills++
		m.mu.Unlock()
		time.Sleep(100 * time.Millisecond)
		l, err := net.Listen("tcp", address)
		if err != nil {
			m.t.Errorf("start w3 again: %v", err)
			return
		}
		o = serveOrigin(m.t, "w3", l, m.worker(0))
	}
}

// reload changes the configuration back and forth.
func (m *mixed) reload(stop <-chan struct{}) {
	r := m.c.replicas[0]
	text, err := os.ReadFile(r.file)
	if err != nil {
		m.t.Error(err)
		return
	}
	defer m.c.write(r.file, string(text))
	other := bytes.Replace(text, []byte("\ntraffic:\n"), []byte("\ntraffic:\n  timeouts: {idle: 70s, body: 50s}\n  limits: {headers: 90}\n"), 1)
	for n := 1; pausing(stop, 300*time.Millisecond+rand.N(500*time.Millisecond)); n++ {
		m.c.write(r.file, string([][]byte{text, other}[n%2]))
		if err := r.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			m.t.Error(err)
			return
		}
		m.mu.Lock()
		m.reloads++
		m.mu.Unlock()
	}
}

// content is what the answer to id holds.
func content(id string, n int) []byte {
	b := make([]byte, n)
	source := rand.NewChaCha8(sha256.Sum256([]byte(id)))
	source.Read(b)
	return b
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// worker checks each request by its digest, and answers with what its id stands for.
// One in five takes up to slow.
func (m *mixed) worker(slow time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Id")
		if r.Header.Get("Upgrade") != "" {
			m.echo(w, id)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client has left, or so it must be: then nobody sees an answer
		}
		if want := r.Header.Get("X-Digest"); want != digest(body) {
			m.bad("request %s: %d bytes of body with digest %s, sent were %s", id, len(body), digest(body), want)
		}
		if want := r.Header.Get("X-Trailer-Wanted"); want != "" && r.Trailer.Get("X-Sum") != want {
			m.bad("request %s: trailer %v, want %s", id, r.Trailer, want)
		}
		if r.Method == http.MethodPost && m.posts.note(id) > 1 {
			m.bad("request %s arrived again", id)
		}
		wait := time.Duration(0)
		if slow > 0 && rand.IntN(5) == 0 {
			wait = rand.N(slow)
		}
		if ms, err := strconv.Atoi(r.Header.Get("X-Wait")); err == nil {
			wait = time.Duration(ms) * time.Millisecond
		}
		select {
		case <-time.After(wait):
		case <-r.Context().Done():
			return
		}
		n, _ := strconv.Atoi(r.Header.Get("X-Size"))
		b := content(id, n)
		h := w.Header()
		h.Set("X-Id", id)
		h.Set("X-Digest", digest(b))
		if r.Header.Get("X-Chunked") != "" { // in pieces, of an unknown length, with a trailer
			h.Set("Trailer", "X-Sum")
			for piece := range slices.Chunk(b, 7000) {
				w.Write(piece)
				w.(http.Flusher).Flush()
			}
			h.Set("X-Sum", digest(b))
			return
		}
		h.Set("Content-Length", strconv.Itoa(n))
		if r.Method != http.MethodHead {
			w.Write(b)
		}
	})
}

// echo is a tunnel that says everything again.
func (m *mixed) echo(w http.ResponseWriter, id string) {
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		m.bad("tunnel %s: %v", id, err)
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Id: %s\r\n\r\n", id)
	io.Copy(conn, rw.Reader)
}

func (m *mixed) bad(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wrong = append(m.wrong, fmt.Sprintf(format, args...))
}

// result sorts what became of one request.
func (m *mixed) result(kind string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var wrong wrongAnswer
	switch {
	case err == nil:
		m.done[kind]++
	case err == errLeft:
		m.left++
	case errors.As(err, &wrong):
		m.wrong = append(m.wrong, kind+" "+err.Error())
	default:
		m.failed = append(m.failed, kind+" "+err.Error())
	}
}

// wrongAnswer is a whole answer, and not the one to this request.
type wrongAnswer string

func (w wrongAnswer) Error() string { return string(w) }

// errLeft: the client went away in the middle, as it meant to.
var errLeft = errors.New("left on purpose")

// check holds a whole answer against the request with this id.
func check(id string, resp *http.Response, body []byte, size int) error {
	switch {
	case resp.StatusCode == http.StatusBadGateway, resp.StatusCode == http.StatusServiceUnavailable:
		return errors.New(id + ": " + resp.Status) // what a killed worker leaves
	case resp.StatusCode != http.StatusOK:
		return wrongAnswer(id + ": " + resp.Status)
	case resp.Header.Get("X-Id") != id:
		return wrongAnswer(fmt.Sprintf("%s got the answer to %q", id, resp.Header.Get("X-Id")))
	case !bytes.Equal(body, content(id, size)):
		return wrongAnswer(fmt.Sprintf("%s: %d bytes with digest %s, want %d with %s", id, len(body), digest(body), size, digest(content(id, size))))
	case resp.Trailer != nil && resp.Trailer.Get("X-Sum") != digest(body) && resp.Header.Get("Trailer") != "":
		return wrongAnswer(fmt.Sprintf("%s: trailer %v", id, resp.Trailer))
	}
	return nil
}

// readAnswer reads the whole answer to a method. A body that ends early is no answer.
func readAnswer(r *bufio.Reader, method string) (*http.Response, []byte, error) {
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}
