// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// bug is one change of one file.
type bug struct {
	operator string
	file     string // absolute
	text     []byte // of the file with the bug
	where    string // file:line
	from, to string
}

// String is such as "train/trainer.go:129 default: o.Beta1 → config.Default().Optimizer.Beta1".
func (b bug) String() string {
	return fmt.Sprintf("%s %s: %s → %s", b.where, b.operator, b.from, b.to)
}

// The operators.
const (
	toDefault = "default"    // a key is replaced by its default
	constant  = "constant"   // a number is another
	dropped   = "call"       // a call whose result nobody reads is dropped
	turned    = "comparison" // a comparison says the opposite
)

func operators() []string { return []string{toDefault, constant, dropped, turned} }

// bugs are all that can be planted in the files of those names, or in all.
func (p *parsed) bugs(names []string) []bug {
	var all []bug
	for _, f := range p.files {
		path := p.fset.File(f.Pos()).Name()
		if names != nil && !slices.Contains(names, filepath.Base(path)) {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			panic(err) // it has just been parsed
		}
		s := &scan{parsed: p, path: path, text: text, body: p.fset.Position(f.Name.End()).Offset, skip: map[ast.Node]bool{}}
		if p.folder != "config" && !slices.ContainsFunc(f.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == strconv.Quote(configPackage) }) {
			s.importConfig = fmt.Sprintf("; import %q", configPackage)
		}
		ast.Inspect(f, s.visit)
		all = append(all, s.bugs...)
	}
	return all
}

// scan collects the bugs of a file.
type scan struct {
	*parsed
	path string
	text []byte
	body int // where the package clause ends
	// importConfig is what a file lacks that is to name defaults.
	importConfig string
	skip         map[ast.Node]bool // what is written to, or has no value
	bits         ast.Node          // of the floats that a call parses: all but 32 mean 64
	bugs         []bug
}

// plant adds the bug that node is replaced by to.
func (s *scan) plant(operator string, node ast.Node, to string) {
	s.replace(operator, node.Pos(), node.End(), to)
}

func (s *scan) replace(operator string, pos, end token.Pos, to string) {
	at := s.fset.Position(pos)
	from, until := at.Offset, s.fset.Position(end).Offset
	imports := ""
	if operator == toDefault {
		imports = s.importConfig
	}
	changed := slices.Concat(s.text[:s.body], []byte(imports), s.text[s.body:from], []byte(to), s.text[until:])
	was := strings.Join(strings.Fields(string(s.text[from:until])), " ")
	s.bugs = append(s.bugs, bug{operator, s.path, changed, fmt.Sprintf("%s/%s:%d", s.folder, filepath.Base(s.path), at.Line), was, to})
}

func (s *scan) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.ImportSpec, *ast.StructType:
		if st, ok := n.(*ast.StructType); ok {
			s.tags(st)
		}
		return false
	case *ast.AssignStmt:
		for _, left := range n.Lhs {
			s.skip[left] = true
		}
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			s.skip[n.X] = true
		}
	case *ast.ExprStmt:
		if call, ok := n.X.(*ast.CallExpr); ok && !isPanic(call) {
			s.plant(dropped, n, "{}")
		}
	case *ast.CallExpr:
		if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "ParseFloat" {
			s.bits = n.Args[1]
		}
	case *ast.BinaryExpr:
		if opposite, ok := opposite(n.Op); ok {
			s.replace(turned, n.OpPos, n.OpPos+token.Pos(len(n.Op.String())), opposite.String())
		}
	case *ast.ReturnStmt:
		s.failure(n)
	case *ast.BasicLit:
		if !s.skip[n] {
			s.number(n)
		}
	case *ast.SelectorExpr:
		if path, ok := s.key(n); ok && !s.skip[n] {
			s.plant(toDefault, n, path)
		}
	}
	return true
}

func opposite(op token.Token) (token.Token, bool) {
	pairs := [][2]token.Token{{token.EQL, token.NEQ}, {token.LSS, token.GEQ}, {token.GTR, token.LEQ}}
	for _, p := range pairs {
		switch op {
		case p[0]:
			return p[1], true
		case p[1]:
			return p[0], true
		}
	}
	return op, false
}

func isPanic(call *ast.CallExpr) bool {
	name, ok := call.Fun.(*ast.Ident)
	return ok && name.Name == "panic"
}

// failure skips the other results beside an error, which nobody reads.
func (s *scan) failure(n *ast.ReturnStmt) {
	if len(n.Results) < 2 {
		return
	}
	last := s.info.Types[n.Results[len(n.Results)-1]]
	if last.IsNil() || last.Type == nil || !types.Implements(last.Type, types.Universe.Lookup("error").Type().Underlying().(*types.Interface)) {
		return
	}
	for _, r := range n.Results[:len(n.Results)-1] {
		s.skip[r] = true
	}
}

// number plants another number. Modes of files are left alone: what a test may
// read and write depends on the user that runs it.
func (s *scan) number(n *ast.BasicLit) {
	if n.Kind != token.INT && n.Kind != token.FLOAT || strings.HasPrefix(n.Value, "0o") {
		return
	}
	to := another(n.Value)
	if n == s.bits {
		to = "32"
	}
	s.plant(constant, n, to)
}

// another is a number that is not the one in text.
func another(text string) string {
	if i, err := strconv.ParseInt(text, 0, 64); err == nil {
		return strconv.FormatInt(i+1, 10)
	}
	x, _ := strconv.ParseFloat(text, 64) // or 0
	return strconv.FormatFloat(2*x+1, 'g', -1, 64)
}

// tags plants other defaults and other bounds of the keys that a struct
// declares.
func (s *scan) tags(st *ast.StructType) {
	number := regexp.MustCompile(`[-+0-9.e]*[0-9]`)
	for _, f := range st.Fields.List {
		if f.Tag == nil {
			continue
		}
		for _, tag := range regexp.MustCompile(`\b(default|in):"([^"]*)"`).FindAllStringSubmatchIndex(f.Tag.Value, -1) {
			for _, at := range number.FindAllStringIndex(f.Tag.Value[tag[4]:tag[5]], -1) {
				from, until := tag[4]+at[0], tag[4]+at[1]
				s.replace(constant, f.Tag.Pos()+token.Pos(from), f.Tag.Pos()+token.Pos(until), another(f.Tag.Value[from:until]))
				planted := &s.bugs[len(s.bugs)-1]
				planted.from = fmt.Sprintf("%s %s %s", f.Names[0], f.Tag.Value[tag[2]:tag[3]], planted.from)
			}
		}
	}
}

// key returns the default of the key that n reads, as an expression; ok is false
// if it reads none.
func (s *scan) key(n *ast.SelectorExpr) (expr string, ok bool) {
	selection := s.info.Selections[n]
	if selection == nil || selection.Kind() != types.FieldVal || !n.Sel.IsExported() {
		return "", false
	}
	of := selection.Recv()
	if p, ok := of.Underlying().(*types.Pointer); ok {
		of = p.Elem()
	}
	named, ok := of.(*types.Named)
	if !ok || named.Obj().Pkg() == nil || named.Obj().Pkg().Path() != configPackage {
		return "", false
	}
	if _, isStruct := selection.Type().Underlying().(*types.Struct); isStruct {
		return "", false
	}
	root := named.Obj().Pkg().Scope().Lookup("Config")
	path, ok := pathTo(root.Type(), named)
	if !ok || path == "" { // of Config itself: no key
		return "", false
	}
	expr = "Default()" + path + "." + n.Sel.Name
	if s.folder != "config" {
		expr = "config." + expr
	}
	return expr, true
}

const configPackage = "octet/config"

// pathTo finds the fields that lead from a struct to a part of it of the given
// type.
func pathTo(from types.Type, part *types.Named) (path string, ok bool) {
	if types.Identical(from, part) {
		return "", true
	}
	st, isStruct := from.Underlying().(*types.Struct)
	if !isStruct {
		return "", false
	}
	for field := range st.Fields() {
		if path, ok := pathTo(field.Type(), part); ok {
			return "." + field.Name() + path, true
		}
	}
	return "", false
}
