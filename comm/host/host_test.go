// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"octet/backend"
	"octet/comm"
	"octet/comm/commtest"
	"octet/comm/host"
	"octet/comm/store"
	"octet/internal/auth"
	"octet/test/ranks"
)

// connect joins n ranks of this process; hostOf gives their hosts.
func connect(t testing.TB, n, chunk int, hostOf func(rank int) string) []comm.Comm {
	t.Helper()
	return joined(t, n, chunk, hostOf, host.Connect)
}

// sharedDevice is a device whose memory other ranks may read, if the device of the tests has such.
func sharedDevice(t testing.TB) *backend.Device {
	t.Helper()
	dev, err := backend.OpenDevice(backend.Options{Device: os.Getenv(ranks.DeviceVar)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Errorf("closing the device: %v", err)
		}
	})
	return dev
}

// lending joins n ranks of this process that read each other's memory, but for those from copies on, which have to be given copies, and so all.
func lending(t testing.TB, n, chunk, copies int, hostOf func(rank int) string) []commtest.Rank {
	t.Helper()
	dev := sharedDevice(t)
	return commtest.On(dev, joined(t, n, chunk, hostOf, func(ctx context.Context, cfg host.Config) (comm.Comm, error) {
		if cfg.Rank < copies {
			cfg.Arena = dev.Arena
		}
		return host.Connect(ctx, cfg)
	})...)
}

// joined is what each of n ranks of this process is given when it connects.
func joined[T any](t testing.TB, n, chunk int, hostOf func(rank int) string, connect func(context.Context, host.Config) (T, error)) []T {
	t.Helper()
	mem := store.NewMemory()
	comms := make([]T, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for r := range n {
		wg.Go(func() {
			comms[r], errs[r] = connect(context.Background(), host.Config{
				Rank: r, World: n, Store: mem, RunID: t.Name(),
				HostID: hostOf(r), Address: "127.0.0.1", Secret: auth.Public(), ChunkBytes: chunk,
			})
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return comms
}

// onDevice gives communicators the device of the tests.
func onDevice(t testing.TB, comms []comm.Comm) []commtest.Rank {
	return commtest.On(ranks.Device(t, ranks.Options{}), comms...)
}

func sharedMemory(int) string { return "" }
func tcp(rank int) string     { return fmt.Sprint("host ", rank) }
func pairs(rank int) string   { return fmt.Sprint("host ", rank/2) }

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		ranks  []int
		chunk  int
		hostOf func(int) string
	}{
		{"shared memory", []int{1, 2, 4}, 0, sharedMemory},
		{"shared memory, small messages", []int{3}, 4096, sharedMemory},
		{"tcp", []int{2}, 0, tcp},
		{"tcp, small messages", []int{3}, 4096, tcp},
		{"mixed", []int{4}, 16384, pairs},
		{"mixed, one rank alone", []int{3}, 16384, pairs},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			commtest.Run(t, tt.ranks, commtest.Suite{Open: func(t *testing.T, n int) []commtest.Rank {
				return onDevice(t, connect(t, n, tt.chunk, tt.hostOf))
			}})
		})
	}
}

func TestConformanceOfLentMemory(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		ranks  []int
		chunk  int
		copies int
		hostOf func(int) string
	}{
		{"all lend", []int{2, 4}, 0, 4, sharedMemory},
		{"small messages", []int{3}, 64 << 10, 3, sharedMemory},
		{"mixed", []int{4}, 64 << 10, 4, pairs},
		{"one cannot", []int{3}, 64 << 10, 2, sharedMemory},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			commtest.Run(t, tt.ranks, commtest.Suite{Open: func(t *testing.T, n int) []commtest.Rank {
				return lending(t, n, tt.chunk, tt.copies, tt.hostOf)
			}})
		})
	}
}

func TestControlGroups(t *testing.T) {
	for name, hostOf := range map[string]func(int) string{"shared memory": sharedMemory, "tcp": tcp, "mixed": pairs} {
		t.Run(name, func(t *testing.T) {
			commtest.RunControl(t, []int{1, 2, 4}, func(t *testing.T, n int) []comm.ControlGroup {
				return joined(t, n, 0, hostOf, host.Control)
			})
		})
	}
}

// TestMemoryHasNoName: shared memory is no file that a killed job could leave
// behind, and none of its descriptors stays open.
func TestMemoryHasNoName(t *testing.T) {
	comms := connect(t, 2, 0, sharedMemory)
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(maps), "/memfd:octet (deleted)") {
		t.Error("no shared memory without a name is mapped")
	}
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if file, _ := os.Readlink(fd); strings.Contains(file, "memfd:octet") {
			t.Errorf("%s is still open: %s", fd, file)
		}
	}
	for _, c := range comms {
		if err := c.(comm.Control).Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestConnectErrors(t *testing.T) {
	mem := store.NewMemory()
	for _, tt := range []struct {
		name string
		cfg  host.Config
		want string
	}{
		{"no ranks", host.Config{World: 0, Store: mem}, "world size 0: it must be at least 1"},
		{"rank too large", host.Config{Rank: 2, World: 2, Store: mem}, "rank 2 is not in 0..1"},
		{"no store", host.Config{World: 1}, "no store"},
		{"chunk", host.Config{World: 1, Store: mem, ChunkBytes: 100}, "ChunkBytes 100 is not a multiple of 64"},
		{"alone", host.Config{World: 3, Store: mem, Timeout: 100 * time.Millisecond}, "rank 0 of 3: ranks 1, 2 have not arrived after "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := host.Connect(context.Background(), tt.cfg)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// TestWorldSizesDiffer: a rank that was started with another world size is
// found.
func TestWorldSizesDiffer(t *testing.T) {
	mem := store.NewMemory()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = host.Connect(ctx, host.Config{Rank: 1, World: 3, Store: mem}) }) // waits for rank 2
	_, err := host.Connect(ctx, host.Config{Rank: 0, World: 2, Store: mem})
	cancel()
	wg.Wait()
	if want := "rank 1 has world size 3"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}

// TestClosedPeer: waiting for a rank that has closed its communicator ends at
// once.
func TestClosedPeer(t *testing.T) {
	for name, hostOf := range map[string]func(int) string{"shared memory": sharedMemory, "tcp": tcp} {
		t.Run(name, func(t *testing.T) {
			comms := connect(t, 2, 0, hostOf)
			if err := comms[1].(comm.Control).Close(); err != nil {
				t.Fatal(err)
			}
			err := commtest.Together(onDevice(t, comms[:1]), func(e *commtest.Env) error {
				e.Barrier(e.Stream)
				return e.Stream.Sync()
			})[0]
			if err == nil || !strings.Contains(err.Error(), "has closed its communicator") {
				t.Errorf("error %v, want one about a closed communicator", err)
			}
			comms[0].Abort(fmt.Errorf("after the end"))
			if err := comms[0].(comm.Control).Close(); err != nil {
				t.Fatal(err)
			}
			comms[1].Abort(fmt.Errorf("after close"))
		})
	}
}
