package proxy

import (
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/proxy/route"
)

// serve checks, decides, forwards, and as long as nothing was sent twice decides
// again.
func (p *Proxy) serve(x *exchange) {
	if d := p.c.Upstream.MaxRequestTime; d > 0 {
		x.limit = x.start.Add(d)
	}
	if p.answerHere(x) {
		return
	}
	if err := x.openBody(); err != nil {
		p.failBody(x, err)
		return
	}
	var d route.Decision
	for {
		p.decide(x, &d)
		if d.Node == nil {
			p.refuse(x, &d)
			return
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
	x.worker, x.context = d.Node.Route, string(d.Context.Path)
	return p.forward(x, d)
}

// decide chooses a node and counts the request there. If the election finds none
// it waits for a change of the table, as long as the balancer's WaitWorker.
func (p *Proxy) decide(x *exchange, d *route.Decision) {
	var deadline time.Time
	var changed <-chan struct{}
	for {
		x.index = p.index.Load()
		t := p.table.Load()
		d.Decide(t, &x.facts)
		x.wanted = d.Wanted
		if d.Balancer != nil {
			x.balancer = d.Balancer.Name
		}
		if d.Node != nil {
			d.Begin()
			if p.table.Load() == t {
				return
			}
			d.End() // a drain may have looked between the two: see Decision.Begin
			continue
		}
		if d.Wait <= 0 || x.last != nil || p.draining.Load() {
			return
		}
		if changed == nil { // first listen, then look again
			changed = p.changed.next()
			continue
		}
		if deadline.IsZero() {
			deadline = time.Now().Add(d.Wait)
		}
		if !x.awaitChange(changed, deadline) {
			return
		}
		changed = nil
	}
}

// awaitChange waits until changed is closed. False: the deadline passed, or nobody
// waits for the answer any more.
func (x *exchange) awaitChange(changed <-chan struct{}, deadline time.Time) bool {
	for {
		wait := min(time.Until(deadline), sliceMost)
		if wait <= 0 || x.gone() {
			return false
		}
		timer := time.NewTimer(wait)
		select {
		case <-changed:
			timer.Stop()
			return true
		case <-timer.C:
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
	case !f.untouched || x.hasLeft():
		return false
	case f.kind == failedDial && f.dial != dialLate:
		if x.dials == 0 {
			x.refused = time.Now()
		}
		x.dials++
		return x.dials <= len(p.table.Load().Nodes()) && time.Since(x.refused) < 3*time.Second
	case f.kind == failedDial:
	case f.kind == failedEarly && idempotent(x.method) && (conf.WithQuery || x.facts.Path.Query() == ""):
	default:
		return false
	}
	if x.attempts >= limit || !p.stats.of(x.balancer).budget.spend(conf.Budget) {
		return false
	}
	x.attempts++
	p.stats.counts.Add(x.shard, countRetries, 1)
	return true
}

// hasLeft is gone, but not at once: who has only closed its side still takes an answer
// that comes quickly (http-notes.md §7).
func (x *exchange) hasLeft() bool { return time.Since(x.start) >= sliceLeast && x.gone() }

// idempotent methods are those of RFC 9110 §9.2.2.
func idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE":
		return true
	}
	return false
}

// answerHere answers what is not for workers, and takes the target apart. True:
// it has been answered.
func (p *Proxy) answerHere(x *exchange) bool {
	target := view(x.req.Target.Of(x.in))
	if p.disallowed(x.method) {
		p.stats.own(ownBadRequest)
		x.noteBody()
		x.answer(405, "This method is not allowed.", false, "Allow: "+p.allowed())
		return true
	}
	if x.l.redirect {
		x.noteBody()
		p.redirect(x, target)
		return true
	}
	if target == "*" { // of OPTIONS
		x.noteBody()
		x.plain(200, "", false)
		return true
	}
	if path, _, _ := strings.Cut(target, "?"); p.c.ReadyPath != "" && path == p.c.ReadyPath {
		x.noteBody()
		p.answerReady(x)
		return true
	}
	var why route.Reason
	if x.scratch, why = x.facts.Path.Parse(target, p.c.Path, x.scratch[:0]); why != route.None {
		p.badRequest(x)
		return true
	}
	x.know()
	x.upgrade = p.upgradeOf(x)
	return false
}

// redirect sends a client of plain HTTP to the same place by TLS.
func (p *Proxy) redirect(x *exchange, target string) {
	host := view(x.req.Host.Of(x.in))
	if port := portOf(host); port != "" {
		host = host[:len(host)-len(port)-1]
	}
	if host == "" || target == "*" {
		p.badRequest(x)
		return
	}
	if p.httpsPort != "" && p.httpsPort != "443" {
		host += ":" + p.httpsPort
	}
	x.answer(308, "", false, "Location: https://"+host+target)
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
		x.plain(503, "not ready: "+strings.Join(reasons, ", ")+"\n", false)
		return
	}
	x.plain(200, "ready\n", false)
}

// disallowed methods are those of the configuration, and those of MCMP: a worker
// that speaks to the wrong port must not be forwarded to another one
// (spec/mcmp.md §1).
func (p *Proxy) disallowed(method string) bool {
	switch method {
	case "GET", "POST", "HEAD", "PUT":
		return slices.Contains(p.c.DisallowedMethods, method)
	}
	switch strings.ToUpper(method) {
	case "CONFIG", "ENABLE-APP", "DISABLE-APP", "STOP-APP", "REMOVE-APP", "STATUS", "PING", "INFO", "DUMP", "VERSION":
		return true
	}
	return slices.Contains(p.c.DisallowedMethods, method)
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
