// Package raftnode makes the replicas one: what is proposed at any of them commits in
// one log and is applied by the same function everywhere. It promises that what a given
// result says is in the log, applied on the replica that gave it out, and never lost
// while a quorum's disks live; and that this replica can route by all it has
// acknowledged from its first packet on, with no other replica there.
//
// A command, from whoever asks to the answer:
//
//	Propose ──► retry ──► this replica leads ──► queue ─► batch ─► raft ─► machine ──► answer
//	(propose.go)   │      (lead.go)                        └─► changes nothing: confirmed (confirm.go)
//	               └────► another one leads ──► forward ──► its queue …, then wait until applied here
//	                      (forward.go)
//
// Around it: form.go how a cluster begins, members.go how it grows, handover.go how a
// leader leaves, report.go and watch.go what the replicas tell each other, status.go
// what people are told.
//
// Below it: store.go the log, boot.go and machine.go the state, link.go and its
// neighbours the one TLS port. hashicorp/raft is known here and nowhere else.
package raftnode
