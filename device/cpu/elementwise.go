// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"unsafe"

	"octet/dtype"
	"octet/tensor"
)

// Zero clears t; see device.Kernels.
func (s *Stream) Zero(t *tensor.Tensor) {
	s.do(func() {
		mem := raw(t)
		s.pieces(len(mem), 4*pieceLen, func(lo, hi int) { clear(mem[lo:hi]) })
	})
}

// Copy converts src to dst's type; see device.Kernels.
func (s *Stream) Copy(dst, src *tensor.Tensor) {
	must.Copy(dst, src)
	s.do(func() {
		if dst.Type == src.Type {
			to, from := raw(dst), raw(src)
			s.pieces(len(to), 4*pieceLen, func(lo, hi int) { copy(to[lo:hi], from[lo:hi]) })
			return
		}
		to, from := vecOf(dst), vecOf(src)
		s.pieces(to.n, pieceLen, func(lo, hi int) { s.dev.table.convert(to.part(lo, hi), from.part(lo, hi)) })
	})
}

// convertGo is dst = src, rounded to dst's type.
func convertGo(dst, src vec) {
	for i := range dst.n {
		dst.set(i, src.at(i))
	}
}

// Add is dst = a + b; see device.Kernels.
func (s *Stream) Add(dst, a, b *tensor.Tensor) {
	must.Add(dst, a, b)
	s.do(func() {
		d, x, y := vecOf(dst), vecOf(a), vecOf(b)
		s.pieces(d.n, pieceLen, func(lo, hi int) { s.dev.table.add(d.part(lo, hi), x.part(lo, hi), y.part(lo, hi)) })
	})
}

func addGo(dst, a, b vec) {
	for i := range dst.n {
		dst.set(i, a.at(i)+b.at(i))
	}
}

// sumLen is the elements that Sum makes at a time: what it adds up stays in the first cache.
const sumLen = 1 << 12

// Sum is dst = src[0] + src[1] + …; see device.HostStream.
func (s *Stream) Sum(dst []byte, src [][]byte, t dtype.Type) {
	n, last := len(dst)/t.Size(), len(src)-1
	var sums vec
	if last > 1 { // bfloat16 would round each, and dst may be what is still to be added
		sums = vec{p: unsafe.Pointer(&scratchOf[float32](s, slotPieces, sumLen)[0]), n: sumLen, t: dtype.Float32}
	}
	for lo := 0; lo < n; lo += sumLen {
		hi := min(n, lo+sumLen)
		part := func(b []byte) vec { return vec{unsafe.Pointer(unsafe.SliceData(b)), n, t}.part(lo, hi) }
		sum := part(src[0])
		for _, b := range src[1:last] {
			s.dev.table.add(sums.part(0, hi-lo), sum, part(b))
			sum = sums.part(0, hi-lo)
		}
		s.dev.table.add(part(dst), sum, part(src[last]))
	}
}

// AddBias is y[r,c] += bias[c]; see device.Kernels.
func (s *Stream) AddBias(y, bias *tensor.Tensor) {
	must.AddBias(y, bias)
	rows, cols := y.Matrix()
	s.do(func() {
		v, b := vecOf(y), vecOf(bias)
		s.pieces(rows, rowsPerPiece(cols), func(lo, hi int) { s.dev.table.addBias(v.part(lo*cols, hi*cols), b) })
	})
}

func addBiasGo(y, bias vec) {
	for i := range y.n {
		y.set(i, y.at(i)+bias.at(i%bias.n))
	}
}

// BiasGrad is db[c] = Σ_r dy[r,c]; see device.Kernels.
func (s *Stream) BiasGrad(db, dy *tensor.Tensor) {
	must.BiasGrad(db, dy)
	rows, cols := dy.Matrix()
	s.do(func() {
		x := vecOf(dy)
		s.sumChunks(f32s(db), rows, func(partial []float32, lo, hi int) {
			s.dev.table.sumRows(partial, x.part(lo*cols, hi*cols))
		})
	})
}

// maxChunks bounds the partial sums of a reduction over rows.
const maxChunks = 32

// sumChunks is dst = the sum of what f gives for fixed chunks of the rows, in
// their order: the same bits for any number of threads.
func (s *Stream) sumChunks(dst []float32, rows int, f func(partial []float32, lo, hi int)) {
	size := chunkOf(rows)
	n, cols := count(rows, size), len(dst)
	partials := scratchOf[float32](s, slotPieces, n*cols)
	s.pieces(rows, size, func(lo, hi int) {
		i := lo / size
		f(partials[i*cols:(i+1)*cols], lo, hi)
	})
	s.pieces(cols, 1024, func(lo, hi int) {
		clear(dst[lo:hi])
		for i := range n {
			for c, p := range partials[i*cols+lo : i*cols+hi] {
				dst[lo+c] += p
			}
		}
	})
}

// chunkOf is how many of so many rows a chunk of sumChunks has.
func chunkOf(rows int) int { return max(16, count(rows, maxChunks)) }

// sumRowsGo is dst[c] = Σ_r x[r,c].
func sumRowsGo(dst []float32, x vec) {
	clear(dst)
	for i := range x.n {
		dst[i%len(dst)] += x.at(i)
	}
}

// Reciprocal is 1/n; see device.Kernels.
func (s *Stream) Reciprocal(dst, n *tensor.Tensor) {
	must.Reciprocal(dst, n)
	s.do(func() { f32s(dst)[0] = float32(1 / float64(i32s(n)[0])) })
}
