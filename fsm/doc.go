// Package fsm is the deterministic state machine behind quorate: commands, the
// state they make, and Apply, the one function that changes it.
//
// Apply is a pure function of (state, entry): no clock, no randomness, no map
// order, no float, no host name, no configuration. Time is the entry's leader
// time. So replay, the simulator, "why" and production run the same lines, and
// two replicas at the same index hold the same bytes.
package fsm
