package main

import (
	"context"
	"time"

	"github.com/quorate/quorate/admin"
	"github.com/quorate/quorate/fsm"
)

// manager is what httpd's manager page needs of this replica; nil when it is off.
func (s *server) manager() *admin.Manager {
	c := s.conf.Admin.Manager
	if !c.Enabled {
		return nil
	}
	return &admin.Manager{
		CheckNonce: c.CheckNonce,
		AllowCmd:   c.AllowCmd,
		Replica:    s.conf.Replica.Name,
		Version:    version,
		Read:       s.read,
		Show: func(ctx context.Context, what string, asXML bool) admin.Shown {
			return admin.Shown(s.mcmp.Show(ctx, what, asXML))
		},
		Seen: s.seen,
		Requests: func(r fsm.JVMRoute, vhost int, p fsm.Path) int64 {
			return s.proxy.Table().InFlightAt(r, vhost, p)
		},
		Propose: s.propose,
	}
}

// seen is a node as this replica sees it, with the others' word on whether it
// can be reached.
func (s *server) seen(n *fsm.Node) admin.Seen {
	table := s.proxy.Table()
	if run := table.Node(string(n.Route)); run != nil {
		n = run.Record() // what routes here, even when this replica honours a word that no cluster agreed on
	}
	status, why := table.Why(n.Route, time.Now().UnixMilli())
	status, why = s.agreed(n, s.reachable(n.Route, s.replica.Members()), status, why)
	here, _ := s.proxy.Reachable(n.Route)
	c := s.proxy.Counters(n.Route)
	return admin.Seen{
		Node:        n,
		OK:          here && n.Load >= 0,
		Status:      status,
		Why:         why,
		Elected:     int64(c.Elected),
		Read:        int64(c.Read),
		Transferred: int64(c.Transferred),
		Connected:   int64(c.Connected),
	}
}
