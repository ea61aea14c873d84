//go:build soak

package main

import (
	"testing"
	"time"
)

func TestSoakSlowClients(t *testing.T) {
	slowClients(t, 2000, rounds{least: 15, most: 45, limit: 1.5, slack: 500 * time.Microsecond}, 2*time.Second)
}

func TestSoakSickWorker(t *testing.T) {
	for _, kind := range []sickness{slowAnswers, silence} {
		t.Run(string(kind), func(t *testing.T) {
			sickWorker(t, kind, 5*time.Second, 5*time.Second, rounds{least: 5, most: 15, limit: 1.5, slack: 500 * time.Microsecond})
		})
	}
}

func TestSoakBlackHole(t *testing.T) {
	blackHole(t, 3*time.Second, time.Minute)
}

func TestSoakShortKeepAlive(t *testing.T) { shortKeepAlive(t, 10*time.Minute) }

func TestSoakManyHellos(t *testing.T) { manyHellos(t, 10_000, 5*time.Second) }

func TestSoakMixedLoad(t *testing.T) { mixedLoad(t, 10*time.Minute) }
