package raftnode

import (
	"maps"
	"net"
	"slices"
	"sync"
)

// peer is another replica as it last presented itself over TLS.
type peer struct {
	Hello
	dialled string // where it last answered this replica; "" if it never did
}

// peers holds every connection of the cluster port and who was met there.
type peers struct {
	mu     sync.Mutex
	wires  map[*wire]struct{} // open ones, also those still greeting
	met    map[string]peer    // by replica id
	silent bool               // Raft's connections are cut for now
	noRaft bool               // and for good
	closed bool
}

// wire is the TCP connection below TLS: it forgets itself when closed. It sits there
// because http.Server must be given the *tls.Conn itself, else it speaks HTTP/1.1.
type wire struct {
	net.Conn
	peers *peers
	hello Hello  // of the other side; guarded by peers.mu until admitted, then constant
	proto string // "" until admitted; as hello
}

func (p *peers) wire(raw net.Conn) (*wire, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		raw.Close()
		return nil, net.ErrClosed
	}
	if p.wires == nil {
		p.wires = make(map[*wire]struct{})
	}
	w := &wire{Conn: raw, peers: p}
	p.wires[w] = struct{}{}
	return w, nil
}

// Close implements net.Conn.
func (w *wire) Close() error {
	w.peers.mu.Lock()
	delete(w.peers.wires, w)
	w.peers.mu.Unlock()
	return w.Conn.Close()
}

// admit registers whose connection w is. When a process of that id but another start
// has a connection too, nothing is registered and that one's hello is returned.
func (p *peers) admit(w *wire, theirs Hello, proto string) (other *Hello, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for o := range p.wires {
		if o.proto != "" && o.hello.ID == theirs.ID && o.hello.Start != theirs.Start {
			h := o.hello
			return &h, nil
		}
	}
	if p.closed {
		return nil, net.ErrClosed
	}
	if proto == protoRaft && (p.silent || p.noRaft) {
		return nil, errSilent
	}
	w.hello, w.proto = theirs, proto
	return nil, nil
}

// seen notes who was met; dialled is where, or "" if it came to us.
func (p *peers) seen(h Hello, dialled string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.met == nil {
		p.met = make(map[string]peer)
	}
	if dialled == "" {
		// A new process may have moved: where its predecessor answered is no clue.
		if last := p.met[h.ID]; last.Start == h.Start {
			dialled = last.dialled
		}
	}
	p.met[h.ID] = peer{h, dialled}
}

// addresses are those under which a replica was met, the likeliest first.
func (p *peers) addresses(id string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	last, ok := p.met[id]
	if !ok {
		return nil
	}
	return []string{last.dialled, last.Address}
}

// drop closes the admitted connections that match: at once, without TLS's goodbye,
// which can block on a frozen peer.
func (p *peers) drop(match func(*wire) bool) {
	p.mu.Lock()
	var doomed []*wire
	for w := range p.wires {
		if w.proto != "" && match(w) {
			doomed = append(doomed, w)
		}
	}
	p.mu.Unlock()
	for _, w := range doomed {
		w.Close()
	}
}

// silence cuts Raft's connections and refuses new ones, or lifts that.
func (p *peers) silence(on bool) {
	p.mu.Lock()
	p.silent = on
	p.mu.Unlock()
	if on {
		p.dropRaft()
	}
}

// endRaft is silence for good.
func (p *peers) endRaft() {
	p.mu.Lock()
	p.noRaft = true
	p.mu.Unlock()
	p.dropRaft()
}

func (p *peers) dropRaft() { p.drop(func(w *wire) bool { return w.proto == protoRaft }) }

func (p *peers) isSilent() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.silent || p.noRaft
}

// close ends all connections and refuses new ones.
func (p *peers) close() {
	p.mu.Lock()
	p.closed = true
	wires := slices.Collect(maps.Keys(p.wires))
	p.mu.Unlock()
	for _, w := range wires {
		w.Close()
	}
}

// ifOpen calls f, unless close was called before; close waits for f.
func (p *peers) ifOpen(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		f()
	}
	return !p.closed
}

// Silence cuts Raft's connections and refuses new ones either way, so that the others
// elect another leader (design.md §5, a disk that hangs); Silence(false) lets Raft speak
// again. The API goes on.
func (l *link) Silence(on bool) { l.peers.silence(on) }
