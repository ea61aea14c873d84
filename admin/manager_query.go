package admin

import (
	"fmt"
	"net/url"
	"strings"
)

// query holds the manager page's parameters by name in small letters. Of a name
// that comes twice the last counts, but for alias and context, which add up as
// they do in a worker's message.
type query map[string]string

// parseQuery reads name=value pairs joined by &. Values are URL-decoded as httpd
// does it: a plus sign stays one. An error says which pair and why.
func parseQuery(raw string) (query, error) {
	q := query{}
	if raw == "" {
		return q, nil
	}
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("%q has no =: the parameters are name=value, joined by &", pair)
		}
		value, err := url.PathUnescape(value)
		if err != nil {
			return nil, fmt.Errorf("%s cannot be decoded: %w", name, err)
		}
		name = strings.ToLower(name)
		if before, again := q[name]; again && (name == "alias" || name == "context") {
			value = before + "," + value
		}
		q[name] = value
	}
	return q, nil
}

// command is Cmd in capitals, "" for none.
func (q query) command() string { return strings.ToUpper(q["cmd"]) }

// changes says whether the query asks for more than to be shown something.
func (q query) changes() bool {
	c := q.command()
	return c != "" && c != "INFO" && c != "DUMP"
}

// list splits a value at its commas; empty elements are dropped.
func (q query) list(name string) []string {
	return strings.FieldsFunc(q[name], func(c rune) bool { return c == ',' })
}

// link gives the page's address with the nonce and these names and values.
func (m *manager) link(pairs ...string) string {
	b := "?nonce=" + m.nonce
	for i := 0; i < len(pairs); i += 2 {
		// parseQuery takes a plus sign for itself.
		b += "&" + pairs[i] + "=" + strings.ReplaceAll(url.QueryEscape(pairs[i+1]), "+", "%20")
	}
	return b
}
