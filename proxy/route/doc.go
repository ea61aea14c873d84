// Package route says which node gets a request.
//
//	request target ── ParsePath ──► Path ─┐
//	Host, Cookie ─────────── NewFacts ────┴► Facts ─┐
//	fsm.State ── Compile, Update ──► Table ─────────┴► Decide ──► Decision
//
// A Table is immutable; a data plane keeps the newest one in an atomic pointer
// and uses one for a whole exchange. What changes with traffic and time lies
// beside it, in the Nodes, Contexts and Balancers that all versions of a table
// share: load, suspicion, election counters, requests in flight, and the session
// settings of a balancer ("new values act at once").
//
// Decide reads and never writes. It takes no lock and allocates nothing. Explain
// runs the same lines and puts them into words.
//
// The rules are those of spec/routing.md §0 and, for paths, http-notes.md §4.
package route
