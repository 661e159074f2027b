// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package cuda

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"octet/device"
	"octet/device/devicetest"
	"octet/dtype"
	"octet/tensor"
	"octet/test/sim/registry"
)

// orders is in how many orders of blocks and threads kernels are run.
func orders() uint64 {
	if os.Getenv("OCTET_HEAVY") != "" {
		return 32
	}
	return 8
}

// unmoved are works beside those whose traffic is known: products and what sorts.
func unmoved() []work {
	f32, i32 := dtype.Float32, dtype.Int32
	return []work{
		{name: "attention and gradient", make: func(m *maker) func(k device.Kernels) {
			q, k, v, o := m.new(f32, 1, 37, 4, 16), m.new(f32, 1, 37, 2, 16), m.new(f32, 1, 37, 2, 16), m.new(f32, 1, 37, 4, 16)
			dq, dk, dv, do, lse := m.new(f32, 1, 37, 4, 16), m.new(f32, 1, 37, 2, 16), m.new(f32, 1, 37, 2, 16), m.new(f32, 1, 37, 4, 16), m.new(f32, 1, 4, 37)
			amax := m.new(f32)
			return func(on device.Kernels) {
				on.Attention(o, lse, q, k, v, nil, nil, amax)
				on.AttentionGrad(dq, dk, dv, do, q, k, v, o, lse, nil, nil, amax)
			}
		}},
		{name: "attention on tensor cores and gradient", make: func(m *maker) func(k device.Kernels) {
			bf16 := dtype.BFloat16
			q, k, v, o := m.new(bf16, 1, 70, 2, 128), m.new(bf16, 1, 70, 1, 128), m.new(bf16, 1, 70, 1, 128), m.new(bf16, 1, 70, 2, 128)
			dq, dk, dv, do, lse := m.new(bf16, 1, 70, 2, 128), m.new(bf16, 1, 70, 1, 128), m.new(bf16, 1, 70, 1, 128), m.new(bf16, 1, 70, 2, 128), m.new(f32, 1, 2, 70)
			amax := m.new(f32)
			return func(on device.Kernels) {
				on.Attention(o, lse, q, k, v, nil, nil, amax)
				on.AttentionGrad(dq, dk, dv, do, q, k, v, o, lse, nil, nil, amax)
			}
		}},
		{name: "product f32", make: func(m *maker) func(k device.Kernels) {
			a, b, y := tensor.Operand{Tensor: m.new(f32, 70, 33)}, tensor.Operand{Tensor: m.new(f32, 33, 65)}, m.new(f32, 70, 65)
			return func(k device.Kernels) { k.MatMul(y, a, b, device.MatMulOptions{Accumulate: true}) }
		}},
		{name: "product bf16", make: func(m *maker) func(k device.Kernels) {
			a, b, y := tensor.Operand{Tensor: m.new(dtype.BFloat16, 70, 33)}, tensor.Operand{Tensor: m.new(dtype.BFloat16, 65, 33)}, m.new(f32, 70, 65)
			return func(k device.Kernels) { k.MatMul(y, a, b, device.MatMulOptions{TransB: true}) }
		}},
		{name: "embedding's gradient", make: func(m *maker) func(k device.Kernels) {
			dtable, dy, ids := m.new(f32, 5, 40), m.new(dtype.BFloat16, 600, 40), m.new(i32, 600)
			return func(k device.Kernels) { k.EmbeddingGrad(dtable, dy, ids, 0, 5) }
		}},
	}
}

// TestKernelsDoNotDependOnTheOrderOfThreads: in whatever order blocks and threads run between two barriers, memory
// is the same at the end, byte for byte. Where one block does the work of all, what it leaves in shared memory is
// not written over before all of its threads have read it.
func TestKernelsDoNotDependOnTheOrderOfThreads(t *testing.T) {
	r := openKernels(t)
	for _, w := range append(works(), unmoved()...) {
		t.Run(w.name, func(t *testing.T) {
			inOrders(t, r, w, orders(), 1)
			inOrders(t, r, w, 2, 0) // which makes one block
		})
	}
}

// inOrders compares what a work leaves in so many orders with what it leaves as blocks and threads are numbered, on a device of so many processors.
func inOrders(t *testing.T, r *registry.Registry, w work, orders uint64, processors int) {
	t.Helper()
	var want [][]byte
	for seed := range orders + 1 {
		d := &emulated{TB: t, kernels: r, seed: seed, blocks: processors}
		s, pool := d.NewStream("test").(*emulatedStream), device.NewPool(d)
		var all []*tensor.Tensor
		w.make(&maker{rows: 20, cols: 640, new: func(ty dtype.Type, shape ...int) *tensor.Tensor {
			x := pool.New(ty, shape...)
			s.Upload(x, someBytes(x))
			all = append(all, x)
			return x
		}})(s)
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		for i, x := range all {
			if seed == 0 {
				want = append(want, bytes.Clone(bytesAt(x)))
			} else if !bytes.Equal(bytesAt(x), want[i]) {
				t.Fatalf("order %d of %d processors: tensor %d, %v, has other bytes", seed, processors, i, x)
			}
		}
	}
}

// TestEmulatedKernelsConformInAnyOrder: the whole suite, in each.
func TestEmulatedKernelsConformInAnyOrder(t *testing.T) {
	if os.Getenv("OCTET_HEAVY") == "" {
		t.Skip("takes minutes: OCTET_HEAVY=1 runs it")
	}
	r := openKernels(t)
	for seed := range orders() {
		t.Run(fmt.Sprint(seed+1), func(t *testing.T) {
			devicetest.RunKernels(t, devicetest.Options{
				Open: func(t *testing.T) device.Device { return &emulated{TB: t, kernels: r, seed: seed + 1, blocks: 1} }, RoundsP: hasTiles,
			})
		})
	}
}
