// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"

	"octet/tensor"
)

// SumSquares is Kernels.SumSquares's.
func (d Of) SumSquares(dst *tensor.Tensor, ts []*tensor.Tensor) {
	d.Hold(isF32(dst, 1) && isHP(ts...), "SumSquares(dst float32 [1], tensors of high precision)", append([]*tensor.Tensor{dst}, ts...)...)
}

// ClipCoef is Kernels.ClipCoef's.
func (d Of) ClipCoef(norm, coef, sumsq *tensor.Tensor) {
	d.Hold(isF32(norm, 1) && isF32(coef, 1) && isF32(sumsq, 1), "ClipCoef(norm, coef, sumsq float32 [1])", norm, coef, sumsq)
}

// AdamW is Kernels.AdamW's.
func (d Of) AdamW(p, g, m, v []*tensor.Tensor, steps, coef *tensor.Tensor) {
	if len(g) != len(p) || len(m) != len(p) || len(v) != len(p) {
		panic(fmt.Sprintf("%s: AdamW of %d parameters, %d gradients, %d and %d moments", string(d), len(p), len(g), len(m), len(v)))
	}
	d.Hold((coef == nil || isF32(coef, 1)) && isI32(steps, 1), "AdamW(steps int32 [1], coef float32 [1])", steps, coef)
	for i := range p {
		n := p[i].Numel()
		d.Hold(isF32(p[i], n) && isHP(g[i]) && g[i].Numel() == n && isF32(m[i], n) && isF32(v[i], n),
			"AdamW(p, m, v float32, g high precision, of equal numel)", p[i], g[i], m[i], v[i])
	}
}
