package corpus

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ours are the lines that quorate adds to a request.
var ours = []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Server", "X-Request-Id"}

var goodID = regexp.MustCompile(`^[A-Za-z0-9._-]{16,64}$`)

// showRequest is a head as the data files show it.
func showRequest(head string, nth int, client, worker string) string {
	lines := strings.Split(strings.TrimSuffix(head, "\r\n\r\n"), "\r\n")
	var (
		b       strings.Builder
		kept    = 0 // lines of Connection: keep-alive
		own     = map[string][]string{}
		host    string
		upgrade string // its two lines, wherever they are
		isUp    = len(fieldsOf(head, "Upgrade")) > 0
		hosts   = fieldsOf(head, "Host")
	)
	if len(hosts) > 0 && hosts[0] != worker {
		host = hosts[0]
	}
	b.WriteString(lines[0] + "\r\n")
next:
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case line == "Connection: keep-alive" && nth == 1 && !isUp:
			kept++
			continue
		case isUp && strings.EqualFold(line, "Connection: upgrade"):
			upgrade = "Connection: Upgrade\r\n" + upgrade
			continue
		case isUp && strings.EqualFold(name, "Upgrade"):
			upgrade += line + "\r\n"
			continue
		case line == "Host: "+worker:
			line = "Host: WORKER"
		}
		for _, o := range ours {
			if name == o {
				own[o] = append(own[o], value)
				continue next
			}
		}
		b.WriteString(strings.TrimSuffix(line, " ") + "\r\n")
	}
	b.WriteString(upgrade)
	if nth == 1 && kept != 1 && !isUp {
		fmt.Fprintf(&b, "(%d of Connection: keep-alive)\r\n", kept)
	}
	want := map[string]string{"X-Forwarded-For": client, "X-Forwarded-Host": host, "X-Forwarded-Proto": "http", "X-Forwarded-Port": "80", "X-Forwarded-Server": "lb1"}
	if _, port, err := net.SplitHostPort(host); err == nil && port != "" {
		want["X-Forwarded-Port"] = port
	}
	for _, o := range ours {
		v := own[o]
		switch {
		case len(v) == 0 && want[o] == "" && o != "X-Request-Id":
		case len(v) == 0:
			b.WriteString("(no " + o + ")\r\n")
		case len(v) == 1 && (v[0] == want[o] || o == "X-Request-Id" && goodID.MatchString(v[0])):
		default:
			for _, x := range v {
				b.WriteString(o + ": " + strings.ReplaceAll(x, client, "CLIENT") + "\r\n")
			}
		}
	}
	return b.String() + "+\r\n\r\n"
}

// sortFields sorts the fields between Host and the plus, with small names.
func sortFields(head string) string {
	lines := strings.Split(head, "\r\n")
	fields := lines[2:max(2, slices.Index(lines, "+"))]
	for i, line := range fields {
		name, value, _ := strings.Cut(line, ":")
		fields[i] = strings.ToLower(name) + ":" + value
	}
	slices.Sort(fields)
	return strings.Join(lines, "\r\n")
}

// errBrokenOff is the end of a connection inside of an answer.
var errBrokenOff = errors.New("broken off")

// answer is an answer as a client got it.
type answer struct {
	status int
	head   string // canonical, as the data files show it
	body   string // the same: chunks as one
	close  bool   // it says Connection: close
	dated  bool
}

// readAnswer reads one message strictly.
func readAnswer(r *bufio.Reader, method string) (*answer, error) {
	head, err := readHead(r)
	if err != nil {
		if head == "" {
			return nil, err
		}
		return &answer{head: head}, errBrokenOff
	}
	lines := strings.Split(strings.TrimSuffix(head, "\r\n\r\n"), "\r\n")
	a := &answer{}
	word := strings.SplitN(lines[0], " ", 3)
	if len(word) != 3 || word[0] != "HTTP/1.1" || len(word[1]) != 3 {
		return nil, fmt.Errorf("a status line of %q", lines[0])
	}
	if a.status, err = strconv.Atoi(word[1]); err != nil {
		return nil, fmt.Errorf("a status line of %q", lines[0])
	}
	var framing []string
	a.head = lines[0] + "\r\n"
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("no field: %q", line)
		}
		line = strings.TrimSuffix(line, " ")
		switch strings.ToLower(name) {
		case "date":
			_, err := http.ParseTime(strings.TrimSpace(value))
			if a.dated = err == nil; a.dated {
				continue
			}
		case "content-length", "transfer-encoding", "connection":
			framing = append(framing, line)
			continue
		}
		a.head += line + "\r\n"
	}
	for _, name := range []string{"content-length", "transfer-encoding", "connection"} {
		for _, line := range framing {
			if k, _, _ := strings.Cut(line, ":"); strings.EqualFold(k, name) {
				a.head += line + "\r\n"
			}
		}
	}
	a.head += "\r\n"
	for _, v := range fieldsOf(head, "Connection") {
		a.close = a.close || strings.EqualFold(v, "close")
	}
	cl, te := fieldsOf(head, "Content-Length"), fieldsOf(head, "Transfer-Encoding")
	switch {
	case len(cl)+len(te) > 1:
		return a, fmt.Errorf("two framings: %s", escape(a.head))
	case a.status < 200 || a.status == 204:
		if len(cl)+len(te) > 0 {
			return a, fmt.Errorf("framing where no body can be: %s", escape(a.head))
		}
	case method == "HEAD" || a.status == 304:
	case len(te) == 1:
		c := workerConn{r: r, chunked: true}
		a.body, err = c.body(-1)
		if err != nil {
			err = fmt.Errorf("%w: %w", errBrokenOff, err)
		}
	case len(cl) == 1:
		n, bad := strconv.ParseInt(cl[0], 10, 32)
		if bad != nil {
			return a, fmt.Errorf("a length of %q", cl[0])
		}
		b := make([]byte, n)
		m, bad := io.ReadFull(r, b)
		a.body = string(b[:m])
		if bad != nil {
			err = errBrokenOff
		}
	default:
		b, bad := io.ReadAll(r)
		a.body = string(b)
		if bad != nil {
			err = errBrokenOff
		}
	}
	return a, err
}
