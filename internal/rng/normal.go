// SPDX-License-Identifier: Apache-2.0

package rng

import (
	"fmt"
	"math"
)

// Normal fills dst with elements first, first+1, … of the stream's normal sequence of the given mean and standard deviation.
// Values lie within 6.4 standard deviations.
func (s Sequence) Normal(dst []float32, first uint64, mean, std float64) {
	s.TruncNormal(dst, first, mean, std, math.Inf(-1), math.Inf(1))
}

// TruncNormal is Normal with the distribution cut to [low, high]: that of drawing again until the value lies there.
//
// Each value comes from one number by the inverse of the cumulative distribution, as in torch.nn.init.trunc_normal_: there is
// nothing to draw again, so element i depends on counter i alone, whatever the bounds.
func (s Sequence) TruncNormal(dst []float32, first uint64, mean, std, low, high float64) {
	if !(std >= 0) || !(low < high) {
		panic(fmt.Sprintf("rng: normal with standard deviation %v cut to [%v, %v]", std, low, high))
	}
	if std == 0 {
		fill(dst, float32(min(max(mean, low), high)))
		return
	}
	// 2Φ(z) − 1 = erf(z/√2), so what is uniform between the bounds' erf is, by erfinv, normal between the bounds.
	a, b := math.Erf((low-mean)/(std*math.Sqrt2)), math.Erf((high-mean)/(std*math.Sqrt2))
	var four [4]uint32
	for j := range dst {
		i := first + uint64(j)
		if j == 0 || i%4 == 0 {
			four = s.block(i / 4)
		}
		v := mean + std*math.Sqrt2*math.Erfinv(a+(b-a)*uniform(four[i%4]))
		dst[j] = float32(min(max(v, low), high))
	}
}

func fill(dst []float32, v float32) {
	for i := range dst {
		dst[i] = v
	}
}
