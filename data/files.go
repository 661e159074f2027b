// SPDX-License-Identifier: Apache-2.0

package data

import (
	"context"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// file is one file of a data set.
type file struct {
	path string
	rel  string // slash-separated, from the data set's root on; "." is the root itself
	size int64  // bytes
}

// listing is how the files of a data set are found.
type listing struct {
	keep   func(rel string) bool // given the path from the root on, or the name of a root that is a file
	hidden bool                  // those too whose name, or that of a folder they lie in, begins with a dot

	files   []file
	skipped int // hidden files and folders
}

// list finds all regular files below root that l keeps, or root itself if it is one. A link is what it points to. They are sorted by
// path; empty files are left out.
func (l *listing) list(root string) error {
	info, err := os.Stat(root)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		err = l.folder(step{root, info}, "", nil)
	case l.keep(filepath.Base(root)):
		l.add(root, ".", info)
	}
	slices.SortFunc(l.files, func(a, b file) int { return strings.Compare(a.path, b.path) })
	return err
}

// step is a folder on the way from the root.
type step struct {
	path string
	info fs.FileInfo
}

// folder lists what is in dir, whose path from the root on is rel; above are the folders that it lies in.
func (l *listing) folder(dir step, rel string, above []step) error {
	for _, a := range above {
		if os.SameFile(a.info, dir.info) {
			return fmt.Errorf("%s links to %s, in which it lies, so that the files have no end: remove the link", dir.path, a.path)
		}
	}
	entries, err := os.ReadDir(dir.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		at, rel := filepath.Join(dir.path, e.Name()), path.Join(rel, e.Name())
		if !l.hidden && strings.HasPrefix(e.Name(), ".") {
			l.skipped++
			continue
		}
		link := e.Type()&fs.ModeSymlink != 0
		if !link && !e.IsDir() && !l.keep(rel) {
			continue
		}
		info, err := os.Stat(at)
		switch {
		case err != nil && link && !l.keep(rel): // nothing is there, and nobody wants it
		case err != nil:
			return err
		case info.IsDir():
			if err := l.folder(step{at, info}, rel, append(above, dir)); err != nil {
				return err
			}
		case l.keep(rel):
			l.add(at, rel, info)
		}
	}
	return nil
}

func (l *listing) add(path, rel string, info fs.FileInfo) {
	if info.Mode().IsRegular() && info.Size() > 0 {
		l.files = append(l.files, file{path, rel, info.Size()})
	}
}

// everyFile keeps all files.
func everyFile(string) bool { return true }

// tokenFiles keeps files of raw ids.
func tokenFiles(rel string) bool {
	return IsIDs(rel)
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
