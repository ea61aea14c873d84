package fsm

import (
	"slices"
	"strconv"
	"strings"
)

// form applies the first command of a cluster (design.md §5, Identity).
func (t step) form() {
	c := *t.cluster.value
	if c.ID == t.c.ClusterID {
		return
	}
	if c.ID != "" {
		t.refuse("This is cluster " + c.ID + " already")
		return
	}
	if t.nodes.size > 0 {
		t.refuse("There are workers already")
		return
	}
	c.ID = t.c.ClusterID
	t.putCluster(c)
	t.event(Event{Detail: "cluster " + c.ID})
	if t.c.Settings != nil {
		t.adopt(t.c.Settings)
	}
}

// change applies new settings.
func (t step) change() {
	if d := t.Settings().Differences(t.c.Settings); len(d) > 0 {
		t.adopt(t.c.Settings)
		t.event(Event{Detail: strings.Join(d, ", ")})
	}
}

// adopt makes settings those of the cluster. What they no longer leave time or
// room for goes, oldest first; a node or context that is there stays.
func (t step) adopt(s *Settings) {
	if len(t.Settings().Differences(s)) == 0 {
		return
	}
	t.putSettings(s.clone())
	t.r.Changed, t.r.Settings = true, true
	t.age(t.r) // a shorter delay may have passed already
	t.limitMemories(t.r)
	t.limitRemoved(t.r)
	t.limitIntents()
}

// schema raises the version in which entries are written; it never falls.
func (t step) schema() {
	c := *t.cluster.value
	if t.c.Version <= c.Schema {
		return
	}
	was := c.Schema
	c.Schema = t.c.Version
	t.putCluster(c)
	t.event(Event{Detail: "version " + strconv.Itoa(int(was)) + " -> " + strconv.Itoa(int(c.Schema))})
}

// bar keeps a removed replica from being added again by itself.
func (t step) bar() {
	if !t.Barred(t.c.ReplicaID) {
		t.putBarred(t.c.ReplicaID)
		t.event(Event{Detail: t.c.ReplicaID})
	}
}

// Differences names what differs in b, as "voters 3 -> 5", by the keys of
// interface.md §1 under `shared`.
func (a *Settings) Differences(b *Settings) (list []string) {
	note := func(key, was, is string) {
		if was != is {
			list = append(list, key+" "+was+" -> "+is)
		}
	}
	number := func(key string, was, is int64) { note(key, strconv.FormatInt(was, 10), strconv.FormatInt(is, 10)) }
	auto := func(s string) string {
		if s == "" {
			return "auto"
		}
		return s
	}
	note("voters", voters(a.Voters), voters(b.Voters))
	note("default_balancer", a.DefaultBalancer, b.DefaultBalancer)
	number("limits.workers", int64(a.MaxWorkers), int64(b.MaxWorkers))
	number("limits.aliases_per_worker", int64(a.MaxAliases), int64(b.MaxAliases))
	number("limits.contexts_per_worker", int64(a.MaxContexts), int64(b.MaxContexts))
	note("use_alias", a.UseAlias, b.UseAlias)
	number("no_context_status", int64(a.NoContextStatus), int64(b.NoContextStatus))
	number("unavailable_status", int64(a.UnavailableStatus), int64(b.UnavailableStatus))
	note("recalculation_interval", span(a.Recalculation), span(b.Recalculation))
	note("remove_delay", span(a.RemoveDelay), span(b.RemoveDelay))
	note("failover", failover(a.Deterministic), failover(b.Deterministic))
	x, y := &a.Affinity, &b.Affinity
	note("affinity.mode", x.Mode, y.Mode)
	note("affinity.delimiter", x.Delimiter, y.Delimiter)
	note("affinity.cookie", auto(x.Cookie), auto(y.Cookie))
	note("affinity.path_parameter", auto(x.PathParam), auto(y.PathParam))
	note("affinity.sticky", optBool(x.Sticky), optBool(y.Sticky))
	note("affinity.force", optBool(x.Force), optBool(y.Force))
	note("affinity.remove", optBool(x.Drop), optBool(y.Drop))
	note("max_attempts", optInt(a.MaxAttempts), optInt(b.MaxAttempts))
	note("wait_worker", optInt(a.WaitWorker), optInt(b.WaitWorker))
	if !slices.EqualFunc(a.Rules, b.Rules, sameRule) {
		list = append(list, "rules "+strconv.Itoa(len(a.Rules))+" -> "+strconv.Itoa(len(b.Rules)))
	}
	return list
}

func sameRule(a, b Rule) bool {
	return slices.Equal(a.Hosts, b.Hosts) && a.PathPrefix == b.PathPrefix && a.Action == b.Action &&
		a.Balancer == b.Balancer && a.Status == b.Status && a.To == b.To
}

func voters(n int) string {
	if n == 0 {
		return "auto"
	}
	return strconv.Itoa(n)
}

func span(ms int64) string {
	if ms%1000 == 0 {
		return strconv.FormatInt(ms/1000, 10) + "s"
	}
	return strconv.FormatInt(ms, 10) + "ms"
}

func failover(deterministic bool) string {
	if deterministic {
		return "deterministic"
	}
	return "load_balanced"
}

func optBool(b *bool) string {
	if b == nil {
		return "auto"
	}
	return strconv.FormatBool(*b)
}

func optInt(n *int) string {
	if n == nil {
		return "auto"
	}
	return strconv.Itoa(*n)
}
