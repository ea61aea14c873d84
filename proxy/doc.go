// Package proxy carries exchanges: it accepts a client's request, lets package
// route decide which worker gets it, forwards it and accounts for it.
//
//	accept ──► check ──► route.Decide ──► forward ──► account
//	           own         ▲    │           │
//	           answers     └────┴── again, as long as nothing was sent twice
//
// A request is read from top to bottom in listen.go and client.go (a connection),
// exchange.go (one request; its client is h1.go or h2.go), serve.go (decide, forward,
// decide again), forward.go (one try at one worker), relay.go (its answer) and
// tunnel.go (after a 101).
//
// What routes is one immutable table behind an atomic pointer (table.go); whether a
// worker can be reached is this replica's own opinion (health.go). A failed
// request never changes that opinion, a refused connection does.
//
// The rules are those of http-notes.md §4 to §10 and spec/routing.md §0.
package proxy
