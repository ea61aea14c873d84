package proxy

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"
	"unsafe"

	"github.com/oklog/ulid/v2"
	"github.com/quorate/quorate/proxy/accesslog"
	"github.com/quorate/quorate/proxy/http1"
	"github.com/quorate/quorate/proxy/pool"
	"github.com/quorate/quorate/proxy/route"
	"github.com/quorate/quorate/proxy/wire"
)

// bufferSize is how much is read at once from clients and from workers. A request
// whose head and body fit is sent in one write.
const bufferSize = 16 << 10

// exchange is one request of a client and its answer. Exchanges are pooled with
// their buffers: in steady state none is made.
//
// Strings that are cut from in live as long as the exchange, and are kept by
// nobody behind it.
type exchange struct {
	p     *Proxy
	t     *Tuning // as it was when the request came
	shard int     // in which it counts
	l     *listener
	down  downstream
	h1    h1 // down, for clients that speak HTTP/1
	peer  *peer

	in   []byte // what the client sent: a head, then what there is of the body
	n    int    // bytes that are filled
	head int    // bytes of the head
	req  http1.Request
	body body

	up      []byte // what the worker sent
	upN     int
	resp    http1.Response
	chunks  http1.Chunked // of the answer
	out     []byte        // what is sent next: to the worker, then to the client
	buffers *ioBuffers    // where up and out are from

	facts   route.Facts
	cookies []string // backs facts.Cookies
	scratch []byte   // backs what facts cannot cut from in
	method  string
	upgrade string // protocol asked for, "" for a plain request
	idBytes [ulid.EncodedSize]byte
	id      string

	start      time.Time     // the head was there
	ended      time.Time     // the answer was sent
	connecting time.Duration // <0: no connection was made
	firstByte  time.Duration // until the worker's answer began; <0: it did not
	limit      time.Time     // of max_request_time; zero: none
	balancer   string        // "none" until one is chosen
	worker     string
	context    string
	wanted     string // the session's route
	index      uint64 // of the table
	status     int    // sent to the client; 0: not begun
	sent       int64  // bytes of the answer's body
	moved      bool   // the session changed its worker
	closing    bool   // the client's connection ends with this exchange
	lingering  bool   // the client may still be sending
	broken     bool   // the client's connection is of no use any more
	tunnelled  bool   // it has become a tunnel
	informed   bool   // the client was told by us to go on with its body
	closedBy   string
	cause      error // why there is no proper answer

	attempts int       // tries that count against Maxattempts
	tries    int       // all of them
	dials    int       // tries that were refused and do not count
	refused  time.Time // first of these
	dialling *target   // whose connection was awaited last
	dialled  time.Time // since when
	late     *upstream // that has not answered CPING in time
	last     *failure  // of the last try
	failed   failure   // last points here

	pump   pump
	held   *upConn // the worker's connection in use
	heldOf *pool.Pool
	over   <-chan struct{} // closed when a stream of HTTP/2 ends; nil: gone has to be asked
	gone   func() bool     // down.gone, made once
	waits  func() bool     // gone, asked while a connection is awaited; made once
	pumped func()          // pump.run, made once
	entry  accesslog.Record
}

// noBalancer is what metrics say of requests that got none.
const noBalancer = "none"

// downstream is the client's side of an exchange: an HTTP/1 connection or an
// HTTP/2 stream.
type downstream interface {
	// fill reads of the body, as it is framed. One goroutine at a time reads.
	fill(to []byte) (int, error)
	// interrupt ends a fill that runs, from another goroutine, and those to come,
	// until resume.
	interrupt()
	resume()
	// gone says, without waiting, whether the client has left.
	gone() bool
	// inform sends a 1xx answer.
	inform(r *http1.Response, b []byte) error
	// begin starts the answer with the head r, parsed from b. length is that of
	// the body, -1 if it is not known; none: no body follows, whatever is said.
	// Nothing need be sent yet.
	begin(r *http1.Response, b []byte, length int64, none bool) error
	// write sends a piece of the body. more: it is to be sent now, for nothing
	// else may come for long; else end or write follows at once.
	write(b []byte, more bool) error
	// end sends what is left, and trailers.
	end(c *http1.Chunked) error
	// abort tells the client that the answer is not complete.
	abort()
	// carrier is the connection to splice to; nil if bytes are wrapped.
	carrier() *wire.Conn
}

// view is b as a string, which must not outlive it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func (p *Proxy) newExchange() *exchange {
	x := &exchange{p: p, in: make([]byte, bufferSize), shard: p.stats.place()}
	x.h1.x = x
	x.pump.x = x
	x.pump.done = make(chan struct{}, 1)
	x.gone = func() bool { return x.down.gone() || p.isCut() }
	x.waits = func() bool { p.worry(x.dialling, x.dialled); return x.gone() }
	x.pumped = x.pump.run
	x.clear()
	return x
}

// take returns an exchange with nothing in it.
func (p *Proxy) take() *exchange { return p.pool.Get().(*exchange) }

// give puts an exchange back. Nothing may point to it any more.
func (p *Proxy) give(x *exchange) {
	x.clear()
	x.n = 0
	x.down, x.peer, x.l, x.over = nil, nil, nil, nil
	x.h1.conn = nil
	if len(x.in) > bufferSize {
		x.in = make([]byte, bufferSize)
	}
	p.pool.Put(x)
}

// clear makes x ready for the next request on its connection; what was read of
// that stays.
func (x *exchange) clear() {
	x.returnBuffers()
	x.req.Reset()
	x.body.reset()
	x.head, x.h1.old = 0, false
	clear(x.cookies)
	x.cookies = x.cookies[:0]
	x.facts = route.Facts{}
	x.method, x.upgrade, x.id = "", "", ""
	x.connecting, x.firstByte = -1, -1
	x.limit, x.refused, x.start, x.ended = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	x.balancer, x.worker, x.context, x.wanted, x.index = noBalancer, "", "", "", 0
	x.status, x.sent = 0, 0
	x.moved, x.closing, x.lingering, x.broken, x.tunnelled, x.informed = false, false, false, false, false, false
	x.closedBy, x.cause = "", nil
	x.attempts, x.tries, x.dials, x.dialling, x.late = 0, 0, 0, nil, nil
	x.last, x.failed = nil, failure{}
}

// ioBuffers are needed from the choice of a worker to the end of the answer, but
// not while a client's request comes in.
type ioBuffers struct{ up, out []byte }

var buffers = sync.Pool{New: func() any {
	return &ioBuffers{make([]byte, bufferSize), make([]byte, 0, bufferSize+4<<10)}
}}

// takeBuffers makes up and out ready.
func (x *exchange) takeBuffers() {
	if x.up == nil {
		x.buffers = buffers.Get().(*ioBuffers)
		x.up, x.out = x.buffers.up, x.buffers.out[:0]
	}
}

func (x *exchange) returnBuffers() {
	if x.up == nil {
		return
	}
	b := x.buffers
	if cap(x.out) <= 2*bufferSize {
		b.out = x.out[:0]
	}
	x.up, x.out, x.upN, x.buffers = nil, nil, 0, nil
	buffers.Put(b)
}

// run is an exchange whose head has been read, from the check to the account.
func (p *Proxy) run(x *exchange) {
	p.stats.counts.Add(x.shard, countInFlight, 1)
	defer p.account(x)
	defer p.recovered(x)
	x.method = view(x.req.Method.Of(x.in))
	x.name()
	p.serve(x)
}

// recovered ends an exchange that panicked, which is a defect of ours.
func (p *Proxy) recovered(x *exchange) {
	e := recover()
	if e == nil {
		return
	}
	p.log.Error("request panicked", "request", x.id, "panic", e, "stack", string(debug.Stack()))
	x.stopPump()
	x.release(false, 0)
	if x.status == 0 {
		x.answer(500, "Something went wrong here.", true)
		return
	}
	x.closedBy = "quorate"
	x.down.abort()
}

// name gives the exchange its id: the client's if it is trusted and gives a good
// one, else a new one, which sorts by time.
func (x *exchange) name() {
	if x.peer.trusted {
		if f := x.field(http1.XRequestID); f != nil {
			if id := view(f.Value.Of(x.in)); goodID(id) {
				x.id = id
				return
			}
		}
	}
	var id ulid.ULID
	id.SetTime(ulid.Timestamp(x.start))
	binary.BigEndian.PutUint64(id[6:], rand.Uint64())
	binary.BigEndian.PutUint16(id[14:], uint16(rand.Uint32()))
	id.MarshalTextTo(x.idBytes[:])
	x.id = view(x.idBytes[:])
}

func goodID(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlnum(c) && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// field returns the first line of that name, nil if there is none.
func (x *exchange) field(id http1.Name) *http1.Field {
	for i := range x.req.Fields {
		if f := &x.req.Fields[i]; f.ID == id {
			return f
		}
	}
	return nil
}

// know fills in what a decision needs of the request beside its path.
func (x *exchange) know() {
	for i := range x.req.Fields {
		if f := &x.req.Fields[i]; f.ID == http1.Cookie {
			x.cookies = append(x.cookies, view(f.Value.Of(x.in)))
		}
	}
	x.scratch = x.facts.Reuse(view(x.req.Host.Of(x.in)), x.cookies, x.scratch)
}
