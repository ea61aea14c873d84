package fsm

import (
	"encoding/binary"
	"encoding/hex"
	"iter"
	"strconv"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// tree is an ordered map that copies on write. A copy of the struct is a
// snapshot, as long as the original was frozen.
type tree[T any] struct {
	root *iradix.Tree[T]
	txn  *iradix.Txn[T] // writes since the last freeze; nil in a state that readers have
	size int
}

func newTree[T any]() tree[T] { return tree[T]{root: iradix.New[T]()} }

func (t *tree[T]) top() *iradix.Node[T] {
	if t.txn != nil {
		return t.txn.Root()
	}
	return t.root.Root()
}

func (t *tree[T]) get(key string) (T, bool) { return t.top().Get([]byte(key)) }

func (t *tree[T]) put(key string, v T) {
	if t.txn == nil {
		t.txn = t.root.Txn()
	}
	if _, had := t.txn.Insert([]byte(key), v); !had {
		t.size++
	}
}

func (t *tree[T]) del(key string) {
	if t.txn == nil {
		t.txn = t.root.Txn()
	}
	if _, had := t.txn.Delete([]byte(key)); had {
		t.size--
	}
}

// freeze ends the writing: from here on the tree never changes.
func (t *tree[T]) freeze() {
	if t.txn != nil {
		t.root, t.txn = t.txn.CommitOnly(), nil
	}
}

// all yields the values in order of their keys. The tree must not be written
// meanwhile.
func (t *tree[T]) all() iter.Seq[T] {
	return func(yield func(T) bool) {
		it := t.top().Iterator()
		for _, v, ok := it.Next(); ok && yield(v); _, v, ok = it.Next() {
		}
	}
}

// byTime names records in order of a time, so that ageing looks only at what
// is due.
type byTime struct{ tree[string] }

// timeKey begins with 16 hex digits of ms.
func timeKey(ms int64, name string) string {
	return narrow(binary.BigEndian.AppendUint64(nil, uint64(ms))) + name
}

// narrow spells bytes with 16 letters. A write copies the whole of each tree
// node on its way, and those of random or counted bytes would be 256 wide.
func narrow(b []byte) string { return hex.EncodeToString(b) }

// move files name under a new time; 0 stands for "not in the index".
func (t *byTime) move(name string, from, to int64) {
	if from == to {
		return
	}
	if from != 0 {
		t.del(timeKey(from, name))
	}
	if to != 0 {
		t.put(timeKey(to, name), name)
	}
}

// first gives the earliest time and its name; "" and 0 when the index is empty.
func (t *byTime) first() (string, int64) {
	key, name, ok := t.top().Minimum()
	if !ok {
		return "", 0
	}
	ms, _ := strconv.ParseUint(string(key[:16]), 16, 64) // timeKey wrote it
	return name, int64(ms)
}
