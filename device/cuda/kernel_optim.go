// SPDX-License-Identifier: Apache-2.0

package cuda

import (
	"math"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// SumSquares is Σ x² over all tensors; see device.Kernels.
func (k *kernels) SumSquares(dst *tensor.Tensor, ts []*tensor.Tensor) {
	must.SumSquares(dst, ts)
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
	must.ClipCoef(norm, coef, sumsq)
	k.once(k.begin(kClipCoef).dst(norm).dst(coef).src(sumsq).f32(maxNorm))
}

// adamWNumbers is how many numbers of a step adamw reads.
const adamWNumbers = 9

// AdamW is one step of the optimizer; see device.Kernels.
func (k *kernels) AdamW(p, g, m, v []*tensor.Tensor, steps, coef *tensor.Tensor, o device.AdamWOptions) {
	must.AdamW(p, g, m, v, steps, coef)
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
