// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestGeneratedFilesAreOfTheTable(t *testing.T) {
	libraries, err := parse(read(t, "../../cuda.api"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := generate(libraries)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		if read(t, filepath.Join("..", name)) != want {
			t.Errorf("%s is not what the table makes: go generate ./device/cuda/api", name)
		}
	}
}

func TestATableThatIsWrongSaysWhere(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"type CUresult enum", `cuda.api:1: "type CUresult enum" stands before any library`},
		{"library cuda libcuda.so.1\nsort x", `cuda.api:2: "sort" begins no row`},
		{"library cuda libcuda.so.1\n\nconst A", `cuda.api:3: const "A": want NAME VALUE`},
		{"library cuda libcuda.so.1\ncall f int (int) required", `want NAME RETURNS (ARGUMENTS) SINCE required|optional`},
		{"library cuda libcuda.so.1\ncall f int (int) 1.0 required", `"int" has no type and name`},
	} {
		if _, err := parse(tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v; want %q", tt.text, err, tt.want)
		}
	}
}

func TestATypeThatNobodyNamedIsNoArgument(t *testing.T) {
	libraries, err := parse("library cuda libcuda.so.1\ntype CUresult enum Result\ncall cuInit CUresult (double flags) 2.0 required")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := generate(libraries); err == nil || !strings.Contains(err.Error(), `cuInit: no Go for "double"`) {
		t.Errorf("generate: %v", err)
	}
}
