package route

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// trie is a persistent map from strings: a hash array mapped trie. put and
// remove leave the old version untouched, except for the slots that the same
// edit has made: those no reader has seen yet.
//
// A Go map cannot be copied in microseconds, and a radix tree over the bytes of
// a path takes two to three times as long to read.
type trie[V any] struct {
	root slot[V] // always a branch
	size int
}

// edit marks what one update has made and may still change.
type edit struct{ _ byte }

// slot is a branch, or a key with its value. With a pointer as its value it fills
// a cache line, so a level costs one.
type slot[V any] struct {
	used  uint64    // of a branch: which of its 64 places are taken; 0: a key
	slots []slot[V] // of a branch: those; of a key: others of the same hash
	owner *edit     // of slots
	key   string
	val   V
}

const (
	fanBits = 6
	fanMask = 1<<fanBits - 1
)

func (t *trie[V]) get(key string) (val V, ok bool) {
	s := &t.root
	for hash := hashOf(key); ; hash >>= fanBits {
		bit := uint64(1) << (hash & fanMask)
		if s.used&bit == 0 {
			return val, false
		}
		if s = &s.slots[bits.OnesCount64(s.used&(bit-1))]; s.used == 0 {
			break
		}
	}
	if s.key == key {
		return s.val, true
	}
	for i := range s.slots {
		if s.slots[i].key == key {
			return s.slots[i].val, true
		}
	}
	return val, false
}

func (t *trie[V]) put(e *edit, key string, val V) {
	if t.root.put(e, 0, hashOf(key), key, val) {
		t.size++
	}
}

func (t *trie[V]) remove(e *edit, key string) {
	if _, ok := t.get(key); ok {
		t.root.remove(e, 0, hashOf(key), key)
		t.size--
	}
}

func (t *trie[V]) each(f func(key string, val V)) { t.root.each(f) }

// place returns which place of a branch a hash has, as a bit and as an index.
func (s *slot[V]) place(shift int, hash uint64) (bit uint64, i int) {
	bit = 1 << (hash >> shift & fanMask)
	return bit, bits.OnesCount64(s.used & (bit - 1))
}

// own makes slots this edit's, with room for one more.
func (s *slot[V]) own(e *edit) {
	if s.owner != e {
		s.slots, s.owner = roomy(s.slots), e
	}
}

// put is for branches, as remove is.
func (s *slot[V]) put(e *edit, shift int, hash uint64, key string, val V) (grew bool) {
	s.own(e)
	bit, i := s.place(shift, hash)
	if s.used&bit == 0 {
		s.used |= bit
		s.slots = slices.Insert(s.slots, i, slot[V]{key: key, val: val})
		return true
	}
	at := &s.slots[i]
	switch {
	case at.used != 0:
		return at.put(e, shift+fanBits, hash, key, val)
	case at.key == key:
		at.val = val
		return false
	case hashOf(at.key) == hash:
		return at.putTwin(e, key, val)
	}
	// Two keys in one place: both move one level down.
	was := *at
	*at = slot[V]{slots: []slot[V]{was}, owner: e}
	at.used, _ = at.place(shift+fanBits, hashOf(was.key))
	return at.put(e, shift+fanBits, hash, key, val)
}

// putTwin is put among keys of the same hash.
func (s *slot[V]) putTwin(e *edit, key string, val V) (grew bool) {
	s.own(e)
	for i := range s.slots {
		if s.slots[i].key == key {
			s.slots[i].val = val
			return false
		}
	}
	s.slots = append(s.slots, slot[V]{key: key, val: val})
	return true
}

// remove is for a key that is there.
func (s *slot[V]) remove(e *edit, shift int, hash uint64, key string) {
	s.own(e)
	bit, i := s.place(shift, hash)
	switch at := &s.slots[i]; {
	case at.used != 0:
		if at.remove(e, shift+fanBits, hash, key); at.used != 0 {
			return
		}
	case len(at.slots) > 0:
		at.removeTwin(e, key)
		return
	}
	s.used &^= bit
	s.slots = slices.Delete(s.slots, i, i+1)
}

// removeTwin is remove among keys of the same hash.
func (s *slot[V]) removeTwin(e *edit, key string) {
	s.own(e)
	i := 0
	if s.key == key {
		s.key, s.val = s.slots[0].key, s.slots[0].val
	} else {
		i = slices.IndexFunc(s.slots, func(x slot[V]) bool { return x.key == key })
	}
	s.slots = slices.Delete(s.slots, i, i+1)
}

func (s *slot[V]) each(f func(key string, val V)) {
	for i := range s.slots {
		x := &s.slots[i]
		if x.used == 0 {
			f(x.key, x.val)
		}
		x.each(f)
	}
}

// seeds are drawn once, so that nobody can choose names that collide.
var seeds = [2]uint64{rand.Uint64(), rand.Uint64()}

// hashOf is for short keys: a third of what maphash takes for a context.
func hashOf(key string) uint64 {
	h := seeds[0] ^ uint64(len(key))
	for ; len(key) > 16; key = key[16:] {
		h = fold(h^eight(key), seeds[1]^eight(key[8:]))
	}
	var a, b uint64 // all bytes of the rest, some of them twice
	switch n := len(key); {
	case n >= 8:
		a, b = eight(key), eight(key[n-8:])
	case n >= 4:
		a, b = four(key), four(key[n-4:])
	case n > 0:
		a = uint64(key[0]) | uint64(key[n/2])<<8 | uint64(key[n-1])<<16
	}
	return fold(h^a, seeds[1]^b)
}

// eight and four read the first bytes of s as a number.
func eight(s string) uint64 { return binary.LittleEndian.Uint64([]byte(s[:8])) }
func four(s string) uint64  { return uint64(binary.LittleEndian.Uint32([]byte(s[:4]))) }

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// counts is a trie of how often something is there.
type counts struct{ trie[int] }

func (c *counts) add(e *edit, key string, d int) {
	n, _ := c.get(key)
	if n += d; n > 0 {
		c.put(e, key, n)
	} else {
		c.remove(e, key)
	}
}
