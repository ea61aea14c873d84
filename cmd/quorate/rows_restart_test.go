package main

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/quorate/quorate/mcmp/client"
)

// All replicas are killed and one comes back alone: no leader, no quorum, and
// still it is a load balancer.
func TestRestartedAlone(t *testing.T) {
	c := startTrio(t)
	var balancers []string
	for _, r := range c.replicas {
		balancers = append(balancers, r.mcmp)
	}
	// Each replica that comes back alone has a worker that did not lose it before.
	var workers []*worker
	for i := range c.replicas {
		w := newWorker(t, workerConfig{Name: fmt.Sprintf("w%d", i), Contexts: []string{"/shop", fmt.Sprintf("/app%d", i)}, Balancers: balancers})
		w.cycle()
		workers = append(workers, w)
	}
	c.waitUp("w0", "w1", "w2")
	ports := farm(t, 2)
	mustSend(t, balancers[0], "CONFIG", "/", configOf("raw", ports[0]))
	mustSend(t, balancers[0], "STATUS", "/", loadOf("raw", 100))
	for i, b := range balancers {
		mustSend(t, b, "ENABLE-APP", "/", appOf("raw", fmt.Sprintf("/last%d", i)))
	}
	for _, r := range c.replicas {
		r.cmd.Process.Kill()
	}
	for i := range c.replicas {
		<-c.replicas[i].ended
	}
	asker.CloseIdleConnections()

	for i, r := range c.replicas {
		began := time.Now()
		c.start(i)
		// Whoever gets a connection gets a right answer.
		var conn net.Conn
		waitFor(t, patience, r.name+" to accept", func() (err error) {
			conn, err = net.Dial("tcp", r.traffic)
			return err
		})
		accepts := time.Since(began)
		first := &visitor{c: &usersConfig{Targets: []string{r.traffic}}}
		first.adopt(conn)
		acknowledged := []string{fmt.Sprintf("/last%d", i), "/shop", "/app0", "/app1", "/app2"}
		for n, path := range acknowledged {
			if err := first.ask(path+"/", &seen{workers: map[string]int{}}); err != nil {
				t.Errorf("%s alone: request %d, %s/: %v", r.name, n+1, path, err)
			}
		}
		first.hangUp()
		asked := time.Since(began)

		// Nothing new can be agreed on, and a worker is told so at once.
		refused := send(t, r.mcmp, "CONFIG", "/", configOf("new", ports[1]))
		if refused.status != 500 || refused.kind != "MEM" || refused.took > time.Second {
			t.Errorf("%s alone: new CONFIG: %v after %s, want 500 MEM within 1s", r.name, refused, refused.took)
		}

		c.says(i, 3, "No quorum: 1 of 3 voters, 2 needed. No leader", "Traffic goes on by the state of index ")

		// A worker that is known goes on as if nothing had happened ...
		w := workers[i]
		for period := range 2 {
			w.cycle()
			if s := w.mcmp.States()[i].State; s != client.OK {
				t.Errorf("%s alone: worker's period %d: %s, want OK", r.name, period+1, s)
			}
		}
		// ... and what it takes away is away.
		path := fmt.Sprintf("/app%d", i)
		cookie := "C0FFEE." + w.name
		if status, _, err := get(r.traffic, path+"/", cookie); status != 200 {
			t.Errorf("%s alone: %s/ before STOP: %d, %v", r.name, path, status, err)
		}
		stop, cancel := context.WithTimeout(context.Background(), patience)
		left, err := w.mcmp.StopContext(stop, "localhost", path)
		cancel()
		stopped := time.Now()
		status, _, _ := get(r.traffic, path+"/", "")
		if status != 503 {
			t.Errorf("%s alone: %s/ after STOP: %d, want 503", r.name, path, status)
		}
		withSession, _, _ := get(r.traffic, path+"/", cookie)
		periods := 0
		for ; withSession == 200 && periods < 3; periods++ {
			w.cycle()
			withSession, _, _ = get(r.traffic, path+"/", cookie)
		}
		if withSession != 503 {
			t.Errorf("%s alone: %s/ of a session after STOP and %d periods: %d, want 503", r.name, path, periods, withSession)
		}
		if status, _, _ := get(r.traffic, "/shop/", ""); status != 200 {
			t.Errorf("%s alone: /shop/ after STOP of %s: %d, want 200", r.name, path, status)
		}
		t.Logf("figure: %s alone: accepts after %s, %d contexts right by then %s; new CONFIG %d %s after %s; worker OK for two periods; STOP (%d left, %v): new users 503 at once, sessions after %d periods, %s",
			r.name, accepts.Round(time.Millisecond), len(acknowledged), asked.Round(time.Millisecond), refused.status, refused.kind, refused.took.Round(time.Millisecond),
			left, err, periods, time.Since(stopped).Round(time.Millisecond))
		c.kill(i)
	}

	// Together they are a cluster again, and nothing is missing.
	c.startAll()
	for _, r := range c.replicas {
		for n := range c.replicas {
			path := fmt.Sprintf("/last%d", n)
			if status, _, err := get(r.traffic, path+"/", ""); status != 200 {
				t.Errorf("%s: %s/ after the restart of all: %d, %v", r.name, path, status, err)
			}
		}
	}
	c.sameState()
}
