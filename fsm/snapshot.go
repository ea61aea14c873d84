package fsm

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A snapshot is
//
//	"quorate state\n"  schema version (2 bytes)
//	length (uvarint)  kind (1 byte)  canonical value      for each record
//	0                 state hash (16 bytes)  CRC-32C of all before (4 bytes)
//
// Numbers are big-endian. It is written and read one record at a time.
const snapshotMagic = "quorate state\n"

// ErrSnapshot: not a snapshot, or an incomplete one.
var ErrSnapshot = errors.New("not a snapshot of a state")

// WriteSnapshot writes all of s. It may run beside Apply: s never changes.
func (s *State) WriteSnapshot(w io.Writer) error {
	crc := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	out := bufio.NewWriterSize(w, 64<<10)
	both := io.MultiWriter(out, crc)

	head := binary.BigEndian.AppendUint16([]byte(snapshotMagic), s.Schema())
	_, err := both.Write(head)
	s.eachRecord(func(kind byte, _ string, value func(*writer)) {
		if err == nil {
			err = writeFrame(both, kind, value)
		}
	})
	if err == nil {
		h := s.Hash()
		_, err = both.Write(append([]byte{0}, h[:]...))
	}
	if err == nil {
		_, err = out.Write(binary.BigEndian.AppendUint32(nil, crc.Sum32()))
	}
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return nil
}

func writeFrame(out io.Writer, kind byte, value func(*writer)) error {
	x := getScratch()
	defer scratches.Put(x)
	value(&x.w)
	if x.w.err != nil {
		return x.w.err
	}
	head := append(binary.AppendUvarint(nil, uint64(x.buf.Len()+1)), kind)
	if _, err := out.Write(head); err != nil {
		return err
	}
	_, err := out.Write(x.buf.Bytes())
	return err
}

// ReadSnapshot reads what WriteSnapshot wrote, and may read beyond its end.
// ErrSnapshot: something else, or cut short. ErrChecksum: damaged. ErrSchema:
// written by a newer program.
func ReadSnapshot(r io.Reader) (*State, error) {
	s, err := readSnapshot(newSummingReader(r))
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("ends too early: %w", ErrSnapshot)
	}
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	return s, nil
}

func readSnapshot(in *summingReader) (*State, error) {
	head := make([]byte, len(snapshotMagic)+2)
	if _, err := io.ReadFull(in, head); err != nil {
		return nil, err
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return nil, fmt.Errorf("begins with %q: %w", head[:len(snapshotMagic)], ErrSnapshot)
	}
	if v := binary.BigEndian.Uint16(head[len(snapshotMagic):]); !known(v) {
		return nil, fmt.Errorf("version %d, this program knows up to %d: %w", v, SchemaVersion, ErrSchema)
	}
	s, err := readRecords(in)
	if err != nil {
		return nil, err
	}
	var want Hash
	if _, err := io.ReadFull(in, want[:]); err != nil {
		return nil, err
	}
	sum := in.sum
	var crc [4]byte
	if _, err := io.ReadFull(in, crc[:]); err != nil {
		return nil, err
	}
	if binary.BigEndian.Uint32(crc[:]) != sum {
		return nil, ErrChecksum
	}
	if s.Hash() != want {
		return nil, fmt.Errorf("state hash %s, written as %s: %w", s.Hash(), want, ErrChecksum)
	}
	return s, nil
}

// readRecords reads frames up to the empty one.
func readRecords(in *summingReader) (*State, error) {
	s := New()
	var frame bytes.Buffer
	for {
		n, err := binary.ReadUvarint(in)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return s.freeze(), nil
		}
		// Copied as it comes: a damaged length must not reserve memory.
		frame.Reset()
		if _, err := io.CopyN(&frame, in, int64(min(n, 1<<62))); err != nil {
			return nil, err
		}
		kind, value := frame.Bytes()[0], frame.Bytes()[1:]
		if err := s.readRecord(kind, value); err != nil {
			return nil, fmt.Errorf("record of kind %q: %w", kind, err)
		}
	}
}

func (s *State) readRecord(kind byte, value []byte) error {
	switch kind {
	case kindCluster:
		return restore(value, (*cluster).read, func(c *cluster) { s.putCluster(*c) })
	case kindTime:
		return restore(value, func(t *int64, r *reader) { *t = r.int() }, func(t *int64) { s.putTime(*t) })
	case kindSettings:
		return restore(value, (*Settings).read, func(v *Settings) { s.putSettings(*v) })
	case kindBalancer:
		return restore(value, (*Balancer).read, s.putBalancer)
	case kindNode:
		return restore(value, (*Node).read, s.putNode)
	case kindIntent:
		return restore(value, (*Intent).read, s.putIntent)
	case kindMemory:
		return restore(value, (*memory).read, s.putMemory)
	case kindBarred:
		return restore(value, func(id *string, r *reader) { *id = r.str() }, func(id *string) { s.putBarred(*id) })
	case kindSeen:
		return restore(value, (*outcome).read, s.putSeen)
	}
	return errForm
}

func restore[T any](value []byte, read func(*T, *reader), put func(*T)) error {
	v := new(T)
	if err := decode(value, func(r *reader) { read(v, r) }); err != nil {
		return err
	}
	put(v)
	return nil
}

// summingReader keeps the CRC-32C of what was read.
type summingReader struct {
	in  *bufio.Reader
	sum uint32
}

func newSummingReader(r io.Reader) *summingReader {
	return &summingReader{in: bufio.NewReaderSize(r, 64<<10)}
}

func (r *summingReader) Read(b []byte) (int, error) {
	n, err := r.in.Read(b)
	r.sum = crc32.Update(r.sum, crc32.MakeTable(crc32.Castagnoli), b[:n])
	return n, err
}

func (r *summingReader) ReadByte() (byte, error) {
	b, err := r.in.ReadByte()
	if err == nil {
		r.sum = crc32.Update(r.sum, crc32.MakeTable(crc32.Castagnoli), []byte{b})
	}
	return b, err
}
