package migrate

import (
	"regexp"
	"strings"
)

const instead = "(hidden)"

var (
	// secretName is the name of a directive, a variable or an attribute whose value is not told.
	secretName = regexp.MustCompile(`(?i)secret|passw|passphrase|securitykey|security-key|credential|clear-text|token|api_?key|private_?key$`)
	// secretPart is a secret among other words: secret=x of a ProxyPass, user:password@ of an address.
	secretPart = regexp.MustCompile(`(?i)\b((?:\w*secret|\w*passw\w*|pass|token)=)\S+|(://[^/@\s:]*:)[^/@\s]+(@)`)
	// secretHeader is set to what lets somebody in.
	secretHeader = regexp.MustCompile(`(?i)^(proxy-)?authorization$|^cookie$|key|token|secret`)
)

// hide keeps a value out of all that is told.
func (c *converter) hide(value string) {
	if value != "" {
		c.hidden = append(c.hidden, value)
	}
}

// shown is the value of a directive as the report may tell it.
func (c *converter) shown(d *directive) string {
	last := d.name[strings.LastIndexByte(d.name, ' ')+1:]
	switch {
	case secretName.MatchString(last) && len(d.args) > 0:
		for _, a := range d.args {
			c.hide(a)
		}
		return instead
	case (d.is("Define") || d.is("SetEnv")) && secretName.MatchString(d.arg(0)) && len(d.args) > 1:
		c.hide(d.arg(1))
		return d.arg(0) + " " + instead
	case (d.is("RequestHeader") || d.is("Header")) && len(d.args) > 2 && secretHeader.MatchString(d.arg(1)):
		return d.arg(0) + " " + d.arg(1) + " " + instead
	}
	for _, a := range d.args {
		for _, m := range secretPart.FindAllString(a, -1) {
			if _, value, ok := strings.Cut(m, "="); ok {
				c.hide(value)
			}
		}
	}
	return secretPart.ReplaceAllString(strings.Join(d.args, " "), "${1}${2}"+instead+"${3}")
}

// without takes secrets out of a text. Short ones only count as whole words: they may be
// anywhere by chance.
func (c *converter) without(text string) string {
	for _, h := range c.hidden {
		if len(h) >= 6 {
			text = strings.ReplaceAll(text, h, instead)
			continue
		}
		words := strings.Split(text, " ")
		for i, w := range words {
			if w == h {
				words[i] = instead
			}
		}
		text = strings.Join(words, " ")
	}
	return text
}
