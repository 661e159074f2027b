// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"regexp"
	"strings"
)

// library is what the table says of one of NVIDIA's libraries.
type library struct {
	name    string
	sonames []string
	types   []cType
	structs []cStruct
	consts  []constant
	calls   []call
}

// cType is a type of C by its kind: int, uint32, uint64, enum, handle, or an alias of
// another; of an enum that calls return, goName is its name in Go.
type cType struct{ name, kind, goName string }

type cStruct struct {
	name   string
	fields []arg
	prefix bool // newer headers add fields behind
}

type constant struct{ name, value string }

type call struct {
	name, returns, since string
	args                 []arg
	optional             bool
}

// arg is an argument or a field: its type in C, its name, and for an array the rest.
type arg struct{ cType, name, rest string }

var callRow = regexp.MustCompile(`^(\w+) (.+?) \((.*)\) (\d[\d.]*) (required|optional)$`)

// parse reads the table.
func parse(text string) ([]library, error) {
	var all []library
	for i, line := range strings.Split(text, "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		kind, rest, _ := strings.Cut(line, " ")
		if kind == "library" {
			words := strings.Fields(rest)
			all = append(all, library{name: words[0], sonames: words[1:]})
			continue
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("cuda.api:%d: %q stands before any library", i+1, line)
		}
		if err := all[len(all)-1].read(kind, rest); err != nil {
			return nil, fmt.Errorf("cuda.api:%d: %w", i+1, err)
		}
	}
	return all, nil
}

// read adds a row to the library.
func (l *library) read(kind, rest string) error {
	words := strings.Fields(rest)
	switch kind {
	case "type":
		if len(words) < 2 || len(words) > 3 {
			return fmt.Errorf("type %q: want NAME KIND [GO]", rest)
		}
		t := cType{name: words[0], kind: words[1]}
		if len(words) == 3 {
			t.goName = words[2]
		}
		l.types = append(l.types, t)
	case "struct", "prefix":
		name, fields, _ := strings.Cut(rest, " ")
		s := cStruct{name: name, prefix: kind == "prefix"}
		for f := range strings.SplitSeq(strings.TrimSuffix(fields, ";"), "; ") {
			a, err := parseArg(f)
			if err != nil {
				return err
			}
			s.fields = append(s.fields, a)
		}
		l.structs = append(l.structs, s)
	case "const":
		if len(words) != 2 {
			return fmt.Errorf("const %q: want NAME VALUE", rest)
		}
		l.consts = append(l.consts, constant{words[0], words[1]})
	case "call":
		m := callRow.FindStringSubmatch(rest)
		if m == nil {
			return fmt.Errorf("call %q: want NAME RETURNS (ARGUMENTS) SINCE required|optional", rest)
		}
		c := call{name: m[1], returns: m[2], since: m[4], optional: m[5] == "optional"}
		for a := range strings.SplitSeq(m[3], ", ") {
			if a == "void" {
				break
			}
			parsed, err := parseArg(a)
			if err != nil {
				return err
			}
			c.args = append(c.args, parsed)
		}
		l.calls = append(l.calls, c)
	default:
		return fmt.Errorf("%q begins no row", kind)
	}
	return nil
}

var argForm = regexp.MustCompile(`^(.*[ *])(\w+)(\[\d+\])?$`)

// parseArg reads as "const void *src" or "char bytes[16]".
func parseArg(text string) (arg, error) {
	m := argForm.FindStringSubmatch(text)
	if m == nil {
		return arg{}, fmt.Errorf("%q has no type and name", text)
	}
	return arg{strings.TrimSpace(m[1]), m[2], m[3]}, nil
}
