package gossip

import (
	"errors"
	"fmt"
)

// maxRecord is what memberlist carries per member; it panics above.
const maxRecord = 512

// record is what a replica tells about itself. On the wire:
//
//	version 1 | flags (bit 0: ready) | name | cluster id | cluster address | program version
//
// each text with one byte of length before it. What follows is ignored, so that a later
// version of the program can append.
type record struct {
	name, clusterID, clusterAddress, version string
	ready                                    bool
}

const (
	recordVersion = 1
	flagReady     = 1
)

var errRecord = errors.New("gossip: not a record of version 1")

func (r record) encode() ([]byte, error) {
	flags := byte(0)
	if r.ready {
		flags |= flagReady
	}
	b := []byte{recordVersion, flags}
	for _, field := range []struct{ what, text string }{
		{"name", r.name},
		{"cluster id", r.clusterID},
		{"cluster address", r.clusterAddress},
		{"version", r.version},
	} {
		if len(field.text) > 255 {
			return nil, fmt.Errorf("gossip: %s has %d bytes: at most 255", field.what, len(field.text))
		}
		b = append(b, byte(len(field.text)))
		b = append(b, field.text...)
	}
	if len(b) > maxRecord {
		return nil, fmt.Errorf("gossip: name, cluster id, cluster address and version take %d bytes: at most %d", len(b), maxRecord)
	}
	return b, nil
}

func decode(b []byte) (record, error) {
	if len(b) < 2 || b[0] != recordVersion {
		return record{}, errRecord
	}
	r := record{ready: b[1]&flagReady != 0}
	b = b[2:]
	for _, text := range []*string{&r.name, &r.clusterID, &r.clusterAddress, &r.version} {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return record{}, errRecord
		}
		end := 1 + int(b[0])
		*text, b = string(b[1:end]), b[end:]
	}
	return r, nil
}
