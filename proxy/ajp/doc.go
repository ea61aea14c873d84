// Package ajp is the balancer's side of AJP/1.3, without input and output: it writes
// packets behind a buffer, and takes apart what a worker sent as far as it is there.
//
//	balancer                                   worker
//	FORWARD_REQUEST ────────────────────────►
//	first body packet, if a length was said ─►
//	                  ◄──────────────────────── GET_BODY_CHUNK     as often as it likes
//	body packet ────────────────────────────►                      one for each
//	                  ◄──────────────────────── SEND_HEADERS
//	                  ◄──────────────────────── SEND_BODY_CHUNK    0 bytes: flush
//	                  ◄──────────────────────── END_RESPONSE       may it be used again?
//	CPING ──────────────────────────────────►                      between requests only
//	                  ◄──────────────────────── CPONG
//
// A body packet has no type: one that is not awaited would be read as a request. So
// [Stream] keeps the account of what is owed, and says of a connection whether it may
// carry another request: every surprise means that it may not.
//
// The rules are those of spec/ajp13.md. In steady state nothing here allocates.
package ajp
