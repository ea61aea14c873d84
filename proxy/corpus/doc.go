// Package corpus holds nothing but tests: some 380 conversations between a client,
// quorate and a worker, through real sockets. Each is refused and its connection
// closed, or forwarded in one canonical form; a marker request goes behind it, and
// is answered right or never seen by the worker (http-notes.md §13).
//
// A case of testdata is a block of lines: comment, name, then what is said. The
// client is on the left, the worker on the right, quorate between them:
//
//	# Leading zeros are fine; sent as plain decimal.
//	length-leading-zeros
//	> POST /a HTTP/1.1\r\n               the client sends
//	> Host: localhost\r\n
//	> Content-Length: 0005\r\n
//	> \r\n
//	> hello
//	  > POST /a HTTP/1.1\r\n             the worker gets
//	  > Host: localhost\r\n
//	  > Content-Length: 5\r\n
//	  > +\r\n
//	  > \r\n
//	  > hello
//	  < HTTP/1.1 204 No Content\r\n      the worker says
//	  < \r\n
//	< HTTP/1.1 204 No Content\r\n        the client gets
//	< \r\n
//
// Lines end where \r\n is written, and only there. \xHH is a byte, \t \0 \\ as in Go,
// \*300{x} is x, 300 times. A blank at the end of a line is written \x20.
//
// What the worker gets is compared byte for byte, but for
//
//   - X-Forwarded-For, -Host, -Proto, -Port, -Server and X-Request-Id as they
//     must be for this client; one that is not so is shown before the plus.
//     CLIENT is the client's address
//     WORKER     the worker's own host:port
//     Connection: keep-alive must be there on the first request of a
//     connection (http-notes.md §5), only there, and is not shown
//     chunks are shown as one
//
// What the client gets is compared in the same way, with Content-Length,
// Transfer-Encoding and Connection after the other fields and without Date.
//
// Whole blocks may be said in a word:
//
//	  < ok                 200 and the client's address as body. It is said where a case
//	                       says nothing behind a request
//	< ok [closed]          that answer, unchanged [with Connection: close, and the end]
//	< 400 [closed]         an answer of quorate's own; 400|431 if both will do
//	< (closed)             the end of the connection
//	< (broken off)         its end, or a reset, before the end of an answer; or 502
//	                       if none of it had been sent
//	  > (closed), (kept)   the worker's connection was closed; carries the next request
//	  < (close), (reset)   the worker ends its connection
//	> (close), (gone)      the client ends its half; closes
//
// Words behind a name: trusted (the client is in traffic.trusted_proxies), later
// (the marker is not sent in one packet with the last bytes, but at the end), alone
// (there is no marker), once (not cut into two packets), encoded_slash=keep|decode,
// dot_segments=decode, merge_slashes=true, upgrade=TOKEN,TOKEN.
package corpus
