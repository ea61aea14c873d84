package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/quorate/quorate/config"
	"github.com/quorate/quorate/raftnode"
	"github.com/spf13/cobra"
)

func configCommand(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:     "config",
		Short:   "Check and show configurations",
		GroupID: groupMaintain,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	check := &cobra.Command{
		Use:   "check FILE",
		Short: "Say whether a file is valid, and what is wrong with it",
		Long:  "Shows all errors of the file at once, each with its line. Exit 2 when there are any.",
		Example: `  quorate config check quorate.yaml
  quorate config check quorate.yaml --set traffic.listeners=:8000`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			g.file = args[0]
			conf, err := g.load()
			if err != nil {
				return err
			}
			if _, err := secretsOf(conf); err != nil {
				return err
			}
			if _, err := advertiseKey(conf); err != nil {
				return err
			}
			fmt.Fprintf(g.stdout, "%s: valid, %s set\n", filepath.Base(args[0]), plural(conf.KeysSet(), "key", "keys"))
			return nil
		},
	}
	g.configFlags(check)
	var effective bool
	show := &cobra.Command{
		Use:   "print",
		Short: "Print a commented starter, or every key with its source",
		Example: `  quorate config print > quorate.yaml
  quorate config print --effective --config quorate.yaml`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if !effective && g.file == "" {
				_, err := io.WriteString(g.stdout, config.Starter())
				return err
			}
			conf, err := g.load()
			if err != nil {
				return err
			}
			return conf.Effective(g.stdout)
		},
	}
	g.configFlags(show)
	show.Flags().BoolVar(&effective, "effective", false, "every key with its value and where it comes from")
	c.AddCommand(check, show)
	return c
}

func secretCommand(g *globals) *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:     "secret",
		Short:   "Make a new cluster secret",
		GroupID: groupStart,
		Long:    "Whoever has the secret belongs to the cluster: every replica gets the same file.",
		Example: `  quorate secret --out /etc/quorate/secret
  quorate secret`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if out == "" {
				_, err := fmt.Fprintln(g.stdout, raftnode.NewSecret().Text())
				return err
			}
			f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if os.IsExist(err) {
				if info, err := os.Stat(out); err == nil && info.IsDir() {
					return usageError{fmt.Errorf("--out: %s is a directory: name a file", out)}
				}
				if _, _, err := raftnode.ReadSecretFile(out); err != nil {
					return err
				}
				fmt.Fprintf(g.stdout, "%s is there already and was kept.\n", out)
				return nil
			}
			if err != nil {
				return err
			}
			defer f.Close()
			if _, err := fmt.Fprintln(f, raftnode.NewSecret().Text()); err != nil {
				return err
			}
			if err := f.Sync(); err != nil {
				return err
			}
			fmt.Fprintf(g.stdout, "%s written: copy it to every replica.\n", out)
			return nil
		},
	}
	c.Flags().StringVar(&out, "out", "", "write it to `FILE`, readable by you alone; a file that is there is kept")
	return c
}
