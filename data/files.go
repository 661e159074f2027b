// SPDX-License-Identifier: Apache-2.0

package data

import (
	"context"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// file is one file of a data set.
type file struct {
	path string
	size int64 // bytes
}

// list finds all regular files below root, or root itself if it is one, of which keep says yes, given their slash-separated paths relative
// to root (root's own name if it is a file). Links to files count as files. They are sorted by path; empty files are left out.
func list(root string, keep func(rel string) bool) ([]file, error) {
	var files []file
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if rel == "." {
			rel = filepath.Base(root)
		}
		if !keep(filepath.ToSlash(rel)) {
			return nil
		}
		info, err := d.Info()
		if err == nil && d.Type()&fs.ModeSymlink != 0 {
			info, err = os.Stat(path)
		}
		if err != nil {
			return err
		}
		if info.Mode().IsRegular() && info.Size() > 0 {
			files = append(files, file{path, info.Size()})
		}
		return nil
	})
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.path, b.path) })
	return files, err
}

// everyFile keeps all files.
func everyFile(string) bool { return true }

// tokenFiles keeps files of raw ids.
func tokenFiles(rel string) bool {
	return strings.HasSuffix(rel, ".u16") || strings.HasSuffix(rel, ".u32")
}

// goFiles keeps the .go files that training reads, or those that are kept for validation: one in a hundred, by a hash of its path, so
// that a file is on the same side on every machine.
func goFiles(validation bool) func(rel string) bool {
	return func(rel string) bool {
		h := fnv.New32a()
		h.Write([]byte(rel)) // a hash.Hash never fails
		return strings.HasSuffix(rel, ".go") && (h.Sum32()%100 == 0) == validation
	}
}

// goSourceTree is the folder of the source code of the Go that is installed.
func goSourceTree() (string, error) {
	root := os.Getenv("GOROOT")
	if root == "" {
		// A go command that wants another toolchain may ask the network first.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
		if err != nil {
			return "", fmt.Errorf("go env GOROOT: %w", err)
		}
		root = strings.TrimSpace(string(out))
	}
	src := filepath.Join(root, "src")
	_, err := os.Stat(src)
	return src, err
}
