package fsm

import (
	"errors"
	"fmt"

	"github.com/vmihailenco/msgpack/v5"
)

// The canonical form: msgpack arrays of fixed length, the shortest form of each
// integer, no map, no float, times as Unix ms, strings as received.

// writer keeps the first error, so that a record reads as the list of its
// fields.
type writer struct {
	e   *msgpack.Encoder
	err error
}

func (w *writer) array(n int) {
	if w.err == nil {
		w.err = w.e.EncodeArrayLen(n)
	}
}

func (w *writer) int(v int64) {
	if w.err == nil {
		w.err = w.e.EncodeInt(v)
	}
}

func (w *writer) bool(v bool) {
	if w.err == nil {
		w.err = w.e.EncodeBool(v)
	}
}

func (w *writer) str(v string) {
	if w.err == nil {
		w.err = w.e.EncodeString(v)
	}
}

func (w *writer) bytes(v []byte) {
	if w.err == nil {
		w.err = w.e.EncodeBytes(v)
	}
}

func (w *writer) null() {
	if w.err == nil {
		w.err = w.e.EncodeNil()
	}
}

func (w *writer) optBool(v *bool) {
	if v == nil {
		w.null()
		return
	}
	w.bool(*v)
}

func (w *writer) optInt(v *int) {
	if v == nil {
		w.null()
		return
	}
	w.int(int64(*v))
}

func writeStrings[S ~string](w *writer, list []S) {
	w.array(len(list))
	for _, s := range list {
		w.str(string(s))
	}
}

// reader is the writer's mirror. After an error all it gives is zero.
type reader struct {
	d   *msgpack.Decoder
	err error
}

var errForm = errors.New("not in canonical form")

// array takes the start of an array of exactly n elements.
func (r *reader) array(n int) {
	if got := r.list(); r.err == nil && got != n {
		r.err = fmt.Errorf("array of %d where %d belong: %w", got, n, errForm)
	}
}

// list takes the start of an array and gives its length.
func (r *reader) list() int {
	if r.err != nil {
		return 0
	}
	n, err := r.d.DecodeArrayLen()
	if err == nil && n < 0 {
		err = fmt.Errorf("nil where a list belongs: %w", errForm)
	}
	if err != nil {
		r.err = err
		return 0
	}
	return n
}

func (r *reader) int() int64 {
	if r.err != nil {
		return 0
	}
	v, err := r.d.DecodeInt64()
	r.err = err
	return v
}

// small takes an integer from 0 to most.
func (r *reader) small(most int64) int64 {
	v := r.int()
	if r.err == nil && (v < 0 || v > most) {
		r.err = fmt.Errorf("%d is over %d: %w", v, most, errForm)
		return 0
	}
	return v
}

func (r *reader) bool() bool {
	if r.err != nil {
		return false
	}
	v, err := r.d.DecodeBool()
	r.err = err
	return v
}

func (r *reader) str() string {
	if r.err != nil {
		return ""
	}
	v, err := r.d.DecodeString()
	r.err = err
	return v
}

// bytes fills b, which must have the right length.
func (r *reader) bytes(b []byte) {
	if r.err != nil {
		return
	}
	n, err := r.d.DecodeBytesLen()
	if err == nil && n != len(b) {
		err = fmt.Errorf("%d bytes where %d belong: %w", n, len(b), errForm)
	}
	if err == nil {
		err = r.d.ReadFull(b)
	}
	r.err = err
}

// null takes a nil if one is next.
func (r *reader) null() bool {
	if r.err != nil {
		return false
	}
	code, err := r.d.PeekCode()
	if err != nil {
		r.err = err
		return false
	}
	const nilCode = 0xc0
	if code != nilCode {
		return false
	}
	r.err = r.d.DecodeNil()
	return true
}

func (r *reader) optBool() *bool {
	if r.null() || r.err != nil {
		return nil
	}
	v := r.bool()
	return &v
}

func (r *reader) optInt() *int {
	if r.null() || r.err != nil {
		return nil
	}
	v := int(r.int())
	return &v
}

// readList reads a list; an empty one is nil. The length that the input claims
// is not believed before the elements are there.
func readList[T any](r *reader, element func() T) []T {
	n := r.list()
	if n == 0 || r.err != nil {
		return nil
	}
	out := make([]T, 0, min(n, 64))
	for range n {
		v := element()
		if r.err != nil {
			return nil
		}
		out = append(out, v)
	}
	return out
}

func readStrings[S ~string](r *reader) []S {
	return readList(r, func() S { return S(r.str()) })
}
