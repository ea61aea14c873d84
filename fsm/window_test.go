package fsm

import (
	"encoding/binary"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The window agrees with a plain list, and older copies of it stay as they
// were.
func TestWindow(t *testing.T) {
	contents := func(w window) (ids []CommandID) {
		for o := range w.all() {
			ids = append(ids, o.ID)
		}
		return ids
	}
	rapid.Check(t, func(r *rapid.T) {
		var w, old window
		var list, oldList []CommandID
		next := uint64(0)
		for range rapid.IntRange(1, 12).Draw(r, "rounds") {
			old, oldList = w, slices.Clone(list)
			for range rapid.IntRange(0, 3*chunk).Draw(r, "pushes") {
				var id CommandID
				next++
				binary.BigEndian.PutUint64(id[:], next)
				w.push(outcome{ID: id, Time: int64(next)})
				list = append(list, id)
			}
			for range min(len(list), rapid.IntRange(0, 3*chunk).Draw(r, "pops")) {
				if o := w.oldest(); o == nil || o.ID != list[0] {
					r.Fatalf("oldest %+v, want %x", o, list[0])
				}
				w.pop()
				if w.get(list[0]) != nil {
					r.Fatalf("%x is still there", list[0])
				}
				list = list[1:]
			}
			if w.len() != len(list) || !slices.Equal(contents(w), list) {
				r.Fatalf("%d in the window, %d in the list", w.len(), len(list))
			}
			for _, id := range list {
				if o := w.get(id); o == nil || o.ID != id {
					r.Fatalf("%x: %+v", id, o)
				}
			}
			if !slices.Equal(contents(old), oldList) {
				r.Fatal("an older window has changed")
			}
		}
		if (w.oldest() == nil) != (len(list) == 0) {
			r.Fatalf("oldest %+v of %d", w.oldest(), len(list))
		}
	})
}

// Going round all slots, at the limit.
func TestWindowGoesRound(t *testing.T) {
	var w window
	var id CommandID
	for n := range uint64(3 * slotCount * chunk) {
		if w.len() == seenMost {
			w.pop()
		}
		binary.BigEndian.PutUint64(id[:], n)
		w.push(outcome{ID: id, Time: int64(n)})
	}
	if w.len() != seenMost || w.oldest().Time != int64(3*slotCount*chunk-seenMost) || w.get(id) == nil {
		t.Fatalf("%d in the window, oldest %+v", w.len(), w.oldest())
	}
}
