package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/quorate/quorate/config/migrate"
	"github.com/spf13/cobra"
)

func migrateCommand(g *globals) *cobra.Command {
	var o migrate.Options
	var verbose bool
	c := &cobra.Command{
		Use:     "migrate FILE...",
		Short:   "Convert a configuration of httpd or WildFly",
		GroupID: groupMaintain,
		Long: `Writes quorate.yaml to stdout and to stderr what became of every directive:
= copied, ~ converted, ! to be done by hand, - not needed (with --verbose).
Secrets become files of their own. Exit 3 when something is left to be done by hand.`,
		Example: `  quorate migrate /etc/httpd/conf/httpd.conf > quorate.yaml
  quorate migrate -D CLUSTER --verbose httpd.conf > quorate.yaml
  quorate migrate standalone-load-balancer.xml > quorate.yaml`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			folder, err := filepath.Abs(o.Secrets)
			if err != nil {
				return err
			}
			o.Secrets = folder
			r, err := migrate.Convert(disk{}, args, o)
			if err != nil {
				return configError{err}
			}
			if len(r.Secrets) > 0 {
				if err := os.MkdirAll(folder, 0o700); err != nil {
					return err
				}
			}
			for _, s := range r.Secrets {
				if err := keepSecret(filepath.Join(folder, s.Name), s.Text); err != nil {
					return err
				}
			}
			if g.output == "json" {
				e := json.NewEncoder(g.stdout)
				e.SetIndent("", "  ")
				err = e.Encode(map[string]any{"yaml": string(r.Document), "report": r.Items, "warnings": r.Warnings})
			} else if _, err = g.stdout.Write(r.Document); err == nil {
				fmt.Fprint(g.stderr, r.Report(verbose))
			}
			if err == nil && r.Count(migrate.Manual) > 0 {
				return exit(3)
			}
			return err
		},
	}
	c.Flags().StringArrayVarP(&o.Defines, "define", "D", nil, "`NAME` that <IfDefine> knows, as httpd -D; may be repeated")
	c.Flags().StringVar(&o.Secrets, "secrets", ".", "`FOLDER` for the files with secrets")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "report what is not needed, too")
	g.outputFlag(c)
	return c
}

// keepSecret writes a file for its owner alone. One that is there stays, if it says the
// same.
func keepSecret(name string, text []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		old, err := os.ReadFile(name)
		if err == nil && !bytes.Equal(old, text) {
			err = fmt.Errorf("%s is there and holds something else: give another folder with --secrets", name)
		}
		return err
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// disk is migrate.Files.
type disk struct{}

func (disk) ReadFile(name string) ([]byte, error)  { return os.ReadFile(name) }
func (disk) Glob(pattern string) ([]string, error) { return filepath.Glob(pattern) }
