package admin

import (
	"html"
	"strings"
	"testing"

	"github.com/quorate/quorate/fsm"
)

// TestManagerCommands clicks through one state; each step says which lines of
// statuses change.
func TestManagerCommands(t *testing.T) {
	f := newFarm(t)
	url := f.open(t, nil)
	no := nonce(t, url)
	const start = "app-1 default-host /api ENABLED\napp-1 default-host /shop ENABLED\n" +
		"app-1 admin.example.com / ENABLED\napp-1 admin.example.com /shop ENABLED\n" +
		"app-2 default-host /api DISABLED\napp-2 default-host /shop ENABLED\n" +
		"app-3 default-host /api ENABLED\napp-3 default-host /shop ENABLED\n"
	if got := f.statuses(); got != start {
		t.Fatalf("at the start:\n%s", got)
	}
	app1 := func(status string) []string {
		return []string{"app-1 default-host /api " + status, "app-1 default-host /shop " + status,
			"app-1 admin.example.com / " + status, "app-1 admin.example.com /shop " + status}
	}
	app2 := func(status string) []string {
		return []string{"app-2 default-host /api " + status, "app-2 default-host /shop " + status}
	}
	for _, c := range []struct {
		query string
		want  []string // else as at the start
	}{
		{"Cmd=DISABLE-APP&Range=NODE&JVMRoute=app-1", app1("DISABLED")},
		{"Cmd=STOP-APP&Range=NODE&JVMRoute=app-1", app1("STOPPED")},
		{"Cmd=DISABLE-APP&Range=NODE&JVMRoute=app-1", app1("DISABLED")}, // the last word counts
		{"Cmd=ENABLE-APP&Range=NODE&JVMRoute=app-1", nil},
		{"Cmd=STOP-APP&Range=DOMAIN&Domain=blue", append(app1("STOPPED"), app2("STOPPED")...)},
		{"cmd=disable-app&range=domain&domain=blue", append(app1("DISABLED"), app2("DISABLED")...)},
		{"Cmd=ENABLE-APP&Range=DOMAIN&Domain=blue", nil}, // and what the worker itself disabled stays so
		{"Cmd=STOP-APP&Range=DOMAIN&Domain=", []string{"app-3 default-host /api STOPPED", "app-3 default-host /shop STOPPED"}},
		{"Cmd=ENABLE-APP&Range=DOMAIN&Domain=", nil},
		{"Cmd=STOP-APP&Range=CONTEXT&JVMRoute=app-1&Alias=localhost&Context=%2Fshop", []string{"app-1 default-host /shop STOPPED"}},
		{"Cmd=DISABLE-APP&JVMRoute=app-1&Alias=nobody,DEFAULT-HOST&Context=/shop", []string{"app-1 default-host /shop DISABLED"}},
		{"Cmd=DISABLE-APP&Range=CONTEXT&JVMRoute=app-1&Alias=admin.example.com&Context=/&Context=/shop",
			[]string{"app-1 default-host /shop DISABLED", "app-1 admin.example.com / DISABLED", "app-1 admin.example.com /shop DISABLED"}},
		{"Cmd=ENABLE-APP&Range=CONTEXT&JVMRoute=app-1&Alias=default-host&Context=/shop",
			[]string{"app-1 admin.example.com / DISABLED", "app-1 admin.example.com /shop DISABLED"}},
		{"Cmd=ENABLE-APP&Range=NODE&JVMRoute=app-1", nil}, // lifts its contexts' too
		{"Cmd=ENABLE-APP&Range=CONTEXT&JVMRoute=app-1&Alias=default-host&Context=/shop", nil},
	} {
		a := get(t, url+"?nonce="+no+"&"+c.query)
		if a.code != 200 || a.header.Get("Mess") != "" {
			t.Fatalf("%s: %d %s", c.query, a.code, a.header.Get("Mess"))
		}
		want := start
		for _, line := range c.want {
			key := line[:strings.LastIndex(line, " ")+1]
			i := strings.Index(want, key)
			if i < 0 {
				t.Fatalf("no line %s", key)
			}
			end := i + strings.Index(want[i:], "\n")
			want = want[:i] + line + want[end:]
		}
		got := f.statuses()
		if got != want {
			t.Fatalf("after %s:\n%s\nwant:\n%s", c.query, got, want)
		}
		for line := range strings.Lines(got) {
			fields := strings.Fields(line)
			if !strings.Contains(a.body, fields[2]+", Status: "+fields[3]+" Request: 3<") {
				t.Errorf("after %s the page does not show %s", c.query, line)
			}
		}
	}

	for _, query := range []string{"Cmd=REMOVE-APP&JVMRoute=app-1&Alias=admin.example.com&Context=/", "Cmd=REMOVE-APP&Range=NODE&JVMRoute=app-3"} {
		if a := get(t, url+"?nonce="+no+"&"+query); a.header.Get("Mess") != "" {
			t.Fatalf("%s: %s", query, a.header.Get("Mess"))
		}
	}
	want := strings.Replace(start[:strings.Index(start, "app-3")], "app-1 admin.example.com / ENABLED\n", "", 1)
	if got := f.statuses(); got != want {
		t.Errorf("after the removals:\n%s", got)
	}
	for _, c := range f.commands() {
		if c.Origin != fsm.FromOperator || c.Source != "manager:127.0.0.1" || c.By != "127.0.0.1" {
			t.Errorf("not an operator's: %+v", c)
		}
	}
}

func TestManagerRefuses(t *testing.T) {
	f := newFarm(t)
	f.must(t, fsm.Command{Op: fsm.OpHold, Origin: fsm.FromOperator, Route: "app-3", By: "ops"})
	url := f.open(t, nil)
	no := nonce(t, url)
	before := f.statuses()
	for query, mess := range map[string]string{
		"Cmd=CONFIG&JVMRoute=app-1":                                          `SYNTAX: Command "CONFIG" is not supported`,
		"Cmd=STATUS&Range=NODE&JVMRoute=app-1&Load=0":                        `SYNTAX: Command "STATUS" is not supported`,
		"Cmd=STOP-APP&Range=NODE":                                            `SYNTAX: JVMRoute can't be empty`,
		"Cmd=STOP-APP&Range=NODE&JVMRoute=app-9":                             `MEM: Can't read node with "app-9" JVMRoute`,
		"Cmd=REMOVE-APP&Range=NODE&JVMRoute=app-9":                           `MEM: Can't read node with "app-9" JVMRoute`,
		"Cmd=STOP-APP&Range=NODE&JVMRoute=" + strings.Repeat("x", 64):        `SYNTAX: JVMRoute field too big`,
		"Cmd=STOP-APP&Range=NODE&JVMRoute=%0D%0AX:%20y":                      `MEM: Can't read node with "\r\nX: y" JVMRoute`,
		"Cmd=STOP-APP&Range=DOMAIN":                                          `SYNTAX: Mandatory field(s) missing in message: Domain`,
		"Cmd=STOP-APP&Range=DOMAIN&Domain=green":                             `MEM: Can't read node with "green" LBGroup`,
		"Cmd=STOP-APP&Range=DOMAIN&Domain=" + strings.Repeat("x", 20):        `SYNTAX: LBGroup field too big`,
		"Cmd=STOP-APP&JVMRoute=app-1":                                        `SYNTAX: No Context and Alias in APP command`,
		"Cmd=STOP-APP&JVMRoute=app-1&Alias=localhost":                        `SYNTAX: Alias without Context`,
		"Cmd=STOP-APP&JVMRoute=app-1&Context=/shop&Alias=,":                  `SYNTAX: Context without Alias`,
		"Cmd=STOP-APP&JVMRoute=app-1&Alias=localhost&Context=/none":          `MEM: Can't read context "/none" of host alias "localhost" of node "app-1"`,
		"Cmd=STOP-APP&JVMRoute=app-1&Alias=no.example.com&Context=/shop":     `MEM: Can't read context "/shop" of host alias "no.example.com" of node "app-1"`,
		"Cmd=ENABLE-APP&JVMRoute=app-2&Alias=localhost&Context=/api":         `MEM: Can't enable context "/api": the worker "app-2" itself says DISABLED`,
		"Cmd=ENABLE-APP&JVMRoute=app-3&Alias=localhost&Context=/shop":        `MEM: Can't enable context "/shop" alone: node "app-3" is held as a whole, by ops: enable the node's contexts`,
		"Cmd=%3Cscript%3E&Range=NODE&JVMRoute=%3Cscript%3Ealert(1)%3Cscript": `SYNTAX: Command "<SCRIPT>" is not supported`,
	} {
		a := get(t, url+"?nonce="+no+"&"+query)
		kind, _, _ := strings.Cut(mess, ":")
		if a.code != 200 || a.header.Get("Mess") != mess || a.header.Get("Type") != kind || a.header.Get("Version") != "0.2.1" {
			t.Errorf("%s: %d %q, want %q", query, a.code, a.header.Get("Mess"), mess)
		}
		if !strings.Contains(a.body, "<h2>Command failed</h2>\n<p>"+html.EscapeString(mess)) || !strings.Contains(a.body, `<a href="?nonce=`+no+`">Continue</a>`) {
			t.Errorf("%s: the page does not say so:\n%s", query, a.body)
		}
	}
	for query, why := range map[string]string{
		"Cmd":                   "has no =",
		"nonce=" + no + "&Cmd":  "has no =",
		"a=1&&b=2":              "has no =",
		"nonce=%zz":             "cannot be decoded",
		"JVMRoute=%":            "cannot be decoded",
		"nonce=" + no + "&x=%4": "cannot be decoded",
	} {
		if a := get(t, url+"?"+query); a.code != 400 || !strings.Contains(a.body, why) || !strings.Contains(a.body, "Continue") {
			t.Errorf("%s: %d %s", query, a.code, a.body)
		}
	}
	if after := f.statuses(); after != before {
		t.Errorf("changed:\n%s", after)
	}

	off := f.open(t, func(c *Config) { c.Manager.AllowCmd = false })
	a := get(t, off+"?nonce="+nonce(t, off)+"&Cmd=STOP-APP&Range=NODE&JVMRoute=app-1")
	if a.header.Get("Mess") != "SYNTAX: STOP-APP is not allowed: admin.manager.allow_cmd is false" {
		t.Errorf("without allow_cmd: %d %q", a.code, a.header.Get("Mess"))
	}
	if page := get(t, off).body; strings.Contains(page, "-APP") {
		t.Error("without allow_cmd there are links that change something")
	}
}
