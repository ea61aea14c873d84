package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"reflect"
)

// Source says where a configuration comes from. Later ones win: defaults, File, Env, Set.
type Source struct {
	File string   // path of the YAML file; "" = none
	Env  []string // KEY=VALUE as of os.Environ; what is not ours is ignored
	Set  []string // KEY=VALUE, as --set takes them
}

const (
	maxFile      = 1 << 20 // bytes
	dirWithout   = "./quorate-data"
	notAvailable = "not available in this version"
)

// Load reads, merges and checks a configuration. A file that cannot be read is an
// error that wraps the cause; everything wrong with the contents is one Errors.
// Relative file names count from the working directory.
func Load(s Source) (*Config, error) {
	l := &loader{
		config: &Config{origins: origins{}},
		errs:   Errors{File: s.File},
		bad:    map[string]string{},
	}
	root := reflect.ValueOf(l.config).Elem()
	setDefaults(root)
	if s.File == "" {
		l.config.Replica.DataDir = dirWithout
	} else if err := l.file(root, s.File); err != nil {
		return nil, err
	}
	l.environment(root, s.Env)
	l.flags(root, s.Set)
	l.settle()
	l.check(root)
	if len(l.errs.List) > 0 {
		l.errs.sort()
		return nil, l.errs
	}
	return l.config, nil
}

// loader collects what one Load finds.
type loader struct {
	config *Config
	errs   Errors
	bad    map[string]string // keys that have an error, and the place of it
}

// fail notes a broken rule of the value at path; of one place only the first counts.
func (l *loader) fail(at origin, path, value, rule, advice string) {
	if l.bad[path] == at.place {
		return
	}
	l.bad[path] = at.place
	l.errs.List = append(l.errs.List, Error{at.place, path, value, rule, advice, at.order})
}

// settle fills in the defaults that depend on other values.
func (l *loader) settle() {
	c := l.config
	if c.Replica.Name == "" {
		name, err := os.Hostname()
		if err != nil {
			l.fail(c.origins.find("replica.name"), "replica.name", "", "no host name: "+err.Error(), "give replica.name")
		}
		c.Replica.Name = name
	}
	for i := range c.Shared.Rules {
		r := &c.Shared.Rules[i]
		if r.Action == "redirect" && !c.origins.under(indexed("shared.rules", i)+".status") {
			r.Status = 302
		}
	}
}

// readFile returns a file of at most maxFile bytes.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, cause(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, cause(err)
	}
	if len(text) > maxFile {
		return nil, errors.New("larger than 1 MiB")
	}
	return text, nil
}

// cause drops the operation and the name from an error of package os.
func cause(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fs.ErrNotExist
	}
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
