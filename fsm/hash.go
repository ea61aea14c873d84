package fsm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"sync"

	"github.com/vmihailenco/msgpack/v5"
)

// Hash stands for a whole state: replicas of one schema version at one index
// have the same.
type Hash [16]byte

// String gives 32 hex digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// sum adds up record hashes modulo 2^128, so that one changed record costs one
// subtraction and one addition (design.md §3).
type sum struct{ hi, lo uint64 }

func (a sum) add(b sum) sum {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	hi, _ := bits.Add64(a.hi, b.hi, carry)
	return sum{hi, lo}
}

func (a sum) sub(b sum) sum {
	lo, borrow := bits.Sub64(a.lo, b.lo, 0)
	hi, _ := bits.Sub64(a.hi, b.hi, borrow)
	return sum{hi, lo}
}

func (a sum) hash() (h Hash) {
	binary.BigEndian.PutUint64(h[:8], a.hi)
	binary.BigEndian.PutUint64(h[8:], a.lo)
	return h
}

// Kinds of records, in the hash and in a snapshot. A letter is never used again
// for something else.
const (
	kindCluster  = 'c'
	kindTime     = 't'
	kindSettings = 's'
	kindNode     = 'n'
	kindBalancer = 'b'
	kindIntent   = 'i'
	kindMemory   = 'm'
	kindBarred   = 'x'
	kindSeen     = 'd'
)

// record is a value and its part of the state hash.
type record[T any] struct {
	value *T
	sum   sum
}

// scratch is a buffer with an encoder that writes into it.
type scratch struct {
	buf bytes.Buffer
	w   writer
}

// scratches spares Apply the allocation of an encoder per record. It holds
// nothing that a result could depend on.
var scratches = sync.Pool{New: func() any {
	x := new(scratch)
	x.w.e = msgpack.NewEncoder(&x.buf)
	return x
}}

func getScratch() *scratch {
	x := scratches.Get().(*scratch)
	x.buf.Reset()
	x.w.err = nil
	return x
}

// digest is the first half of SHA-256 over kind, length-prefixed key and
// canonical value.
func digest(kind byte, key string, value func(*writer)) sum {
	x := getScratch()
	defer scratches.Put(x)
	var head [5]byte
	head[0] = kind
	binary.BigEndian.PutUint32(head[1:], uint32(len(key)))
	x.buf.Write(head[:])
	x.buf.WriteString(key)
	value(&x.w)
	h := sha256.Sum256(x.buf.Bytes())
	return sum{binary.BigEndian.Uint64(h[:8]), binary.BigEndian.Uint64(h[8:16])}
}

// Hash covers every record: nodes, balancers, settings, intents, remembered
// routes, barred replicas, the dedupe window, cluster id, schema version, time
// and the numbers given next.
func (s *State) Hash() Hash { return s.sum.hash() }

// HashFromNothing computes what Hash keeps up to date from all records anew.
func (s *State) HashFromNothing() Hash {
	var total sum
	s.eachRecord(func(kind byte, key string, value func(*writer)) {
		total = total.add(digest(kind, key, value))
	})
	return total.hash()
}

// eachRecord visits every record in the order of a snapshot.
func (s *State) eachRecord(visit func(kind byte, key string, value func(*writer))) {
	visit(kindCluster, "", s.cluster.value.write)
	visit(kindTime, "", func(w *writer) { w.int(*s.time.value) })
	visit(kindSettings, "", s.settings.value.write)
	for r := range s.balancers.all() {
		visit(kindBalancer, r.value.Name, r.value.write)
	}
	for r := range s.nodes.all() {
		visit(kindNode, string(r.value.Route), r.value.write)
	}
	for r := range s.intents.all() {
		visit(kindIntent, string(r.value.Route), r.value.write)
	}
	for r := range s.memories.all() {
		visit(kindMemory, string(r.value.Route), r.value.write)
	}
	for r := range s.barred.all() {
		visit(kindBarred, *r.value, func(w *writer) { w.str(*r.value) })
	}
	for o := range s.seen.all() {
		visit(kindSeen, string(o.ID[:]), o.write)
	}
}
