// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package gemm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unsafe"

	"octet/device/cuda/api"
	"octet/dtype"
)

// probeSide is the side of the probe's matrices: enough for any algorithm, and few enough
// products of small integers that float32 sums them exactly in any order.
const probeSide = 256

// probe runs a product of each mode. A version alone does not say what works, nor does
// the heuristic: some refusals come only from the product itself.
func probe(l *Library, cuda *api.CUDA) (m Modes, err error) {
	b, err := newBench(l, cuda)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	problem := func(of dtype.Type, t transposition, scales Scales) Problem {
		side := func(k bool) Side {
			return Side{Type: of, KContiguous: k, LD: probeSide, Scales: scales, Align: MaxAlign}
		}
		return Problem{M: probeSide, N: probeSide, K: probeSide, D: dtype.Float32, DAlign: MaxAlign,
			A: side(t == tn || t == nn), B: side(t == tn || t == tt)}
	}
	if m.F32, err = b.works(problem(dtype.Float32, tn, None)); err != nil {
		return m, err
	}
	if m.BF16, err = b.works(problem(dtype.BFloat16, tn, None)); err != nil {
		return m, err
	}
	for t := range transpositions {
		if m.Tensorwise[t], err = b.works(problem(dtype.Float8E4M3, t, One)); err != nil {
			return m, err
		}
	}
	m.Rowwise, err = b.works(problem(dtype.Float8E4M3, tn, Each))
	return m, err
}

// bench is the probe's memory: two operands, their reciprocals, a result and a workspace,
// on a stream of its own.
type bench struct {
	lib    *Library
	cuda   *api.CUDA
	stream uintptr
	args   Args
	pinned unsafe.Pointer // of the host, for a matrix of float32
	sums   []float32      // of the operands, without reciprocals
}

const probeBytes = 4 * probeSide * probeSide

func newBench(l *Library, cuda *api.CUDA) (b *bench, err error) {
	b = &bench{lib: l, cuda: cuda, sums: make([]float32, probeSide*probeSide)}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	var stream uintptr // C writes to memory that holds no pointers
	if r := cuda.StreamCreateWithPriority(&stream, api.CU_STREAM_NON_BLOCKING, 0); r != api.CUDA_SUCCESS {
		return b, cudaFailed("cuStreamCreateWithPriority", r)
	}
	b.stream = stream
	for _, x := range b.memory() {
		var address uint64
		if r := cuda.MemAlloc(&address, x.bytes); r != api.CUDA_SUCCESS {
			return b, cudaFailed("cuMemAlloc", r)
		}
		*x.address = address
	}
	var pinned unsafe.Pointer
	if r := cuda.MemHostAlloc(&pinned, probeBytes, 0); r != api.CUDA_SUCCESS {
		return b, cudaFailed("cuMemHostAlloc", r)
	}
	b.pinned = pinned
	for i := range probeSide {
		for j := range probeSide {
			for k := range probeSide {
				b.sums[i*probeSide+j] += value(left, i, k) * value(right, j, k)
			}
		}
	}
	return b, nil
}

type block struct {
	address *uint64
	bytes   int
}

func (b *bench) memory() []block {
	return []block{{&b.args.A, probeBytes}, {&b.args.B, probeBytes}, {&b.args.D, probeBytes},
		{&b.args.AInv, 4 * probeSide}, {&b.args.BInv, 4 * probeSide}, {&b.args.Workspace, b.lib.workspace}}
}

func (b *bench) close() error {
	var errs []error
	ended := func(call string, r api.Result) {
		if r != api.CUDA_SUCCESS {
			errs = append(errs, cudaFailed(call, r))
		}
	}
	for _, x := range b.memory() {
		if *x.address != 0 {
			ended("cuMemFree", b.cuda.MemFree(*x.address))
		}
	}
	if b.pinned != nil {
		ended("cuMemFreeHost", b.cuda.MemFreeHost(b.pinned))
	}
	if b.stream != 0 {
		ended("cuStreamDestroy", b.cuda.StreamDestroy(b.stream))
	}
	return errors.Join(errs...)
}

func cudaFailed(call string, r api.Result) error {
	return fmt.Errorf("cuda: %s for the probe of cuBLASLt: error %d", call, int(r))
}

// The operands' numbers: integers that differ between the two.
const left, right = 0, 1

// value is an element of an operand, from -2 to 2, exact in every type.
func value(operand, lane, k int) float32 { return float32((lane*7+k*3+lane*k+operand*2)%5 - 2) }

// inverse is what a lane is multiplied by: powers of two, so that the result is exact too.
func (s Side) inverse(lane int) float32 {
	switch s.Scales {
	case One:
		return 0.5
	case Each:
		return float32(int(1) << (lane % 4))
	}
	return 1
}

// works reports whether cuBLASLt takes a product and gives the result that it must.
func (b *bench) works(p Problem) (works bool, err error) {
	plan, err := b.lib.newPlan(p)
	if err != nil {
		return false, nil //nolint:nilerr // refused: then it does not
	}
	defer func() { err = errors.Join(err, plan.close()) }()
	args := b.args
	if p.A.Scales == None {
		args.AInv, args.BInv = 0, 0
	}
	for operand, x := range []struct {
		address, inverses uint64
		Side
	}{{b.args.A, b.args.AInv, p.A}, {b.args.B, b.args.BInv, p.B}} {
		if err := b.upload(x.address, x.bytes(operand)); err != nil {
			return false, err
		}
		var inverses []byte
		for lane := range probeSide {
			inverses = binary.LittleEndian.AppendUint32(inverses, math.Float32bits(x.inverse(lane)))
		}
		if err := b.upload(x.inverses, inverses); err != nil {
			return false, err
		}
	}
	if plan.Run(b.stream, args) != nil {
		return false, nil
	}
	if r := b.cuda.MemcpyDtoHAsync(b.pinned, b.args.D, probeBytes, b.stream); r != api.CUDA_SUCCESS {
		return false, cudaFailed("cuMemcpyDtoHAsync", r)
	}
	if r := b.cuda.StreamSynchronize(b.stream); r != api.CUDA_SUCCESS {
		return false, cudaFailed("cuStreamSynchronize", r)
	}
	got := unsafe.Slice((*float32)(b.pinned), len(b.sums))
	for i := range got {
		if want := b.sums[i] * p.A.inverse(i/probeSide) * p.B.inverse(i%probeSide); got[i] != want {
			return false, nil
		}
	}
	return true, nil
}

// upload returns when the device has it.
func (b *bench) upload(address uint64, data []byte) error {
	copy(unsafe.Slice((*byte)(b.pinned), probeBytes), data)
	if r := b.cuda.MemcpyHtoDAsync(address, b.pinned, len(data), b.stream); r != api.CUDA_SUCCESS {
		return cudaFailed("cuMemcpyHtoDAsync", r)
	}
	if r := b.cuda.StreamSynchronize(b.stream); r != api.CUDA_SUCCESS {
		return cudaFailed("cuStreamSynchronize", r)
	}
	return nil
}

// bytes are the probe's operand as the side lies in memory.
func (s Side) bytes(operand int) (data []byte) {
	for outer := range probeSide {
		for inner := range probeSide {
			lane, k := outer, inner
			if !s.KContiguous {
				lane, k = inner, outer
			}
			switch v := value(operand, lane, k); s.Type {
			case dtype.Float32:
				data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
			case dtype.BFloat16:
				data = binary.LittleEndian.AppendUint16(data, uint16(dtype.ToBF16(v)))
			default:
				data = append(data, s.Type.Format().Encode(v))
			}
		}
	}
	return data
}
