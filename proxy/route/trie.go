package route

import (
	"hash/maphash"
	"math/bits"
	"slices"
)

// trie is a persistent map from strings: a hash array mapped trie. put and
// remove leave the old version untouched, except for the nodes that the same
// edit has made: those no reader has seen yet.
//
// A Go map cannot be copied in microseconds, and a radix tree over the bytes of
// a path takes two to three times as long to read.
type trie[V any] struct {
	root *branch[V]
	size int
}

// edit marks what one update has made and may still change.
type edit struct{ _ byte }

// seed is drawn once, so that nobody can choose names that collide.
var seed = maphash.MakeSeed()

const (
	fanBits = 6
	fanMask = 1<<fanBits - 1
	// Below this shift the hash is used up: a branch there is a plain list of
	// the keys that share all 64 bits.
	lastShift = 60
)

func hashOf(key string) uint64 { return maphash.String(seed, key) }

type branch[V any] struct {
	used  uint64 // which of the 64 places are taken; 0 in a plain list
	slots []slot[V]
	owner *edit
}

// slot is a branch, or a key with its value.
// With a pointer as its value two of them fill a cache line.
type slot[V any] struct {
	sub *branch[V]
	key string
	val V
}

func (t *trie[V]) get(key string) (val V, ok bool) {
	b := t.root
	if b == nil {
		return val, false
	}
	hash := hashOf(key)
	for shift := 0; shift <= lastShift; shift += fanBits {
		bit := uint64(1) << (hash >> shift & fanMask)
		if b.used&bit == 0 {
			return val, false
		}
		s := &b.slots[bits.OnesCount64(b.used&(bit-1))]
		if s.sub == nil {
			if s.key == key {
				return s.val, true
			}
			return val, false
		}
		b = s.sub
	}
	for i := range b.slots {
		if b.slots[i].key == key {
			return b.slots[i].val, true
		}
	}
	return val, false
}

func (t *trie[V]) put(e *edit, key string, val V) {
	var grew bool
	t.root, grew = t.root.put(e, 0, hashOf(key), slot[V]{key: key, val: val})
	if grew {
		t.size++
	}
}

func (t *trie[V]) remove(e *edit, key string) {
	if t.root == nil {
		return
	}
	var gone bool
	t.root, gone = t.root.remove(e, 0, hashOf(key), key)
	if gone {
		t.size--
	}
}

func (t *trie[V]) each(f func(key string, val V)) { t.root.each(f) }

// own returns b itself if this edit has made it, else a copy.
func (b *branch[V]) own(e *edit) *branch[V] {
	if b.owner == e {
		return b
	}
	return &branch[V]{used: b.used, slots: slices.Clone(b.slots), owner: e}
}

func (b *branch[V]) put(e *edit, shift int, hash uint64, s slot[V]) (_ *branch[V], grew bool) {
	if b == nil {
		b = &branch[V]{owner: e}
	}
	b = b.own(e)
	if shift > lastShift {
		for i := range b.slots {
			if b.slots[i].key == s.key {
				b.slots[i] = s
				return b, false
			}
		}
		b.slots = append(b.slots, s)
		return b, true
	}
	bit := uint64(1) << (hash >> shift & fanMask)
	i := bits.OnesCount64(b.used & (bit - 1))
	if b.used&bit == 0 {
		b.used |= bit
		b.slots = slices.Insert(b.slots, i, s)
		return b, true
	}
	at := &b.slots[i]
	switch {
	case at.sub != nil:
		at.sub, grew = at.sub.put(e, shift+fanBits, hash, s)
		return b, grew
	case at.key == s.key:
		*at = s
		return b, false
	}
	// Two keys in one place: both move one level down.
	sub, _ := (*branch[V])(nil).put(e, shift+fanBits, hashOf(at.key), *at)
	sub, _ = sub.put(e, shift+fanBits, hash, s)
	*at = slot[V]{sub: sub}
	return b, true
}

func (b *branch[V]) remove(e *edit, shift int, hash uint64, key string) (_ *branch[V], gone bool) {
	i := 0
	bit := uint64(0)
	if shift > lastShift {
		i = slices.IndexFunc(b.slots, func(s slot[V]) bool { return s.key == key })
		if i < 0 {
			return b, false
		}
	} else {
		bit = 1 << (hash >> shift & fanMask)
		if b.used&bit == 0 {
			return b, false
		}
		i = bits.OnesCount64(b.used & (bit - 1))
		if at := &b.slots[i]; at.sub != nil {
			sub, gone := at.sub.remove(e, shift+fanBits, hash, key)
			if !gone {
				return b, false
			}
			if sub != nil {
				b = b.own(e)
				b.slots[i].sub = sub
				return b, true
			}
		} else if at.key != key {
			return b, false
		}
	}
	if len(b.slots) == 1 {
		return nil, true
	}
	b = b.own(e)
	b.used &^= bit
	b.slots = slices.Delete(b.slots, i, i+1)
	return b, true
}

func (b *branch[V]) each(f func(key string, val V)) {
	if b == nil {
		return
	}
	for i := range b.slots {
		if s := &b.slots[i]; s.sub != nil {
			s.sub.each(f)
		} else {
			f(s.key, s.val)
		}
	}
}
