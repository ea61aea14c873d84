package config

import (
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// field is one key of a section.
type field struct {
	name  string
	tag   reflect.StructTag
	index []int
	typ   reflect.Type
}

// fieldsOf lists the keys of a section in the order of the struct; those of an
// embedded struct count as its own.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for _, f := range reflect.VisibleFields(t) {
		if name := f.Tag.Get("key"); name != "" {
			fields = append(fields, field{name, f.Tag, f.Index, f.Type})
		}
	}
	return fields
}

// fieldNamed finds a key of a section.
func fieldNamed(t reflect.Type, name string) (field, bool) {
	for _, f := range fieldsOf(t) {
		if f.name == name {
			return f, true
		}
	}
	return field{}, false
}

// isSection reports whether values of t have keys below them.
func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !isAuto(t) && t != reflect.TypeFor[netip.Prefix]()
}

// isOptional reports whether t is a section that may be absent.
func isOptional(t reflect.Type) bool { return t.Kind() == reflect.Pointer }

// isList reports whether values of t are lists.
func isList(t reflect.Type) bool { return t.Kind() == reflect.Slice }

// isObjects reports whether values of t are lists of sections.
func isObjects(t reflect.Type) bool { return isList(t) && isSection(t.Elem()) }

// isAuto reports whether t is an Auto[T].
func isAuto(t reflect.Type) bool {
	return t.Implements(reflect.TypeFor[interface{ automatic() }]())
}

// shortField is the key that may stand for the whole section.
func shortField(t reflect.Type) (field, bool) {
	for _, f := range fieldsOf(t) {
		if f.tag.Get("short") != "" {
			return f, true
		}
	}
	return field{}, false
}

// setDefaults gives every key below the section v its default.
func setDefaults(v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		setDefault(v.FieldByIndex(f.index), f.tag)
	}
}

// setDefault gives v the default of its tag. Defaults are part of the program: one
// that cannot be read is a panic.
func setDefault(v reflect.Value, tag reflect.StructTag) {
	v.SetZero()
	if isSection(v.Type()) {
		setDefaults(v)
		return
	}
	text, found := tag.Lookup("default")
	if !found {
		return
	}
	if err := setText(v, text); err != nil {
		panic("config: default " + strconv.Quote(text) + ": " + err.Error())
	}
}

// isDefault reports whether v equals the default of its tag.
func isDefault(v reflect.Value, tag reflect.StructTag) bool {
	fresh := reflect.New(v.Type()).Elem()
	setDefault(fresh, tag)
	return reflect.DeepEqual(fresh.Interface(), v.Interface())
}

// newSection returns a section with its defaults.
func newSection(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	setDefaults(v)
	return v
}

// leaf is one key that has a value: a scalar, a list or a map of scalars.
type leaf struct {
	path  string
	value reflect.Value
	tag   reflect.StructTag
	later bool
}

// walk visits every leaf below the section v, in the order of the struct.
func walk(v reflect.Value, path string, later bool, visit func(leaf)) {
	for _, f := range fieldsOf(v.Type()) {
		at, fv := join(path, f.name), v.FieldByIndex(f.index)
		later := later || f.tag.Get("later") != ""
		switch {
		case isSection(f.typ):
			walk(fv, at, later, visit)
		case isOptional(f.typ):
			if !fv.IsNil() {
				walk(fv.Elem(), at, later, visit)
			}
		case isObjects(f.typ):
			for i := range fv.Len() {
				walk(fv.Index(i), indexed(at, i), later, visit)
			}
		default:
			visit(leaf{at, fv, f.tag, later})
		}
	}
}

// scalars visits each scalar of a leaf; an automatic one that was not given has none.
func (l leaf) scalars(visit func(path string, v reflect.Value)) {
	v := l.value
	if isAuto(v.Type()) {
		if !v.FieldByName("Given").Bool() {
			return
		}
		v = v.FieldByName("Value")
	}
	switch v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			visit(indexed(l.path, i), v.Index(i))
		}
	case reflect.Map:
		for _, k := range entries(v) {
			visit(join(l.path, k), v.MapIndex(reflect.ValueOf(k)))
		}
	default:
		visit(l.path, v)
	}
}

// entries are the keys of a map, in order.
func entries(v reflect.Value) []string {
	keys := make([]string, 0, v.Len())
	for _, k := range v.MapKeys() {
		keys = append(keys, k.String())
	}
	slices.Sort(keys)
	return keys
}

// setEntry sets one value of a map, which is made with its first.
func setEntry(v reflect.Value, key, text string) {
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	v.SetMapIndex(reflect.ValueOf(key), reflect.ValueOf(text))
}

func indexed(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// setText sets a leaf or a list of sections to what --set, the environment or a
// default says: lists are comma-separated, empty = no item.
func setText(v reflect.Value, text string) error {
	if isAuto(v.Type()) {
		v.SetZero()
		if text == "auto" {
			return nil
		}
		v.FieldByName("Given").SetBool(true)
		err := setText(v.FieldByName("Value"), text)
		if err != nil && !isList(v.FieldByName("Value").Type()) {
			err = orAuto(err)
		}
		return err
	}
	switch {
	case v.Kind() == reflect.Map:
		return errMap
	case isList(v.Type()):
		v.SetZero()
		if text == "" {
			return nil
		}
		for item := range strings.SplitSeq(text, ",") {
			e := reflect.New(v.Type().Elem()).Elem()
			if err := setItem(e, strings.TrimSpace(item)); err != nil {
				return err
			}
			v.Set(reflect.Append(v, e))
		}
		return nil
	}
	return parseText(v, text)
}

// setItem sets an item of a list; a section by its short form.
func setItem(v reflect.Value, text string) error {
	if !isSection(v.Type()) {
		return parseText(v, text)
	}
	short, found := shortField(v.Type())
	if !found {
		return errObjects
	}
	setDefaults(v)
	return parseText(v.FieldByIndex(short.index), text)
}
