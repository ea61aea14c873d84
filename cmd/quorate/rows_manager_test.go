package main

import (
	"encoding/xml"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What scripts of the old balancers' owners do: fetch a text, match patterns, use
// what is between the brackets. A pattern's fields are named after their words.
var (
	pageHeading = regexp.MustCompile(`<h1>\s*(quorate)/([^<\s]+)\s*</h1>`)
	pageLink    = regexp.MustCompile(`<a href="([^"]*)">([^<]*)</a>`)
	pageDomain  = regexp.MustCompile(`LBGroup ([^<:,]*):`)
	pageNode    = regexp.MustCompile(`Node (\S+) \((\w+)://([^)]+):(\d+)\):`)
	pageBalance = regexp.MustCompile(`Balancer: ([^,]*),LBGroup: ([^,]*),Flushpackets: (Off|On|Auto),Flushwait: (\d+),Ping: (\d+),Smax: (-?\d+),Ttl: (\d+),` +
		`Status: (OK|NOTOK),Elected: (\d+),Read: (\d+),Transferred: (\d+),Connected: (\d+),Load: (-?\d+)`)
	pageHost    = regexp.MustCompile(`Virtual Host (\d+):`)
	pageContext = regexp.MustCompile(`(/[^\s,<]*), Status: (ENABLED|DISABLED|STOPPED) Request: (\d+)`)
	pageAliases = regexp.MustCompile(`(?s)Aliases:(.*?)</ul>`)
	pageAlias   = regexp.MustCompile(`<code>([^<]*)</code>`)

	infoNode = regexp.MustCompile(`(?m)^Node: \[(\d+)\],Name: ([^,]*),Balancer: ([^,]*),LBGroup: ([^,]*),Host: ([^,]*),Port: (\d+),Type: (\w+),Flushpackets: (Off|On|Auto),` +
		`Flushwait: (\d+),Ping: (\d+),Smax: (-?\d+),Ttl: (\d+),Elected: (\d+),Read: (\d+),Transfered: (\d+),Connected: (\d+),Load: (-?\d+)$`)
	infoHost    = regexp.MustCompile(`(?m)^Vhost: \[(\d+):(\d+):(\d+)\], Alias: (.*)$`)
	infoContext = regexp.MustCompile(`(?m)^Context: \[(\d+):(\d+):(\d+)\], Context: ([^,]*), Status: (ENABLED|DISABLED|STOPPED)$`)

	dumpBalancer = regexp.MustCompile(`(?m)^balancer: \[(\d+)\] Name: (\S+) Sticky: ([01]) \[([^\]]*)\]/\[([^\]]*)\] remove: ([01]) force: ([01]) Timeout: (\d+) maxAttempts: (\d+)$`)
	dumpNode     = regexp.MustCompile(`(?m)^node: \[(\d+):(\d+)\],Balancer: ([^,]*),JVMRoute: ([^,]*),LBGroup: \[([^\]]*)\],Host: ([^,]*),Port: (\d+),Type: (\w+),` +
		`flushpackets: ([012]),flushwait: (\d+),ping: (\d+),smax: (-?\d+),ttl: (\d+),timeout: (\d+)$`)
	dumpHost    = regexp.MustCompile(`(?m)^host: (\d+) \[([^\]]*)\] vhost: (\d+) node: (\d+)$`)
	dumpContext = regexp.MustCompile(`(?m)^context: (\d+) \[([^\]]*)\] vhost: (\d+) node: (\d+) status: ([123])$`)
)

// managerAt is a replica's manager page as a script uses it.
type managerAt struct {
	t     *testing.T
	url   string
	nonce string
}

func (c *trio) managerPage(t *testing.T, i int) *managerAt {
	t.Helper()
	m := &managerAt{t: t, url: "http://" + c.replicas[i].admin + "/mod_cluster-manager"}
	_, page := m.get("")
	for _, l := range pageLink.FindAllStringSubmatch(page, -1) {
		if u, err := url.Parse(html.UnescapeString(l[1])); err == nil && u.Query().Get("nonce") != "" {
			m.nonce = u.Query().Get("nonce")
			return m
		}
	}
	t.Fatalf("no nonce on the page:\n%s", page)
	return nil
}

// get asks for the page as it is.
func (m *managerAt) get(query string, header ...string) (http.Header, string) {
	m.t.Helper()
	r, err := http.NewRequest("GET", m.url+query, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := asker.Do(r)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		m.t.Fatalf("%s: %s, %v", query, resp.Status, err)
	}
	return resp.Header, string(b)
}

// do obeys a link: with the nonce.
func (m *managerAt) do(query string, header ...string) string {
	m.t.Helper()
	h, body := m.get("?nonce="+m.nonce+"&"+query, header...)
	if mess := h.Get("Mess"); mess != "" {
		m.t.Fatalf("%s: %s", query, mess)
	}
	return body
}

// registerThree has app-1 and app-2 in blue and app-3 in none, and gives their names.
func registerThree(t *testing.T, c *trio) []string {
	names := []string{"app-1", "app-2", "app-3"}
	mcmp := c.replicas[c.follower()].mcmp
	for i, port := range farm(t, 3) {
		config := fmt.Sprintf("JVMRoute=%s&Host=127.0.0.1&Port=%d&Type=http", names[i], port)
		if i < 2 {
			config += "&Domain=blue"
		}
		mustSend(t, mcmp, "CONFIG", "/", config)
		mustSend(t, mcmp, "ENABLE-APP", "/", "JVMRoute="+names[i]+"&Alias=default-host,localhost&Context=/shop,/api")
		mustSend(t, mcmp, "ENABLE-APP", "/", "JVMRoute="+names[i]+"&Alias=intranet.example.com&Context=/shop")
		mustSend(t, mcmp, "STATUS", "/", "JVMRoute="+names[i]+"&Load=87")
	}
	mustSend(t, mcmp, "ENABLE-APP", "/", "JVMRoute=app-3&Alias=localhost&Context=/r%26d")
	mustSend(t, mcmp, "DISABLE-APP", "/", "JVMRoute=app-2&Alias=localhost&Context=/api")
	return names
}

// TestManagerPage is the row "httpd's perl-style scrape of the manager page and
// INFO/DUMP: same fields as spec", and that each command of the page ends in
// every replica's table.
func TestManagerPage(t *testing.T) {
	c := startTrio(t)
	registerThree(t, c)
	at := c.follower()
	m := c.managerPage(t, at)

	t.Run("scrape", func(t *testing.T) { scrapeManager(t, c, at, m) })
	t.Run("xml", func(t *testing.T) { scrapeXML(t, m) })
	t.Run("commands", func(t *testing.T) { commandManager(t, c, m) })
}

func scrapeManager(t *testing.T, c *trio, at int, m *managerAt) {
	_, page := m.get("")
	page = html.UnescapeString(page)
	info, dump := m.do("Cmd=INFO&Range=ALL"), m.do("Cmd=DUMP&Range=ALL")
	if got := c.info(at); got != info {
		t.Errorf("INFO of the page:\n%s\nof MCMP:\n%s", info, got)
	}
	if got := send(t, c.replicas[at].mcmp, "DUMP", "/", "").body; got != dump {
		t.Errorf("DUMP of the page:\n%s\nof MCMP:\n%s", dump, got)
	}

	heading := pageHeading.FindStringSubmatch(page)
	release := send(t, c.replicas[at].mcmp, "VERSION", "/", "").body
	if heading == nil || !strings.HasPrefix(release, "release: "+heading[1]+"/"+heading[2]+", protocol: ") {
		t.Errorf("heading %q, VERSION %q: they must agree", heading, release)
	}

	// Each pattern finds so many records: what is not matched whole is missing.
	total := 0
	for _, row := range []struct {
		what    string
		text    string
		pattern *regexp.Regexp
		records int
	}{
		{"page Node", page, pageNode, 3}, {"page Balancer line", page, pageBalance, 3}, {"page LBGroup", page, pageDomain, 2},
		{"page Virtual Host", page, pageHost, 6}, {"page Context", page, pageContext, 10},
		{"INFO Node", info, infoNode, 3}, {"INFO Vhost", info, infoHost, 9}, {"INFO Context", info, infoContext, 10},
		{"DUMP balancer", dump, dumpBalancer, 1}, {"DUMP node", dump, dumpNode, 3}, {"DUMP host", dump, dumpHost, 9}, {"DUMP context", dump, dumpContext, 10},
	} {
		found := row.pattern.FindAllStringSubmatch(row.text, -1)
		if len(found) != row.records {
			t.Errorf("%s: %d records, want %d in\n%s", row.what, len(found), row.records, row.text)
			continue
		}
		total += len(found) * (len(found[0]) - 1)
		t.Logf("%-20s %2d records of %2d fields", row.what, len(found), len(found[0])-1)
	}
	for text, patterns := range map[string][]*regexp.Regexp{info: {infoNode, infoHost, infoContext}, dump: {dumpBalancer, dumpNode, dumpHost, dumpContext}} {
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			if !slices.ContainsFunc(patterns, func(p *regexp.Regexp) bool { return p.FindString(line) == line }) {
				t.Errorf("a line that no pattern knows: %q", line)
			}
		}
	}

	// The three say the same of each node.
	equal := 0
	nodes, lines := pageNode.FindAllStringSubmatch(page, -1), pageBalance.FindAllStringSubmatch(page, -1)
	for _, i := range infoNode.FindAllStringSubmatch(info, -1) {
		k := slices.IndexFunc(nodes, func(n []string) bool { return n[1] == i[2] })
		if k < 0 {
			t.Errorf("%s is not on the page", i[2])
			continue
		}
		n, l := nodes[k], lines[k]
		fromPage := append([]string{n[1], l[1], l[2], n[3], n[4], n[2]}, append(slices.Clone(l[3:8]), l[9:]...)...)
		if !slices.Equal(fromPage, i[2:]) {
			t.Errorf("the page says %q, INFO %q", fromPage, i[2:])
		}
		if l[8] != "OK" {
			t.Errorf("%s: Status %s", n[1], l[8])
		}
		equal += len(fromPage)
		d := dumpNode.FindAllStringSubmatch(dump, -1)[slices.IndexFunc(dumpNode.FindAllStringSubmatch(dump, -1), func(d []string) bool { return d[4] == i[2] })]
		if fromDump := []string{d[1], d[4], d[3], d[5], d[6], d[7], d[8]}; !slices.Equal(fromDump, i[1:8]) {
			t.Errorf("DUMP says %q, INFO %q", fromDump, i[1:8])
		}
	}
	var contexts, infoContexts, aliases, infoAliases []string
	for _, x := range pageContext.FindAllStringSubmatch(page, -1) {
		contexts = append(contexts, x[1]+" "+x[2])
	}
	for _, x := range infoContext.FindAllStringSubmatch(info, -1) {
		infoContexts = append(infoContexts, x[4]+" "+x[5])
	}
	for _, list := range pageAliases.FindAllStringSubmatch(page, -1) {
		for _, x := range pageAlias.FindAllStringSubmatch(list[1], -1) {
			aliases = append(aliases, x[1])
		}
	}
	for _, x := range infoHost.FindAllStringSubmatch(info, -1) {
		infoAliases = append(infoAliases, x[4])
	}
	for _, list := range [][]string{contexts, infoContexts, aliases, infoAliases} {
		slices.Sort(list) // the page goes by LBGroup
	}
	if !slices.Equal(contexts, infoContexts) || !slices.Equal(aliases, infoAliases) {
		t.Errorf("the page has\n%q\n%q\nINFO\n%q\n%q", contexts, aliases, infoContexts, infoAliases)
	}

	// The links that scripts follow, by what they say.
	links := map[string]int{}
	for _, l := range pageLink.FindAllStringSubmatch(page, -1) {
		links[l[2]]++
	}
	want := map[string]int{"Auto Refresh": 1, "show DUMP output": 1, "show INFO output": 1, "Enable Nodes": 2, "Disable Nodes": 2, "Stop Nodes": 2,
		"Enable Contexts": 3, "Disable Contexts": 3, "Stop Contexts": 3, "Disable": 10, "Stop": 10}
	if !reflect.DeepEqual(links, want) {
		t.Errorf("links %v, want %v", links, want)
	}
	t.Logf("%d fields scraped from the page, INFO and DUMP; %d of the page's equal INFO's; %d kinds of links", total, equal, len(links))
}

func scrapeXML(t *testing.T, m *managerAt) {
	for _, what := range []string{"INFO", "DUMP"} {
		h, text := m.get("?nonce="+m.nonce+"&Cmd="+what+"&Range=ALL", "Accept", "text/xml")
		if h.Get("Content-Type") != "text/xml" {
			t.Errorf("%s: Content-Type %q", what, h.Get("Content-Type"))
		}
		d, elements := xml.NewDecoder(strings.NewReader(text)), map[string]int{}
		for {
			token, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v in\n%s", what, err, text)
			}
			if e, ok := token.(xml.StartElement); ok {
				elements[e.Name.Local]++
			}
		}
		if elements["JVMRoute"]+elements["Elected"] != 3 || elements["Nodes"] != 1 || elements["Contexts"] != 1 {
			t.Errorf("%s: elements %v", what, elements)
		}
	}
}

// commandManager clicks on one replica and asks all of them.
func commandManager(t *testing.T, c *trio, m *managerAt) {
	// effective lists "w1 /path ENABLED" of every context that is not ENABLED.
	effective := func(i int) string {
		var out []string
		for _, w := range c.workers(i).Workers {
			for _, x := range w.Contexts {
				if x.Effective != "ENABLED" {
					out = append(out, w.Route+" "+x.Aliases[0]+x.Path+" "+x.Effective)
				}
			}
		}
		slices.Sort(out)
		return strings.Join(out, ", ")
	}
	everywhere := func(query, want string) {
		t.Helper()
		for i := range c.replicas {
			waitFor(t, patience, c.replicas[i].name+" to obey "+query, func() error {
				if got := effective(i); got != want {
					return fmt.Errorf("%q, want %q", got, want)
				}
				return nil
			})
		}
	}
	all := func(status string, routes ...string) string {
		var out []string
		for _, r := range routes {
			for _, at := range []string{"default-host/api", "default-host/shop", "intranet.example.com/shop"} {
				out = append(out, r+" "+at+" "+status)
			}
		}
		return strings.Join(out, ", ")
	}
	const before = "app-2 default-host/api DISABLED"
	clicks := 0
	for _, x := range []struct{ query, want string }{
		{"Cmd=DISABLE-APP&Range=NODE&JVMRoute=app-1", all("DISABLED", "app-1") + ", " + before},
		{"Cmd=STOP-APP&Range=NODE&JVMRoute=app-1", all("STOPPED", "app-1") + ", " + before},
		{"Cmd=ENABLE-APP&Range=NODE&JVMRoute=app-1", before},
		{"Cmd=DISABLE-APP&Range=DOMAIN&Domain=blue", all("DISABLED", "app-1", "app-2")},
		{"Cmd=STOP-APP&Range=DOMAIN&Domain=blue", all("STOPPED", "app-1", "app-2")},
		{"Cmd=ENABLE-APP&Range=DOMAIN&Domain=blue", before},
		{"Cmd=DISABLE-APP&Range=CONTEXT&JVMRoute=app-1&Alias=localhost&Context=%2Fshop", "app-1 default-host/shop DISABLED, " + before},
		{"Cmd=STOP-APP&Range=CONTEXT&JVMRoute=app-1&Alias=default-host&Context=%2Fshop", "app-1 default-host/shop STOPPED, " + before},
	} {
		m.do(x.query)
		clicks++
		everywhere(x.query, x.want)
	}

	// What the worker says meanwhile lifts nothing: not httpd's way, but what its page's users want.
	held := "app-1 default-host/shop STOPPED, " + before
	mustSend(t, c.replicas[0].mcmp, "ENABLE-APP", "/", "JVMRoute=app-1&Alias=default-host,localhost&Context=/shop")
	everywhere("the worker's ENABLE-APP", held)

	// Without the page's nonce nothing happens.
	for _, query := range []string{"?Cmd=ENABLE-APP&Range=NODE&JVMRoute=app-1", "?nonce=00000000-0000-0000-0000-000000000000&Cmd=ENABLE-APP&Range=NODE&JVMRoute=app-1",
		"?nonce=" + c.managerPage(t, (c.leader())).nonce + "x&Cmd=ENABLE-APP&Range=NODE&JVMRoute=app-1"} {
		m.get(query)
	}
	everywhere("nothing", held)

	m.do("Cmd=ENABLE-APP&Range=CONTEXT&JVMRoute=app-1&Alias=localhost&Context=%2Fshop")
	clicks++
	everywhere("ENABLE of a context", before)
	m.do("Cmd=REMOVE-APP&Range=NODE&JVMRoute=app-2")
	clicks++
	everywhere("REMOVE-APP", "")

	for i := range c.replicas {
		set, released := c.logLines(i, "hold set"), c.logLines(i, "hold released")
		if len(set) != 8 || len(released) != 4 {
			t.Errorf("%s logged %d holds and %d releases, want 8 and 4", c.replicas[i].name, len(set), len(released))
		}
		for _, line := range set {
			if line["by"] != "127.0.0.1" || line["reason"] != "manager page" {
				t.Errorf("%s: %v", c.replicas[i].name, line)
			}
		}
	}
	t.Logf("%d commands of one follower's page, each in the table of all %d replicas", clicks, len(c.replicas))
}
