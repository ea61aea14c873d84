package proxy

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/quorate/quorate/proxy/ajp"
)

// feed sends one body packet, as soon as there is a byte of the body or it ends. While
// the client is silent the worker is looked at: errNoBytes is none of an error then,
// but the time to hear what it says.
func (k *link) feed() error {
	x := k.x
	if x.expects() && !x.informed {
		if x.status != 0 {
			k.refused = true // it is answered: the client will not send what it was not asked for
		} else {
			x.informed = true
			if x.inform100() != nil {
				return errGone
			}
		}
	}
	most := len(k.out) - ajp.BodyHead
	if !k.stream.Due() {
		most = min(most, k.wanted)
	}
	most = min(most, 65533)
	if most < 1 {
		return errAsksNothing
	}
	n, err := 0, io.EOF
	if x.body.present && !k.refused {
		if n, err = k.fill(k.out[ajp.BodyHead : ajp.BodyHead+most]); err == nil && n == 0 {
			return nil
		}
	}
	switch {
	case err == errNoBytes:
		return nil
	case err != nil && err != io.EOF:
		return err
	case n == 0 && k.stream.Due():
		return errGone // a length was said
	}
	if _, err := k.c.Write(ajp.PutBody(k.out, n)); err != nil {
		k.look() // it may have said why
		if k.lost == nil {
			k.lost = err
		}
		return nil
	}
	k.stream.Sent(n)
	return nil
}

var errAsksNothing = errors.New("ajp: asks for nothing of the body")

// fill reads from the client for a while.
func (k *link) fill(to []byte) (int, error) {
	x := k.x
	if x.body.start < x.body.end || x.body.whole {
		return x.readBody(to)
	}
	if x.down != &x.h1 {
		k.lookout.begin()
		n, err := x.readBody(to)
		k.lookout.end()
		if err != errBodyOver {
			return n, err
		}
	} else {
		h := &x.h1
		if !h.sliced {
			h.sliced, h.until = true, x.bodyDeadline(time.Now())
		}
		n, err := x.readBody(to)
		if err != errNoBytes {
			h.sliced = false
			return n, err
		}
		k.look()
	}
	now := time.Now()
	if err := x.outOfTime(now, now, k.u.timeout); err != nil {
		return 0, err
	}
	return 0, errNoBytes
}

// lookout looks at the worker while package http reads a body, which nothing can end but
// for good: so only where the worker does not want it any more.
type lookout struct {
	k     *link
	mu    sync.Mutex
	on    bool
	timer *time.Timer
}

func (w *lookout) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.on = true
	if w.timer == nil {
		w.timer = time.AfterFunc(sliceLeast, w.look)
		return
	}
	w.timer.Reset(sliceLeast)
}

func (w *lookout) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.on = false
	w.timer.Stop()
}

// lookMost is how much of an answer is kept for a client whose body is awaited.
const lookMost = 1 << 20

// stretch makes room where an answer fills it, whose end would not be seen.
func (k *link) stretch() {
	if k.n-k.at == len(k.in) && len(k.in) < lookMost {
		k.in = append(k.in, make([]byte, len(k.in))...)
	}
}

func (w *lookout) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.on {
		return
	}
	k, now := w.k, time.Now()
	k.stretch()
	k.look()
	if k.lost != nil || k.stream.Ends(k.in[k.at:k.n]) || k.x.outOfTime(now, now, k.u.timeout) != nil {
		k.x.down.interrupt()
		return
	}
	w.timer.Reset(sliceLeast)
}
