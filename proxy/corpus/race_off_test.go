//go:build !race

package corpus

const slowdown = 1
