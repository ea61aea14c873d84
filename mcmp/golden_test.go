package mcmp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/fsm"
	"github.com/quorate/quorate/mcmp/client"
	"github.com/quorate/quorate/mcmp/client/trace"
)

var rewriteGolden = flag.Bool("rewrite-golden", false, "write testdata/golden anew")

// TestGolden sends every recorded worker's bytes to a listener. The answers are
// the golden files; one whose status or Type differs from what was recorded must
// be explained by a line of testdata/differences.txt, and every line there must
// explain something.
func TestGolden(t *testing.T) {
	rules := readDifferences(t)
	files, err := filepath.Glob("testdata/traces/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no traces: %v", err)
	}
	asked, differing := 0, 0
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			p := play(t, file, rules)
			asked += p.asked
			differing += p.differing
			golden := "testdata/golden/" + filepath.Base(file)
			if *rewriteGolden {
				if err := os.WriteFile(golden, p.out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := firstDifference(string(want), p.out.String()); diff != "" {
				t.Errorf("%s: %s", golden, diff)
			}
		})
	}
	for _, r := range rules {
		if r.used == 0 && !t.Failed() {
			t.Errorf("testdata/differences.txt: %q explains nothing", r.line)
		}
	}
	t.Logf("%d recorded requests answered, %d answers explained as different", asked, differing)
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d:\nwant %s\n got %s", i+1, w[i], g[i])
		}
	}
	if len(w) != len(g) {
		return fmt.Sprintf("want %d lines, got %d", len(w), len(g))
	}
	return ""
}

// player sends the requests of one trace and writes down the answers.
type player struct {
	t     *testing.T
	rules []*difference
	out   bytes.Buffer
	rigs  map[string]*stage // by peer: B1, B2
	links map[string]*link  // by peer and connection

	asked, differing int
	before           map[string][]string // last body of a method, to show only what changed
}

// stage is one balancer of the trace: a rig that behaves as the recording implies.
type stage struct {
	*rig
	period time.Duration
	at     time.Duration                  // of the current request
	heard  map[fsm.JVMRoute]time.Duration // last STATUS
	down   map[fsm.JVMRoute]bool          // last check failed
	ok     bool                           // checks succeed now
	inUse  int                            // requests in flight now
}

func play(t *testing.T, file string, rules []*difference) *player {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tr, err := trace.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	p := &player{t: t, rules: rules, rigs: map[string]*stage{}, links: map[string]*link{}, before: map[string][]string{}}
	fmt.Fprintf(&p.out, "# %s\n", tr.Header["title"])
	period := defaultPeriod
	if n, err := strconv.Atoi(strings.SplitN(tr.Header["period"], " ", 2)[0]); err == nil {
		period = time.Duration(n) * time.Second
	}
	exchanges := tr.Exchanges("B")
	next := 0
	for _, e := range tr.Events {
		switch {
		case e.Kind == trace.Note:
			p.note(e)
		case e.Kind == trace.Sent && strings.HasPrefix(e.Peer, "B"):
			s := p.rigs[e.Peer]
			if s == nil {
				s = newStage(t, period)
				p.rigs[e.Peer] = s
			}
			p.exchange(s, exchanges[next])
			next++
		}
	}
	for _, l := range p.links {
		l.Close()
	}
	return p
}

// note copies a note; a balancer that lost its tables loses them here too.
func (p *player) note(e trace.Event) {
	fmt.Fprintf(&p.out, "\n# %s\n", e.Text)
	if strings.Contains(e.Text, "empty tables") && strings.HasPrefix(e.Text, "balancer") || strings.Contains(e.Text, "balancer: quick restart") {
		s := p.rigs["B1"]
		s.mu.Lock()
		s.state = fsm.New()
		s.mu.Unlock()
	}
}

func newStage(t *testing.T, period time.Duration) *stage {
	s := &stage{period: period, heard: map[fsm.JVMRoute]time.Duration{}, down: map[fsm.JVMRoute]bool{}}
	s.rig = newRig(t, func(r *rig, c *Config) {
		c.Rate = -1
		r.check = func(_ context.Context, route fsm.JVMRoute) error {
			s.down[route] = !s.ok
			if !s.ok {
				return errors.New("as recorded")
			}
			return nil
		}
		r.inUse = func(fsm.JVMRoute, fsm.Path) int { return s.inUse }
		r.gone = func(route fsm.JVMRoute) bool {
			return s.down[route] || s.at-s.heard[route] > s.period*3/2
		}
		c.CheckAddress = func(context.Context, string, string, int) error { return r.check(context.Background(), "") }
	})
	return s
}

var requests = regexp.MustCompile(`Requests=(\d+)`)

// exchange sends one block of the worker, which may hold several requests.
func (p *player) exchange(s *stage, e trace.Exchange) {
	recorded := answers(e.Answer)
	s.at = e.At
	s.tick(e.At)
	s.ok = !bytes.Contains(e.Answer, []byte("State=NOTOK"))
	s.inUse = 0
	if m := requests.FindSubmatch(e.Answer); m != nil {
		s.inUse, _ = strconv.Atoi(string(m[1]))
	}
	l := p.link(s, e)
	l.say(string(e.Request))
	rest := bufio.NewReader(bytes.NewReader(e.Request))
	for i := 0; ; i++ {
		req, err := http.ReadRequest(rest)
		if err != nil {
			break
		}
		body, _ := io.ReadAll(req.Body)
		p.asked++
		got := l.hear(req.Method)
		if got.close {
			delete(p.links, key(e))
			l.Close()
		}
		was := answer{}
		if i < len(recorded) {
			was = recorded[i]
		}
		p.write(s, e, req, string(body), was, got)
		if m, err := Parse(req.Method, false, body); err == nil && m.Method == methodStatus && got.status == 200 {
			s.heard[m.Command.Route] = e.At
		}
	}
}

func key(e trace.Exchange) string { return fmt.Sprintf("%s/%d", e.Peer, e.Conn) }

// link is the recorded connection, or a new one if ours was closed, by an answer
// or by a peer whose recorded connection had been closed before.
func (p *player) link(s *stage, e trace.Exchange) *link {
	l := p.links[key(e)]
	if l == nil {
		l = s.dial(p.t)
		p.links[key(e)] = l
	}
	return l
}

// answers reads what a balancer said to one block, without interim answers.
func answers(raw []byte) (list []answer) {
	r := bufio.NewReader(bytes.NewReader(raw))
	for {
		a, err := readAnswer(r, "")
		if err != nil {
			return list
		}
		if a.status >= 200 {
			list = append(list, a)
		}
	}
}

var (
	generation = regexp.MustCompile(`id=-?\d+`)
	shown      = 8 // lines of a body that are shown whole
)

// write adds a request and its answer to the golden file.
func (p *player) write(s *stage, e trace.Exchange, req *http.Request, body string, was, got answer) {
	line := req.Method + " " + req.RequestURI
	if body != "" {
		line += " " + shorten(body)
	}
	if a := req.Header.Get("Accept"); a != "" {
		line += " (Accept: " + a + ")"
	}
	fmt.Fprintf(&p.out, "%s +%.3f %s\n  %s%s\n", e.Peer, e.At.Seconds(), line, got, p.explain(req, body, was, got))
	if got.kind() == "" {
		p.body(strings.ToUpper(req.Method)+req.Header.Get("Accept"), generation.ReplaceAllString(got.body, "id=N"))
	}
	p.wellFormed(s, e, req, got)
}

// shorten cuts runs of one letter, so that a line stays readable.
func shorten(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		n := i
		for n < len(s) && s[n] == s[i] {
			n++
		}
		if n-i > 12 {
			fmt.Fprintf(&b, "{%c*%d}", s[i], n-i)
		} else {
			b.WriteString(s[i:n])
		}
		i = n
	}
	return b.String()
}

// body shows a body; of a long one only what is new since the same question was
// asked before.
func (p *player) body(question, body string) {
	if body == "" {
		return
	}
	lines := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
	old := p.before[question]
	p.before[question] = lines
	for _, l := range lines {
		if len(lines) <= shown || !slices.Contains(old, l) {
			fmt.Fprintf(&p.out, "  |%s\n", shorten(l))
		}
	}
	if len(lines) > shown {
		fmt.Fprintf(&p.out, "  |(%d lines)\n", len(lines))
	}
}

// wellFormed checks what holds of every answer.
func (p *player) wellFormed(s *stage, e trace.Exchange, req *http.Request, got answer) {
	h := got.header
	switch {
	case h.Get("Content-Length") == "" || h.Get("Transfer-Encoding") != "":
		p.t.Errorf("+%v %s: not framed by Content-Length: %v", e.At, req.Method, h)
	case got.status == 500 && (h.Get("Version") != protocol || !strings.HasPrefix(h.Get("Mess"), got.kind()+": ") || got.body != h.Get("Mess")+"\n"):
		p.t.Errorf("+%v %s: %v %q", e.At, req.Method, h, got.body)
	case !isASCII(got.body) && !got.close:
		p.t.Errorf("+%v %s: a body that is not ASCII must end the connection", e.At, req.Method)
	}
	if strings.EqualFold(req.Method, "INFO") && got.status == 200 && h.Get("Content-Type") == "text/plain" {
		if _, err := client.ParseInfo(got.body); err != nil {
			p.t.Errorf("+%v INFO: %v", e.At, err)
		}
	}
}

// difference is one line of testdata/differences.txt.
type difference struct {
	line      string
	method    string // "*": any
	was, ours string // status and Type, "none" without an answer
	body      *regexp.Regexp
	why       string
	used      int
}

// readDifferences reads lines "METHOD WAS -> OURS /BODY/ why".
func readDifferences(t *testing.T) []*difference {
	text, err := os.ReadFile("testdata/differences.txt")
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^(\S+) +(.+?) -> (.+?) +/(.*)/ +(.*\S)$`)
	var rules []*difference
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		m := form.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("testdata/differences.txt: %q: want METHOD WAS -> OURS /BODY/ why", line)
		}
		rules = append(rules, &difference{line: line, method: m[1], was: m[2], ours: m[3], body: regexp.MustCompile(m[4]), why: m[5]})
	}
	return rules
}

// outcome is what must not differ without a reason: status and Type.
func (a answer) outcome() string {
	if a.status == 0 {
		return "none"
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", a.status, a.kind()))
}

// explain is the comment of an answer that differs from the recorded one.
func (p *player) explain(req *http.Request, body string, was, got answer) string {
	if was.outcome() == got.outcome() {
		return ""
	}
	p.differing++
	for _, r := range p.rules {
		if (r.method == "*" || r.method == req.Method) && r.was == was.outcome() && r.ours == got.outcome() && r.body.MatchString(req.RequestURI+" "+body) {
			r.used++
			return fmt.Sprintf("   # recorded %s: %s", was.outcome(), r.why)
		}
	}
	p.t.Errorf("%s %s %s: recorded %s, ours %s: not explained", req.Method, req.RequestURI, shorten(body), was, got)
	return fmt.Sprintf("   # recorded %s: UNEXPLAINED", was.outcome())
}
