//go:build race

package corpus

// slowdown is above 1 where everything is slower.
const slowdown = 10
