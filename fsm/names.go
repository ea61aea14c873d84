package fsm

import "strconv"

// String gives the word of the history's OP column (ux.md §3).
func (o Op) String() string {
	switch o {
	case OpConfig:
		return "CONFIG"
	case OpEnable:
		return "ENABLE"
	case OpDisable:
		return "DISABLE"
	case OpStop:
		return "STOP"
	case OpRemove:
		return "REMOVE"
	case OpStatus:
		return "STATUS"
	case OpDrain:
		return "DRAIN"
	case OpHold:
		return "HOLD"
	case OpRelease:
		return "RELEASE"
	case OpDrop:
		return "DROP"
	case OpForm:
		return "FORM"
	case OpSettings:
		return "SETTINGS"
	case OpTick:
		return "TICK"
	case OpExpire:
		return "EXPIRE"
	case OpSchema:
		return "SCHEMA"
	case OpBar:
		return "BAR"
	}
	return "OP" + strconv.Itoa(int(o))
}

// String gives INFO's word (spec/mcmp.md §0.6).
func (s Status) String() string {
	switch s {
	case Enabled:
		return "ENABLED"
	case Disabled:
		return "DISABLED"
	case Stopped:
		return "STOPPED"
	}
	return "STATUS" + strconv.Itoa(int(s))
}

// String gives OK or MEM.
func (c Code) String() string {
	if c == OK {
		return "OK"
	}
	return "MEM"
}

// String gives drain, hold, or "" for none (interface.md §3).
func (m HoldMode) String() string {
	switch m {
	case HoldDrain:
		return "drain"
	case HoldAll:
		return "hold"
	}
	return ""
}

// Effective says what a context takes, after the worker's word and the
// operator's.
type Effective uint8

// The stricter, the higher.
const (
	EffEnabled  Effective = 1 // everything
	EffDisabled Effective = 2 // requests of its sessions only: disabled or draining
	EffStopped  Effective = 3 // nothing: stopped or held
)

// String gives INFO's word for it.
func (e Effective) String() string { return Status(e).String() }

// URL gives where the worker listens: "ajp://10.0.1.21:8009".
func (c *NodeConfig) URL() string { return c.Type + "://" + c.address() }

// address is the key of "one worker per address". Types do not tell addresses apart.
func (c *NodeConfig) address() string { return Lower(c.Host) + ":" + strconv.Itoa(c.Port) }

// Lower folds ASCII alone: Unicode's tables change with the Go version, and two
// replicas must fold alike.
func Lower(s string) string {
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				if 'A' <= b[j] && b[j] <= 'Z' {
					b[j] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// sameAlias compares aliases in any case (spec/mcmp.md §0.2).
func sameAlias(a, b string) bool { return len(a) == len(b) && Lower(a) == Lower(b) }
