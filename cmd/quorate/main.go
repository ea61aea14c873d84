// Command quorate is the one binary: replica, example worker and the operator's
// tools. It wires the packages together; each of its subcommands has a file.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is main with its edges handed in. Exit codes: 0 done, 1 failed, 2 wrong
// use or configuration, 3 done with findings, 130 interrupted (interface.md §2).
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	g := &globals{stdin: stdin, stdout: stdout, stderr: stderr}
	root := rootCommand(g)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && strings.HasPrefix(err.Error(), "unknown command") { // cobra's own, with what is near
		text, near, ok := strings.Cut(strings.Join(strings.Fields(err.Error()), " "), " Did you mean this? ")
		if ok {
			text += "; did you mean " + near + "?"
		}
		err = usageError{errors.New(text)}
	}
	code := exitCode(err)
	var silent exit
	var usage usageError
	switch {
	case err == nil || errors.As(err, &silent):
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "quorate: %v\n  Run %q.\n", err, cmd.CommandPath()+" --help")
	default:
		var own ownText
		if errors.As(err, &own) {
			fmt.Fprintln(stderr, own.Error())
			break
		}
		fmt.Fprintf(stderr, "quorate: %v\n", err)
		var h hinted
		if errors.As(err, &h) {
			fmt.Fprintf(stderr, "  %s\n", h.hint)
		}
	}
	if code == 1 && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return 130
	}
	return code
}

// exit ends a command with a code and says nothing more.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// usageError is wrong use: exit 2, and where help is.
type usageError struct{ error }

// configError is a wrong configuration: exit 2.
type configError struct{ error }

func (e configError) Unwrap() error { return e.error }

// ownText is an error that is printed as it stands, without "quorate: ".
type ownText struct{ error }

// hinted is an error with a second line that says what to do.
type hinted struct {
	error
	hint string
}

func (e hinted) Unwrap() error { return e.error }

func exitCode(err error) int {
	var e exit
	var u usageError
	var c configError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return int(e)
	case errors.As(err, &u), errors.As(err, &c):
		return 2
	}
	return 1
}

const (
	groupStart    = "start"
	groupLook     = "look"
	groupMaintain = "maintain"
)

func rootCommand(g *globals) *cobra.Command {
	root := &cobra.Command{
		Use:           "quorate",
		Short:         "A highly available HTTP load balancer for Tomcat, WildFly and all workers that speak MCMP",
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(g.stdout)
	root.SetErr(g.stderr)
	root.AddGroup(&cobra.Group{ID: groupStart, Title: "Start:"}, &cobra.Group{ID: groupLook, Title: "Look:"},
		&cobra.Group{ID: groupMaintain, Title: "Maintain:"})
	root.SetHelpCommandGroupID(groupMaintain)
	root.SetCompletionCommandGroupID(groupMaintain)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().BoolVar(&g.noColor, "no-color", false, "no colour on a terminal")
	root.AddCommand(serveCommand(g), demoCommand(g), initCommand(g), secretCommand(g), statusCommand(g), workersCommand(g),
		healthCommand(g), configCommand(g), migrateCommand(g), versionCommand(g))
	wrapArgs(root)
	return root
}

// wrapArgs makes cobra's complaints about arguments and unknown commands usage errors.
func wrapArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError{errors.New(strings.TrimSpace(strings.ReplaceAll(err.Error(), "\n", " ")))}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		wrapArgs(sub)
	}
}
