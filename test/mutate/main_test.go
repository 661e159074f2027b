// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
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
		for _, folder := range target.tests {
			if tests, _ := filepath.Glob(filepath.Join("../..", folder, "*_test.go")); len(tests) == 0 {
				t.Errorf("the bugs of %s are shown to the tests of %s, which has none", target.folder, folder)
			}
		}
	}
}
