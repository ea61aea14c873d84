package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/vmihailenco/msgpack/v5"
)

// Limits of what one entry carries. A message is at most 64 KiB
// (spec/mcmp.md §0.1); settings with their rules may be larger.
const (
	MaxEntryBytes   = 4 << 20
	MaxCommandBytes = 256 << 10
)

var (
	// ErrSchema: written by a newer program. The replica must stop, not skip.
	ErrSchema = errors.New("unknown schema version")
	// ErrChecksum: not what was written.
	ErrChecksum = errors.New("checksum differs")
	// ErrTooLarge: the entry is over MaxEntryBytes.
	ErrTooLarge = errors.New("entry too large")
)

func castagnoli(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// EncodeEntry gives what Raft stores: a msgpack array [schema version, leader
// time in Unix ms, [commands]], then its CRC-32C in 4 bytes, big-endian. bbolt
// has no checksum on its pages (design.md §3).
func EncodeEntry(e Entry) ([]byte, error) {
	x := getScratch()
	defer scratches.Put(x)
	e.write(&x.w)
	if x.w.err != nil {
		return nil, fmt.Errorf("encode entry of %d commands: %w", len(e.Commands), x.w.err)
	}
	n := x.buf.Len()
	if n+4 > MaxEntryBytes {
		return nil, fmt.Errorf("encode entry of %d commands: %d bytes: %w", len(e.Commands), n+4, ErrTooLarge)
	}
	b := make([]byte, n, n+4)
	copy(b, x.buf.Bytes())
	return binary.BigEndian.AppendUint32(b, castagnoli(b)), nil
}

// DecodeEntry reads what EncodeEntry wrote. ErrChecksum: the bytes are damaged.
// ErrSchema: the entry's version is unknown here; nothing but the version is in
// the entry given back then.
func DecodeEntry(b []byte) (Entry, error) {
	if len(b) > MaxEntryBytes {
		return Entry{}, fmt.Errorf("decode entry: %d bytes: %w", len(b), ErrTooLarge)
	}
	if len(b) < 4 {
		return Entry{}, fmt.Errorf("decode entry: %d bytes: %w", len(b), ErrChecksum)
	}
	body, end := b[:len(b)-4], b[len(b)-4:]
	if binary.BigEndian.Uint32(end) != castagnoli(body) {
		return Entry{}, fmt.Errorf("decode entry: %w", ErrChecksum)
	}
	var e Entry
	if err := decode(body, e.read); err != nil {
		return Entry{Schema: e.Schema}, fmt.Errorf("decode entry: %w", err)
	}
	return e, nil
}

// decode reads one value that must fill b.
func decode(b []byte, read func(*reader)) error {
	in := bytes.NewReader(b)
	d := msgpack.GetDecoder()
	defer msgpack.PutDecoder(d)
	d.Reset(in)
	r := reader{d: d}
	read(&r)
	if r.err == nil && in.Len() > 0 {
		r.err = fmt.Errorf("%d bytes follow: %w", in.Len(), errForm)
	}
	return r.err
}

// known says whether this program can read and apply a version.
func known(version uint16) bool { return version >= 1 && version <= SchemaVersion }

func (e *Entry) write(w *writer) {
	w.array(3)
	w.int(int64(e.Schema))
	w.int(e.Time)
	w.array(len(e.Commands))
	for i := range e.Commands {
		e.Commands[i].write(w)
	}
}

func (e *Entry) read(r *reader) {
	n := r.list()
	e.Schema = uint16(r.small(1<<16 - 1))
	if r.err == nil && !known(e.Schema) {
		r.err = fmt.Errorf("version %d, this program knows up to %d: %w", e.Schema, SchemaVersion, ErrSchema)
	}
	if r.err == nil && n != 3 {
		r.err = fmt.Errorf("entry of %d fields: %w", n, errForm)
	}
	e.Time = r.int()
	e.Commands = readList(r, func() (c Command) { c.read(r); return })
}

func (c *Command) write(w *writer) {
	w.array(20)
	w.bytes(c.ID[:])
	w.int(int64(c.Origin))
	w.str(c.Replica)
	w.str(c.Source)
	w.int(int64(c.Op))
	w.str(string(c.Route))
	w.bool(c.Whole)
	if c.Config == nil {
		w.null()
	} else {
		c.Config.write(w)
	}
	writeStrings(w, c.Aliases)
	writeStrings(w, c.Contexts)
	w.int(int64(c.Load))
	writeStrings(w, c.Gone)
	w.str(c.By)
	w.str(c.Reason)
	w.str(c.Alias)
	w.str(string(c.Context))
	w.str(c.ClusterID)
	if c.Settings == nil {
		w.null()
	} else {
		c.Settings.write(w)
	}
	w.int(int64(c.Version))
	w.str(c.ReplicaID)
}

func (c *Command) read(r *reader) {
	r.array(20)
	r.bytes(c.ID[:])
	c.Origin = Origin(r.small(255))
	c.Replica = r.str()
	c.Source = r.str()
	c.Op = Op(r.small(255))
	c.Route = JVMRoute(r.str())
	c.Whole = r.bool()
	if !r.null() {
		c.Config = new(NodeConfig)
		c.Config.read(r)
	}
	c.Aliases = readStrings[string](r)
	c.Contexts = readStrings[Path](r)
	c.Load = int(r.int())
	c.Gone = readStrings[JVMRoute](r)
	c.By = r.str()
	c.Reason = r.str()
	c.Alias = r.str()
	c.Context = Path(r.str())
	c.ClusterID = r.str()
	if !r.null() {
		c.Settings = new(Settings)
		c.Settings.read(r)
	}
	c.Version = uint16(r.small(1<<16 - 1))
	c.ReplicaID = r.str()
}

// EncodeMsgpack writes the canonical form: a follower forwards single commands.
func (c *Command) EncodeMsgpack(e *msgpack.Encoder) error {
	w := writer{e: e}
	c.write(&w)
	return w.err
}

// DecodeMsgpack reads what EncodeMsgpack wrote.
func (c *Command) DecodeMsgpack(d *msgpack.Decoder) error {
	r := reader{d: d}
	c.read(&r)
	return r.err
}
