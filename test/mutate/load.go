// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// parsed is a package with the types of its expressions.
type parsed struct {
	folder string
	fset   *token.FileSet
	files  []*ast.File // in the order of their names
	info   *types.Info
}

// load parses the package in a folder of the module, without its tests.
func load(folder string) (*parsed, error) {
	listed, err := list("./" + folder)
	if err != nil {
		return nil, err
	}
	self := listed[len(listed)-1] // dependencies come first
	exports := map[string]string{}
	for _, p := range listed {
		exports[p.ImportPath] = p.Export
	}
	p := &parsed{folder: folder, fset: token.NewFileSet(), info: &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Selections: map[*ast.SelectorExpr]*types.Selection{}}}
	for _, name := range self.GoFiles {
		f, err := parser.ParseFile(p.fset, filepath.Join(self.Dir, name), nil, 0)
		if err != nil {
			return nil, err
		}
		p.files = append(p.files, f)
	}
	check := types.Config{Importer: importer.ForCompiler(p.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })}
	if _, err := check.Check(self.ImportPath, p.fset, p.files, p.info); err != nil {
		return nil, fmt.Errorf("%s: %w", folder, err)
	}
	return p, nil
}

// listedPackage is the part of a `go list -json` record that load reads.
type listedPackage struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
}

func list(pattern string) (all []listedPackage, err error) {
	out, err := exec.Command("go", "list", "-deps", "-export", "-json=ImportPath,Dir,Export,GoFiles", pattern).Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w", pattern, err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
}
