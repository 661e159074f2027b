// SPDX-License-Identifier: Apache-2.0

package commtest

import (
	"encoding/binary"
	"math"

	"octet/comm"
	"octet/dtype"
)

// Values are elements in the memory of the host.
type Values struct {
	Type  dtype.Type
	Bytes []byte
}

// Draw makes n elements that are a function of type, rank and seed. Magnitudes
// vary widely, so that sums depend on their order.
func Draw(t dtype.Type, n, rank, seed int) Values {
	b := make([]byte, n*t.Size())
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
	return Values{t, b}
}

// Len is the number of elements.
func (v Values) Len() int { return len(v.Bytes) / v.Type.Size() }

// element is the bytes of element i.
func (v Values) element(i int) []byte { return v.Bytes[i*v.Type.Size() : (i+1)*v.Type.Size()] }

// part is part q of n equal parts.
func (v Values) part(q, n int) Values {
	size := len(v.Bytes) / n
	return Values{v.Type, v.Bytes[q*size : (q+1)*size]}
}

// concat is values of one type one after the other.
func concat(vs ...Values) Values {
	out := Values{Type: vs[0].Type}
	for _, v := range vs {
		out.Bytes = append(out.Bytes, v.Bytes...)
	}
	return out
}

// float is element i of float32 or bfloat16.
func (v Values) float(i int) float32 {
	if v.Type == dtype.BFloat16 {
		return dtype.BF16(binary.LittleEndian.Uint16(v.Bytes[2*i:])).Float32()
	}
	return math.Float32frombits(binary.LittleEndian.Uint32(v.Bytes[4*i:]))
}

// Reduce is the oracle of reductions: op over vs in their order, the plain way.
func Reduce(vs []Values, op comm.Op) Values {
	out := Values{vs[0].Type, make([]byte, len(vs[0].Bytes))}
	for i := range out.Len() {
		switch out.Type {
		case dtype.Int32:
			acc := int32(binary.LittleEndian.Uint32(vs[0].element(i)))
			for _, v := range vs[1:] {
				x := int32(binary.LittleEndian.Uint32(v.element(i)))
				if op == comm.Max {
					acc = max(acc, x)
				} else {
					acc += x
				}
			}
			binary.LittleEndian.PutUint32(out.element(i), uint32(acc))
		default:
			acc := vs[0].float(i)
			for _, v := range vs[1:] {
				if x := v.float(i); op == comm.Max {
					acc = max(acc, x)
				} else {
					acc += x
				}
			}
			if out.Type == dtype.BFloat16 {
				binary.LittleEndian.PutUint16(out.element(i), uint16(dtype.ToBF16(acc)))
			} else {
				binary.LittleEndian.PutUint32(out.element(i), math.Float32bits(acc))
			}
		}
	}
	return out
}
