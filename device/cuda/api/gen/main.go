// SPDX-License-Identifier: Apache-2.0

// Command gen writes package api, the exports of the simulated libraries and the
// checks against NVIDIA's headers from the table device/cuda/cuda.api. It runs in
// the folder of the package: `go run ./gen`.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := run(".."); err != nil {
		fmt.Fprintf(os.Stderr, "gen: %v\n", err)
		os.Exit(1)
	}
}

// run writes all files beside the table in a folder.
func run(folder string) error {
	table, err := os.ReadFile(filepath.Join(folder, "cuda.api"))
	if err != nil {
		return err
	}
	libraries, err := parse(string(table))
	if err != nil {
		return err
	}
	files, err := generate(libraries)
	if err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(folder, "api", name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
