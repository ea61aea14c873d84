package main

import (
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second:                   "0s",
		38 * time.Millisecond:          "38ms",
		14 * time.Second:               "14s",
		3*time.Minute + 12*time.Second: "3m12s",
		2 * time.Hour:                  "2h",
		146 * time.Hour:                "6d2h",
	} {
		if got := duration(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestNatural(t *testing.T) {
	for _, c := range [][2]string{{"app-2", "app-10"}, {"a", "b"}, {"a", "a1"}, {"w1", "w01x"}, {"", "a"}} {
		if natural(c[0], c[1]) >= 0 || natural(c[1], c[0]) <= 0 {
			t.Errorf("%s does not come before %s", c[0], c[1])
		}
	}
	if natural("w01", "w1") != 0 {
		t.Error("w01 and w1 have the same number")
	}
}
