//go:build check || soak

package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"
)

// shortKeepAlive posts ten times a second, on the average, to a Tomcat that closes
// connections after a second without a request. The posts come evenly, in bursts a
// second apart, and at random: connections are reused, too old, or just being closed.
func shortKeepAlive(t *testing.T, lasts time.Duration) {
	c := prepare(t, trioConfig{Replicas: 1})
	c.startAll()
	startTomcat(t, buildTomcat(t), "w1", []string{c.replicas[0].mcmp}, "1000")
	c.waitUsable("w1", "/shop")

	const users = 12
	queue := make(chan string)
	var group sync.WaitGroup
	var mu sync.Mutex
	var failed []string
	for range users {
		group.Go(func() {
			me := &visitor{c: &usersConfig{Targets: []string{c.replicas[0].traffic}}}
			defer me.hangUp()
			for id := range queue {
				if err := me.bring(http.MethodPost, "/shop/once", id); err != nil {
					mu.Lock()
					failed = append(failed, err.Error())
					mu.Unlock()
				}
			}
		})
	}
	sent := 0
	post := func() {
		queue <- fmt.Sprintf("post-%d", sent)
		sent++
	}
	for end := time.Now().Add(lasts); time.Now().Before(end); {
		for range 50 {
			post()
			time.Sleep(100 * time.Millisecond)
		}
		for range 5 { // what Tomcat is about to close, or has just closed
			for range 10 {
				post()
			}
			time.Sleep(900*time.Millisecond + rand.N(200*time.Millisecond))
		}
		for range 50 {
			post()
			time.Sleep(time.Duration(rand.ExpFloat64() * float64(100*time.Millisecond)))
		}
	}
	close(queue)
	group.Wait()

	resp, sum, err := (&visitor{c: &usersConfig{Targets: []string{c.replicas[0].traffic}}}).tell(http.MethodGet, "GET /shop/sum HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("figure: %d POST in %s to a Tomcat with keepAliveTimeout 1 s: %d errors; ids and posts that arrived: %s", sent, lasts, len(failed), sum)
	for _, f := range failed[:min(10, len(failed))] {
		t.Error(f)
	}
	if want := fmt.Sprintf("%d %d", sent, sent); resp.StatusCode != http.StatusOK || string(sum) != want {
		t.Errorf("arrived %q, want %q", sum, want)
	}
}
