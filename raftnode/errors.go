package raftnode

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/quorate/quorate/fsm"
)

// What Propose and Read can say. Each of them means "ask again later" to a worker;
// they differ in what a person should look for.
var (
	// ErrNoLeader: no leader is known or reachable, and no election that could make
	// one is running. The command was not taken.
	ErrNoLeader = errors.New("no leader")

	// ErrUnwritable: this replica cannot write its log, so it applies nothing and cannot
	// answer for anything new: its disk is full, say. The command was not taken.
	ErrUnwritable = errors.New("the log cannot be written")

	// ErrUnknown: the command may yet commit. Asking again with the same id is harmless.
	ErrUnknown = errors.New("outcome unknown")

	// ErrExpired: the time was up before the command was taken.
	ErrExpired = errors.New("no time left")

	// ErrStopped: this replica is stopping or has stopped.
	ErrStopped = errors.New("replica stopped")
)

// What Open, Run and Init can say.
var (
	// ErrLostLog: replica.json names a cluster, the log beside it is empty. A replica
	// that forgot its votes must not vote: it starts again with an empty directory.
	ErrLostLog = errors.New("the log is gone but replica.json belongs to a cluster")

	// ErrLostIdentity: the mirror case. Under a new id the log's old one would stay a
	// voter that never answers again.
	ErrLostIdentity = errors.New("replica.json is gone but the log is there")

	// errInUse: another process has the data directory.
	errInUse = errors.New("in use")

	// ErrNotAlone: a standalone replica found the log of a cluster of several.
	ErrNotAlone = errors.New("the log belongs to a cluster of several replicas")

	// ErrNameTaken: another live replica has this replica's name.
	ErrNameTaken = errors.New("taken by a live replica")

	// ErrFormed: Init found that this replica belongs to a cluster already.
	ErrFormed = errors.New("belongs to a cluster already")
)

// Why one attempt to propose or to read did not end with an answer. They never leave
// this package: the caller tries again, or says one of the errors above.
var (
	errNotLeader = errors.New("not the leader")
	errTransfer  = errors.New("leadership transfer in progress")
	errBusy      = errors.New("queue full")
)

// outcome says what an attempt that failed has left behind.
type outcome uint8

const (
	notTaken outcome = iota // nothing of it is in any log
	unknown                 // it may be in a log
	final                   // trying again gives the same
)

// outcomeOf is the one place that reads errors of attempts: raft's, those of the
// connection to the leader, and those the leader sent.
func outcomeOf(err error) outcome {
	switch {
	case errors.Is(err, errNotLeader), errors.Is(err, errTransfer), errors.Is(err, errBusy),
		errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress),
		errors.Is(err, raft.ErrEnqueueTimeout):
		return notTaken
	case errors.Is(err, ErrExpired), errors.Is(err, ErrStopped), errors.Is(err, fsm.ErrSchema),
		errors.Is(err, errRefused):
		return final
	}
	// ErrLeadershipLost, a disk error of the leader, a broken connection, a time-out.
	return unknown
}

// errRefused: the leader says that the command can never be taken as it is.
var errRefused = errors.New("refused by the leader")

// Reasons on the wire between replicas. An unknown one means that the outcome is unknown.
const (
	saysNotLeader = "not leader"
	saysTransfer  = "transfer"
	saysBusy      = "busy"
	saysExpired   = "expired"
	saysRefused   = "refused: "
)

// reasonOf puts err into the leader's answer.
func reasonOf(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, errNotLeader), errors.Is(err, raft.ErrNotLeader):
		return saysNotLeader
	case errors.Is(err, errTransfer), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return saysTransfer
	case errors.Is(err, errBusy), errors.Is(err, raft.ErrEnqueueTimeout):
		return saysBusy
	case errors.Is(err, ErrExpired), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return saysExpired
	case errors.Is(err, errRefused):
		return saysRefused + err.Error()
	}
	return err.Error()
}

// errorOf is reasonOf read back.
func errorOf(reason string) error {
	switch reason {
	case "":
		return nil
	case saysNotLeader:
		return errNotLeader
	case saysTransfer:
		return errTransfer
	case saysBusy:
		return errBusy
	case saysExpired:
		return ErrExpired
	}
	if len(reason) > len(saysRefused) && reason[:len(saysRefused)] == saysRefused {
		return fmt.Errorf("%w: %s", errRefused, reason[len(saysRefused):])
	}
	return fmt.Errorf("leader: %s", reason)
}
