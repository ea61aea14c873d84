package pool

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

const (
	lookupTimeout = 10 * time.Second // off the path
	lookupAgain   = 5 * time.Second  // after a look-up or a dial that failed: the worker may have moved
)

// where is the worker, by address. A literal one has no name and is never looked up.
// name, port and err stay as they are; all else is guarded by the pool's lock, and
// list is replaced, never changed.
type where struct {
	name string
	port uint16
	err  error // of the configured address: nothing can be dialled

	list    []netip.Addr // the last good answer; nil: none yet
	current int          // the one in list to which connections are made, while it answers
	moves   int          // how often current was no longer in a new answer
	asked   time.Duration
	asking  bool
	doubt   bool // ask sooner
}

func whereIs(address string) where {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return where{err: err}
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return where{err: &net.AddrError{Err: "invalid port", Addr: address}}
	}
	w := where{port: uint16(number)}
	if literal, err := netip.ParseAddr(host); err == nil {
		w.list = []netip.Addr{literal}
	} else {
		w.name = host
	}
	return w
}

// destination is where one dial goes.
type destination struct {
	list    []netip.Addr
	current int
	port    uint16
	moves   int
}

func (w *where) destination() destination {
	return destination{w.list, w.current, w.port, w.moves}
}

func lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// addresses is where to dial. Only as long as a name has never been found does it
// ask; net.Resolver makes one question of those asked at once.
func (p *Pool) addresses(ctx context.Context) (destination, error) {
	p.mu.Lock()
	to := p.where.destination()
	p.mu.Unlock()
	if to.list != nil {
		return to, nil
	}
	if p.where.err != nil {
		return destination{}, &net.OpError{Op: "dial", Net: "tcp", Err: p.where.err}
	}
	list, err := p.ask(ctx)
	if err != nil {
		p.unanswered()
		return destination{}, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	p.learn(list)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.where.destination(), nil
}

func (p *Pool) ask(ctx context.Context) ([]netip.Addr, error) {
	name := p.where.name
	list, err := p.c.Lookup(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	list = slices.Clone(list)
	for i := range list {
		list[i] = list[i].Unmap()
	}
	return list, nil
}

// lookupIfDue asks for the name again after DNSTTL, sooner when in doubt.
func (p *Pool) lookupIfDue(at time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := &p.where
	every := p.c.DNSTTL
	if w.doubt {
		every = min(every, lookupAgain)
	}
	never := w.list == nil && !w.doubt
	if w.name == "" || w.asking || p.closed || !never && at-w.asked < every {
		return
	}
	w.asking, w.asked = true, at
	p.running.Go(p.lookup)
}

func (p *Pool) lookup() {
	ctx, cancel := context.WithTimeout(p.life, lookupTimeout)
	defer cancel()
	list, err := p.ask(ctx)
	if err == nil {
		p.learn(list)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.where.asking = false
	p.where.doubt = err != nil
}

// learn takes an answer of the resolver. The worker stays where it is if that is
// among the answers, in whatever order. Else it has moved: what idles is connected
// to where it was, and closed; what is in use will not be kept.
func (p *Pool) learn(list []netip.Addr) {
	p.mu.Lock()
	w := &p.where
	first := w.list == nil
	current := 0
	var gone []*Conn
	if !first {
		current = slices.Index(list, w.list[w.current])
		if current < 0 {
			current = 0
			w.moves++
			gone, p.idle, p.unused = p.idle, nil, 0
		}
	}
	w.list, w.current = list, current
	p.mu.Unlock()
	for _, c := range gone {
		p.discard(c, false)
	}
}

// answered notes which address took a connection.
func (p *Pool) answered(to destination, n int) {
	if n == to.current {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.where.list, to.list[n]); i >= 0 {
		p.where.current = i
	}
}

// unanswered notes that no address took a connection.
func (p *Pool) unanswered() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.where.doubt = true
}
