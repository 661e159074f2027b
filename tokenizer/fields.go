// SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// object is a JSON object and the path of its field.
type object struct {
	path   string
	values map[string]json.RawMessage
}

// anyObject reads an object with any fields.
func anyObject(raw json.RawMessage, path string) (object, error) {
	o := object{path: path}
	if err := json.Unmarshal(raw, &o.values); err != nil || o.values == nil {
		if path == "" && err != nil {
			return o, err
		}
		return o, fmt.Errorf("%s = %s: want an object", path, shorten(raw))
	}
	return o, nil
}

// only refuses fields that are not known, since nobody knows what they would change.
func (o object) only(known ...string) error {
	for _, name := range slices.Sorted(maps.Keys(o.values)) {
		if !slices.Contains(known, name) {
			return o.refuse(name, "octet does not know this field; it knows %s", strings.Join(known, ", "))
		}
	}
	return nil
}

// has reports whether a field is there and not null.
func (o object) has(name string) bool {
	raw, ok := o.values[name]
	return ok && !bytes.Equal(raw, []byte("null"))
}

// read reads a field into what to points to, which keeps its value if the field is not there or null.
func (o object) read(name string, to any) error {
	if !o.has(name) {
		return nil
	}
	err := json.Unmarshal(o.values[name], to)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return o.refuse(name, "want %v, found %s", wrong.Type, wrong.Value)
	}
	if err != nil {
		return o.refuse(name, "%v", err)
	}
	return nil
}

// kind is the field type of an object that says what it is.
func (o object) kind() (kind string, err error) {
	err = o.read("type", &kind)
	return kind, err
}

// child is a field that is an object.
func (o object) child(name string) (object, error) {
	return anyObject(o.values[name], o.at(name))
}

// list is a field that is a list of objects.
func (o object) list(name string) (all []object, err error) {
	var raws []json.RawMessage
	if err := o.read(name, &raws); err != nil {
		return nil, err
	}
	for i, raw := range raws {
		child, err := anyObject(raw, fmt.Sprintf("%s[%d]", o.at(name), i))
		if err != nil {
			return nil, err
		}
		all = append(all, child)
	}
	return all, nil
}

// token is a field that is a string, or an object with the string as content, or null: then it is empty.
func (o object) token(name string) (content string, err error) {
	if !bytes.HasPrefix(o.values[name], []byte("{")) {
		err = o.read(name, &content)
		return content, err
	}
	child, err := o.child(name)
	if err != nil {
		return "", err
	}
	err = child.read("content", &content)
	return content, err
}

// at is the path of a field.
func (o object) at(name string) string {
	if o.path == "" {
		return name
	}
	return o.path + "." + name
}

// refuse says what is wrong with a field.
func (o object) refuse(name, format string, args ...any) error {
	value := "absent"
	if raw, ok := o.values[name]; ok {
		value = shorten(raw)
	}
	return fmt.Errorf("%s = %s: %s", o.at(name), value, fmt.Sprintf(format, args...))
}

// shorten is the beginning of a JSON value.
func shorten(raw []byte) string {
	const most = 100
	var short bytes.Buffer
	if json.Compact(&short, raw) != nil {
		return strconv.Quote(string(raw[:min(most, len(raw))]))
	}
	if short.Len() <= most {
		return short.String()
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(short.String()[:most], ""), short.Len())
}
