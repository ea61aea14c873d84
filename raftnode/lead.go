package raftnode

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/quorate/quorate/fsm"
)

// Bounds of one entry. Fewer, larger entries are worth more than any option of raft
// (performance.md §4); raft suggests at most 512 KiB.
const (
	maxCommands = 256
	maxBytes    = 256 << 10
	maxEntries  = 2    // in flight
	maxQueue    = 4096 // commands that wait
)

// leadership is this replica's term as the leader, from its Barrier to its end.
//
//	propose ─► queue ─► batch ─► changes something ─► entry ─► raft ─► applied ─► answer
//	                       └───► changes nothing ───► confirmed that we lead ───► answer
type leadership struct {
	r    *Replica
	term uint64
	ctx  context.Context // ends with the term
	end  context.CancelFunc
	wg   sync.WaitGroup

	queue   chan *proposal
	entries chan struct{} // one token per entry in flight
	busy    busyRoutes    // workers with a command in an entry in flight
	confirm *confirmer

	clock leaderClock // set before anything else starts

	// Only the batching goroutine:
	last int64     // time of the last entry
	held *proposal // taken from the queue, did not fit
}

// proposal is a command that waits for its answer.
type proposal struct {
	ctx    context.Context
	cmd    fsm.Command
	routes []string
	again  bool // an earlier attempt may be in the log
	size   int
	done   chan answer // takes one without blocking
}

// answer is what became of a proposal.
type answer struct {
	res   fsm.Result
	index uint64
	err   error
}

// lead begins the duties of the leader of term. It returns at once.
func (r *Replica) lead(ctx context.Context, term uint64) *leadership {
	l := &leadership{
		r:       r,
		term:    term,
		queue:   make(chan *proposal, maxQueue),
		entries: make(chan struct{}, maxEntries),
	}
	l.ctx, l.end = context.WithCancel(ctx)
	l.confirm = newConfirmer(l.verify, r.pauses, r.timing.lease)
	l.wg.Go(l.run)
	return l
}

// stop ends the duties and waits for all they started.
func (l *leadership) stop() {
	l.end()
	l.wg.Wait()
}

func (l *leadership) run() {
	// Everything of earlier terms is applied before this replica judges a command by
	// its own state.
	for l.wait(l.r.raft.Barrier(time.Second)) != nil {
		if sleep(l.ctx, 20*time.Millisecond) != nil {
			return
		}
	}
	l.clock = leaderClock{state: l.state().Time(), elected: time.Now()}
	l.wg.Go(func() { l.confirm.run(l.ctx) })
	l.wg.Go(l.batch)
	if err := l.form(); err != nil && l.ctx.Err() == nil {
		l.r.log.Error("cluster not recorded", "error", err)
	}
	l.r.leading.Store(l)
	defer l.r.leading.CompareAndSwap(l, nil)
	l.wg.Go(l.ticks)
	if l.r.resigned.Load() {
		l.wg.Go(func() { _ = l.r.transfer(l.ctx) }) // elected while it stops
	}
	l.manage()
}

// form has the first command of a new cluster committed: its id and settings.
func (l *leadership) form() error {
	for {
		if l.state().ClusterID() != "" {
			return nil
		}
		cmd := l.r.formCommand()
		if cmd.ClusterID == "" {
			return errors.New("this replica was never told the cluster's id")
		}
		res, _, err := l.propose(l.ctx, cmd, false)
		if err == nil && res.Code != fsm.OK {
			return fmt.Errorf("form cluster %s: %s", cmd.ClusterID, res.Mess)
		}
		if err == nil || l.ctx.Err() != nil {
			return err
		}
		if err := sleep(l.ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// propose queues cmd and waits for its answer.
func (l *leadership) propose(ctx context.Context, cmd fsm.Command, again bool) (fsm.Result, uint64, error) {
	p := &proposal{ctx: ctx, cmd: cmd, routes: routesOf(cmd), again: again, size: sizeOf(cmd), done: make(chan answer, 1)}
	select {
	case l.queue <- p:
	default:
		return fsm.Result{}, 0, errBusy
	}
	select {
	case a := <-p.done:
		return a.res, a.index, a.err
	case <-ctx.Done():
	case <-l.ctx.Done():
	}
	select {
	case a := <-p.done:
		return a.res, a.index, a.err
	default:
		return fsm.Result{}, 0, fmt.Errorf("%w while the command waited", raft.ErrLeadershipLost)
	}
}

// readIndex returns an index that holds everything acknowledged before the call:
// whoever acknowledged asked this replica, which had applied it, or an earlier leader,
// before this one's Barrier.
func (l *leadership) readIndex(ctx context.Context) (uint64, error) {
	index := l.r.machine.Committed().Index
	done := make(chan error, 1)
	if !l.confirm.add(func(err error) { done <- err }) {
		return 0, errBusy
	}
	select {
	case err := <-done:
		return index, err
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-l.ctx.Done():
		return 0, errNotLeader
	}
}

// verify asks raft whether this replica still leads. While leadership is handed over its
// answer proves nothing: the next leader does not wait until this one's lease is over.
func (l *leadership) verify(context.Context) error {
	err := l.wait(l.r.raft.VerifyLeader())
	if err == nil && l.r.handing.Load() > 0 {
		return errTransfer
	}
	return err
}

// wait returns f's error, or errNotLeader when the term ends first: at its end raft
// leaves some futures without an answer.
func (l *leadership) wait(f raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	select {
	case err := <-done:
		return err
	case <-l.ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(10 * time.Millisecond):
		return fmt.Errorf("%w: term %d ended", raft.ErrLeadershipLost, l.term)
	}
}

// batch turns what has queued into entries, one after the other, until the term ends.
// There is no timer: what queues while an entry is written makes the next one.
func (l *leadership) batch() {
	defer l.refuse()
	for {
		first := l.held
		l.held = nil
		if first == nil {
			select {
			case first = <-l.queue:
			case <-l.ctx.Done():
				return
			}
		}
		select {
		case l.entries <- struct{}{}:
		case <-l.ctx.Done():
			first.done <- answer{err: errNotLeader}
			return
		}
		if !l.commit(l.judge(l.take(first))) {
			<-l.entries
		}
	}
}

// refuse answers what is left in the queue. What is put there later is answered by the
// end of l.ctx.
func (l *leadership) refuse() {
	if l.held != nil {
		l.held.done <- answer{err: errNotLeader}
	}
	for {
		select {
		case p := <-l.queue:
			p.done <- answer{err: errNotLeader}
		default:
			return
		}
	}
}

// take returns first and what has queued behind it, as much as one entry may hold.
// What has passed its deadline is dropped: nothing is proposed late.
func (l *leadership) take(first *proposal) []*proposal {
	var taken []*proposal
	size := 0
	for p := first; ; {
		switch {
		case p.ctx.Err() != nil:
			p.done <- answer{err: ErrExpired}
		case len(taken) > 0 && size+p.size > maxBytes:
			l.held = p
			return taken
		default:
			taken = append(taken, p)
			size += p.size
		}
		if len(taken) == maxCommands {
			return taken
		}
		select {
		case p = <-l.queue:
		default:
			return taken
		}
	}
}

// judge returns the proposals that need an entry and sends the others to be confirmed:
// those that change nothing now, nothing for the same worker being on its way.
func (l *leadership) judge(taken []*proposal) []*proposal {
	var write []*proposal
	for _, p := range taken {
		// Busy first, the state second: what ends in between is in the state.
		if !p.again && p.cmd.Op != fsm.OpTick && !l.busy.any(p.routes) {
			now := l.r.machine.Committed()
			if _, res := fsm.Preview(now.State, p.cmd); !res.Changed {
				if !l.confirm.add(func(err error) { p.done <- answer{res: res, index: now.Index, err: err} }) {
					p.done <- answer{err: errBusy}
				}
				continue
			}
		}
		l.busy.add(p.routes)
		write = append(write, p)
	}
	return write
}

// commit makes one entry of ps and hands it to raft. It reports whether an entry is on
// its way; its token is then given back when it has been applied.
func (l *leadership) commit(ps []*proposal) bool {
	if len(ps) == 0 {
		return false
	}
	l.last = max(l.last, l.clock.at(time.Now())) // a clock may be set back
	e := fsm.Entry{Schema: l.state().Schema(), Time: l.last}
	for _, p := range ps {
		e.Commands = append(e.Commands, p.cmd)
	}
	data, err := fsm.EncodeEntry(e)
	if err != nil {
		l.answer(ps, nil, 0, fmt.Errorf("%w: %w", errRefused, err))
		return false
	}
	start := time.Now()
	future := l.r.raft.Apply(data, time.Second) // bounds the hand-over alone
	l.wg.Go(func() {
		defer func() { <-l.entries }()
		if err := l.wait(future); err != nil {
			l.answer(ps, nil, 0, err)
			return
		}
		l.r.metrics.commit.Observe(time.Since(start).Seconds())
		switch res := future.Response().(type) {
		case []fsm.Result:
			l.answer(ps, res, future.Index(), nil)
		case error:
			l.answer(ps, nil, 0, res)
		}
	})
	return true
}

func (l *leadership) answer(ps []*proposal, res []fsm.Result, index uint64, err error) {
	for i, p := range ps {
		l.busy.done(p.routes)
		a := answer{index: index, err: err}
		if err == nil {
			a.res = res[i]
		}
		p.done <- a
	}
}

// ticks proposes the passing of time when something is due and no entry comes.
func (l *leadership) ticks() {
	const least, most = 20 * time.Millisecond, 500 * time.Millisecond
	for {
		wait := most
		if due := l.state().Due(); due > 0 {
			wait = time.Duration(due-l.clock.at(time.Now())) * time.Millisecond
			if wait <= 0 {
				_, _, _ = l.propose(l.ctx, l.r.systemCommand(fsm.OpTick), false)
				wait = 5 * least
			}
		}
		if sleep(l.ctx, min(max(wait, least), most)) != nil {
			return
		}
	}
}

// state is what all committed entries have made. Raft's own, not the one that routes:
// after the Barrier they are the same.
func (l *leadership) state() *fsm.State { return l.r.machine.Committed().State }

// sizeOf estimates a command's bytes in an entry, from above for ordinary ones.
func sizeOf(c fsm.Command) int {
	n := 256 + len(c.Source) + len(c.Replica) + len(c.Route) + len(c.Reason) + len(c.By)
	for _, a := range c.Aliases {
		n += len(a) + 5
	}
	for _, p := range c.Contexts {
		n += len(p) + 5
	}
	for _, g := range c.Gone {
		n += len(g) + 5
	}
	if c.Config != nil {
		n += 512
	}
	if c.Settings != nil {
		n += 1024 + 512*len(c.Settings.Rules)
	}
	return n
}
