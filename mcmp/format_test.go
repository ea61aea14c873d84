package mcmp

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/quorate/quorate/fsm"
)

// Format writes the body that Parse reads back as m: the inverse of Parse. The
// target is "/*" if m.Command.Whole, else "/".
func Format(m Message) []byte {
	var w writer
	switch m.Method {
	case methodConfig:
		w.add("JVMRoute", string(m.Command.Route))
		w.config(m.Command.Config)
		w.targets(m.Command)
	case methodStatus:
		w.add("JVMRoute", string(m.Command.Route))
		if !m.NoLoad {
			w.add("Load", strconv.Itoa(m.Command.Load))
		}
	case methodEnable, methodDisable, methodStop, methodRemove:
		w.add("JVMRoute", string(m.Command.Route))
		w.targets(m.Command)
	case methodPing:
		w.add("JVMRoute", string(m.Ping.Route))
		w.add("Scheme", m.Ping.Scheme)
		w.add("Host", m.Ping.Host)
		if m.Ping.Port != 0 {
			w.add("Port", strconv.Itoa(m.Ping.Port))
		}
	}
	return []byte(w.String())
}

// writer collects pairs, form-encoded as the Java client does it.
type writer struct{ strings.Builder }

// add writes a pair; an empty value is left out, as it cannot be said in CONFIG.
func (w *writer) add(name, value string) {
	if value == "" {
		return
	}
	if w.Len() > 0 {
		w.WriteByte('&')
	}
	w.WriteString(name + "=" + url.QueryEscape(value))
}

func (w *writer) targets(c fsm.Command) {
	w.add("Alias", strings.Join(c.Aliases, ","))
	paths := make([]string, len(c.Contexts))
	for i, p := range c.Contexts {
		paths[i] = string(p)
	}
	w.add("Context", strings.Join(paths, ","))
}

func (w *writer) config(n *fsm.NodeConfig) {
	ms := func(t int64) string { return strconv.FormatInt(t, 10) + "ms" }
	yes := func(b bool) string {
		if b {
			return "Yes"
		}
		return "No"
	}
	w.add("Balancer", n.Balancer)
	w.add("Domain", n.Domain)
	w.add("Host", n.Host)
	w.add("Port", strconv.Itoa(n.Port))
	w.add("Type", n.Type)
	w.add("ping", ms(n.Ping))
	w.add("Timeout", ms(n.Timeout))
	w.add("ttl", ms(n.TTL))
	w.add("smax", strconv.Itoa(n.Smax))
	w.add("flushpackets", flushWords[n.FlushPackets])
	w.add("flushwait", ms(n.FlushWait))
	w.add("StickySession", yes(n.Sticky))
	w.add("StickySessionForce", yes(n.StickyForce))
	w.add("StickySessionRemove", yes(n.StickyDrop))
	w.add("StickySessionCookie", n.Cookie)
	w.add("StickySessionPath", n.PathParam)
	w.add("WaitWorker", strconv.Itoa(n.WaitWorker))
	w.add("Maxattempts", strconv.Itoa(n.MaxAttempts))
}
