package mcmp

import (
	"context"
	"time"
)

// Shown is an answer to INFO or DUMP that did not come over MCMP.
type Shown struct {
	Type  string // content type
	Body  []byte
	Stale bool // not confirmed by a quorum
	Age   time.Duration
}

// Show gives what INFO or DUMP (of that name, in capitals) answers to a worker at
// this moment, for httpd's manager page (spec/mcmp.md §13). It takes the reply
// budget at most.
func (s *Server) Show(ctx context.Context, method string, asXML bool) Shown {
	rep := reply{}
	if method == methodDump {
		rep = s.dump(ctx, asXML)
	} else {
		rep = s.info(ctx, asXML)
	}
	return Shown{Type: rep.contentType(), Body: rep.body, Stale: rep.stale, Age: rep.age}
}
