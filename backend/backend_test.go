// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"octet/comm"
	"octet/device"
	"octet/dtype"
	"octet/internal/auth"
	"octet/launcher"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sum adds one from each rank and leaves work behind on the stream.
func sum(r *Rank) (float32, error) {
	s := r.Device.NewStream("test")
	x := device.NewPool(r.Device).New(dtype.Float32, 1)
	s.Upload(x, device.Float32Bytes([]float32{1}))
	r.World.AllReduce(s, comm.T(x), comm.Sum)
	var got [1]float32
	s.Download(device.Float32Bytes(got[:]), x)
	err := s.Sync()
	r.World.AllReduce(s, comm.T(x), comm.Sum) // Close waits for it
	return got[0], err
}

// TestRanksMeetAndClose: goroutines, processes with torchrun's variables, and one
// rank alone; each is closed while its last collective may be under way.
func TestRanksMeetAndClose(t *testing.T) {
	for _, tt := range []struct {
		name string
		open func(t *testing.T, n, rank int) (*Rank, error)
		n    int
	}{
		{"goroutines", func() func(*testing.T, int, int) (*Rank, error) {
			var once sync.Once
			var all []*Rank
			var err error
			return func(_ *testing.T, n, rank int) (*Rank, error) {
				once.Do(func() { all, err = Local(n, Options{Timeout: time.Minute}) })
				if err != nil {
					return nil, err
				}
				return all[rank], nil
			}
		}(), 3},
		{"meeting in a store", func() func(*testing.T, int, int) (*Rank, error) {
			port, secret := freePort(t), auth.NewSecret()
			return func(t *testing.T, n, rank int) (*Rank, error) {
				place := launcher.Place{Rank: rank, WorldSize: n, LocalRank: rank, LocalWorldSize: n, GroupWorldSize: 1, MasterAddr: "127.0.0.1", MasterPort: port, RunID: "test", Secret: secret}
				return Open(t.Context(), place, Options{Timeout: time.Minute})
			}
		}(), 2},
		{"alone", func(t *testing.T, n, rank int) (*Rank, error) {
			return Open(t.Context(), launcher.Place{WorldSize: 1, LocalWorldSize: 1}, Options{})
		}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var ranks sync.WaitGroup
			for i := range tt.n {
				ranks.Go(func() {
					r, err := tt.open(t, tt.n, i)
					if err != nil {
						t.Errorf("rank %d: %v", i, err)
						return
					}
					got, err := sum(r)
					if want := float32(tt.n); err != nil || got != want || r.Rank != i || r.World.Rank() != i {
						t.Errorf("rank %d: the sum is %v (%v), want %v; it is rank %d, its place %+v", i, got, err, want, r.World.Rank(), r.Place)
					}
					if err := r.Close(); err != nil {
						t.Errorf("closing rank %d: %v", i, err)
					}
				})
			}
			ranks.Wait()
		})
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// TestCloseOrder: the communicator goes before the device, and both after the
// work.
func TestCloseOrder(t *testing.T) {
	var order []string
	ranks, err := Local(1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := ranks[0]
	r.Device.Device = &closes{r.Device.Device, func() { order = append(order, "device") }}
	disconnect := r.disconnect
	r.disconnect = func() error {
		order = append(order, "communicator")
		return errors.Join(disconnect(), errors.New("left"))
	}
	s := r.Device.NewStream("test").(device.HostStream)
	gate := make(chan bool)
	s.Call("work", func() error {
		<-gate
		order = append(order, "work")
		return errors.New("failed")
	})
	close(gate)
	err = r.Close()
	if got, want := strings.Join(order, ", "), "work, communicator, device"; got != want {
		t.Errorf("closed in the order %s, want %s", got, want)
	}
	if err == nil || !strings.Contains(err.Error(), "work: failed") || !strings.Contains(err.Error(), "left") {
		t.Errorf("error %v, want both the stream's and the communicator's", err)
	}
}

type closes struct {
	device.Device
	note func()
}

func (c *closes) Close() error {
	c.note()
	return c.Device.Close()
}

func TestAnUnknownDeviceNamesThoseThereAre(t *testing.T) {
	_, err := OpenDevice(Options{Device: "abacus"})
	if want := `there is no device "abacus" in this build; there is: cpu, cuda`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
	if _, err := Memory("abacus", 1); err == nil {
		t.Error("an unknown device has memory")
	}
	if _, err := Open(t.Context(), launcher.Place{WorldSize: 1}, Options{Device: "abacus"}); err == nil {
		t.Error("an unknown device was opened for a rank")
	}
	if _, err := Local(2, Options{Device: "abacus"}); err == nil {
		t.Error("an unknown device was opened for two ranks")
	}
	if _, err := OpenDevice(Options{ISA: "sse"}); err == nil || errors.Is(err, ErrNotHere) {
		t.Errorf("error %v: an instruction set that nobody knows is no lack of this machine", err)
	}
}

// TestACPUsFigures: peaks grow with threads, of every type.
func TestACPUsFigures(t *testing.T) {
	dev, err := OpenDevice(Options{Threads: 1000, ISA: "portable"})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	for _, typ := range []dtype.Type{dtype.Float32, dtype.BFloat16, dtype.Float8E4M3} {
		if p := dev.Peak(typ); p < 1e11 || p > 1e16 {
			t.Errorf("a thousand threads reach %g FLOP/s in %v", p, typ)
		}
	}
	if !strings.Contains(dev.Warning, "the portable Go kernels run") {
		t.Errorf("warning %q", dev.Warning)
	}
	m, err := Memory("", 3)
	if err != nil || m < 1<<20 {
		t.Errorf("memory of %d bytes, %v", m, err)
	}
}
