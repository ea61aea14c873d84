package config

import (
	"cmp"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// KeysSet counts the keys that were given, in the file, the environment or by --set.
// A list is one key.
func (c *Config) KeysSet() int {
	n := 0
	count(reflect.ValueOf(c).Elem(), "", func(path string) {
		if c.Given(path) {
			n++
		}
	})
	return n
}

// count visits every key below a section once, lists of sections as one.
func count(v reflect.Value, path string, visit func(path string)) {
	for _, f := range fieldsOf(v.Type()) {
		if at := join(path, f.name); isSection(f.typ) {
			count(v.FieldByIndex(f.index), at, visit)
		} else {
			visit(at)
		}
	}
}

// Given reports whether a key, or one below it, was written anywhere: false means
// that all of it has its default. Paths are as in errors: shared.affinity.mode.
func (c *Config) Given(path string) bool { return c.origins.under(path) }

// Difference is one key that two configurations give different values.
type Difference struct {
	Key  string // shared.voters
	A, B string // as they are written in the file
}

// Differences compares what is held in the log, key by key, in the order of the file.
func Differences(a, b Shared) []Difference {
	var all []Difference
	compare(reflect.ValueOf(a), reflect.ValueOf(b), "shared", func(key string, a, b reflect.Value) {
		if left, right := flow(a), flow(b); left != right {
			all = append(all, Difference{key, left, right})
		}
	})
	return all
}

func compare(a, b reflect.Value, path string, visit func(key string, a, b reflect.Value)) {
	for _, f := range fieldsOf(a.Type()) {
		x, y, at := a.FieldByIndex(f.index), b.FieldByIndex(f.index), join(path, f.name)
		if isSection(f.typ) {
			compare(x, y, at, visit)
		} else {
			visit(at, x, y)
		}
	}
}

const commentColumn = 48 // where the source of a value stands, if the value leaves room

// Effective writes the whole configuration as YAML, each line that has a value
// with its source. Read again it gives the same configuration.
func (c *Config) Effective(w io.Writer) error {
	p := printer{origins: c.origins}
	p.section(reflect.ValueOf(c).Elem(), "", "")
	_, err := io.WriteString(w, p.out.String())
	return err
}

// printer writes block YAML.
type printer struct {
	out     strings.Builder
	origins origins
}

func (p *printer) section(v reflect.Value, path, indent string) {
	for _, f := range fieldsOf(v.Type()) {
		if f.tag.Get("later") != "" {
			continue
		}
		fv, at := v.FieldByIndex(f.index), join(path, f.name)
		switch {
		case isSection(f.typ):
			p.out.WriteString(indent + f.name + ":\n")
			p.section(fv, at, indent+"  ")
		case isOptional(f.typ):
			if !fv.IsNil() {
				p.out.WriteString(indent + f.name + ":\n")
				p.section(fv.Elem(), at, indent+"  ")
			}
		case isObjects(f.typ) && fv.Len() > 0:
			p.out.WriteString(indent + f.name + ":\n")
			for i := range fv.Len() {
				p.item(fv.Index(i), indexed(at, i), indent+"  ")
			}
		default:
			p.line(indent+f.name+": "+flow(fv), at, f.tag.Get("short") != "")
		}
	}
}

// item writes a section of a list, its first key behind the dash.
func (p *printer) item(v reflect.Value, path, indent string) {
	inner := printer{origins: p.origins}
	inner.section(v, path, indent+"  ")
	p.out.WriteString(indent + "- " + strings.TrimLeft(inner.out.String(), " "))
}

// line ends a line with the source of the value at path: all of them, if items of a
// list came from different places. A short value may be written in its item's place.
func (p *printer) line(text, path string, short bool) {
	at, found := p.origins[path]
	if !found {
		at = origin{place: "default"}
		if short {
			at = p.origins.find(path)
		}
	}
	sources := []origin{at}
	for key, item := range p.origins {
		if inside(key, path) && item.order >= orderEnv {
			sources = append(sources, item)
		}
	}
	slices.SortFunc(sources, func(a, b origin) int { return cmp.Compare(a.order, b.order) })
	comment := ""
	for i, at := range sources {
		if i == 0 || at.place != sources[i-1].place {
			comment += ", " + at.place
		}
	}
	if inside(path, "shared") {
		comment += ", cluster-wide"
	}
	fmt.Fprintf(&p.out, "%-*s  # %s\n", commentColumn, text, comment[len(", "):])
}

// flow gives a value in one line of YAML.
func flow(v reflect.Value) string {
	if isAuto(v.Type()) {
		if !v.FieldByName("Given").Bool() {
			return "auto"
		}
		return flow(v.FieldByName("Value"))
	}
	switch {
	case isList(v.Type()):
		items := make([]string, v.Len())
		for i := range items {
			items[i] = flow(v.Index(i))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case v.Kind() == reflect.Map:
		items := entries(v)
		for i, k := range items {
			items[i] = k + ": " + v.MapIndex(reflect.ValueOf(k)).String()
		}
		return "{" + strings.Join(items, ", ") + "}"
	case isSection(v.Type()):
		keys := []string{}
		for _, f := range fieldsOf(v.Type()) {
			if fv := v.FieldByIndex(f.index); !isDefault(fv, f.tag) {
				keys = append(keys, f.name+": "+flow(fv))
			}
		}
		return "{" + strings.Join(keys, ", ") + "}"
	case isOptional(v.Type()):
		return flow(v.Elem())
	}
	if v.Kind() == reflect.String {
		return quote(v.String())
	}
	return formatText(v)
}

// plain texts need no quotes in YAML, unless they read as something else.
var plain = regexp.MustCompile(`^([A-Za-z0-9/]|\.[A-Za-z0-9/])([A-Za-z0-9/._:@%+-]*[A-Za-z0-9/._@%+-])?$`)

// quote makes s a YAML scalar that is read as a string.
func quote(s string) string {
	scalar := yaml.Node{Kind: yaml.ScalarNode, Value: s}
	if plain.MatchString(s) && scalar.ShortTag() == "!!str" {
		return s
	}
	return strconv.Quote(s)
}
