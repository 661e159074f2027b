// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"

	"octet/backend"
	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/nn"
	"octet/tensor"
)

// MatMulOptions are a run of MatMul.
type MatMulOptions struct {
	Device backend.Options
	Shapes []Shape
	Recipe fp8.Recipe // chooses formats and scales
	Effort Effort
}

// product is one of the three products of a linear layer, as the device has it.
type product struct {
	name           string
	by             nn.MatMul
	a, b           nn.Role
	transA, transB bool
}

// products are X·Wᵀ, dY·W and dYᵀ·X of X [M,K], W [N,K], dY [M,N].
func products() [nn.NumMatMuls]product {
	return [...]product{
		{"output", nn.Output, nn.In, nn.Weight, false, true},
		{"grad_input", nn.GradInput, nn.GradOut, nn.WeightForGI, false, false},
		{"grad_weight", nn.GradWeight, nn.GradOutForGW, nn.InForGW, true, false},
	}
}

// MatMul measures the three products of a linear layer of each shape, in float8 with
// fast accumulation and without, beside bf16 and float32: torchao's bench_matmul, with
// its columns and some more. ref is bf16; pct_top_peak is the part of what the device
// was measured to multiply at most in its unit for the type.
func MatMul(ctx context.Context, out Output, o MatMulOptions) error {
	top, err := peaksOf(o.Device)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	cores := float64(max(1, o.Device.Threads))
	fmt.Fprintf(out.Text, "%v\npeak of a core in GFLOP/s, in the unit for each type: f32 %.0f, bf16 %.0f, float8 %.0f\n",
		o.Effort, top.f32/cores/1e9, top.bf16/cores/1e9, top.float8/cores/1e9)
	kinds := 0 // of products that are float8
	for _, p := range products() {
		if o.Recipe.Cast[p.a].Type != fp8.Disabled {
			kinds++
		}
	}
	rows, err := out.table(2*kinds*len(o.Shapes),
		column{"fast_accum", 10}, column{"name", 18}, column{"M", 6}, column{"K", 6}, column{"N", 6}, column{"ref_pct_top_peak", 16}, column{"pct_top_peak", 12},
		column{"ref_time_s", 10}, column{"time_s", 10}, column{"fp8_speedup", 11}, column{"product", 11}, column{"f32_gflops", 10}, column{"ref_gflops", 10}, column{"gflops", 8})
	if err != nil {
		return err
	}
	for _, shape := range o.Shapes {
		if err := onRig(ctx, o.Device, func(r *rig) error { return r.matMul(ctx, rows, o, shape, top) }); err != nil {
			return fmt.Errorf("bench: %v: %w", shape, err)
		}
	}
	return nil
}

// matMul writes the rows of one shape.
func (r *rig) matMul(ctx context.Context, rows *table, o MatMulOptions, shape Shape, top peaks) error {
	for _, p := range products() {
		if o.Recipe.Cast[p.a].Type == fp8.Disabled {
			continue // it is bf16's
		}
		fast, slow := o.Recipe, o.Recipe
		fast.FastAccum[p.by], slow.FastAccum[p.by] = true, false
		times, err := o.Effort.inTurns(ctx, r.s, r.multiply(p, shape, dtype.Float32, nil), r.multiply(p, shape, dtype.BFloat16, nil),
			r.multiply(p, shape, dtype.BFloat16, &fast), r.multiply(p, shape, dtype.BFloat16, &slow))
		if err != nil {
			return err
		}
		ref := times[1]
		for i, accum := range []bool{true, false} {
			took := times[2+i]
			if err := rows.row(accum, shape.Name, shape.M, shape.K, shape.N, shape.flops()/ref/top.bf16, shape.flops()/took/top.float8,
				ref, took, ref/took, p.name, shape.flops()/times[0]/1e9, shape.flops()/ref/1e9, shape.flops()/took/1e9); err != nil {
				return err
			}
		}
	}
	return nil
}

// multiply makes operands of high precision, or as a recipe casts them, and returns
// what multiplies them. Gradients of weights are float32, as in training.
func (r *rig) multiply(p product, shape Shape, t dtype.Type, recipe *fp8.Recipe) func() {
	dst, a, b, o := r.operands(p, shape, t, recipe)
	return func() { r.s.MatMul(dst, a, b, o) }
}

// operands are MatMul's arguments for a product. Where a device reads float8 operands of one layout alone they lie in that.
func (r *rig) operands(p product, shape Shape, t dtype.Type, recipe *fp8.Recipe) (dst *tensor.Tensor, a, b tensor.Operand, o device.MatMulOptions) {
	sizes := [...][2]int{nn.In: {shape.M, shape.K}, nn.Weight: {shape.N, shape.K}, nn.GradOut: {shape.M, shape.N},
		nn.InForGW: {shape.M, shape.K}, nn.WeightForGI: {shape.N, shape.K}, nn.GradOutForGW: {shape.M, shape.N}}
	operand := func(role nn.Role, perColumn bool) tensor.Operand {
		x := r.normal(t, role.String(), sizes[role][0], sizes[role][1])
		if recipe == nil {
			return tensor.Operand{Tensor: x}
		}
		defer r.pool.Free(x)
		return r.cast(x, recipe.Cast[role], perColumn, recipe.Config.RoundScalesToPowerOf2)
	}
	// A scale is shared along the dimension that is summed.
	a, b = operand(p.a, p.transA), operand(p.b, !p.transB)
	o = device.MatMulOptions{TransA: p.transA, TransB: p.transB, FastAccum: recipe != nil && recipe.FastAccum[p.by]}
	m, _ := a.Value()
	if p.transA {
		_, m = a.Value()
	}
	_, n := b.Value()
	if p.transB {
		n, _ = b.Value()
	}
	to := t
	if p.by == nn.GradWeight {
		to = dtype.Float32
	}
	return r.pool.New(to, m, n), a, b, o
}
