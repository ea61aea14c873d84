// Package http1 takes HTTP/1.1 messages apart and puts them together, in the
// buffers of its caller. It does no I/O and keeps nothing but places in a buffer.
//
//	client                                     worker
//	  │ GET /app/x HTTP/1.1⏎                     ▲ GET /app/x HTTP/1.1⏎
//	  │ Host: example.com⏎                       │ Host: example.com⏎
//	  │ ⏎                                        │ X-Forwarded-For: …⏎ ⏎
//	  └──► Request.Parse ─► Method, Target,  ────┘ AppendField, AppendUint
//	                        Host, Fields
//	  ┌──► Chunked.Decode ─► body, Trailers ─────► AppendChunkHead
//	  │ 5;x⏎ hello⏎ 0⏎ ⏎
//
//	client                                     worker
//	  ▲ HTTP/1.1 200 OK⏎                         │ HTTP/1.1 200 OK⏎
//	  │ Content-Length: 5⏎ ⏎ hello               │ Content-Length: 5⏎ ⏎ hello
//	  └──── AppendField, StatusText ◄──── Response.Parse, Response.Body
//
// The promise: a message is read in exactly one way or not at all. Nothing is
// repaired, so nothing can be read in two ways by the two ends. What passes has
// one framing, one Host that agrees with the target, names that are tokens, and
// values without control bytes (RFC 9110 §5, RFC 9112 §2 to §7). Whoever sends
// on what was parsed writes it anew: of the bytes that frame a client's message
// no worker ever sees one.
//
// Parsing can be broken off after any byte and goes on with more of them. What it
// finds does not depend on where it was broken off, and a byte that is wrong is
// refused when it is seen, not when the head is complete. After an error the
// connection cannot be used again: where the next message begins is not known.
//
// Nothing is allocated but the array of fields and the room for trailers, which
// Reset keeps. What HTTP/2 brings goes through AppendHead and then through
// Request.Parse: one set of rules, whatever the version.
package http1
