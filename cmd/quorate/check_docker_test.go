//go:build check

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// startDocker gives a daemon, and starts one of its own where none answers. That
// one keeps everything in a folder of its own and is ended, by its pid, when the test is.
func startDocker(t *testing.T) string {
	t.Helper()
	if out, err := exec.Command("docker", "version", "-f", "{{.Server.Version}}").CombinedOutput(); err == nil {
		return "a daemon runs here: " + strings.TrimSpace(string(out))
	}
	dockerd, err := exec.LookPath("dockerd")
	if err != nil {
		dockerd = "/usr/sbin/dockerd"
	}
	dir, err := os.MkdirTemp("", "quorate-docker-") // not t.TempDir: a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	socket := "unix://" + filepath.Join(dir, "docker.sock")
	cmd := exec.Command(dockerd, "--host", socket, "--data-root", filepath.Join(dir, "data"),
		"--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "pid"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(patience):
			cmd.Process.Kill()
			<-ended
		}
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("dockerd:\n%s", tail(text, 30))
		}
		unmountBelow(t, dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("the daemon's folder stays: %v", err)
		}
	})
	t.Setenv("DOCKER_HOST", socket)
	waitFor(t, patience, "dockerd", func() error {
		select {
		case <-ended:
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("%s ended:\n%s", dockerd, tail(text, 30))
		default:
		}
		return exec.Command("docker", "version").Run()
	})
	return fmt.Sprintf("started %s, pid %d", dockerd, cmd.Process.Pid)
}

// docker runs a command that must succeed and returns its trimmed output.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("docker", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return strings.TrimSpace(string(out))
}

// images are the ids of all images, with their parents.
func images(t *testing.T) map[string]string {
	t.Helper()
	parents := map[string]string{}
	for _, id := range strings.Fields(docker(t, "images", "-aq", "--no-trunc")) {
		parents[id] = docker(t, "inspect", "-f", "{{.Parent}}", id)
	}
	return parents
}

// removeImages removes what the build made: quorate (or puts the name back where
// it was), the steps on top of the builder image, and that one if it was made here.
func removeImages(t *testing.T, before map[string]string, base string, made bool, mine string) {
	t.Helper()
	if mine != "" {
		docker(t, "tag", mine, "quorate")
	} else {
		exec.Command("docker", "rmi", "quorate").Run() // there is none if the build failed
	}
	baseID := docker(t, "inspect", "-f", "{{.Id}}", base)
	parents := images(t)
	for again := true; again; { // from the last step to the first
		again = false
		for id := range parents {
			if _, old := before[id]; old || id == baseID || !descends(parents, id, baseID) {
				continue
			}
			if exec.Command("docker", "rmi", id).Run() == nil {
				again = true
			}
		}
		if again {
			parents = images(t)
		}
	}
	if made {
		docker(t, "rmi", base)
	}
}

func descends(parents map[string]string, id, from string) bool {
	for ; id != ""; id = parents[id] {
		if id == from {
			return true
		}
	}
	return false
}

// builder returns the name of the Dockerfile's builder image, and whether it
// had to be made.
func builder(t *testing.T) (name string, made bool) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	from := regexp.MustCompile(`(?m)^FROM (\S+) AS build$`).FindSubmatch(text)
	if from == nil {
		t.Fatal("Dockerfile: no builder stage")
	}
	name = string(from[1])
	if exec.Command("docker", "image", "inspect", name).Run() == nil {
		return name, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if exec.CommandContext(ctx, "docker", "pull", "-q", name).Run() == nil {
		return name, false
	}
	importBuilder(t, name)
	return name, true
}

// importBuilder makes an image of the Go tree, a shell, certificates, and the
// modules that go.mod names: a proxy in a folder.
func importBuilder(t *testing.T, name string) {
	t.Helper()
	goroot, cache := goEnv(t, "GOROOT"), goEnv(t, "GOMODCACHE")
	modules := t.TempDir()
	download := func(env ...string) {
		cmd := exec.Command("go", "mod", "download")
		cmd.Dir = root
		cmd.Env = append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go mod download: %v\n%s", err, out)
		}
	}
	download()
	download("GOMODCACHE="+modules, "GOPROXY=file://"+filepath.ToSlash(cache)+"/cache/download", "GOFLAGS=-modcacherw", "GOSUMDB=off")

	cmd := exec.Command("docker", "import",
		"--change", "ENV PATH=/usr/local/go/bin:/bin", "--change", "ENV GOTOOLCHAIN=local", "-", name)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(in)
	err = errors.Join(
		addTree(w, goroot, "usr/local/go"),
		addTree(w, filepath.Join(modules, "cache", "download"), "modules"),
		addFile(w, "/bin/busybox", "bin/busybox"),
		addFile(w, "/etc/ssl/certs/ca-certificates.crt", "etc/ssl/certs/ca-certificates.crt"),
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}),
	)
	for _, tool := range []string{"sh", "mkdir"} {
		err = errors.Join(err, w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + tool, Linkname: "busybox", Mode: 0o777}))
	}
	err = errors.Join(err, w.Close(), in.Close(), cmd.Wait())
	if err != nil {
		t.Fatalf("docker import %s: %v\n%s", name, err, &out)
	}
}

func goEnv(t *testing.T, key string) string {
	t.Helper()
	out, err := exec.Command("go", "env", key).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// addTree packs a folder, without data that only tests read.
func addTree(w *tar.Writer, dir, as string) error {
	return filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "testdata" {
			return fs.SkipDir
		}
		if !d.Type().IsRegular() {
			return nil
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		return addFile(w, file, filepath.ToSlash(filepath.Join(as, rel)))
	})
}

func addFile(w *tar.Writer, file, as string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	head := &tar.Header{Typeflag: tar.TypeReg, Name: as, Size: info.Size(), Mode: int64(info.Mode().Perm()), ModTime: info.ModTime()}
	if err := w.WriteHeader(head); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}
