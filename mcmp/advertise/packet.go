// Package advertise tells workers by UDP multicast where they can register, and reads
// what balancers tell (spec/advertise.md). Nothing flows back: a worker that hears a
// replica for the first time adds its address to its list of proxies.
//
//	Sender    one socket per interface ──► group:port, at once, then each interval
//	Finder    the rules by which the Java client takes an address from a datagram
package advertise

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MaxPacket is how much of a datagram the Java client reads, in bytes.
const MaxPacket = 512

// Packet is one announcement (spec/advertise.md §2). Without an Address it only tells a
// status.
type Packet struct {
	Status   int    // 200, 403 while stopping, 410 at the end
	Date     string // as it stands, for the digest
	Sequence uint64
	Server   string // a UUID, new with each address and each start
	Address  string // host:port of MCMP
	URL      string
	Protocol string // http, https
	Host     string
}

// Salt is MD5 of the key. Without a key it is 16 zero bytes: an empty key is another one.
func Salt(key []byte, given bool) (salt [16]byte) {
	if given {
		salt = md5.Sum(key)
	}
	return salt
}

// CheckKey refuses what is not printable ASCII: the Java client replaces it (§3).
func CheckKey(key []byte) error {
	for _, c := range key {
		if c < 0x20 || c > 0x7e {
			return errors.New("the key must be ASCII: workers replace what is not")
		}
	}
	return nil
}

// Digest of a packet: MD5 of salt, date, sequence and server (§3).
func (p Packet) Digest(salt [16]byte) string {
	sum := md5.Sum(fmt.Appendf(nil, "%s%s%d%s", salt[:], p.Date, p.Sequence, p.Server))
	return hex.EncodeToString(sum[:])
}

var reasons = map[int]string{200: "OK", 403: "Forbidden", 410: "Gone"}

// Append writes the packet. The Java client keeps only fields behind Server, and dies of
// a packet without Date, Sequence or Digest.
func (p Packet) Append(b []byte, salt [16]byte) []byte {
	b = fmt.Appendf(b, "HTTP/1.0 %d %s\r\nDate: %s\r\nSequence: %d\r\nDigest: %s\r\nServer: %s\r\n",
		p.Status, reasons[p.Status], p.Date, p.Sequence, p.Digest(salt), p.Server)
	if p.Address != "" {
		b = fmt.Appendf(b, "X-Manager-Address: %s\r\nX-Manager-Url: %s\r\nX-Manager-Protocol: %s\r\nX-Manager-Host: %s\r\n",
			p.Address, p.URL, p.Protocol, p.Host)
	}
	return append(b, "\r\n"...)
}

var (
	errNotOurs  = errors.New("no announcement: HTTP/1 is not how it begins")
	errLine     = errors.New("malformed status line")
	errUnsigned = errors.New("a Server without Date, Sequence or Digest: it would end the Java client's listener")
)

// Parse reads a datagram as the Java client does (§4), and gives the digest that it
// carries. What no balancer sends is an error.
func Parse(b []byte) (p Packet, digest string, err error) {
	text := string(b[:min(len(b), MaxPacket)])
	if !strings.HasPrefix(text, "HTTP/1.") {
		return p, "", errNotOurs
	}
	line, rest, _ := strings.Cut(text, "\r\n")
	words := strings.SplitN(line, " ", 3)
	if len(words) < 3 {
		return p, "", errLine
	}
	if p.Status, err = strconv.Atoi(words[1]); err != nil || p.Status < 100 || p.Status > 999 {
		return p, "", errLine
	}
	sequence := ""
	for rest != "" {
		line, rest, _ = strings.Cut(rest, "\r\n")
		name, value, ok := strings.Cut(line, ": ")
		if !ok {
			break
		}
		switch name {
		case "Date":
			p.Date = value
		case "Sequence":
			sequence = value
		case "Digest":
			digest = value
		case "Server":
			p.Server = value
		}
		if p.Server == "" {
			continue // what comes before Server is not kept
		}
		switch name {
		case "X-Manager-Address":
			p.Address = value
		case "X-Manager-Url":
			p.URL = value
		case "X-Manager-Protocol":
			p.Protocol = value
		case "X-Manager-Host":
			p.Host = value
		}
	}
	if p.Server != "" && (p.Date == "" || sequence == "" || digest == "") {
		return p, "", errUnsigned
	}
	if p.Server != "" {
		if p.Sequence, err = strconv.ParseUint(sequence, 10, 64); err != nil {
			return p, "", fmt.Errorf("sequence %q: no number", sequence)
		}
	}
	return p, digest, nil
}

// Finder takes addresses from datagrams by the Java client's rules: a packet counts if
// its digest is right, and only the first of each server gives an address. It is for one
// goroutine.
type Finder struct {
	salt [16]byte
	seen map[string]bool
}

// NewFinder makes a Finder with the key of the balancers, if they have one.
func NewFinder(key []byte, given bool) *Finder {
	return &Finder{salt: Salt(key, given), seen: map[string]bool{}}
}

var (
	errNoServer = errors.New("no Server in it")
	errDigest   = errors.New("the digest is wrong: another key?")
)

// Hear returns the address that a datagram adds to a worker's list; "" for none, because
// the server is known or tells none. An error says why the datagram does not count.
func (f *Finder) Hear(b []byte) (address string, err error) {
	p, digest, err := Parse(b)
	if err != nil {
		return "", err
	}
	if p.Server == "" {
		return "", errNoServer
	}
	if !strings.EqualFold(digest, p.Digest(f.salt)) {
		return "", errDigest
	}
	if f.seen[p.Server] {
		return "", nil
	}
	f.seen[p.Server] = true
	return p.Address, nil
}
