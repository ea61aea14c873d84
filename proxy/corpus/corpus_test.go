package corpus

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
)

// rigs gives cases that want the same of the configuration the same Proxy.
type rigs struct {
	t    *testing.T
	list map[string]*rig
}

func (r *rigs) of(c *testCase, contexts ...string) *rig {
	key := ""
	for _, k := range slices.Sorted(maps.Keys(c.words)) {
		if k != "later" && k != "alone" && k != "once" {
			key += k + "=" + c.words[k] + " "
		}
	}
	if r.list[key] == nil {
		r.list[key] = start(r.t, c.words, contexts...)
	}
	return r.list[key]
}

// once has one conversation.
func (r *rig) once(c *testCase, first int, pause func()) (err error) {
	k, err := r.dial()
	if err != nil {
		return err
	}
	defer func() {
		if again := k.end(); err == nil {
			err = again
		}
	}()
	return k.run(c, first, pause)
}

// next is another client that comes behind a case: what it gets is its own.
func (r *rig) next() error {
	k, err := r.dial()
	if err != nil {
		return err
	}
	if err = k.send(marker); err == nil {
		err = k.mark()
	}
	if again := k.end(); err == nil {
		err = again
	}
	if err != nil {
		return fmt.Errorf("the next client: %w", err)
	}
	return nil
}

// Requests, each in one packet with the marker. All share one Proxy and run at
// once: a byte that goes astray meets somebody who did not expect it.
func TestRequests(t *testing.T) {
	engine(t)
	for _, name := range []string{"framing", "heads"} {
		t.Run(name, func(t *testing.T) {
			all := &rigs{t, map[string]*rig{}}
			t.Run("all", func(t *testing.T) {
				for _, c := range readFile(t, name) {
					r := all.of(c, "/")
					t.Run(c.name, func(t *testing.T) {
						t.Parallel()
						if err := r.once(c, 0, nil); err != nil {
							t.Errorf("%s\n%v", c.place, err)
						}
					})
				}
			})
			for _, r := range all.list {
				if err := r.next(); err != nil {
					t.Error(err)
				}
				r.stop()
			}
		})
	}
}

// The same, cut into two packets at every byte. With -short, at every 13th.
func TestRequestsInTwo(t *testing.T) {
	engine(t)
	step := 1
	if testing.Short() || slowdown > 1 {
		step = 13
	}
	for _, name := range []string{"framing", "heads"} {
		t.Run(name, func(t *testing.T) {
			all := &rigs{t, map[string]*rig{}}
			for i, c := range readFile(t, name) {
				if c.simple() {
					inTwo(t, all.of(c, "/"), c, 1+i%step, step)
				}
			}
			for _, r := range all.list {
				r.stop()
			}
		})
	}
}

// inTwo has a case at each place of a cut at once. All first packets are there
// before another client's request, and the second ones are sent after its answer.
func inTwo(t *testing.T, r *rig, c *testCase, from, step int) {
	text := c.steps[0].text
	var places []int
	for at := from; at < len(text); at += step {
		if len(text) > 2000 && at > 200 && at < len(text)-200 {
			at += 499 // of a long text few places in its middle
		}
		if at < len(text) {
			places = append(places, at)
		}
	}
	for chunk := range slices.Chunk(places, 256) {
		var (
			sent, done sync.WaitGroup
			both       = make(chan struct{})
			failed     = make([]error, len(chunk))
		)
		sent.Add(len(chunk))
		for i, at := range chunk {
			done.Go(func() {
				arrived := sync.OnceFunc(sent.Done)
				defer arrived()
				failed[i] = r.once(c, at, func() { arrived(); <-both })
			})
		}
		sent.Wait()
		err := r.next()
		close(both)
		done.Wait()
		if err != nil {
			t.Errorf("%s: %s, cut: %v", c.place, c.name, err)
		}
		told := 0
		for i, err := range failed {
			if err != nil {
				if told++; told <= 2 {
					t.Errorf("%s: %s, cut at byte %d, behind %s\n%v", c.place, c.name, chunk[i], escape(text[:chunk[i]]), err)
				}
			}
		}
		if told > 2 {
			t.Errorf("%s: %s: as bad at %d other places", c.place, c.name, told-2)
		}
	}
}

// Cases that say more than a request and its answer have a Proxy of their own: so
// it is known which connection of the worker is used again.
func TestConversations(t *testing.T) {
	engine(t)
	for _, name := range []string{"connections", "responses"} {
		t.Run(name, func(t *testing.T) {
			for _, c := range readFile(t, name) {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					r := start(t, c.words, "/")
					if err := r.once(c, 0, nil); err != nil {
						t.Errorf("%s\n%v", c.place, err)
					}
					if err := r.next(); err != nil {
						t.Error(err)
					}
					r.stop()
				})
			}
		})
	}
}
