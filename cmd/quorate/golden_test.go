package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/admin"
)

var rewrite = flag.Bool("rewrite", false, "rewrite golden files")

// now is the moment of the samples.
var now = time.Date(2026, 11, 24, 21, 10, 21, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

func sampleStatus() admin.Status {
	since := ago(146 * time.Hour)
	address := func(n string) admin.Addresses {
		return admin.Addresses{Traffic: []string{"10.0.0.1" + n + ":8080"}, Cluster: "10.0.0.1" + n + ":7300"}
	}
	replica := func(n, role string) admin.Replica {
		return admin.Replica{ID: "id" + n, Name: "lb" + n, Role: role, Voter: true, Reachable: true, Ready: true,
			AppliedIndex: 8412, StateHash: "9f", Version: "0.1.0", Addresses: address(n)}
	}
	return admin.Status{
		Cluster:    admin.Cluster{ID: "3f7d19aa", Leader: "lb2", Term: 4, Voters: 3, WantedVoters: 3, FailureTolerance: 1, Healthy: true, LeaderSince: &since},
		Replica:    admin.Self{ID: "id1", Name: "lb1", AppliedIndex: 8412, Addresses: address("1")},
		Replicas:   []admin.Replica{replica("2", "leader"), replica("1", "follower"), replica("3", "follower")},
		LastChange: &admin.Change{Index: 8412, Time: ago(41 * time.Second), Op: "STATUS", Route: "app-4", Detail: "load 94 -> -1"},
		Workers:    admin.WorkerSums{Total: 5, Usable: 2, Contexts: 13},
	}
}

func TestStatusText(t *testing.T) {
	for name, change := range map[string]func(*admin.Status){
		"healthy": func(*admin.Status) {},
		"degraded": func(s *admin.Status) {
			s.Cluster.Healthy, s.Cluster.FailureTolerance = false, 0
			s.Replicas[2].Reachable = false
			s.Problems = []admin.Problem{
				{Code: "replica_unreachable", Replica: "lb3", Detail: "10.0.0.13:7300: connection refused", Since: ago(192 * time.Second)},
				{Code: "config_differs", Replica: "lb1", Detail: "shared.voters: 5 in its file, 3 in the log", Since: ago(time.Hour)},
			}
		},
		"no_quorum": func(s *admin.Status) {
			s.Cluster = admin.Cluster{ID: "3f7d19aa", Term: 4, Voters: 3, WantedVoters: 3}
			s.Replicas[0].Reachable, s.Replicas[2].Reachable = false, false
			s.Problems = []admin.Problem{
				{Code: "no_leader", Since: ago(160 * time.Second)},
				{Code: "replica_unreachable", Replica: "lb2", Detail: "10.0.0.12:7300: timeout", Since: ago(161 * time.Second)},
				{Code: "replica_unreachable", Replica: "lb3", Detail: "10.0.0.13:7300: timeout", Since: ago(160 * time.Second)},
			}
		},
		"election": func(s *admin.Status) {
			s.Cluster.Leader, s.Cluster.Healthy, s.Cluster.LeaderSince = "", false, nil
			s.Problems = []admin.Problem{{Code: "no_leader", Since: ago(400 * time.Millisecond)}}
		},
		"standalone": func(s *admin.Status) {
			s.Cluster.Leader, s.Cluster.Voters, s.Cluster.WantedVoters, s.Cluster.FailureTolerance = "lb1", 1, 1, 0
			s.Replica.Addresses.Cluster = ""
			s.Replicas = s.Replicas[1:2]
			s.LastChange = &admin.Change{Time: ago(time.Minute), Op: "ENABLE", Route: "app-1", Context: "/shop"}
		},
		"not_formed": func(s *admin.Status) {
			*s = admin.Status{Replica: s.Replica, Replicas: s.Replicas[1:2]}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := sampleStatus()
			change(&s)
			var b bytes.Buffer
			printStatus(&b, &s, now, false)
			golden(t, "status_"+name, b.String())
		})
	}
}

func TestWorkersText(t *testing.T) {
	workers := []admin.Worker{
		{Route: "app-10", Type: "http", Host: "10.0.1.30", Port: 8080, Load: 50, Status: "new", Why: "no STATUS yet"},
		{Route: "app-1", Type: "ajp", Host: "10.0.1.21", Port: 8009, Load: 97, Status: "up", Why: takesSessions,
			Contexts: []admin.Context{{Path: "/shop", Aliases: []string{"localhost"}, Status: "ENABLED", Effective: "ENABLED", Requests: 12}, {Path: "/api", Aliases: []string{"localhost"}, Status: "STOPPED", Effective: "STOPPED"}}},
		{Route: "app-3", Type: "https", Host: "10.0.1.23", Port: 8443, Load: 99, Status: "draining", Why: `by ops 4m ago ("kernel update"): no new sessions; 2 requests left`},
		{Route: "app-5", Type: "http", Host: "127.0.0.1", Port: 8080, Load: 100, Status: "unreachable",
			Why: "no replica can connect. It registered from 10.0.1.25 as 127.0.0.1: set the connector's address on the worker", Reachable: map[string]bool{"lb1": false, "lb2": false}},
	}
	var b bytes.Buffer
	printWorkers(&b, workers, false)
	golden(t, "workers", b.String())
	b.Reset()
	printWorkers(&b, nil, false)
	golden(t, "workers_none", b.String())
	b.Reset()
	one := workers[0]
	one.Balancer, one.Source, one.RegisteredAt, one.Reachable = "mycluster", "10.0.1.21:40112", ago(time.Hour), map[string]bool{"lb1": true, "lb2": true, "lb3": false}
	printWorker(&b, one, false)
	golden(t, "worker_one", b.String())
}

// golden compares with testdata/golden/NAME.txt and holds every line to 80 columns.
func golden(t *testing.T, name, got string) {
	t.Helper()
	for line := range strings.Lines(got) {
		if len(strings.TrimRight(line, "\n")) > 80 {
			t.Errorf("%s: wider than 80 columns: %s", name, line)
		}
	}
	file := filepath.Join("testdata", "golden", name+".txt")
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s\n got:\n%s\nwant:\n%s", name, got, want)
	}
}
