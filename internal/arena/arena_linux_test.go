// SPDX-License-Identifier: Apache-2.0

package arena

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func make2(t *testing.T, bytes int) (*Arena, *Map) {
	t.Helper()
	a, err := newArena(bytes)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(a.ID())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return a, m
}

// TestReaderSeesWhatIsWritten, at the offset that the writer knows, until it is freed; and it can
// be read when the arena is closed.
func TestReaderSeesWhatIsWritten(t *testing.T) {
	a, m := make2(t, 1<<20)
	_, err := a.Alloc(5)
	b, err2 := a.Alloc(5000)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	copy(b[10:], "hello")
	at, ok := a.Offset(b[10:15])
	if got, there := m.At(uint64(at), 5); !ok || !there || string(got) != "hello" {
		t.Fatalf("at %d (%v) the reader finds %q (%v)", at, ok, got, there)
	}
	a.Free(b)
	if got, _ := m.At(uint64(at), 5); !bytes.Equal(got, make([]byte, 5)) {
		t.Errorf("what was freed reads as %q", got)
	}
	again, err := a.Alloc(8192)
	if err != nil || &again[0] != &b[0] {
		t.Errorf("freed pages are not used again (%v)", err)
	}
	copy(again, "again")
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if got, _ := m.At(uint64(at)-10, 5); string(got) != "again" {
		t.Errorf("after the arena was closed the reader finds %q", got)
	}
}

func TestOffsetOfOtherMemory(t *testing.T) {
	a, _ := make2(t, 1<<20)
	defer a.Close()
	for name, b := range map[string][]byte{"Go's": make([]byte, 10), "none": nil} {
		if at, ok := a.Offset(b); ok {
			t.Errorf("%s lies at %d", name, at)
		}
	}
}

func TestRoomEnds(t *testing.T) {
	a, _ := make2(t, 8192)
	defer a.Close()
	if _, err := a.Alloc(4097); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Alloc(0); !errors.Is(err, ErrFull) {
		t.Errorf("a full arena allocates: %v", err)
	}
}

func TestReaderBelievesNoNumbers(t *testing.T) {
	a, m := make2(t, 8192)
	defer a.Close()
	for _, r := range [][2]uint64{{8192, 1}, {8193, 0}, {0, 8193}, {1 << 63, 1 << 63}, {^uint64(0), 2}, {4096, ^uint64(0)}} {
		if _, ok := m.At(r[0], r[1]); ok {
			t.Errorf("there are %d bytes at %d", r[1], r[0])
		}
	}
	if _, ok := m.At(8191, 1); !ok {
		t.Error("the last byte is not there")
	}
	larger := a.ID()
	larger.Bytes++
	pipe, _, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	fd, err := unix.MemfdCreate("unsealed", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	unsealed := os.NewFile(uintptr(fd), "unsealed")
	defer unsealed.Close()
	if err := unsealed.Truncate(8192); err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]ID{
		"one that is shorter": larger, "a pipe": {os.Getpid(), int(pipe.Fd()), 8192}, "no descriptor": {os.Getpid(), 1 << 20, 8192},
		"no process": {1 << 30, 3, 8192}, "nothing": {}, "a file that may shrink": {os.Getpid(), fd, 8192},
	} {
		opened := make(chan error, 1)
		go func() { _, err := Open(id); opened <- err }()
		select {
		case err := <-opened:
			if err == nil {
				t.Errorf("%s is opened", name)
			}
		case <-time.After(time.Minute):
			t.Errorf("opening %s does not end", name)
		}
	}
	if err := unix.Ftruncate(int(a.file.Fd()), 4096); err == nil {
		t.Error("an arena shrinks")
	}
}

// TestPagesBecomeHuge, of ranges that are allocated as a whole, and keep what they hold.
func TestPagesBecomeHuge(t *testing.T) {
	a, m := make2(t, 4*hugePage)
	defer a.Close()
	small, err := a.Alloc(3 * page)
	large, err2 := a.Alloc(2 * hugePage)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	for i := range large {
		large[i] = byte(i * 7 >> 8)
	}
	copy(small, "small")
	a.joins.Wait()
	if got, _ := m.At(0, 5); string(got) != "small" {
		t.Errorf("small pages hold %q when they are part of a huge one", got)
	}
	for i := range large {
		if large[i] != byte(i*7>>8) {
			t.Fatalf("byte %d changed when pages became huge", i)
		}
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(smaps, []byte("ShmemPmdMapped:     4096 kB")) {
		return
	}
	if err := unix.Madvise(a.mem[:2*hugePage], unix.MADV_COLLAPSE); err != nil {
		t.Skipf("needs a system that joins pages of a memfd (Linux 6.1): %v", err)
	}
	t.Error("4 MiB that can be joined were not")
}
