package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/quorate/quorate/fsm"
)

// Whether a worker can be reached is this replica's own opinion (spec/routing.md
// §0.6): refused connections and failed probes make it suspect, a good probe or
// any answer clears it.

// isRunning says whether Run has begun and not ended.
func (p *Proxy) isRunning() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running
}

func (p *Proxy) startWatching() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = true
	for _, t := range p.followed {
		p.watch(t)
	}
}

func (p *Proxy) stopWatching() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = false
	for _, t := range p.followed {
		p.unwatch(t)
	}
}

// watch probes a node until unwatch. p.mu is held.
func (p *Proxy) watch(t *target) {
	if !p.running || p.c.Upstream.Health.Probe == "none" {
		return
	}
	ctx, cancel := context.WithCancel(p.life)
	t.stop = cancel
	p.watchers.Go(func() {
		every := p.c.Upstream.Health.Interval
		for wait := time.Duration(rand.Int64N(int64(every))); sleep(ctx, wait); wait = jittered(every) {
			if !carries(t.node.Record().Config.Type) {
				continue // nothing is sent to it; STATUS checks it
			}
			err := p.shared(ctx, t)
			if ctx.Err() != nil {
				return
			}
			p.judge(t, err, p.c.Upstream.Health.Fails)
		}
	})
}

// unwatch ends watch. p.mu is held.
func (p *Proxy) unwatch(t *target) {
	if t.stop != nil {
		t.stop()
		t.stop = nil
	}
}

// probing is a probe that runs: whoever wants one meanwhile gets its result.
type probing struct {
	done chan struct{}
	err  error
}

// shared probes a node, or waits for the probe that runs.
func (p *Proxy) shared(ctx context.Context, t *target) error {
	t.mu.Lock()
	run := t.probe
	if run == nil {
		run = &probing{done: make(chan struct{})}
		t.probe = run
		config := t.node.Record().Config
		// On its own time: whoever asked first may leave first.
		p.probes.add(1)
		go func() {
			defer p.probes.add(-1)
			within, cancel := context.WithTimeout(p.life, p.probeTime(&config))
			defer cancel()
			run.err = p.probe(within, config.Type, config.Host, config.Port)
			t.mu.Lock()
			t.probe = nil
			t.mu.Unlock()
			close(run.done)
		}()
	}
	t.mu.Unlock()
	select {
	case <-run.done:
		return run.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *Proxy) probeTime(c *fsm.NodeConfig) time.Duration {
	if d := p.c.Upstream.Health.Timeout; d > 0 {
		return d
	}
	if c.Ping > 0 {
		return milliseconds(c.Ping)
	}
	return 10 * time.Second
}

// judge notes the result of a probe. limit is how many have to fail in a row.
func (p *Proxy) judge(t *target, err error, limit int) {
	if err == nil {
		p.clear(t)
		return
	}
	if isLocal(err) {
		return
	}
	t.mu.Lock()
	t.fails++
	enough := t.fails >= limit
	t.mu.Unlock()
	if enough {
		p.suspect(t, err)
	}
}

// isLocal: our own trouble, which says nothing about a node.
func isLocal(err error) bool {
	return errors.Is(err, context.Canceled) || classifyDial(err) == dialLocal
}

// suspect marks a node as not reachable from here.
func (p *Proxy) suspect(t *target, err error) {
	t.mu.Lock()
	t.err = err
	changed := p.table.Load().SetSuspect(t.node, true)
	if changed {
		t.since = p.c.Now()
	}
	t.mu.Unlock()
	if changed && !t.retired.Load() {
		c := &t.node.Record().Config
		p.log.Warn("worker unreachable", "worker", t.node.Route, "address", c.URL(), "error", err.Error())
	}
}

// clear takes the mark away.
func (p *Proxy) clear(t *target) {
	t.mu.Lock()
	t.fails, t.err = 0, nil
	changed := p.table.Load().SetSuspect(t.node, false)
	now := p.c.Now()
	after := now.Sub(t.since)
	if changed {
		t.since = now
	}
	t.mu.Unlock()
	if changed {
		p.changed.fire()
		c := &t.node.Record().Config
		p.log.Info("worker reachable", "worker", t.node.Route, "address", c.URL(), "after", after.Round(time.Millisecond))
	}
}

// answers notes that a node has answered a request.
func (p *Proxy) answers(t *target) {
	if t.node.Suspect() {
		p.clear(t)
	}
}

// dialFailed notes what a connection that was not made says of its node.
func (p *Proxy) dialFailed(t *target, outcome dialOutcome, err error) {
	switch outcome {
	case dialRefused:
		t.connectFailures.Add(1)
		p.suspect(t, err)
	case dialLate, dialBroken:
		t.connectFailures.Add(1)
		if t.node.Suspect() || t.doubted.Swap(true) {
			return
		}
		p.probes.add(1)
		go func() { // one probe, whatever the number of those who failed
			defer p.probes.add(-1)
			defer t.doubted.Store(false)
			if err := p.shared(p.life, t); err != nil {
				p.judge(t, err, 1)
			}
		}()
	}
}

// worry has a node looked at whose connection has been awaited for a while. A dial
// that times out is no proof, and a probe of a host whose packets vanish takes its
// whole time to fail: begun only then, requests would be sent there until it has.
// Begun now, with the time that the dial has left, it is over when the dial is. It
// only connects: a worker that is too busy to answer is not gone.
func (p *Proxy) worry(t *target, since time.Time) {
	config := &t.node.Record().Config
	limit := shorter(p.c.Upstream.ConnectTimeout, milliseconds(config.Ping))
	now := time.Now()
	waited := now.Sub(since)
	if waited < limit/3 || waited >= limit || t.node.Suspect() || p.c.Upstream.Health.Probe == "none" {
		return
	}
	if last := t.worried.Load(); now.UnixNano()-last < int64(limit) || !t.worried.CompareAndSwap(last, now.UnixNano()) {
		return // somebody else did
	}
	p.probes.add(1)
	go func() {
		defer p.probes.add(-1)
		ctx, cancel := context.WithTimeout(p.life, limit-waited)
		defer cancel()
		var secure *tls.Config
		if config.Type == "https" {
			secure = p.tlsFor(config.Host)
		}
		c, err := connect(ctx, addressOf(config.Host, config.Port), secure)
		if err != nil {
			p.judge(t, err, 1)
			return
		}
		c.Close()
	}()
}

// Check asks a worker whether it is there, by the probe of its type (CPING for
// ajp), and keeps the answer: suspect or not. It shares a probe that runs. A node
// that is not in the table is an error.
func (p *Proxy) Check(ctx context.Context, r fsm.JVMRoute) error {
	t := p.targetOf(r)
	if t == nil {
		return fmt.Errorf("check %s: not registered", r)
	}
	err := p.shared(ctx, t)
	p.judge(t, err, 1)
	if err != nil {
		return fmt.Errorf("check %s: %w", r, err)
	}
	return nil
}

// CheckAddress asks whoever listens at an address (ajp, http or https) whether it
// is there, and keeps nothing.
func (p *Proxy) CheckAddress(ctx context.Context, scheme, host string, port int) error {
	return p.probe(ctx, scheme, host, port)
}

// Reachable says whether this replica can reach a worker, as far as it knows, and
// if not why. An unknown worker is not reachable.
func (p *Proxy) Reachable(r fsm.JVMRoute) (bool, error) {
	t := p.targetOf(r)
	if t == nil {
		return false, fmt.Errorf("%s is not registered", r)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.node.Suspect() {
		return true, nil
	}
	var cert *certificateError
	if errors.As(t.err, &cert) {
		return false, cert
	}
	return false, t.err
}

// ReachableSince is when Reachable last changed; zero: never since registration.
func (p *Proxy) ReachableSince(r fsm.JVMRoute) time.Time {
	t := p.targetOf(r)
	if t == nil {
		return time.Time{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.since
}

// Unreachable lists the workers that this replica cannot reach, in order of
// registration.
func (p *Proxy) Unreachable() []fsm.JVMRoute {
	var list []fsm.JVMRoute
	for _, n := range p.table.Load().Nodes() {
		if n.Suspect() {
			list = append(list, fsm.JVMRoute(n.Route))
		}
	}
	return list
}
