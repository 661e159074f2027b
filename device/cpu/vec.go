// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"unsafe"

	"octet/dtype"
	"octet/tensor"
)

// vec is n elements in a row, of any type: what a kernel's inner function sees
// of a tensor, in Go and in C.
type vec struct {
	p unsafe.Pointer
	n int
	t dtype.Type
}

func vecOf(t *tensor.Tensor) vec {
	if t == nil {
		return vec{}
	}
	return vec{p: ptr(t), n: t.Numel(), t: t.Type}
}

// none reports whether an optional tensor was left out.
func (v vec) none() bool { return v.p == nil }

// part is elements lo to hi-1; a part of a tensor left out is left out.
func (v vec) part(lo, hi int) vec {
	if v.p == nil {
		return v
	}
	return vec{p: unsafe.Add(v.p, lo*v.t.Size()), n: hi - lo, t: v.t}
}

// at widens element i, of a high-precision type.
func (v vec) at(i int) float32 {
	if v.t == dtype.Float32 {
		return *(*float32)(unsafe.Add(v.p, 4*i))
	}
	return (*(*dtype.BF16)(unsafe.Add(v.p, 2*i))).Float32()
}

// set rounds f to element i, of a high-precision type.
func (v vec) set(i int, f float32) {
	if v.t == dtype.Float32 {
		*(*float32)(unsafe.Add(v.p, 4*i)) = f
		return
	}
	*(*dtype.BF16)(unsafe.Add(v.p, 2*i)) = dtype.ToBF16(f)
}

func (v vec) f32() []float32 { return unsafe.Slice((*float32)(v.p), v.n) }
func (v vec) bytes() []byte  { return unsafe.Slice((*byte)(v.p), v.n*v.t.Size()) }

// pieceLen is the elements of one piece of an elementwise kernel: enough to
// hide the cost of handing it out, few enough to stay in the second cache.
const pieceLen = 1 << 15

// pieces runs f over [0,n) in pieces of size; their bounds depend on nothing
// else.
func (s *Stream) pieces(n, size int, f func(lo, hi int)) {
	if s.workers.threads == 1 { // without the closure
		for lo := 0; lo < n; lo += size {
			f(lo, min(n, lo+size))
		}
		return
	}
	s.workers.run(count(n, size), func(i int) { f(i*size, min(n, (i+1)*size)) })
}

// count is the number of pieces of size that cover n.
func count(n, size int) int { return (n + size - 1) / size }

// rowsPerPiece is how many rows of cols elements make a piece.
func rowsPerPiece(cols int) int { return max(1, pieceLen/max(1, cols)) }

// scratchOf is memory for n values that a kernel keeps until it returns.
func scratchOf[T any](s *Stream, in slot, n int) []T {
	var v T
	mem := s.scratch.get(in, max(1, n)*int(unsafe.Sizeof(v))).mem
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(mem))), n)
}
