// SPDX-License-Identifier: Apache-2.0

package dtype

import (
	"math"
	"math/bits"
)

// Format is the arithmetic of one 8-bit float, as OCP (FN, E5M2) and
// arXiv 2206.02915 (FNUZ) define them: sign, exponent with Bias, ManBits of mantissa.
type Format struct {
	Name    string
	Bias    int
	ManBits int
	Max     float32 // largest finite value
	UZ      bool    // FNUZ: one zero, the code of -0 is NaN, no infinities
	IEEE    bool    // the top exponent holds infinities and NaN
}

// The four formats, by their names in PyTorch: FN has no infinities, and UZ no
// -0 either; E5M2 follows IEEE 754.
var (
	E4M3FN   = Format{Name: "e4m3fn", Bias: 7, ManBits: 3, Max: 448}
	E5M2     = Format{Name: "e5m2", Bias: 15, ManBits: 2, Max: 57344, IEEE: true}
	E4M3FNUZ = Format{Name: "e4m3fnuz", Bias: 8, ManBits: 3, Max: 240, UZ: true}
	E5M2FNUZ = Format{Name: "e5m2fnuz", Bias: 16, ManBits: 2, Max: 57344, UZ: true}
)

// NaN is the canonical NaN code of the format.
func (f Format) NaN() byte {
	if f.UZ {
		return 0x80
	}
	return 0x7F
}

// Encode rounds v to nearest, ties to even, after clamping it to ±Max.
// ±Inf becomes ±Max and NaN the canonical NaN.
func (f Format) Encode(v float32) byte {
	u := math.Float32bits(v)
	a := u & 0x7FFFFFFF
	if a > 0x7F800000 {
		return f.NaN()
	}
	a = min(a, math.Float32bits(f.Max))
	m := uint(f.ManBits)
	var code byte
	if minNormal := uint32(128-f.Bias) << 23; a >= minNormal {
		q := a - uint32(127-f.Bias)<<23
		q += 1<<(22-m) - 1 + q>>(23-m)&1
		code = byte(q >> (23 - m))
	} else {
		// Adding 2^(24-bias-m) leaves the subnormal's code in the low bits of the
		// sum, rounded by the addition itself.
		magic := math.Ldexp(1, 24-f.Bias-f.ManBits)
		sum := math.Float32frombits(a) + float32(magic)
		code = byte(math.Float32bits(sum) - math.Float32bits(float32(magic)))
	}
	if code == 0 && f.UZ {
		return 0
	}
	return code | byte(u>>31)<<7
}

// Decode is the exact value of code.
func (f Format) Decode(code byte) float32 {
	man := int(code) & (1<<f.ManBits - 1)
	exp := int(code) & 0x7F >> f.ManBits
	switch {
	case f.UZ && code == 0x80:
		return float32(math.NaN())
	case f.IEEE && exp == 31 && man == 0:
		return float32(math.Inf(1 - 2*int(code>>7)))
	case f.IEEE && exp == 31, !f.UZ && !f.IEEE && code&0x7F == 0x7F:
		return float32(math.NaN())
	}
	v := math.Ldexp(float64(man), 1-f.Bias-f.ManBits)
	if exp > 0 {
		v = math.Ldexp(float64(man+1<<f.ManBits), exp-f.Bias-f.ManBits)
	}
	return float32(math.Copysign(v, 1-2*float64(code>>7)))
}

// Scale is the factor that takes a tensor of the given amax to the format's
// range: f32(Max / max(f64(amax), 1e-12)). A NaN amax gives NaN, an infinite
// one 0. With pow2 it is rounded down to a power of two as
// exp2(floor(log2(scale))) in float32 does it (torchao.float8,
// amax_to_scale).
func (f Format) Scale(amax float32, pow2 bool) float32 {
	a := float64(amax)
	if a < 1e-12 {
		a = 1e-12
	}
	s := float32(float64(f.Max) / a)
	if !pow2 || s == 0 || s != s {
		return s
	}
	return floorPow2(s)
}

// roundsUp is how many units in the last place below 2^k, for |k| of n bits, a
// float32 logarithm is rounded to k: floor(ln2·2^(n-1)).
var roundsUp = [...]int32{0, 0, 1, 2, 5, 11, 22, 44}

// floorPow2 is exp2(floor(log2(s))) in float32, of a normal number above 0 whose
// logarithm is below 127. Next below 2^k, the logarithm is rounded to k, and so s is
// rounded up. In integers, so that devices need no logarithm with equal bits.
func floorPow2(s float32) float32 {
	const man = 1<<23 - 1
	u := math.Float32bits(s)
	below := 1<<23 - int32(u&man) // units in the last place to the next power of two, 2^k
	k := int(u>>23) - 126
	n := bits.Len(uint(max(k-1, -k))) // ceil(log2 k) for k > 1, where numbers below k are half as dense
	if below <= roundsUp[n] {
		u += 1 << 23
	}
	return math.Float32frombits(u &^ man)
}
