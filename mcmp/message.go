package mcmp

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/quorate/quorate/fsm"
)

// The methods (spec/mcmp.md §0.1). They are accepted in any case.
const (
	methodConfig  = "CONFIG"
	methodEnable  = "ENABLE-APP"
	methodDisable = "DISABLE-APP"
	methodStop    = "STOP-APP"
	methodRemove  = "REMOVE-APP"
	methodStatus  = "STATUS"
	methodPing    = "PING"
	methodInfo    = "INFO"
	methodDump    = "DUMP"
	methodVersion = "VERSION"
)

// allow is the Allow header of a 405.
const allow = "CONFIG, ENABLE-APP, DISABLE-APP, STOP-APP, REMOVE-APP, STATUS, PING, INFO, DUMP, VERSION"

// ops are the methods that are commands.
var ops = map[string]fsm.Op{
	methodConfig:  fsm.OpConfig,
	methodEnable:  fsm.OpEnable,
	methodDisable: fsm.OpDisable,
	methodStop:    fsm.OpStop,
	methodRemove:  fsm.OpRemove,
	methodStatus:  fsm.OpStatus,
}

// canonical returns the method as the protocol writes it, "" if it is none.
func canonical(method string) string {
	m := strings.ToUpper(method)
	switch m {
	case methodPing, methodInfo, methodDump, methodVersion:
		return m
	}
	if _, ok := ops[m]; ok {
		return m
	}
	return ""
}

// Longest values in bytes that the state does not bound (spec/mcmp.md §0.2).
const (
	maxPort = 6
	maxType = 15
)

// Message is a request whose body has been read and found valid.
type Message struct {
	Method  string      // as the protocol writes it
	Command fsm.Command // CONFIG, *-APP, STATUS: only what the message says; id, origin and source are the listener's
	NoLoad  bool        // STATUS without Load: a check, no command
	Ping    Ping        // PING
}

// Ping is what a PING asks to be checked: this replica when it is empty, a node,
// or an address.
type Ping struct {
	Route  fsm.JVMRoute
	Scheme string // lower case
	Host   string
	Port   int
}

// Parse reads the body of a message. whole says that the target ended in "/*".
// Every error is an *Error of Type SYNTAX. The body of INFO, DUMP and VERSION is
// ignored.
func Parse(method string, whole bool, body []byte) (Message, error) {
	m := Message{Method: canonical(method)}
	var err error
	switch m.Method {
	case methodInfo, methodDump, methodVersion:
		return m, nil
	case methodPing:
		m.Ping, err = parsePing(body)
	case methodConfig:
		m.Command, err = parseConfig(body)
	case methodStatus:
		m.Command, m.NoLoad, err = parseStatus(body)
	case methodEnable, methodDisable, methodStop, methodRemove:
		m.Command, err = parseApp(body, whole)
		m.Command.Op = ops[m.Method]
	default:
		err = syntax("Command is not supported")
	}
	if err != nil {
		return Message{}, err
	}
	return m, nil
}

// pair is one name and value of a body, decoded.
type pair struct {
	name  string // as received
	key   string // in lower case: names are matched in any case
	value string
}

// pairs splits a body at "&", each piece at its first "=". With strict (CONFIG)
// a piece without name-value form or without value is an error; else empty
// pieces are skipped.
func pairs(body []byte, strict bool) ([]pair, error) {
	if len(body) == 0 {
		if strict {
			return nil, unreadable("empty body")
		}
		return nil, nil
	}
	var list []pair
	for i, piece := range bytes.Split(body, []byte("&")) {
		name, value, found := bytes.Cut(piece, []byte("="))
		if strict && (!found || len(value) == 0) {
			return nil, unreadable("pair %d has no value", i+1)
		}
		if len(piece) == 0 {
			continue
		}
		p := pair{name: decode(name), value: decode(value)}
		p.key = fsm.Lower(p.name)
		for _, s := range []string{p.name, p.value} {
			if at := strings.IndexFunc(s, forbidden); at >= 0 {
				return nil, unreadable("pair %d contains byte %02X", i+1, s[at])
			}
		}
		list = append(list, p)
	}
	return list, nil
}

// forbidden characters would break INFO, XML or a header line for others.
func forbidden(r rune) bool {
	switch r {
	case '<', '>', '"', '\'', '\\', 0x7f:
		return true
	}
	return r < 0x20
}

// decode undoes the form encoding: "+" is a blank, %XX a byte; a "%" without two
// hex digits stays.
func decode(b []byte) string {
	if bytes.IndexByte(b, '%') < 0 && bytes.IndexByte(b, '+') < 0 {
		return string(b)
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		switch {
		case b[i] == '+':
			out = append(out, ' ')
		case b[i] == '%' && i+2 < len(b) && unhex(b[i+1]) >= 0 && unhex(b[i+2]) >= 0:
			out = append(out, byte(unhex(b[i+1])<<4|unhex(b[i+2])))
			i += 2
		default:
			out = append(out, b[i])
		}
	}
	return string(out)
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// scalar checks a field that is not a list: a comma in it would break INFO.
func scalar(label, value string, limit int) error {
	if len(value) > limit {
		return tooBig(label)
	}
	return noComma(label, value)
}

func noComma(label, value string) error {
	if strings.Contains(value, ",") {
		return badValue(label)
	}
	return nil
}

// cookieName checks the name of the session cookie or path parameter.
func cookieName(label, value string) error {
	if len(value) > fsm.MaxCookie {
		return syntax("A field is too big")
	}
	return scalar(label, value, fsm.MaxCookie)
}

// list splits a list field and appends its elements to what came before.
func list(label, value string, limit int, before []string) ([]string, error) {
	for e := range strings.SplitSeq(value, ",") {
		if len(e) > limit {
			return nil, tooBig(label)
		}
		if e != "" {
			before = append(before, e)
		}
	}
	return before, nil
}

// targets are the Alias and Context fields of a message, both of them lists.
type targets struct {
	aliases, contexts     []string
	hasAlias, hasContexts bool
}

func (t *targets) add(p pair) (err error) {
	switch p.key {
	case "alias":
		t.hasAlias = true
		t.aliases, err = list("Alias", p.value, fsm.MaxAlias, t.aliases)
	case "context":
		t.hasContexts = true
		t.contexts, err = list("Context", p.value, fsm.MaxContext, t.contexts)
	}
	return err
}

// into writes them to c; needed says that a message without both is wrong.
func (t *targets) into(c *fsm.Command, needed bool) error {
	switch {
	case !t.hasAlias && !t.hasContexts && needed:
		return syntax("No Context and Alias in APP command")
	case !t.hasAlias && t.hasContexts:
		return syntax("Context without Alias")
	case t.hasAlias && !t.hasContexts:
		return syntax("Alias without Context")
	case t.hasAlias && len(t.aliases) == 0:
		return badValue("Alias")
	case t.hasContexts && len(t.contexts) == 0:
		return badValue("Context")
	}
	c.Aliases = t.aliases
	for _, s := range t.contexts {
		c.Contexts = append(c.Contexts, fsm.Path(s))
	}
	return nil
}

// route checks a JVMRoute. The Java client trims what it reads in INFO: with a
// blank around it a route would pass there for another worker's.
func route(value string) (fsm.JVMRoute, error) {
	err := scalar("JVMRoute", value, fsm.MaxRoute)
	if err == nil && strings.Trim(value, " ") != value {
		err = badValue("JVMRoute")
	}
	return fsm.JVMRoute(value), err
}

func noRoute() error { return syntax("JVMRoute can't be empty") }

func parseApp(body []byte, whole bool) (fsm.Command, error) {
	ps, err := pairs(body, false)
	if err != nil {
		return fsm.Command{}, err
	}
	c := fsm.Command{Whole: whole}
	var t targets
	for _, p := range ps {
		if p.value == "" {
			continue // as if it were not there
		}
		if p.key == "jvmroute" {
			c.Route, err = route(p.value)
		} else if !whole {
			err = t.add(p)
		}
		if err != nil {
			return fsm.Command{}, err
		}
	}
	if c.Route == "" {
		return fsm.Command{}, noRoute()
	}
	if err := t.into(&c, !whole); err != nil {
		return fsm.Command{}, err
	}
	return c, nil
}

func parseStatus(body []byte) (c fsm.Command, noLoad bool, err error) {
	ps, err := pairs(body, false)
	if err != nil {
		return c, false, err
	}
	if len(body) == 0 {
		return c, false, invalidField("")
	}
	c.Op = fsm.OpStatus
	noLoad = true
	for _, p := range ps {
		switch p.key {
		case "jvmroute":
			if p.value != "" {
				c.Route, err = route(p.value)
			}
		case "load":
			c.Load, err = parseLoad(p.value)
			noLoad = false
		default:
			err = invalidField(p.name)
		}
		if err != nil {
			return fsm.Command{}, false, err
		}
	}
	if c.Route == "" {
		return fsm.Command{}, false, noRoute()
	}
	return c, noLoad, nil
}

// parseLoad reads -1 … 100; leading digits count.
func parseLoad(s string) (int, error) {
	n, ok := leadingInt(s)
	if !ok || n < -1 || n > 100 || strings.Contains(s, ",") {
		return 0, badValue("Load")
	}
	return n, nil
}

// invalidField names a field STATUS and PING do not have.
func invalidField(name string) error {
	if len(name) > 64 {
		name = name[:64]
	}
	return syntax(`Invalid field "%s" in message`, name)
}

func parsePing(body []byte) (Ping, error) {
	ps, err := pairs(body, false)
	if err != nil {
		return Ping{}, err
	}
	var q Ping
	for _, p := range ps {
		if known := p.key == "jvmroute" || p.key == "scheme" || p.key == "host" || p.key == "port"; known && p.value == "" {
			continue
		}
		switch p.key {
		case "jvmroute":
			q.Route, err = route(p.value)
		case "scheme":
			q.Scheme, err = fsm.Lower(p.value), scalar("Scheme", p.value, maxType)
		case "host":
			q.Host, err = parseHost(p.value)
		case "port":
			q.Port, err = parsePort(p.value)
		default:
			err = invalidField(p.name)
		}
		if err != nil {
			return Ping{}, err
		}
	}
	if q.Route != "" {
		return Ping{Route: q.Route}, nil
	}
	switch {
	case q == Ping{}:
		return q, nil
	case q.Scheme == "" || q.Host == "" || q.Port == 0:
		return Ping{}, syntax("Mandatory field(s) missing in message")
	}
	switch q.Scheme {
	case "ajp", "http", "https", "ws", "wss":
		return q, nil
	}
	return Ping{}, syntax("Unsupported scheme")
}

// leadingInt reads an optional sign and the digits after it; false without a
// digit. What does not fit 32 bits becomes the nearest that does.
func leadingInt(s string) (int, bool) {
	n := 0
	if n < len(s) && (s[0] == '-' || s[0] == '+') {
		n++
	}
	digits := n
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	if n == digits {
		return 0, false
	}
	v, err := strconv.ParseInt(s[:n], 10, 32)
	if err != nil && !strings.HasPrefix(s, "-") {
		return 1<<31 - 1, true
	}
	if err != nil {
		return -1 << 31, true
	}
	return int(v), true
}
