package raftnode

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
)

// identity is replica.json: who this replica is, for as long as its directory lives.
type identity struct {
	ID        string    `json:"id"`         // UUID, made on first start
	ClusterID string    `json:"cluster_id"` // "" until it belongs to a cluster
	Created   time.Time `json:"created"`
	Version   string    `json:"version"` // of the program that last ran here

	Promise *Promise `json:"promise,omitempty"` // given before the cluster was formed
	Known   []known  `json:"known,omitempty"`   // the other members as last heard of
}

// known is what outlives a restart of another member: a replica that starts while the
// others are down can still say who they are and where to look for them.
type known struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Address string `json:"address"` // host:port of the cluster port
}

// Promise is given once by a replica with an empty log (design.md §5, Start): it will
// be formed into this cluster with these replicas and no other.
type Promise struct {
	ClusterID string   `json:"cluster_id"`
	Replicas  []string `json:"replicas"` // ids, sorted; the first one forms the cluster
}

func (p *Promise) equal(q *Promise) bool {
	if p == nil || q == nil {
		return p == q
	}
	return p.ClusterID == q.ClusterID && strings.Join(p.Replicas, " ") == strings.Join(q.Replicas, " ")
}

// home is the data directory: held by one process at a time, its replica.json
// rewritten as a whole.
type home struct {
	dir  string
	lock *os.File
	made bool // there was no replica.json

	writing sync.Mutex // orders writers of the file

	mu sync.Mutex // guards is; never held during a write
	is identity
}

// openHome locks dir, which it makes if need be, and reads replica.json. Without one it
// makes up a new identity, which claim writes.
func openHome(dir string, now time.Time) (*home, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	h := &home{dir: dir, lock: lock}
	if err := h.read(now); err != nil {
		_ = h.close()
		return nil, err
	}
	return h, nil
}

func (h *home) read(now time.Time) error {
	b, err := os.ReadFile(h.path())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		h.made, h.is = true, identity{ID: uuid.NewString(), Created: now.UTC()}
		return nil
	case err != nil:
		return err
	}
	if err := json.Unmarshal(b, &h.is); err != nil {
		return fmt.Errorf("%s: %w", h.path(), err)
	}
	if _, err := uuid.Parse(h.is.ID); err != nil {
		return fmt.Errorf("%s: id %q: %w", h.path(), h.is.ID, err)
	}
	return nil
}

// claim writes that this program runs here from now on, and who it is if that is new. To
// be called once the log beside it is known to be that of this identity.
func (h *home) claim(version string) error {
	if !h.made && h.get().Version == version {
		return nil
	}
	return h.change(func(is *identity) error {
		is.Version = version
		return nil
	})
}

func (h *home) path() string { return filepath.Join(h.dir, "replica.json") }

// get returns what replica.json says. The caller does not modify what it points to.
func (h *home) get() identity {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.is
}

// change lets f change a copy and makes it durable. When it returns nil the file on
// disk says so. An error of f leaves everything as it was and is returned as it is.
func (h *home) change(f func(*identity) error) error {
	h.writing.Lock()
	defer h.writing.Unlock()
	next := h.get()
	if err := f(&next); err != nil {
		return err
	}
	if err := h.write(next); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.is = next
	return nil
}

// write replaces the file: a promise must not be half there after a power cut.
func (h *home) write(is identity) error {
	b, err := json.MarshalIndent(is, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(h.dir, "replica-*.tmp")
	if err != nil {
		return fmt.Errorf("write %s: %w", h.path(), err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(b, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), h.path())
	}
	if err == nil {
		err = syncDir(h.dir)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", h.path(), err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (h *home) close() error { return h.lock.Close() }

// lockDir takes the directory for this process. The file stays: removing it would let
// two processes lock two files of one name.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(path)
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w by process %s", dir, errInUse, strings.TrimSpace(string(holder)))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return f, nil
}
