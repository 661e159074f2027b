// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestTheTargetsAreThere: what has moved would get no bugs, or be shown to no test.
func TestTheTargetsAreThere(t *testing.T) {
	for _, target := range targets() {
		for _, path := range slices.Concat([]string{""}, target.files) {
			if _, err := os.Stat(filepath.Join("../..", target.folder, path)); err != nil {
				t.Error(err)
			}
		}
		for _, s := range target.tests {
			if tests, _ := filepath.Glob(filepath.Join("../..", s.folder, "*_test.go")); len(tests) == 0 {
				t.Errorf("the bugs of %s are shown to the tests of %s, which has none", target.folder, s.folder)
			}
		}
	}
}

// TestEveryRuleMakesBugs: one whose pattern matches nothing any more plants none. Of each operator there are some, whichever seed
// draws, and the same seed draws the same.
func TestEveryRuleMakesBugs(t *testing.T) {
	t.Chdir("../..")
	for _, r := range slices.Concat(rules(), kernelRules()) {
		found := 0
		for _, files := range strings.Fields(r.files) {
			names, _ := filepath.Glob(files)
			if len(names) == 0 {
				t.Errorf("%s: there is no %s", r.operator, files)
			}
			for _, name := range names {
				bugs, err := r.bugs(name, regexp.MustCompile(r.pattern), watchers)
				if err != nil {
					t.Fatal(err)
				}
				for _, b := range bugs {
					for _, s := range b.tests {
						if tests, _ := filepath.Glob(filepath.Join(s.folder, "*_test.go")); len(tests) == 0 {
							t.Errorf("the bugs of %s are shown to the tests of %s, which has none", name, s.folder)
						}
					}
				}
				found += len(bugs)
			}
		}
		if found == 0 {
			t.Errorf("%s: %s matches nothing in %s", r.operator, r.pattern, r.files)
		}
	}
	first, err := draw("gpu", 1)
	if err != nil || len(first) < 100 {
		t.Fatalf("%d bugs, %v; want a hundred and more", len(first), err)
	}
	again, err := draw("gpu", 1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range first {
		if first[i].String() != again[i].String() {
			t.Fatalf("bug %d is %v, and then %v", i, first[i], again[i])
		}
	}
	if _, err := draw("neither", 1); err == nil {
		t.Error("bugs of nothing")
	}
}
