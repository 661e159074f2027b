// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"time"

	"octet/dtype"
)

// Peak measures what all threads of the device together multiply at best, in
// FLOP/s, in the unit that MatMul takes for operands of a type where it may
// choose freely. It takes about 10 ms. A core that is shared with other work gives
// less, so take ratios within one run.
func (d *Device) Peak(operands dtype.Type) float64 {
	spin := map[unit]func(int) int{
		unitPortable: spinPortable, unitAVX2: spinF32AVX2, unitAVX512: spinF32AVX512, unitBF16Dot: spinBF16, unitFP16: spinFP16, unitAMX: spinAMX,
	}[unitFor(d.isa, operands, operands, true)]
	return float64(d.threads) * rate(spin)
}

// rate runs spin, which returns the operations it did, for about 8 ms and
// returns the best rate seen.
func rate(spin func(rounds int) int) float64 {
	best := 0.0
	for range 8 {
		rounds := 1 << 10
		for {
			start := time.Now()
			ops := spin(rounds)
			took := time.Since(start)
			if took >= 500*time.Microsecond {
				best = max(best, float64(ops)/took.Seconds())
				break
			}
			rounds *= 4
		}
	}
	return best
}

// spinPortable is eight independent sums, enough to keep scalar Go's adder and
// multiplier busy.
func spinPortable(rounds int) int {
	var s [8]float32
	x, y := 1/float32(rounds), float32(0.5)
	for range rounds {
		s[0] = s[0]*x + y
		s[1] = s[1]*x + y
		s[2] = s[2]*x + y
		s[3] = s[3]*x + y
		s[4] = s[4]*x + y
		s[5] = s[5]*x + y
		s[6] = s[6]*x + y
		s[7] = s[7]*x + y
	}
	sink(s)
	return rounds * 2 * len(s)
}

// sink keeps its argument from being optimized away.
//
//go:noinline
func sink([8]float32) {}
