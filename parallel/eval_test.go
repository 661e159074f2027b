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

// TestTheLargestLossOfARank is the mean over that rank's own terms, however few, in a step and in an evaluation; a rank without terms has none.
func TestTheLargestLossOfARank(t *testing.T) {
	terms := []int{3, 1, 0} // of each rank
	measure := func(world int, first int) (step, eval parallel.Result) {
		ranks.Run(t, world, ranks.Options{}, func(r *ranks.Rank) error {
			u := &user{T: t, rank: r, plan: parallel.Plan{FSDP: fsdp.Options{Param: dtype.Float32}}, root: nn.NewLinear(4, 5, nn.LinearOptions{Init: nn.Normal(1)})}
			u.init()
			rig := nntest.New(t, r.Device, dtype.Float32)
			at := first + r.Rank
			x, targets := rig.Normal((at+1)*4*4, 1)[at*4*4:], []int32{-100, -100, -100, -100}
			for i := range terms[at] {
				targets[i] = int32(at + i)
			}
			in, of := rig.Put(x, 4, 4), rig.IDs(targets, 4)
			if err := rig.Ctx.Stream.Sync(); err != nil {
				return err
			}
			pass := func(c *nn.Ctx, _ int) { nn.CrossEntropy(c, u.m.Forward(c, nn.Input(in)), of) }
			e, err := u.m.Eval(1, func(c *nn.Ctx, i int) (int, error) { pass(c, i); return terms[at], nil })
			if err != nil {
				return err
			}
			s, err := u.m.Step(parallel.StepOptions{Optimizer: u.adam, LR: 1e-2, Count: terms[at]}, pass).Wait()
			if r.Rank == 0 {
				step, eval = s, e
			}
			return err
		})
		return step, eval
	}
	most, sum := 0.0, 0.0
	for rank := range 2 {
		step, eval := measure(1, rank)
		if step.MaxLoss != step.Loss || math.Abs(eval.MaxLoss-step.Loss) > 1e-6*step.Loss {
			t.Errorf("alone: step %+v, evaluation %+v", step, eval)
		}
		most, sum = max(most, step.Loss), sum+step.Loss*float64(terms[rank])
	}
	step, eval := measure(3, 0)
	for _, r := range []parallel.Result{step, eval} {
		if math.Abs(r.MaxLoss-most) > 1e-6*most || math.Abs(r.Loss-sum/4) > 1e-6*sum || r.MaxLoss < 1.05*r.Loss {
			t.Errorf("%+v, want a loss of %v, at most %v", r, sum/4, most)
		}
	}
}
