package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// Kill -9 of the leader: users of the others notice nothing, and a worker's
// message rides the election out inside its budget.
func TestKillOfTheLeader(t *testing.T) {
	const budget = 5 * time.Second
	c := startTrio(t)
	c.worker("w1", "/shop")
	c.worker("w2", "/shop")
	port := farm(t, 1)[0]
	first := c.replicas[0].mcmp
	mustSend(t, first, "CONFIG", "/", configOf("raw", port))
	mustSend(t, first, "STATUS", "/", loadOf("raw", 50))

	for round := range 3 {
		leader := c.leader()
		follower := c.follower()
		var survivors []string
		for i, r := range c.replicas {
			if i != leader {
				survivors = append(survivors, r.traffic)
			}
		}
		u := startUsers(t, usersConfig{Targets: survivors, Rate: 300, Path: "/shop/", Session: true})
		u.waitFor(t, 300)

		if err := c.replicas[leader].cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		// Within 100 ms of the kill: at once.
		path := fmt.Sprintf("/after%d", round)
		messages := [][2]string{{"STATUS", loadOf("raw", 60+round)}, {"ENABLE-APP", appOf("raw", path)}}
		answers := make([]answer, len(messages))
		var group sync.WaitGroup
		for k, m := range messages {
			group.Go(func() {
				a, err := trySend(c.replicas[follower].mcmp, m[0], "/", m[1])
				if err != nil || a.status != 200 || a.took > budget {
					t.Errorf("%s at %s right after the kill: %v after %s, %v; want 200 within %s", m[0], c.replicas[follower].name, a, a.took, err, budget)
				}
				answers[k] = a
			})
		}
		group.Wait()
		c.kill(leader)
		next := c.leader()
		u.waitFor(t, u.soFar()+300)
		got := u.end()
		t.Logf("figure: kill -9 of leader %s: %s; STATUS answered after %s, ENABLE-APP after %s; %s leads", c.replicas[leader].name, got,
			answers[0].took.Round(time.Millisecond), answers[1].took.Round(time.Millisecond), c.replicas[next].name)
		if len(got.failed) > 0 || got.again > 0 || got.switched > 0 {
			t.Errorf("%d requests failed, %d were sent again, %d sessions moved, want none", len(got.failed), got.again, got.switched)
		}
		for i, r := range c.replicas {
			if i == leader {
				continue
			}
			waitFor(t, patience, r.name+" to have both", func() error {
				w := c.workerAt(i, "raw")
				if w.Load != 60+round || !strings.Contains(c.info(i), path+",") {
					return fmt.Errorf("load %d, contexts %v", w.Load, w.Contexts)
				}
				return nil
			})
		}
		if round == 0 {
			c.says(next, 3, "Degraded: 2 of 3 voters, none may fail. Leader "+c.replicas[next].name+" for ", "- "+c.replicas[leader].name+" unreachable for ")
		}
		c.start(leader)
		c.waitHealthy(0, 1, 2)
		c.says(leader, 0, "Healthy: 3 of 3 voters, 1 may fail. Leader "+c.replicas[next].name+" for ")
		c.waitUp("w1", "w2")
	}
	c.sameState()
}

// says waits until `quorate status` of replica i ends with this code and has
// lines that begin so.
func (c *trio) says(i, code int, lines ...string) {
	c.t.Helper()
	waitFor(c.t, patience, "the right words", func() error {
		got, out, complaints := c.quorate(i, "status")
		for _, l := range lines {
			if got != code || !strings.Contains("\n"+out, "\n"+l) {
				return fmt.Errorf("exit %d, want %d and %q:\n%s%s", got, code, l, out, complaints)
			}
		}
		return nil
	})
}

// waitFor returns when the users have made n requests.
func (u *users) waitFor(t testing.TB, n int) {
	t.Helper()
	waitFor(t, patience, "requests", func() error {
		if got := u.soFar(); got < n {
			return fmt.Errorf("%d of %d", got, n)
		}
		return nil
	})
}
