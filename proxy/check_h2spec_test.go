//go:build check

package proxy

import (
	"encoding/xml"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The last version that a module proxy has.
const h2spec = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"

// Where package http, or RFC 9113, says otherwise.
var h2specDiffers = map[string]string{
	"Sends invalid connection preface":                                                               "answered in HTTP/1.1, which the listener speaks, too",
	"Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE":                                          "an error of the connection for package http",
	"Sends a HEADERS frame that contains the connection-specific header field":                       "400 before the end of the stream (RFC 9113 section 8.1.1)",
	"Sends a HEADERS frame that contains the TE header field with any value other than \"trailers\"": "400, as above",
}

// h2spec is the conformance tester of RFC 7540 and RFC 7541, whose rules but those
// of priorities are RFC 9113's.
func TestCheckH2Spec(t *testing.T) {
	dir := t.TempDir()
	install := exec.Command("go", "install", h2spec)
	install.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("install h2spec: %v\n%s", err, out)
	}
	r, secure, _ := runTLS(t, func(c *Config) {
		c.Listeners[0].Protocols = []string{"h2", "http/1.1"}
		c.MaxStreams = 100
	})
	r.register("w1", startWorker(t, named(strings.Repeat("quorate ", 8))))
	for name, c := range map[string]struct {
		addr string
		more []string
	}{
		"prior knowledge": {r.addr, nil},
		"TLS":             {secure, []string{"-t", "-k"}},
	} {
		t.Run(name, func(t *testing.T) {
			host, port, err := net.SplitHostPort(c.addr)
			if err != nil {
				t.Fatal(err)
			}
			report := filepath.Join(t.TempDir(), "report.xml")
			args := append([]string{"-h", host, "-p", port, "-o", "2", "-j", report}, c.more...)
			out, err := exec.CommandContext(t.Context(), filepath.Join(dir, "h2spec"), args...).CombinedOutput()
			if _, failed := err.(*exec.ExitError); err != nil && !failed {
				t.Fatalf("%v\n%s", err, out)
			}
			b, err := os.ReadFile(report)
			if err != nil {
				t.Fatal(err)
			}
			var result struct {
				Suites []struct {
					Package string `xml:"package,attr"`
					Cases   []struct {
						Class   string `xml:"classname,attr"`
						Package string `xml:"package,attr"`
						Failure string `xml:"failure"`
						Error   string `xml:"error"`
					} `xml:"testcase"`
				} `xml:"testsuite"`
			}
			if err := xml.Unmarshal(b, &result); err != nil {
				t.Fatal(err)
			}
			cases := 0
			for _, s := range result.Suites {
				for _, x := range s.Cases {
					cases++
					failed := x.Failure != "" || x.Error != ""
					switch why := h2specDiffers[x.Class]; {
					case failed && why != "":
						t.Logf("%s %s: %s", x.Package, x.Class, why)
					case failed:
						t.Errorf("%s %s: %s%s", x.Package, x.Class, x.Failure, x.Error)
					}
				}
			}
			if cases < 140 {
				t.Errorf("%d cases ran", cases)
			}
		})
	}
}
