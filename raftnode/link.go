package raftnode

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// handshakeTimeout bounds TLS and hello of one connection, either way.
	handshakeTimeout = 3 * time.Second
	// challengeTimeout bounds the question whether a replica still lives where it said.
	challengeTimeout = 1500 * time.Millisecond
	// maxHandshakes connections may be greeting at once; the rest wait in the kernel.
	maxHandshakes = 512
)

// linkConfig says what a link needs.
type linkConfig struct {
	// Self is asked at each connection; its ID never changes. Start is ignored, an empty
	// Address becomes the listener's.
	Self func() Hello

	Listen  string       // host:port; port 0 takes a free one
	Creds   *Credentials // TLS
	Handler http.Handler // replica to replica API; callerOf tells who asks

	// Lookup returns the address of a replica's cluster port as gossip or the membership
	// know it. It is asked at each dial; what the replica itself last said is tried too.
	Lookup func(id string) (addr string, ok bool)

	// Admit may refuse a caller, with ErrRemoved or ErrNameTaken. Default: all are welcome.
	Admit func(Hello) error

	// Refused is told of a caller whose connection one of the two sides refused for a
	// reason that will not go away (isRefusal). Of one refused by TLS only the host is
	// known, as Address. Optional.
	Refused func(Hello, error)

	Log *slog.Logger // default: discard
}

// link is the one cluster port: it accepts, proves who is there, and hands the
// connection to Raft or to the API.
//
//	accept ─► TLS 1.3 ─► hello ─► quorate-raft/1 ─► stream layer ─► hashicorp/raft
//	                          └─► h2 ────────────► http.Server ───► Handler
//
// Dialling goes the same way from the other end.
type link struct {
	config linkConfig
	log    *slog.Logger
	id     string
	start  string // random, of this process

	listener net.Listener
	stream   *streamLayer
	api      *apiListener
	server   *http.Server
	client   *http.Transport

	ctx        context.Context // ends with Close
	stop       context.CancelFunc
	running    sync.WaitGroup // what Run waits for
	handshakes chan struct{}
	fatal      chan error // what ends Run

	peers peers
}

// openLink binds the port. Nothing is accepted before Run.
func openLink(c linkConfig) (*link, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Admit == nil {
		c.Admit = func(Hello) error { return nil }
	}
	if c.Refused == nil {
		c.Refused = func(Hello, error) {}
	}
	if c.Lookup == nil {
		c.Lookup = func(string) (string, bool) { return "", false }
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen %s (cluster.address): %w", c.Listen, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &link{
		config:     c,
		log:        c.Log,
		id:         c.Self().ID,
		start:      rand.Text(),
		listener:   listener,
		ctx:        ctx,
		stop:       stop,
		handshakes: make(chan struct{}, maxHandshakes),
		fatal:      make(chan error, 1),
	}
	l.stream = newStreamLayer(l)
	l.api = newAPIListener(listener.Addr())
	l.server = l.newServer()
	l.client = l.newClient()
	return l, nil
}

// Addr is the address the port is bound to.
func (l *link) Addr() net.Addr { return l.listener.Addr() }

// Run accepts connections until ctx ends or Close is called. It returns an error that
// wraps ErrDuplicateID when another replica reports that this one's id is taken.
func (l *link) Run(ctx context.Context) error {
	l.running.Go(l.accept)
	l.running.Go(func() {
		if err := l.server.Serve(l.api); !errors.Is(err, http.ErrServerClosed) {
			l.fail(fmt.Errorf("replica to replica API: %w", err))
		}
	})
	var err error
	select {
	case <-ctx.Done():
	case <-l.ctx.Done():
	case err = <-l.fatal:
	}
	l.Close()
	l.running.Wait()
	return err
}

// Close ends every connection and frees the port.
func (l *link) Close() error {
	l.stop()
	err := l.listener.Close()
	l.server.Close()
	l.api.Close()
	l.stream.Close()
	l.peers.close()
	l.client.CloseIdleConnections()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// fail ends Run with the first error.
func (l *link) fail(err error) {
	select {
	case l.fatal <- err:
	default:
	}
}

// self is what this replica says about itself now.
func (l *link) self() Hello {
	h := l.config.Self()
	h.Start = l.start
	if h.Address == "" {
		h.Address = l.Addr().String()
	}
	return h
}

func (l *link) accept() {
	for {
		raw, err := l.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Too many open files, or a client gone already: others may do better.
			l.log.Debug("accept on the cluster port", "error", err)
			if sleep(l.ctx, 50*time.Millisecond) != nil {
				return
			}
			continue
		}
		select {
		case l.handshakes <- struct{}{}:
		case <-l.ctx.Done():
			raw.Close()
			return
		}
		l.running.Go(func() {
			defer func() { <-l.handshakes }()
			theirs, err := l.welcome(raw)
			if err == nil {
				return
			}
			l.log.Debug("cluster connection refused", "source", raw.RemoteAddr().String(), "error", err)
			if isRefusal(err) {
				if theirs.Address == "" {
					theirs.Address, _, _ = net.SplitHostPort(raw.RemoteAddr().String())
				}
				l.config.Refused(theirs, err)
			}
		})
	}
}

// welcome takes an accepted connection through TLS and hello to whom it is for. It
// returns who called, as far as that was told.
func (l *link) welcome(raw net.Conn) (Hello, error) {
	w, err := l.peers.wire(raw)
	if err != nil {
		return Hello{}, err
	}
	conn := tls.Server(w, l.config.Creds.config(protoRaft, protoAPI))
	conn.SetDeadline(time.Now().Add(handshakeTimeout))
	if err := conn.HandshakeContext(l.ctx); err != nil {
		linger(w)
		return Hello{}, l.config.Creds.explain(err)
	}
	state := conn.ConnectionState()
	proto := state.NegotiatedProtocol
	if proto == "" {
		w.Close()
		return Hello{}, errors.New("no ALPN protocol")
	}
	theirs, err := exchange(conn, l.self(), func(theirs Hello) error {
		if theirs.ID == l.id && theirs.Start != l.start {
			return fmt.Errorf("%w (%s, %s)", ErrDuplicateID, l.self().Name, l.self().Address)
		}
		if err := l.judge(state, theirs); err != nil {
			return err
		}
		if err := l.config.Admit(theirs); err != nil {
			return err
		}
		return l.admit(w, theirs, proto)
	})
	if err != nil {
		w.Close()
		return theirs, l.told(err)
	}
	conn.SetDeadline(time.Time{})
	l.peers.seen(theirs, "")
	if proto == protoRaft {
		l.stream.hand(conn)
	} else {
		l.api.hand(conn)
	}
	return theirs, nil
}

// dial opens a connection to addr for proto. want is the id that must answer there, or
// "" for any.
func (l *link) dial(ctx context.Context, addr, want, proto string) (*tls.Conn, Hello, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	conn, w, err := l.secure(ctx, addr, proto)
	if err != nil {
		return nil, Hello{}, err
	}
	state := conn.ConnectionState()
	theirs, err := exchange(conn, l.self(), func(theirs Hello) error {
		if want != "" && theirs.ID != want {
			return fmt.Errorf("%w: %s answers, not %s", ErrWrongReplica, theirs.ID, want)
		}
		if theirs.ID == l.id && theirs.Start != l.start {
			return nil // a copy of this replica: it is the older one, and refuses
		}
		if err := l.judge(state, theirs); err != nil {
			return err
		}
		return l.admit(w, theirs, proto)
	})
	if err != nil {
		w.Close()
		return nil, Hello{}, &dialError{addr, l.told(err)}
	}
	conn.SetDeadline(time.Time{})
	l.peers.seen(theirs, addr)
	return conn, theirs, nil
}

// secure connects and shakes hands, up to where the hello begins. The connection's
// deadline is that of ctx.
func (l *link) secure(ctx context.Context, addr, proto string) (*tls.Conn, *wire, error) {
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, &dialError{addr, err}
	}
	w, err := l.peers.wire(raw)
	if err != nil {
		return nil, nil, &dialError{addr, err}
	}
	conn := tls.Client(w, l.config.Creds.config(proto))
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		w.Close()
		return nil, nil, &dialError{addr, l.config.Creds.explain(err)}
	}
	return conn, w, nil
}

// judge is what both sides ask of a hello.
func (l *link) judge(state tls.ConnectionState, theirs Hello) error {
	if err := l.config.Creds.proves(state, theirs.ID); err != nil {
		return err
	}
	if theirs.ID == l.id {
		return ErrSelf
	}
	mine := l.self()
	if mine.ClusterID != "" && theirs.ClusterID != "" && mine.ClusterID != theirs.ClusterID {
		return otherCluster(mine.Name, mine.ClusterID, theirs.Name, theirs.ClusterID)
	}
	return nil
}

// admit registers a connection, unless another process of that id is alive. Connections
// of an earlier start are no proof: an idle one does not notice that its other end died.
// So the earlier process is asked, where it said it listens.
func (l *link) admit(w *wire, theirs Hello, proto string) error {
	for {
		other, err := l.peers.admit(w, theirs, proto)
		if err != nil || other == nil {
			return err
		}
		if l.alive(*other) {
			return fmt.Errorf("%w (%s, %s)", ErrDuplicateID, other.Name, other.Address)
		}
		l.peers.drop(func(w *wire) bool { return w.hello.ID == other.ID && w.hello.Start == other.Start })
	}
}

// alive asks the address in a hello whether that very process still answers there.
func (l *link) alive(h Hello) bool {
	ctx, cancel := context.WithTimeout(l.ctx, challengeTimeout)
	defer cancel()
	conn, w, err := l.secure(ctx, h.Address, protoAPI)
	if err != nil {
		return false
	}
	defer w.Close()
	// An answer is all that counts, even a refusal.
	now, _ := exchange(conn, l.self(), func(Hello) error { return nil })
	return now.ID == h.ID && now.Start == h.Start
}

// told makes the other side's verdict plain, and ends Run if that says this replica is
// one too many.
func (l *link) told(err error) error {
	err = l.config.Creds.explain(err)
	if _, theirs := errors.AsType[*refusedError](err); theirs && errors.Is(err, ErrDuplicateID) {
		l.fail(err)
	}
	return err
}

// linger closes after a refused handshake. What the other side has sent meanwhile is
// read first: the kernel would answer it with a reset, which can overtake our alert.
func linger(w *wire) {
	defer w.Close()
	if tcp, ok := w.Conn.(*net.TCPConn); ok {
		tcp.CloseWrite()
	}
	w.SetReadDeadline(time.Now().Add(time.Second))
	io.Copy(io.Discard, io.LimitReader(w, 64<<10))
}
