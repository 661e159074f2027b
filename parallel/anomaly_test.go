// SPDX-License-Identifier: Apache-2.0

package parallel_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/nn"
	"octet/optim"
	"octet/parallel"
	"octet/test/ranks"
)

// bomb writes a value into the output of a module, or into the gradient of that, when it is
// set off.
type bomb struct {
	nn.Leaf
	nn.NoParams
	inner    nn.Module
	forward  float32 // 0: none
	backward float32
}

func (b *bomb) Inner() *nn.Module { return &b.inner }

func (b *bomb) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	y := b.inner.Forward(c, x)
	write := func(value float32) {
		if value != 0 {
			row := c.Pool.New(dtype.Float32, 1)
			c.Stream.Upload(row, device.Float32Bytes([]float32{value}))
			at := y.Value.Tensor
			if c.Mode == nn.Train && y.Grad().Tensor != nil {
				at = y.Grad().Tensor
			}
			c.Stream.Copy(at.View(at.Numel()).Rows(0, 1), row)
			c.Pool.Free(row)
		}
	}
	write(b.forward)
	if c.Mode.Defers() {
		backward := b.backward
		c.Tape.Defer(func() { write(backward) })
	}
	return y
}

// watchedRun is one rank's run of two steps of a model of two layers, whose second may go wrong.
type watchedRun struct {
	rank         int
	m            *parallel.Model
	bombs        map[string]*bomb
	lr           float64
	microbatches int
	microbatch   func(i int) // at its beginning
}

// train runs them, with what goes wrong before the second, and returns the losses and the
// second's error.
func train(t *testing.T, p parallel.Plan, world, microbatches int, wrong func(w *watchedRun)) (losses [][]float64, errs []error) {
	losses, errs = make([][]float64, world), make([]error, world)
	ranks.Run(t, world, ranks.Options{}, func(r *ranks.Rank) error {
		root := model()
		w := &watchedRun{rank: r.Rank, bombs: map[string]*bomb{}, lr: 1e-3, microbatches: microbatches}
		_ = nn.Walk(&root, func(path string, m nn.Module) (nn.Module, error) {
			w.bombs[path] = &bomb{inner: m}
			return w.bombs[path], nil
		})
		if err := p.Convert(&root); err != nil {
			return err
		}
		var err error
		if w.m, err = p.Shard(root, r.World, r.Device); err != nil {
			return err
		}
		if err := w.m.Init(1); err != nil {
			return err
		}
		c := w.m.Ctx()
		adam, err := optim.NewAdam(r.Device, c.Stream, w.m.Params(), optim.AdamOptions{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8})
		if err != nil {
			return err
		}
		ids, lasting := c.Pool.Lasting().New(dtype.Int32, 2, 8), 0
		for step := range 2 {
			if step == 1 && wrong != nil {
				wrong(w)
			}
			result, err := w.m.Step(parallel.StepOptions{Optimizer: adam, LR: w.lr, Count: 16 * microbatches, Microbatches: microbatches}, func(c *nn.Ctx, i int) {
				if w.microbatch != nil {
					w.microbatch(i)
				}
				c.Stream.Upload(ids, device.Int32Bytes([]int32{1, 2, 3, 4, 5, 6, 7, int32(i), 9, 8, 7, 6, 5, 4, 3, int32(r.Rank)}))
				nn.CrossEntropy(c, w.m.Forward(c, nn.Input(ids)), ids)
			}).Wait()
			losses[r.Rank] = append(losses[r.Rank], result.Loss)
			if step == 0 {
				if lasting = c.Pool.Lasting().Live(); err != nil {
					return err
				}
			}
			if now := c.Pool.Lasting().Live(); now != lasting {
				t.Errorf("%d bytes last after a step, %d after the next", lasting, now)
			}
			errs[r.Rank] = err
		}
		return nil
	})
	return losses, errs
}

// param is the parameter of that name.
func (w *watchedRun) param(name string) *nn.Param {
	for _, p := range w.m.Params() {
		if p.Name == name {
			return p
		}
	}
	panic("no parameter " + name)
}

// TestTheFirstValueThatIsNotFiniteIsNamed on every rank alike, by tensor, module and the rank
// where it is, in the step in which it comes up.
func TestTheFirstValueThatIsNotFiniteIsNamed(t *testing.T) {
	inf, nan := float32(math.Inf(-1)), float32(math.NaN())
	set := func(name string, rank int, value float32) func(w *watchedRun) {
		return func(w *watchedRun) {
			p := w.param(name)
			values := make([]float32, p.Local().Numel())
			if w.rank == rank {
				values[len(values)-1] = value
			}
			p.Set(w.m.Ctx().Stream, values)
		}
	}
	on := func(rank int, path string, f func(b *bomb)) func(w *watchedRun) {
		return func(w *watchedRun) {
			if w.rank == rank {
				f(w.bombs[path])
			}
		}
	}
	for _, tt := range []struct {
		name  string
		wrong func(w *watchedRun)
		want  string
		norm  bool // it reaches the gradient norm, so that nothing is updated
	}{
		{"a weight", set("layers.1.feed_forward.w1.weight", 1, nan), "the weight layers.1.feed_forward.w1.weight has a NaN on rank 1", true},
		{"an embedding of no token", set("tok_embeddings.weight", 1, inf), "the weight tok_embeddings.weight has an infinity on rank 1", false},
		{"an output", on(1, "layers.0.attention.wk", func(b *bomb) { b.forward = inf }), "the output of layers.0.attention.wk has an infinity on rank 1", true},
		{"an output of rank 0", on(0, "layers.1", func(b *bomb) { b.forward = nan }), "the output of layers.1 has a NaN on rank 0", true},
		{"the logits", on(0, "output", func(b *bomb) { b.forward = nan }), "the output of output has a NaN on rank 0", true},
		{"a norm that overflows", set("layers.1.ffn_norm.weight", 0, 3e38), "the output of layers.1.ffn_norm has an infinity on rank 0", true},
		{"a gradient", on(1, "layers.1.attention", func(b *bomb) { b.backward = nan }), "the gradient of the input of layers.1.attention.wo has a NaN on rank 1", true},
		{"a gradient of the embedding", on(0, "tok_embeddings", func(b *bomb) { b.backward = inf }), "the gradient of tok_embeddings.weight has an infinity on rank 0", true},
		{"an update", func(w *watchedRun) { w.lr = math.Inf(1) }, "after the update the weight tok_embeddings.weight has a", false},
	} {
		for what, p := range plansThatDetect() {
			t.Run(tt.name+"/"+what, func(t *testing.T) {
				_, errs := train(t, p, 2, 1, tt.wrong)
				for rank, err := range errs {
					if err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "the weights are those of the step before") != tt.norm {
						t.Errorf("rank %d: %v, want %s, and the norm told: %v", rank, err, tt.want, tt.norm)
					}
					if err != nil && err.Error() != errs[0].Error() {
						t.Errorf("rank %d says %v, rank 0 %v", rank, err, errs[0])
					}
				}
			})
		}
	}
}

// plansThatDetect are ways to run, with checks on.
func plansThatDetect() map[string]parallel.Plan {
	gathered := fp8.DefaultConfig()
	gathered.EnableFsdpFloat8AllGather = true
	plain := parallel.Plan{DetectAnomaly: true, Units: []string{"tok_embeddings", "layers.*", "norm+output"}, FSDP: fsdp.Options{Param: dtype.BFloat16}}
	again, float8 := plain, plain
	again.Recompute = &parallel.Recompute{Modules: []string{"layers.*"}, Keep: nn.KeepCostly}
	float8.Float8 = &parallel.Float8{Config: gathered, Skip: []string{"output"}, Precompute: true}
	float8.Recompute = &parallel.Recompute{Modules: []string{"layers.*"}}
	return map[string]parallel.Plan{"plain": plain, "recomputed": again, "float8, recomputed": float8}
}

// TestAnAnomalyNamesItsMicrobatch, also past the first block of checks; what is of the
// whole step names none.
func TestAnAnomalyNamesItsMicrobatch(t *testing.T) {
	for want, set := range map[string]func(w *watchedRun){
		"the output of layers.1.attention.wv in microbatch 38 of 40 has a NaN on rank 1": func(w *watchedRun) { w.bombs["layers.1.attention.wv"].forward = float32(math.NaN()) },
		"the gradient of tok_embeddings.weight has a NaN on rank 0":                      func(w *watchedRun) { w.bombs["tok_embeddings"].backward = float32(math.NaN()) },
	} {
		_, errs := train(t, plansThatDetect()["plain"], 2, 40, func(w *watchedRun) {
			w.microbatch = func(i int) {
				if i == 37 && w.rank == 1 {
					set(w)
				}
			}
		})
		for rank, err := range errs {
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("rank %d: %v, want %s", rank, err, want)
			}
		}
	}
}

// TestChecksChangeNoBit, and find nothing in a run where all is finite.
func TestChecksChangeNoBit(t *testing.T) {
	for what, p := range plansThatDetect() {
		got, errs := train(t, p, 2, 2, nil)
		p.DetectAnomaly = false
		want, _ := train(t, p, 2, 2, nil)
		if !slices.Equal(got[0], want[0]) || errs[0] != nil {
			t.Errorf("%s: losses %v (%v), want %v", what, got[0], errs[0], want[0])
		}
	}
}

// TestWithoutChecksALossThatIsNotFiniteEndsTheStep: the norm tells, without a name.
func TestWithoutChecksALossThatIsNotFiniteEndsTheStep(t *testing.T) {
	for what, p := range plansThatDetect() {
		p.DetectAnomaly = false
		losses, errs := train(t, p, 2, 1, func(w *watchedRun) { w.bombs["layers.0"].forward = float32(math.Inf(1)) })
		for rank, err := range errs {
			if err == nil || !strings.HasPrefix(err.Error(), "the gradient norm is NaN (loss NaN); the weights are those of the step before") || !math.IsNaN(losses[rank][1]) {
				t.Errorf("%s: rank %d: loss %v, error %v", what, rank, losses[rank][1], err)
			}
		}
	}
}
