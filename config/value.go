package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Size in bytes, written 512, 8KiB, 1MiB, 1GiB.
type Size int64

// Rate in events per second, written 100/s.
type Rate float64

// ByteRate in bytes per second, written 500B/s, 64KiB/s.
type ByteRate int64

// Share of a whole, 0 to 1.
type Share float64

// Auto is a value that may be left to quorate: Given is false for "auto".
type Auto[T any] struct {
	Given bool
	Value T
}

// Or returns the value, or auto's meaning where none was given.
func (a Auto[T]) Or(auto T) T {
	if a.Given {
		return a.Value
	}
	return auto
}

// automatic marks every Auto[T] for the code that walks the tree.
func (Auto[T]) automatic() {}

const (
	maxText = 4096 // of one string, in bytes
	maxDays = math.MaxInt64 / int64(24*time.Hour)
)

// What a text must look like, for errors.
var (
	errText     = errors.New("must be UTF-8 without control characters, at most 4096 bytes")
	errBool     = errors.New("must be true or false")
	errInt      = errors.New("must be a whole number, 0 or more")
	errDuration = errors.New("must be a duration such as 10s, 5m or 7d")
	errSize     = errors.New("must be a size such as 512, 8KiB or 1GiB")
	errRate     = errors.New("must be a rate such as 100/s")
	errByteRate = errors.New("must be a rate such as 500B/s or 64KiB/s")
	errShare    = errors.New("must be a share from 0 to 1, such as 0.2")
	errList     = errors.New("must be a list: [a, b]")
	errPrefix   = errors.New("must be a network such as 10.0.0.0/8")
)

// orAuto says in a rule that auto would do as well.
func orAuto(rule error) error {
	text := strings.Replace(rule.Error(), "must be ", "must be auto or ", 1)
	if rule == errBool {
		text = strings.Replace(text, " or", ",", 1)
	}
	return errors.New(text)
}

// parseText sets the scalar v to what s says.
func parseText(v reflect.Value, s string) error {
	switch p := v.Addr().Interface().(type) {
	case *string:
		return set(p, s, errText, func(s string) (string, bool) { return s, goodText(s) })
	case *bool:
		return set(p, s, errBool, func(s string) (bool, bool) { return s == "true", s == "true" || s == "false" })
	case *int:
		return set(p, s, errInt, parseInt)
	case *time.Duration:
		return set(p, s, errDuration, parseDuration)
	case *Size:
		return set(p, s, errSize, parseSize)
	case *Rate:
		return set(p, s, errRate, parseRate)
	case *ByteRate:
		return set(p, s, errByteRate, parseByteRate)
	case *Share:
		return set(p, s, errShare, parseShare)
	case *netip.Prefix:
		return set(p, s, errPrefix, parsePrefix)
	}
	panic(fmt.Sprintf("config: no text form for %s", v.Type()))
}

func set[T any](p *T, s string, rule error, parse func(string) (T, bool)) error {
	v, ok := parse(s)
	if !ok {
		return rule
	}
	*p = v
	return nil
}

// formatText is the inverse of parseText.
func formatText(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return formatDuration(x)
	case Size:
		return formatSize(int64(x))
	case Rate:
		if x == 0 {
			return "0"
		}
		return strconv.FormatFloat(float64(x), 'f', -1, 64) + "/s"
	case ByteRate:
		if x == 0 {
			return "0"
		}
		if s := formatSize(int64(x)); strings.HasSuffix(s, "B") {
			return s + "/s"
		}
		return strconv.FormatInt(int64(x), 10) + "B/s"
	case Share:
		return strconv.FormatFloat(float64(x), 'f', -1, 64)
	}
	return fmt.Sprint(v.Interface())
}

func goodText(s string) bool {
	return len(s) <= maxText && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

func parseInt(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 31)
	return int(n), err == nil
}

// parseDuration reads what time.ParseDuration does, days before it, nothing negative.
func parseDuration(s string) (time.Duration, bool) {
	var days int64
	if before, after, found := strings.Cut(s, "d"); found {
		n, err := strconv.ParseUint(before, 10, 63)
		if err != nil || int64(n) > maxDays {
			return 0, false
		}
		days, s = int64(n), after
		if s == "" {
			s = "0"
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || strings.ContainsAny(s, "+-") {
		return 0, false
	}
	d += time.Duration(days) * 24 * time.Hour
	return d, d >= 0
}

// formatDuration keeps to the one unit people write: 7d, 5m, 75s.
func formatDuration(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
		from time.Duration
	}{{24 * time.Hour, "d", 24 * time.Hour}, {time.Hour, "h", time.Hour}, {time.Minute, "m", 2 * time.Minute}} {
		if d >= u.from && d%u.unit == 0 {
			return strconv.FormatInt(int64(d/u.unit), 10) + u.name
		}
	}
	if d%time.Second == 0 && d < 10*time.Minute {
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	}
	return d.String()
}

var sizeUnits = []struct {
	name string
	n    int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func parseSize(s string) (Size, bool) {
	unit := int64(1)
	for _, u := range sizeUnits {
		if n, found := strings.CutSuffix(s, u.name); found {
			s, unit = n, u.n
			break
		}
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || int64(n) > math.MaxInt64/unit {
		return 0, false
	}
	return Size(int64(n) * unit), true
}

func formatSize(n int64) string {
	for _, u := range sizeUnits {
		if u.n > 1 && n >= u.n && n%u.n == 0 {
			return strconv.FormatInt(n/u.n, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

func parseRate(s string) (Rate, bool) {
	n, found := strings.CutSuffix(s, "/s")
	if !found && s != "0" {
		return 0, false
	}
	f, ok := parseDecimal(n)
	return Rate(f), ok && f <= 1e12
}

func parseByteRate(s string) (ByteRate, bool) {
	n, found := strings.CutSuffix(s, "/s")
	if !found && s != "0" {
		return 0, false
	}
	size, ok := parseSize(n)
	return ByteRate(size), ok
}

func parseShare(s string) (Share, bool) {
	f, ok := parseDecimal(s)
	return Share(f), ok && f <= 1
}

// parseDecimal reads 12 and 0.25, and none of the other forms of a float.
func parseDecimal(s string) (float64, bool) {
	if s == "" || strings.Trim(s, "0123456789.") != "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

// parsePrefix takes a network or a single address; bits behind the mask are cut.
func parsePrefix(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, false
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}
