package wire

// records follows the TLS records that were read from the network, to know whether
// crypto/tls holds the beginning of one.
type records struct {
	head [5]byte // type, version, length (RFC 8446 section 5.1)
	got  uint8   // bytes of head that were read
	left uint16  // bytes of the record that are to come
}

// within reports whether a record has begun and not ended.
func (r *records) within() bool { return r.got > 0 || r.left > 0 }

func (r *records) pass(b []byte) {
	for len(b) > 0 {
		if r.left > 0 {
			n := min(int(r.left), len(b))
			r.left -= uint16(n)
			b = b[n:]
			continue
		}
		n := copy(r.head[r.got:], b)
		r.got += uint8(n)
		b = b[n:]
		if int(r.got) == len(r.head) {
			r.got = 0
			r.left = uint16(r.head[3])<<8 | uint16(r.head[4])
		}
	}
}
