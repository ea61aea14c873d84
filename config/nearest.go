package config

import (
	"reflect"
	"strings"
)

// nearest returns the known key most like name, which is none of the section at
// path: a sibling by its bare name, another key by its path; "" when none is near.
func nearest(path string, section reflect.Type, name string) string {
	name = strings.ToLower(name)
	best, bestCost := "", 1000
	consider := func(candidate, shown string, distance int) {
		if cost := unlike(name, candidate)*10 + distance; cost < bestCost {
			best, bestCost = shown, cost
		}
	}
	for _, f := range fieldsOf(section) {
		if f.tag.Get("later") == "" && near(name, f.name) {
			consider(f.name, f.name, 0)
		}
	}
	top, _, _ := strings.Cut(path, ".")
	everyKey(reflect.TypeFor[Config](), "", func(key, last string) {
		// Elsewhere only what can hardly be meant otherwise.
		if unlike(name, last) > 1 || !near(name, last) {
			return
		}
		distance := 15 // a slip of one letter in a sibling is more likely
		if path != "" && inside(key, top) {
			distance = 12
		}
		consider(last, key, distance)
	})
	return best
}

// everyKey visits all keys there are but those of list items and those that are not
// available; last is the key's own name.
func everyKey(section reflect.Type, path string, visit func(key, last string)) {
	for _, f := range fieldsOf(section) {
		if f.tag.Get("later") != "" {
			continue
		}
		key := join(path, f.name)
		visit(key, f.name)
		if isSection(f.typ) {
			everyKey(f.typ, key, visit)
		}
	}
}

// near reports whether a may be a slip for b.
func near(a, b string) bool {
	return unlike(a, b) <= max(1, min(len(a), len(b))/3)
}

// unlike is the number of letters to insert, delete, change or swap to come from a
// to b; a whole end too many or too few (secret, secret_file, file) counts one.
func unlike(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	longer := strings.HasPrefix(b, a) || strings.HasPrefix(a, b) && len(b) >= 4
	if a != b && (longer && len(a) >= 4 || strings.HasSuffix(b, "_"+a) || strings.HasSuffix(a, "_"+b)) {
		return 1
	}
	var before []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			change := row[j]
			if a[i] != b[j] {
				change++
			}
			next[j+1] = min(change, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
