package config

import "reflect"

// Changed names the keys that two configurations give different values, in the order
// of the file. Of two lists of sections with the same number of items it names the
// keys that differ in them: traffic.listeners[1].tls.cert_file.
func Changed(a, b *Config) []string {
	var keys []string
	changed(reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem(), "", func(key string) { keys = append(keys, key) })
	return keys
}

// changed visits what differs below the section named path.
func changed(a, b reflect.Value, path string, visit func(key string)) {
	for _, f := range fieldsOf(a.Type()) {
		x, y, at := a.FieldByIndex(f.index), b.FieldByIndex(f.index), join(path, f.name)
		switch {
		case isSection(f.typ):
			changed(x, y, at, visit)
		case isOptional(f.typ) && !x.IsNil() && !y.IsNil():
			changed(x.Elem(), y.Elem(), at, visit)
		case isObjects(f.typ) && x.Len() == y.Len():
			for i := range x.Len() {
				changed(x.Index(i), y.Index(i), indexed(at, i), visit)
			}
		case isList(f.typ) && x.Len() == 0 && y.Len() == 0: // nil or empty
		case !reflect.DeepEqual(x.Interface(), y.Interface()):
			visit(at)
		}
	}
}
