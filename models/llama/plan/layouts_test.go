// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"octet/comm/record"
	"octet/device"
	"octet/dtype"
	"octet/fsdp"
	"octet/models/llama"
	"octet/nn"
	"octet/optim"
	"octet/parallel"
	"octet/test/ranks"
)

// small is a model none of whose sizes divides what it need not.
func small(heads, kv int) llama.Args {
	return llama.Args{Dim: 8 * heads, Layers: 2, Heads: heads, KVHeads: kv, Vocab: 257, FFNHiddenDim: 50, NormEps: 1e-5, RopeTheta: 1e4, MaxSeqLen: 12}
}

// course is a model that some ranks train.
type course struct {
	args   llama.Args
	plan   parallel.Plan
	n      int
	steps  int
	freeze func(name string) bool // nil: nothing
	// after, if set, runs on each rank at the end; log has what it was asked to send in the last step.
	after func(rank int, m *parallel.Model, adam *optim.Adam, log *record.Log) error
}

// trained is ten steps of a model over some ranks: what each measured.
func trained(t *testing.T, args llama.Args, p parallel.Plan, n int) []parallel.Result {
	t.Helper()
	return course{args: args, plan: p, n: n, steps: 10}.train(t)
}

func (k course) train(t *testing.T) []parallel.Result {
	t.Helper()
	const batch, seq = 4, 12
	p, n := k.plan, k.n
	byRank := make([][]parallel.Result, n)
	ranks.Run(t, n, ranks.Options{}, func(r *ranks.Rank) error {
		log := &record.Log{Keep: true}
		model := llama.New(k.args, seq)
		for name, p := range nn.Parameters(model) {
			if k.freeze != nil && k.freeze(name) {
				p.Freeze()
			}
		}
		m, err := p.Shard(model, record.New(r.World, log), r.Device)
		if err != nil {
			return err
		}
		if err := m.Init(3); err != nil {
			return err
		}
		adam, err := optim.NewAdam(r.Device, m.Ctx().Stream, m.Params(), optim.AdamOptions{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1})
		if err != nil {
			return err
		}
		data := n / max(1, p.Degrees.Tensor)
		own := batch / data
		first := r.Rank / max(1, p.Degrees.Tensor) * own
		ids, targets := make([]int32, own*seq), make([]int32, own*seq)
		pool := m.Ctx().Pool.Lasting()
		in, out := pool.New(dtype.Int32, own, seq), pool.New(dtype.Int32, own, seq)
		for step := range k.steps {
			log.Take()
			count := 0
			for i := range ids {
				at := step*batch*seq + first*seq + i
				ids[i], targets[i] = int32(at*at%k.args.Vocab), int32((at*at+3*at+1)%k.args.Vocab)
				if at%7 == 0 {
					targets[i] = device.Ignored
				} else {
					count++
				}
			}
			m.Ctx().Stream.Upload(in, device.Int32Bytes(ids))
			m.Ctx().Stream.Upload(out, device.Int32Bytes(targets))
			got, err := m.Step(parallel.StepOptions{Optimizer: adam, LR: 1e-2, MaxNorm: 1, Count: count}, func(c *nn.Ctx, _ int) {
				nn.CrossEntropy(c, m.Forward(c, nn.Input(in)), out)
			}).Wait()
			if err != nil {
				return fmt.Errorf("step %d: %w", step+1, err)
			}
			byRank[r.Rank] = append(byRank[r.Rank], got)
		}
		if k.after == nil {
			return nil
		}
		return k.after(r.Rank, m, adam, log)
	})
	if t.Failed() {
		t.FailNow()
	}
	for rank, results := range byRank {
		for s, got := range results {
			if want := byRank[0][s]; got.Loss != want.Loss || got.GradNorm != want.GradNorm || got.Count != want.Count {
				t.Errorf("step %d: rank %d has %+v, rank 0 %+v", s+1, rank, got, want)
			}
		}
	}
	return byRank[0]
}

// alike compares ten steps with those of one rank: losses within 1e-5, relative, and norms within 1e-5 in the first and 1e-4 in the last.
func alike(t *testing.T, results, want []parallel.Result) {
	t.Helper()
	const near = 1e-5
	for s, got := range results {
		nearNorm := near * math.Pow(10, float64(s)/9)
		if off := math.Abs(got.Loss-want[s].Loss) / want[s].Loss; !(off <= near) {
			t.Errorf("step %d: loss %v, want %v: off by %.2g", s+1, got.Loss, want[s].Loss, off)
		}
		if off := math.Abs(got.GradNorm-want[s].GradNorm) / want[s].GradNorm; !(off <= nearNorm) {
			t.Errorf("step %d: norm %v, want %v: off by %.2g", s+1, got.GradNorm, want[s].GradNorm, off)
		}
		if got.Count != want[s].Count {
			t.Errorf("step %d: the loss is of %d terms, want %d", s+1, got.Count, want[s].Count)
		}
	}
}

// inFloat32 is the plan of a Llama over some ranks.
func inFloat32(d parallel.Degrees, o TensorOptions) parallel.Plan {
	return parallel.Plan{Degrees: d, Tensor: Tensor(o), Units: []string{"tok_embeddings", "layers.*", "norm+output"}, FSDP: fsdp.Options{Param: dtype.Float32}}
}

// TestEveryLayoutTrainsAlike: ten steps in float32 have the losses and gradient norms of one rank.
func TestEveryLayoutTrainsAlike(t *testing.T) {
	type sizes struct{ heads, kv int }
	four, three := sizes{4, 4}, sizes{3, 3}
	all := TensorOptions{Sequence: true, Loss: true}
	recomputed := func(p parallel.Plan, keep nn.Keep) parallel.Plan {
		p.Recompute = &parallel.Recompute{Modules: []string{"layers.*"}, Keep: keep}
		return p
	}
	one := map[sizes][]parallel.Result{}
	for _, tt := range []struct {
		name string
		plan parallel.Plan
		n    int
		of   sizes
	}{
		{"tensor 2", inFloat32(parallel.Degrees{Tensor: 2}, all), 2, sizes{4, 2}},
		{"tensor 2, without sequence parallelism", inFloat32(parallel.Degrees{Tensor: 2}, TensorOptions{Loss: true}), 2, four},
		{"tensor 2, without loss parallelism", inFloat32(parallel.Degrees{Tensor: 2}, TensorOptions{Sequence: true}), 2, four},
		{"tensor 2, without both", inFloat32(parallel.Degrees{Tensor: 2}, TensorOptions{}), 2, four},
		{"tensor 3", inFloat32(parallel.Degrees{Tensor: 3}, all), 3, three},
		{"tensor 3, without both", inFloat32(parallel.Degrees{Tensor: 3}, TensorOptions{}), 3, three},
		{"tensor 4", inFloat32(parallel.Degrees{Tensor: 4}, all), 4, four},
		{"tensor 4, without sequence parallelism", inFloat32(parallel.Degrees{Tensor: 4}, TensorOptions{Loss: true}), 4, four},
		{"tensor 4, without both", inFloat32(parallel.Degrees{Tensor: 4}, TensorOptions{}), 4, four},
		{"shard 2, tensor 2", inFloat32(parallel.Degrees{Tensor: 2}, all), 4, four},
		{"shard 2, tensor 2, without both", inFloat32(parallel.Degrees{Tensor: 2}, TensorOptions{}), 4, four},
		{"replicate 2, tensor 2", inFloat32(parallel.Degrees{Replicate: 2, Tensor: 2}, all), 4, four},
		{"shard 2, replicate 2, tensor 2", inFloat32(parallel.Degrees{Replicate: 2, Tensor: 2}, all), 8, four},
		{"shard 2, tensor 2, run again", recomputed(inFloat32(parallel.Degrees{Tensor: 2}, all), nn.KeepInput), 4, four},
		{"shard 2, tensor 2, costly results kept", recomputed(inFloat32(parallel.Degrees{Tensor: 2}, all), nn.KeepCostly), 4, four},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := small(tt.of.heads, tt.of.kv)
			if one[tt.of] == nil {
				one[tt.of] = trained(t, args, inFloat32(parallel.Degrees{}, TensorOptions{}), 1)
			}
			want := one[tt.of]
			if !(want[9].Loss < 0.99*want[0].Loss) {
				t.Errorf("one rank learns nothing: %v, then %v", want[0].Loss, want[9].Loss)
			}
			plain := trained(t, args, tt.plan, tt.n)
			tt.plan.AsyncTensor = true
			if apart := trained(t, args, tt.plan, tt.n); !slices.EqualFunc(apart, plain, func(a, b parallel.Result) bool { return a.Loss == b.Loss && a.GradNorm == b.GradNorm }) {
				t.Errorf("rows that travel beside products change bits: %+v, want %+v", apart, plain)
			}
			alike(t, plain, want)
		})
	}
}

// TestTheSeedDecidesTheFirstWeightsInEveryLayout: whole, they are those of one rank, to the bit.
func TestTheSeedDecidesTheFirstWeightsInEveryLayout(t *testing.T) {
	_, want := course{args: small(4, 2), plan: inFloat32(parallel.Degrees{}, TensorOptions{}), n: 1}.ends(t)
	for _, l := range []struct {
		n       int
		degrees parallel.Degrees
	}{
		{2, parallel.Degrees{}}, {3, parallel.Degrees{}}, {4, parallel.Degrees{}}, {4, parallel.Degrees{Replicate: 2}},
		{2, parallel.Degrees{Tensor: 2}}, {4, parallel.Degrees{Tensor: 2}}, {6, parallel.Degrees{Tensor: 2}}, {8, parallel.Degrees{Replicate: 2, Tensor: 2}},
	} {
		_, got := course{args: small(4, 2), plan: inFloat32(l.degrees, TensorOptions{Sequence: true, Loss: true}), n: l.n}.ends(t)
		if len(got.values) != len(want.values) || len(want.values) != 21 {
			t.Errorf("%d ranks, %v: %d parameters, want %d", l.n, l.degrees, len(got.values), len(want.values))
		}
		for name, x := range want.values {
			if !slices.Equal(got.values[name], x) {
				t.Errorf("%d ranks, %v: %s begins otherwise than on one", l.n, l.degrees, name)
			}
		}
	}
}
