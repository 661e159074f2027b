// SPDX-License-Identifier: Apache-2.0

package group

import (
	"fmt"
	"unsafe"

	"octet/comm"
	"octet/dtype"
)

// blockElems is how many elements are summed at a time: the accumulator stays
// in the first-level cache.
const blockElems = 1024

// accumulator is the scratch of one reduction.
type accumulator [blockElems]float32

// reduce sets dst to op over src, two or more, in their order: float32 and bfloat16
// in float32, rounded once at the end. dst may be one of src. Max gives NaN where
// any value is NaN.
func reduce(dst []byte, src [][]byte, t dtype.Type, op comm.Op, acc *accumulator) {
	switch {
	case t == dtype.Int32:
		reduceInt32(dst, src, op)
	case t == dtype.Float32:
		d := as[float32](dst)
		for lo := 0; lo < len(d); lo += blockElems {
			hi := min(lo+blockElems, len(d))
			last := len(src) - 1
			a := as[float32](src[0])[lo:hi]
			for _, s := range src[1:last] {
				combine(acc[:hi-lo], a, as[float32](s)[lo:hi], op)
				a = acc[:hi-lo]
			}
			combine(d[lo:hi], a, as[float32](src[last])[lo:hi], op)
		}
	case t == dtype.BFloat16:
		d := as[dtype.BF16](dst)
		for lo := 0; lo < len(d); lo += blockElems {
			hi := min(lo+blockElems, len(d))
			a := acc[:hi-lo]
			widen(a, as[dtype.BF16](src[0])[lo:hi])
			for _, s := range src[1:] {
				combineBF16(a, as[dtype.BF16](s)[lo:hi], op)
			}
			narrow(d[lo:hi], a)
		}
	default:
		panic(fmt.Sprintf("comm: %v of %v", op, t))
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

// add2 is dst = a + b; dst may be one of them.
func add2(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for len(dst) >= 8 {
		d, x, y := (*[8]float32)(dst), (*[8]float32)(a), (*[8]float32)(b)
		d[0] = x[0] + y[0]
		d[1] = x[1] + y[1]
		d[2] = x[2] + y[2]
		d[3] = x[3] + y[3]
		d[4] = x[4] + y[4]
		d[5] = x[5] + y[5]
		d[6] = x[6] + y[6]
		d[7] = x[7] + y[7]
		dst, a, b = dst[8:], a[8:], b[8:]
	}
	for i := range dst {
		dst[i] = a[i] + b[i]
	}
}

// combine is dst = a op x; dst may be one of them.
func combine(dst, a, x []float32, op comm.Op) {
	if op != comm.Max {
		add2(dst, a, x)
		return
	}
	a, x = a[:len(dst)], x[:len(dst)]
	for i := range dst {
		dst[i] = max(a[i], x[i])
	}
}

func widen(a []float32, x []dtype.BF16) {
	x = x[:len(a)]
	for i := range a {
		a[i] = x[i].Float32()
	}
}

func combineBF16(a []float32, x []dtype.BF16, op comm.Op) {
	x = x[:len(a)]
	if op == comm.Max {
		for i := range a {
			a[i] = max(a[i], x[i].Float32())
		}
		return
	}
	for i := range a {
		a[i] += x[i].Float32()
	}
}

func narrow(d []dtype.BF16, a []float32) {
	a = a[:len(d)]
	for i := range d {
		d[i] = dtype.ToBF16(a[i])
	}
}

// reduceInt32 sums (wrapping around) or takes the maximum.
func reduceInt32(dst []byte, src [][]byte, op comm.Op) {
	d := as[int32](dst)
	for i := range d {
		v := as[int32](src[0])[i]
		for _, s := range src[1:] {
			if x := as[int32](s)[i]; op == comm.Max {
				v = max(v, x)
			} else {
				v += x
			}
		}
		d[i] = v
	}
}
