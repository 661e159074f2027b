// SPDX-License-Identifier: Apache-2.0

package commtest

import (
	"encoding/binary"
	"math"

	"octet/comm"
	"octet/dtype"
	"octet/tensor"
)

// Values makes a tensor of n elements that is a function of type, rank and
// seed. Magnitudes vary widely, so that sums depend on their order.
func Values(t dtype.Type, n, rank, seed int) *tensor.Tensor {
	x := New(t, n)
	b := Data(x)
	state := uint64(rank)<<32 ^ uint64(seed)*0x9E3779B97F4A7C15 ^ 0x1234567
	for i := range n {
		state = state*6364136223846793005 + 1442695040888963407
		r := state >> 32
		f := float32(int32(r)) / (1 << 31) * math.Float32frombits((115+uint32(r)%24)<<23) // 2^-12 to 2^11
		switch t {
		case dtype.Float32:
			binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(f))
		case dtype.BFloat16:
			binary.LittleEndian.PutUint16(b[2*i:], uint16(dtype.ToBF16(f)))
		case dtype.Int32:
			binary.LittleEndian.PutUint32(b[4*i:], uint32(r))
		default:
			b[i] = byte(r)
		}
	}
	return x
}

// Reduce is the oracle of reductions: op over xs in their order, the plain way.
func Reduce(xs []*tensor.Tensor, op comm.Op) *tensor.Tensor {
	out := New(xs[0].Type, xs[0].Numel())
	d := Data(out)
	for i := range out.Numel() {
		switch out.Type {
		case dtype.Int32:
			acc := int32(binary.LittleEndian.Uint32(Data(xs[0])[4*i:]))
			for _, x := range xs[1:] {
				v := int32(binary.LittleEndian.Uint32(Data(x)[4*i:]))
				if op == comm.Max {
					acc = max(acc, v)
				} else {
					acc += v
				}
			}
			binary.LittleEndian.PutUint32(d[4*i:], uint32(acc))
		default:
			acc := float(xs[0], i)
			for _, x := range xs[1:] {
				if v := float(x, i); op == comm.Max {
					acc = max(acc, v)
				} else {
					acc += v
				}
			}
			if op == comm.Avg {
				acc /= float32(len(xs))
			}
			if out.Type == dtype.BFloat16 {
				binary.LittleEndian.PutUint16(d[2*i:], uint16(dtype.ToBF16(acc)))
			} else {
				binary.LittleEndian.PutUint32(d[4*i:], math.Float32bits(acc))
			}
		}
	}
	return out
}

// float is element i of a float32 or bfloat16 tensor.
func float(x *tensor.Tensor, i int) float32 {
	b := Data(x)
	if x.Type == dtype.BFloat16 {
		return dtype.BF16(binary.LittleEndian.Uint16(b[2*i:])).Float32()
	}
	return math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
}
