//go:build race

package main

// slowdown stretches limits of time: the race detector makes everything slower.
const slowdown = 10
