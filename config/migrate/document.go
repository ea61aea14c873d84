package migrate

import (
	"bytes"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quorate/quorate/config"
	"go.yaml.in/yaml/v3"
)

// document is the YAML that is being made. Keys are paths such as mcmp.idle_timeout.
type document struct{ root *yaml.Node }

// sections in the order of interface.md §1.
var sections = []string{"replica", "cluster", "mcmp", "traffic", "upstream", "shared", "admin", "archive", "log", "access_log", "metrics"}

const head = `# Made by "quorate migrate". Keys that are not here have their defaults: "quorate config print".
#
# With one replica this is complete. For three, the same file on each and:
#
# cluster:
#   bootstrap_expect: 3
#   join: [lb1:7301, lb2:7301, lb3:7301]
#   secret_file: /etc/quorate/secret    # quorate secret --out FILE, the same on each
`

func newDocument() *document { return &document{root: &yaml.Node{Kind: yaml.MappingNode}} }

// set replaces the value at path; comment says where it comes from.
func (d *document) set(path, value, comment string) {
	d.put(path, scalar(value), comment)
}

// list replaces the list at path.
func (d *document) list(path string, values []string, comment string) {
	d.put(path, flow(values), comment)
}

func scalar(value string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: value}
	if !plain.MatchString(value) || version.MatchString(value) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// version is a text that YAML would read as a number with a fraction.
var version = regexp.MustCompile(`^[0-9]+\.[0-9]+$`)

// plain values need no quotes, and none of them is read as anything else than it says.
var plain = regexp.MustCompile(`^[A-Za-z0-9/_][A-Za-z0-9/_.:%+-]*$`)

func flow(values []string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, v := range values {
		n.Content = append(n.Content, scalar(v))
	}
	return n
}

func (d *document) put(path string, value *yaml.Node, comment string) {
	at := d.root
	keys := strings.Split(path, ".")
	for _, key := range keys[:len(keys)-1] {
		next := child(at, key)
		if next == nil {
			next = &yaml.Node{Kind: yaml.MappingNode}
			at.Content = append(at.Content, scalar(key), next)
		}
		at = next
	}
	value.LineComment = comment
	last := keys[len(keys)-1]
	if old := child(at, last); old != nil {
		*old = *value
		return
	}
	at.Content = append(at.Content, scalar(last), value)
}

// remove takes a key out, and sections that have become empty.
func (d *document) remove(path string) {
	removeFrom(d.root, strings.Split(path, "."))
}

func removeFrom(at *yaml.Node, keys []string) {
	for i := 0; i < len(at.Content); i += 2 {
		if at.Content[i].Value != keys[0] {
			continue
		}
		if len(keys) > 1 {
			removeFrom(at.Content[i+1], keys[1:])
		}
		if len(keys) == 1 || len(at.Content[i+1].Content) == 0 {
			at.Content = slices.Delete(at.Content, i, i+2)
		}
		return
	}
}

// get returns the value at path, or nil.
func (d *document) get(path string) *yaml.Node {
	at := d.root
	for key := range strings.SplitSeq(path, ".") {
		if at = child(at, key); at == nil {
			return nil
		}
	}
	return at
}

func child(at *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(at.Content); i += 2 {
		if at.Content[i].Value == key {
			return at.Content[i+1]
		}
	}
	return nil
}

// add appends an object to the list at path. Values are scalars, lists or objects.
func (d *document) add(path string, object *yaml.Node, comment string) {
	list := d.get(path)
	if list == nil {
		list = &yaml.Node{Kind: yaml.SequenceNode}
		d.put(path, list, "")
	}
	object.HeadComment = comment
	list.Content = append(list.Content, object)
}

// object makes a mapping of pairs; those with a nil or empty value are left out.
func object(pairs ...any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for i := 0; i < len(pairs); i += 2 {
		var v *yaml.Node
		switch x := pairs[i+1].(type) {
		case string:
			if x == "" {
				continue
			}
			v = scalar(x)
		case []string:
			if x == nil {
				continue
			}
			v = flow(x)
		case *yaml.Node:
			if x == nil {
				continue
			}
			v = x
		}
		n.Content = append(n.Content, scalar(pairs[i].(string)), v)
	}
	return n
}

func (d *document) text() ([]byte, error) {
	sorted := &yaml.Node{Kind: yaml.MappingNode}
	for _, name := range sections {
		if v := child(d.root, name); v != nil {
			sorted.Content = append(sorted.Content, scalar(name), v)
		}
	}
	b := bytes.NewBufferString(head)
	if len(sorted.Content) == 0 {
		return b.Bytes(), nil
	}
	b.WriteByte('\n')
	e := yaml.NewEncoder(b)
	e.SetIndent(2)
	if err := e.Encode(sorted); err != nil {
		return nil, err
	}
	return b.Bytes(), e.Close()
}

// defaults are those of every scalar key.
func defaults() map[string]string {
	var text strings.Builder
	c, err := config.Load(config.Source{Set: []string{"replica.name=x"}})
	if err == nil {
		err = c.Effective(&text)
	}
	var root yaml.Node
	if err == nil {
		err = yaml.Unmarshal([]byte(text.String()), &root)
	}
	values := map[string]string{}
	if err != nil {
		return values // nothing is left out then
	}
	flatten(values, "", root.Content[0])
	return values
}

func flatten(values map[string]string, path string, n *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i < len(n.Content); i += 2 {
			flatten(values, strings.TrimPrefix(path+"."+n.Content[i].Value, "."), n.Content[i+1])
		}
	case yaml.ScalarNode:
		values[path] = n.Value
	}
}

// same compares values; 60s and 1m are the same.
func same(a, b string) bool {
	if a == b {
		return true
	}
	x, xerr := time.ParseDuration(a)
	y, yerr := time.ParseDuration(b)
	return xerr == nil && yerr == nil && x == y
}

// seconds writes a duration as the configuration takes it.
func seconds(d time.Duration) string {
	if d%time.Second != 0 {
		return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
	}
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}

// size writes a number of bytes as the configuration takes it.
func size(n int64) string {
	if n > 0 && n%1024 == 0 {
		return strconv.FormatInt(n/1024, 10) + "KiB"
	}
	return strconv.FormatInt(n, 10)
}
