package pool

import (
	"net"
	"os"
	"time"
)

const (
	// look is how often somebody who waits is asked whether he still does
	// (http-notes.md §7).
	look = 250 * time.Millisecond
	// grace is how much longer than its dial somebody waits: the dial knows why it
	// took so long.
	grace = 50 * time.Millisecond
)

// waiter is somebody in Open. Everything but timer and result is guarded by the
// pool's lock.
type waiter struct {
	began      time.Duration
	result     chan result // of one place: who answers never waits
	timer      *time.Timer
	queued     bool
	prev, next *waiter
}

type result struct {
	c   *Conn
	err error
}

func newWaiter() any {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &waiter{result: make(chan result, 1), timer: t}
}

// queue is who waits, the longest first.
type queue struct {
	first, last *waiter
	length      int
}

func (q *queue) push(w *waiter) {
	w.queued, w.prev, w.next = true, q.last, nil
	if q.last != nil {
		q.last.next = w
	} else {
		q.first = w
	}
	q.last = w
	q.length++
}

func (q *queue) remove(w *waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		q.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		q.last = w.prev
	}
	w.queued, w.prev, w.next = false, nil, nil
	q.length--
}

// answer ends a wait. The result reaches its owner even if he is about to leave.
func (q *queue) answer(w *waiter, c *Conn, err error) {
	q.remove(w)
	w.result <- result{c, err}
}

// Open returns an idle connection, or waits for one: made for it, or given back by
// another exchange, whichever is first. It ends with
//
//   - a [*DialError]: no connection was made, within ConnectTimeout at most;
//   - ErrFull: MaxConnections are in use, and were for ConnectTimeout;
//   - ErrGone: cancel was closed, or gone, which is asked each 250 ms, said true;
//   - ErrClosed.
//
// cancel and gone may be nil. A dial that is overtaken goes on, for the next one.
func (p *Pool) Open(cancel <-chan struct{}, gone func() bool) (*Conn, error) {
	w := p.waiters.Get().(*waiter)
	defer p.waiters.Put(w)
	for {
		if c := p.Get(); c != nil {
			return c, nil
		}
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return nil, ErrClosed
		}
		if len(p.idle) == 0 {
			break
		}
		p.mu.Unlock() // one was put between
	}
	w.began = p.elapsed()
	p.queue.push(w)
	p.dialForWaiters()
	p.mu.Unlock()

	c, err := p.await(w, cancel, gone)
	if err != nil {
		return nil, err
	}
	c.Rested = 0
	c.handOut()
	return c, nil
}

// await returns what w was given. w is out of the queue then, and its timer stopped.
func (p *Pool) await(w *waiter, cancel <-chan struct{}, gone func() bool) (*Conn, error) {
	defer w.timer.Stop()
	until := w.began + p.c.ConnectTimeout + grace
	for {
		left := until - p.elapsed()
		if gone != nil {
			left = min(left, look)
		}
		w.timer.Reset(left)
		select {
		case r := <-w.result:
			return r.c, r.err
		case <-cancel:
			return nil, p.abandon(w)
		case <-w.timer.C:
		}
		if gone != nil && gone() {
			return nil, p.abandon(w)
		}
		if p.elapsed() >= until {
			return p.tooLate(w)
		}
	}
}

// abandon ends the wait of somebody who does not want a connection any more. Was he
// given one at this moment, it serves another.
func (p *Pool) abandon(w *waiter) error {
	p.mu.Lock()
	if w.queued {
		p.queue.remove(w)
		p.mu.Unlock()
		return ErrGone
	}
	c := (<-w.result).c
	kept := c == nil || p.keep(c, p.elapsed())
	p.mu.Unlock()
	if !kept {
		p.discard(c, false)
	}
	return ErrGone
}

// tooLate ends the wait of somebody whose time is over, unless he was answered at
// this moment.
func (p *Pool) tooLate(w *waiter) (*Conn, error) {
	p.mu.Lock()
	queued, full := w.queued, false
	if queued {
		// A dial was meant for him if there are as many as waiters up to him.
		place := 1
		for before := w.prev; before != nil && place <= p.dials; before = before.prev {
			place++
		}
		full = place > p.dials && p.isFull()
		p.queue.remove(w)
	}
	p.mu.Unlock()
	switch {
	case !queued:
		r := <-w.result
		return r.c, r.err
	case full:
		return nil, ErrFull
	}
	// In the words of package net.
	return nil, &DialError{Address: p.c.Address, Err: &net.OpError{Op: "dial", Net: "tcp " + p.c.Address, Err: os.ErrDeadlineExceeded}}
}

// isFull says whether no further connection may be made. p.mu is held.
func (p *Pool) isFull() bool { return p.c.MaxConnections > 0 && p.open >= p.c.MaxConnections }

// dialForWaiters starts a dial for everybody in the queue who has none, as far as
// the limits allow. It is called whenever somebody comes, a dial ends, or a
// connection is gone. p.mu is held.
func (p *Pool) dialForWaiters() {
	for !p.closed && p.dials < p.queue.length && p.dials < p.c.MaxDials && !p.isFull() {
		p.open++
		p.dials++
		p.running.Go(p.dial)
	}
}
