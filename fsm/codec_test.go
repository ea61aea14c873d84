package fsm

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
)

var fixtures = flag.Bool("fixtures", false, "write the fixtures of the present schema version anew")

// fullEntry has every field of every operand set to something.
func fullEntry() Entry {
	yes, no, three := true, false, 3
	settings := DefaultSettings()
	settings.Voters = 3
	settings.Affinity = Affinity{Mode: "ranked", Delimiter: ":", Cookie: "SID", PathParam: "sid", Sticky: &yes, Force: &no, Drop: &yes}
	settings.MaxAttempts, settings.WaitWorker = &three, &three
	settings.Rules = []Rule{
		{Hosts: []string{"a.example", "b.example"}, PathPrefix: "/old", Action: "redirect", Status: 301, To: "https://c.example/"},
		{PathPrefix: "/x", Action: "route", Balancer: "other"},
	}
	config := NodeConfig{
		Balancer: "b", Domain: "blue", Type: "https", Host: "[fe80::1]", Port: 8443, Ping: 10_000, Timeout: 20_000, TTL: 60_000,
		Smax: -1, FlushPackets: 2, FlushWait: 10, Sticky: true, StickyForce: true, StickyDrop: true, Cookie: "SID", PathParam: "sid",
		WaitWorker: 5, MaxAttempts: -1,
	}
	id := CommandID{0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	return Entry{Schema: 1, Time: 1_795_555_012_345, Commands: []Command{
		{ID: id, Origin: FromWorker, Replica: "lb1", Source: "10.0.1.23", Op: OpConfig, Route: "w1", Config: &config, Aliases: []string{"a", "b"}, Contexts: []Path{"/", "/x"}, Gone: []JVMRoute{"w2", "w3"}},
		{Origin: FromOperator, Replica: "lb2", Source: "cli:ops", Op: OpHold, Route: "w1", By: "ops", Reason: "kernel update", Alias: "a", Context: "/x"},
		{Origin: FromWorker, Op: OpStatus, Route: "w1", Load: -1},
		{Origin: FromWorker, Op: OpRemove, Route: "w1", Whole: true},
		{Origin: FromSystem, Source: "system", Op: OpForm, ClusterID: "3f7d19aa", Settings: &settings},
		{Origin: FromSystem, Op: OpSchema, Version: 1},
		{Origin: FromSystem, Op: OpBar, ReplicaID: "8b0e4c1a"},
		{Op: OpTick},
	}}
}

func TestEntryRoundTrip(t *testing.T) {
	e := fullEntry()
	b, err := EncodeEntry(e)
	if err != nil {
		t.Fatal(err)
	}
	again, err := DecodeEntry(b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(e, again) {
		t.Fatalf("%+v came back as %+v", e, again)
	}

	var buf bytes.Buffer
	c := &e.Commands[0]
	if err := msgpack.NewEncoder(&buf).Encode(c); err != nil {
		t.Fatal(err)
	}
	var one Command
	if err := msgpack.NewDecoder(&buf).Decode(&one); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(*c, one) {
		t.Fatalf("%+v came back as %+v", *c, one)
	}
}

// A flipped bit, a missing end, a version of tomorrow, a foreign layout: each
// has its error, and none is taken for an entry.
func TestDecodeEntryRefuses(t *testing.T) {
	good, err := EncodeEntry(fullEntry())
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 4
		if _, err := DecodeEntry(bad); !errors.Is(err, ErrChecksum) {
			t.Fatalf("bit flipped in byte %d: %v", i, err)
		}
		if _, err := DecodeEntry(good[:i]); !errors.Is(err, ErrChecksum) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}

	newer, err := EncodeEntry(Entry{Schema: 2})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := DecodeEntry(newer); !errors.Is(err, ErrSchema) || e.Schema != 2 {
		t.Fatalf("version 2: %+v, %v", e, err)
	}
	// Also when the rest of it has another layout.
	if _, err := DecodeEntry(sealed([]byte{0x94, 2, 0xc3, 0xc3, 0xc3})); !errors.Is(err, ErrSchema) {
		t.Fatalf("version 2 in four fields: %v", err)
	}
	for name, body := range map[string][]byte{
		"four fields":      {0x94, 1, 0, 0x90, 0xc0},
		"bytes follow":     {0x93, 1, 0, 0x90, 0xc0},
		"no list":          {0x93, 1, 0, 0xc0},
		"command too thin": {0x93, 1, 0, 0x91, 0x91, 0xc4},
		"a map":            {0x83, 1, 0, 0x90},
		"nothing":          {},
		"huge list":        {0x93, 1, 0, 0xdd, 0xff, 0xff, 0xff, 0xff},
	} {
		if _, err := DecodeEntry(sealed(body)); err == nil || errors.Is(err, ErrChecksum) || errors.Is(err, ErrSchema) {
			t.Errorf("%s: %v", name, err)
		}
	}

	big := Entry{Schema: 1, Commands: []Command{{Op: OpEnable, Reason: strings.Repeat("x", MaxEntryBytes)}}}
	if _, err := EncodeEntry(big); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("an entry over the limit: %v", err)
	}
	if _, err := DecodeEntry(make([]byte, MaxEntryBytes+1)); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("bytes over the limit: %v", err)
	}
	if _, _, err := Apply(New(), Entry{Schema: 0}); !errors.Is(err, ErrSchema) {
		t.Fatalf("an entry without a version: %v", err)
	}
	if _, _, err := Apply(New(), Entry{Schema: SchemaVersion + 1}); !errors.Is(err, ErrSchema) {
		t.Fatalf("an entry of the next version: %v", err)
	}
}

// sealed adds the checksum.
func sealed(body []byte) []byte {
	return binary.BigEndian.AppendUint32(bytes.Clone(body), castagnoli(body))
}

// fixtureState has every kind of record.
func fixtureState(t testing.TB) *State {
	s, _ := mustApply(t, New(), fullEntry())
	e := Entry{Schema: 1, Time: s.Time() + 1000}
	for _, line := range []string{
		"CONFIG w4 ajp://10.0.0.4:8009 domain=green balancer=other id=4",
		"ENABLE-APP w4 default-host,localhost /shop,/",
		"DISABLE-APP w4 other /shop",
		"STATUS w4 94",
		`DRAIN w4 "kernel update"`,
		`HOLD w4 /shop alias=other "broken"`,
		"CONFIG w5 http://10.0.0.5:8080 id=5",
		"ENABLE-APP w5 localhost /shop",
		"STATUS w9 1 id=9",
		"REMOVE-APP w5 /*",
		"CONFIG w5 http://10.0.0.5:8080",
	} {
		c, err := parseCommand(line)
		if err != nil {
			t.Fatal(err)
		}
		e.Commands = append(e.Commands, c)
	}
	s, _ = mustApply(t, s, e)
	checkState(t, s)
	return s
}

// What schema version 1 wrote must be read for ever, and mean the same. Never
// rewrite these files once a version is released: add new ones.
func TestSchema1Fixtures(t *testing.T) {
	const snapshotFile, entryFile, stateFile = "testdata/schema1.snapshot", "testdata/schema1.entry", "testdata/schema1.txt"
	describe := func(s *State) string { return printState(s) + "hash " + s.Hash().String() + "\n" }
	if *fixtures {
		s := fixtureState(t)
		entry, err := EncodeEntry(fullEntry())
		if err != nil {
			t.Fatal(err)
		}
		for file, content := range map[string][]byte{
			snapshotFile: snapshot(t, s),
			entryFile:    []byte(hex.EncodeToString(entry) + "\n"),
			stateFile:    []byte(describe(s)),
		} {
			if err := os.WriteFile(file, content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	raw, want := readFile(t, snapshotFile), string(readFile(t, stateFile))
	s, err := ReadSnapshot(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if got := describe(s); got != want {
		t.Fatalf("read as\n%s\nwas\n%s", got, want)
	}
	if SchemaVersion == 1 && !bytes.Equal(raw, snapshot(t, s)) {
		t.Fatal("the snapshot is written in another form")
	}
	if got := describe(fixtureState(t)); got != want {
		t.Fatalf("the same entries make\n%s\nmade\n%s", got, want)
	}

	line := strings.TrimSpace(string(readFile(t, entryFile)))
	entry, err := hex.DecodeString(line)
	if err != nil {
		t.Fatal(err)
	}
	e, err := DecodeEntry(entry)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(e, fullEntry()) {
		t.Fatalf("the entry is read as %+v", e)
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A damaged snapshot is never taken for a state.
func TestReadSnapshotRefuses(t *testing.T) {
	good := snapshot(t, fixtureState(t))
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if s, err := ReadSnapshot(bytes.NewReader(bad)); err == nil {
			t.Fatalf("bit flipped in byte %d: %s", i, printState(s))
		}
		if _, err := ReadSnapshot(bytes.NewReader(good[:i])); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
	newer := bytes.Clone(good)
	newer[len(snapshotMagic)+1] = byte(SchemaVersion) + 1
	if _, err := ReadSnapshot(bytes.NewReader(newer)); !errors.Is(err, ErrSchema) {
		t.Fatalf("a newer version: %v", err)
	}
	if _, err := ReadSnapshot(strings.NewReader("PK\x03\x04 something else altogether")); !errors.Is(err, ErrSnapshot) {
		t.Fatalf("another file: %v", err)
	}
}

// What cannot be written says so.
func TestWriteSnapshotFails(t *testing.T) {
	full := errors.New("disk full")
	s := fixtureState(t)
	size := len(snapshot(t, s))
	for room := range size {
		if err := s.WriteSnapshot(&shortDisk{room, full}); !errors.Is(err, full) {
			t.Fatalf("%d bytes of room for %d: %v", room, size, err)
		}
	}
	if err := s.WriteSnapshot(&shortDisk{size, full}); err != nil {
		t.Fatal(err)
	}
}

type shortDisk struct {
	room int
	err  error
}

func (d *shortDisk) Write(b []byte) (int, error) {
	if len(b) > d.room {
		return 0, d.err
	}
	d.room -= len(b)
	return len(b), nil
}

// What DecodeEntry takes, it takes again after encoding, and Apply survives it.
func FuzzDecodeEntry(f *testing.F) {
	full, err := EncodeEntry(fullEntry())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full[:len(full)-4])
	f.Add([]byte{0x93, 1, 0, 0x90})
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := DecodeEntry(sealed(body))
		if err != nil {
			return
		}
		raw, err := EncodeEntry(e)
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeEntry(raw)
		if err != nil || !reflect.DeepEqual(e, again) {
			t.Fatalf("%+v came back as %+v, %v", e, again, err)
		}
		s, _, err := Apply(New(), e)
		if err != nil {
			return
		}
		if s.Hash() != s.HashFromNothing() {
			t.Fatalf("hash %s, from nothing %s", s.Hash(), s.HashFromNothing())
		}
	})
}

// Records that are read are written and read again as the same, and what is
// no snapshot is an error. The checksums are made right, or fuzzing would end
// there.
func FuzzReadSnapshot(f *testing.F) {
	image := snapshot(f, fixtureState(f))
	const head, tail = len(snapshotMagic) + 2, 1 + 16 + 4
	f.Add(image[head : len(image)-tail])
	empty := snapshot(f, New())
	f.Add(empty[head : len(empty)-tail])
	f.Fuzz(func(t *testing.T, records []byte) {
		in := newSummingReader(bytes.NewReader(append(bytes.Clone(records), 0)))
		s, err := readRecords(in)
		if err != nil {
			return
		}
		if !known(s.Schema()) {
			return
		}
		again, err := ReadSnapshot(bytes.NewReader(snapshot(t, s)))
		if err != nil {
			t.Fatal(err)
		}
		if again.Hash() != s.Hash() || s.Hash() != s.HashFromNothing() {
			t.Fatalf("hashes %s, %s, %s", s.Hash(), again.Hash(), s.HashFromNothing())
		}
	})
}
