package fsm

import "slices"

// Limits of fields in bytes (spec/mcmp.md §0.2).
const (
	MaxBalancer = 39
	MaxRoute    = 63
	MaxDomain   = 19
	MaxHost     = 63
	MaxCookie   = 29
	MaxAlias    = 254
	MaxContext  = 79
)

// Limits of our own.
const (
	maxName   = 255  // replica, source, operator, ids
	maxReason = 1024 // what an operator says
	maxRules  = 1000
)

// check looks at a command by itself. Messages are checked before the log; this
// is for a replica that fails to, so that all refuse alike what it lets through.
// It gives the text of the refusal, or "".
func (s *State) check(c *Command) string {
	switch {
	case c.Op < OpConfig || c.Op > OpBar:
		return "Unknown operation"
	case size(c) > MaxCommandBytes:
		return "The command is too large"
	case len(c.Replica) > maxName || len(c.Source) > maxName || len(c.By) > maxName || len(c.ClusterID) > maxName || len(c.ReplicaID) > maxName:
		return "A name is too big"
	case len(c.Reason) > maxReason:
		return "Reason field too big"
	case control(c.Replica) || control(c.Source) || control(c.By) || control(c.Reason) || control(c.ClusterID) || control(c.ReplicaID):
		return "A name has bad value"
	case c.Op == OpSchema && !known(c.Version):
		return "Unknown schema version"
	}
	switch c.Op {
	case OpForm:
		if c.ClusterID == "" {
			return "No cluster id"
		}
		if c.Settings == nil {
			return ""
		}
		return c.Settings.check()
	case OpSettings:
		if c.Settings == nil {
			return "No settings"
		}
		return c.Settings.check()
	case OpBar:
		if c.ReplicaID == "" {
			return "No replica id"
		}
		return ""
	case OpTick, OpSchema:
		return ""
	}

	switch {
	case c.Route == "":
		return "JVMRoute can't be empty"
	case len(c.Route) > MaxRoute:
		return "JVMRoute field too big"
	case !plain(string(c.Route)):
		return "JVMRoute field has bad value"
	}
	switch c.Op {
	case OpConfig:
		if c.Config == nil {
			return "CONFIG without a configuration"
		}
		if mess := c.Config.check(); mess != "" {
			return mess
		}
		return c.checkApps(false)
	case OpEnable, OpDisable, OpStop, OpRemove:
		if c.Whole {
			return ""
		}
		return c.checkApps(true)
	case OpStatus:
		if c.Load < -1 || c.Load > 100 {
			return "Load field has bad value"
		}
	case OpDrain, OpHold, OpRelease:
		if len(c.Alias) > MaxAlias {
			return "Alias field too big"
		}
		if len(c.Context) > MaxContext {
			return "Context field too big"
		}
		if !plain(c.Alias) || !plain(string(c.Context)) {
			return "Context field has bad value"
		}
	}
	return ""
}

// checkApps looks at the aliases and contexts of a message.
func (c *Command) checkApps(needed bool) string {
	switch {
	case needed && len(c.Aliases) == 0 && len(c.Contexts) == 0:
		return "No Context and Alias in APP command"
	case len(c.Aliases) == 0 && len(c.Contexts) > 0:
		return "Context without Alias"
	case len(c.Contexts) == 0 && len(c.Aliases) > 0:
		return "Alias without Context"
	}
	for _, a := range c.Aliases {
		if len(a) > MaxAlias {
			return "Alias field too big"
		}
		if a == "" || !plain(a) {
			return "Alias field has bad value"
		}
	}
	for _, p := range c.Contexts {
		if len(p) > MaxContext {
			return "Context field too big"
		}
		if p == "" || !plain(string(p)) {
			return "Context field has bad value"
		}
	}
	return ""
}

func (c *NodeConfig) check() string {
	switch {
	case len(c.Balancer) > MaxBalancer:
		return "Balancer field too big"
	case len(c.Domain) > MaxDomain:
		return "LBGroup field too big"
	case len(c.Host) > MaxHost:
		return "Host field too big"
	case len(c.Cookie) > MaxCookie || len(c.PathParam) > MaxCookie:
		return "A field is too big"
	case !plain(c.Balancer):
		return "Balancer field has bad value"
	case !plain(c.Domain):
		return "LBGroup field has bad value"
	case c.Host == "" || !plain(c.Host):
		return "Host field has bad value"
	case !plain(c.Cookie) || !plain(c.PathParam):
		return "A field has bad value"
	case c.Port < 1 || c.Port > 65535:
		return "Port field has bad value"
	case c.Type != "ajp" && c.Type != "http" && c.Type != "https":
		return "Type field has bad value"
	case c.Ping < 0 || c.Timeout < 0 || c.TTL < 0 || c.FlushWait < 0:
		return "A time has bad value"
	}
	return ""
}

// plain says that a value breaks no line of INFO: no control character, quote,
// bracket, backslash or comma.
func plain(s string) bool {
	for i := range len(s) {
		switch b := s[i]; {
		case b < 0x20, b == 0x7f, b == '<', b == '>', b == '"', b == '\'', b == '\\', b == ',':
			return false
		}
	}
	return true
}

// control says that a text would break a line of the history.
func control(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// size is about what a command takes in an entry; exact enough to be equal on
// all replicas.
func size(c *Command) int {
	n := 0
	for _, s := range []string{c.Replica, c.Source, string(c.Route), c.By, c.Reason, c.Alias, string(c.Context), c.ClusterID, c.ReplicaID} {
		n += len(s)
	}
	for _, a := range c.Aliases {
		n += 1 + len(a)
	}
	for _, p := range c.Contexts {
		n += 1 + len(p)
	}
	for _, g := range c.Gone {
		n += 1 + len(g)
	}
	if c.Settings != nil {
		for i := range c.Settings.Rules {
			r := &c.Settings.Rules[i]
			n += 8 + len(r.PathPrefix) + len(r.Action) + len(r.Balancer) + len(r.To)
			for _, h := range r.Hosts {
				n += 1 + len(h)
			}
		}
	}
	return n
}

// check looks at settings whose rules are those of interface.md §1.
func (s *Settings) check() string {
	a := &s.Affinity
	switch {
	case !slices.Contains([]int{0, 1, 3, 5, 7}, s.Voters):
		return "voters must be 1, 3, 5 or 7"
	case s.DefaultBalancer == "" || len(s.DefaultBalancer) > MaxBalancer || !plain(s.DefaultBalancer):
		return "default_balancer has bad value"
	case s.MaxWorkers < 0 || s.MaxAliases < 0 || s.MaxContexts < 0:
		return "limits have bad value"
	case !slices.Contains([]string{"auto", "true", "false"}, s.UseAlias):
		return "use_alias must be auto, true or false"
	case s.NoContextStatus < 100 || s.NoContextStatus > 599 || s.UnavailableStatus < 100 || s.UnavailableStatus > 599:
		return "a status must be 100 to 599"
	case s.Recalculation < 0 || s.RemoveDelay < 0:
		return "a duration has bad value"
	case !slices.Contains([]string{"none", "single", "ranked"}, a.Mode):
		return "affinity.mode must be none, single or ranked"
	case len(a.Delimiter) > maxName || len(a.Cookie) > maxName || len(a.PathParam) > maxName:
		return "affinity has too long a name"
	case len(s.Rules) > maxRules:
		return "too many rules"
	}
	for i := range s.Rules {
		if !slices.Contains([]string{"route", "reject", "redirect"}, s.Rules[i].Action) {
			return "a rule's action must be route, reject or redirect"
		}
	}
	return ""
}
