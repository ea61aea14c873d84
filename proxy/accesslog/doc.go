// Package accesslog writes one line for each request, without a request ever waiting
// for the line.
//
//	Write ──► format ──► buffer of 64 KiB ──► queue ──► Run ──► file, pipe, terminal
//	Write ──► format ──►    (at most 4 MiB wait; over it lines are dropped, counted)
//
// A line reaches the output within 100 ms, or when a buffer is full. Lines stand in
// the order in which their requests ended and are written whole, also where standard
// output and standard error are one pipe.
//
// # JSON
//
// One object a line, its keys in the order of interface.md §4:
//
//	{"time":"2026-11-24T21:09:40.123456Z","listener":"0.0.0.0:8080","client":"10.0.0.7",
//	"host":"shop.example","method":"GET","path":"/cart","query":"id=1","protocol":"HTTP/1.1",
//	"status":200,"bytes_in":310,"bytes_out":14512,"duration":0.038120,
//	"connect_duration":0.000310,"response_duration":0.036002,"balancer":"b","context":"/cart",
//	"worker":"app-1","route_wanted":"app-4","route_changed":true,"attempts":1,
//	"closed_by":"client","index":8412,"request_id":"01JDG7","error":"..."}
//
// time is when the request began, UTC, with microseconds; durations are seconds with
// microseconds, cut off. A string without a value and a duration that was not measured
// are left out: no "" and no null. Numbers and route_changed are always there, 0 and
// false included, so that they can be summed and filtered without a default.
// user_agent and referer come last, when Config.Fields asks for them.
//
// Every line is valid JSON in valid UTF-8, whatever a client sent: a byte that is no
// UTF-8 becomes U+FFFD; control characters, DEL and U+0080 to U+009F are escaped, so
// that a log shown on a terminal cannot command it. Everything else stands as it is.
//
// # Text
//
// For people at a terminal; what is unusual follows in brackets:
//
//	2026-11-24T21:09:40.123Z 10.0.0.7 GET shop.example/cart?id=1 200 14.2 KiB 38ms app-1
//	2026-11-24T21:09:41.007Z 10.0.0.7 GET shop.example/ 502 51 B 3.0s app-2 (moved from app-4, 2 attempts, closed by worker, read answer: EOF, request 01JDG7)
//
// A hyphen stands for what is missing. Strings are escaped as in JSON.
//
// # Sampling
//
// Config.Sample is the share of requests that get a line, each drawn by itself. An
// answer of 500 and above, or a record with an error, always gets one: whoever saves
// disk does not mean the failures. So counts come from the metrics, not from a sampled
// log.
//
// # When the output does not work
//
// A write that ends in an error is told once in the replica's log and tried again each
// second, and at once after Reopen, from the byte where it stopped. What comes
// meanwhile waits in the buffer; what does not fit is dropped, counted (Dropped) and
// told, once a minute.
//
// A process that writes to standard output after its reader has gone is ended by the Go
// runtime (package os/signal, SIGPIPE) unless main calls signal.Ignore(syscall.SIGPIPE);
// then it is an error like others.
package accesslog
