package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Why a text cannot be the value of a key.
var (
	errObjects = errors.New("is a list of sections: set its items by place, as in key[0].name")
	errSection = errors.New("is a section: set one of its keys")
	errMap     = errors.New("can be given in the file alone")
)

const envPrefix = "QUORATE_"

// environment applies the variables that are keys: QUORATE_SECTION__KEY__KEY=VALUE.
// Without a double underscore after the first word it is not ours (Kubernetes sets
// QUORATE_PORT and the like).
func (l *loader) environment(root reflect.Value, env []string) {
	type variable struct {
		name, value string
		steps       []step
	}
	byName := map[string]variable{}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		rest, ours := strings.CutPrefix(name, envPrefix)
		words := strings.Split(rest, "__")
		if !ours || len(words) < 2 || words[0] == "" {
			continue
		}
		byName[name] = variable{name, value, envSteps(words)}
	}
	// In the order of the keys, lists before their items and those by number.
	vars := make([]variable, 0, len(byName))
	for _, v := range byName {
		vars = append(vars, v)
	}
	slices.SortFunc(vars, func(a, b variable) int {
		if c := slices.CompareFunc(a.steps, b.steps, step.compare); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
	for i, v := range vars {
		l.assign(root, v.steps, origin{"env " + v.name, orderEnv + int64(i), v.value})
	}
}

// flags applies --set KEY=VALUE in the order given; the last one wins.
func (l *loader) flags(root reflect.Value, flags []string) {
	for i, f := range flags {
		at := origin{place: "--set", order: orderSet + int64(i)}
		key, value, found := strings.Cut(f, "=")
		steps, ok := flagSteps(key)
		if !found || !ok {
			l.failWhole(at, oneLine(f)+": must be KEY=VALUE, as in traffic.timeouts.idle=30s")
			continue
		}
		at.text = value
		l.assign(root, steps, at)
	}
}

// step is one part of a key's path: a name, or a place in a list.
type step struct {
	name  string
	index int // -1 = a name
}

func (s step) compare(t step) int {
	if s.index != t.index {
		return s.index - t.index
	}
	return strings.Compare(s.name, t.name)
}

func envSteps(words []string) []step {
	steps := make([]step, 0, len(words))
	for _, w := range words {
		if n, ok := place(w); ok {
			steps = append(steps, step{w, n})
			continue
		}
		if w == strings.ToUpper(w) {
			w = strings.ToLower(w)
		}
		steps = append(steps, step{w, -1})
	}
	return steps
}

// flagSteps splits a.b[0].c.
func flagSteps(key string) ([]step, bool) {
	var steps []step
	for part := range strings.SplitSeq(key, ".") {
		name, rest, more := strings.Cut(part, "[")
		if name == "" {
			return nil, false
		}
		steps = append(steps, step{name, -1})
		for more {
			var index string
			index, rest, more = strings.Cut(rest, "]")
			n, ok := place(index)
			if !more || !ok {
				return nil, false
			}
			steps = append(steps, step{index, n})
			if rest == "" {
				break
			}
			if rest, more = strings.CutPrefix(rest, "["); !more {
				return nil, false
			}
		}
	}
	return steps, true
}

// place reads a place in a list: a number without sign or leading zero.
func place(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return int(n), err == nil && strconv.FormatUint(n, 10) == s
}

// assign sets the key at steps below v, which is the root, to at.text.
func (l *loader) assign(v reflect.Value, steps []step, at origin) {
	path, later := "", false
	fail := func(rule string) {
		if later {
			rule = notAvailable
		}
		l.fail(at, path, at.text, rule, "")
	}
	for i, s := range steps {
		if isAuto(v.Type()) {
			v.FieldByName("Given").SetBool(true)
			v = v.FieldByName("Value")
		}
		if isOptional(v.Type()) {
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
				setDefaults(v.Elem())
				l.config.origins[path] = at
			}
			v = v.Elem()
		}
		switch {
		case isSection(v.Type()):
			f, found := fieldNamed(v.Type(), s.name)
			if !found {
				l.unknown(at, path, v.Type(), s.name)
				return
			}
			v, path, later = v.FieldByIndex(f.index), join(path, f.name), later || f.tag.Get("later") != ""
		case isList(v.Type()) && s.index >= 0:
			if s.index > v.Len() {
				path = indexed(path, s.index)
				fail(fmt.Sprintf("the next item is [%d]", v.Len()))
				return
			}
			path = indexed(path, s.index)
			if s.index == v.Len() {
				e := reflect.New(v.Type().Elem()).Elem()
				if isSection(e.Type()) {
					setDefaults(e)
				}
				v.Set(reflect.Append(v, e))
				l.config.origins[path] = at
			}
			v = v.Index(s.index)
		case v.Kind() == reflect.Map && s.name != "" && i == len(steps)-1:
			setEntry(v, s.name, at.text)
			l.config.origins.record(join(path, s.name), at)
			return
		default:
			path = join(path, s.name)
			fail("no such key")
			return
		}
	}
	err := assignText(v, at.text)
	if err != nil {
		fail(err.Error())
		return
	}
	l.config.origins.record(path, at)
}

// assignText sets what a path ends at; a section by its short form, if it has one.
func assignText(v reflect.Value, text string) error {
	switch {
	case isOptional(v.Type()):
		return errSection
	case isSection(v.Type()):
		short, found := shortField(v.Type())
		if !found {
			return errSection
		}
		return parseText(v.FieldByIndex(short.index), text)
	}
	return setText(v, text)
}
