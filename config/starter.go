package config

import (
	"fmt"
	"reflect"
	"strings"
)

const (
	starterWidth  = 80
	starterColumn = 38 // where explanations stand, if the value leaves room

	starterHead = `# quorate.yaml: every key with its default. Take the # off what you change.
# Every key can also come from the environment or the command line:
#   QUORATE_TRAFFIC__TIMEOUTS__IDLE=30s
#   --set traffic.timeouts.idle=30s
# Durations 10s 5m 7d, 0 = off. Sizes 8KiB 1GiB and counts, 0 = no limit.
`
)

// Starter is a configuration file to begin with: all keys, their defaults and what
// they mean, commented out.
func Starter() string {
	var b strings.Builder
	b.WriteString(starterHead)
	root := newSection(reflect.TypeFor[Config]())
	for _, f := range fieldsOf(root.Type()) {
		if f.tag.Get("later") != "" {
			continue
		}
		b.WriteByte('\n')
		explained(&b, f.name+":", f.tag.Get("doc"), "")
		starterKeys(&b, root.FieldByIndex(f.index), "  ")
	}
	return b.String()
}

func starterKeys(b *strings.Builder, v reflect.Value, indent string) {
	for _, f := range fieldsOf(v.Type()) {
		if f.tag.Get("later") != "" {
			continue
		}
		fv, doc := v.FieldByIndex(f.index), f.tag.Get("doc")
		if isSection(f.typ) {
			explained(b, indent+f.name+":", doc, indent)
			starterKeys(b, fv, indent+"  ")
			continue
		}
		explained(b, indent+"#"+f.name+": "+shortFlow(fv), doc, indent)
		if isObjects(f.typ) {
			wrap(b, indent+"#   ", "an item has "+strings.Join(itemKeys(f.typ.Elem(), ""), ", "))
		}
	}
}

// explained writes a line with its explanation behind it, or above where it is long.
func explained(b *strings.Builder, line, doc, indent string) {
	if doc == "" {
		b.WriteString(line + "\n")
		return
	}
	if whole := fmt.Sprintf("%-*s  # %s", starterColumn, line, doc); len(whole) <= starterWidth {
		b.WriteString(whole + "\n")
		return
	}
	wrap(b, indent+"# ", doc)
	b.WriteString(line + "\n")
}

// wrap writes text in lines of at most starterWidth, each behind prefix.
func wrap(b *strings.Builder, prefix, text string) {
	line := prefix
	for word := range strings.FieldsSeq(text) {
		if len(line)+len(word) > starterWidth && line != prefix {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = prefix
		}
		line += word + " "
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
}

// shortFlow is flow with the items of a list in their short form.
func shortFlow(v reflect.Value) string {
	if !isObjects(v.Type()) {
		return flow(v)
	}
	items := make([]string, v.Len())
	for i := range items {
		short, _ := shortField(v.Type().Elem())
		items[i] = flow(v.Index(i).FieldByIndex(short.index))
	}
	return "[" + strings.Join(items, ", ") + "]"
}

// itemKeys lists the keys of an item, those of sections in it as a.b.
func itemKeys(t reflect.Type, path string) []string {
	var keys []string
	for _, f := range fieldsOf(t) {
		key, inner := join(path, f.name), f.typ
		if isOptional(inner) {
			inner = inner.Elem()
		}
		switch {
		case f.tag.Get("later") != "":
		case isSection(inner):
			keys = append(keys, itemKeys(inner, key)...)
		case isObjects(inner):
			keys = append(keys, itemKeys(inner.Elem(), key+"[]")...)
		default:
			keys = append(keys, key)
		}
	}
	return keys
}
