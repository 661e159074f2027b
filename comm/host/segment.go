// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// sharedDirs are the folders for files of shared memory, best first.
func sharedDirs() []string {
	dirs := []string{os.TempDir()}
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		dirs = append([]string{"/dev/shm"}, dirs...)
	}
	return dirs
}

// segment maps memory that the given ranks of this host share. The first of
// them makes a file, the others open it, and when all have it mapped its name
// is removed: memory goes with the last process, however that ends.
func (n *node) segment(ctx context.Context, name string, members []int, bytes int) (mem []byte, err error) {
	path, problem := "", "" // no path: the maker has the problem
	if members[0] == n.cfg.Rank {
		if mem, path, err = makeSegment(bytes); err != nil {
			problem = err.Error()
		}
		defer os.Remove(path)
	}
	paths, err := n.Exchange(ctx, name+"/segment", members[:1], []byte(path))
	if err != nil {
		return nil, errors.Join(err, unmap(mem))
	}
	if path = string(paths[0]); mem == nil && path != "" {
		if mem, err = openSegment(path, bytes); err != nil {
			problem = err.Error()
		}
	}
	all, err := n.Exchange(ctx, name+"/mapped", members, []byte(problem))
	for i := 0; err == nil && i < len(all); i++ {
		if len(all[i]) > 0 {
			err = fmt.Errorf("shared memory of group %q: rank %d: %s", name, members[i], all[i])
		}
	}
	if err != nil {
		return nil, errors.Join(err, unmap(mem))
	}
	return mem, nil
}

func makeSegment(bytes int) (mem []byte, path string, err error) {
	for _, dir := range sharedDirs() {
		path = filepath.Join(dir, "octet-"+rand.Text())
		if mem, err = createSegment(path, bytes); err == nil {
			return mem, path, nil
		}
		os.Remove(path)
	}
	return nil, "", err
}

// createSegment reserves the memory, so that lack of it is an error here and
// not a fault later.
func createSegment(path string, bytes int) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(bytes)); err != nil {
		return nil, fmt.Errorf("%s: %d bytes: %w", path, bytes, err)
	}
	return mapFile(f, bytes)
}

func openSegment(path string, bytes int) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return mapFile(f, bytes)
}

func mapFile(f *os.File, bytes int) ([]byte, error) {
	mem, err := unix.Mmap(int(f.Fd()), 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("%s: mapping %d bytes: %w", f.Name(), bytes, err)
	}
	return mem, nil
}

func unmap(mem []byte) error {
	if mem == nil {
		return nil
	}
	return unix.Munmap(mem)
}
