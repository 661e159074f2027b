// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"time"

	"octet/dtype"
	"octet/fp8"
	"octet/nn"
)

// Tune times, for each product of a linear layer in training, in bf16 and as a recipe casts it, written and added to what is there,
// all the algorithms that the device's library proposes, and keeps the fastest where training on such a device finds them:
// after each shape, so that what was tuned stays if it is stopped. first is what the library would take. A product that octet's
// own kernel makes has no choice. A device without such a library is an error.
func Tune(ctx context.Context, out Output, o MatMulOptions) error {
	var rows *table
	path := ""
	for _, shape := range o.Shapes {
		err := onRig(ctx, o.Device, func(r *rig) (err error) {
			if r.Device.Tuner == nil {
				return fmt.Errorf("--tune: device %s has one kernel for each product and nothing to choose: it is for GPUs (--device cuda)", r.Device.Name())
			}
			if rows == nil {
				fmt.Fprintf(out.Text, "%s; medians of up to %d turns within %v\n", r.Device.Name(), o.Effort.Repeat, o.Effort.Time)
				if rows, err = tuningTable(out, o); err != nil {
					return err
				}
			}
			if err := r.tune(ctx, rows, o, shape); err != nil {
				return err
			}
			path, err = r.Device.Tuner.SaveTuned()
			return err
		})
		if err != nil {
			return err
		}
	}
	fmt.Fprintf(out.Text, "kept in %s\n", path)
	return nil
}

func tuningTable(out Output, o MatMulOptions) (*table, error) {
	return out.table(len(tunings(o.Recipe))*len(o.Shapes), column{"name", 18}, column{"M", 6}, column{"K", 6}, column{"N", 6}, column{"product", 11}, column{"type", 8}, column{"added", 6},
		column{"algorithms", 10}, column{"best", 5}, column{"first_us", 10}, column{"best_us", 10}, column{"speedup", 8}, column{"own_kernel", 0})
}

// tuning is a product as training makes it.
type tuning struct {
	product
	recipe *fp8.Recipe // nil: bf16
	added  bool
}

// tunings are all, in their order: gradients are added where several layers read one tensor, and from the second microbatch on.
func tunings(recipe fp8.Recipe) (all []tuning) {
	for _, p := range products() {
		for _, r := range []*fp8.Recipe{nil, &recipe} {
			if r != nil && recipe.Cast[p.a].Type == fp8.Disabled {
				continue
			}
			all = append(all, tuning{p, r, false})
			if p.by != nn.Output {
				all = append(all, tuning{p, r, true})
			}
		}
	}
	return all
}

// tune writes the rows of one shape.
func (r *rig) tune(ctx context.Context, rows *table, o MatMulOptions, shape Shape) error {
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
	for _, p := range tunings(o.Recipe) {
		if err := ctx.Err(); err != nil {
			return err
		}
		dst, a, b, with := r.operands(p.product, shape, dtype.BFloat16, p.recipe)
		with.Accumulate = p.added
		found, err := r.Device.Tuner.Tune(r.s, dst, a, b, with, o.Effort.Repeat, o.Effort.Time)
		if err != nil {
			return err
		}
		r.pool.Free(dst)
		r.pool.Free(a.Tensor)
		r.pool.Free(b.Tensor)
		row := []any{shape.Name, shape.M, shape.K, shape.N, p.name, kindOf(p.recipe), p.added, len(found.Times), found.Best, nil, nil, nil, found.Own}
		if len(found.Times) > 0 {
			best := found.Times[found.Best]
			row[10] = us(best)
			if first := found.Times[0]; first > 0 {
				row[9], row[11] = us(first), float64(first)/float64(best)
			}
		}
		if err := rows.row(row...); err != nil {
			return err
		}
	}
	return nil
}

func kindOf(recipe *fp8.Recipe) string {
	if recipe == nil {
		return "bf16"
	}
	return "float8"
}
