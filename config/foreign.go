// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strings"
)

// foreignTable finds the entry of a key: its own, or that of the nearest table around it.
type foreignTable map[string]foreign

func newForeignTable() foreignTable {
	t := make(foreignTable)
	for _, f := range foreignKeys() {
		t[f.name] = f
	}
	return t
}

// find returns the entry for a key, and whether there is one.
func (t foreignTable) find(name string) (foreign, bool) {
	for at := name; at != ""; at = parent(at) {
		if f, ok := t[at]; ok {
			return f, true
		}
	}
	return foreign{}, false
}

// holds reports whether name is a table that has keys in t, or is inside one.
func (t foreignTable) holds(name string) bool {
	for key := range t {
		if strings.HasPrefix(key, name+".") {
			return true
		}
	}
	_, ok := t.find(name)
	return ok
}

// parent is the table around a key, "" around a top-level one.
func parent(name string) string {
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return ""
	}
	return name[:dot]
}

// judge says what becomes of a foreign key: an error that refuses it, a note that it has no effect, or neither if its
// value asks for what octet does anyway.
func (f foreign) judge(name, text, quoted string) (note string, refusal error) {
	switch {
	case text == f.same && name == f.name:
		return "", nil
	case f.fate == renamed:
		return "", fmt.Errorf("%s is now called %s", name, f.advice+strings.TrimPrefix(name, f.name))
	case f.fate == refused:
		return "", fmt.Errorf("%s = %s: %s", name, quoted, f.advice)
	}
	return fmt.Sprintf("%s = %s has no effect: %s", name, quoted, f.advice), nil
}

// typed is the text of a TOML value as it would be typed after a flag.
func typed(value any) string {
	if list, ok := value.([]any); ok {
		var items []string
		for _, item := range list {
			items = append(items, typed(item))
		}
		return strings.Join(items, ",")
	}
	return fmt.Sprint(value)
}

// shown is a TOML value in a message.
func shown(value any) string {
	switch v := value.(type) {
	case string:
		return shorten(v)
	case []any:
		return shorten(typed(v))
	}
	return fmt.Sprint(value)
}
