package tally

import (
	"testing"
	"unsafe"
)

// No two shards share a pair of cache lines, whatever a shard holds.
func TestLayout(t *testing.T) {
	for n := 1; n <= 100; n++ {
		for _, shards := range []int{1, 2, 4, 8, 64} {
			c := newCells(shards, n)
			if at := uintptr(unsafe.Pointer(&c.words[0])); at%(8*line) != 0 {
				t.Fatalf("%d words in %d shards begin at %#x, in the middle of a line", n, shards, at)
			}
			for s := range shards {
				words := c.of(s)
				if len(words) < n || len(words)%line != 0 {
					t.Fatalf("%d words: a shard has %d", n, len(words))
				}
				words[0].Add(1)
				words[len(words)-1].Add(1)
			}
			for i := range c.words {
				if c.words[i].Load() > 2 {
					t.Fatalf("%d words in %d shards: shards overlap at word %d", n, shards, i)
				}
			}
		}
	}
}
