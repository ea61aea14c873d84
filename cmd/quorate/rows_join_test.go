package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/admin"
	"github.com/quorate/quorate/raftnode"
)

// A fourth replica is told the secret and where the others are, nothing else.
func TestFourthReplicaJoins(t *testing.T) {
	c := startTrio(t)
	c.worker("w1", "/shop")
	began := time.Now()
	i := c.add("lb4")
	c.waitHealthy(0, 1, 2, 3)
	c.waitUp("w1")
	took := time.Since(began)
	s := c.status(i)
	if s.Replica.Role != "non-voter" || s.Replica.Voter || s.Cluster.Voters != 3 {
		t.Errorf("lb4 is %s, voter %v, %d voters; want a non-voter beside 3", s.Replica.Role, s.Replica.Voter, s.Cluster.Voters)
	}
	for at := range c.replicas {
		waitFor(t, patience, c.replicas[at].name+" to see lb4", func() error {
			var lb4 admin.Replica
			for _, r := range c.status(at).Replicas {
				if r.Name == "lb4" {
					lb4 = r
				}
			}
			if lb4.Role != "non-voter" || !lb4.Reachable || !lb4.Ready {
				return fmt.Errorf("%+v", lb4)
			}
			return nil
		})
	}
	if status, worker, err := get(c.replicas[i].traffic, "/shop/", ""); status != 200 || worker != "w1" {
		t.Errorf("lb4 answers %d from %q, %v", status, worker, err)
	}
	// It takes workers' messages like any other.
	mustSend(t, c.replicas[i].mcmp, "ENABLE-APP", "/", appOf("w1", "/by-lb4"))
	waitFor(t, patience, "lb1 to route by what lb4 acknowledged", func() error {
		if status, _, err := get(c.replicas[0].traffic, "/by-lb4/", ""); status != 200 {
			return fmt.Errorf("%d, %v", status, err)
		}
		return nil
	})
	c.sameState()
	t.Logf("figure: a fourth replica with join and secret alone: non-voter that serves after %s", took.Round(time.Millisecond))
}

// A replica with another secret does not get in, and is told why.
func TestWrongSecretIsRefused(t *testing.T) {
	c := startTrio(t)
	good := c.secret
	c.secret = filepath.Join(c.dir, "wrong")
	if err := os.WriteFile(c.secret, []byte(raftnode.NewSecret().Text()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	i := c.add("stranger")
	c.secret = good
	const want = "refused: not the same cluster secret"
	r := c.replicas[i]
	waitFor(t, patience, "the reason", func() error {
		b, err := os.ReadFile(r.log)
		if err != nil {
			return err
		}
		if !strings.Contains(string(b), want) {
			return fmt.Errorf("it says: %s", c.lastLine(i))
		}
		return nil
	})
	for at := range 3 {
		s := c.status(at)
		if len(s.Replicas) != 3 || !s.Cluster.Healthy {
			t.Errorf("%s: %d replicas, problems %v", c.replicas[at].name, len(s.Replicas), s.Problems)
		}
	}
	var s *admin.Status
	if r.running() {
		s = c.status(i)
		if s.Replica.Ready || s.Cluster.ID != "" {
			t.Errorf("the stranger is ready (%v) in cluster %q", s.Replica.Ready, s.Cluster.ID)
		}
	}
	for _, line := range strings.Split(c.all(i), "\n") {
		if strings.Contains(line, want) {
			t.Logf("figure: wrong secret, running %v: %s", r.running(), line)
			break
		}
	}
}

func (c *trio) all(i int) string {
	b, err := os.ReadFile(c.replicas[i].log)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(b)
}
