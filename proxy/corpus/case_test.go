package corpus

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// side says who does a step.
type side string

const (
	sends   side = "> "   // the client
	gets    side = "  > " // the worker
	says    side = "  < " // the worker
	answers side = "< "   // what the client gets
)

// step is one thing that is said, or a word for it.
type step struct {
	side side
	text string // bytes; or a word, see doc.go
	word bool
	raw  []string // lines as they stand in the file
}

// testCase is one block of a data file.
type testCase struct {
	name  string
	place string // file:line
	words map[string]string
	steps []step

	context string // whose worker must have the first request; "": any
}

func (c *testCase) has(word string) bool { _, ok := c.words[word]; return ok }

// simple: one packet, then the outcome. Such cases can be cut in two.
func (c *testCase) simple() bool {
	n := 0
	for _, s := range c.steps {
		if s.side == sends {
			n++
		}
	}
	return n == 1 && !c.has("once") && !c.has("later")
}

// lastSend is the place of the last bytes of the client.
func (c *testCase) lastSend() int {
	last := -1
	for i, s := range c.steps {
		if s.side == sends && !s.word {
			last = i
		}
	}
	return last
}

// readFile reads the cases of a data file.
func readFile(t testing.TB, name string) []*testCase {
	t.Helper()
	file := filepath.Join("testdata", name)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var (
		list []*testCase
		c    *testCase
		seen = map[string]bool{}
		n    = 0
	)
	fail := func(format string, args ...any) {
		t.Helper()
		t.Fatalf("%s:%d: %s", file, n, fmt.Sprintf(format, args...))
	}
	for line := range strings.Lines(string(b)) {
		n++
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "":
			c = nil
			continue
		case strings.HasPrefix(line, "#"):
			continue
		case c == nil:
			fields := strings.Fields(line)
			c = &testCase{name: fields[0], place: fmt.Sprintf("%s:%d", file, n), words: map[string]string{}}
			for _, w := range fields[1:] {
				k, v, _ := strings.Cut(w, "=")
				c.words[k] = v
			}
			if seen[c.name] {
				fail("%s is there twice", c.name)
			}
			seen[c.name] = true
			list = append(list, c)
			continue
		}
		var who side
		for _, p := range []side{sends, gets, says, answers} {
			if strings.HasPrefix(line, string(p)) {
				who = p
			}
		}
		if who == "" {
			fail("a line of nobody: %q", line)
		}
		raw := line[len(who):]
		text, err := unescape(raw)
		if err != nil {
			fail("%v", err)
		}
		s := step{side: who, text: text, raw: []string{raw}}
		last := len(c.steps) - 1
		more := last >= 0 && c.steps[last].side == who && !c.steps[last].word
		s.word = isWord(who, raw) && !(more && raw == "ok") // the last line of a body
		if more && !s.word {
			c.steps[last].text += s.text
			c.steps[last].raw = append(c.steps[last].raw, raw)
		} else {
			c.steps = append(c.steps, s)
		}
	}
	return list
}

// isWord tells a word of doc.go from bytes.
func isWord(who side, raw string) bool {
	switch {
	case strings.HasPrefix(raw, "(") && strings.HasSuffix(raw, ")"):
		return true
	case who == says || who == answers:
		first, _, _ := strings.Cut(raw, " ")
		first, _, _ = strings.Cut(first, "|")
		n, err := strconv.Atoi(first)
		return raw == "ok" || raw == "ok closed" || err == nil && len(first) == 3 && n >= 100
	}
	return false
}

// unescape makes bytes of a line of a data file.
func unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			return "", fmt.Errorf("%q ends with a backslash", s)
		}
		switch s[i] {
		case 'r':
			b.WriteByte('\r')
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case '0':
			b.WriteByte(0)
		case '\\':
			b.WriteByte('\\')
		case 'x':
			if i+2 >= len(s) {
				return "", fmt.Errorf("%q: a byte has two digits", s)
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", fmt.Errorf("%q: %w", s, err)
			}
			b.WriteByte(byte(n))
			i += 2
		case '*':
			count, rest, ok := strings.Cut(s[i+1:], "{")
			what, _, closed := strings.Cut(rest, "}")
			n, err := strconv.Atoi(count)
			if !ok || !closed || err != nil {
				return "", fmt.Errorf("%q: not of the form \\*N{text}", s)
			}
			text, err := unescape(what)
			if err != nil {
				return "", err
			}
			b.WriteString(strings.Repeat(text, n))
			i += len(count) + len(what) + 2
		default:
			return "", fmt.Errorf("%q: \\%c means nothing", s, s[i])
		}
	}
	return b.String(), nil
}

// escape shows bytes as data files write them, a line for each LF.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\n':
			b.WriteString(`\n`)
			if i < len(s)-1 {
				b.WriteByte('\n')
			}
		case c == '\t':
			b.WriteString(`\t`)
		case c == '\\':
			b.WriteString(`\\`)
		case c < 0x20 || c >= 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	if out := b.String(); len(out) > 2000 {
		return out[:1000] + "\n…\n" + out[len(out)-900:]
	}
	return b.String()
}

// The files are whole: as many cases as http-notes.md §13 asks for, each with an
// outcome.
func TestDataFiles(t *testing.T) {
	for name, atLeast := range map[string]int{"framing": 105, "heads": 100, "paths": 50, "connections": 39, "responses": 45, "h2": 40} {
		cases := readFile(t, name)
		if len(cases) < atLeast {
			t.Errorf("%s has %d cases, and should have %d", name, len(cases), atLeast)
		}
		for _, c := range cases {
			if len(c.steps) < 2 || c.steps[0].side != sends {
				t.Errorf("%s: %s has no beginning or no outcome", c.place, c.name)
			}
		}
	}
}

func TestEscapes(t *testing.T) {
	const raw = `a\r\nb\t\x80\\ \*3{ab}`
	got, err := unescape(raw)
	if want := "a\r\nb\t\x80\\ ababab"; err != nil || got != want {
		t.Fatalf("unescape: %q, %v, want %q", got, err, want)
	}
	if again, err := unescape(strings.ReplaceAll(escape(got), "\n", "")); err != nil || again != got {
		t.Fatalf("%q came back as %q, %v", got, again, err)
	}
	for _, bad := range []string{`\`, `\x1`, `\xzz`, `\q`, `\*a{b}`, `\*3{b`} {
		if got, err := unescape(bad); err == nil {
			t.Errorf("unescape(%q) = %q", bad, got)
		}
	}
}
