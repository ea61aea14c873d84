package route

import (
	"slices"
	"strings"
	"testing"
)

var pathSeeds = []string{
	"/", "/app", "/app/x;jsessionid=8F.w1?q", "//a//b", "/a%2Fb", "/a/%2e%2e/b", "/a/..;x", "/%", "/a;b/;c", "/a%5Cb", "/%00", "/a?b?c", "/a/b/..",
}

// What is matched has no dot segments, and what is sent is matched the same.
func FuzzParsePath(f *testing.F) {
	for i, s := range pathSeeds {
		f.Add(s, uint8(i))
	}
	f.Fuzz(func(t *testing.T, target string, options uint8) {
		o := PathOptions{EncodedSlash: EncodedSlash(options % 3), ResolveDots: options&4 != 0, MergeSlashes: options&8 != 0}
		p, why := ParsePath(target, o)
		if why != None {
			if why > EmptySegment {
				t.Fatalf("%q refused: %s", target, why)
			}
			return
		}
		for _, s := range strings.Split(p.Match, "/") {
			if s == "." || s == ".." {
				t.Fatalf("%q is matched as %q", target, p.Match)
			}
		}
		if !strings.HasPrefix(p.Match, "/") || !strings.HasPrefix(p.Target, "/") || p.Sent()+p.Query() != p.Target {
			t.Fatalf("%q: %+v", target, p)
		}
		if _, query, _ := strings.Cut(target, "?"); p.Query() != "" && p.Query() != "?"+query {
			t.Fatalf("%q: query %q", target, p.Query())
		}
		again, why := ParsePath(p.Target, o)
		if why != None || again != p {
			t.Fatalf("%q is sent as %q, which is %s, %+v, not %+v", target, p.Target, why, again, p)
		}
		empty := strings.Contains(p.Match[:len(p.Match)-1], "//") || strings.HasSuffix(p.Match, "//")
		if empty != (p.Collapsed != "") || strings.Contains(p.Collapsed, "//") {
			t.Fatalf("%q: %q collapses to %q", target, p.Match, p.Collapsed)
		}
		if empty && o.MergeSlashes {
			t.Fatalf("%q: %q is not merged", target, p.Match)
		}
		// The strict form is a part of the liberal ones.
		if strict, why := ParsePath(target, PathOptions{}); why == None && !o.MergeSlashes && strict != p {
			t.Fatalf("%q: strictly %+v, with %+v %+v", target, strict, o, p)
		}
	})
}

func TestHostOf(t *testing.T) {
	for host, want := range map[string]string{
		"":                     "",
		"localhost":            "localhost",
		"LocalHost:8080":       "localhost",
		"www.example.com.":     "www.example.com",
		"www.example.com.:443": "www.example.com",
		"[::1]":                "[::1]",
		"[FE80::1]:8080":       "[fe80::1]",
		"10.0.0.1:80":          "10.0.0.1",
	} {
		if got, _ := hostOf(host, nil); got != want {
			t.Errorf("hostOf(%q) = %q, want %q", host, got, want)
		}
	}
}

func TestCookieValue(t *testing.T) {
	for _, c := range []struct {
		want  string
		lines []string
	}{
		{"8F.w1", []string{"SID=8F.w1"}},
		{"8F.w1", []string{"a=b; SID=8F.w1; c=d"}},
		{"8F.w1", []string{"a=b,SID=8F.w1,c=d"}},
		{"8F.w1", []string{"a=b SID=8F.w1"}},
		{"8F.w1", []string{"SID = 8F.w1 ; c=d"}},
		{"8F.w1", []string{`SID="8F.w1"`}},
		{"8F.w1", []string{"a=b", "c=d; SID=8F.w1"}},
		{"1", []string{"SID=1; SID=2", "SID=3"}},
		{"2", []string{"SID=; SID=2"}},
		{"2", []string{"XSID=1; SID=2"}},
		{"2", []string{"SIDE=1; SID=2"}},
		{"2", []string{"x=SID; SID=2"}},
		{`"1`, []string{`SID="1`}},
		{"", []string{"sid=1; XSID=2; SIDX=3; SID"}},
		{"", []string{`SID=""`}},
		{"", nil},
	} {
		if got := cookieValue(c.lines, "SID"); got != c.want {
			t.Errorf("cookie of %q: %q, want %q", c.lines, got, c.want)
		}
	}
	if got := cookieValue([]string{"=1; SID=2"}, ""); got != "" {
		t.Errorf("a cookie without a name: %q", got)
	}
}

func TestStripSession(t *testing.T) {
	names := &Policy{Cookie: "SID", PathParam: "sid"}
	for _, c := range []struct {
		target, want string
		lines, left  []string
	}{
		{"/a?sid=1", "/a?sid=1", []string{"a=b; SIDE=1"}, []string{"a=b; SIDE=1"}},
		{"/a;sid=1/b;x;sid=2;y?q", "/a/b;x;y?q", nil, nil},
		{"/a;sid=1", "/a", []string{"SID=1"}, nil},
		{"/", "/", []string{"SID=1; a=b"}, []string{"a=b"}},
		{"/", "/", []string{"a=b; SID=1"}, []string{"a=b"}},
		{"/", "/", []string{"a=b; SID=1; c=d, SID=2,SID=\"3\""}, []string{"a=b; c=d"}},
		{"/", "/", []string{"SID=1", "a=b"}, []string{"a=b"}},
	} {
		p, why := ParsePath(c.target, PathOptions{})
		if why != None {
			t.Fatal(why)
		}
		target, left := StripSession(&p, c.lines, names)
		if target != c.want || !slices.Equal(left, c.left) {
			t.Errorf("strip %s %q: %s %q, want %s %q", c.target, c.lines, target, left, c.want, c.left)
		}
	}
}

// What was stripped has no session any more, and nothing but the session is gone.
func FuzzStripSession(f *testing.F) {
	f.Add("/a;sid=1/b;x;sid=2", "a=b; SID=1; SID=2,c=d")
	f.Add("/;sid=;sid=1;sid", "SID=;SID=\"1\" SID = 3 ; XSID=4")
	f.Fuzz(func(t *testing.T, target, line string) {
		p, why := ParsePath(target, PathOptions{})
		if why != None {
			return
		}
		names := &Policy{Cookie: "SID", PathParam: "sid"}
		sent, left := StripSession(&p, []string{line}, names)
		again, why := ParsePath(sent, PathOptions{})
		if why != None || again.Match != p.Match || again.Query() != p.Query() {
			t.Fatalf("%q stripped is %q: %s, %+v", target, sent, why, again)
		}
		x := NewFacts("", again, left)
		var s session
		if s.read(&x, names); s.id != "" {
			t.Fatalf("%q %q stripped is %q %q: session %q", target, line, sent, left, s.id)
		}
		if cookieValue([]string{line}, "SID") == "" && line != "" && !slices.Equal(left, []string{line}) {
			if _, start, end := findCookie(line, "SID", 0); start == end {
				t.Fatalf("%q without a session became %q", line, left)
			}
		}
	})
}
