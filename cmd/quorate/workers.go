package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/quorate/quorate/admin"
	"github.com/spf13/cobra"
)

func workersCommand(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:     "workers [NAME]",
		Short:   "Show what is registered, and why it does or does not get traffic",
		GroupID: groupLook,
		Example: `  quorate workers
  quorate workers app-3
  quorate workers -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := g.client()
			if err != nil {
				return err
			}
			raw, err := client.get(cmd.Context(), "/api/v1/workers")
			if err != nil {
				return err
			}
			var list admin.Workers
			if err := json.Unmarshal(raw, &list); err != nil {
				return fmt.Errorf("%s/api/v1/workers: %w", client.addr, err)
			}
			if len(args) == 1 {
				i := slices.IndexFunc(list.Workers, func(w admin.Worker) bool { return w.Route == args[0] })
				if i < 0 {
					return fmt.Errorf("workers: no worker %q; %s", args[0], thereAre(list.Workers))
				}
				list.Workers = list.Workers[i : i+1]
				if raw, err = json.Marshal(list); err != nil {
					return err
				}
				raw = append(raw, '\n')
			}
			if g.output == "json" {
				_, err := g.stdout.Write(raw)
				return err
			}
			if len(args) == 1 {
				printWorker(g.stdout, list.Workers[0], g.colour())
			} else {
				printWorkers(g.stdout, list.Workers, g.colour())
			}
			return nil
		},
	}
	g.clientFlags(c)
	return c
}

func thereAre(workers []admin.Worker) string {
	if len(workers) == 0 {
		return "none has registered"
	}
	var names []string
	for _, w := range workers {
		names = append(names, w.Route)
	}
	slices.SortFunc(names, natural)
	return "there are " + strings.Join(names, ", ")
}

func workerTable(workers []admin.Worker, c colour) *table {
	t := &table{
		head:  []string{"WORKER", "ADDRESS", "LOAD", "CONTEXTS", "IN FLIGHT", "STATUS"},
		right: map[string]bool{"LOAD": true, "CONTEXTS": true, "IN FLIGHT": true},
	}
	for _, w := range workers {
		var requests int64
		for _, x := range w.Contexts {
			requests += x.Requests
		}
		t.add(w.Route, w.Type+"://"+net.JoinHostPort(strings.Trim(w.Host, "[]"), strconv.Itoa(w.Port)), strconv.Itoa(w.Load),
			strconv.Itoa(len(w.Contexts)), strconv.FormatInt(requests, 10), paintStatus(w.Status, c))
		if w.Why != takesSessions {
			t.note(w.Why)
		}
	}
	return t
}

// takesSessions is the why of a worker that is up (ux.md §3).
const takesSessions = "takes new sessions"

func paintStatus(s string, c colour) string {
	switch s {
	case "up":
		return c.green(s)
	case "down", "unreachable", "removed":
		return c.red(s)
	}
	return c.yellow(s)
}

func printWorkers(w io.Writer, workers []admin.Worker, c colour) {
	if len(workers) == 0 {
		fmt.Fprintln(w, "No worker has registered yet.")
		return
	}
	slices.SortFunc(workers, func(a, b admin.Worker) int { return natural(a.Route, b.Route) })
	usable := 0
	for _, x := range workers {
		if x.Why == takesSessions {
			usable++
		}
	}
	workerTable(workers, c).print(w)
	fmt.Fprintf(w, "%s, %d usable. LOAD: 100 idle, 1 busy, 0 standby, -1 out of service.\n",
		plural(len(workers), "worker", "workers"), usable)
}

func printWorker(w io.Writer, x admin.Worker, c colour) {
	workerTable([]admin.Worker{x}, c).print(w)
	fmt.Fprintf(w, "Balancer %s, domain %s.\nRegistered %s from %s.\n\n", x.Balancer, dash(x.Domain),
		x.RegisteredAt.UTC().Format("2006-01-02T15:04:05Z"), dash(x.Source))
	t := &table{head: []string{"CONTEXT", "ALIASES", "WORKER SAYS", "NOW", "IN FLIGHT"}, right: map[string]bool{"IN FLIGHT": true}}
	for _, k := range x.Contexts {
		t.add(k.Path, strings.Join(k.Aliases, ","), k.Status, k.Effective, strconv.FormatInt(k.Requests, 10))
		if k.Hold != nil {
			t.note(fmt.Sprintf("%s by %s (%q)", k.Hold.Mode, k.Hold.By, k.Hold.Reason))
		}
	}
	t.print(w)
	var yes, no []string
	for name, ok := range x.Reachable {
		if ok {
			yes = append(yes, name)
		} else {
			no = append(no, name)
		}
	}
	slices.SortFunc(yes, natural)
	slices.SortFunc(no, natural)
	fmt.Fprintf(w, "Reachable from %s", dash(strings.Join(yes, ", ")))
	if len(no) > 0 {
		fmt.Fprintf(w, ", not from %s", strings.Join(no, ", "))
	}
	fmt.Fprintln(w, ".")
}
