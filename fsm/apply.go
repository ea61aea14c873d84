package fsm

import (
	"fmt"
	"slices"
)

// Apply gives the state after e, and for each command of e what it did. It reads
// its arguments and nothing else; s stays valid for its readers.
//
// What ageing did before the first command is in the first Result; so an entry
// without commands has one Result.
//
// The only error is ErrSchema, for an entry that this program cannot understand:
// the replica must stop.
func Apply(s *State, e Entry) (*State, []Result, error) {
	if !known(e.Schema) {
		return nil, nil, fmt.Errorf("apply entry of version %d, this program knows up to %d: %w", e.Schema, SchemaVersion, ErrSchema)
	}
	for i := range e.Commands {
		if c := &e.Commands[i]; c.Op == OpSchema && c.Version > SchemaVersion {
			return nil, nil, fmt.Errorf("raise the schema to version %d, this program knows up to %d: %w", c.Version, SchemaVersion, ErrSchema)
		}
	}
	next := *s
	if e.Time > s.Time() {
		next.putTime(e.Time)
	}
	results := make([]Result, max(1, len(e.Commands)))
	next.age(&results[0])
	for i := range e.Commands {
		next.once(&e.Commands[i], &results[i])
	}
	return next.freeze(), results, nil
}

// Preview gives what c would do now, at the time of s and without the dedupe
// window. It is for the leader's no-op filter, and for the table of a replica
// that must honour a command without a leader.
func Preview(s *State, c Command) (*State, Result) {
	next := *s
	var r Result
	next.run(&c, &r)
	return next.freeze(), r
}

// once runs c unless it ran before: then it gives the result of that time.
func (s *State) once(c *Command, r *Result) {
	if c.ID == (CommandID{}) {
		s.run(c, r)
		return
	}
	if o := s.seen.get(c.ID); o != nil {
		r.Code, r.Mess = o.Code, o.Mess
		return
	}
	s.run(c, r)
	s.putSeen(&outcome{ID: c.ID, Code: r.Code, Mess: r.Mess, Time: s.Time()})
}

// mark is the time of a mark in a record, where 0 stands for "no mark".
func (s *State) mark() int64 { return max(s.Time(), 1) }

// step is one command at work.
type step struct {
	*State
	c *Command
	r *Result
}

func (s *State) run(c *Command, r *Result) {
	t := step{s, c, r}
	if mess := s.check(c); mess != "" {
		t.refuse(mess)
		return
	}
	switch c.Op {
	case OpConfig:
		t.config()
	case OpEnable, OpDisable, OpStop, OpRemove:
		t.app()
	case OpStatus:
		t.status()
	case OpDrain, OpHold:
		t.hold()
	case OpRelease:
		t.release()
	case OpDrop, OpExpire:
		t.remove()
	case OpForm:
		t.form()
	case OpSettings:
		t.change()
	case OpSchema:
		t.schema()
	case OpBar:
		t.bar()
	case OpTick: // the time has passed already
	}
}

func (t step) refuse(mess string) { t.r.Code, t.r.Mess = Mem, mess }

func (t step) unknown() { t.refuse(`Can't read node with "` + string(t.c.Route) + `" JVMRoute`) }

// live gives the command's node unless it is unknown or removed.
func (t step) live() *Node {
	if n := t.Node(t.c.Route); n != nil && n.Removed == 0 {
		return n
	}
	return nil
}

// keep stores a changed node and tells that it changed.
func (t step) keep(n *Node) {
	n.Modified = t.Time()
	t.putNode(n)
	t.r.node(n.Route)
}

func (r *Result) node(route JVMRoute) {
	r.Changed = true
	if !slices.Contains(r.Nodes, route) {
		r.Nodes = append(r.Nodes, route)
	}
}

func (r *Result) balancer(name string) {
	r.Changed = true
	if !slices.Contains(r.Balancers, name) {
		r.Balancers = append(r.Balancers, name)
	}
}

// event tells people what the command did.
func (t step) event(e Event) {
	if e.Op == "" {
		e.Op = t.c.Op.String()
	}
	t.r.Changed = true
	t.r.Events = append(t.r.Events, e)
}
