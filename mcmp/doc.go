// Package mcmp is the balancer's side of the Mod-Cluster Management Protocol:
// the listener workers register with, what their messages mean, and the answers
// they can live with.
//
//	worker                                    replica
//	  │ INFO /                                  │
//	  │ ───────────────────────────────────────►│ one state, read index
//	  │◄─────────────────────────────────────── │ Node:, Vhost:, Context: lines
//	  │ CONFIG /      JVMRoute=w1&Host=…        │
//	  │ ENABLE-APP /  JVMRoute=w1&Alias=…       │ parse ► fsm.Command ► Propose
//	  │ ───────────────────────────────────────►│          (committed and applied here)
//	  │◄─────────────────────────────────────── │ 200, empty
//	  │ STATUS /      JVMRoute=w1&Load=94       │ probe the worker while it commits
//	  │ ───────────────────────────────────────►│
//	  │◄─────────────────────────────────────── │ State=OK | NOTOK
//
// It promises that a message is either wholly valid or leaves no trace, that
// Type SYNTAX, which silences a worker for ever, is said only of what can never
// become valid, and that no message makes INFO unreadable for other workers.
// It decides nothing about the state: that is fsm.Apply, reached by Propose.
//
// The rules are spec/mcmp.md §0; the framing is http-notes.md §1–§2.
package mcmp
