package migrate

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

// element is one of WildFly's configuration. Attributes keep their order.
type element struct {
	line     int
	space    string // namespace
	name     string
	attrs    []attr
	children []*element
}

type attr struct{ name, value string }

// get is the value of an attribute with its expressions resolved.
func (e *element) get(name string) string {
	for _, a := range e.attrs {
		if a.name == name {
			return resolve(a.value)
		}
	}
	return ""
}

// resolve replaces ${property:default} by its default; one without stays.
func resolve(s string) string {
	before, rest, ok := strings.Cut(s, "${")
	if !ok {
		return s
	}
	depth := 1
	for i := 0; i < len(rest); i++ {
		switch rest[i] {
		case '{':
			depth++
		case '}':
			depth--
		}
		if depth > 0 {
			continue
		}
		_, value, given := strings.Cut(rest[:i], ":")
		if !given {
			value = "${" + rest[:i] + "}"
		} else {
			value = resolve(value)
		}
		return before + value + resolve(rest[i+1:])
	}
	return s
}

// parseXML reads a file into a tree. Nothing outside of it is read: encoding/xml knows
// no external entities.
func parseXML(text []byte) (*element, int, error) {
	d := xml.NewDecoder(bytes.NewReader(text))
	root := &element{}
	open := []*element{root}
	for {
		line, _ := d.InputPos()
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			line, _ = d.InputPos()
			return nil, line, err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if len(open) > maxDepth*4 {
				return nil, line, errors.New("elements are nested without end")
			}
			e := &element{line: line, space: t.Name.Space, name: t.Name.Local}
			for _, a := range t.Attr {
				if a.Name.Space != "xmlns" && a.Name.Local != "xmlns" {
					e.attrs = append(e.attrs, attr{a.Name.Local, a.Value})
				}
			}
			top := open[len(open)-1]
			top.children = append(top.children, e)
			open = append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		}
	}
	if len(root.children) != 1 {
		return nil, 0, errors.New("no element is in it")
	}
	return root.children[0], 0, nil
}

// find returns the elements of a name anywhere below e.
func (e *element) find(name string) []*element {
	var all []*element
	for _, c := range e.children {
		if c.name == name {
			all = append(all, c)
		}
		all = append(all, c.find(name)...)
	}
	return all
}

// subsystem says whether e is the one of a kind, such as undertow.
func (e *element) subsystem(kind string) bool {
	return e.name == "subsystem" && strings.Contains(e.space, ":"+kind+":")
}
