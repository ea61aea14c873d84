package proxy

import (
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/quorate/quorate/proxy/route"
)

// exchange is one request of a client and its answer.
type exchange struct {
	request *http.Request
	writer  http.ResponseWriter
	control *http.ResponseController
	write   time.Duration // Timeouts.Write
	client  *client
	peer    peer
	id      string
	facts   route.Facts
	upgrade string // protocol asked for, "" for a plain request
	body    *body  // nil if there is none

	start    time.Time
	balancer string // "none" until one is chosen
	status   int    // sent to the client; 0: not begun
	moved    bool   // the session changed its worker

	attempts int       // tries that count against Maxattempts
	dials    int       // tries that were refused and do not count
	refused  time.Time // first of these
	last     *failure  // of the last try
}

// ServeHTTP is one exchange, from accept to account.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.exchanges.add(1)
	defer p.exchanges.add(-1)
	x := &exchange{
		request:  r,
		writer:   w,
		control:  http.NewResponseController(w),
		write:    p.c.Timeouts.Write,
		client:   clientOf(r),
		peer:     p.peerOf(r),
		start:    time.Now(),
		balancer: "none",
	}
	x.id = requestID(r, x.peer)
	if r.Body != nil && r.Body != http.NoBody {
		x.body = &body{request: r, control: x.control, c: &p.c}
		if r.ProtoMajor == 1 {
			// Else package http takes the body itself when an answer begins early.
			x.control.EnableFullDuplex()
		}
	}
	defer p.account(x)
	defer p.recovered(x)
	p.serve(x)
	if x.status == 0 { // the client has gone; package http would say 200
		panic(http.ErrAbortHandler)
	}
	p.leave(x)
}

// leave bounds what package http does with the rest of a body when its exchange
// is over: it reads on, so that the client can read the answer, but has no limit
// of time of its own.
func (p *Proxy) leave(x *exchange) {
	if x.body != nil && x.request.ProtoMajor == 1 && !x.body.whole() {
		x.control.SetReadDeadline(time.Now().Add(p.linger))
	}
}

// serve checks, decides, forwards, and as long as nothing was sent twice decides
// again.
func (p *Proxy) serve(x *exchange) {
	if !p.admit(x) || p.answerHere(x) {
		return
	}
	for {
		d := p.decide(x)
		if d.Node == nil {
			p.refuse(x, &d)
			return
		}
		if x.last == nil {
			p.budgets.note(x.balancer)
		}
		f := p.try(x, &d)
		if f == nil {
			return // answered, or too late to answer twice
		}
		if !p.again(x, &d, f) {
			p.fail(x, f)
			return
		}
		x.facts.Avoid(d.Node)
	}
}

// try sends the request to one node.
func (p *Proxy) try(x *exchange, d *route.Decision) *failure {
	defer d.End()
	return p.forward(x, d)
}

// decide chooses a node and counts the request there. If the election finds none
// it waits for a change of the table, as long as the balancer's WaitWorker.
func (p *Proxy) decide(x *exchange) route.Decision {
	var deadline <-chan time.Time
	for {
		changed := p.changed.next()
		t := p.table.Load()
		d := route.Decide(t, &x.facts)
		if d.Balancer != nil {
			x.balancer = d.Balancer.Name
		}
		if d.Node != nil {
			d.Begin()
			if p.table.Load() == t {
				return d
			}
			d.End() // a drain may have looked between the two: see Decision.Begin
			continue
		}
		if d.Wait <= 0 || x.last != nil || p.draining.Load() {
			return d
		}
		if deadline == nil {
			timer := time.NewTimer(d.Wait)
			defer timer.Stop()
			deadline = timer.C
		}
		select {
		case <-changed:
		case <-deadline:
			return d
		case <-x.request.Context().Done():
			return d
		case <-p.life.Done():
			return d
		}
	}
}

// again says whether a try that failed may be followed by one at another node
// (spec/routing.md §0.7).
func (p *Proxy) again(x *exchange, d *route.Decision, f *failure) bool {
	x.last = f
	conf := &p.c.Upstream.Retry
	limit := max(0, d.Policy.MaxAttempts)
	if conf.Max != nil {
		limit = *conf.Max
	}
	switch {
	case !f.untouched || x.gone():
		return false
	case f.kind == failedDial && f.dial != dialLate:
		if x.dials == 0 {
			x.refused = time.Now()
		}
		x.dials++
		return x.dials <= len(p.table.Load().Nodes()) && time.Since(x.refused) < 3*time.Second
	case f.kind == failedDial:
	case f.kind == failedEarly && idempotent(x.request.Method) && (conf.WithQuery || x.facts.Path.Query() == ""):
	default:
		return false
	}
	if x.attempts >= limit || !p.budgets.spend(x.balancer, conf.Budget) {
		return false
	}
	x.attempts++
	p.stats.retries.Inc()
	return true
}

// idempotent methods are those of RFC 9110 §9.2.2.
func idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE":
		return true
	}
	return false
}

// recovered ends an exchange that panicked: http.ErrAbortHandler is how an answer
// is cut off, everything else is a defect of ours.
func (p *Proxy) recovered(x *exchange) {
	e := recover()
	if e == nil {
		return
	}
	if e != http.ErrAbortHandler {
		p.log.Error("request panicked", "request", x.id, "panic", e, "stack", string(debug.Stack()))
		if x.status == 0 {
			x.answer(http.StatusInternalServerError, "Something went wrong here.", true)
			p.leave(x)
			return
		}
	}
	if x.client != nil && x.request.ProtoMajor == 1 {
		reset(x.client.conn) // else a body without a length would look complete
		if x.body != nil {
			x.control.SetReadDeadline(time.Unix(1, 0)) // see leave; this is to end now
		}
	}
	panic(http.ErrAbortHandler)
}

// admit checks the request against what is allowed, and fills in what is known
// of it. False: it has been answered.
func (p *Proxy) admit(x *exchange) bool {
	r := x.request
	if x.client != nil {
		n := x.client.requests.Add(1)
		if limit := int64(p.c.Limits.RequestsPerConnection); limit > 0 && n >= limit {
			x.writer.Header().Set("Connection", "close")
		}
	}
	if p.draining.Load() {
		x.writer.Header().Set("Connection", "close")
	}
	limits := &p.c.Limits
	switch {
	case limits.RequestLineBytes > 0 && len(r.Method)+1+len(r.RequestURI)+len(" HTTP/1.1") > limits.RequestLineBytes:
		p.stats.own(ownLimit)
		x.answer(http.StatusRequestURITooLong, "The address is too long.", true)
	case limits.HeaderBytes > 0 && headerBytes(r) > limits.HeaderBytes:
		p.stats.own(ownLimit)
		x.answer(http.StatusRequestHeaderFieldsTooLarge, "The header is too large.", true)
	case !wellFormed(r):
		p.badRequest(x)
	case limits.BodyBytes > 0 && r.ContentLength > limits.BodyBytes:
		p.stats.own(ownLimit)
		x.answer(http.StatusRequestEntityTooLarge, "The body is too large.", true)
	default:
		return true
	}
	return false
}

// answerHere answers what is not for workers, and takes the target apart. True:
// it has been answered.
func (p *Proxy) answerHere(x *exchange) bool {
	r := x.request
	target := originForm(r)
	if r.Method == http.MethodConnect || p.disallowed(r.Method) {
		p.stats.own(ownBadRequest)
		x.writer.Header().Set("Allow", p.allowed())
		x.answer(http.StatusMethodNotAllowed, "This method is not allowed.", r.Method == http.MethodConnect)
		return true
	}
	if target == "*" {
		if r.Method != http.MethodOptions {
			p.badRequest(x)
			return true
		}
		x.plain(http.StatusOK, "")
		return true
	}
	if path, _, _ := strings.Cut(target, "?"); p.c.ReadyPath != "" && path == p.c.ReadyPath {
		p.answerReady(x)
		return true
	}
	path, why := route.ParsePath(target, p.c.Path)
	if why != route.None || strings.HasPrefix(path.Target, "//") {
		p.badRequest(x)
		return true
	}
	x.facts = route.NewFacts(r.Host, path, r.Header["Cookie"])
	x.upgrade = p.upgradeOf(r)
	return false
}

func (p *Proxy) answerReady(x *exchange) {
	var reasons []string
	if p.c.NotReady != nil {
		reasons = p.c.NotReady()
	}
	if p.draining.Load() && len(reasons) == 0 {
		reasons = []string{"stopping"}
	}
	if len(reasons) > 0 {
		x.plain(http.StatusServiceUnavailable, "not ready: "+strings.Join(reasons, ", ")+"\n")
		return
	}
	x.plain(http.StatusOK, "ready\n")
}

// disallowed methods are those of the configuration, and those of MCMP: a worker
// that speaks to the wrong port must not be forwarded to another one
// (spec/mcmp.md §1).
func (p *Proxy) disallowed(method string) bool {
	switch strings.ToUpper(method) {
	case "CONFIG", "ENABLE-APP", "DISABLE-APP", "STOP-APP", "REMOVE-APP", "STATUS", "PING", "INFO", "DUMP", "VERSION":
		return true
	}
	for _, m := range p.c.DisallowedMethods {
		if m == method {
			return true
		}
	}
	return false
}

func (p *Proxy) allowed() string {
	var list []string
	for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} {
		if !p.disallowed(m) {
			list = append(list, m)
		}
	}
	return strings.Join(list, ", ")
}

// gone says whether the client has left: nobody reads an answer. Package http also
// ends the context when a read of the body is interrupted, which is our own doing.
func (x *exchange) gone() bool {
	return x.request.Context().Err() != nil && (x.body == nil || !x.body.cut.Load())
}
