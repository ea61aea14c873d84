package raftnode

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
)

// Hello opens every connection of the cluster port, after TLS and before anything of
// Raft or HTTP. Both sides do the same, so each learns who the other is and whether it
// is welcome:
//
//	one                        other
//	hello ───────────────────► ◄─────────────────── hello
//	verdict on the other ────► ◄──── verdict on the one
//	Raft or HTTP/2, if both verdicts accept; else both close
//
// A message is JSON after two bytes of length, big endian.
type Hello struct {
	ID        string `json:"id"`                // replica id
	Name      string `json:"name"`              // for people
	ClusterID string `json:"cluster,omitempty"` // "" while it belongs to none
	Version   string `json:"version"`           // of the program
	Schema    uint16 `json:"schema"`            // newest version of entries it can apply
	Start     string `json:"start"`             // random, made when the process started; the link sets it
	Address   string `json:"address"`           // host:port of its cluster port; the link sets it where empty
}

const maxHello = 4096 // bytes of one message

// exchange greets over conn and returns the other side's hello. judge may refuse it; the
// other side's own refusal wins over ours, as it is the one that knows its reason.
func exchange(conn net.Conn, mine Hello, judge func(Hello) error) (Hello, error) {
	if err := writeMessage(conn, mine); err != nil {
		return Hello{}, fmt.Errorf("send hello: %w", err)
	}
	var theirs Hello
	if err := readMessage(conn, &theirs); err != nil {
		return Hello{}, fmt.Errorf("read hello: %w", err)
	}
	refusal := judge(theirs)
	if err := writeMessage(conn, verdictOf(refusal)); err != nil {
		return theirs, fmt.Errorf("send verdict: %w", err)
	}
	var answer verdict
	if err := readMessage(conn, &answer); err != nil {
		if refusal != nil {
			return theirs, refusal
		}
		return theirs, fmt.Errorf("read verdict: %w", err)
	}
	if err := answer.err(); err != nil {
		return theirs, err
	}
	return theirs, refusal
}

func writeMessage(w io.Writer, message any) error {
	body, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if len(body) > maxHello {
		return fmt.Errorf("message of %d bytes: at most %d", len(body), maxHello)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(body))), body...))
	return err
}

// readMessage reads one message and not a byte more: what follows is for another reader.
func readMessage(r io.Reader, message any) error {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint16(head[:])
	if n > maxHello {
		return fmt.Errorf("message of %d bytes: at most %d", n, maxHello)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	return json.Unmarshal(body, message)
}
