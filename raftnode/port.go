package raftnode

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quorate/quorate/fsm"
)

// openPort opens the cluster port. Nothing is accepted before runPort.
func (r *Replica) openPort() error {
	creds := r.c.Credentials
	if creds == nil {
		var err error
		if creds, err = NewCredentials(r.id, r.c.Secrets); err != nil {
			return err
		}
	}
	l, err := openLink(linkConfig{
		Self:    r.hello,
		Listen:  r.c.Listen,
		Creds:   creds,
		Handler: r.handler(),
		Lookup: func(id string) (string, bool) {
			addr := r.address(id)
			return addr, addr != ""
		},
		Admit:   r.admit,
		Refused: func(h Hello, err error) { r.refuse(h.ID, h.Name, h.Address, err) },
		Log:     r.log,
	})
	if err != nil {
		return err
	}
	r.link = l
	r.listening = advertised(l.Addr().String(), r.c.Advertise)
	return nil
}

// runPort accepts until ctx ends.
func (r *Replica) runPort(ctx context.Context) {
	if err := r.link.Run(ctx); err != nil {
		r.fail(err) // another live replica has this id: one of the two must go
	}
}

// Address is where the others reach this replica's cluster port; "" when standalone.
func (r *Replica) Address() string { return r.listening }

// hello opens each connection.
func (r *Replica) hello() Hello {
	return Hello{
		ID:        r.id,
		Name:      r.c.Name,
		ClusterID: r.begun(),
		Version:   r.c.Version,
		Schema:    fsm.SchemaVersion,
		Address:   r.listening,
	}
}

// begun is the id of the cluster this replica belongs to, or has been formed into without
// its first command yet: even then its log must not meet that of another cluster.
func (r *Replica) begun() string {
	is, servers := r.home.get(), r.servers()
	if is.ClusterID != "" || is.Promise == nil || len(servers) == 0 {
		return is.ClusterID
	}
	for _, s := range servers {
		if !slices.Contains(is.Promise.Replicas, string(s.ID)) {
			return "" // added to another one before its promise was dropped
		}
	}
	return is.Promise.ClusterID
}

// admit refuses a caller that the cluster has removed, and one that bears this
// replica's name without having a right to it.
func (r *Replica) admit(h Hello) error {
	mine := r.home.get().ClusterID
	switch {
	case r.State().State.Barred(h.ID):
		return fmt.Errorf("%w: delete its data directory to bring it back", ErrRemoved)
	case h.Name == r.c.Name && h.ClusterID == "" && (mine != "" || r.id < h.ID):
		return fmt.Errorf("replica.name: %s is %w (%s)", h.Name, ErrNameTaken, r.listening)
	}
	return nil
}

// A write that hangs this long makes Raft fall silent here, so that the others elect a
// leader; raft's own main loop sits in that write and cannot hand over (design.md §5).
// Much longer, and this replica gives up.
const (
	diskSilent = 5 * time.Second
	diskFails  = 30 * time.Second
)

// errDiskHangs ends Run without waiting for raft, which cannot end.
var errDiskHangs = errors.New("the disk hangs")

// watchDisk looks at the write under way until ctx ends.
func (r *Replica) watchDisk(ctx context.Context) {
	silent := false
	for sleep(ctx, 250*time.Millisecond) == nil {
		since, writing := r.store.Writing()
		hangs := time.Since(since)
		if !writing {
			hangs = 0
		}
		if hangs >= diskFails {
			r.fail(fmt.Errorf("write %s/raft: %w for %s", r.c.Dir, errDiskHangs, hangs.Round(time.Second)))
			return
		}
		if now := hangs >= diskSilent; now != silent {
			silent = now
			r.log.Warn("disk slow", "took", hangs.Round(time.Millisecond), "silent", silent)
			if r.link != nil {
				r.link.Silence(silent)
			}
		}
	}
}
