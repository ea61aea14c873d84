package client

import (
	"reflect"
	"strings"
	"testing"
)

const goodInfo = `Node: [0],Name: node1,Balancer: mycluster,LBGroup: blue,Host: 10.0.0.11,Port: 8009,Type: ajp,Flushpackets: Off,Flushwait: 10,Ping: 10,Smax: -1,Ttl: 60,Elected: 12,Read: 4096,Transfered: 512,Connected: 1,Load: 87
Node: [100],Name: node2,Balancer: mycluster,LBGroup: ,Host: 10.0.0.12,Port: 8080,Type: http,Load: 0
Vhost: [0:1:0], Alias: default-host
Vhost: [0:1:1], Alias: localhost
Vhost: [100:1:2], Alias: localhost
Context: [0:1:0], Context: /shop, Status: ENABLED
Context: [100:1:1], Context: /, Status: DISABLED
`

func TestParseInfo(t *testing.T) {
	info, err := ParseInfo(goodInfo)
	if err != nil {
		t.Fatal(err)
	}
	n, ok := info.Node("node1")
	if !ok || n.Field("Load") != "87" || n.Field("LBGroup") != "blue" || n.Field("nope") != "" {
		t.Errorf("node1 read as %+v", n)
	}
	if got := n.Status("localhost", "/shop"); got != Enabled {
		t.Errorf("/shop on node1 is %q", got)
	}
	if got := n.Status("default-host", "/nope"); got != "" {
		t.Errorf("/nope on node1 is %q", got)
	}
	if n, ok = info.Node("node2"); !ok || n.ID != "100" || n.Status("localhost", "/") != Disabled {
		t.Errorf("node2 read as %+v", n)
	}
	if _, ok = info.Node("node3"); ok {
		t.Error("node3 found")
	}
	if got := info.String(); got != goodInfo {
		t.Errorf("printed as\n%s", got)
	}
}

func TestParseInfoAccepts(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                    "",
		"CR, CRLF, unknown lines":    "# x\rNode: [1],Name: a\r\nPeer: [1],x\nnode: x\n\n",
		"Name not first":             "Node: [1],X: y,Name: a",
		"no colon behind Name":       "Node: [1],Name: a,rubbish",
		"empty entries at the end":   "Node: [1],Name: a\nVhost: [1:1:0],Alias: x,,",
		"no blanks":                  "Node: [1],Name:a\nVhost: [1:1:0],Alias:x\nContext: [1:1:0],Status:STOPPED,Context:/",
		"alias twice, vhost per one": "Node: [1],Name: a\nVhost: [1:1:0], Alias: x\nVhost: [1:1:1], Alias: x\nVhost: [1:2:2], Alias: x",
	} {
		if _, err := ParseInfo(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseInfoRefuses(t *testing.T) {
	const node, vhost = "Node: [1],Name: a\n", "Node: [1],Name: a\nVhost: [1:1:0], Alias: x\n"
	for name, text := range map[string]string{
		"node without id":        "Node: 1,Name: a",
		"node id not closed":     "Node: [1,Name: a",
		"brackets reversed":      "Node: ]1[,Name: a",
		"id of colons":           "Node: [:::],Name: a",
		"node without name":      "Node: [1],Balancer: a",
		"entry without colon":    "Node: [1],Balancer,Name: a",
		"vhost of no node":       "Vhost: [1:1:0], Alias: x",
		"vhost before its node":  "Vhost: [1:1:0], Alias: x\n" + node,
		"vhost with two ids":     node + "Vhost: [1:1], Alias: x",
		"vhost with four ids":    node + "Vhost: [1:1:0:0], Alias: x",
		"vhost with one id":      node + "Vhost: [1], Alias: x",
		"vhost without alias":    node + "Vhost: [1:1:0], Name: x",
		"comma in an alias":      node + "Vhost: [1:1:0], Alias: x,y",
		"context of no vhost":    vhost + "Context: [1:2:0], Context: /, Status: ENABLED",
		"context of no node":     vhost + "Context: [2:1:0], Context: /, Status: ENABLED",
		"context before vhost":   node + "Context: [1:1:0], Context: /, Status: ENABLED\nVhost: [1:1:0], Alias: x",
		"context without path":   vhost + "Context: [1:1:0], Status: ENABLED",
		"context without status": vhost + "Context: [1:1:0], Context: /",
		"unknown status":         vhost + "Context: [1:1:0], Context: /, Status: REMOVED",
		"status in lower case":   vhost + "Context: [1:1:0], Context: /, Status: enabled",
		"comma in a path":        vhost + "Context: [1:1:0], Context: /a,b, Status: ENABLED",
	} {
		if info, err := ParseInfo(text); err == nil {
			t.Errorf("%s: accepted as %+v", name, info)
		} else if !strings.Contains(err.Error(), "INFO line") {
			t.Errorf("%s: error does not name the line: %v", name, err)
		}
	}
}

func FuzzParseInfo(f *testing.F) {
	f.Add(goodInfo)
	f.Add("Node: [1:],Name: a,Name: b,: \nVhost: [::], Alias: ")
	f.Add("Node: [],X:,Name:\rVhost: [::0],Alias:\rContext: [::0],Context:,Status:STOPPED")
	f.Fuzz(func(t *testing.T, text string) {
		info, err := ParseInfo(text)
		if err != nil {
			return
		}
		again, err := ParseInfo(info.String())
		if err != nil || !reflect.DeepEqual(info, again) {
			t.Fatalf("%q printed as %q came back as %+v, %v", text, info.String(), again, err)
		}
	})
}
