package migrate

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// directive is a line of httpd's configuration, or a section with all that is in it.
// Attributes of WildFly's elements become directives, too.
type directive struct {
	file    string
	line    int
	name    string // as it was written
	args    []string
	section bool
	body    []*directive
}

func (d *directive) where() string { return fmt.Sprintf("%s:%d", d.file, d.line) }

// is compares the name; httpd's are in any case.
func (d *directive) is(name string) bool { return strings.EqualFold(d.name, name) }

// arg is the n-th argument, "" where there is none.
func (d *directive) arg(n int) string {
	if n < len(d.args) {
		return d.args[n]
	}
	return ""
}

const (
	maxDepth = 32 // of sections and of files that include each other
	maxLines = 100_000
)

// line is one line with what is continued behind it.
type line struct {
	number int
	text   string
}

// lines splits a file: comments and empty lines are dropped, and a line that ends in a
// backslash goes on (httpd: core, configuration files).
func lines(text []byte) []line {
	var all []line
	var whole strings.Builder
	begun, number := 0, 0
	for raw := range strings.SplitSeq(string(text), "\n") {
		number++
		raw = strings.TrimSuffix(raw, "\r")
		if begun == 0 {
			begun = number
		}
		if more, ok := strings.CutSuffix(raw, `\`); ok {
			whole.WriteString(more)
			continue
		}
		whole.WriteString(raw)
		if s := strings.TrimSpace(whole.String()); s != "" && s[0] != '#' {
			all = append(all, line{begun, s})
		}
		whole.Reset()
		begun = 0
	}
	if s := strings.TrimSpace(whole.String()); s != "" && s[0] != '#' {
		all = append(all, line{begun, s})
	}
	return all
}

// words splits a line as httpd does: blanks divide, quotes of either kind hold together,
// a backslash before a quote or itself is dropped within quotes.
func words(s string) ([]string, error) {
	var all []string
	for s = strings.TrimLeft(s, " \t"); s != ""; s = strings.TrimLeft(s, " \t") {
		if quote := s[0]; quote == '"' || quote == '\'' {
			var b strings.Builder
			i := 1
			for ; i < len(s) && s[i] != quote; i++ {
				if s[i] == '\\' && i+1 < len(s) && (s[i+1] == quote || s[i+1] == '\\') {
					i++
				}
				b.WriteByte(s[i])
			}
			if i >= len(s) {
				return nil, errors.New("a quote is not closed")
			}
			all, s = append(all, b.String()), s[i+1:]
			continue
		}
		end := strings.IndexAny(s, " \t")
		if end < 0 {
			end = len(s)
		}
		all, s = append(all, s[:end]), s[end:]
	}
	return all, nil
}

// reader evaluates httpd's files into one tree.
type reader struct {
	c       *converter
	root    string // ServerRoot
	vars    map[string]string
	flags   map[string]bool // of IfDefine
	modules map[string]bool
	reading map[string]bool // files that are open
	asked   bool            // there is an IfModule
	read    int             // lines
}

// httpd converts a configuration of Apache httpd.
func (c *converter) httpd(names []string, texts [][]byte, defines []string) error {
	r := &reader{c: c, vars: map[string]string{}, flags: map[string]bool{}, modules: map[string]bool{}, reading: map[string]bool{}}
	for _, d := range defines {
		r.flags[d] = true
	}
	server := &directive{section: true}
	for i, name := range names {
		if c.root == "" {
			r.root = path.Dir(name)
		}
		if err := r.file(server, name, texts[i], 0); err != nil {
			return err
		}
	}
	if len(server.body) == 0 {
		return &Error{File: names[0], Err: errors.New("no directive is in it: not a configuration")}
	}
	if r.asked && len(r.modules) == 0 {
		c.warn("no LoadModule was read, so no IfModule holds: name the file that has them, too")
	}
	return c.convert(server)
}

// file adds what a file says to a section.
func (r *reader) file(into *directive, name string, text []byte, depth int) error {
	if depth > maxDepth || r.reading[name] {
		return &Error{File: name, Err: errors.New("files include each other without end")}
	}
	r.reading[name] = true
	defer delete(r.reading, name)
	if _, again := r.c.order[name]; !again {
		r.c.order[name] = len(r.c.order)
	}
	open := []*directive{into}
	skipped := 0 // sections that do not count
	for _, l := range lines(text) {
		if r.read++; r.read > maxLines {
			return &Error{name, l.number, errors.New("more lines than a configuration has")}
		}
		fail := func(format string, args ...any) error { return &Error{name, l.number, fmt.Errorf(format, args...)} }
		if end, ok := strings.CutPrefix(l.text, "</"); ok {
			end = strings.TrimSuffix(strings.TrimSpace(end), ">")
			top := open[len(open)-1]
			switch {
			case skipped > 0:
				skipped--
			case len(open) == 1 || !top.is(end):
				return fail("</%s> closes nothing", end)
			default:
				open = open[:len(open)-1]
			}
			continue
		}
		inner, section := strings.CutPrefix(l.text, "<")
		if section {
			if inner, section = strings.CutSuffix(inner, ">"); !section {
				return fail("%s: > is missing", begin(l.text))
			}
			if skipped > 0 {
				skipped++
				r.skip(name, l, inner)
				continue
			}
		} else if skipped > 0 {
			r.skip(name, l, l.text)
			continue
		} else {
			inner = l.text
		}
		args, err := words(r.substitute(inner))
		if err != nil || len(args) == 0 {
			return fail("%s: %v", begin(l.text), cmp.Or(err, errors.New("no name")))
		}
		d := &directive{file: name, line: l.number, name: args[0], args: args[1:], section: section}
		if section {
			if len(open) > maxDepth {
				return fail("sections are nested without end")
			}
			if holds, known := r.condition(d); known {
				if !holds {
					skipped = 1
					continue
				}
				open = append(open, &directive{name: d.name, section: true}) // what is in it belongs to the section around it
				continue
			}
			holder := enclosing(open)
			holder.body = append(holder.body, d)
			open = append(open, d)
			continue
		}
		if err := r.directive(enclosing(open), d, depth); err != nil {
			return err
		}
	}
	if len(open) > 1 || skipped > 0 {
		return &Error{File: name, Err: fmt.Errorf("<%s> is not closed", open[len(open)-1].name)}
	}
	return nil
}

// skip reports a line within a section that does not hold.
func (r *reader) skip(file string, l line, text string) {
	d := &directive{file: file, line: l.number, name: begin(text)}
	if args, err := words(r.substitute(text)); err == nil && len(args) > 0 {
		d.name, d.args = args[0], args[1:]
	}
	r.c.note(d, Needless, "", "its section does not hold")
}

// begin is the first word of a line. The others may be secret.
func begin(text string) string {
	if i := strings.IndexAny(text, " \t"); i >= 0 {
		return text[:i]
	}
	return text
}

// enclosing is the innermost section that is no condition.
func enclosing(open []*directive) *directive {
	for _, d := range slices.Backward(open) {
		if d.file != "" || d == open[0] {
			return d
		}
	}
	return open[0]
}

// condition evaluates a section that only decides whether its contents count.
func (r *reader) condition(d *directive) (holds, known bool) {
	what, not := strings.CutPrefix(d.arg(0), "!")
	switch strings.ToLower(d.name) {
	case "ifmodule":
		holds = r.modules[module(what)] || slices.Contains(linked, module(what))
		r.asked = true
	case "ifdefine":
		_, defined := r.vars[what]
		holds = defined || r.flags[what]
	case "ifversion", "iffile", "ifdirective", "ifsection":
		r.c.note(d, Manual, "", "taken as if it held")
		return true, true
	default:
		return false, false
	}
	note := "does not hold"
	if holds != not {
		note = "holds: see what is in it"
	}
	r.c.note(d, Needless, "", note)
	return holds != not, true
}

// linked are the modules that distributions build into httpd: they have no LoadModule.
var linked = []string{"core", "so", "http", "http_core", "unixd", "log_config", "logio", "version", "watchdog"}

// module brings mod_ssl.c and ssl_module to one form.
func module(s string) string {
	s = strings.ToLower(path.Base(s))
	s = strings.TrimSuffix(strings.TrimSuffix(s, ".c"), ".so")
	s = strings.TrimPrefix(s, "mod_")
	return strings.TrimSuffix(s, "_module")
}

// substitute puts in what Define has said; what nobody defined stays as it is.
func (r *reader) substitute(s string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "${")
		name, after, closed := strings.Cut(rest, "}")
		if !ok || !closed {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(before)
		if value, known := r.vars[name]; known {
			b.WriteString(value)
		} else {
			b.WriteString("${" + name + "}")
		}
		s = after
	}
}

// directive adds a line to its section; those that steer the reading act here.
func (r *reader) directive(into, d *directive, depth int) error {
	switch strings.ToLower(d.name) {
	case "define":
		r.vars[d.arg(0)] = d.arg(1)
		r.c.note(d, Needless, "", "its value was put in")
	case "undefine":
		delete(r.vars, d.arg(0))
		r.c.note(d, Needless, "", "")
	case "serverroot":
		r.root, r.c.root = d.arg(0), d.arg(0)
		r.c.note(d, Needless, "", "")
	case "loadmodule":
		r.modules[module(d.arg(0))] = true
		r.modules[module(d.arg(1))] = true
		r.c.note(d, Needless, "", "")
	case "include", "includeoptional":
		return r.include(into, d, depth)
	default:
		into.body = append(into.body, d)
	}
	return nil
}

// include reads the files a pattern names, in the order of their names.
func (r *reader) include(into, d *directive, depth int) error {
	pattern := d.arg(0)
	if pattern == "" {
		return &Error{d.file, d.line, fmt.Errorf("%s names no file", d.name)}
	}
	if !path.IsAbs(pattern) {
		pattern = path.Join(r.root, pattern)
	}
	names, err := r.c.files.Glob(pattern)
	if err != nil {
		return &Error{d.file, d.line, fmt.Errorf("%s %s: %w", d.name, pattern, err)}
	}
	if len(names) == 0 {
		switch {
		case d.is("IncludeOptional"):
			r.c.note(d, Needless, "", "no such file")
		default:
			r.c.note(d, Manual, "", "no such file here: what it says was not converted")
		}
		return nil
	}
	r.c.note(d, Needless, "", fmt.Sprintf("%d read", len(names)))
	slices.Sort(names)
	return r.each(into, d, names, depth)
}

// each reads included files; of a folder all that is in it, as httpd does.
func (r *reader) each(into, d *directive, names []string, depth int) error {
	if depth > maxDepth {
		return &Error{d.file, d.line, errors.New("files include each other without end")}
	}
	for _, name := range names {
		text, err := r.c.files.ReadFile(name)
		if err != nil {
			if inside, gerr := r.c.files.Glob(path.Join(name, "*")); gerr == nil && len(inside) > 0 {
				slices.Sort(inside)
				if err := r.each(into, d, inside, depth+1); err != nil {
					return err
				}
				continue
			}
		}
		if err != nil {
			return &Error{d.file, d.line, fmt.Errorf("%s %s: %w", d.name, name, cause(err))}
		}
		if err := r.file(into, name, text, depth+1); err != nil {
			return err
		}
	}
	return nil
}
