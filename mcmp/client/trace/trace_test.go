package trace

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const small = `#! mcmp-trace 1
# title: a: b
+0.000 B1/1 open
+0.002 B1/1 > 9
|a\r\n
|\\\x00\tbc\n
+0.003 B1/1 < 2 until +0.005
|ok
+1.5 note worker: killed
+1.600 B1/1 close worker
+1.700 D1/12 refused
`

func TestParse(t *testing.T) {
	tr, err := Parse(strings.NewReader(small))
	if err != nil {
		t.Fatal(err)
	}
	if tr.Header["title"] != "a: b" || len(tr.Events) != 6 {
		t.Fatalf("got header %q and %d events", tr.Header, len(tr.Events))
	}
	if e := tr.Events[2]; e.Kind != Got || e.Until != 5*time.Millisecond || string(e.Data) != "ok" {
		t.Errorf("answer read as %+v", e)
	}
	if e := tr.Events[3]; e.Kind != Note || e.Text != "worker: killed" || e.At != 1500*time.Millisecond {
		t.Errorf("note read as %+v", e)
	}
	if e := tr.Events[4]; e.Kind != Close || e.Who != "worker" {
		t.Errorf("close read as %+v", e)
	}
	if e := tr.Events[5]; e.Kind != Refused || e.Peer != "D1" || e.Conn != 12 {
		t.Errorf("refusal read as %+v", e)
	}
	x := tr.Exchanges("B")
	if len(x) != 1 || string(x[0].Request) != "a\r\n\\\x00\tbc\n" || string(x[0].Answer) != "ok" {
		t.Errorf("exchanges read as %+v", x)
	}
	if got := tr.Exchanges("D"); len(got) != 0 {
		t.Errorf("D1 has no exchange, got %+v", got)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"empty":             "",
		"other magic":       "#! mcmp-trace 2\n",
		"payload too long":  "#! mcmp-trace 1\n+0 B1/1 > 1\n|ab\n",
		"payload too short": "#! mcmp-trace 1\n+0 B1/1 > 3\n|ab\n",
		"payload cut off":   "#! mcmp-trace 1\n+0 B1/1 > 3\n|ab\n+1 note x\n",
		"payload of none":   "#! mcmp-trace 1\n|ab\n",
		"late header":       "#! mcmp-trace 1\n+0 note x\n# title: y\n",
		"no peer":           "#! mcmp-trace 1\n+0 open\n",
		"no number":         "#! mcmp-trace 1\n+0 B1 open\n",
		"unknown event":     "#! mcmp-trace 1\n+0 B1/1 nap\n",
		"unknown side":      "#! mcmp-trace 1\n+0 B1/1 close nobody\n",
		"no plus":           "#! mcmp-trace 1\n0.1 B1/1 open\n",
		"unknown escape":    "#! mcmp-trace 1\n+0 B1/1 > 1\n|\\q\n",
		"short escape":      "#! mcmp-trace 1\n+0 B1/1 > 1\n|\\x1\n",
		"lone backslash":    "#! mcmp-trace 1\n+0 B1/1 > 1\n|\\\n",
	} {
		if _, err := Parse(strings.NewReader(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Every recording the client replays must itself be readable and hold requests.
func TestRecordings(t *testing.T) {
	files, err := filepath.Glob("../testdata/traces/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tr, err := Parse(bytes.NewReader(data))
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if len(tr.Exchanges("")) == 0 || tr.Header["title"] == "" {
			t.Errorf("%s: no exchange or no title", file)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(small)
	f.Fuzz(func(t *testing.T, text string) {
		tr, err := Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, e := range tr.Events {
			if (e.Kind == Sent || e.Kind == Got) && len(e.Data) == 0 {
				t.Fatalf("%q: event without its payload: %+v", text, e)
			}
		}
	})
}
