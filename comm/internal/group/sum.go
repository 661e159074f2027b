// SPDX-License-Identifier: Apache-2.0

package group

import (
	"fmt"
	"unsafe"

	"octet/comm"
	"octet/device"
	"octet/dtype"
)

// reduce sets dst to op over src, two or more, in their order: sums of float32 and bfloat16
// are the stream's, whose work this is, in float32, rounded once at the end. dst may be one of src.
// Max gives NaN where any value is NaN.
func reduce(s device.HostStream, dst []byte, src [][]byte, t dtype.Type, op comm.Op) {
	switch {
	case t == dtype.Int32 && op == comm.Max:
		fold(dst, src, func(a, x int32) int32 { return max(a, x) })
	case t == dtype.Int32:
		fold(dst, src, func(a, x int32) int32 { return a + x }) // wrapping around
	case t != dtype.Float32 && t != dtype.BFloat16:
		panic(fmt.Sprintf("comm: %v of %v", op, t))
	case op != comm.Max:
		s.Sum(dst, src, t)
	case t == dtype.Float32:
		fold(dst, src, func(a, x float32) float32 { return max(a, x) })
	default:
		fold(dst, src, func(a, x dtype.BF16) dtype.BF16 { return dtype.ToBF16(max(a.Float32(), x.Float32())) })
	}
}

// fold sets each element of dst to f over those of src.
func fold[T any](dst []byte, src [][]byte, f func(a, x T) T) {
	d, first := as[T](dst), as[T](src[0])
	for i := range d {
		v := first[i]
		for _, s := range src[1:] {
			v = f(v, as[T](s)[i])
		}
		d[i] = v
	}
}

// as is b seen as elements of type T. Tensors are aligned to their elements.
func as[T any](b []byte) []T {
	var t T
	if len(b) == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&b[0])), len(b)/int(unsafe.Sizeof(t)))
}
