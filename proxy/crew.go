package proxy

import (
	"sync"
	"sync/atomic"
)

// crew is goroutines whose connection has ended, for the connections that come next: a
// new one has 2 KB of stack, and to grow it as a request needs it costs more than to
// make the goroutine. They are few, and those that nobody needs go within seconds.
type crew struct {
	work chan *client // taken by those that wait; nil sends one home
	idle atomic.Int64
	home sync.WaitGroup
}

// crewMost may wait at once.
const crewMost = 64

// serve runs the connection to its end.
func (w *crew) serve(c *client) {
	select {
	case w.work <- c:
	default:
		w.home.Go(func() {
			for ; c != nil; c = w.next() {
				c.run()
			}
		})
	}
}

// next waits for another connection; nil: there is none for this one.
func (w *crew) next() *client {
	defer w.idle.Add(-1)
	if w.idle.Add(1) > crewMost {
		return nil
	}
	return <-w.work
}

// shrink sends home a quarter of those that wait.
func (w *crew) shrink() {
	for range w.idle.Load()/4 + 1 {
		select {
		case w.work <- nil:
		default:
			return
		}
	}
}

// end sends all home. Nothing is served any more.
func (w *crew) end() {
	close(w.work)
	w.home.Wait()
}
