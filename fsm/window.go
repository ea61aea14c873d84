package fsm

import (
	"encoding/binary"
	"iter"
	"slices"
)

// The dedupe window (design.md §3).
const (
	seenFor  = 30_000 // ms
	seenMost = 65_536
)

// outcome is the result of a command in the dedupe window.
type outcome struct {
	ID   CommandID
	Code Code
	Mess string
	Time int64
}

// window holds outcomes by id and in order of time. Every command goes through
// it, and it is the largest part of a busy state, so it is not a tree of single
// records: outcomes lie in buckets by a mix of the id's bits, ids in chunks of a
// queue, and both in persistent arrays. A copy of the struct is a snapshot.
type window struct {
	buckets  slots[[]outcome]
	queue    slots[[]CommandID] // chunk n at place n modulo the number of slots
	from, to uint64             // the ids in the queue, counted from the first ever
}

// chunk is the number of ids that lie together; seenMost of them need half of
// the slots.
const chunk = 32

func (w *window) len() int { return int(w.to - w.from) }

// bucket mixes all bits of an id into the 12 of a slot: ids need not be random.
func (w *window) bucket(id CommandID) int {
	const golden = 0x9e3779b97f4a7c15
	x := binary.BigEndian.Uint64(id[:8])*golden ^ binary.BigEndian.Uint64(id[8:])
	return int(x * golden >> 52)
}

func (w *window) get(id CommandID) *outcome {
	b := w.buckets.get(w.bucket(id))
	for i := range b {
		if b[i].ID == id {
			return &b[i]
		}
	}
	return nil
}

// push adds an outcome, which must be new and not older than the others. There
// must be fewer than seenMost.
func (w *window) push(o outcome) {
	at := w.bucket(o.ID)
	w.buckets.set(at, with(w.buckets.get(at), o))

	at = int(w.to / chunk % slotCount)
	w.queue.set(at, with(w.queue.get(at), o.ID))
	w.to++
}

// oldest gives the outcome that is next to go, nil if there is none.
func (w *window) oldest() *outcome {
	if w.from == w.to {
		return nil
	}
	return w.get(w.queue.get(int(w.from / chunk % slotCount))[w.from%chunk])
}

// pop drops the oldest.
func (w *window) pop() {
	id := w.oldest().ID
	at := w.bucket(id)
	w.buckets.set(at, without(w.buckets.get(at), func(o outcome) bool { return o.ID == id }))
	w.from++
	switch {
	case w.from == w.to:
		*w = window{}
	case w.from%chunk == 0:
		w.queue.set(int((w.from-1)/chunk%slotCount), nil)
	}
}

// all yields the outcomes, oldest first.
func (w *window) all() iter.Seq[*outcome] {
	return func(yield func(*outcome) bool) {
		for n := w.from; n < w.to; n++ {
			if !yield(w.get(w.queue.get(int(n / chunk % slotCount))[n%chunk])) {
				return
			}
		}
	}
}

// with and without copy: an older window has the same slice.

func with[T any](list []T, v T) []T {
	out := make([]T, len(list), len(list)+1)
	copy(out, list)
	return append(out, v)
}

func without[T any](list []T, drop func(T) bool) []T {
	if len(list) == 1 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(list), drop)
}

// slots is a persistent array: set copies three short arrays on the way and
// leaves the rest shared.
type slots[T any] struct{ root *[16]*[16]*[16]T }

const slotCount = 16 * 16 * 16

func (s *slots[T]) get(i int) (v T) {
	if s.root == nil || s.root[i>>8] == nil || s.root[i>>8][i>>4&15] == nil {
		return v
	}
	return s.root[i>>8][i>>4&15][i&15]
}

func (s *slots[T]) set(i int, v T) {
	s.root = copyOf(s.root)
	middle := copyOf(s.root[i>>8])
	leaf := copyOf(middle[i>>4&15])
	leaf[i&15], middle[i>>4&15], s.root[i>>8] = v, leaf, middle
}

func copyOf[T any](a *[16]T) *[16]T {
	var c [16]T
	if a != nil {
		c = *a
	}
	return &c
}
