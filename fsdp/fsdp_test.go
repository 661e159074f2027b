// SPDX-License-Identifier: Apache-2.0

package fsdp_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"octet/comm"
	"octet/comm/grid"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/models/llama"
	"octet/nn"
	"octet/nn/nntest"
	"octet/test/ranks"
)

var f32 = fsdp.Options{Param: dtype.Float32}

// TestAnyNumberOfRanksTrainsAlike: 20 steps on 1, 2, 3, 4 and 12 ranks have the
// losses of one rank, where rows do not divide and where ranks outnumber rows;
// two runs have the same bits, the model learns, and padding stays zero.
func TestAnyNumberOfRanksTrainsAlike(t *testing.T) {
	for _, tt := range []struct {
		name  string
		args  llama.Args
		ranks []int
	}{
		{"uneven rows", uneven, []int{1, 2, 3, 4, 12}},
		{"tied weights", tied, []int{2, 3}},
		{"even rows", sixteens, []int{2, 3, 4}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := job{ranks: 1, args: tt.args, options: f32, batch: 12, steps: 20}
			one := run(t, j)
			if first, last := one[0].losses[0], one[0].losses[j.steps-1]; !(last < 0.9*first) {
				t.Errorf("the loss went from %.3f to %.3f: nothing was learned", first, last)
			}
			for _, ranks := range tt.ranks {
				j.ranks = ranks
				got := run(t, j)
				near(t, fmt.Sprintf("%d ranks", ranks), one, got, 1e-6)
				sameBits(t, fmt.Sprintf("%d ranks, again", ranks), got, run(t, j))
				for _, w := range got {
					if !slices.Equal(w.losses, got[0].losses) {
						t.Errorf("rank %d of %d has other losses than rank 0", w.rank, ranks)
					}
					for _, p := range w.m.Params() {
						rows, local := p.Shard.Shape[0], p.Local().Shape[0]
						padding := append(w.mustGet(t, p.Shard.Rows(local, rows)), w.mustGet(t, p.Grad.Rows(local, rows))...)
						for _, v := range padding {
							if v != 0 {
								t.Fatalf("rank %d of %d: the padding of %s or of its gradient became %v", w.rank, ranks, p.Name, v)
							}
						}
					}
				}
			}
		})
	}
}

// TestMicrobatchesAddUp: four have the gradients, and train as, one that is as large. Each is reduced among shards; replicas add up
// once a step.
func TestMicrobatchesAddUp(t *testing.T) {
	const units, micro = 4, 4
	for _, l := range []struct{ ranks, replicas int }{{1, 1}, {2, 1}, {3, 1}, {2, 2}, {4, 2}, {6, 3}} {
		what := fmt.Sprintf("%d replicas on %d ranks", l.replicas, l.ranks)
		j := job{ranks: l.ranks, args: uneven, options: f32, batch: 48, steps: 1}
		want := firstGradients(t, run(t, j)) // of shards alone
		j.steps = 10
		whole := run(t, j)
		j.micro, j.replicas = micro, l.replicas
		parts := run(t, j)
		near(t, what+", 4 microbatches", whole, parts, 1e-6)
		j.steps = 1
		for name, g := range firstGradients(t, run(t, j)) {
			if d := nntest.Off(g, want[name]); !(d <= 1e-6) {
				t.Errorf("%s: the first gradient of %s is off by %.2g", what, name, d)
			}
		}
		for _, w := range parts {
			reduced, _ := sentBy(w, "fsdp.reduce")
			added, _ := sentBy(w, "fsdp.replicas")
			if wantAdded := min(l.replicas-1, 1) * units; l.ranks > l.replicas && reduced != micro*units || added != wantAdded {
				t.Errorf("%s: rank %d reduces %d times among shards and %d among replicas, want %d and %d", what, w.rank, reduced, added, micro*units, wantAdded)
			}
		}
	}
}

// TestWhatIsKeptAfterForwardChangesNoBit, in either wire.
func TestWhatIsKeptAfterForwardChangesNoBit(t *testing.T) {
	cfg := fp8.DefaultConfig()
	cfg.EnableFsdpFloat8AllGather = true
	for name, j := range map[string]job{
		"float32": {args: uneven, options: f32},
		"float8":  {args: sixteens, options: fsdp.Options{Param: dtype.BFloat16}, float8: &cfg, scales: true},
	} {
		j.ranks, j.batch, j.steps, j.micro = 3, 12, 5, 2
		j.options.Reshard = fsdp.ReshardDefault
		want := run(t, j)
		for _, policy := range []fsdp.Reshard{"", fsdp.ReshardAlways, fsdp.ReshardNever} {
			j.options.Reshard = policy
			sameBits(t, fmt.Sprintf("%s, reshard %q", name, policy), want, run(t, j))
		}
	}
}

// TestStepsReuseTheirMemory: no step keeps memory, and after the second none is
// asked of the device. (The first gathers in the model's order, which the second
// may improve on.)
func TestStepsReuseTheirMemory(t *testing.T) {
	cfg := fp8.DefaultConfig()
	cfg.EnableFsdpFloat8AllGather = true
	for name, j := range map[string]job{
		"float32":              {args: uneven, options: f32},
		"tied":                 {args: tied, options: f32},
		"float8, microbatches": {args: sixteens, options: fsdp.Options{Param: dtype.BFloat16}, float8: &cfg, micro: 2},
		"float8, scales":       {args: sixteens, options: fsdp.Options{Param: dtype.BFloat16}, float8: &cfg, scales: true},
	} {
		j.ranks, j.batch, j.steps = 2, 4, 6
		for _, w := range run(t, j) {
			if slices.Min(w.live) != slices.Max(w.live) {
				t.Errorf("%s: rank %d has %v bytes of its pool in use after each step", name, w.rank, w.live)
			}
			if w.allocs[5] != w.allocs[1] {
				t.Errorf("%s: rank %d made %v allocations by each step, want no more after the second", name, w.rank, w.allocs)
			}
		}
	}
}

// TestUnitsDoNotPileUp: beside shards there are two gathered units and the whole gradients of two at most, however deep the model is and however far the
// host runs ahead; where all that is gathered is kept, each layer takes its weights more.
func TestUnitsDoNotPileUp(t *testing.T) {
	used := func(layers int, policy fsdp.Reshard) int {
		args := sixteens
		args.Layers, args.Dim, args.FFNHiddenDim = layers, 64, 128
		_, units := run(t, job{ranks: 2, args: args, options: fsdp.Options{Param: dtype.Float32, Reshard: policy}, batch: 2, steps: 3})[0].m.Peak()
		return units
	}
	const layer = 4 * (4*64*64 + 3*64*128) // bytes of its matrices
	for _, policy := range []fsdp.Reshard{fsdp.ReshardDefault, fsdp.ReshardAlways} {
		three, ten := used(3, policy), used(10, policy)
		if three != ten || three < 4*layer || three >= 5*layer {
			t.Errorf("%s: units take %d bytes in 3 layers and %d in 10, want those of 4 layers' matrices, %d, and of little more", policy, three, ten, 4*layer)
		}
	}
	if four, ten := used(4, fsdp.ReshardNever), used(10, fsdp.ReshardNever); ten-four < 6*layer {
		t.Errorf("kept units take %d bytes in 4 layers and %d in 10: want %d more at least, the weights of 6 layers", four, ten, 6*layer)
	}
}

// sometimes is a module that some ranks do not run.
type sometimes struct {
	nn.Module
	runs bool
}

func (m *sometimes) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	if !m.runs {
		return x
	}
	return m.Module.Forward(c, x)
}

// TestAnUnusedParameterHasNoGradient: what one rank does not use has the
// gradient of the others, and zero where nobody uses it; nobody hangs, in no replica.
func TestAnUnusedParameterHasNoGradient(t *testing.T) {
	const name = "layers.0.feed_forward.w1.weight"
	gradient := func(n, replicas, steps int, uses func(rank int) bool) (g []float32) {
		j := job{ranks: n, replicas: replicas, args: uneven, options: f32, batch: 2 * n, steps: steps}
		j.before = func(w *worker, _ int) {
			root := w.m.Root()
			_ = nn.Walk(&root, func(path string, m nn.Module) (nn.Module, error) {
				if path == "layers.0.feed_forward" {
					m = &sometimes{m, uses(w.rank)}
				}
				return m, nil
			})
		}
		return firstGradients(t, run(t, j))[name]
	}
	for _, n := range []int{2, 4} {
		for rank := range n {
			alone := func(r int) bool { return r == rank }
			want := gradient(n, 1, 1, alone)
			if len(want) == 0 || !slices.ContainsFunc(want, func(v float32) bool { return v != 0 }) {
				t.Errorf("%d ranks, of which rank %d uses it: gradient %v", n, rank, want)
			}
			if other := gradient(n, 1, 1, func(r int) bool { return r == (rank+1)%n }); slices.Equal(want, other) {
				t.Errorf("%d ranks: rank %d alone gives the gradient that the next one does", n, rank)
			}
			if n == 4 && !slices.Equal(gradient(n, 2, 1, alone), want) {
				t.Errorf("rank %d alone gives another gradient to two replicas of two shards than to four shards", rank)
			}
		}
		for _, replicas := range []int{1, 2} {
			// The second step's gradients lie where the first's have been.
			if none := gradient(n, replicas, 2, func(int) bool { return false }); len(none) == 0 || !slices.Equal(none, make([]float32, len(none))) {
				t.Errorf("%d ranks, %d replicas: gradient %v of a parameter that no rank uses", n, replicas, none)
			}
		}
	}
}

// watched tells when the host enqueues a module's forward, and its backward.
type watched struct {
	nn.Module
	at func(when string)
}

func (m *watched) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	m.at("forward")
	y := m.Module.Forward(c, x)
	c.Tape.Defer(func() { m.at("backward") })
	return y
}

// TestTheNextUnitIsGatheredAhead: when a layer is enqueued, forward or backward,
// the gather of the unit that follows it is under way, and of no other.
func TestTheNextUnitIsGatheredAhead(t *testing.T) {
	args := sixteens
	args.Layers = 4
	var got []string
	j := job{ranks: 2, args: args, options: f32, batch: 2, steps: 3}
	j.before = func(w *worker, step int) {
		if w.rank != 0 || step != j.steps-1 { // the first step does not know the order yet
			return
		}
		gathered := 0
		root := w.m.Root()
		_ = nn.Walk(&root, func(path string, m nn.Module) (nn.Module, error) {
			if !strings.HasSuffix(path, ".feed_forward") {
				return m, nil
			}
			return &watched{m, func(when string) {
				for _, c := range w.log.Take() {
					if c.Kind == comm.AllGather {
						gathered++
					}
				}
				got = append(got, fmt.Sprintf("%s %s: %d gathers", strings.TrimSuffix(path, ".feed_forward"), when, gathered))
			}}, nil
		})
	}
	run(t, j)
	// Forward: the embedding, the layer itself and what came before it, and the next; six units in all. Backward: the last
	// unit is kept, each layer is gathered again, ahead of the one that needs it.
	want := []string{
		"layers.0 forward: 3 gathers", "layers.1 forward: 4 gathers", "layers.2 forward: 5 gathers", "layers.3 forward: 6 gathers",
		"layers.3 backward: 8 gathers", "layers.2 backward: 9 gathers", "layers.1 backward: 10 gathers", "layers.0 backward: 11 gathers",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestAUnitThatNobodyRanHasNoGradient: its shards' gradients are 0, not those of the
// step before.
func TestAUnitThatNobodyRanHasNoGradient(t *testing.T) {
	ranks.Run(t, 2, ranks.Options{}, func(rank *ranks.Rank) error {
		r := nntest.New(t, rank.Device, dtype.Float32)
		part := func() nn.Module { return nn.NewLinear(4, 4, nn.LinearOptions{Init: nn.Normal(1)}) }
		model := &nn.Sequential{Names: []string{"first", "second"}, Modules: []nn.Module{part(), part()}}
		var root nn.Module = model
		f, err := fsdp.Shard(&root, grid.Line(rank.World, fsdp.Axis), f32, func(path string, _ nn.Module) bool { return path != "" })
		if err != nil {
			return err
		}
		if err := f.Allocate(rank.Device); err != nil {
			return err
		}
		for _, p := range f.Params() {
			p.Draw(r.Ctx.Stream, 1)
		}
		x := r.Put(r.Normal(4, 1), 1, 4)
		for _, step := range []struct {
			module nn.Module
			moves  []bool // first, second
		}{{root, []bool{true, true}}, {model.Modules[0], []bool{true, false}}} {
			f.Begin(r.Ctx, true)
			y := step.module.Forward(r.Ctx, nn.Input(x))
			dy := r.Ctx.New(1, 4)
			r.Ctx.Stream.Copy(dy, x)
			y.SetGrad(dy)
			r.Ctx.Tape.Backward()
			f.Finish(r.Ctx)
			for i, p := range f.Params() {
				if g := r.Get(p.LocalGrad()); slices.ContainsFunc(g, func(v float32) bool { return v != 0 }) != step.moves[i] {
					t.Errorf("rank %d: the gradient of %s is %v, want other than 0: %v", rank.World.Rank(), p.Name, g, step.moves[i])
				}
			}
		}
		return f.Sync()
	})
}
