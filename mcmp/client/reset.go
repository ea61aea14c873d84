package client

import (
	"maps"
	"slices"
)

// resetSequence lists the messages that bring a balancer, which answered INFO with
// info, to what the worker is (Java: ResetRequestSource; rules of spec/mcmp.md §12.3).
//
// It repeats the Java client's flaw: if the aliases differ, the whole node is removed
// but contexts that INFO showed enabled are not enabled again.
func resetSequence(node Node, hosts []Host, info Info, registerDisabled bool) []request {
	announce := cmdEnable
	if registerDisabled {
		announce = cmdDisable
	}
	messages := []request{node.config()}
	inFront := func(r request) { messages = slices.Insert(messages, 0, r) }
	known, _ := info.Node(node.Route)
	for _, h := range hosts {
		var reported InfoVHost // none: no aliases, no contexts
		for _, v := range known.VHosts {
			if slices.Contains(v.Aliases, h.Name) {
				reported = v
				if !sameNames(v.Aliases, h.names()) {
					inFront(wholeMessage(cmdRemove, node.Route))
				}
				break
			}
		}
		obsolete := make(map[string]bool)
		for _, c := range reported.Contexts {
			obsolete[c.Path] = true
		}
		for _, c := range h.Contexts {
			delete(obsolete, c.Path)
			status := reported.status(c.Path)
			switch {
			case !c.Stopped && status != Enabled:
				messages = append(messages, appMessage(announce, node.Route, h.names(), c.Path))
			case c.Stopped && (status == Enabled || status == ""):
				messages = append(messages, appMessage(cmdStop, node.Route, h.names(), c.Path))
			}
		}
		switch {
		case len(obsolete) == 0:
		case len(obsolete) == len(reported.Contexts):
			inFront(wholeMessage(cmdRemove, node.Route))
		default:
			for _, path := range slices.Backward(slices.Sorted(maps.Keys(obsolete))) {
				inFront(appMessage(cmdRemove, node.Route, reported.Aliases, path))
			}
		}
	}
	return messages
}

// sameNames compares as sets, with case.
func sameNames(a, b []string) bool {
	for _, name := range a {
		if !slices.Contains(b, name) {
			return false
		}
	}
	for _, name := range b {
		if !slices.Contains(a, name) {
			return false
		}
	}
	return true
}
