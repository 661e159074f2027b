// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

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
