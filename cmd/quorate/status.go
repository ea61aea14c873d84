package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quorate/quorate/admin"
	"github.com/spf13/cobra"
)

func statusCommand(g *globals) *cobra.Command {
	var wait time.Duration
	c := &cobra.Command{
		Use:     "status",
		Short:   "Show the cluster in words",
		GroupID: groupLook,
		Long: `Shows voters, leader, lag, workers, the last change and what is wrong.
Exit 0 when the cluster is healthy, 3 when it is not.`,
		Example: `  quorate status
  quorate status --addr 10.0.0.12:7302
  quorate status --wait 60s
  quorate status -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, raw, err := fetchStatus(cmd.Context(), g, wait)
			if err != nil {
				return err
			}
			if g.output == "json" {
				g.stdout.Write(raw)
			} else {
				printStatus(g.stdout, s, time.Now(), g.colour())
			}
			if !s.Cluster.Healthy {
				return exit(3)
			}
			return nil
		},
	}
	c.Flags().DurationVar(&wait, "wait", 0, "return when healthy, or after this long with exit 3")
	g.clientFlags(c)
	return c
}

// fetchStatus asks once, or until the cluster is healthy and wait is over.
func fetchStatus(ctx context.Context, g *globals, wait time.Duration) (*admin.Status, []byte, error) {
	client, err := g.client()
	if err != nil {
		return nil, nil, err
	}
	p := progress{w: g.stderr, terminal: g.stderrTerminal()}
	defer p.end()
	end := time.Now().Add(wait)
	for {
		raw, err := client.get(ctx, "/api/v1/status")
		s := new(admin.Status)
		if err == nil {
			err = json.Unmarshal(raw, s)
		}
		left := time.Until(end)
		if left <= 0 || err == nil && s.Cluster.Healthy {
			return s, raw, err
		}
		what := "the cluster to be healthy"
		if err != nil {
			what = client.addr + " to answer"
		}
		p.say("waiting for %s, %s left", what, duration(left))
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-time.After(min(200*time.Millisecond, left)):
		}
	}
}

func printStatus(w io.Writer, s *admin.Status, now time.Time, c colour) {
	fmt.Fprintln(w, headline(s, now, c))
	for _, p := range s.Problems {
		if p.Code != "no_leader" {
			fmt.Fprintln(w, "- "+problemLine(p, now))
		}
	}
	if s.Cluster.ID != "" && s.Cluster.Leader == "" {
		fmt.Fprintf(w, "Traffic goes on by the state of index %d. Workers are told to come again.\n", s.Replica.AppliedIndex)
	}
	line := fmt.Sprintf("%s, %d usable, %s.", plural(s.Workers.Total, "worker", "workers"), s.Workers.Usable,
		plural(s.Workers.Contexts, "context", "contexts"))
	if l := s.LastChange; l != nil {
		what := strings.TrimSpace(l.Route + " " + l.Detail)
		if l.Op != "STATUS" {
			what = strings.Join(nonEmpty(l.Op, l.Route, l.Context), " ")
		}
		line += fmt.Sprintf(" Last change %s ago: %s.", duration(now.Sub(l.Time)), what)
	}
	fmt.Fprintln(w, line)
	fmt.Fprintln(w)
	printReplicas(w, s)
}

func nonEmpty(words ...string) []string {
	return slices.DeleteFunc(words, func(w string) bool { return w == "" })
}

func headline(s *admin.Status, now time.Time, c colour) string {
	k := s.Cluster
	leader := fmt.Sprintf(" Leader %s (term %d).", k.Leader, k.Term)
	if k.LeaderSince != nil {
		leader = fmt.Sprintf(" Leader %s for %s (term %d).", k.Leader, duration(now.Sub(*k.LeaderSince)), k.Term)
	}
	reachable := 0
	for _, r := range s.Replicas {
		if r.Voter && r.Reachable {
			reachable++
		}
	}
	voters := fmt.Sprintf("%d of %s, %s.", reachable, plural(k.Voters, "voter", "voters"), mayFail(k.FailureTolerance))
	switch {
	case k.ID == "":
		return c.red("No quorum") + ": this replica belongs to no cluster yet."
	case k.Leader == "" && reachable > k.Voters/2:
		return c.yellow("Degraded") + ": " + fmt.Sprintf("%d of %s, an election is running.", reachable, plural(k.Voters, "voter", "voters"))
	case k.Leader == "":
		text := fmt.Sprintf("%s: %d of %s, %d needed. No leader", c.red("No quorum"), reachable, plural(k.Voters, "voter", "voters"), k.Voters/2+1)
		for _, p := range s.Problems {
			if p.Code == "no_leader" {
				text += " for " + duration(now.Sub(p.Since))
			}
		}
		return text + "."
	case s.Replica.Addresses.Cluster == "" && k.Healthy:
		return c.green("Standalone") + ": the cluster is off, none may fail." + leader
	case k.Healthy:
		return c.green("Healthy") + ": " + voters + leader
	}
	return c.yellow("Degraded") + ": " + voters + leader
}

func mayFail(n int) string {
	if n == 0 {
		return "none may fail"
	}
	return fmt.Sprintf("%d may fail", n)
}

func problemLine(p admin.Problem, now time.Time) string {
	if p.Code == "replica_unreachable" {
		return fmt.Sprintf("%s unreachable for %s (%s)", p.Replica, duration(now.Sub(p.Since)), p.Detail)
	}
	return strings.Join(nonEmpty(p.Replica, p.Detail), " ")
}

func printReplicas(w io.Writer, s *admin.Status) {
	differs := map[string]bool{}
	for _, p := range s.Problems {
		if p.Code == "state_differs" {
			differs[p.Replica] = true
		}
	}
	var last uint64
	for _, r := range s.Replicas {
		last = max(last, r.AppliedIndex)
	}
	t := table{
		head:  []string{"REPLICA", "ROLE", "VOTER", "REACHABLE", "BEHIND", "STATE", "VERSION", "TRAFFIC"},
		right: map[string]bool{"BEHIND": true},
	}
	rows := slices.SortedFunc(slices.Values(s.Replicas), func(a, b admin.Replica) int {
		return cmp.Or(natural(a.Name, b.Name), natural(a.ID, b.ID))
	})
	for _, r := range rows {
		name := r.Name
		if r.ID == s.Replica.ID {
			name += " *"
		}
		behind, state := "-", "-"
		if r.Reachable {
			behind = strconv.FormatUint(last-r.AppliedIndex, 10)
			state = "equal"
		}
		if differs[r.Name] {
			state = "differs"
		}
		t.add(name, r.Role, yesNo(r.Voter), yesNo(r.Reachable), behind, state, dash(r.Version), dash(strings.Join(r.Addresses.Traffic, " ")))
	}
	t.print(w)
	fmt.Fprintln(w, "* answered")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
