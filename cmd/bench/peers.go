//go:build linux

package main

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
)

//go:embed conf
var confFiles embed.FS

// setup is what the configuration of a proxy is made from.
type setup struct {
	Dir         string // its own; configuration, logs, data
	Port        int
	PortTLS     int
	PortMCMP    int
	PortAdmin   int
	Cert, Key   string // PEM files
	PEM         string // both in one file
	Threads     int
	Connections int // it must hold so many at once
	Files       int // limit of open files
	Groups      []group
	Table       bool     // Groups are many
	Packet      int      // bytes of an AJP packet; 0: the workers speak HTTP
	Register    bool     // workers tell it of themselves by MCMP
	Modules     []module // of httpd
}

// group is workers that serve the same contexts. The first group is the real one.
type group struct {
	Name     string
	Workers  []worker
	Contexts []string
}

type module struct{ Name, File string }

// peer is one kind of proxy.
type peer struct {
	name     string
	title    string
	program  string   // looked for in PATH and in the sbin folders; "": made here
	version  []string // arguments that print the version
	conf     string   // in conf/
	args     func(s *setup) []string
	register bool
	bare     bool   // no access log, no sessions
	optional string // it takes part only where this file exists
	modules  []string
}

const httpdModules = "/usr/lib/apache2/modules/"

func usualModules() []string {
	return []string{"mpm_event", "authz_core", "ssl", "socache_shmcb", "http2", "slotmem_shm", "proxy", "proxy_http", "proxy_wstunnel"}
}

// allPeers: the first is what the others are divided by in the tables.
func allPeers() []*peer {
	httpd := func(s *setup) []string { return []string{"-D", "FOREGROUND", "-f", s.Dir + "/httpd.conf"} }
	return []*peer{
		{name: "haproxy", title: "HAProxy", program: "haproxy", version: []string{"-v"}, conf: "haproxy.cfg",
			args: func(s *setup) []string { return []string{"-db", "-f", s.Dir + "/haproxy.cfg"} }},
		{name: "nginx", title: "nginx", program: "nginx", version: []string{"-v"}, conf: "nginx.conf",
			args: func(s *setup) []string {
				return []string{"-p", s.Dir, "-e", s.Dir + "/error.log", "-c", s.Dir + "/nginx.conf"}
			}},
		{name: "httpd", title: "Apache httpd", program: "apache2", version: []string{"-v"}, conf: "httpd.conf", args: httpd,
			modules: append(usualModules(), "proxy_balancer", "lbmethod_byrequests", "proxy_hcheck")},
		{name: "mod_proxy_cluster", title: "mod_proxy_cluster", program: "apache2", version: []string{"-v"}, conf: "httpd.conf", args: httpd,
			register: true, optional: httpdModules + "mod_proxy_cluster.so",
			modules: append(usualModules(), "proxy_hcheck", "manager", "proxy_cluster")},
		{name: "caddy", title: "Caddy", program: "caddy", version: []string{"version"}, conf: "Caddyfile",
			args: func(s *setup) []string {
				return []string{"run", "--adapter", "caddyfile", "--config", s.Dir + "/Caddyfile"}
			}},
		{name: "reverseproxy", title: "ReverseProxy", bare: true,
			args: func(s *setup) []string {
				args := []string{"reverseproxy", "127.0.0.1:" + strconv.Itoa(s.Port)}
				for _, w := range s.Groups[0].Workers {
					args = append(args, w.Address)
				}
				return args
			}},
		{name: "quorate", title: "quorate", version: []string{"version"}, conf: "quorate.yaml", register: true,
			args: func(s *setup) []string { return []string{"serve", "--config", s.Dir + "/quorate.yaml"} }},
	}
}

// find is where program is; Debian keeps daemons out of a user's PATH.
func find(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed: .ci/install bench", program)
}

var aVersion = regexp.MustCompile(`\d+\.\d+[0-9A-Za-z.+~-]*|\bdev\b|\b[0-9a-f]{7,}\b`)

// versionOf runs program with its arguments for that and takes the number out.
func versionOf(program string, args []string) (string, error) {
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, tail(out))
	}
	line, _, _ := bytes.Cut(out, []byte("\n"))
	if v := aVersion.Find(line); v != nil {
		return string(v), nil
	}
	return strings.TrimSpace(string(line)), nil
}

// write puts the configuration of p into its folder.
func (p *peer) write(s *setup) error {
	modules := p.modules
	if s.Packet > 0 && p.name == "httpd" {
		modules = append(slices.Clone(modules), "proxy_ajp", "env")
	}
	for _, m := range modules {
		s.Modules = append(s.Modules, module{m, httpdModules + "mod_" + m + ".so"})
	}
	if s.Table {
		if err := os.WriteFile(s.Dir+"/contexts.map", contextMap(s.Groups), 0o644); err != nil {
			return err
		}
	}
	if p.conf == "" {
		return nil
	}
	t, err := template.ParseFS(confFiles, "conf/"+p.conf)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, p.conf, s); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.Dir, p.conf), b.Bytes(), 0o644)
}

// contextMap is the file by which haproxy finds the group of a path.
func contextMap(groups []group) []byte {
	var b bytes.Buffer
	for _, g := range groups {
		for _, c := range g.Contexts {
			fmt.Fprintf(&b, "%s/ %s\n", c, g.Name)
		}
	}
	return b.Bytes()
}

// groupsOf gives workers their contexts: the first four the one that is asked for,
// or, in the table of 1,000 workers, 50 contexts for every group of about 50.
func groupsOf(workers []worker, table bool) []group {
	groups := []group{{Name: "g0", Workers: workers[:4], Contexts: []string{contextReal}}}
	if !table {
		return groups
	}
	const together, contexts = 50, 50
	for i := 1; i < contexts; i++ {
		groups[0].Contexts = append(groups[0].Contexts, fmt.Sprintf("%s%d", contextReal, i))
	}
	for rest := workers[4:]; len(rest) > 0; {
		n := min(together, len(rest))
		g := group{Name: fmt.Sprintf("g%d", len(groups)), Workers: rest[:n]}
		for i := range contexts {
			g.Contexts = append(g.Contexts, fmt.Sprintf("/shop%dc%d", len(groups), i))
		}
		groups, rest = append(groups, g), rest[n:]
	}
	return groups
}
