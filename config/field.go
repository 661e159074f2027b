// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// field is one key of a Config: its declaration, and the place of its value in that Config.
type field struct {
	name  string // "training.steps"
	tag   reflect.StructTag
	value reflect.Value // settable
}

// section is one TOML table that has keys of its own.
type section struct {
	name, help string
	fields     []field
}

// sections lists the keys of c in the order of their declaration.
func sections(c *Config) []section {
	var list []section
	var walk func(name, help string, v reflect.Value)
	walk = func(name, help string, v reflect.Value) {
		at := len(list)
		own := section{name: name, help: help}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			key, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
			if !f.IsExported() || key == "-" {
				continue
			}
			if name != "" {
				key = name + "." + key
			}
			if f.Type.Kind() == reflect.Struct {
				walk(key, f.Tag.Get("help"), v.Field(i))
			} else {
				own.fields = append(own.fields, field{name: key, tag: f.Tag, value: v.Field(i)})
			}
		}
		if len(own.fields) > 0 {
			list = slices.Insert(list, at, own)
		}
	}
	walk("", "", reflect.ValueOf(c).Elem())
	return list
}

// fields is sections without the grouping, by name.
func fields(c *Config) map[string]field {
	byName := make(map[string]field)
	for _, s := range sections(c) {
		for _, f := range s.fields {
			byName[f.name] = f
		}
	}
	return byName
}

// Keys are the names of all keys, in the order of their declaration.
func Keys() (names []string) {
	for _, s := range sections(Default()) {
		for _, f := range s.fields {
			names = append(names, f.name)
		}
	}
	return names
}

// Values are all keys with their values in words, to be compared between ranks: those of job are equal on all ranks of a
// job, those of host, paths, among the ranks of one host.
func (c *Config) Values() (job, host map[string]string) {
	job, host = make(map[string]string), make(map[string]string)
	for name, f := range fields(c) {
		value := "unset"
		if _, isSet := f.text(); isSet {
			value = f.quoted()
		}
		switch {
		case name == configFile: // what was read from it is compared
		case f.tag.Get("host") != "":
			host[name] = value
		default:
			job[name] = value
		}
	}
	return job, host
}

// Default returns the configuration of an empty file and an empty command line.
func Default() *Config {
	c := &Config{origin: make(map[string]string)}
	for _, f := range fields(c) {
		if text := f.tag.Get("default"); text != "" {
			if err := f.parse(text); err != nil {
				panic(fmt.Sprintf("config: default of %s: %v", f.name, err))
			}
		}
	}
	return c
}

// kind is the type that a user should give, in words.
func (f field) kind() string {
	t := f.value.Type()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Int:
		return "int"
	case reflect.Float64:
		return "float"
	case reflect.Bool:
		return "bool"
	case reflect.String:
		return "string"
	case reflect.Slice:
		return "list"
	}
	panic(fmt.Sprintf("config: %s has type %s, which no flag can set", f.name, t))
}

// parse sets f from the text of a flag.
func (f field) parse(text string) error {
	var value any
	var err error
	switch f.kind() {
	case "int":
		value, err = strconv.ParseInt(text, 10, 64)
	case "float":
		value, err = strconv.ParseFloat(text, 64)
	case "bool":
		if value = text == "true"; text != "true" && text != "false" {
			err = strconv.ErrSyntax
		}
	case "string":
		value = text
	case "list":
		items := []any{}
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				items = append(items, item)
			}
		}
		value = items
	}
	if errors.Is(err, strconv.ErrRange) && f.tag.Get("in") != "" {
		return fmt.Errorf("%s is out of range: must be %s", shorten(text), f.legalNumbers())
	}
	if err != nil {
		return fmt.Errorf("%s is not %s", shorten(text), article(f.kind()))
	}
	return f.set(value)
}

// set stores a value of one of TOML's types: int64, float64, bool, string or []any.
func (f field) set(value any) error {
	wrong := fmt.Errorf("found %s; want %s", describe(value), article(f.kind()))
	to := f.value
	if to.Kind() == reflect.Pointer {
		to = reflect.New(to.Type().Elem()).Elem()
	}
	switch v := value.(type) {
	case int64:
		switch {
		case to.Kind() == reflect.Float64:
			to.SetFloat(float64(v))
		case to.Kind() == reflect.Int && !to.OverflowInt(v):
			to.SetInt(v)
		default:
			return wrong
		}
	case float64:
		if to.Kind() != reflect.Float64 {
			return wrong
		}
		to.SetFloat(v)
	case bool:
		if to.Kind() != reflect.Bool {
			return wrong
		}
		to.SetBool(v)
	case string:
		if to.Kind() != reflect.String {
			return wrong
		}
		to.SetString(v)
	case []any:
		if to.Kind() != reflect.Slice {
			return wrong
		}
		items := make([]string, len(v))
		for i, item := range v {
			text, ok := item.(string)
			if !ok {
				return fmt.Errorf("element %d: found %s; want a string", i, describe(item))
			}
			if strings.TrimSpace(text) == "" {
				return fmt.Errorf("element %d is empty", i)
			}
			items[i] = text
		}
		to.Set(reflect.ValueOf(items))
	default:
		return wrong
	}
	if f.value.Kind() == reflect.Pointer {
		to = to.Addr()
	}
	f.value.Set(to)
	return nil
}

// text is the value of f as a user would type it after the flag, and whether it is set at all.
func (f field) text() (text string, isSet bool) {
	v := f.value
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return "", false
		}
		v = v.Elem()
	}
	if items, ok := v.Interface().([]string); ok {
		return strings.Join(items, ","), true
	}
	if v.Kind() == reflect.Float64 {
		return strconv.FormatFloat(v.Float(), 'g', -1, 64), true
	}
	return fmt.Sprint(v.Interface()), true
}

// items are the elements of a list, or the one value of any other field that is set.
func (f field) items() []string {
	if items, ok := f.value.Interface().([]string); ok {
		return items
	}
	text, _ := f.text()
	return []string{text}
}

// quoted is text with quotation marks where the value is a string or a list.
func (f field) quoted() string {
	text, _ := f.text()
	if kind := f.kind(); kind == "string" || kind == "list" {
		return shorten(text)
	}
	return text
}

// shorten quotes text for a message; of a long one it shows the beginning.
func shorten(text string) string {
	const most = 100
	if len(text) <= most {
		return strconv.Quote(text)
	}
	return fmt.Sprintf("%s… (%d bytes)", strconv.Quote(strings.ToValidUTF8(text[:most], "")), len(text))
}

// describe names a TOML value and its type.
func describe(value any) string {
	switch v := value.(type) {
	case int64:
		return fmt.Sprintf("the int %d", v)
	case float64:
		return fmt.Sprintf("the float %g", v)
	case bool:
		return fmt.Sprintf("the bool %t", v)
	case string:
		return "the string " + shorten(v)
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return fmt.Sprintf("a date or time (%v)", value)
}

func article(kind string) string {
	switch kind {
	case "int":
		return "an int"
	case "list":
		return "a list of strings"
	}
	return "a " + kind
}
