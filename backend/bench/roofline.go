// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"time"

	"octet/backend"
	"octet/dtype"
	"octet/fp8"
	"octet/nn"
)

// RooflineOptions are a run of Roofline.
type RooflineOptions struct {
	Device backend.Options
	Shapes []Shape
	Recipe fp8.RecipeName
	// Benchmark measures beside the model.
	Benchmark bool
	// Fuse takes casts to read for nothing what the operation before them has written.
	Fuse   bool
	Effort Effort
}

// machine is what the model knows of a device; the figures are measured, so they are
// taken whole, where those of a data sheet are taken in part.
type machine struct {
	bf16, exact, fast float64 // FLOP/s: of bf16, of float8 that sums in float32, and with fast accumulation
	memory            float64 // bytes/s
	oneLayout         bool    // float8 matmuls want operands in one layout: what backward reads is written twice
}

// smallest is what a kernel takes at least, in seconds.
const smallest = 2e-6

// machineOf measures the device of o.
func machineOf(ctx context.Context, o backend.Options) (m machine, err error) {
	top, err := peaksOf(o)
	if err != nil {
		return m, err
	}
	// float8 is exact in bf16 and in float32: without fast accumulation it takes bf16's unit.
	m = machine{bf16: top.bf16, exact: top.bf16, fast: top.float8}
	err = onRig(ctx, o, func(r *rig) error {
		const n = 1 << 25
		src, dst := r.pool.New(dtype.Float32, n), r.pool.New(dtype.BFloat16, n)
		r.s.Zero(src)
		took, err := Effort{Time: 100 * time.Millisecond, Repeat: 5}.inTurns(ctx, r.s, func() { r.s.Copy(dst, src) })
		if err != nil {
			return err
		}
		m.memory = float64(src.Bytes()+dst.Bytes()) / took[0]
		m.oneLayout = r.s.Float8TN()
		return nil
	})
	return m, err
}

// pass is a kernel of a cast: what it moves for each element of the tensor.
type pass struct {
	bytes  float64
	turned float64 // of it, writing or reading a second layout, which not all devices need
	fused  float64 // of it, reading what the operation before has just written
	tiny   bool    // works on a few numbers, besides
}

// casts are the passes over an activation (or the gradient of one) and over a weight.
type casts struct{ activation, weight []pass }

// castsOf is the table of what each recipe's casts move, from bf16 to float8.
func castsOf(recipe fp8.RecipeName) (casts, bool) {
	c, ok := map[fp8.RecipeName]casts{
		fp8.RecipeTensorwise: {
			activation: []pass{{bytes: 2, fused: 2, tiny: true}, {bytes: 4, turned: 1}},
			weight:     []pass{{bytes: 2, tiny: true}, {bytes: 3}, {bytes: 3, turned: 3}},
		},
		fp8.RecipeRowwise: {
			activation: []pass{{bytes: 5, turned: 2, fused: 2}, {bytes: 3}},
			weight:     []pass{{bytes: 3}, {bytes: 4, turned: 4}, {bytes: 3}},
		},
		fp8.RecipeRowwiseWithGWHP: {
			activation: []pass{{bytes: 3}},
			weight:     []pass{{bytes: 3}, {bytes: 3}},
		},
		fp8.RecipeDelayed: {
			activation: []pass{{bytes: 4, turned: 1, fused: 2}},
			weight:     []pass{{bytes: 3}, {bytes: 2, turned: 2}},
		},
	}[recipe]
	return c, ok
}

// overhead is the seconds of passes over n elements.
func (m machine) overhead(passes []pass, n int, fuse bool) (seconds float64) {
	for _, p := range passes {
		bytes := p.bytes
		if !m.oneLayout {
			bytes -= p.turned
		}
		if fuse {
			bytes -= p.fused
		}
		if bytes > 0 {
			seconds += max(smallest, bytes*float64(n)/m.memory)
		}
		if p.tiny {
			seconds += smallest
		}
	}
	return seconds
}

// gemm is the seconds of a product [M,K]·[K,N] of operands of so many bytes an element,
// with a bf16 result.
func (m machine) gemm(s Shape, peak float64, bytes int) float64 {
	moved := float64(bytes*(s.M*s.K+s.K*s.N) + 2*s.M*s.N)
	return max(s.flops()/peak, moved/m.memory, smallest)
}

// gemms are the three products of a linear layer, X·Wᵀ, dY·W and dYᵀ·X.
func (m machine) gemms(s Shape, peak func(nn.MatMul) (flops float64, bytes int)) (seconds float64) {
	for i, shape := range [nn.NumMatMuls]Shape{
		nn.Output: s, nn.GradInput: {M: s.M, K: s.N, N: s.K}, nn.GradWeight: {M: s.K, K: s.M, N: s.N},
	} {
		flops, bytes := peak(nn.MatMul(i))
		seconds += m.gemm(shape, flops, bytes)
	}
	return seconds
}

// Roofline is torchao's float8_roofline: how long the products and casts of a linear
// layer, forward and backward, must take by their arithmetic and by the bytes that they
// move (r_…), and how long they do (b_…), in seconds.
func Roofline(ctx context.Context, out Output, o RooflineOptions) error {
	config, err := fp8.ConfigFromRecipe(o.Recipe)
	if err != nil {
		return err
	}
	recipe, err := config.Recipe()
	if err != nil {
		return err
	}
	moves, ok := castsOf(o.Recipe)
	if !ok {
		return fmt.Errorf("bench: the roofline has no figures for the casts of recipe %s", o.Recipe)
	}
	m, err := machineOf(ctx, o.Device)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	fmt.Fprintf(out.Text, "measured: %.4g GFLOP/s in bf16, %.4g in float8 with fast accumulation, %.4g GB/s of memory; %v\n", m.bf16/1e9, m.fast/1e9, m.memory/1e9, o.Effort)
	names := []string{"fwd_M", "fwd_K", "fwd_N", "r_bf16_gemm_s", "r_fp8_gemm_s", "r_fp8_ovhd_s", "r_fp8_gemm_and_ovhd_s", "r_fp8_gemm_and_ovhd_spdp",
		"b_bf16_gemm_s", "b_fp8_gemm_s", "b_bf16_e2e_s", "b_fp8_e2e_s", "b_fp8_e2e_spdp", "rb_bf16_gemm_ratio", "rb_fp8_gemm_ratio"}
	columns := make([]column, len(names))
	for i, name := range names {
		columns[i] = column{name, len(name)}
	}
	rows, err := out.table(len(o.Shapes), columns...)
	if err != nil {
		return err
	}
	for _, s := range o.Shapes {
		bf16 := m.gemms(s, func(nn.MatMul) (float64, int) { return m.bf16, 2 })
		float8 := m.gemms(s, func(i nn.MatMul) (float64, int) {
			switch {
			case recipe.Cast[products()[i].a].Type == fp8.Disabled:
				return m.bf16, 2
			case recipe.FastAccum[i]:
				return m.fast, 1
			}
			return m.exact, 1
		})
		over := m.overhead(moves.activation, s.M*s.K, o.Fuse) + m.overhead(moves.activation, s.M*s.N, o.Fuse) + m.overhead(moves.weight, s.K*s.N, false)
		values := []any{s.M, s.K, s.N, bf16, float8, over, float8 + over, bf16 / (float8 + over), nil, nil, nil, nil, nil, nil, nil}
		if o.Benchmark {
			if err := onRig(ctx, o.Device, func(r *rig) error {
				b, err := r.measured(ctx, o.Effort, s, config, recipe)
				copy(values[8:], []any{b[0], b[1], b[2], b[3], b[2] / b[3], bf16 / b[0], float8 / b[1]})
				return err
			}); err != nil {
				return fmt.Errorf("bench: %v: %w", s, err)
			}
		}
		if err := rows.row(values...); err != nil {
			return err
		}
	}
	return nil
}

// measured are the seconds of the three products together, in bf16 and in float8, and
// of a whole Linear, likewise.
func (r *rig) measured(ctx context.Context, effort Effort, s Shape, config fp8.Float8LinearConfig, recipe fp8.Recipe) (b [4]float64, err error) {
	all := func(how func(product) *fp8.Recipe) func() {
		var runs []func()
		for _, p := range products() {
			runs = append(runs, r.multiply(p, s, dtype.BFloat16, how(p)))
		}
		return func() {
			for _, run := range runs {
				run()
			}
		}
	}
	bf16 := all(func(product) *fp8.Recipe { return nil })
	float8 := all(func(p product) *fp8.Recipe {
		if recipe.Cast[p.a].Type == fp8.Disabled {
			return nil
		}
		return &recipe
	})
	plain, err := r.trained(s, nil)
	if err != nil {
		return b, err
	}
	converted, err := r.trained(s, &config)
	if err != nil {
		return b, err
	}
	times, err := effort.inTurns(ctx, r.s, bf16, float8, plain, converted)
	copy(b[:], times)
	return b, err
}
