// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheModelLearnsToCount(t *testing.T) {
	var out strings.Builder
	if err := run(&out); err != nil {
		t.Fatal(err)
	}
	var first, last float64
	if _, err := fmt.Sscanf(out.String(), "step 1: loss %f\nstep 30: loss %f", &first, &last); err != nil {
		t.Fatalf("%v in %q", err, &out)
	}
	if !(first > 4 && last < 0.5) {
		t.Errorf("the loss went from %v to %v; it starts near ln 64 and ends near 0", first, last)
	}
}

// TestItBuildsInAModuleOfItsOwn, which the README's three lines make.
func TestItBuildsInAModuleOfItsOwn(t *testing.T) {
	octet, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(octet, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, file := range []string{"main.go", filepath.Join(octet, "go.sum")} { // the sums, or they are asked for on the network
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	commands := 0
	for line := range strings.Lines(string(readme)) {
		if line, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "    go mod "); ok {
			commands++
			run := strings.Fields("go mod " + strings.Replace(line, "=../octet", "="+octet, 1))
			in(t, dir, run...)
		}
	}
	if commands != 3 {
		t.Fatalf("the README has %d lines with go mod, want 3", commands)
	}
	in(t, dir, "go", "build", "-o", os.DevNull, ".")
}

// in runs a command in a folder.
func in(t *testing.T, dir string, command ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", command, err, out)
	}
}
