//go:build soak

package main

import (
	"testing"
	"time"
)

func TestSoakAllocations(t *testing.T) { allocations(t, program(t), 100_000, 150, 0.01) }

func TestSoakIdleConnections(t *testing.T) { idle(t, program(t), 10_000, 150*time.Second) }

func TestSoakBulk(t *testing.T) { bulk(t, program(t), 50, 1<<30, time.Minute) }

func TestSoakServerSentEvents(t *testing.T) {
	events(t, program(t), 500, 20, 5*time.Millisecond, 10*time.Second)
}

func TestSoakClientLeaves(t *testing.T) { clientLeaves(t, program(t), 200, time.Second) }
