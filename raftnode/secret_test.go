package raftnode

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSecretDerivesTheSameEverywhere(t *testing.T) {
	s := NewSecret()
	one, err := s.authority()
	if err != nil {
		t.Fatal(err)
	}
	two, err := s.authority()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one.Raw, two.Raw) {
		t.Error("one secret, two authorities")
	}
	other, err := NewSecret().authority()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(one.RawSubjectPublicKeyInfo, other.RawSubjectPublicKeyInfo) {
		t.Error("two secrets, one authority")
	}
	if key := s.GossipKey(); len(key) != 32 || !bytes.Equal(key, s.GossipKey()) || bytes.Equal(key, s.authorityKey().Seed()) {
		t.Errorf("gossip key of %d bytes", len(key))
	}
}

// A released version's derivation must never change: a rolling upgrade would split the cluster.
func TestSecretDerivationIsFixed(t *testing.T) {
	var s Secret
	for i := range s {
		s[i] = byte(i)
	}
	if got, want := fmt.Sprintf("%x", s.GossipKey()), "3674fda4b79b2a354760925aab7f41cc70cbf9c9e670cf0ad30cd645baf04736"; got != want {
		t.Errorf("gossip key %s, want %s", got, want)
	}
	if got, want := fmt.Sprintf("%x", s.authorityKey().Seed()), "cff860ae31f1cdf1f395d31b2034499f3e78e9c0185c7f6a3b0d1f49e3af7dd1"; got != want {
		t.Errorf("seed of the authority %s, want %s", got, want)
	}
}

func TestMintedCertificate(t *testing.T) {
	s := NewSecret()
	creds, err := NewCredentials("some-id", []Secret{s})
	if err != nil {
		t.Fatal(err)
	}
	leaf := creds.leaf.Leaf
	if leaf == nil {
		t.Fatal("no parsed leaf")
	}
	if leaf.Subject.CommonName != "some-id" {
		t.Errorf("common name %q", leaf.Subject.CommonName)
	}
	if leaf.NotBefore.Year() != 1970 || leaf.NotAfter.Year() != 9999 {
		t.Errorf("valid from %s to %s", leaf.NotBefore, leaf.NotAfter)
	}
	if time.Until(leaf.NotAfter) < 0 {
		t.Error("expired")
	}
}

func TestParseSecrets(t *testing.T) {
	one, two := NewSecret(), NewSecret()
	for _, c := range []struct {
		name, text string
		want       []Secret
		wantErr    string
	}{
		{"one", one.Text(), []Secret{one}, ""},
		{"one with line end", one.Text() + "\n", []Secret{one}, ""},
		{"rotation", "# new\n" + one.Text() + "\r\n\n  " + two.Text() + "\n", []Secret{one, two}, ""},
		{"nothing", "\n# none\n", nil, "holds no secret"},
		{"too short", one.Text() + "\n" + two.Text()[:62], nil, "line 2: not a cluster secret"},
		{"not hex", strings.Repeat("x", 64), nil, "line 1: not a cluster secret"},
		{"one line of all", one.Text() + two.Text(), nil, "line 1: not a cluster secret"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseSecrets(c.text)
			if c.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantErr) {
					t.Fatalf("got %v, want it to say %q", err, c.wantErr)
				}
				return
			}
			if err != nil || fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("got %v, %v, want %v", got, err, c.want)
			}
		})
	}
}

func TestReadSecretFile(t *testing.T) {
	s := NewSecret()
	for _, c := range []struct {
		mode             os.FileMode
		warning, refusal string
	}{
		{0o600, "", ""},
		{0o400, "", ""},
		{0o640, "others may read it", ""},
		{0o444, "others may read it", ""},
		{0o620, "", "others may write it"},
		{0o602, "", "others may write it"},
	} {
		t.Run(fmt.Sprintf("%04o", c.mode), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secret")
			if err := os.WriteFile(path, []byte(s.Text()+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			got, warning, err := ReadSecretFile(path)
			if c.refusal != "" {
				if err == nil || !strings.Contains(err.Error(), c.refusal) {
					t.Fatalf("got %v, want it to say %q", err, c.refusal)
				}
				return
			}
			if err != nil || len(got) != 1 || got[0] != s {
				t.Errorf("got %v, %v", got, err)
			}
			if (warning == "") != (c.warning == "") || !strings.Contains(warning, c.warning) {
				t.Errorf("warning %q, want %q", warning, c.warning)
			}
		})
	}
	if _, _, err := ReadSecretFile(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("read a file that is not there")
	}
}

func TestSecretNeverPrinted(t *testing.T) {
	s := NewSecret()
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", s, "list", []Secret{s})
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", s, "list", []Secret{s})
	fmt.Fprintf(&out, "%v %s %+v", s, s, []Secret{s})
	number := strings.Trim(strings.ReplaceAll(fmt.Sprint([32]byte(s)), " ", ","), "[]")
	if strings.Contains(out.String(), s.Text()) || strings.Contains(out.String(), number) {
		t.Errorf("the secret itself: %s", out.String())
	}
}

func FuzzParseSecrets(f *testing.F) {
	f.Add(Secret{}.Text())
	f.Add("# a\n\n" + Secret{1}.Text() + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := ParseSecrets(text)
		if err != nil {
			return
		}
		var lines []string
		for _, s := range all {
			lines = append(lines, s.Text())
		}
		again, err := ParseSecrets(strings.Join(lines, "\n"))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(all) {
			t.Fatalf("%d secrets came back as %d, %v", len(all), len(again), err)
		}
	})
}
