// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package cuda

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	"octet/device"
	code "octet/device/cuda/kernels"
	"octet/device/devicetest"
	"octet/dtype"
	"octet/tensor"
)

// TestEmulatedKernelsConform: what the kernels compute, as this processor runs them.
func TestEmulatedKernelsConform(t *testing.T) {
	r := openKernels(t)
	devicetest.RunKernels(t, devicetest.Options{
		Open: func(t *testing.T) device.Device { return &emulated{TB: t, kernels: r, blocks: 1} }, RoundsP: hasTiles,
	})
}

func TestTheTableOfKernelsIsTheRegistrys(t *testing.T) {
	r := openKernels(t)
	threads := map[string]int{}
	for _, k := range r.Kernels() {
		threads[k.Name] = k.Threads
	}
	for _, k := range kernelTable {
		if threads[k.name] != int(k.threads) {
			t.Errorf("%s has blocks of %d threads; its text says %d", k.name, k.threads, threads[k.name])
		}
		delete(threads, k.name)
	}
	delete(threads, "reduce_ranks") // of the simulated libnccl
	for name := range threads {
		t.Errorf("%s is in no row", name)
	}
}

// TestKernelsWithDynamicMemoryDeclareLittle: what they have in all fits the smallest GPU.
func TestKernelsWithDynamicMemoryDeclareLittle(t *testing.T) {
	m, err := code.ReadManifest()
	if err != nil {
		t.Fatal(err)
	}
	dynamic := map[string]bool{}
	texts, err := fs.Glob(code.Sources(), "*.cu")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range texts {
		text, err := fs.ReadFile(code.Sources(), name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range strings.Split(string(text), "\nKERNEL(")[1:] {
			_, rest, _ := strings.Cut(f, ", ")
			kernel, _, _ := strings.Cut(rest, ",")
			dynamic[kernel] = strings.Contains(f, "DYNAMIC(")
		}
	}
	if !dynamic["flash64"] || !dynamic["rmsnorm"] || dynamic["matmul"] {
		t.Fatalf("kernels with dynamic memory: %v", dynamic)
	}
	for _, e := range m.Images {
		for _, k := range e.Kernels {
			if dynamic[k.Name] && k.Shared > declaredShared {
				t.Errorf("%s for %s declares %d bytes of shared memory; it may %d", k.Name, e.Target, k.Shared, declaredShared)
			}
		}
	}
}

// TestTensorCoresTakeWhatTheyCan: attention of bfloat16 with heads of 64 and 128 that lie on sixteen bytes; the rest is the general kernels'.
func TestTensorCoresTakeWhatTheyCan(t *testing.T) {
	d := &emulated{TB: t, kernels: openKernels(t), blocks: 1}
	for _, tt := range []struct {
		ty   dtype.Type
		hd   int
		off  int // bytes that v begins later
		want []kernel
	}{
		{dtype.BFloat16, 64, 0, []kernel{kFlash64, kAttentionDelta, kFlashGradQ64, kFlashGradKV64}},
		{dtype.BFloat16, 128, 16, []kernel{kFlash128, kAttentionDelta, kFlashGradQ128, kFlashGradKV128}},
		{dtype.BFloat16, 128, 8, []kernel{kAttention, kAttentionDelta, kAttentionGradQ, kAttentionGradKV}},
		{dtype.BFloat16, 32, 0, []kernel{kAttention, kAttentionDelta, kAttentionGradQ, kAttentionGradKV}},
		{dtype.Float32, 64, 0, []kernel{kAttention, kAttentionDelta, kAttentionGradQ, kAttentionGradKV}},
	} {
		s, pool := d.NewStream("test").(*emulatedStream), device.NewPool(d)
		x := func() *tensor.Tensor { return pool.New(tt.ty, 1, 2, 1, tt.hd) }
		q, key, o, do, dq, dk, dv, lse := x(), x(), x(), x(), x(), x(), x(), pool.New(dtype.Float32, 1, 1, 2)
		v := pool.New(dtype.Uint8, key.Bytes()+tt.off)
		s.Upload(v, make([]byte, v.Bytes()))
		for _, in := range []*tensor.Tensor{q, key, do} {
			s.Upload(in, make([]byte, in.Bytes()))
		}
		late := tensor.New(v.Buf, tt.ty, 1, 2, 1, tt.hd)
		late.Off = v.Off + tt.off
		s.note = true
		s.Attention(o, lse, q, key, late, nil, nil, nil)
		s.AttentionGrad(dq, dk, dv, do, q, key, late, o, lse, nil, nil, nil)
		var got []kernel
		for _, r := range s.ran {
			got = append(got, r.kernel)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%v, heads of %d, %d bytes later: %v, want %v", tt.ty, tt.hd, tt.off, got, tt.want)
		}
	}
}

// TestAttentionOfBadPositionsIsNaN: in all that it writes, for what reads it before the error is told.
func TestAttentionOfBadPositionsIsNaN(t *testing.T) {
	d := &emulated{TB: t, kernels: openKernels(t), blocks: 1}
	for _, ty := range []dtype.Type{dtype.Float32, dtype.BFloat16} {
		for _, hd := range []int{64, 128} {
			s, pool := d.NewStream("test").(*emulatedStream), device.NewPool(d)
			zeros := func(ty dtype.Type, shape ...int) *tensor.Tensor {
				x := pool.New(ty, shape...)
				s.Upload(x, make([]byte, x.Bytes()))
				return x
			}
			x := func() *tensor.Tensor { return zeros(ty, 1, 3, 1, hd) }
			q, key, v, o, do, dq, dk, dv, lse := x(), x(), x(), x(), x(), x(), x(), x(), zeros(dtype.Float32, 1, 1, 3)
			pos := zeros(dtype.Int32, 3)
			s.Upload(pos, []byte{0, 0, 0, 0, 5, 0, 0, 0, 4, 0, 0, 0})
			s.Attention(o, lse, q, key, v, pos, nil, nil)
			zero, zeroLSE := x(), zeros(dtype.Float32, 1, 1, 3)
			s.AttentionGrad(dq, dk, dv, do, q, key, v, zero, zeroLSE, pos, nil, nil)
			for i, out := range []*tensor.Tensor{o, lse, dq, dk, dv} {
				mem, size := bytesAt(out), out.Type.Size()
				for at := size; at <= len(mem); at += size { // a NaN's exponent is all ones
					if mem[at-1]&0x7F != 0x7F || mem[at-2]&0xC0 != 0xC0 {
						t.Fatalf("%v, heads of %d: output %d has %x", ty, hd, i, mem[at-size:at])
					}
				}
			}
			if err := s.Sync(); err == nil {
				t.Error("there is no error")
			}
		}
	}
}
