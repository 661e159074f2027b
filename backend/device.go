// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"octet/comm"
	"octet/device"
	"octet/device/cpu"
	"octet/dtype"
	"octet/internal/arena"
	"octet/metrics"
)

// ErrNotHere is within the error of a device, or a part of one, that this build
// knows and this machine has not; the rest of the error says what it needs.
var ErrNotHere = errors.New("not on this machine")

// kind is a device that this build has.
type kind struct {
	name string
	open func(Options) (*Device, error)
	// memory is the bytes that are free for the given number of ranks on one host
	// together; 0 is not known. It fails where they cannot have such a device each.
	memory func(ranks int) (int64, error)
	// connect makes the communicator of ranks that agree through control; nil: data goes
	// through the host.
	connect func(dev *Device, control comm.ControlGroup, o Options) (comm.Comm, error)
}

func kinds() []kind {
	return []kind{
		{"cpu", openCPU, func(int) (int64, error) { return metrics.FreeMemory(), nil }, nil},
		{"cuda", openCUDA, memoryOfGPUs, connectNCCL},
	}
}

// Devices are the names of the devices that this build has.
func Devices() (names []string) {
	for _, k := range kinds() {
		names = append(names, k.name)
	}
	return names
}

func find(name string) (kind, error) {
	if name == "" {
		name = "cpu"
	}
	for _, k := range kinds() {
		if k.name == name {
			return k, nil
		}
	}
	return kind{}, fmt.Errorf("there is no device %q in this build; there is: %s", name, strings.Join(Devices(), ", "))
}

// Memory is the bytes that are free for the ranks on one host together: of the
// host or of their devices; 0 is not known. Its error is the user's: why the ranks cannot
// have such a device each.
func Memory(device string, ranks int) (int64, error) {
	k, err := find(device)
	if err != nil {
		return 0, err
	}
	return k.memory(ranks)
}

// OpenDevice opens a device alone; of the options it reads all but Timeout
// and HostID.
func OpenDevice(o Options) (*Device, error) {
	k, err := find(o.Device)
	if err != nil {
		return nil, err
	}
	return k.open(o)
}

// Device is an open device, and what a program may ask of its kind.
type Device struct {
	device.Device
	// Peak measures what it multiplies at most with operands of a type, in the unit
	// that it takes for them, all its threads together, in FLOP/s.
	Peak func(operands dtype.Type) float64
	// Warning says why this device is slower than the machine could be; empty
	// where it is not.
	Warning string
	// Arena is where the memory of its tensors is, which Close closes; nil where other processes cannot read it.
	Arena *arena.Arena
	// Tuner chooses among algorithms of matrix products; nil where the device has one for each.
	Tuner device.Tuner
	// Usage is what a GPU does now; nil where the device is none, or NVML is not there.
	Usage func() (metrics.GPU, error)

	ended   func() // of what Usage asks
	mu      sync.Mutex
	streams []device.Stream
}

// NewStream starts a stream, as device.Device says.
func (d *Device) NewStream(name string) device.Stream {
	s := d.Device.NewStream(name)
	d.mu.Lock()
	d.streams = append(d.streams, s)
	d.mu.Unlock()
	return s
}

// Close ends the device and its streams; see device.Device.
func (d *Device) Close() error {
	d.mu.Lock()
	d.streams = nil
	d.mu.Unlock()
	if d.ended != nil {
		d.ended()
	}
	err := d.Device.Close()
	if d.Arena != nil {
		err = errors.Join(err, d.Arena.Close())
	}
	return err
}

// Wait returns when all streams are idle, with their errors.
func (d *Device) Wait() error {
	d.mu.Lock()
	streams := slices.Clone(d.streams)
	d.mu.Unlock()
	var errs []error
	for _, s := range streams {
		errs = append(errs, s.Sync())
	}
	return errors.Join(errs...)
}

func openCPU(o Options) (*Device, error) {
	shared, _ := arena.New() // without one, messages are copied, and pages are small
	dev, err := cpu.Open(cpu.Options{Threads: o.Threads, ISA: o.ISA, Float8TN: o.Float8TN, Arena: shared})
	if err != nil {
		if shared != nil {
			shared.Close()
		}
		for isa := cpu.Portable; isa <= cpu.AMXBF16; isa++ {
			if o.ISA == isa.String() {
				return nil, fmt.Errorf("%w: %w", ErrNotHere, err)
			}
		}
		return nil, err
	}
	d := &Device{Device: dev, Peak: dev.Peak, Arena: shared}
	if portable, why := dev.Portable(); portable {
		d.Warning = "the portable Go kernels run: " + why + "; with gcc training is many times faster"
	}
	return d, nil
}
