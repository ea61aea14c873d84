package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/quorate/quorate/config"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// globals is what the subcommands share: streams and common flags.
type globals struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	noColor        bool
	output         string

	file string // --config
	set  []string

	addr, tokenFile, caFile, certFile, keyFile string
}

// configFlags are the flags of commands that read a configuration.
func (g *globals) configFlags(c *cobra.Command) {
	c.Flags().StringVar(&g.file, "config", os.Getenv("QUORATE_CONFIG"), "configuration `FILE` (QUORATE_CONFIG)")
	c.Flags().StringArrayVar(&g.set, "set", nil, "one key, as `KEY=VALUE`; repeatable")
	c.Flags().Var(levelFlag{g}, "log-level", "debug, info, warn or error; the same as --set log.level=`LEVEL`")
}

// levelFlag writes --log-level as the key it stands for.
type levelFlag struct{ g *globals }

func (levelFlag) String() string { return "" }
func (levelFlag) Type() string   { return "LEVEL" }
func (f levelFlag) Set(s string) error {
	f.g.set = append(f.g.set, "log.level="+s)
	return nil
}

// read reads the configuration that flags, environment and file make.
func (g *globals) read() (*config.Config, error) {
	return config.Load(config.Source{File: g.file, Set: g.set, Env: os.Environ()})
}

// load is read for a command: what is wrong is said in the words of package config.
func (g *globals) load() (*config.Config, error) {
	c, err := g.read()
	if err != nil {
		return nil, configError{ownText{err}}
	}
	for _, w := range c.Warnings {
		fmt.Fprintf(g.stderr, "quorate: warning: %s\n", w)
	}
	return c, nil
}

// clientFlags are the flags of commands that ask a running replica.
func (g *globals) clientFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&g.addr, "addr", envOr("QUORATE_ADDR", defaultAddr), "admin address of a replica, `HOST:PORT` or URL (QUORATE_ADDR)")
	f.StringVar(&g.tokenFile, "token-file", os.Getenv("QUORATE_TOKEN_FILE"), "`FILE` with a token (QUORATE_TOKEN_FILE)")
	f.StringVar(&g.caFile, "ca-file", "", "`FILE` with the authorities to trust")
	f.StringVar(&g.certFile, "cert-file", "", "client certificate `FILE`")
	f.StringVar(&g.keyFile, "key-file", "", "its key `FILE`")
	g.outputFlag(c)
}

func (g *globals) outputFlag(c *cobra.Command) {
	g.output = "text"
	c.Flags().VarP(outputFlag{g}, "output", "o", "text or json")
}

type outputFlag struct{ g *globals }

func (f outputFlag) String() string {
	if f.g == nil {
		return ""
	}
	return f.g.output
}
func (outputFlag) Type() string { return "FORMAT" }
func (f outputFlag) Set(s string) error {
	if s != "text" && s != "json" {
		return fmt.Errorf("must be text or json")
	}
	f.g.output = s
	return nil
}

func envOr(key, other string) string {
	if v := os.Getenv(key); v != "" {
		return v
	}
	return other
}

// colour says whether status words are painted: a terminal, and nobody objects.
func (g *globals) colour() colour {
	return colour(isTerminal(g.stdout) && !g.noColor && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
}

func (g *globals) stderrTerminal() bool { return isTerminal(g.stderr) }

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// progress says what a command waits for: on a terminal one line, rewritten at
// most five times a second; elsewhere a line at the start and each ten seconds.
type progress struct {
	w        io.Writer
	terminal bool
	last     time.Time
	open     bool
}

func (p *progress) say(format string, args ...any) {
	pause := 10 * time.Second
	if p.terminal {
		pause = 200 * time.Millisecond
	}
	if !p.last.IsZero() && time.Since(p.last) < pause {
		return
	}
	p.last = time.Now()
	text := fmt.Sprintf(format, args...)
	if p.terminal {
		fmt.Fprintf(p.w, "\r\x1b[K%s", text)
		p.open = true
		return
	}
	fmt.Fprintln(p.w, strings.TrimSpace(text))
}

func (p *progress) end() {
	if p.open {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
