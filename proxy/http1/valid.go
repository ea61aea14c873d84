package http1

// ValidMethod reports whether s is a token.
func ValidMethod[T Text](s T) bool { return all(s, inToken) }

// ValidFieldName reports whether s is a token.
func ValidFieldName[T Text](s T) bool { return all(s, inToken) }

// ValidFieldValue reports whether s may stand behind a colon: no control byte but
// HTAB, and no blank at its ends (RFC 9110 §5.5).
func ValidFieldValue[T Text](s T) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return len(trim(s)) == len(s)
}

// ValidTarget reports whether s is "*" or in origin-form: 21-7E without "#", and
// without "\" in front of the query.
func ValidTarget[T Text](s T) bool {
	if len(s) == 0 || s[0] != '/' {
		return len(s) == 1 && s[0] == '*'
	}
	path := true
	for i := range len(s) {
		path = path && s[i] != '?'
		if c := classes[s[i]]; c&inTarget == 0 || path && c&backslash != 0 {
			return false
		}
	}
	return true
}

// ValidHost reports whether s is one host with or without a port of 1 to 65535:
// a name, an IPv4 address, or an IPv6 address in brackets. No user part, no list,
// no escapes (http-notes §1).
func ValidHost[T Text](s T) bool {
	i := 0
	if len(s) > 0 && s[0] == '[' {
		for i < len(s) && s[i] != ']' {
			i++
		}
		if i == len(s) || !validIPv6(s[1:i]) {
			return false
		}
		i++
	} else {
		for i < len(s) && classes[s[i]]&inHost != 0 {
			i++
		}
		if i == 0 {
			return false
		}
	}
	return i == len(s) || s[i] == ':' && validPort(s[i+1:])
}

func validPort[T Text](s T) bool {
	n := 0
	for i := range len(s) {
		if classes[s[i]]&isDigit == 0 || i == 5 {
			return false
		}
		n = n*10 + int(s[i]-'0')
	}
	return 1 <= n && n <= 65535
}

// validIPv6: eight groups of 1 to 4 hex digits, one run of which may be "::", the
// last two of which may be an IPv4 address (RFC 3986 §3.2.2).
func validIPv6[T Text](s T) bool {
	groups, short := 0, false
	for i := 0; i < len(s); {
		if s[i] == ':' { // at the start only as "::", later after each group
			if i+1 < len(s) && s[i+1] == ':' {
				if short {
					return false
				}
				short = true
				i += 2
				continue
			}
			if i == 0 || s[i-1] == ':' || i+1 == len(s) {
				return false
			}
			i++
		}
		start := i
		for i < len(s) && classes[s[i]]&isHex != 0 {
			i++
		}
		if i < len(s) && s[i] == '.' {
			groups += 2
			if !validIPv4(s[start:]) {
				return false
			}
			break
		}
		if i == start || i-start > 4 || i < len(s) && s[i] != ':' {
			return false
		}
		groups++
	}
	return groups == 8 && !short || groups < 8 && short
}

func validIPv4[T Text](s T) bool {
	dots, digits, n := 0, 0, 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.' && digits > 0:
			dots++
			digits, n = 0, 0
		case classes[c]&isDigit != 0 && !(digits > 0 && n == 0):
			digits++
			n = n*10 + int(c-'0')
			if n > 255 {
				return false
			}
		default:
			return false
		}
	}
	return dots == 3 && digits > 0
}
