package admin

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/quorate/quorate/fsm"
)

// Manager says what httpd's manager page needs (spec/mcmp.md §13). All funcs are
// required and are called from many goroutines at once.
type Manager struct {
	CheckNonce bool // without the page's nonce all parameters are discarded
	AllowCmd   bool // links that change the state are shown and obeyed

	Replica string // name of this replica
	Version string // for the heading: quorate/<version>, as VERSION says it

	// Read is the newest state, or the local one and how old it may be.
	Read func(ctx context.Context) (*fsm.State, time.Duration, error)
	// Show is what INFO or DUMP answers to a worker.
	Show func(ctx context.Context, what string, asXML bool) Shown
	// Seen is this replica's view of a node.
	Seen func(n *fsm.Node) Seen
	// Requests counts what is in flight for a context on this replica.
	Requests func(r fsm.JVMRoute, vhost int, p fsm.Path) int64
	// Propose brings a command into the log and returns when it is applied here.
	Propose func(ctx context.Context, c fsm.Command) (fsm.Result, error)
}

// Shown is the text of INFO or DUMP.
type Shown struct {
	Type  string // content type
	Body  []byte
	Stale bool // not confirmed by a quorum
	Age   time.Duration
}

// Seen is what one replica knows of a node beside the state.
type Seen struct {
	Node        *fsm.Node // what routes here: it differs from the state while no cluster can agree
	OK          bool      // it can be reached and is in service
	Status, Why string    // ux.md §1
	Elected     int64
	Read        int64 // bytes received from it
	Transferred int64 // bytes sent to it
	Connected   int64 // requests it is working on
}

// managerPaths are the two spellings of the Location that httpd's manuals use.
var managerPaths = [...]string{"/mod_cluster-manager", "/mod_cluster_manager"}

// managerBudget bounds a command and what is read for the page, as a worker's message.
const managerBudget = 5 * time.Second

var (
	//go:embed manager.html
	managerHTML string
	//go:embed manager.css
	managerCSS string
)

// manager answers the manager page.
type manager struct {
	Manager
	s      *Server
	nonce  string // as long as the process lives
	page   *template.Template
	policy string        // Content-Security-Policy
	turn   chan struct{} // full while a page is made: a large one keeps a core busy
}

func newManager(s *Server, c Manager) *manager {
	var id [16]byte
	rand.Read(id[:])
	style := sha256.Sum256([]byte(managerCSS))
	return &manager{
		Manager: c,
		s:       s,
		turn:    make(chan struct{}, 1),
		nonce:   fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:]),
		page:    template.Must(template.New("page").Parse(managerHTML)),
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(style[:]) +
			"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	}
}

// ServeHTTP is the page's table of contents: who asks, what for, the answer.
func (m *manager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.guard(w.Header())
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "method not allowed", "the manager page knows GET and HEAD")
		return
	}
	if _, ok := m.who(w, r, "view"); !ok {
		return
	}
	q, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		m.fail(w, http.StatusBadRequest, "Bad request", err.Error())
		return
	}
	if m.CheckNonce && subtle.ConstantTimeCompare([]byte(q["nonce"]), []byte(m.nonce)) != 1 || elsewhere(r) && q.changes() {
		q = query{}
	}
	ctx, cancel := context.WithTimeout(r.Context(), managerBudget)
	defer cancel()

	switch what := q.command(); {
	case what == "INFO" || what == "DUMP":
		m.refresh(w, q)
		m.show(ctx, w, what, strings.Contains(r.Header.Get("Accept"), "text/xml"))
		return
	case what != "" && r.Method == http.MethodGet: // a HEAD changes nothing
		who, ok := m.who(w, r, roleFor(what))
		if !ok {
			return
		}
		if err := m.run(ctx, who, q); err != nil {
			m.s.c.Log.WarnContext(ctx, "message refused", "source", source(who), "command", what, "type", err.kind, "error", err)
			w.Header().Set("Version", "0.2.1")
			w.Header().Set("Type", err.kind)
			w.Header().Set("Mess", err.Error())
			m.fail(w, http.StatusOK, "Command failed", err.Error())
			return
		}
	}
	m.refresh(w, q)
	m.list(ctx, w)
}

// guard lets a browser run nothing, load nothing, keep nothing and tell nobody.
func (m *manager) guard(h http.Header) {
	h.Set("Content-Security-Policy", m.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer") // the address holds the nonce
	h.Set("Cache-Control", "no-store")
}

// who names the one who asks: by a token where tokens are asked for, else by
// the address. Beside Bearer, which a browser cannot send by itself, the token
// may come as the password of Basic, as httpd's page was mostly protected.
func (m *manager) who(w http.ResponseWriter, r *http.Request, role string) (string, bool) {
	if m.s.tokens.Load() == nil {
		if !m.ours(r.Host) {
			refuse(w, http.StatusMisdirectedRequest, "asked by a name", "without tokens the manager page is given by address or localhost alone: a name may be another site's")
			return "", false
		}
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		return host, err == nil
	}
	token, ok := bearer(r)
	if !ok {
		_, token, ok = r.BasicAuth()
	}
	if ok {
		if name, ok := m.s.holder(token, role); ok {
			return name, true
		}
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="quorate", charset="UTF-8"`)
	m.s.unauthorized(w, role)
	return "", false
}

// ours says whether a Host can only be meant for us. Another site's name may be made to
// resolve to our address; to a browser its pages and ours are one site then.
func (m *manager) ours(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil || strings.EqualFold(name, "localhost") {
		return true
	}
	own, _, err := net.SplitHostPort(m.s.c.Address)
	return err == nil && own != "" && strings.EqualFold(name, own)
}

// elsewhere says whether a browser followed a link or an image of another site
// here: then check_nonce alone must not decide, since it can be off.
func elsewhere(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return site == "cross-site" || site == "same-site"
}

// refresh obeys the parameter of that name. What a command's page comes back to
// is the page without the command: else it would be repeated for ever.
func (m *manager) refresh(w http.ResponseWriter, q query) {
	text, ok := q["refresh"]
	if !ok {
		return
	}
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds < 1 {
		seconds = 10
	}
	value := strconv.Itoa(seconds)
	if q.changes() {
		value += "; url=" + m.link("refresh", value)
	}
	w.Header().Set("Refresh", value)
}

// show answers exactly what INFO or DUMP would be.
func (m *manager) show(ctx context.Context, w http.ResponseWriter, what string, asXML bool) {
	shown := m.Show(ctx, what, asXML)
	if shown.Stale {
		w.Header().Set("Age", strconv.Itoa(int(shown.Age.Seconds())))
	}
	send(w, http.StatusOK, shown.Type, shown.Body)
}

func (m *manager) fail(w http.ResponseWriter, code int, title, mess string) {
	m.render(w, code, page{Failed: title, Mess: mess, Continue: m.link()})
}

func (m *manager) list(ctx context.Context, w http.ResponseWriter) {
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		m.fail(w, http.StatusServiceUnavailable, "Not available", "others are being shown the page")
		return
	}
	st, age, err := m.Read(ctx)
	if err != nil {
		m.fail(w, http.StatusServiceUnavailable, "Not available", err.Error())
		return
	}
	if age > 0 {
		w.Header().Set("Age", strconv.Itoa(int(age.Seconds())))
	}
	m.render(w, http.StatusOK, m.model(st, age))
}

func (m *manager) render(w http.ResponseWriter, code int, p page) {
	p.Product, p.Replica, p.Style = "quorate/"+m.Version, m.Replica, template.CSS(managerCSS)
	var b bytes.Buffer
	if err := m.page.Execute(&b, p); err != nil {
		m.s.c.Log.Error("manager page", "error", err)
		refuse(w, http.StatusInternalServerError, "internal error", "the page cannot be shown")
		return
	}
	send(w, code, "text/html; charset=utf-8", b.Bytes())
}

func send(w http.ResponseWriter, code int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	w.Write(body) // an error here is the client's, which is gone
}
