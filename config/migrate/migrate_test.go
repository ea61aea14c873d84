package migrate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/config"
	"go.yaml.in/yaml/v3"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// folder is Files of a folder: names in a configuration count from it.
type folder string

func (f folder) path(name string) string {
	name = strings.TrimPrefix(name, "/etc/apache2/")
	return filepath.Join(string(f), name)
}

func (f folder) ReadFile(name string) ([]byte, error) { return os.ReadFile(f.path(name)) }

func (f folder) Glob(pattern string) ([]string, error) {
	names, err := filepath.Glob(f.path(pattern))
	for i, n := range names {
		names[i] = filepath.ToSlash(strings.TrimPrefix(n, string(f)+string(filepath.Separator)))
	}
	return names, err
}

// one converts a case of testdata.
func one(t *testing.T, name string) *Result {
	t.Helper()
	dir := filepath.Join("testdata", name)
	mains, err := filepath.Glob(dir + "/httpd.conf")
	if err == nil && len(mains) == 0 {
		mains, err = filepath.Glob(dir + "/*.xml")
	}
	if err != nil || len(mains) != 1 {
		t.Fatalf("%s: %v, %v", dir, mains, err)
	}
	var o Options
	if defines, err := os.ReadFile(dir + "/defines"); err == nil {
		o.Defines = strings.Fields(string(defines))
	}
	o.Secrets = "/etc/quorate"
	r, err := Convert(folder(dir), []string{filepath.Base(mains[0])}, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func cases(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && e.Name() != "fuzz" {
			names = append(names, e.Name())
		}
	}
	if len(names) < 10 {
		t.Fatalf("%d cases, want ten", len(names))
	}
	return names
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; look at it with -rewrite:\n%s", file, got)
	}
}

// Every configuration gives its document and its report, and the document is good.
func TestGolden(t *testing.T) {
	for _, name := range cases(t) {
		t.Run(name, func(t *testing.T) {
			r := one(t, name)
			golden(t, filepath.Join("testdata", name, "quorate.yaml"), string(r.Document))
			golden(t, filepath.Join("testdata", name, "report.txt"), r.Report(true))
			check(t, r)
		})
	}
}

// No line is dropped: each but comments and ends of sections is in the report.
func TestEveryLineIsReported(t *testing.T) {
	for _, name := range cases(t) {
		r := one(t, name)
		told := map[string]bool{}
		files := map[string]bool{}
		for _, i := range r.Items {
			told[place(i)] = true
			files[i.File] = true
		}
		n := 0
		for file := range files {
			if strings.HasSuffix(file, ".xml") {
				continue // TestEveryElementIsReported
			}
			text, err := os.ReadFile(filepath.Join("testdata", name, file))
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range lines(text) {
				n++
				if at := place(Item{File: file, Line: l.number}); !told[at] && !strings.HasPrefix(l.text, "</") {
					t.Errorf("%s: %s: %s is not in the report", name, at, l.text)
				}
			}
		}
		t.Logf("%s: %d lines", name, n)
	}
}

// No element of the two subsystems is dropped, and none of its attributes but its name.
func TestEveryElementIsReported(t *testing.T) {
	for _, name := range cases(t) {
		mains, err := filepath.Glob(filepath.Join("testdata", name, "*.xml"))
		if err != nil || len(mains) == 0 {
			continue
		}
		text, err := os.ReadFile(mains[0])
		if err != nil {
			t.Fatal(err)
		}
		root, _, err := parseXML(text)
		if err != nil {
			t.Fatal(err)
		}
		told := map[string]bool{}
		for _, i := range one(t, name).Items {
			told[place(i)+" "+i.Directive] = true
			told[place(i)+" "+strings.Fields(i.Directive)[0]] = true
		}
		n := 0
		var look func(*element)
		look = func(e *element) {
			for _, in := range e.children {
				at := place(Item{File: filepath.Base(mains[0]), Line: in.line}) + " " + in.name
				if n++; !told[at] && !slices.Contains([]string{"filters", "server", "host"}, in.name) {
					t.Errorf("%s: %s is not in the report", name, at)
				}
				for _, a := range in.attrs {
					if n++; a.name != "name" && !told[at+" "+a.name] {
						t.Errorf("%s: %s %s is not in the report", name, at, a.name)
					}
				}
				look(in)
			}
		}
		for _, sub := range root.find("subsystem") {
			if sub.subsystem("undertow") || sub.subsystem("modcluster") {
				look(sub)
			}
		}
		if n == 0 && !root.subsystem("undertow") {
			t.Errorf("%s: no subsystem", name)
		}
	}
}

var fileKey = regexp.MustCompile(`(?:cert_file|key_file|ca_file|client_ca_file): ([^\s,}]+)`)

// check loads the document as quorate does. The files it names are put where they can
// be: certificates and keys are all one pair.
func check(t *testing.T, r *Result) {
	t.Helper()
	dir := t.TempDir()
	text := string(r.Document)
	for _, m := range fileKey.FindAllStringSubmatch(text, -1) {
		write(t, filepath.Join(dir, m[1]), pair(t))
	}
	for _, s := range r.Secrets {
		write(t, filepath.Join(dir, "/etc/quorate", s.Name), s.Text)
	}
	text = strings.ReplaceAll(text, " /etc/", " "+dir+"/etc/")
	file := filepath.Join(dir, "quorate.yaml")
	write(t, file, []byte(text))
	if _, err := config.Load(config.Source{File: file, Set: []string{"replica.name=lb1"}}); err != nil {
		t.Errorf("the document is refused: %v\n%s", err, r.Document)
	}
}

func write(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// pair is a certificate and its key in one file.
func pair(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"x"}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if pairPEM == nil {
		pairPEM = slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	return pairPEM
}

var pairPEM []byte

// Every directive of the page is in a report, and each of its lines has a kind.
func TestEveryDirectiveIsReported(t *testing.T) {
	text, err := os.ReadFile("testdata/directives")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]map[Kind]bool{}
	for _, name := range cases(t) {
		for _, i := range one(t, name).Items {
			if !strings.ContainsRune("=~!-", rune(i.Kind)) || i.Line == 0 || i.File == "" {
				t.Errorf("%s: %+v", name, i)
			}
			words := strings.Fields(i.Directive)
			for _, w := range append(words[len(words)-1:], words[0]) {
				w = strings.ToLower(w)
				if kinds[w] == nil {
					kinds[w] = map[Kind]bool{}
				}
				kinds[w][i.Kind] = true
			}
		}
	}
	n := 0
	var table strings.Builder // which kinds a directive has in the reports
	for _, name := range strings.Fields(string(text)) {
		n++
		if len(kinds[strings.ToLower(name)]) == 0 {
			t.Errorf("%s is in no report", name)
		}
		table.WriteString(name)
		for _, k := range slices.Sorted(maps.Keys(kinds[strings.ToLower(name)])) {
			table.WriteString(" " + string(rune(k)))
		}
		table.WriteByte('\n')
	}
	golden(t, "testdata/kinds", table.String())
	if n < 150 {
		t.Errorf("only %d directives are asked for", n)
	}
	t.Logf("figure: %d directives of the page, all in a report; %d names in all", n, len(slices.Collect(maps.Keys(kinds))))
}

// Nothing of a secret is in the document, the report or the items.
func TestSecretsAreHidden(t *testing.T) {
	for name, secrets := range map[string][]string{
		"mod_proxy_cluster-2": {"not so secret"},
		"advertise":           {"s3cr3t-key"},
		"load-balancer":       {"topsecret"},
		"secrets":             {"defined-one", "second-one", "ajp-part", "user-part", "basic-part", "skipped-one", "host-one", "${UNKNOWN}"},
	} {
		r := one(t, name)
		for n, secret := range secrets {
			if strings.Contains(string(r.Document), secret) || strings.Contains(r.Report(true), secret) || strings.Contains(fmt.Sprintf("%+v", r.Items), secret) {
				t.Errorf("%s: %s is told", name, secret)
			}
			if n == 0 && !slices.ContainsFunc(r.Secrets, func(s Secret) bool { return string(s.Text) == secret+"\n" }) {
				t.Errorf("%s: the secret is lost: %q", name, r.Secrets)
			}
		}
	}
	_, err := Convert(memory("AJPSecret \"half-open\n"), []string{"x"}, Options{})
	if err == nil || strings.Contains(err.Error(), "half") {
		t.Errorf("an error tells the secret: %v", err)
	}
}

// What cannot be converted says where and why.
func TestErrors(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"empty":         {"# nothing\n", "x.conf: no directive is in it: not a configuration"},
		"open":          {"Listen 1\n<VirtualHost *:80>\n", "x.conf: <VirtualHost> is not closed"},
		"closed":        {"Listen 1\n</VirtualHost>\n", "x.conf:2: </VirtualHost> closes nothing"},
		"other":         {"<VirtualHost *:80>\n</Location>\n", "x.conf:2: </Location> closes nothing"},
		"quote":         {"Listen \"1\n", "x.conf:1: Listen: a quote is not closed"},
		"no end":        {"<VirtualHost *:80\nListen 1\n", "x.conf:1: <VirtualHost: > is missing"},
		"forward proxy": {"Listen 1\nProxyRequests On\n", "x.conf:2: ProxyRequests On: a forward proxy; quorate is none, and this is not converted"},
		"itself":        {"Include x.conf\n", "x.conf: files include each other without end"},
		"no include":    {"Include\n", "x.conf:1: Include names no file"},
		"xml":           {"<?xml version='1.0'?>\n<server>\n<a></b>", "x.conf:3: XML syntax error on line 3: element <a> closed by </b>"},
		"other xml":     {"<?xml version='1.0'?>\n<project/>", "x.conf:2: <project>: no configuration of WildFly"},
		"two elements":  {"<server/><server/>", "x.conf: no element is in it"},
	} {
		dir := t.TempDir()
		write(t, dir+"/x.conf", []byte(c.text))
		_, err := Convert(folder(dir), []string{"x.conf"}, Options{})
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if _, err := Convert(folder(t.TempDir()), []string{"gone.conf"}, Options{}); err == nil || err.Error() != "gone.conf: no such file or directory" {
		t.Errorf("no file: %v", err)
	}
}

// memory is Files of one text.
type memory []byte

func (m memory) ReadFile(string) ([]byte, error)       { return m, nil }
func (m memory) Glob(pattern string) ([]string, error) { return []string{pattern}, nil }

// seeds are files of testdata.
func seeds(f *testing.F, patterns ...string) {
	for _, pattern := range patterns {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			f.Fatal(pattern, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
}

// laws hold whatever is given: each item has a place and a kind, the report has a line
// for each, and the document is YAML.
func laws(t *testing.T, text []byte) *Result {
	r, err := Convert(memory(text), []string{"x"}, Options{Defines: []string{"A"}})
	if err != nil {
		return nil
	}
	for _, i := range r.Items {
		if !strings.ContainsRune("=~!-", rune(i.Kind)) || i.Line == 0 || i.File != "x" {
			t.Fatalf("%+v has no kind or no place", i)
		}
	}
	if got, want := strings.Count(r.Report(true), "\n"), len(r.Items)+len(r.Warnings)+1; got != want {
		t.Fatalf("the report has %d lines, want %d", got, want)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(r.Document, &root); err != nil {
		t.Fatalf("%v in\n%s", err, r.Document)
	}
	return r
}

// FuzzHTTPD: no line of what is converted is missing from the report.
func FuzzHTTPD(f *testing.F) {
	seeds(f, "testdata/*/httpd.conf", "testdata/*/*/*.conf")
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 16<<10 || isXML(text) {
			return
		}
		r := laws(t, text)
		if r == nil {
			return
		}
		told := map[int]bool{}
		for _, i := range r.Items {
			told[i.Line] = true
		}
		for _, l := range lines(text) {
			if !told[l.number] && !strings.HasPrefix(l.text, "</") {
				t.Fatalf("line %d is not in the report: %q", l.number, l.text)
			}
		}
	})
}

func FuzzWildFly(f *testing.F) {
	seeds(f, "testdata/*/*.xml")
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) <= 64<<10 && isXML(text) {
			laws(t, text)
		}
	})
}
