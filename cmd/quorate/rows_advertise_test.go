package main

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/quorate/quorate/mcmp/advertise"
)

// A worker that knows nobody hears the replicas, and registers with all of them; with
// another key it never does.
func TestFirstWorkerByAdvertising(t *testing.T) {
	const interval, period = time.Second, time.Second
	group := netip.MustParseAddrPort("239.255.77.9:23364")
	key := filepath.Join(t.TempDir(), "key")
	c := prepare(t, trioConfig{Set: []string{"mcmp.advertise.enabled=true", "mcmp.advertise.group=" + group.Addr().String(),
		"mcmp.advertise.interval=" + interval.String(), "mcmp.advertise.security_key_file=" + key}})
	c.write(key, "s3cret\n")
	c.startAll()

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	right, wrong, without := advertise.NewFinder([]byte("s3cret"), true), advertise.NewFinder([]byte("other"), true), advertise.NewFinder(nil, false)
	var found []string
	heard := 0
	began := time.Now()
	err := advertise.Listen(ctx, group, "lo", func(datagram []byte) bool {
		heard++
		for _, f := range []*advertise.Finder{wrong, without} {
			if address, err := f.Hear(datagram); address != "" || err == nil {
				t.Errorf("a worker with another key, or none, takes %q", address)
			}
		}
		address, err := right.Hear(datagram)
		if err != nil {
			t.Errorf("%q: %v", datagram, err)
		}
		if address != "" {
			found = append(found, address)
		}
		return len(found) == len(c.replicas)
	})
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	for _, r := range c.replicas {
		if !slices.Contains(found, r.mcmp) {
			t.Errorf("%s announces %v, not its listener %s", r.name, found, r.mcmp)
		}
	}
	if t.Failed() || len(found) == 0 {
		t.Fatalf("%d datagrams, %q found, %v", heard, found, err)
	}
	w := newWorker(t, workerConfig{Name: "w1", Balancers: found, Contexts: []string{"/shop"}, Period: period})
	w.run()
	c.waitUp("w1")
	took := time.Since(began)
	limit := slowdown * (interval + period)
	t.Logf("figure: first worker by advertising alone: three replicas heard and registered with after %s (interval %s, period %s); %d datagrams with a wrong key: none",
		took.Round(time.Millisecond), interval, period, heard)
	if took > limit {
		t.Errorf("registered after %s, want at most an interval and a period, %s", took, limit)
	}
}
