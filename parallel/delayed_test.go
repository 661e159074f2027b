// SPDX-License-Identifier: Apache-2.0

package parallel_test

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"octet/device"
	"octet/dtensor"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/nn"
	"octet/nn/nntest"
	"octet/optim"
	"octet/parallel"
	"octet/test/ranks"
	"octet/tp"
)

// The model of these tests: two feed-forwards, of which w1 and w3 share an input, and a
// global batch of eight sequences a step.
const (
	vocab, width, hidden = 16, 16, 32
	sequences, seqLen    = 8, 4
	historyLen           = 3
)

func delayedModel() nn.Module {
	linear := func(in, out int) nn.Module { return nn.NewLinear(in, out, nn.LinearOptions{Init: nn.Normal(0.3)}) }
	block := func() nn.Module {
		return &nn.FeedForward{W1: linear(width, hidden), W3: linear(width, hidden), W2: linear(hidden, width)}
	}
	return &nn.Sequential{
		Names:   []string{"embed", "ffn1", "norm", "ffn2", "output"},
		Modules: []nn.Module{nn.NewEmbedding(vocab, width, nn.Normal(1)), block(), nn.NewRMSNorm(width, 1e-5), block(), linear(width, vocab)},
	}
}

// variant is a way to compute the same steps.
type variant struct {
	ranks, microbatches int
	tensor              int // ranks that share each layer and its tokens; 0 is one
	gather, eval        bool
	recompute           *parallel.Recompute
	float8TN            bool
	// reload: the weights are drawn anew, much smaller, before the first step; evaluated:
	// after an evaluation of the first ones, whose loss comes first.
	reload, evaluated    bool
	dynamic, withoutInit bool
}

func (v variant) String() string {
	return fmt.Sprintf("%d ranks, %d microbatches, float8 gather %v, evaluation %v, recomputation %v, one layout %v", v.ranks, v.microbatches, v.gather, v.eval, v.recompute != nil, v.float8TN)
}

func (v variant) plan() parallel.Plan {
	recipe := fp8.RecipeDelayed
	if v.dynamic {
		recipe = fp8.RecipeTensorwise
	}
	cfg, err := fp8.ConfigFromRecipe(recipe)
	if err != nil {
		panic(err)
	}
	cfg.DelayedScalingConfig.HistoryLen, cfg.EnableFsdpFloat8AllGather, cfg.EnableAmaxInit = historyLen, v.gather, !v.withoutInit
	p := parallel.Plan{
		Float8: &parallel.Float8{Config: cfg, Skip: []string{"output"}}, Recompute: v.recompute,
		Units: []string{"ffn1", "ffn2"}, FSDP: fsdp.Options{Param: dtype.Float32},
	}
	if all, rows := dtensor.Replicate(), dtensor.Shard(0); v.tensor > 1 {
		p.Degrees.Tensor = v.tensor
		p.Tensor = tp.Plan{
			tp.For("embed", tp.RowwiseParallel(tp.InputLayouts(all), tp.OutputLayouts(rows))), tp.For("norm", tp.SequenceParallel()),
			tp.For("ffn?", tp.PrepareModuleInput(rows, all)), tp.For("ffn?.w[13]", tp.ColwiseParallel()), tp.For("ffn?.w2", tp.RowwiseParallel(tp.OutputLayouts(rows))),
			tp.For("output", tp.ColwiseParallel(tp.InputLayouts(rows))),
		}
	}
	return p
}

// run takes steps from the state that was given, at learning rate lr, and returns every
// buffer, and the losses.
func (v variant) run(t *testing.T, state map[string][]float32, steps int, lr float64) (map[string][]float32, []float64) {
	t.Helper()
	after := map[string][]float32{}
	var losses []float64
	ranks.Run(t, v.ranks, ranks.Options{Float8TN: v.float8TN}, func(r *ranks.Rank) error {
		root := delayedModel()
		if err := v.plan().Convert(&root); err != nil {
			return err
		}
		m, err := v.plan().Shard(root, r.World, r.Device)
		if err != nil {
			return err
		}
		if err := m.Init(1); err != nil {
			return err
		}
		adam, err := optim.NewAdam(r.Device, m.Ctx().Stream, m.Params(), optim.AdamOptions{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8})
		if err != nil {
			return err
		}
		for name, b := range nn.Buffers(m.Root()) {
			if values, ok := state[name]; ok {
				b.Set(m.Ctx().Stream, values)
			}
		}
		rig := nntest.New(t, r.Device, dtype.Float32)
		shared := max(1, v.tensor)
		data, at := v.ranks/shared, r.Rank/shared // of ranks that have other sequences
		each := sequences / data / v.microbatches
		pass := func(step, first int) func(c *nn.Ctx) {
			ids, targets := make([]int32, each*seqLen), make([]int32, each*seqLen)
			for i := range ids {
				at := (step*sequences+first)*seqLen + i
				ids[i], targets[i] = int32(at*at%vocab), int32((at*7+step)%vocab)
			}
			x, y := rig.IDs(ids, each, seqLen), rig.IDs(targets, each, seqLen)
			if err := rig.Ctx.Stream.Sync(); err != nil {
				t.Error(err)
			}
			return func(c *nn.Ctx) { nn.CrossEntropy(c, m.Forward(c, nn.Input(x)), y) }
		}
		if v.evaluated {
			result, err := m.Eval(1, func(c *nn.Ctx, _ int) (int, error) { pass(0, 0)(c); return each * seqLen, nil })
			if err != nil {
				return err
			}
			if r.Rank == 0 {
				losses = append(losses, result.Loss)
			}
		}
		if v.reload {
			if err := m.Load(func(s device.Stream, params []*nn.Param) error {
				for _, p := range params {
					p.Init = nn.Normal(0.001)
					p.Draw(s, 2)
				}
				return nil
			}); err != nil {
				return err
			}
		}
		for step := range steps {
			if v.eval {
				if _, err := m.Eval(1, func(c *nn.Ctx, _ int) (int, error) { pass(step+7, at*each)(c); return each * seqLen, nil }); err != nil {
					return err
				}
			}
			result, err := m.Step(parallel.StepOptions{Optimizer: adam, LR: lr, Count: each * seqLen * v.microbatches, Microbatches: v.microbatches}, func(c *nn.Ctx, i int) {
				pass(step, (i*data+at)*each)(c)
			}).Wait()
			if err != nil {
				return err
			}
			if r.Rank == 0 {
				losses = append(losses, result.Loss)
			}
		}
		if r.Rank == 0 {
			for name, b := range nn.Buffers(m.Root()) {
				values := make([]float32, b.Numel())
				m.Ctx().Stream.Download(device.Float32Bytes(values), b.Tensor)
				after[name] = values
			}
		}
		return m.Sync()
	})
	return after, losses
}

// TestHistoriesDoNotDependOnTheLayout: from one state, with the weights as they are, the
// buffers after some syncs have the same bits on any number of ranks, with any number of
// microbatches, however weights travel, with evaluations in between, and where activations
// are computed twice.
func TestHistoriesDoNotDependOnTheLayout(t *testing.T) {
	base := variant{ranks: 1, microbatches: 1}
	start, _ := base.run(t, nil, 2, 0)
	want, losses := base.run(t, start, historyLen+1, 0)
	if len(want) != 6*9 || maps.EqualFunc(start, want, slices.Equal) {
		t.Fatalf("%d buffers, which change %v", len(want), !maps.EqualFunc(start, want, slices.Equal))
	}
	again := &parallel.Recompute{Modules: []string{"ffn1", "ffn2"}}
	for _, v := range []variant{
		{ranks: 2, microbatches: 1}, {ranks: 4, microbatches: 1}, {ranks: 1, microbatches: 2}, {ranks: 1, microbatches: 4}, {ranks: 2, microbatches: 4},
		{ranks: 1, microbatches: 1, gather: true}, {ranks: 4, microbatches: 2, gather: true}, {ranks: 2, microbatches: 1, gather: true, eval: true},
		{ranks: 1, microbatches: 2, eval: true}, {ranks: 1, microbatches: 1, recompute: again}, {ranks: 2, microbatches: 2, gather: true, eval: true, recompute: again},
		{ranks: 2, microbatches: 1, gather: true, float8TN: true}, {ranks: 1, microbatches: 1, float8TN: true, recompute: again},
	} {
		got, other := v.run(t, start, historyLen+1, 0)
		for _, name := range slices.Sorted(maps.Keys(want)) {
			if !slices.Equal(got[name], want[name]) {
				t.Errorf("%v: %s is %v, want %v", v, name, got[name], want[name])
			}
		}
		for i, loss := range other {
			if math.Abs(loss-losses[i]) > 1e-6*losses[i] {
				t.Errorf("%v: loss %v of step %d, want %v", v, loss, i, losses[i])
			}
		}
	}
	// The comparison sees a difference: another first state ends in another one.
	if got, _ := base.run(t, nil, historyLen-1, 0); maps.EqualFunc(got, want, slices.Equal) {
		t.Error("two steps from no state end in the state of six")
	}
}

// TestHistoriesOverTheTensorAxis: those of weights, and of what all ranks that share layers read before anything is added up over them, have the bits of one rank;
// behind a sum of terms roundings differ.
func TestHistoriesOverTheTensorAxis(t *testing.T) {
	base := variant{ranks: 1, microbatches: 1}
	start, _ := base.run(t, nil, 2, 0)
	want, _ := base.run(t, start, historyLen+1, 0)
	for _, v := range []variant{{ranks: 2, microbatches: 1, tensor: 2}, {ranks: 4, microbatches: 2, tensor: 2}, {ranks: 4, microbatches: 1, tensor: 2, gather: true, eval: true}} {
		got, _ := v.run(t, start, historyLen+1, 0)
		for _, name := range slices.Sorted(maps.Keys(want)) {
			exact := strings.Contains(name, "_weight") || strings.HasPrefix(name, "ffn1.") && strings.Contains(name, "_input")
			if off := nntest.Off(got[name], want[name]); exact && !slices.Equal(got[name], want[name]) || !(off <= 1e-5) {
				t.Errorf("%v, tensor %d: %s is %v, want %v", v, v.tensor, name, got[name], want[name])
			}
		}
	}
}

// TestWeightsThatWereOnlyEvaluatedLeaveNothing: what is written over them before the first
// step is scaled and recorded as if they had never been, however weights travel.
func TestWeightsThatWereOnlyEvaluatedLeaveNothing(t *testing.T) {
	for _, gather := range []bool{false, true} {
		v := variant{ranks: 2, microbatches: 1, gather: gather, reload: true}
		want, losses := v.run(t, nil, 2, 1e-3)
		v.evaluated = true
		got, other := v.run(t, nil, 2, 1e-3)
		if !maps.EqualFunc(got, want, slices.Equal) || !slices.Equal(losses, other[1:]) {
			t.Errorf("float8 gather %v: after an evaluation of other weights the buffers are\n%v\nwant\n%v; losses %v, want %v", gather, got, want, other, losses)
		}
	}
}

// TestEvaluationBeforeAnyStep is that of dynamic scaling, however weights travel and
// whatever the first step will scale by, and leaves the state as it is.
func TestEvaluationBeforeAnyStep(t *testing.T) {
	for _, n := range []int{1, 2} {
		for _, gather := range []bool{false, true} {
			_, want := variant{ranks: n, microbatches: 1, gather: gather, evaluated: true, dynamic: true}.run(t, nil, 0, 0)
			for _, withoutInit := range []bool{false, true} {
				v := variant{ranks: n, microbatches: 1, gather: gather, withoutInit: withoutInit}
				fresh, _ := v.run(t, nil, 0, 0)
				trained, losses := v.run(t, nil, 2, 1e-2)
				v.evaluated = true
				state, got := v.run(t, nil, 0, 0)
				if !slices.Equal(got, want) || !maps.EqualFunc(state, fresh, slices.Equal) {
					t.Errorf("%v, without amax init %v: loss %v, that of dynamic scaling %v; buffers\n%v\nbefore\n%v", v, withoutInit, got, want, state, fresh)
				}
				if state, other := v.run(t, nil, 2, 1e-2); !maps.EqualFunc(state, trained, slices.Equal) || !slices.Equal(other[1:], losses) {
					t.Errorf("%v, without amax init %v: after an evaluation two steps have losses %v, without it %v", v, withoutInit, other[1:], losses)
				}
			}
		}
	}
}

// TestTheFirstStepIsThatOfAllRanks: amax init takes the amax of all ranks, so that without
// any state the number of ranks changes nothing; nor does the way of the weights, which
// move from step to step.
func TestTheFirstStepIsThatOfAllRanks(t *testing.T) {
	want, losses := variant{ranks: 1, microbatches: 1}.run(t, nil, 3, 1e-2)
	for _, v := range []variant{{ranks: 2, microbatches: 1}, {ranks: 4, microbatches: 1, gather: true}} {
		_, other := v.run(t, nil, 1, 1e-2)
		if math.Abs(other[0]-losses[0]) > 1e-6*losses[0] {
			t.Errorf("%v: first loss %v, want %v", v, other[0], losses[0])
		}
	}
	if got, other := (variant{ranks: 1, microbatches: 1, gather: true}).run(t, nil, 3, 1e-2); !maps.EqualFunc(got, want, slices.Equal) || !slices.Equal(losses, other) {
		t.Errorf("gathered as float8 the buffers are\n%v\nwant\n%v; losses %v, want %v", got, want, other, losses)
	}
}
