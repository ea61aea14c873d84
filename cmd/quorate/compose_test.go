package main

import (
	"context"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
)

// The file must load in the Compose of today; make check brings it up in
// docker-compose 1.29 for real.
func TestComposeFileLoads(t *testing.T) {
	options, err := cli.NewProjectOptions([]string{"../../docker-compose.yml"}, cli.WithName("quorate"))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	names := project.ServiceNames()
	if len(names) != 8 {
		t.Fatalf("services: %v", names)
	}
	for _, name := range []string{"lb1", "lb2", "lb3"} {
		s := project.Services[name]
		if s.Hostname != name {
			t.Errorf("%s: hostname %q: the replica's name is its host's", name, s.Hostname)
		}
		if s.StopGracePeriod == nil || time.Duration(*s.StopGracePeriod) <= time.Minute {
			t.Errorf("%s: stop_grace_period %v: must be above the drain timeout of 60s", name, s.StopGracePeriod)
		}
		if len(s.Ports) != 1 || s.Ports[0].HostIP != "127.0.0.1" {
			t.Errorf("%s: ports %v: one, on loopback", name, s.Ports)
		}
		if s.HealthCheck == nil || len(s.HealthCheck.Test) != 3 || s.HealthCheck.Test[2] != "health" {
			t.Errorf("%s: health check %v", name, s.HealthCheck)
		}
		own := false
		for _, v := range s.Volumes {
			own = own || v.Source == name && v.Target == "/var/lib/quorate"
		}
		if !own {
			t.Errorf("%s: no volume of its own: %v", name, s.Volumes)
		}
	}
}
