// Package migrate turns the configuration of the balancers that came before, Apache
// httpd with mod_cluster or mod_proxy_cluster and WildFly or Undertow, into a
// configuration of quorate and a report of what became of every directive.
//
//	files ──► parse (httpd.go, xml.go) ──► convert (directives.go, hosts.go, wildfly.go) ──► document, report
//
// The rules are those of spec/directives.md §5. Nothing is dropped silently: what is
// not in the document is in the report.
package migrate

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Kind says what became of a directive.
type Kind byte

const (
	Copied    Kind = '=' // the same value under another name
	Converted Kind = '~' // something that does the same, or nearly
	Manual    Kind = '!' // to be done by hand, or to be done without
	Needless  Kind = '-' // quorate needs nothing of the kind
)

// MarshalText writes the kind as the report does.
func (k Kind) MarshalText() ([]byte, error) { return []byte{byte(k)}, nil }

// Item is one line of the report.
type Item struct {
	File      string `json:"file"`
	Line      int    `json:"line"`
	Directive string `json:"directive"`
	Value     string `json:"value"` // as it stands, but for secrets
	Kind      Kind   `json:"kind"`
	Path      string `json:"path"` // in the document; "" for none
	Note      string `json:"note"`
}

// Secret is a file that the document names.
type Secret struct {
	Name string
	Text []byte
}

// Result of a conversion. Warnings are what everybody must know.
type Result struct {
	Document []byte
	Items    []Item
	Warnings []string
	Secrets  []Secret
}

// Count says how many directives are of a kind.
func (r *Result) Count(kinds ...Kind) int {
	n := 0
	for _, i := range r.Items {
		if slices.Contains(kinds, i.Kind) {
			n++
		}
	}
	return n
}

// Options of a conversion.
type Options struct {
	Defines []string // names for IfDefine, as httpd -D gives them
	Secrets string   // folder that the document names for secrets
}

// Files opens and lists what a configuration includes; names are as the operating
// system takes them.
type Files interface {
	ReadFile(name string) ([]byte, error)
	Glob(pattern string) ([]string, error)
}

// Error is why a configuration cannot be converted at all.
type Error struct {
	File string
	Line int // 0: the whole file
	Err  error
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Convert reads the named files, which are all of httpd or one of WildFly, and what
// they include. An error is an *Error: unreadable, or no configuration.
func Convert(files Files, names []string, o Options) (*Result, error) {
	texts := make([][]byte, len(names))
	for i, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, &Error{File: name, Err: cause(err)}
		}
		texts[i] = text
		if i > 0 && isXML(text) != isXML(texts[0]) {
			return nil, &Error{File: name, Err: errors.New("httpd and WildFly together: give them one after the other")}
		}
	}
	if len(names) == 0 {
		return nil, errors.New("no file was named")
	}
	c := &converter{doc: newDocument(), defaults: defaults(), secrets: o.Secrets, order: map[string]int{}}
	var err error
	if isXML(texts[0]) {
		if len(names) > 1 {
			return nil, &Error{File: names[1], Err: errors.New("one file of WildFly at a time")}
		}
		err = c.wildfly(names[0], texts[0])
	} else {
		err = c.httpd(files, names, texts, o.Defines)
	}
	if err != nil {
		return nil, err
	}
	return c.result()
}

// cause drops the operation and the name from an error of package os.
func cause(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// isXML tells WildFly's files from httpd's, which may begin with a section.
func isXML(text []byte) bool {
	text = bytes.TrimPrefix(bytes.TrimSpace(text), []byte("\xef\xbb\xbf"))
	for _, first := range []string{"<?xml", "<server", "<domain", "<!--", "<subsystem"} {
		if bytes.HasPrefix(text, []byte(first)) {
			return true
		}
	}
	return false
}

// converter collects the results of a conversion.
type converter struct {
	doc      *document
	defaults map[string]string // of every scalar key, as the effective configuration prints them
	items    []Item
	warnings []string
	files    []Secret
	secrets  string
	order    map[string]int // of the files, as they were read
}

// note adds a line to the report.
func (c *converter) note(d *directive, kind Kind, path, note string) {
	c.items = append(c.items, Item{d.file, d.line, d.name, strings.Join(d.args, " "), kind, path, note})
}

// secret writes a value to a file of its own, and the name of the file to the document.
func (c *converter) secret(d *directive, path, name, value string) {
	file := name
	if c.secrets != "" {
		file = strings.TrimSuffix(c.secrets, "/") + "/" + name
	}
	for i := range c.files {
		if c.files[i].Name == name {
			c.files[i].Text = []byte(value + "\n")
			c.set(d, path, file)
			return
		}
	}
	c.files = append(c.files, Secret{name, []byte(value + "\n")})
	c.set(d, path, file)
}

func (c *converter) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	for _, w := range c.warnings {
		if w == text {
			return
		}
	}
	c.warnings = append(c.warnings, text)
}

// set writes a value unless it is the default. The later of two wins.
func (c *converter) set(d *directive, path, value string) {
	if is, known := c.defaults[path]; known && same(is, value) {
		c.doc.remove(path)
		return
	}
	c.doc.set(path, value, d.where())
}

func (c *converter) result() (*Result, error) {
	text, err := c.doc.text()
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(c.items, func(a, b Item) int {
		return cmp.Or(cmp.Compare(c.order[a.File], c.order[b.File]), cmp.Compare(a.Line, b.Line))
	})
	return &Result{Document: text, Items: c.items, Warnings: c.warnings, Secrets: c.files}, nil
}

// Report is the report as text, a line per directive, in the order of the files; those
// that need nothing are left out unless all is set.
func (r *Result) Report(all bool) string {
	var b strings.Builder
	where := 0
	for _, i := range r.Items {
		where = max(where, len(place(i)))
	}
	for _, i := range r.Items {
		if i.Kind == Needless && !all {
			continue
		}
		fmt.Fprintf(&b, "%-*s  %c  %s", where, place(i), i.Kind, i.Directive)
		if i.Value != "" {
			b.WriteString(" " + i.Value)
		}
		if i.Path != "" {
			b.WriteString(" -> " + i.Path)
		}
		if i.Note != "" {
			b.WriteString(separator(i) + i.Note)
		}
		b.WriteByte('\n')
	}
	for _, w := range r.Warnings {
		b.WriteString("warning: " + w + "\n")
	}
	fmt.Fprintf(&b, "%d carried over, %d by hand, %d not needed\n", r.Count(Copied, Converted), r.Count(Manual), r.Count(Needless))
	return b.String()
}

func place(i Item) string { return fmt.Sprintf("%s:%d", i.File, i.Line) }

func separator(i Item) string {
	if i.Path == "" && i.Kind == Manual {
		return " -> no equal: "
	}
	return ": "
}
