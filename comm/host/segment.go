// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// segment maps memory that the given ranks of this host share. The first of
// them makes it, a file without a name, and the others open it through that
// process: memory goes with the last process, whenever and however that ends.
func (n *node) segment(ctx context.Context, name string, members []int, bytes int) (mem []byte, err error) {
	path, problem := "", "" // no path: the maker has the problem
	if members[0] == n.cfg.Rank {
		var f *os.File
		if f, err = makeSegment(bytes); err == nil {
			defer f.Close() // once all have mapped it
			path = fmt.Sprintf("/proc/%d/fd/%d", pid(), f.Fd())
			mem, err = mapFile(f, bytes)
		}
		if err != nil {
			problem = err.Error()
		}
	}
	paths, err := n.Exchange(ctx, name+"/segment", members[:1], []byte(path))
	if err != nil {
		return nil, errors.Join(err, unmap(mem))
	}
	if path = string(paths[0]); mem == nil && path != "" && problem == "" {
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

// makeSegment reserves the memory, so that lack of it is an error here and not
// a fault later.
func makeSegment(bytes int) (*os.File, error) {
	fd, err := unix.MemfdCreate("octet", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "memfd:octet")
	if err := unix.Fallocate(fd, 0, 0, int64(bytes)); err != nil {
		return nil, errors.Join(fmt.Errorf("%d bytes: %w", bytes, err), f.Close())
	}
	return f, nil
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
