// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/format"
	"strings"
)

// receivers are the types of package api that stand for a library, and the beginning
// of its functions' names, which their methods do without.
var receivers = map[string]struct{ name, prefix string }{
	"cuda": {"CUDA", "cu"}, "cublaslt": {"CublasLt", "cublasLt"}, "nccl": {"NCCL", "nccl"},
}

// generate returns the files by name.
func generate(libraries []library) (map[string]string, error) {
	known := types(libraries)
	files := map[string]string{"api.h": header(libraries, known)}
	for _, l := range libraries {
		files["exports_"+l.name+".h"] = exports(l)
		files["testdata/abi_"+l.name+".c"] = abi(l)
		text, err := methods(l, known)
		if err != nil {
			return nil, err
		}
		if files["calls_"+l.name+".go"], err = gofmt(text); err != nil {
			return nil, err
		}
	}
	var err error
	files["constants.go"], err = gofmt(constants(libraries))
	return files, err
}

func gofmt(text string) (string, error) {
	out, err := format.Source([]byte(text))
	return string(out), err
}

// constants is the file that needs no cgo: values, result types, and the rows of
// functions.
func constants(libraries []library) string {
	var b strings.Builder
	fmt.Fprintf(&b, "// %s\n\npackage api\n\n", generated)
	for _, l := range libraries {
		fmt.Fprintf(&b, "// Constants of %s, by NVIDIA's names.\nconst (\n", l.sonames[0])
		for _, c := range l.consts {
			fmt.Fprintf(&b, "%s = %s\n", exported(c.name), c.value)
		}
		b.WriteString(")\n\n")
		for _, t := range l.types {
			if t.kind == "enum" && t.goName != "" {
				fmt.Fprintf(&b, "// %s is a %s.\ntype %s int32\n\n", t.goName, t.name, t.goName)
			}
		}
	}
	b.WriteString("// rows are the functions of a library in the order of its table.\nfunc rows(library string) []Function {\nswitch library {\n")
	for _, l := range libraries {
		fmt.Fprintf(&b, "case %q:\nreturn []Function{\n", l.name)
		for _, c := range l.calls {
			fmt.Fprintf(&b, "{%q, %q, %v},\n", c.name, c.since, c.optional)
		}
		b.WriteString("}\n")
	}
	b.WriteString("}\npanic(\"api: no library \" + library)\n}\n\n// sonames are the names of a library's file, the preferred first.\nfunc sonames(library string) []string {\nswitch library {\n")
	for _, l := range libraries {
		fmt.Fprintf(&b, "case %q:\nreturn []string{%s}\n", l.name, quoted(l.sonames))
	}
	b.WriteString("}\npanic(\"api: no library \" + library)\n}\n")
	return b.String()
}

func quoted(words []string) string { return `"` + strings.Join(words, `", "`) + `"` }

// exported is a constant's name in Go: nccl's begin with a small letter.
func exported(name string) string {
	if rest, ok := strings.CutPrefix(name, "nccl"); ok {
		return "NCCL" + rest
	}
	return name
}

// methods is the file with a method of each function.
func methods(l library, known map[string]cType) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "// %s\n\n//go:build cgo && linux\n\npackage api\n\n/*\n#include \"api.h\"\n", generated)
	for _, c := range l.calls {
		fmt.Fprintf(&b, "#cgo noescape octet_%s\n#cgo nocallback octet_%s\n", c.name, c.name)
	}
	b.WriteString("*/\nimport \"C\"\n\nimport \"unsafe\"\n\n")
	for _, c := range l.calls {
		if err := method(&b, l, c, known); err != nil {
			return "", fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return b.String(), nil
}

func method(b *strings.Builder, l library, c call, known map[string]cType) error {
	r := receivers[l.name]
	name := strings.TrimPrefix(c.name, r.prefix)
	if i := strings.LastIndex(name, "_v"); i > 0 {
		name = name[:i]
	}
	var takes, gives, values []string
	for _, a := range c.args {
		p := a.name
		if p == "type" {
			p = "kind"
		}
		goType, give, err := convert(a.cType, p, known)
		if err != nil {
			return err
		}
		takes, gives = append(takes, p+" "+goType), append(gives, give)
		if !strings.HasPrefix(goType, "*") && goType != "unsafe.Pointer" {
			values = append(values, p)
		}
	}
	result, head, tail := known[c.returns].goName, known[c.returns].goName+"(", ")"
	switch {
	case c.returns == "size_t":
		result, head = "int", "int("
	case c.returns == "const char *":
		result, head = "string", "C.GoString("
	case result == "":
		return fmt.Errorf("no Go for what it returns, %s", c.returns)
	}
	fmt.Fprintf(b, "// %s is %s", name, c.name)
	if c.optional {
		fmt.Fprintf(b, ", which is there since %s: see Has", c.since)
	}
	invoke := fmt.Sprintf("%sC.octet_%s(%s)%s", head, c.name, strings.Join(append([]string{"l.table", "l.context"}, gives...), ", "), tail)
	fmt.Fprintf(b, ".\nfunc (l *%s) %s(%s) %s {\n", r.name, name, strings.Join(takes, ", "), result)
	if known[c.returns].goName == "" {
		fmt.Fprintf(b, "return %s\n}\n\n", invoke)
		return nil
	}
	fmt.Fprintf(b, "r := %s\nif l.trace != nil {\nl.trace(%s)\n}\nreturn r\n}\n\n", invoke, strings.Join(append([]string{fmt.Sprintf("%q", c.name), "int(r)"}, values...), ", "))
	return nil
}

// convert is the Go type of an argument, and the expression that makes C's of it.
func convert(cName, name string, known map[string]cType) (goType, give string, err error) {
	base, pointer := strings.CutSuffix(strings.TrimPrefix(cName, "const "), "*")
	base = strings.TrimSpace(base)
	cgo := "C." + strings.NewReplacer("unsigned int", "uint", "unsigned char", "uchar", "unsigned long long", "ulonglong").Replace(base)
	kind := kindOf(base, known)
	switch {
	case !pointer && kind == "handle":
		return "uintptr", "C.uintptr_t(" + name + ")", nil
	case !pointer && kind == "struct":
		return "unsafe.Pointer", "(*" + cgo + ")(" + name + ")", nil
	case pointer && kind == "struct":
		return "unsafe.Pointer", "(*" + cgo + ")(" + name + ")", nil
	case pointer && base == "void":
		return "unsafe.Pointer", name, nil
	case pointer && base == "void *":
		return "*unsafe.Pointer", name, nil
	case pointer && base == "char *":
		return "*unsafe.Pointer", "(**C.char)(unsafe.Pointer(" + name + "))", nil
	}
	switch {
	case kind == "handle": // by a pointer
		return "*uintptr", "(*C.uintptr_t)(unsafe.Pointer(" + name + "))", nil
	case known[base].goName != "":
		goType = known[base].goName
	case kind == "int" || kind == "enum":
		goType = "int"
	case kind != "":
		goType = kind
	default:
		goType = plain[base]
	}
	switch {
	case goType == "":
		return "", "", fmt.Errorf("no Go for %q", cName)
	case !pointer:
		return goType, cgo + "(" + name + ")", nil
	case base == "size_t":
		goType = "uint64"
	case goType == "int":
		goType = "int32"
	}
	return "*" + goType, "(*" + cgo + ")(unsafe.Pointer(" + name + "))", nil
}
