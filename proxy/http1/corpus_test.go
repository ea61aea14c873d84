package http1

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// The files hold one message each block, on one line: ⏎ is CR LF, {x*9} nine
// times x, the rest as in a Go string. Below it stands how it is read, or why it is
// refused. Every message is also given in two parts cut at every byte, and byte by
// byte, which must change nothing.
//
//	request limits=line,header
//	response head
//	chunks overhead=n
func TestCorpus(t *testing.T) {
	datadriven.Walk(t, "testdata/corpus", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			b := message(d.Input)
			switch d.Cmd {
			case "request":
				l := Limits{Line: 8 << 10, Header: 32 << 10}
				d.MaybeScanArgs(t, "limits", &l.Line, &l.Header)
				return cut(t, b, func() (any, func([]byte) (int, *Error)) {
					r := new(Request)
					return r, func(b []byte) (int, *Error) { return r.Parse(b, l) }
				})
			case "response": // whatever is wrong, the client is told 502
				l := Limits{Line: 8 << 10, Header: 64 << 10}
				d.MaybeScanArgs(t, "limits", &l.Line, &l.Header)
				answer := cut(t, b, func() (any, func([]byte) (int, *Error)) {
					r := new(Response)
					r.Reset()
					r.Head = d.HasArg("head")
					return r, func(b []byte) (int, *Error) { return r.Parse(b, l) }
				})
				if answer[4] != '"' && answer != "more\n" {
					return "refused: " + answer[4:]
				}
				return answer
			case "chunks":
				overhead := 32 << 10
				d.MaybeScanArgs(t, "overhead", &overhead)
				return chunks(t, b, overhead)
			}
			d.Fatalf(t, "unknown command %s", d.Cmd)
			return ""
		})
	})
}

var repeated = regexp.MustCompile(`\{(.+?)\*(\d+)\}`)

// message is the text of a block as bytes.
func message(text string) []byte {
	text = repeated.ReplaceAllStringFunc(text, func(s string) string {
		m := repeated.FindStringSubmatch(s)
		n, _ := strconv.Atoi(m[2])
		return strings.Repeat(m[1], n)
	})
	text = strings.ReplaceAll(strings.ReplaceAll(text, "⏎", `\r\n`), `"`, `\"`)
	s, err := strconv.Unquote(`"` + text + `"`)
	if err != nil {
		panic(fmt.Sprintf("%q: %v", text, err))
	}
	return []byte(s)
}

// marker is the next message on the connection. No byte of it belongs to the one
// that is tested.
const marker = "GET /marker HTTP/1.1\r\nHost: marker\r\n\r\n"

// cut parses b whole, then in parts, and returns what was read of it.
func cut(t *testing.T, b []byte, start func() (any, func([]byte) (int, *Error))) string {
	t.Helper()
	read := func(b []byte, ends ...int) (string, int) {
		m, parse := start()
		for _, end := range ends {
			moved := bytes.Clone(b[:end])
			if n, err := parse(moved); err != nil {
				return fmt.Sprintf("%d %s\n", err.Status, err.Reason), 0
			} else if n > 0 {
				return show(m, moved), n
			}
		}
		return "more\n", 0
	}
	want, end := read(b, len(b))
	each := make([]int, len(b))
	for i := range b {
		each[i] = i + 1
		if got, n := read(b, i, len(b)); got != want || n != end {
			t.Errorf("cut at %d: %d bytes, %s, whole: %d, %s", i, n, got, end, want)
		}
	}
	if got, n := read(b, each...); got != want || n != end {
		t.Errorf("byte by byte: %d bytes, %s, whole: %d, %s", n, got, end, want)
	}
	if want == "more\n" {
		return want
	}
	behind := append(bytes.Clone(b), marker...)
	if got, n := read(behind, len(behind)); got != want || n != end {
		t.Errorf("with a marker behind it: %d bytes, %s, alone: %d, %s", n, got, end, want)
	}
	if rest := b[end:]; end > 0 && len(rest) > 0 {
		want += fmt.Sprintf("behind it: %q\n", rest)
	}
	return want
}

// show writes how a head was read: what it means, and each field.
func show(m any, b []byte) string {
	var s strings.Builder
	var fields []Field
	flag := func(name string, set bool) {
		if set {
			s.WriteString(" " + name)
		}
	}
	body := func(n int64) {
		switch n {
		case -1:
			s.WriteString(" chunked")
		case -2, 0:
			s.WriteString(" none")
		default:
			fmt.Fprintf(&s, " length=%d", n)
		}
	}
	switch r := m.(type) {
	case *Request:
		fields = r.Fields
		fmt.Fprintf(&s, "%s %s 1.%d host=%q", r.Method.Of(b), r.Target.Of(b), r.Minor, r.Host.Of(b))
		body(r.Length)
		flag("has-length", r.HasLength)
		flag("expect", r.Expect)
		flag("close", r.Close)
		flag("keep-alive", r.KeepAlive)
		flag("trailers", r.TrailersOK)
		flag("upgrade-bad", r.UpgradeBad)
		flag("upgrade="+string(r.Upgrade.Of(b)), r.Upgrade.Len() > 0)
	case *Response:
		fields = r.Fields
		fmt.Fprintf(&s, "%d %q 1.%d", r.Status, r.Reason.Of(b), r.Minor)
		kind, length := r.Body()
		fmt.Fprintf(&s, " %s", [...]string{"no-body", "by-length", "by-chunks", "until-close"}[kind])
		if kind == ByLength {
			fmt.Fprintf(&s, "=%d", length)
		}
		flag("has-length", r.HasLength)
		flag("close", r.Close)
		flag("keep-alive", r.KeepAlive)
		flag("timeout="+strconv.Itoa(r.KeepAliveTimeout), r.KeepAliveTimeout >= 0)
		flag("conn-upgrade", r.ConnUpgrade)
		flag("upgrade="+string(r.Upgrade.Of(b)), r.Upgrade.Len() > 0)
	}
	s.WriteByte('\n')
	showFields(&s, fields, b)
	return s.String()
}

func showFields(s *strings.Builder, fields []Field, b []byte) {
	for _, f := range fields {
		v := string(f.Value.Of(b))
		if q := strconv.QuoteToASCII(v); q != `"`+v+`"` {
			v = q
		}
		line := fmt.Sprintf("  %s: %s", f.Name.Of(b), v)
		if len(line) > 100 {
			line = fmt.Sprintf("%s... (%d bytes)", line[:60], f.Value.Len())
		}
		s.WriteString(strings.TrimRight(line, " "))
		if f.Underscore {
			s.WriteString(" [underscore]")
		}
		if f.Listed {
			s.WriteString(" [listed]")
		}
		s.WriteByte('\n')
	}
}

// decoded is what came of a chunked body.
type decoded struct {
	body   string
	took   int
	done   bool
	err    *Error
	fields string
}

// decode gives b in parts that end at the places given, and little room for what
// comes out if room is not 0.
func decode(b []byte, overhead, room int, ends ...int) decoded {
	var c Chunked
	c.Reset(overhead)
	var d decoded
	var body []byte
	start := 0
	for _, end := range ends {
		src := bytes.Clone(b[start:end])
		for {
			dst := src[:0]
			if room > 0 {
				dst = make([]byte, 0, room)
			}
			wrote, took, done, err := c.Decode(dst, src)
			body = append(body, dst[:wrote]...)
			src = src[took:]
			d.took += took
			d.done, d.err = done, err
			if done || err != nil {
				var s strings.Builder
				showFields(&s, c.Fields, c.Trailers)
				d.body, d.fields = string(body), s.String()
				if err != nil { // how far is left open
					d.took = 0
				}
				return d
			}
			if len(src) == 0 {
				break
			}
		}
		start = end
	}
	d.body = string(body)
	return d
}

func chunks(t *testing.T, b []byte, overhead int) string {
	t.Helper()
	want := decode(b, overhead, 0, len(b))
	same := func(how string, got decoded) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, whole: %+v", how, got, want)
		}
	}
	each := make([]int, len(b))
	for i := range b {
		each[i] = i + 1
		same(fmt.Sprintf("cut at %d", i), decode(b, overhead, 0, i, len(b)))
	}
	same("byte by byte", decode(b, overhead, 0, each...))
	same("with little room", decode(b, overhead, 3, len(b)))
	if want.done {
		behind := append(bytes.Clone(b), marker...)
		same("with a marker behind it", decode(behind, overhead, 0, len(behind)))
	}
	switch {
	case want.err != nil:
		return fmt.Sprintf("%d %s\n", want.err.Status, want.err.Reason)
	case !want.done:
		return "more\n"
	}
	s := fmt.Sprintf("%q\n%s", want.body, want.fields)
	if len(s) > 300 {
		s = fmt.Sprintf("%d bytes\n", len(want.body))
	}
	if rest := b[want.took:]; len(rest) > 0 {
		s += fmt.Sprintf("behind it: %q\n", rest)
	}
	return s
}
