package pool

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever users, the worker and the clock do: a connection has one holder, there
// are never more than MaxConnections, every Open returns, and nothing is lost.
func TestAccounting(t *testing.T) {
	w := newWorker(t, "127.0.0.1:0", nil)
	rapid.Check(t, func(r *rapid.T) {
		conf := Config{
			Address:        w.address(),
			MaxConnections: rapid.IntRange(0, 4).Draw(r, "max connections"),
			MaxIdle:        rapid.IntRange(-1, 3).Draw(r, "max idle"),
			MaxDials:       rapid.IntRange(1, 4).Draw(r, "max dials"),
			ConnectTimeout: time.Minute,
		}
		scripts := rapid.SliceOfN(rapid.SliceOfN(rapid.SampledFrom([]string{
			"get", "open", "open", "open and leave", "put", "put", "put at age 0", "drop", "reset", "sweep", "closed by the worker",
		}), 1, 12), 1, 8).Draw(r, "scripts")
		p := New(conf)
		limit := conf.MaxConnections
		if limit == 0 {
			limit = 1 << 30
		}
		stop := make(chan struct{})
		var watcher, users sync.WaitGroup
		watcher.Go(func() {
			for {
				s := p.Stats()
				if s.Open > limit || s.Dials > conf.MaxDials || s.Idle+s.Dials > s.Open || s.Idle > 0 && s.Waiting > 0 {
					r.Errorf("%+v with %+v", s, conf)
				}
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Microsecond):
				}
			}
		})
		var holders holders
		for _, script := range scripts {
			users.Go(func() { holders.run(r, p, script) })
		}
		users.Wait()
		close(stop)
		watcher.Wait()
		p.running.Wait() // dials that were overtaken
		if s := p.Stats(); s.Waiting != 0 || s.Dials != 0 || s.Open != s.Idle || conf.MaxIdle == 0 && s.Idle != 0 {
			r.Errorf("when all is over: %+v", s)
		}
		p.Close()
		p.Wait()
		if s := p.Stats(); s != (Stats{}) {
			r.Errorf("after Close: %+v", s)
		}
	})
	eventually(t, "connections closed", func() bool { return w.open() == 0 })
}

// holders notes who holds what.
type holders struct {
	of sync.Map // *Conn to *atomic.Bool
}

func (h *holders) take(r *rapid.T, c *Conn) {
	held, _ := h.of.LoadOrStore(c, new(atomic.Bool))
	if held.(*atomic.Bool).Swap(true) {
		r.Errorf("one connection in two hands")
	}
}

func (h *holders) give(c *Conn) {
	held, _ := h.of.Load(c)
	held.(*atomic.Bool).Store(false)
}

// run is one user. He holds one connection at most, so that nobody waits for ever.
func (h *holders) run(r *rapid.T, p *Pool, script []string) {
	var mine *Conn
	for _, step := range script {
		switch step {
		case "get", "open", "open and leave":
			if mine != nil {
				continue
			}
			switch step {
			case "get":
				mine = p.Get()
			case "open":
				c, err := p.Open(nil, nil)
				if err != nil {
					r.Errorf("Open: %v", err)
				}
				mine = c
			default:
				cancel := make(chan struct{})
				time.AfterFunc(100*time.Microsecond, func() { close(cancel) })
				c, err := p.Open(cancel, nil)
				if err != nil && !errors.Is(err, ErrGone) {
					r.Errorf("Open: %v", err)
				}
				mine = c
			}
			if mine != nil {
				h.take(r, mine)
			}
			continue
		case "sweep":
			p.Sweep(time.Now())
			continue
		}
		if mine == nil {
			continue
		}
		h.give(mine)
		switch step {
		case "put":
			p.Put(mine, -1)
		case "put at age 0":
			p.Put(mine, 0)
		case "drop":
			p.Drop(mine, false)
		case "reset":
			p.Drop(mine, true)
		case "closed by the worker":
			mine.Write([]byte("c"))
			p.Put(mine, -1)
		}
		mine = nil
	}
	if mine != nil {
		h.give(mine)
		p.Put(mine, -1)
	}
}
