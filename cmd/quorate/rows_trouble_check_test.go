//go:build check

package main

import (
	"testing"
	"time"
)

func TestCheckSlowClients(t *testing.T) {
	slowClients(t, 2000, rounds{least: 5, most: 15, limit: 1.5, slack: 3 * time.Millisecond}, time.Second)
}

func TestCheckSickWorker(t *testing.T) {
	for _, kind := range []sickness{slowAnswers, silence} {
		t.Run(string(kind), func(t *testing.T) {
			sickWorker(t, kind, 5*time.Second, 2*time.Second, rounds{least: 3, most: 8, limit: 1.5, slack: 5 * time.Millisecond})
		})
	}
}

func TestCheckBlackHole(t *testing.T) {
	blackHole(t, 3*time.Second, 15*time.Second)
}

func TestCheckShortKeepAlive(t *testing.T) { shortKeepAlive(t, 40*time.Second) }

func TestCheckManyHellos(t *testing.T) { manyHellos(t, 10_000, 5*time.Second) }

func TestCheckMixedLoad(t *testing.T) { mixedLoad(t, 40*time.Second) }
