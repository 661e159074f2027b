// SPDX-License-Identifier: Apache-2.0

package documents_test

import (
	"fmt"
	"os"
	"path/filepath"

	"octet/data/documents"
)

// The texts of a file of JSON lines.
func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "a.jsonl")
	content := "{\"text\": \"first\"}\n{\"text\": \"second\"}\n"
	if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
		panic(err)
	}
	options := documents.Options{Format: documents.JSONL, Field: "text"}
	sections, err := documents.Sections(path, int64(len(content)), options)
	if err != nil {
		panic(err)
	}
	for _, s := range sections {
		if _, err := s.Read(options, func(text string) error {
			fmt.Println(text)
			return nil
		}); err != nil {
			panic(err)
		}
	}
	// Output:
	// first
	// second
}
