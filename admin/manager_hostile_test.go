package admin

import (
	"encoding/xml"
	"html/template"
	"io"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/fsm"
)

// shape is a page without what it says: its elements with the names of their
// attributes, in order. Every link must stay on the page.
func shape(t interface{ Fatalf(string, ...any) }, text string) (elements []string) {
	d := xml.NewDecoder(strings.NewReader(text))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	for {
		token, err := d.Token()
		if err == io.EOF {
			return elements
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if e, ok := token.(xml.StartElement); ok {
			name := e.Name.Local
			for _, a := range e.Attr {
				name += " " + a.Name.Local
				if a.Name.Local == "href" && !strings.HasPrefix(a.Value, "?nonce=NONCE") {
					t.Fatalf("link to %q", a.Value)
				}
			}
			elements = append(elements, name)
		}
	}
}

// spoken renders a page in which every name that a worker or an operator chooses is s.
func spoken(t interface{ Fatalf(string, ...any) }, s string) string {
	n := &fsm.Node{Route: fsm.JVMRoute(s), Hold: fsm.Hold{Mode: fsm.HoldDrain, By: s, Reason: s}}
	n.Config = fsm.NodeConfig{Balancer: s, Domain: s, Type: s, Host: s}
	n.VHosts = []fsm.VHost{{ID: 1, Aliases: []string{s, s}, Contexts: []fsm.Context{
		{Path: fsm.Path(s), Status: fsm.Stopped, Hold: fsm.Hold{Mode: fsm.HoldAll, By: s}}}}}
	m := newManager(&Server{}, Manager{AllowCmd: true,
		Seen:     func(n *fsm.Node) Seen { return Seen{Node: n, Status: "draining", Why: s} },
		Requests: func(fsm.JVMRoute, int, fsm.Path) int64 { return 0 },
	})
	m.nonce = "NONCE"
	var b strings.Builder
	for _, p := range []page{
		{Groups: m.groups([]*fsm.Node{n}), Refresh: m.link(), Dump: m.link(), Info: m.link()},
		{Failed: "Command failed", Mess: s, Continue: m.link()},
	} {
		p.Product, p.Replica, p.Style = "quorate/"+s, s, template.CSS("/* style */")
		if err := m.page.Execute(&b, p); err != nil {
			t.Fatalf("%v", err)
		}
	}
	return b.String()
}

// Whatever the names are, the page has the same elements, attributes and targets.
func TestHostileNamesStayText(t *testing.T) {
	plain := shape(t, spoken(t, "a"))
	if len(plain) < 60 || !slices.Contains(plain, "a href") {
		t.Fatalf("the shape of a page is %q", plain)
	}
	for _, s := range []string{
		"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, "</style><script>", "</title><b>",
		"javascript:alert(1)", "data:text/html,x", "&lt;b&gt;", "&#60;b&#62;", "<!--", "]]>", "{{.}}", "\x00\xff\xfe<b>", "\u2028<b>", "a&b=c&Cmd=STOP-APP", "a+b c%41#d?e",
		"\r\nSet-Cookie: a=b", "//evil.example.com", "`<b>`",
	} {
		page := spoken(t, s)
		if got := shape(t, strings.Map(printable, page)); !slices.Equal(got, plain) {
			t.Errorf("%q changes the page:\n%s", s, page)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune(`<>"'&=/;:#%+-!? ab`)))).Draw(t, "name")
		if s == "" {
			s = "a" // an empty domain is said in words of ours
		}
		page := spoken(t, s)
		if got := shape(t, strings.Map(printable, page)); !slices.Equal(got, plain) {
			t.Fatalf("%q changes the page:\n%s", s, page)
		}
	})
}

// printable drops what encoding/xml does not read at all; browsers show a box for it.
func printable(c rune) rune {
	if c < ' ' && c != '\n' && c != '\t' && c != '\r' || c == 0xfffe || c == 0xffff {
		return -1
	}
	return c
}

// FuzzManagerQuery: a query is read or refused; what link writes is read back.
func FuzzManagerQuery(f *testing.F) {
	f.Add("nonce=1&Cmd=STOP-APP&Range=CONTEXT&JVMRoute=w1&Alias=a,b&Context=%2Fshop", "/a+b c")
	f.Add("a=1&&b", "\r\n<>&=%")
	f.Add("Refresh=%zz", "")
	m := &manager{nonce: "N"}
	f.Fuzz(func(t *testing.T, raw, value string) {
		if q, err := parseQuery(raw); err == nil {
			for name := range q {
				if name != strings.ToLower(name) {
					t.Fatalf("%q keeps the name %q", raw, name)
				}
			}
			plan(fsm.New(), q)
		}
		q, err := parseQuery(m.link("JVMRoute", value, "Context", value)[1:])
		if err != nil || q["nonce"] != "N" || q["jvmroute"] != value || q["context"] != value || len(q) != 3 {
			t.Fatalf("%q came back as %q, %v", value, q, err)
		}
	})
}
