package client

import (
	"fmt"
	"slices"
	"strings"
)

// Status is a context's state as INFO prints it.
type Status string

const (
	Enabled  Status = "ENABLED"
	Disabled Status = "DISABLED"
	Stopped  Status = "STOPPED"
)

// Info is an INFO answer, in its order.
type Info struct {
	Nodes []InfoNode
}

// InfoNode is one node of an INFO answer.
type InfoNode struct {
	ID     string
	Name   string // the JVMRoute
	Fields []InfoField
	VHosts []InfoVHost
}

// InfoField is one "Key: value" of a Node line other than the first Name.
type InfoField struct {
	Key, Value string
}

// InfoVHost is one virtual host: names that share contexts.
type InfoVHost struct {
	ID       string
	Aliases  []string // each once
	Contexts []InfoContext
}

// InfoContext is one context; a path occurs once in a vhost.
type InfoContext struct {
	Path   string
	Status Status
}

// Node finds a node by route, the last if there are several.
func (i Info) Node(route string) (InfoNode, bool) {
	for _, n := range slices.Backward(i.Nodes) {
		if n.Name == route {
			return n, true
		}
	}
	return InfoNode{}, false
}

// Field is the value of a field such as Host, Port or Load, "" if the line has none.
func (n InfoNode) Field(key string) string {
	for _, f := range n.Fields {
		if f.Key == key {
			return f.Value
		}
	}
	return ""
}

// Status of a context, "" if no vhost with that alias has it.
func (n InfoNode) Status(alias, path string) Status {
	for _, v := range n.VHosts {
		if slices.Contains(v.Aliases, alias) {
			return v.status(path)
		}
	}
	return ""
}

func (v InfoVHost) status(path string) Status {
	for _, c := range v.Contexts {
		if c.Path == path {
			return c.Status
		}
	}
	return ""
}

// String is the answer's text form (spec/mcmp.md §9.1), rows numbered per section.
func (i Info) String() string {
	var nodes, vhosts, contexts strings.Builder
	vrow, crow := 0, 0
	for _, n := range i.Nodes {
		fmt.Fprintf(&nodes, "Node: [%s],Name: %s", n.ID, n.Name)
		for _, f := range n.Fields {
			fmt.Fprintf(&nodes, ",%s: %s", f.Key, f.Value)
		}
		nodes.WriteByte('\n')
		for _, v := range n.VHosts {
			for _, a := range v.Aliases {
				fmt.Fprintf(&vhosts, "Vhost: [%s:%s:%d], Alias: %s\n", n.ID, v.ID, vrow, a)
				vrow++
			}
			for _, c := range v.Contexts {
				fmt.Fprintf(&contexts, "Context: [%s:%s:%d], Context: %s, Status: %s\n", n.ID, v.ID, crow, c.Path, c.Status)
				crow++
			}
		}
	}
	return nodes.String() + vhosts.String() + contexts.String()
}

// ParseInfo reads an INFO answer as strictly as the Java client, which gives up on the
// whole answer at the first fault (spec/mcmp.md §9.2): a worker whose balancer fails
// here never registers. The error names the line. Unknown lines are skipped.
func ParseInfo(text string) (Info, error) {
	var info Info
	for _, line := range strings.FieldsFunc(text, func(r rune) bool { return r == '\r' || r == '\n' }) {
		var err error
		switch {
		case strings.HasPrefix(line, "Node:"):
			err = info.addNode(line)
		case strings.HasPrefix(line, "Vhost:"):
			err = info.addAlias(line)
		case strings.HasPrefix(line, "Context:"):
			err = info.addContext(line)
		}
		if err != nil {
			return Info{}, fmt.Errorf("INFO line %q: %w", line, err)
		}
	}
	return info, nil
}

func (i *Info) addNode(line string) error {
	entries := javaSplit(line, ",")
	ids, err := infoIDs(entries[0])
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		return fmt.Errorf("no id")
	}
	n := InfoNode{ID: ids[0]}
	named := false
	for _, entry := range entries[1:] {
		key, value, ok := infoEntry(entry)
		switch {
		case !ok && !named:
			return fmt.Errorf("no colon in %q", entry)
		case !ok: // not looked at behind the name
		case key == "Name" && !named:
			n.Name, named = value, true
		default:
			n.Fields = append(n.Fields, InfoField{key, value})
		}
	}
	if !named {
		return fmt.Errorf("no Name")
	}
	// A second line with the same id starts that node anew.
	if old := slices.IndexFunc(i.Nodes, func(o InfoNode) bool { return o.ID == n.ID }); old >= 0 {
		i.Nodes[old] = n
	} else {
		i.Nodes = append(i.Nodes, n)
	}
	return nil
}

func (i *Info) addAlias(line string) error {
	node, id, fields, err := i.row(line)
	if err != nil {
		return err
	}
	alias, ok := fields["Alias"]
	if !ok {
		return fmt.Errorf("no Alias")
	}
	v := node.vhost(id)
	if v == nil {
		node.VHosts = append(node.VHosts, InfoVHost{ID: id})
		v = &node.VHosts[len(node.VHosts)-1]
	}
	if !slices.Contains(v.Aliases, alias) {
		v.Aliases = append(v.Aliases, alias)
	}
	return nil
}

func (i *Info) addContext(line string) error {
	node, id, fields, err := i.row(line)
	if err != nil {
		return err
	}
	path, ok := fields["Context"]
	if !ok {
		return fmt.Errorf("no Context")
	}
	status := Status(fields["Status"])
	if status != Enabled && status != Disabled && status != Stopped {
		return fmt.Errorf("status %q", status)
	}
	v := node.vhost(id)
	if v == nil {
		return fmt.Errorf("no Vhost line for vhost %q of node %q", id, node.ID)
	}
	for k := range v.Contexts {
		if v.Contexts[k].Path == path {
			v.Contexts[k].Status = status
			return nil
		}
	}
	v.Contexts = append(v.Contexts, InfoContext{path, status})
	return nil
}

// row takes a Vhost or Context line apart: its node, its vhost id and its fields, of
// which the first of a name counts.
func (i *Info) row(line string) (*InfoNode, string, map[string]string, error) {
	entries := javaSplit(line, ",")
	ids, err := infoIDs(entries[0])
	if err != nil {
		return nil, "", nil, err
	}
	if len(ids) != 3 {
		return nil, "", nil, fmt.Errorf("want node:vhost:row, got %q", ids)
	}
	at := slices.IndexFunc(i.Nodes, func(n InfoNode) bool { return n.ID == ids[0] })
	if at < 0 {
		return nil, "", nil, fmt.Errorf("no Node line for node %q", ids[0])
	}
	fields := make(map[string]string)
	for _, entry := range entries[1:] {
		key, value, ok := infoEntry(entry)
		if !ok {
			return nil, "", nil, fmt.Errorf("no colon in %q", entry)
		}
		if _, seen := fields[key]; !seen {
			fields[key] = value
		}
	}
	return &i.Nodes[at], ids[1], fields, nil
}

func (n *InfoNode) vhost(id string) *InfoVHost {
	for k := range n.VHosts {
		if n.VHosts[k].ID == id {
			return &n.VHosts[k]
		}
	}
	return nil
}

// infoIDs is what stands between the first "[" and the first "]". Up to two
// characters are one id, more are split at colons.
func infoIDs(entry string) ([]string, error) {
	open, end := strings.IndexByte(entry, '['), strings.IndexByte(entry, ']')
	if open < 0 || end < open {
		return nil, fmt.Errorf("no [id] in %q", entry)
	}
	ids := entry[open+1 : end]
	if len(ids) <= 2 {
		return []string{ids}, nil
	}
	return javaSplit(ids, ":"), nil
}

func infoEntry(entry string) (key, value string, ok bool) {
	key, value, ok = strings.Cut(entry, ":")
	return javaTrim(key), javaTrim(value), ok
}

// javaSplit is Java's String.split: empty parts at the end are dropped.
func javaSplit(s, sep string) []string {
	parts := strings.Split(s, sep)
	for len(parts) > 0 && parts[len(parts)-1] == "" {
		parts = parts[:len(parts)-1]
	}
	return parts
}
