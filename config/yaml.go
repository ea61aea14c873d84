package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// file reads the YAML file into root. Its error is about reading alone.
func (l *loader) file(root reflect.Value, name string) error {
	text, err := readFile(name)
	if err != nil {
		return fmt.Errorf("configuration %s: %w", name, err)
	}
	if line := lineOfRubbish(text); line > 0 {
		l.failWhole(l.line(line, 0), "not YAML: must be UTF-8 without control characters")
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		l.notYAML(text, err)
		return nil
	}
	l.node(root, "", doc.Content[0], false)
	if err := dec.Decode(&more); err == nil {
		l.failWhole(l.lineOf(&more), "a second document: put everything into one")
	} else if !errors.Is(err, io.EOF) {
		l.notYAML(text, err)
	}
	return nil
}

// failWhole notes something wrong that is not about one key.
func (l *loader) failWhole(at origin, rule string) {
	l.errs.List = append(l.errs.List, Error{Place: at.place, Rule: rule, order: at.order})
}

var (
	yamlError = regexp.MustCompile(`(?s)^yaml: (?:line (\d+): )?(.*)$`)
	// What the parser says, as opposed to the scanner, counts lines from 0.
	yamlFromZero = regexp.MustCompile(`^did not find expected (<|node content|',')`)
	yamlBlock    = regexp.MustCompile(`^did not find expected (key|'-' indicator)$`)
	yamlAnchor   = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
)

// notYAML notes an error of the YAML package. Its texts begin with "yaml: line N: ",
// but for the first line and for anchors.
func (l *loader) notYAML(text []byte, err error) {
	line, what := 1, err.Error()
	if m := yamlError.FindStringSubmatch(what); m != nil {
		what = m[2]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
	}
	if m := yamlAnchor.FindStringSubmatch(what); m != nil {
		before, _, _ := bytes.Cut(text, []byte("*"+m[1]))
		line = 1 + bytes.Count(before, []byte("\n"))
	} else if yamlBlock.MatchString(what) {
		line = firstLineWith(text, what)
	} else if yamlFromZero.MatchString(what) {
		line++
	}
	l.failWhole(l.line(line, 0), "not YAML: "+what)
}

// firstLineWith finds the line that breaks a block: the parser names the one where
// the block begins. It is the last of the shortest beginning of text with that error.
func firstLineWith(text []byte, what string) int {
	lines := slices.Collect(bytes.Lines(text))
	return 1 + sort.Search(len(lines)-1, func(i int) bool {
		err := yaml.Unmarshal(bytes.Join(lines[:i+1], nil), &yaml.Node{})
		return err != nil && strings.HasSuffix(err.Error(), what)
	})
}

// lineOfRubbish is the first line that cannot be part of a text, 0 if there is none.
func lineOfRubbish(text []byte) int {
	n := 0
	for line := range bytes.Lines(text) {
		n++
		if !utf8.Valid(line) || bytes.ContainsFunc(line, func(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune("\t\r\n\u0085", r) }) {
			return n
		}
	}
	return 0
}

// line is a place in the file.
func (l *loader) line(n, column int) origin {
	return origin{place: l.errs.File + ":" + strconv.Itoa(n), order: int64(n)<<16 + int64(min(column, 1<<16-1))}
}

// lineOf is the place of a node, with its value as text.
func (l *loader) lineOf(n *yaml.Node) origin {
	at := l.line(n.Line, n.Column)
	at.text = nodeText(n)
	return at
}

// nodeText shows a node in one line: scalars as they are, lists, "{...}" for sections.
func nodeText(n *yaml.Node) string {
	n = resolve(n)
	switch n.Kind {
	case yaml.SequenceNode:
		items := make([]string, 0, len(n.Content))
		for _, item := range n.Content {
			if item = resolve(item); item.Kind == yaml.ScalarNode {
				items = append(items, item.Value)
			} else {
				items = append(items, "...")
			}
		}
		return "[" + strings.Join(items, ", ") + "]"
	case yaml.MappingNode:
		if len(n.Content) == 0 {
			return "{}"
		}
		return "{...}"
	}
	return n.Value
}

// resolve follows an alias to what it stands for.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}

// isNull reports whether nothing was written for a key.
func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// node reads what is written in n into v, a section, list or scalar named path.
// at is a line of the file; of an alias, where it is used.
func (l *loader) node(v reflect.Value, path string, n *yaml.Node, later bool) {
	at := l.lineOf(n)
	n = resolve(n)
	fail := func(rule string) {
		if later {
			rule = notAvailable
		}
		l.fail(at, path, at.text, rule, "")
	}
	t := v.Type()
	if isOptional(t) {
		v.Set(reflect.New(t.Elem()))
		v, t = v.Elem(), t.Elem()
		setDefaults(v)
		l.config.origins[path] = at
	}
	if isSection(t) {
		short, found := shortField(t)
		switch {
		case n.Kind == yaml.MappingNode:
			l.section(v, path, n, later)
		case isNull(n):
			// A section whose keys are all commented out.
		case n.Kind == yaml.ScalarNode && found:
			l.node(v.FieldByIndex(short.index), path, n, later)
		default:
			fail("must be a section, with its keys below it")
		}
		return
	}
	l.config.origins[path] = at
	if isAuto(t) && n.Kind == yaml.ScalarNode && n.Value == "auto" {
		v.SetZero()
		return
	}
	or := func(rule error) string { return rule.Error() }
	if isAuto(t) {
		v.FieldByName("Given").SetBool(true)
		v = v.FieldByName("Value")
		t = v.Type()
		or = func(rule error) string { return orAuto(rule).Error() }
	}
	switch {
	case isNull(n):
		fail("needs a value; leave the key out for its default")
	case isList(t):
		if n.Kind != yaml.SequenceNode {
			fail(or(errList))
			return
		}
		l.list(v, path, n, later)
	case t.Kind() == reflect.Map:
		if n.Kind != yaml.MappingNode {
			fail("must be keys of your own, with a value each")
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			name, value := resolve(n.Content[i]), resolve(n.Content[i+1])
			one := l.lineOf(n.Content[i+1])
			if value.Kind != yaml.ScalarNode || isNull(value) {
				l.fail(one, join(path, name.Value), one.text, "must be one value", "")
				continue
			}
			setEntry(v, name.Value, value.Value)
			l.config.origins[join(path, name.Value)] = one
		}
	case n.Kind != yaml.ScalarNode:
		fail("must be one value")
	default:
		if err := parseText(v, n.Value); err != nil {
			fail(or(err))
		}
	}
}

// section reads the keys of a mapping.
func (l *loader) section(v reflect.Value, path string, n *yaml.Node, later bool) {
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		at := l.line(name.Line, name.Column)
		at.text = nodeText(value)
		key := join(path, nodeText(name))
		if line, again := first[key]; again {
			l.fail(at, key, at.text, fmt.Sprintf("given twice, first on line %d", line), "")
			continue
		}
		first[key] = name.Line
		f, found := fieldNamed(v.Type(), name.Value)
		if !found || name.Kind != yaml.ScalarNode {
			l.unknown(at, path, v.Type(), nodeText(name))
			continue
		}
		l.node(v.FieldByIndex(f.index), key, value, later || f.tag.Get("later") != "")
		if o, found := l.config.origins[key]; found && value.Line != name.Line {
			o.place, o.order = at.place, at.order // where the key is, also of a list below it
			l.config.origins[key] = o
		}
	}
}

// list reads the items of a sequence; they replace what the list had.
func (l *loader) list(v reflect.Value, path string, n *yaml.Node, later bool) {
	v.SetZero()
	for i, item := range n.Content {
		e := reflect.New(v.Type().Elem()).Elem()
		if isSection(e.Type()) {
			setDefaults(e)
			l.config.origins[indexed(path, i)] = l.lineOf(item)
		}
		l.node(e, indexed(path, i), item, later)
		v.Set(reflect.Append(v, e))
	}
}

// unknown notes a key that is none, with the nearest one that is.
func (l *loader) unknown(at origin, path string, section reflect.Type, name string) {
	rule := "no such key"
	if near := nearest(path, section, name); near != "" {
		rule += "; did you mean " + near + "?"
		l.bad[join(path, near)] = at.place // that it is missing is this error
	}
	l.fail(at, join(path, name), at.text, rule, "")
}
