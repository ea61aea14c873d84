package raftnode

import (
	"bufio"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Secret makes a cluster: who knows it is a member (design.md §5). Everything else is
// derived from it by HKDF-SHA256 (RFC 5869):
//
//	secret ──"quorate gossip key v1"────────────► AES-256 key of gossip
//	       └─"quorate certificate authority v1"─► ed25519 seed of the CA that mints
//	                                              each replica's certificate
type Secret [32]byte

// NewSecret returns a fresh random secret.
func NewSecret() Secret {
	var s Secret
	rand.Read(s[:]) // never fails: crypto/rand
	return s
}

// Text is the secret as one line of a secret file: 64 hex digits, without a line end.
func (s Secret) Text() string { return hex.EncodeToString(s[:]) }

// String tells secrets apart without telling them: a secret in a log is a lost secret.
func (s Secret) String() string {
	sum := sha256.Sum256(s[:])
	return "secret " + hex.EncodeToString(sum[:4])
}

// MarshalText tells no more than String: JSON logs ask for it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// GossipKey is the 32 byte key gossip encrypts with.
func (s Secret) GossipKey() []byte { return s.derive("quorate gossip key v1", 32) }

// authorityKey is the private key of the cluster's certificate authority, the same on
// every replica and at every start.
func (s Secret) authorityKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(s.derive("quorate certificate authority v1", ed25519.SeedSize))
}

func (s Secret) derive(what string, length int) []byte {
	key, err := hkdf.Key(sha256.New, s[:], nil, what, length)
	if err != nil {
		panic(err) // only for a length above 255 hashes
	}
	return key
}

// ParseSecrets reads the text of a secret file: one secret a line, empty lines and
// lines that begin with # do not count. The first secret is used, all are accepted. An
// error names the line and never quotes it.
func ParseSecrets(text string) ([]Secret, error) {
	var all []Secret
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		b, err := hex.DecodeString(line)
		if err != nil || len(b) != len(Secret{}) {
			return nil, fmt.Errorf("line %d: not a cluster secret: must be 64 hex digits, as `quorate secret` prints", n)
		}
		all = append(all, Secret(b))
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("not a secret file: %w", err)
	}
	if len(all) == 0 {
		return nil, errors.New("holds no secret: `quorate secret` prints one")
	}
	return all, nil
}

// ReadSecretFile reads a secret file (interface.md §1): one that others than its owner
// may write is refused, one that they may read is reported in warning, else "".
func ReadSecretFile(path string) (all []Secret, warning string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, "", fmt.Errorf("secret file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, "", fmt.Errorf("secret file: %w", err)
	}
	mode := info.Mode().Perm()
	if mode&0o022 != 0 {
		return nil, "", fmt.Errorf("secret file %s: mode %04o: others may write it; chmod 0600", path, mode)
	}
	if mode&0o044 != 0 {
		warning = fmt.Sprintf("secret file %s: mode %04o: others may read it; chmod 0600", path, mode)
	}
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return nil, "", fmt.Errorf("secret file: %w", err)
	}
	if all, err = ParseSecrets(string(b)); err != nil {
		return nil, "", fmt.Errorf("secret file %s: %w", path, err)
	}
	return all, warning, nil
}
