//go:build check

package main

import (
	"testing"
	"time"
)

func TestCheckAllocations(t *testing.T) { allocations(t, program(t), 15_000, 150, 0.1) }

func TestCheckIdleConnections(t *testing.T) { idle(t, program(t), 5000, 0) }

func TestCheckBulk(t *testing.T) { bulk(t, program(t), 50, 50<<20, 10*time.Second) }

func TestCheckServerSentEvents(t *testing.T) {
	events(t, program(t), 500, 10, 5*time.Millisecond, 2*time.Second)
}

func TestCheckClientLeaves(t *testing.T) { clientLeaves(t, program(t), 50, time.Second) }
