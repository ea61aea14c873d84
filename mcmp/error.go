package mcmp

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// The values of the Type header. The Java client compares them byte by byte:
// exactly SYNTAX makes it fall silent until an operator resets it, everything
// else makes it ask INFO again one period later (spec/mcmp.md §12.3).
const (
	typeSyntax  = "SYNTAX"
	typeMem     = "MEM"
	typeGeneral = "GENERAL"
)

// ErrNoLeader is what Propose returns when no leader has been known for 3 s, or
// the known one cannot be reached: waiting longer would only delay the worker's
// messages to the other replicas (design.md §4).
var ErrNoLeader = errors.New("no leader")

// Error is a refusal in the protocol's words. Mess begins with the Type and a
// colon: "SYNTAX: Alias without Context".
type Error struct {
	Type string // SYNTAX, MEM or GENERAL
	Mess string
}

func (e *Error) Error() string { return e.Mess }

func syntax(format string, args ...any) *Error {
	return &Error{typeSyntax, "SYNTAX: " + fmt.Sprintf(format, args...)}
}

func mem(format string, args ...any) *Error {
	return &Error{typeMem, "MEM: " + fmt.Sprintf(format, args...)}
}

func unreadable(format string, args ...any) *Error {
	return syntax("The message cannot be parsed: "+format, args...)
}

func tooBig(field string) *Error   { return syntax("%s field too big", field) }
func badValue(field string) *Error { return syntax("%s field has bad value", field) }

func unknownNode(route string) *Error {
	return mem(`Can't read node with "%s" JVMRoute`, route)
}

// refusal turns every error into what the worker is told: the one place that
// chooses a Type. What is not known to be final is MEM, so that the worker asks
// again.
func refusal(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, ErrNoLeader):
		return mem("No leader")
	case errors.Is(err, context.DeadlineExceeded):
		return mem("No agreement within the reply budget")
	case errors.Is(err, context.Canceled):
		return mem("This replica is stopping")
	}
	return mem("%s", clean(err.Error()))
}

// clean makes s fit for a header line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
