package gossip

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestRecordRoundTrip(t *testing.T) {
	text := rapid.StringN(-1, -1, 120)
	rapid.Check(t, func(t *rapid.T) {
		r := record{
			name: text.Draw(t, "name"), clusterID: text.Draw(t, "cluster id"),
			clusterAddress: text.Draw(t, "address"), version: text.Draw(t, "version"),
			ready: rapid.Bool().Draw(t, "ready"),
		}
		b, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		// A later version may append.
		got, err := decode(append(b, 9, 9))
		if err != nil || got != r {
			t.Fatalf("%+v came back as %+v, %v", r, got, err)
		}
		for cut := range b {
			if _, err := decode(b[:cut]); err == nil {
				t.Fatalf("%d of %d bytes were taken for a record", cut, len(b))
			}
		}
	})
}

func TestRecordLimit(t *testing.T) {
	// 2 bytes of head, 4 lengths, and what is left for the texts: exactly full.
	r := record{name: strings.Repeat("n", 255), clusterID: strings.Repeat("c", 251)}
	b, err := r.encode()
	if err != nil || len(b) != maxRecord {
		t.Errorf("got %d bytes, %v, want %d", len(b), err, maxRecord)
	}
	if got, err := decode(b); err != nil || got != r {
		t.Errorf("came back as %+v, %v", got, err)
	}
	r.version = "1"
	if _, err := r.encode(); err == nil {
		t.Error("one byte more was accepted")
	}
}

func FuzzDecode(f *testing.F) {
	b, err := record{name: "lb1", clusterID: "c", clusterAddress: "10.0.0.1:7300", version: "0.1.0", ready: true}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{recordVersion, 0, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decode(b)
		if err != nil {
			return
		}
		again, err := r.encode()
		if err != nil {
			return // longer than we would write
		}
		if got, err := decode(again); err != nil || got != r {
			t.Fatalf("%+v came back as %+v, %v", r, got, err)
		}
	})
}
