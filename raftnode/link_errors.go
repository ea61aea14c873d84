package raftnode

import (
	"errors"
	"fmt"
)

// Why two replicas do not talk. Both sides of a connection are told the same.
var (
	// ErrWrongSecret: TLS refused, the other replica's secret is not among ours.
	ErrWrongSecret = errors.New("refused: not the same cluster secret")

	// ErrUntrusted: TLS refused an operator's own certificate.
	ErrUntrusted = errors.New("refused: certificate not trusted")

	// ErrWrongCluster: the same secret, another cluster: a copy, or a cluster that was
	// recovered without this replica.
	ErrWrongCluster = errors.New("refused: not the same cluster")

	// ErrWrongReplica: the address is that of another replica than was wanted.
	ErrWrongReplica = errors.New("another replica")

	// ErrSelf: the address is this replica's own.
	ErrSelf = errors.New("this replica itself")

	// ErrDuplicateID: a replica of this id is running already. Who is told so is the
	// later one and must stop: the link's Run ends with it.
	ErrDuplicateID = errors.New("another live replica has this id: is the data directory a copy?")

	// ErrRemoved: the cluster has removed this replica's id.
	ErrRemoved = errors.New("removed from the cluster")
)

// otherCluster is ErrWrongCluster with who is of which.
func otherCluster(mine, myCluster, theirs, theirCluster string) error {
	return fmt.Errorf("%w: %s is of cluster %s, %s of %s", ErrWrongCluster, mine, myCluster, theirs, theirCluster)
}

// ErrUnreachable: no connection, so nothing was sent. It wraps the cause.
var ErrUnreachable = errors.New("unreachable")

// errSilent: Raft's connections are cut on purpose.
var errSilent = errors.New("raft is silent on this replica")

// verdicts are the words for refusals in the hello exchange.
var verdicts = []struct {
	word string
	err  error
}{
	{"cluster", ErrWrongCluster},
	{"replica", ErrWrongReplica},
	{"self", ErrSelf},
	{"duplicate", ErrDuplicateID},
	{"removed", ErrRemoved},
	{"name", ErrNameTaken},
}

// verdict is what one side tells the other after both hellos. The zero verdict accepts.
type verdict struct {
	Refused string `json:"refused,omitempty"` // one of verdicts, or "other"
	Detail  string `json:"detail,omitempty"`
}

func verdictOf(err error) verdict {
	if err == nil {
		return verdict{}
	}
	for _, v := range verdicts {
		if errors.Is(err, v.err) {
			return verdict{Refused: v.word, Detail: err.Error()}
		}
	}
	return verdict{Refused: "other", Detail: err.Error()}
}

// refusedError is the other side's refusal: its words, our sentinel.
type refusedError struct {
	detail string
	cause  error
}

func (e *refusedError) Error() string { return e.detail }
func (e *refusedError) Unwrap() error { return e.cause }

// err is verdictOf read back.
func (v verdict) err() error {
	if v.Refused == "" {
		return nil
	}
	for _, known := range verdicts {
		if known.word == v.Refused {
			return &refusedError{v.Detail, known.err}
		}
	}
	return fmt.Errorf("refused: %s", v.Detail)
}
