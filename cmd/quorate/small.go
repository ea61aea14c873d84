package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// Set by the linker.
var (
	version  = "dev"
	revision = ""
)

func healthCommand(g *globals) *cobra.Command {
	var live bool
	c := &cobra.Command{
		Use:     "health",
		Short:   "Exit 0 when this replica is ready, else 1 with the reasons",
		GroupID: groupLook,
		Long:    "For health checks of containers and process managers: another replica's\ntrouble does not matter here.",
		Example: "  quorate health\n  quorate health --live",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := g.client()
			if err != nil {
				return err
			}
			path := "/health/ready"
			if live {
				path = "/health/live"
			}
			code, body, err := client.ask(cmd.Context(), "GET", path)
			if err != nil {
				return err
			}
			ok := code == http.StatusOK
			var not struct{ Reasons []string }
			if !ok && (json.Unmarshal(body, &not) != nil || len(not.Reasons) == 0) {
				return fmt.Errorf("%s%s: %d %s", client.addr, path, code, http.StatusText(code))
			}
			switch {
			case g.output == "json":
				if err := json.NewEncoder(g.stdout).Encode(map[string]any{"ok": ok, "reasons": append([]string{}, not.Reasons...)}); err != nil || ok {
					return err
				}
				return exit(1)
			case ok:
				fmt.Fprintln(g.stdout, "ok")
				return nil
			}
			return fmt.Errorf("not ready: %s", strings.Join(not.Reasons, "; "))
		},
	}
	c.Flags().BoolVar(&live, "live", false, "ask whether the process works, not whether it is ready")
	g.clientFlags(c)
	return c
}

func initCommand(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:     "init",
		Short:   "Form a cluster of a running replica by hand",
		GroupID: groupStart,
		Long: `For a replica that waits: the cluster begins with it alone, promises it gave are
discarded. The others then join it and become voters. bootstrap_expect does the
same without a command.`,
		Example: "  quorate init\n  quorate init --addr 10.0.0.11:7302",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := g.client()
			if err != nil {
				return err
			}
			raw, err := client.post(cmd.Context(), "/api/v1/init")
			if err != nil {
				return fmt.Errorf("init: %w", err)
			}
			if g.output == "json" {
				_, err := g.stdout.Write(raw)
				return err
			}
			s, _, err := fetchStatus(cmd.Context(), g, 0)
			if err != nil {
				return err
			}
			others := ""
			if s.Replica.Addresses.Gossip != "" {
				others = " Others: cluster.join: [" + s.Replica.Addresses.Gossip + "]"
			}
			fmt.Fprintf(g.stdout, "Cluster %s formed: %s alone.%s\n", short(s.Cluster.ID), s.Replica.Name, others)
			return nil
		},
	}
	g.clientFlags(c)
	return c
}

// short is the beginning of an id that people compare.
func short(id string) string { return id[:min(8, len(id))] }

func versionCommand(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:     "version",
		Short:   "Show the version, Go's and the libraries'",
		GroupID: groupMaintain,
		Example: "  quorate version\n  quorate version -o json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			libs := map[string]string{}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, d := range info.Deps {
					libs[d.Path] = d.Version
				}
			}
			names := []string{"raft", "raft-boltdb", "bbolt", "memberlist"}
			paths := []string{"github.com/hashicorp/raft", "github.com/hashicorp/raft-boltdb/v2", "go.etcd.io/bbolt", "github.com/hashicorp/memberlist"}
			if g.output == "json" {
				out := map[string]any{"version": version, "revision": revision, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH}
				l := map[string]string{}
				for i, n := range names {
					l[n] = libs[paths[i]]
				}
				out["libraries"] = l
				return json.NewEncoder(g.stdout).Encode(out)
			}
			parts := nonEmpty(revision, runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH)
			fmt.Fprintf(g.stdout, "quorate %s (%s)\n", version, strings.Join(parts, ", "))
			var list []string
			for i, n := range names {
				list = append(list, n+" "+libs[paths[i]])
			}
			fmt.Fprintln(g.stdout, strings.Join(list, ", "))
			return nil
		},
	}
	g.outputFlag(c)
	return c
}
