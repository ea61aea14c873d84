//go:build race

package proxy

// raced: the race detector is on, and buffers that are pooled get lost.
const raced = true
