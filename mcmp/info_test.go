package mcmp

import (
	"strconv"
	"strings"
	"testing"

	"github.com/quorate/quorate/fsm"
	"github.com/quorate/quorate/mcmp/client"
)

// FuzzInfo: whatever messages came, the strict reader finds in INFO exactly what
// the state holds. Each line of the input is a message: a digit for the method,
// "*" for a whole node, the body.
func FuzzInfo(f *testing.F) {
	f.Add("0JVMRoute=w1\n1JVMRoute=w1&Alias=a,B&Context=/,/x\n5JVMRoute=w1&Load=5\n3JVMRoute=w1&Alias=b&Context=/x")
	f.Add("0JVMRoute=w1&Alias=x: y&Context=/[0:1:2]\n0JVMRoute=]&Host=[::1]\n4*JVMRoute=w1\n0JVMRoute=w1")
	f.Add("0JVMRoute=a&Port=1\n0JVMRoute=b&Port=2\n1JVMRoute=b&Alias=+&Context=+\n1JVMRoute=a&Alias=:&Context=:\n2*JVMRoute=a")
	f.Fuzz(func(t *testing.T, script string) {
		st := fsm.New()
		for i, line := range strings.Split(script, "\n") {
			if i >= 50 || line == "" {
				continue
			}
			body, whole := strings.CutPrefix(line[1:], "*")
			m, err := Parse(fuzzMethods[int(line[0])%6], whole, []byte(body))
			if err != nil || m.NoLoad {
				continue
			}
			st, _, err = fsm.Apply(st, fsm.Entry{Schema: fsm.SchemaVersion, Time: int64(1 + i), Commands: []fsm.Command{m.Command}})
			if err != nil {
				t.Fatal(err)
			}
		}
		text := string(infoText(st, func(fsm.JVMRoute) Counters { return Counters{1, 2, 3, 4} }))
		info, err := client.ParseInfo(text)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		nodes := listed(st)
		if len(info.Nodes) != len(nodes) {
			t.Fatalf("%d nodes shown, %d held:\n%s", len(info.Nodes), len(nodes), text)
		}
		for i, n := range nodes {
			sameNode(t, info.Nodes[i], n, text)
		}
	})
}

// sameNode compares a node of INFO with the state's. The reader trims values.
func sameNode(t *testing.T, shown client.InfoNode, held *fsm.Node, text string) {
	same := func(a, b string) bool { return strings.Trim(a, " ") == strings.Trim(b, " ") }
	ok := shown.Name == string(held.Route) && shown.ID == strconv.FormatInt(held.Number, 10) &&
		shown.Field("Load") == strconv.Itoa(held.Load) && same(shown.Field("Balancer"), held.Config.Balancer) &&
		shown.Field("Host") == held.Config.Host && shown.Field("Transfered") == "3" && len(shown.VHosts) == len(held.VHosts)
	for i := 0; ok && i < len(held.VHosts); i++ {
		s, h := shown.VHosts[i], held.VHosts[i]
		ok = s.ID == strconv.Itoa(h.ID) && len(s.Aliases) <= len(h.Aliases) && len(s.Contexts) <= len(h.Contexts)
		trimmed := len(s.Aliases) < len(h.Aliases) || len(s.Contexts) < len(h.Contexts) // two became one
		for j := 0; ok && !trimmed && j < len(h.Aliases); j++ {
			ok = same(s.Aliases[j], h.Aliases[j])
		}
		for j := 0; ok && !trimmed && j < len(h.Contexts); j++ {
			ok = same(s.Contexts[j].Path, string(h.Contexts[j].Path)) && string(s.Contexts[j].Status) == h.Contexts[j].Status.String()
		}
	}
	if !ok {
		t.Fatalf("INFO shows %+v\nthe state holds %+v\n%s", shown, held, text)
	}
}
