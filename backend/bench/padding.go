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

// aligned is what float8 matmuls of GPUs want of the summed dimension, and of both of
// the right operand.
const aligned = 16

// PaddingOptions are a run of Padding.
type PaddingOptions struct {
	Device backend.Options
	Recipe fp8.Recipe
	Shapes []Shape
	Effort Effort
}

// Padding measures the output product of shapes that no float8 matmul of a GPU takes: in
// bf16 as they are (ref), in bf16 with all three sizes raised to multiples of 16, and in
// float8 with the summed dimension padded by zeros, the padding included. The columns
// are torchao's bench_padding.
func Padding(ctx context.Context, out Output, o PaddingOptions) error {
	top, err := peaksOf(o.Device)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	fmt.Fprintln(out.Text, o.Effort)
	rows, err := out.table(len(o.Shapes), column{"Shape", 20}, column{"Ref Dtype", 9}, column{"Ref Tops", 10}, column{"Aligned BF16 Tops", 17}, column{"FP8 Tops", 10},
		column{"Ref % Peak", 10}, column{"Aligned BF16 % Peak", 19}, column{"FP8 % Peak", 10}, column{"Ref Time", 10}, column{"Aligned BF16 Time", 17}, column{"FP8 Time", 10},
		column{"Aligned BF16 Speedup", 20}, column{"FP8 Speedup", 11})
	if err != nil {
		return err
	}
	for _, shape := range o.Shapes {
		if err := onRig(ctx, o.Device, func(r *rig) error { return r.padding(ctx, rows, o, shape, top) }); err != nil {
			return fmt.Errorf("bench: %v: %w", shape, err)
		}
	}
	return nil
}

func (r *rig) padding(ctx context.Context, rows *table, o PaddingOptions, shape Shape, top peaks) error {
	up := func(n int) int { return (n + aligned - 1) / aligned * aligned }
	output := products()[nn.Output]
	times, err := o.Effort.inTurns(ctx, r.s,
		r.multiply(output, shape, dtype.BFloat16, nil),
		r.multiply(output, Shape{M: up(shape.M), K: up(shape.K), N: up(shape.N)}, dtype.BFloat16, nil),
		r.padded(shape, up(shape.K), o.Recipe))
	if err != nil {
		return err
	}
	ref, bf16, float8 := shape.flops()/times[0], shape.flops()/times[1], shape.flops()/times[2]
	return rows.row(shape, dtype.BFloat16, ref, bf16, float8, 100*ref/top.bf16, 100*bf16/top.bf16, 100*float8/top.float8,
		times[0], times[1], times[2], times[0]/times[1], times[0]/times[2])
}

// padded multiplies X·Wᵀ in float8 after it has put zeros behind the rows of both, so
// that they are k wide: rows are added to the transpose.
func (r *rig) padded(shape Shape, k int, recipe fp8.Recipe) func() {
	pad := func(role nn.Role, rows int) (wide tensor.Operand, fill func()) {
		x := r.normal(dtype.BFloat16, role.String(), rows, shape.K)
		q := r.cast(x, recipe.Cast[role], false, recipe.Config.RoundScalesToPowerOf2)
		r.pool.Free(x)
		turned := r.pool.New(q.Type, k, rows)
		wide = q
		wide.Tensor = r.pool.New(q.Type, rows, k)
		return wide, func() {
			r.s.Zero(turned.Rows(shape.K, k))
			r.s.Transpose(turned.Rows(0, shape.K), q.Tensor)
			r.s.Transpose(wide.Tensor, turned)
		}
	}
	a, padA := pad(nn.In, shape.M)
	b, padB := pad(nn.Weight, shape.N)
	y := r.pool.New(dtype.BFloat16, shape.M, shape.N)
	return func() {
		padA()
		padB()
		r.s.MatMul(y, a, b, device.MatMulOptions{TransB: true, FastAccum: recipe.FastAccum[nn.Output]})
	}
}
