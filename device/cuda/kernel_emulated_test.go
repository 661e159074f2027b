// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package cuda

import (
	"testing"
	"unsafe"

	"octet/device"
	"octet/tensor"
	"octet/test/sim"
	"octet/test/sim/registry"
)

// openKernels opens the kernels as they are compiled for this processor.
func openKernels(t testing.TB) *registry.Registry {
	t.Helper()
	r, err := registry.Open(sim.Path(t, sim.Kernels()))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// emulated is a device of the kernels alone: host memory, and streams whose work is done
// when it is enqueued.
type emulated struct {
	testing.TB
	kernels *registry.Registry
	seed    uint64
	blocks  int       // that fill it
	held    []*region // all: a kernel knows memory by its address alone
}

// region is memory, poisoned where nothing was written yet: NaN in every type of float.
type region struct{ mem []byte }

func (r *region) Len() int        { return len(r.mem) }
func (r *region) Address() uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(r.mem)))) }

func (d *emulated) Name() string         { return "emulated" }
func (d *emulated) Free(b tensor.Buffer) {}
func (d *emulated) Close() error         { return nil }
func (d *emulated) Alloc(n int) (tensor.Buffer, error) {
	words := make([]uint64, n/8+1)
	for i := range words {
		words[i] = ^uint64(0)
	}
	r := &region{unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), n)}
	d.held = append(d.held, r)
	return r, nil
}

func (d *emulated) NewStream(string) device.Stream {
	s := &emulatedStream{dev: d}
	s.kernels = newKernels(s, device.NewPool(d), d.blocks)
	return s
}

type emulatedStream struct {
	*kernels
	dev  *emulated
	ran  []ran
	note bool // whether ran is kept
}

// ran is a launch that was run.
type ran struct {
	kernel kernel
	args   []registry.Argument
	report registry.Report
}

func (s *emulatedStream) launch(l *launch) {
	s.dev.Helper()
	args := make([]registry.Argument, l.n)
	for i := range args {
		args[i] = registry.Argument(l.args[i])
	}
	run := registry.Launch{Kernel: l.kernel.String(), Grid: int(l.grid), Block: int(l.block), Shared: int(l.shared), Seed: s.dev.seed, Arguments: args}
	report, err := s.dev.kernels.Run(run)
	if err != nil {
		s.dev.Fatal(err)
	}
	if s.note {
		s.ran = append(s.ran, ran{l.kernel, args, report})
	}
}

func bytesAt(t *tensor.Tensor) []byte { return t.Buf.(*region).mem[t.Off : t.Off+t.Bytes()] }

func (s *emulatedStream) constant(dst *tensor.Tensor, src []byte) { s.Upload(dst, src) }
func (s *emulatedStream) lasting() bool                           { return false }

func (s *emulatedStream) Upload(dst *tensor.Tensor, src []byte)   { copy(bytesAt(dst), src) }
func (s *emulatedStream) Download(dst []byte, src *tensor.Tensor) { copy(dst, bytesAt(src)) }
func (s *emulatedStream) Record() device.Event                    { return s }
func (s *emulatedStream) Wait(device.Event)                       {}
func (s *emulatedStream) Done() bool                              { return true }
func (s *emulatedStream) Sync() error {
	err := faultOf(bytesAt(s.fault))
	clear(bytesAt(s.fault))
	return err
}
