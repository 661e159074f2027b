// SPDX-License-Identifier: Apache-2.0

package arena

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// seals keep the file as long as it is, whoever has it open.
const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

// New makes an empty arena with room for as much as the machine has memory.
func New() (*Arena, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return nil, fmt.Errorf("arena: sysinfo: %w", err)
	}
	return newArena(pages(int(info.Totalram) * int(info.Unit)))
}

func newArena(bytes int) (*Arena, error) {
	fd, err := unix.MemfdCreate("device memory", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("arena: memfd_create: %w", err)
	}
	file := os.NewFile(uintptr(fd), "memfd:device memory")
	room, mem, err := mapSealed(file, bytes)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("arena: %d bytes: %w", bytes, err), file.Close())
	}
	return &Arena{file: file, room: room, mem: mem, free: map[int][]int{}}, nil
}

func mapSealed(file *os.File, bytes int) (room, mem []byte, err error) {
	fd := int(file.Fd())
	if err := unix.Ftruncate(fd, int64(bytes)); err != nil {
		return nil, nil, err
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return nil, nil, err
	}
	return mapAligned(file, bytes, unix.PROT_READ|unix.PROT_WRITE)
}

// mapAligned maps a file to an address that huge pages have, somewhere in room.
func mapAligned(file *os.File, bytes, prot int) (room, mem []byte, err error) {
	room, err = unix.Mmap(-1, 0, bytes+hugePage, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, nil, err
	}
	mem = room[-addr(room)&(hugePage-1):][:bytes]
	if _, err := unix.MmapPtr(int(file.Fd()), 0, unsafe.Pointer(&mem[0]), uintptr(bytes), prot, unix.MAP_SHARED|unix.MAP_NORESERVE|unix.MAP_FIXED); err != nil {
		return nil, nil, errors.Join(err, unmap(room))
	}
	return room, mem, nil
}

// joinPages makes a huge page of what one holds, whatever the machine does by itself (Linux 6.1); refusal costs only
// speed.
func joinPages(mem []byte) { _ = unix.Madvise(mem, unix.MADV_COLLAPSE) }

// Open maps the arena of a process of this host. What it is told is checked: a file that could shrink under
// its reader, or is shorter, is refused.
func Open(id ID) (*Map, error) {
	path := fmt.Sprintf("/proc/%d/fd/%d", id.Pid, id.FD)
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("arena: %w", err)
	}
	defer file.Close()
	has, err := unix.FcntlInt(file.Fd(), unix.F_GET_SEALS, 0)
	if err != nil {
		return nil, fmt.Errorf("arena: %s is not the arena of a process: %w", path, err)
	}
	if has&seals != seals {
		return nil, fmt.Errorf("arena: %s is not the arena of a process: it has seals %#x", path, has)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("arena: %w", err)
	}
	if id.Bytes <= 0 || info.Size() < int64(id.Bytes) {
		return nil, fmt.Errorf("arena: %s has %d bytes and not %d", path, info.Size(), id.Bytes)
	}
	room, mem, err := mapAligned(file, id.Bytes, unix.PROT_READ)
	if err != nil {
		return nil, fmt.Errorf("arena: mapping %d bytes of %s: %w", id.Bytes, path, err)
	}
	return &Map{room, mem}, nil
}

// reserve takes the memory of a range, so that lack of it is an error here and not a fault later.
func reserve(file *os.File, at, n int) error {
	return unix.Fallocate(int(file.Fd()), 0, int64(at), int64(n))
}

// release gives the memory of a range back to the machine; failing costs only memory.
func release(file *os.File, at, n int) {
	_ = unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(at), int64(n))
}

func unmap(mem []byte) error { return unix.Munmap(mem) }
