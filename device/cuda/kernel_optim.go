// SPDX-License-Identifier: Apache-2.0

package cuda

import (
	"fmt"
	"math"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// SumSquares is Σ x² over all tensors; see device.Kernels.
func (k *kernels) SumSquares(dst *tensor.Tensor, ts []*tensor.Tensor) {
	must(isF32(dst, 1) && isHP(ts...), "SumSquares(dst float32 [1], tensors of high precision)", append([]*tensor.Tensor{dst}, ts...)...)
	chunks := 0
	for _, t := range ts {
		chunks += count(t.Numel(), chunk)
	}
	partial := k.float64s(slotPartial, chunks)
	if chunks > 0 {
		l := k.begin(kSumSquares).dst(partial)
		k.list(l, []bool{false}, ts)
		k.over(l, chunks)
	}
	k.once(k.begin(kTotal).dst(dst).src(partial).u64(chunks).src(nil))
}

// ClipCoef is the factor that brings the global norm down to maxNorm; see
// device.Kernels.
func (k *kernels) ClipCoef(norm, coef, sumsq *tensor.Tensor, maxNorm float32) {
	must(isF32(norm, 1) && isF32(coef, 1) && isF32(sumsq, 1), "ClipCoef(norm, coef, sumsq float32 [1])", norm, coef, sumsq)
	k.once(k.begin(kClipCoef).dst(norm).dst(coef).src(sumsq).f32(maxNorm))
}

// adamWNumbers is how many numbers of a step adamw reads.
const adamWNumbers = 9

// AdamW is one step of the optimizer; see device.Kernels.
func (k *kernels) AdamW(p, g, m, v []*tensor.Tensor, steps, coef *tensor.Tensor, o device.AdamWOptions) {
	if len(g) != len(p) || len(m) != len(p) || len(v) != len(p) {
		panic(fmt.Sprintf("cuda: AdamW of %d parameters, %d gradients, %d and %d moments", len(p), len(g), len(m), len(v)))
	}
	must((coef == nil || isF32(coef, 1)) && steps.Type == dtype.Int32 && steps.Numel() == 1, "AdamW(steps int32 [1], coef float32 [1])", steps, coef)
	for i := range p {
		n := p[i].Numel()
		must(isF32(p[i], n) && isHP(g[i]) && g[i].Numel() == n && isF32(m[i], n) && isF32(v[i], n),
			"AdamW(p, m, v float32, g high precision, of equal numel)", p[i], g[i], m[i], v[i])
	}
	numbers := k.scratch(slotCoef, dtype.Float32, adamWNumbers)
	l := k.begin(kAdamWStep).dst(numbers).dst(steps).src(coef)
	k.once(l.f64(o.LR).f64(o.Beta1).f64(o.Beta2).f64(o.Eps).f64(o.WeightDecay).bool(o.L2))
	if len(p) == 0 {
		return
	}
	l = k.begin(kAdamW)
	chunks := k.list(l, []bool{true, false, true, true}, p, g, m, v)
	k.over(l.src(numbers), chunks)
}

func (l *launch) f64(f float64) *launch { return l.add(math.Float64bits(f), 0) }
