package config

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write what comes out into testdata")

// inFolder makes a folder the working directory that has a secret, a certificate
// and its key, and the given files of testdata.
func inFolder(t testing.TB, files ...string) {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, filepath.Base(f)), string(text), 0o644)
	}
	cert, key := certificate(t)
	write(t, filepath.Join(dir, "secret.txt"), "0123456789abcdef0123456789abcdef\n", 0o600)
	write(t, filepath.Join(dir, "cert.pem"), cert, 0o644)
	write(t, filepath.Join(dir, "key.pem"), key, 0o600)
	t.Chdir(dir)
}

func write(t testing.TB, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}

func certificate(t testing.TB) (cert, key string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "quorate test"},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Unix(1<<34, 0),
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// golden compares got with the file, or writes it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *rewrite {
		write(t, file, got, 0o644)
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n%s\nwant\n%s", file, got, want)
	}
}

var (
	withKey    = regexp.MustCompile(`^[^:]+\.yaml:\d+: [^ :]+: .+: \S.*$`)
	withoutKey = regexp.MustCompile(`^[^:]+\.yaml:\d+: (not YAML: .+|a second document: .+|must be a section, .+)$`)
	countLine  = regexp.MustCompile(`^[^:]+\.yaml: \d+ errors?$`)
)

// Every broken configuration shows file, line, key, value and rule, the nearest key
// where there is one, all of a file at once, and how many they are.
func TestBroken(t *testing.T) {
	files, err := filepath.Glob("testdata/broken/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d broken configurations, %v", len(files), err)
	}
	testdata, err := filepath.Abs("testdata/broken")
	if err != nil {
		t.Fatal(err)
	}
	inFolder(t, files...)
	rules, nearest := 0, 0
	for _, f := range files {
		name := filepath.Base(f)
		t.Run(name, func(t *testing.T) {
			c, err := Load(Source{File: name})
			if _, ours := err.(Errors); !ours || c != nil {
				t.Fatalf("loads, or fails otherwise: %v", err)
			}
			lines := strings.Split(err.Error(), "\n")
			for i, line := range lines {
				switch last := i == len(lines)-1; {
				case last && countLine.MatchString(line), strings.HasPrefix(line, "  "):
				case !last && (withKey.MatchString(line) || withoutKey.MatchString(line)):
					rules++
					nearest += strings.Count(line, "did you mean")
				default:
					t.Errorf("not FILE:LINE: key: value: rule: %q", line)
				}
			}
			golden(t, filepath.Join(testdata, strings.TrimSuffix(name, ".yaml")+".want"), err.Error()+"\n")
		})
	}
	t.Logf("broken configurations: %d checked, %d errors in them, %d with the nearest key", len(files), rules, nearest)
}

func TestEffectiveGolden(t *testing.T) {
	effective, err := filepath.Abs("testdata/effective.want")
	if err != nil {
		t.Fatal(err)
	}
	inFolder(t, "testdata/quorate.yaml")
	c, err := Load(Source{
		File: "quorate.yaml",
		Env:  []string{"QUORATE_TRAFFIC__TIMEOUTS__IDLE=90s", "QUORATE_TRAFFIC__LISTENERS__1__ADDRESS=:8443"},
		Set:  []string{"shared.voters=5", "cluster.join[3]=lb4:7301"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := c.Effective(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, effective, b.String())
}

func TestStarterGolden(t *testing.T) { golden(t, "testdata/starter.want", Starter()) }
