package raftnode

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/quorate/quorate/fsm"
)

// The replica to replica API, HTTP/2 on the cluster port:
//
//	POST /v1/propose   the leader: one command, msgpack    answer: result and index
//	POST /v1/read      the leader: nothing                 answer: an index that holds everything acknowledged
//	POST /v1/report    anyone: own Report, JSON            answer: theirs
//	POST /v1/promise   an unformed one: Promise, JSON      answer: {} or 409
//
// The time left travels as a duration: two clocks need not agree.

// proposeRequest is a command on its way to the leader.
type proposeRequest struct {
	Budget int64 // ms left
	Again  bool  // an earlier attempt may be in the log
	Entry  []byte
}

// proposeAnswer is the leader's answer; Reason "" means that it was taken.
type proposeAnswer struct {
	Reason string
	Index  uint64
	Result fsm.Result
}

// forward has the leader propose cmd. The answer it gives carries result and index: a
// snapshot may skip this replica's own copy of the entry.
func (r *Replica) forward(ctx context.Context, leader string, cmd fsm.Command, again bool) (fsm.Result, uint64, error) {
	// A command travels as an entry of one: the same bytes, the same checksum.
	// In the cluster's version: the leader's program may be older than this one.
	entry, err := fsm.EncodeEntry(fsm.Entry{Schema: r.State().State.Schema(), Commands: []fsm.Command{cmd}})
	if err != nil {
		return fsm.Result{}, 0, fmt.Errorf("%w: %w", errRefused, err)
	}
	var a proposeAnswer
	if err := r.askLeader(ctx, leader, "/v1/propose", proposeRequest{Budget: budget(ctx), Again: again, Entry: entry}, &a); err != nil {
		return fsm.Result{}, 0, err
	}
	return a.Result, a.Index, errorOf(a.Reason)
}

// forwardRead asks the leader for an index that holds everything acknowledged.
func (r *Replica) forwardRead(ctx context.Context, leader string) (uint64, error) {
	var a proposeAnswer
	if err := r.askLeader(ctx, leader, "/v1/read", proposeRequest{Budget: budget(ctx)}, &a); err != nil {
		return 0, err
	}
	return a.Index, errorOf(a.Reason)
}

func (r *Replica) askLeader(ctx context.Context, leader, path string, question proposeRequest, a *proposeAnswer) error {
	body, err := msgpack.Marshal(question)
	if err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	body, err = r.link.Call(ctx, leader, http.MethodPost, path, body)
	if err != nil {
		if ctx.Err() == nil {
			r.leader.missed(leader, time.Now())
		}
		if errors.Is(err, ErrUnreachable) {
			return fmt.Errorf("%w: %w", errNotLeader, err) // nothing was sent
		}
		return err
	}
	r.leader.reached(leader)
	return msgpack.Unmarshal(body, a)
}

// budget is the time left in ctx, in ms.
func budget(ctx context.Context) int64 {
	deadline, ok := ctx.Deadline()
	if !ok {
		return defaultBudget.Milliseconds()
	}
	return max(1, time.Until(deadline).Milliseconds())
}

// handler answers the other replicas.
func (r *Replica) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/propose", r.leads(func(ctx context.Context, l *leadership, q proposeRequest) (a proposeAnswer, err error) {
		e, err := fsm.DecodeEntry(q.Entry)
		if err != nil || len(e.Commands) != 1 {
			return a, fmt.Errorf("%w: not one command: %w", errRefused, err)
		}
		a.Result, a.Index, err = l.propose(ctx, e.Commands[0], q.Again)
		return a, err
	}))
	mux.HandleFunc("POST /v1/read", r.leads(func(ctx context.Context, l *leadership, _ proposeRequest) (a proposeAnswer, err error) {
		a.Index, err = l.readIndex(ctx)
		return a, err
	}))
	mux.HandleFunc("POST /v1/report", func(w http.ResponseWriter, req *http.Request) {
		var theirs Report
		if err := json.NewDecoder(req.Body).Decode(&theirs); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if theirs.ID == callerOf(req.Context()).ID {
			r.roster.heard(theirs, time.Now())
		}
		writeJSON(w, r.report())
	})
	mux.HandleFunc("POST /v1/promise", func(w http.ResponseWriter, req *http.Request) {
		var p Promise
		if err := json.NewDecoder(req.Body).Decode(&p); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := r.promised(callerOf(req.Context()).ID, p); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		writeJSON(w, struct{}{})
	})
	return mux
}

// leads answers what only a leader can, within the time the asker has left.
func (r *Replica) leads(f func(context.Context, *leadership, proposeRequest) (proposeAnswer, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		var q proposeRequest
		if err := msgpack.NewDecoder(req.Body).Decode(&q); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		ctx, cancel := context.WithTimeout(req.Context(), time.Duration(q.Budget)*time.Millisecond)
		defer cancel()
		var a proposeAnswer
		err := error(errNotLeader)
		if l := r.leading.Load(); l != nil {
			a, err = f(ctx, l, q)
		}
		a.Reason = reasonOf(err)
		body, err := msgpack.Marshal(a)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(body)
	}
}

// call sends a question to another replica and reads its answer, both JSON.
func (r *Replica) call(ctx context.Context, id, path string, question, answer any) error {
	if r.link == nil {
		return fmt.Errorf("%s: %w: standalone", id, ErrUnreachable)
	}
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	if body, err = r.link.Call(ctx, id, http.MethodPost, path, body); err != nil {
		return err
	}
	return json.Unmarshal(body, answer)
}

func writeJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(body)
}
