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

	"github.com/quorate/quorate/config"
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
	c := &converter{doc: newDocument(), defaults: defaults(), secrets: o.Secrets, files: files, order: map[string]int{}}
	var err error
	if isXML(texts[0]) {
		if len(names) > 1 {
			return nil, &Error{File: names[1], Err: errors.New("one file of WildFly at a time")}
		}
		err = c.wildfly(names[0], texts[0])
	} else {
		err = c.httpd(names, texts, o.Defines)
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
	kept     []Secret
	secrets  string
	hidden   []string       // what must not be told
	order    map[string]int // of the files, as they were read
	files    Files
	root     string // ServerRoot, once it was said
}

// note adds a line to the report.
func (c *converter) note(d *directive, kind Kind, path, note string) {
	c.items = append(c.items, Item{d.file, d.line, d.name, c.shown(d), kind, path, note})
}

// secret writes a value to a file of its own, and the name of the file to the document.
func (c *converter) secret(d *directive, path, name, value string) {
	file := name
	if c.secrets != "" {
		file = strings.TrimSuffix(c.secrets, "/") + "/" + name
	}
	if value == "" || strings.Contains(value, "${") {
		c.note(d, Manual, path, "its value is not said here: write it to "+file)
		return
	}
	c.hide(value)
	c.note(d, Converted, path, "in a file of its own")
	c.set(d, path, file)
	for i := range c.kept {
		if c.kept[i].Name == name {
			c.kept[i].Text = []byte(value + "\n")
			return
		}
	}
	c.kept = append(c.kept, Secret{name, []byte(value + "\n")})
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
	if rule := refused(path, value); rule != "" {
		c.note(d, Manual, path, fmt.Sprintf("%s is left out: %s", value, rule))
		return
	}
	c.doc.set(path, value, d.where())
}

// refused says why quorate would not take a value; "" if it does. Files need not be
// there yet.
func refused(path, value string) string {
	if strings.HasSuffix(path, "_file") {
		return ""
	}
	_, err := config.Load(config.Source{Set: []string{"replica.name=x", path + "=" + value}})
	if all, ok := errors.AsType[config.Errors](err); ok {
		for _, e := range all.List {
			if e.Key == path {
				return e.Rule
			}
		}
	}
	return ""
}

func (c *converter) result() (*Result, error) {
	text, err := c.doc.text()
	if err != nil {
		return nil, err
	}
	for i := range c.items {
		c.items[i].Value, c.items[i].Note = c.without(c.items[i].Value), c.without(c.items[i].Note)
	}
	for i := range c.warnings {
		c.warnings[i] = c.without(c.warnings[i])
	}
	slices.SortStableFunc(c.items, func(a, b Item) int {
		return cmp.Or(cmp.Compare(c.order[a.File], c.order[b.File]), cmp.Compare(a.Line, b.Line))
	})
	return &Result{Document: text, Items: c.items, Warnings: c.warnings, Secrets: c.kept}, nil
}
