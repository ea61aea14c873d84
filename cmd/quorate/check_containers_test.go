//go:build check

package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const root = "../.."

// The image is built and docker-compose.yml brought up as users do it. Where
// the Dockerfile's builder image cannot be pulled, one of that name is made of
// the Go tree on this machine. At the end nothing of it is left.
func TestCheckContainers(t *testing.T) {
	rows := report{t: t}
	defer rows.print()
	rows.add("docker", "%s", startDocker(t))
	before := images(t)
	mine := docker(t, "images", "-q", "--no-trunc", "quorate")

	began := time.Now()
	base, made := builder(t)
	how := "was there or could be pulled"
	if made {
		how = "made of the Go tree in " + seconds(time.Since(began))
	}
	rows.add("builder image "+base, "%s", how)

	p := &project{t: t, name: fmt.Sprintf("quorate-check-%d", os.Getpid()), file: filepath.Join(root, "docker-compose.yml"), traffic: map[string]string{}}
	clean := sync.OnceFunc(func() {
		p.compose("down", "-v", "--timeout", "5")
		removeImages(t, before, base, made, mine)
	})
	t.Cleanup(clean)
	began = time.Now()
	if made {
		p.must("build", "--build-arg", "GOPROXY=file:///modules", "secret")
	} else {
		p.must("build", "secret")
	}
	rows.add("docker-compose build", "%s (every service has this image)", seconds(time.Since(began)))
	rows.add("the image", "%s", inspectImage(t))
	rows.add("docker run quorate", "%s", runAlone(t))

	p.choosePorts()
	began = time.Now()
	p.must("up", "-d")
	replicas := []string{"lb1", "lb2", "lb3"}
	for _, lb := range replicas {
		waitFor(t, 2*patience, lb+" to be healthy", func() error { return p.is(lb, "healthy") })
	}
	rows.add("docker-compose up", "3 replicas healthy after %s", seconds(time.Since(began)))
	var traffic []string
	for _, lb := range replicas {
		traffic = append(traffic, p.traffic[lb])
	}
	waitFor(t, patience, "status to show 4 usable workers", func() error {
		if out, err := p.status("lb1"); err != nil || !strings.HasPrefix(out, "Healthy: 3 of 3 voters") || !strings.Contains(out, "4 workers, 4 usable") {
			return fmt.Errorf("%v: %s", err, out)
		}
		return nil
	})
	rows.add("exec lb1 quorate status", "Healthy: 3 of 3 voters; 4 workers, 4 usable; %s after the start", seconds(time.Since(began)))
	rows.add("a session through the published ports", "%s", visitShop(t, traffic, 12))

	visits := []visit{{method: http.MethodGet, path: "/shop/"}, {method: http.MethodGet, path: "/api/plain", stranger: true}}
	crowd := sendCrowd(t, traffic, 9, 90, visits)
	crowd.during(t, 60)
	out, _ := p.status("lb2")
	found := regexp.MustCompile(`Leader (lb\d)`).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("no leader in: %s", out)
	}
	leader := found[1]
	crowd.dies(p.traffic[leader])
	p.must("kill", leader)
	crowd.during(t, 240)
	rows.total("docker-compose kill "+leader+" (the leader)", crowd.sendHome(), true)
	other := replicas[(slices.Index(replicas, leader)+1)%3]
	waitFor(t, patience, "a new leader", func() error {
		out, err := p.status(other)
		if code := exitOf(err); code != 3 || !strings.HasPrefix(out, "Degraded: 2 of 3 voters") {
			return fmt.Errorf("exit %d: %s", code, out)
		}
		return nil
	})
	if err := p.is(other, "healthy"); err != nil {
		t.Errorf("another replica's death is no illness: %v", err)
	}
	rows.add("exec "+other+" quorate status", "Degraded: 2 of 3 voters (exit 3); its container stays healthy")
	p.must("start", leader)
	waitFor(t, 2*patience, leader+" to be healthy", func() error { return p.is(leader, "healthy") })
	waitFor(t, patience, "the cluster to be healthy", func() error {
		_, err := p.status(leader)
		return err
	})
	rows.add("docker-compose start "+leader, "Healthy: 3 of 3 voters")
	rows.add("a session through the published ports", "%s", visitShop(t, traffic, 12))

	began = time.Now()
	p.must("stop")
	rows.add("docker-compose stop", "%s: %s", seconds(time.Since(began)), p.ends(append(replicas, "w1", "w2", "w3", "w4")))
	p.must("down", "-v")
	label := "label=com.docker.compose.project=" + p.name
	for what, list := range map[string][]string{
		"containers": {"ps", "-aq", "--filter", label},
		"volumes":    {"volume", "ls", "-q", "--filter", label},
		"networks":   {"network", "ls", "-q", "--filter", label},
	} {
		if left := docker(t, list...); left != "" {
			t.Errorf("after down -v there are %s: %s", what, left)
		}
	}
	clean()
	left := 0
	for id := range images(t) {
		if _, old := before[id]; !old {
			left++
		}
	}
	if left > 0 {
		t.Errorf("%d images are left", left)
	}
	rows.add("docker-compose down -v", "no container, volume, network or image is left")
}

// inspectImage holds the image to what docs promise: nobody's user, one static
// binary, folders that belong to the user.
func inspectImage(t *testing.T) string {
	t.Helper()
	if user := docker(t, "inspect", "-f", "{{.Config.User}}", "quorate"); user != "65532:65532" {
		t.Errorf("the image's user is %q", user)
	}
	if entry := docker(t, "inspect", "-f", "{{json .Config.Entrypoint}} {{json .Config.Cmd}}", "quorate"); entry != `["/usr/bin/quorate"] ["serve"]` {
		t.Errorf("the image runs %s", entry)
	}
	id := docker(t, "create", "quorate")
	defer docker(t, "rm", id)
	cmd := exec.Command("docker", "export", id)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var files []string
	size := 0
	owned := map[string]bool{}
	for r := tar.NewReader(out); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeDir {
			owned[h.Name] = h.Uid == 65532 && h.Gid == 65532
			continue
		}
		if h.Size == 0 {
			continue // what Docker puts there to mount on
		}
		files = append(files, h.Name)
		if h.Name == "usr/bin/quorate" {
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			size = len(b)
			checkStatic(t, b)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	if want := []string{"etc/ssl/certs/ca-certificates.crt", "usr/bin/quorate"}; !slices.Equal(files, want) {
		t.Errorf("the image holds %v, want %v", files, want)
	}
	for _, dir := range []string{"var/lib/quorate/", "run/quorate/"} {
		if !owned[dir] {
			t.Errorf("%s does not belong to the image's user", dir)
		}
	}
	return fmt.Sprintf("from scratch: %s; static binary of %.1f MiB; user 65532", strings.Join(files, " and "), float64(size)/(1<<20))
}

// runAlone starts the image without anything, and stops it.
func runAlone(t *testing.T) string {
	t.Helper()
	began := time.Now()
	id := docker(t, "run", "-d", "quorate")
	defer docker(t, "rm", "-f", "-v", id)
	waitFor(t, patience, "a replica of its own to be healthy", func() error {
		out, err := exec.Command("docker", "exec", id, "quorate", "health").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	ready := time.Since(began)
	out := docker(t, "exec", id, "quorate", "status")
	if !strings.HasPrefix(out, "Standalone") {
		t.Errorf("status of a container without configuration: %s", out)
	}
	docker(t, "stop", id)
	if code := docker(t, "inspect", "-f", "{{.State.ExitCode}}", id); code != "0" {
		t.Errorf("exit %s after docker stop, want 0", code)
	}
	return "standalone, ready after " + seconds(ready) + ", exit 0 after docker stop"
}

func checkStatic(t *testing.T, binary []byte) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(binary))
	if err != nil {
		t.Fatal(err)
	}
	libraries, err := f.ImportedLibraries()
	if err != nil || len(libraries) > 0 {
		t.Errorf("the binary needs %v, %v", libraries, err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the binary needs an interpreter")
		}
	}
	want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]
	if f.Machine != want {
		t.Errorf("the binary is for %v", f.Machine)
	}
}

// project is docker-compose.yml brought up under a name of its own.
type project struct {
	t       *testing.T
	name    string
	file    string
	traffic map[string]string // replica → published address
}

// choosePorts uses the file as it is, or a copy with free ports where those of
// the file are taken.
func (p *project) choosePorts() {
	p.t.Helper()
	b, err := os.ReadFile(p.file)
	if err != nil {
		p.t.Fatal(err)
	}
	text, taken := string(b), false
	for i, port := range []string{"8081", "8082", "8083"} {
		addr := "127.0.0.1:" + port
		if !strings.Contains(text, addr+":8080") {
			p.t.Fatalf("docker-compose.yml does not publish %s", addr)
		}
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
		} else {
			taken = true
			free := reserve(p.t)
			text = strings.ReplaceAll(text, addr+":8080", free+":8080")
			addr = free
		}
		p.traffic[fmt.Sprintf("lb%d", i+1)] = addr
	}
	if taken {
		p.file = filepath.Join(p.t.TempDir(), "docker-compose.yml")
		if err := os.WriteFile(p.file, []byte(text), 0o644); err != nil {
			p.t.Fatal(err)
		}
	}
}

// compose runs docker-compose; without BuildKit, as 1.29 may be without it.
func (p *project) compose(args ...string) (string, error) {
	cmd := exec.Command("docker-compose", append([]string{"-p", p.name, "-f", p.file, "--project-directory", root}, args...)...)
	cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=0", "COMPOSE_DOCKER_CLI_BUILD=0")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("docker-compose %s: %w\n%s", strings.Join(args, " "), err, tail(append(stdout.Bytes(), stderr.Bytes()...), 40))
	}
	return stdout.String(), err
}

func (p *project) must(args ...string) {
	p.t.Helper()
	if _, err := p.compose(args...); err != nil {
		for _, service := range []string{"lb1", "lb2", "lb3", "w1"} {
			out, _ := p.compose("logs", "--no-color", "--tail", "20", service)
			p.t.Log(out)
		}
		p.t.Fatal(err)
	}
}

// status is what `quorate status` says in a replica's container.
func (p *project) status(replica string) (string, error) {
	return p.compose("exec", "-T", replica, "quorate", "status")
}

func (p *project) container(service string) string {
	p.t.Helper()
	out, err := p.compose("ps", "-q", service)
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// ends holds stopped services to have ended in order, and says in which.
func (p *project) ends(services []string) string {
	p.t.Helper()
	at := map[string]time.Time{}
	for _, s := range services {
		code, when, _ := strings.Cut(docker(p.t, "inspect", "-f", "{{.State.ExitCode}} {{.State.FinishedAt}}", p.container(s)), " ")
		if code != "0" {
			p.t.Errorf("%s: exit %s after docker-compose stop, want 0", s, code)
		}
		end, err := time.Parse(time.RFC3339Nano, when)
		if err != nil {
			p.t.Fatal(err)
		}
		at[s] = end
	}
	slices.SortFunc(services, func(a, b string) int { return at[a].Compare(at[b]) })
	first := at[services[0]]
	for i, s := range services {
		services[i] = fmt.Sprintf("%s +%s", s, seconds(at[s].Sub(first)))
	}
	return "exit 0 of all, in the order " + strings.Join(services, ", ")
}

// is says what keeps a service's container from this health.
func (p *project) is(service, health string) error {
	p.t.Helper()
	if now := docker(p.t, "inspect", "-f", "{{.State.Health.Status}}", p.container(service)); now != health {
		return fmt.Errorf("%s is %s", service, now)
	}
	return nil
}

func exitOf(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

// visitShop makes n visits of one session of an example worker, each through
// the next replica.
func visitShop(t *testing.T, targets []string, n int) string {
	t.Helper()
	u := &user{conns: map[string]*userConn{}}
	defer u.leave()
	first := ""
	for i := 1; i <= n; i++ {
		a, _, err := u.ask(targets[i%len(targets)], visit{method: http.MethodGet, path: "/shop/"})
		if err != nil {
			t.Fatalf("visit %d: %v", i, err)
		}
		if first == "" {
			first = a.worker
		}
		want := fmt.Sprintf("worker %s, context /shop, visit %d of this session\n", first, i)
		if a.status != http.StatusOK || a.body != want {
			t.Fatalf("visit %d: %d %s, want %s", i, a.status, a.body, want)
		}
	}
	return fmt.Sprintf("%d visits, all at %s, which counted 1 to %d", n, first, n)
}
