package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/quorate/quorate/fsm"
)

// failure is a command's refusal in the form of MCMP (spec/mcmp.md §0.7).
type failure struct {
	kind string // SYNTAX, MEM
	mess string // without the kind
}

func (f *failure) Error() string { return f.kind + ": " + oneLine(f.mess) }

func syntax(format string, args ...any) *failure {
	return &failure{"SYNTAX", fmt.Sprintf(format, args...)}
}
func mem(format string, args ...any) *failure { return &failure{"MEM", fmt.Sprintf(format, args...)} }

// oneLine makes a text fit for a header: it may hold what the query said.
func oneLine(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, s)
}

// roleFor is the role that a command asks of a token.
func roleFor(command string) string {
	if command == "REMOVE-APP" {
		return "admin"
	}
	return "drain"
}

// atOnce is how many commands of one click are on their way together. The
// leader makes few entries of them.
const atOnce = 16

// run brings what the query asks for into the log.
//
// The commands are an operator's (docs/decisions/0008-operators-intent.md):
// DISABLE drains, STOP holds, ENABLE releases, and no message of the worker
// undoes it. REMOVE takes away what a worker that still lives will register
// again.
func (m *manager) run(ctx context.Context, who string, q query) *failure {
	if !m.AllowCmd {
		return syntax("%s is not allowed: admin.manager.allow_cmd is false", q.command())
	}
	st, _, err := m.Read(ctx)
	if err != nil {
		return mem("%v", err)
	}
	commands, refused := plan(st, q)
	if refused != nil {
		return refused
	}
	failed := make([]*failure, len(commands))
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i, c := range commands {
		c.Origin, c.Replica, c.Source = fsm.FromOperator, m.Replica, source(who)
		c.By, c.Reason = who, "manager page"
		g.Go(func() error {
			switch res, err := m.Propose(ctx, c); {
			case err != nil:
				failed[i] = mem("%v", err)
			case res.Code != fsm.OK:
				failed[i] = mem("%s", res.Mess)
			}
			return nil
		})
	}
	g.Wait()
	for _, f := range failed {
		if f != nil {
			return f
		}
	}
	return nil
}

// source is where the history says a command came from.
func source(who string) string { return "manager:" + who }

// operations are the operator's words for what the page calls *-APP.
var operations = map[string]fsm.Op{
	"ENABLE-APP":  fsm.OpRelease,
	"DISABLE-APP": fsm.OpDrain,
	"STOP-APP":    fsm.OpHold,
	"REMOVE-APP":  fsm.OpDrop,
}

// plan turns a query into commands. It reads its arguments and nothing else.
func plan(st *fsm.State, q query) ([]fsm.Command, *failure) {
	op, ok := operations[q.command()]
	if !ok {
		return nil, syntax("Command %q is not supported", q.command())
	}
	switch strings.ToUpper(q["range"]) {
	case "NODE":
		n, refused := named(st, q)
		if refused != nil {
			return nil, refused
		}
		return whole(st, n, op), nil
	case "DOMAIN":
		return domain(st, q, op)
	}
	return contexts(st, q, op)
}

// named gives the node of the query.
func named(st *fsm.State, q query) (*fsm.Node, *failure) {
	r := q["jvmroute"]
	switch {
	case r == "":
		return nil, syntax("JVMRoute can't be empty")
	case len(r) > fsm.MaxRoute:
		return nil, syntax("JVMRoute field too big")
	}
	if n := st.Node(fsm.JVMRoute(r)); n != nil && n.Removed == 0 {
		return n, nil
	}
	return nil, mem("Can't read node with %q JVMRoute", r)
}

// domain is a command for every node of an LBGroup; an empty one is that of the
// nodes without.
func domain(st *fsm.State, q query, op fsm.Op) ([]fsm.Command, *failure) {
	name, given := q["domain"]
	switch {
	case !given:
		return nil, syntax("Mandatory field(s) missing in message: Domain")
	case len(name) > fsm.MaxDomain:
		return nil, syntax("LBGroup field too big")
	}
	var out []fsm.Command
	for _, n := range st.Nodes() {
		if n.Removed == 0 && n.Config.Domain == name {
			out = append(out, whole(st, n, op)...)
		}
	}
	if out == nil {
		return nil, mem("Can't read node with %q LBGroup", name)
	}
	return out, nil
}

// whole is a command for a node. Enabling it lifts also what is asked of single
// contexts, as httpd enables all of them.
func whole(st *fsm.State, n *fsm.Node, op fsm.Op) []fsm.Command {
	out := []fsm.Command{{Op: op, Route: n.Route}}
	intent := st.Intent(n.Route)
	if op != fsm.OpRelease || intent == nil {
		return out
	}
	last := fsm.Path("")
	for _, h := range intent.Contexts { // by path
		if h.Path != last {
			out = append(out, fsm.Command{Op: op, Route: n.Route, Context: h.Path})
		}
		last = h.Path
	}
	return out
}

// contexts is a command for contexts of one virtual host.
func contexts(st *fsm.State, q query, op fsm.Op) ([]fsm.Command, *failure) {
	n, refused := named(st, q)
	if refused != nil {
		return nil, refused
	}
	aliases, paths := q.list("alias"), q.list("context")
	switch {
	case len(aliases) == 0 && len(paths) == 0:
		return nil, syntax("No Context and Alias in APP command")
	case len(aliases) == 0:
		return nil, syntax("Context without Alias")
	case len(paths) == 0:
		return nil, syntax("Alias without Context")
	}
	var out []fsm.Command
	for _, p := range paths {
		h, c := find(n, aliases, fsm.Path(p))
		if c == nil {
			return nil, mem("Can't read context %q of host alias %q of node %q", p, aliases[0], n.Route)
		}
		if op == fsm.OpRelease {
			if refused := stays(n, c); refused != nil {
				return nil, refused
			}
		}
		alias := spokenOf(st.Intent(n.Route), h, c.Path)
		one := fsm.Command{Op: op, Route: n.Route, Alias: alias, Context: c.Path}
		if op == fsm.OpDrop {
			one = fsm.Command{Op: fsm.OpRemove, Route: n.Route, Aliases: []string{alias}, Contexts: []fsm.Path{c.Path}}
		}
		out = append(out, one)
	}
	return out, nil
}

// find gives a context of the first vhost that has it and one of the aliases.
func find(n *fsm.Node, aliases []string, p fsm.Path) (*fsm.VHost, *fsm.Context) {
	for _, a := range aliases {
		c := n.Context(a, p)
		for i := range n.VHosts {
			if h := &n.VHosts[i]; c != nil && has(h, a) {
				return h, c
			}
		}
	}
	return nil, nil
}

func has(h *fsm.VHost, alias string) bool {
	return slices.ContainsFunc(h.Aliases, func(a string) bool { return fsm.Lower(a) == fsm.Lower(alias) })
}

// spokenOf is the alias under which an operator has spoken of a vhost's context
// already, else its first. Of two aliases' words the stricter would count; so it
// is the last one.
func spokenOf(i *fsm.Intent, h *fsm.VHost, p fsm.Path) string {
	if i != nil {
		for _, c := range i.Contexts {
			if c.Path == p && has(h, c.Alias) {
				return c.Alias
			}
		}
	}
	return h.Aliases[0]
}

// stays says why a context would not become ENABLED although nothing that an
// operator asked of it is there to be lifted.
func stays(n *fsm.Node, c *fsm.Context) *failure {
	switch {
	case c.Hold.Mode != fsm.HoldNone:
		return nil
	case n.Hold.Mode != fsm.HoldNone:
		return mem("Can't enable context %q alone: node %q is %s as a whole, by %s: enable the node's contexts", c.Path, n.Route, participle(n.Hold.Mode), n.Hold.By)
	case c.Status != fsm.Enabled:
		return mem("Can't enable context %q: the worker %q itself says %s", c.Path, n.Route, c.Status)
	}
	return nil
}

func participle(m fsm.HoldMode) string {
	if m == fsm.HoldAll {
		return "held"
	}
	return "draining"
}
