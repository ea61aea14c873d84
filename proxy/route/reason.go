package route

// Reason says why a request gets no node. None: it got one.
type Reason uint8

// The reasons. Those up to EmptySegment refuse the request target itself, with
// status 400 (http-notes.md §4).
const (
	None         Reason = iota
	BadTarget           // does not begin with "/"
	BadByte             // outside 21-7E hex, or "#"
	BadEscape           // "%" without two hex digits
	EncodedNUL          // %00
	Backslash           // "\" or %5C
	SlashEscaped        // %2F, where traffic.path.encoded_slash is reject
	DotSegment          // "." or "..", also with parameters or escaped
	EmptySegment        // "//" where another context or rule would get the collapsed path

	NoContext   // no worker knows the path, or the alias
	Unavailable // the longest context is stopped, held, or disabled for this request
	NoWorker    // contexts, but no usable worker
	Forced      // the session's worker is not usable and the session may not move
	Rejected    // by a rule
	Redirected  // by a rule
)

var reasons = [...]string{
	None:         "ok",
	BadTarget:    "target does not begin with a slash",
	BadByte:      "byte not allowed in a target",
	BadEscape:    "bad percent escape",
	EncodedNUL:   "encoded NUL",
	Backslash:    "backslash in the path",
	SlashEscaped: "encoded slash",
	DotSegment:   "dot segment",
	EmptySegment: "empty segment that changes the context",
	NoContext:    "no context",
	Unavailable:  "context not available",
	NoWorker:     "no usable worker",
	Forced:       "session may not move",
	Rejected:     "rejected by a rule",
	Redirected:   "redirected by a rule",
}

func (r Reason) String() string { return reasons[r] }
