// SPDX-License-Identifier: Apache-2.0

package parallel_test

import (
	"math"
	"slices"
	"testing"

	"octet/dtype"
	"octet/fsdp"
	"octet/nn"
	"octet/nn/nntest"
	"octet/parallel"
	"octet/tensor"
	"octet/test/ranks"
)

// TestAnEvaluationMeasuresWhatAStepDoes: the mean over the terms of all batches of all
// ranks, of either loss, and it keeps no memory. A step measures the loss before it
// moves the weights.
func TestAnEvaluationMeasuresWhatAStepDoes(t *testing.T) {
	const batches, rows, dim = 3, 2, 5
	for name, loss := range map[string]func(c *nn.Ctx, y *nn.Var, class, value *tensor.Tensor){
		"cross-entropy": func(c *nn.Ctx, y *nn.Var, class, _ *tensor.Tensor) { nn.CrossEntropy(c, y, class) },
		"squared error": func(c *nn.Ctx, y *nn.Var, _, value *tensor.Tensor) { nn.MeanSquaredError(c, y, value) },
	} {
		var first float64 // of one rank
		for _, n := range []int{1, 2} {
			ranks.Run(t, n, ranks.Options{}, func(r *ranks.Rank) error {
				u := &user{T: t, rank: r, plan: parallel.Plan{FSDP: fsdp.Options{Param: dtype.Float32}}, root: nn.NewLinear(4, dim, nn.LinearOptions{Init: nn.Normal(1)})}
				u.init()
				rig := nntest.New(t, r.Device, dtype.Float32)
				draws := rig.Normal(batches*rows*4, 1) // alike on every rank
				values := rig.Normal(batches*rows*dim, 1)
				terms := rows * dim
				if name == "cross-entropy" {
					terms = rows
				}
				pass := func(c *nn.Ctx, i int) {
					x := rig.Put(draws[i*rows*4:(i+1)*rows*4], rows, 4)
					class, value := rig.IDs([]int32{int32(i), 4}, rows), rig.Put(values[i*rows*dim:(i+1)*rows*dim], rows, dim)
					if err := rig.Ctx.Stream.Sync(); err != nil {
						t.Error(err)
					}
					loss(c, u.m.Forward(c, nn.Input(x)), class, value)
				}
				var results []parallel.Result
				var live []int
				for range 3 {
					e, err := u.m.Eval(batches, func(c *nn.Ctx, i int) (int, error) { pass(c, i); return terms, nil })
					if err != nil {
						return err
					}
					results, live = append(results, e), append(live, u.m.Ctx().Pool.Live())
				}
				s, err := u.m.Step(parallel.StepOptions{Optimizer: u.adam, LR: 1e-2, Count: batches * terms, Microbatches: batches}, pass).Wait()
				if err != nil {
					return err
				}
				if n == 1 {
					first = s.Loss
				}
				for _, e := range append(results, parallel.Result{Loss: first, Count: s.Count}) {
					if e.Count != n*batches*terms || e.Count != s.Count || math.Abs(e.Loss-s.Loss) > 1e-6*s.Loss || s.Loss < 0.1 {
						t.Errorf("%s, rank %d of %d: an evaluation measured %+v, the step %+v", name, r.World.Rank(), n, e, s)
					}
				}
				if slices.Max(live) != live[0] {
					t.Errorf("%s: %v bytes in use after three evaluations", name, live)
				}
				return nil
			})
		}
	}
}
