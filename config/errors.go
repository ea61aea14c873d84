package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Error is one broken rule. Place is FILE:LINE, "env NAME", "--set" or "default".
// Key and Value are empty when the file is not YAML at all; Advice may be.
type Error struct {
	Place, Key, Value, Rule, Advice string

	order int64
}

// String gives PLACE: KEY: VALUE: RULE, and the advice on a second, indented line.
func (e Error) String() string {
	var b strings.Builder
	b.WriteString(e.Place + ": ")
	if e.Key != "" {
		b.WriteString(oneLine(e.Key) + ": " + oneLine(e.Value) + ": ")
	}
	b.WriteString(e.Rule)
	if e.Advice != "" {
		b.WriteString("\n  " + e.Advice)
	}
	return b.String()
}

// Errors are all broken rules of one configuration, in the order of the file, then
// of the environment, then of --set.
type Errors struct {
	File string // "" = none was read
	List []Error
}

// Error gives every error and their count on the last line (ux.md §4).
func (e Errors) Error() string {
	var b strings.Builder
	for _, x := range e.List {
		b.WriteString(x.String() + "\n")
	}
	name := e.File
	if name == "" {
		name = "configuration"
	}
	fmt.Fprintf(&b, "%s: %d error", name, len(e.List))
	if len(e.List) != 1 {
		b.WriteByte('s')
	}
	return b.String()
}

func (e *Errors) sort() {
	slices.SortStableFunc(e.List, func(a, b Error) int { return cmp.Compare(a.order, b.order) })
}

// oneLine keeps a key or value readable in one line of output.
func oneLine(s string) string {
	const most = 120
	if s != "" && len(s) <= most && goodText(s) {
		return s
	}
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return strconv.Quote(s)
}

// origin says where a value was written, and how.
type origin struct {
	place string
	order int64 // of places: lines of the file, then environment, then --set
	text  string
}

// Orders of the places that are not lines of the file.
const (
	orderEnv int64 = 1 << 40
	orderSet int64 = 1 << 41
)

// origins has an entry for every key that was written, by its path; a list has one
// for itself and one for each item. A key without entry has its default.
type origins map[string]origin

// find returns the origin of a key, or of the nearest thing around it that was written.
func (o origins) find(path string) origin {
	for p := path; p != ""; p = parent(p) {
		if at, found := o[p]; found {
			return at
		}
	}
	return origin{place: "default"}
}

// under reports whether path or something below it was written.
func (o origins) under(path string) bool {
	for p := range o {
		if inside(p, path) {
			return true
		}
	}
	return false
}

// record notes that path was written at at; what was written below it before is gone.
func (o origins) record(path string, at origin) {
	for p := range o {
		if inside(p, path) {
			delete(o, p)
		}
	}
	o[path] = at
}

// inside reports whether path is key or below it.
func inside(path, key string) bool {
	rest, found := strings.CutPrefix(path, key)
	return found && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// parent cuts the last name or index off a path: a.b[0] → a.b → a → "".
func parent(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

// join appends a name to a path.
func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
