package http1

// An Error says why a message is refused, and with which status a client is told.
// The connection it came by is closed.
type Error struct {
	Status int
	Reason string // for the log: what was wrong, without a byte of the message
}

func (e *Error) Error() string { return e.Reason }

// All there are: returning one allocates nothing.
var (
	errControl    = &Error{400, "control byte"}
	errLineEnd    = &Error{400, "CR or LF alone"}
	errEmptyLine  = &Error{400, "line ends before the request line"}
	errMethod     = &Error{400, "method is no token"}
	errTarget     = &Error{400, "byte that no request target has"}
	errBackslash  = &Error{400, "backslash in the path"}
	errForm       = &Error{400, "request target in a form that is not served"}
	errAuthority  = &Error{400, "request target of another host"}
	errAsterisk   = &Error{400, "request target * without OPTIONS"}
	errConnect    = &Error{405, "CONNECT"}
	errVersion    = &Error{400, "malformed version"}
	errVersionNo  = &Error{505, "version other than HTTP/1.0 and 1.1"}
	errLineLong   = &Error{414, "first line over the limit"}
	errHeadLong   = &Error{431, "header fields over the limit"}
	errFold       = &Error{400, "line that begins with a blank"}
	errName       = &Error{400, "field name is no token"}
	errNoColon    = &Error{400, "field line without a colon"}
	errNoHost     = &Error{400, "no Host"}
	errTwoHosts   = &Error{400, "more than one Host"}
	errHost       = &Error{400, "malformed Host"}
	errLength     = &Error{400, "malformed Content-Length"}
	errLengths    = &Error{400, "more than one Content-Length"}
	errBoth       = &Error{400, "Content-Length and Transfer-Encoding"}
	errCoding     = &Error{400, "malformed Transfer-Encoding"}
	errCodingOld  = &Error{400, "Transfer-Encoding in HTTP/1.0"}
	errCodingNot  = &Error{501, "Transfer-Encoding other than chunked"}
	errExpect     = &Error{417, "Expect other than 100-continue"}
	errListed     = &Error{400, "Connection lists too many names"}
	errConnField  = &Error{400, "field that HTTP/2 has not"}
	errValue      = &Error{400, "byte that no field value has"}
	errStatusLine = &Error{502, "malformed status line"}
	errChunkSize  = &Error{400, "malformed chunk size"}
	errChunkBig   = &Error{400, "chunk size over the limit"}
	errChunkExt   = &Error{400, "malformed chunk extension"}
	errChunkLong  = &Error{400, "chunk extension over the limit"}
	errChunkEnd   = &Error{400, "chunk data without its line end"}
	errOverhead   = &Error{431, "chunk extensions and trailers over the limit"}
)
