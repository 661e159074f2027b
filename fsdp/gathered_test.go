// SPDX-License-Identifier: Apache-2.0

package fsdp_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"octet/comm"
	"octet/comm/grid"
	"octet/device"
	"octet/dtensor"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/nn"
	"octet/nn/nntest"
	"octet/tensor"
	"octet/test/ranks"
)

// rowWire is row-wise float8 with weights that travel as float8.
func rowWire() *fp8.Float8LinearConfig {
	cfg, _ := fp8.ConfigFromRecipe(fp8.RecipeRowwise)
	cfg.EnableFsdpFloat8AllGather = true
	return &cfg
}

// TestGatheredFloat8IsTheCastOfTheWhole, bit for bit, where rows do not divide
// and where ranks outnumber rows, and in each replica.
func TestGatheredFloat8IsTheCastOfTheWhole(t *testing.T) {
	const k = 16
	for _, rows := range []int{16, 48, 80} {
		draw := rand.New(rand.NewPCG(uint64(rows), 1))
		values := make([]float32, rows*k)
		for i := range values {
			values[i] = float32(draw.NormFloat64())
		}
		for _, mesh := range []struct{ replicas, shards int }{{1, 1}, {1, 2}, {1, 3}, {1, 5}, {1, 7}, {1, 20}, {2, 1}, {2, 2}, {3, 2}, {2, 3}} {
			for name, how := range map[string]struct {
				cfg        *fp8.Float8LinearConfig
				precompute bool
			}{"tensor-wise": {cfg: float8Wire(nil)}, "precomputed": {float8Wire(nil), true}, "by rows": {cfg: rowWire()}} {
				t.Run(fmt.Sprintf("%d rows, %d replicas of %d shards, %s", rows, mesh.replicas, mesh.shards, name), func(t *testing.T) {
					ranks.Run(t, mesh.replicas*mesh.shards, ranks.Options{}, func(r *ranks.Rank) error {
						return gatherWhole(t, r, gridOf(t, r.World, mesh.replicas), rows, k, values, *how.cfg, how.precompute)
					})
				})
			}
		}
	}
}

// gridOf has so many replicas of a model that the ranks of each shard.
func gridOf(t *testing.T, world comm.Comm, replicas int) *grid.Grid {
	mesh, err := dtensor.NewMesh(world.Size(), dtensor.Axis{Name: fsdp.ReplicaAxis, Size: replicas}, dtensor.Axis{Name: fsdp.Axis, Size: world.Size() / replicas})
	if err != nil {
		t.Error(err)
		return nil
	}
	g, err := grid.New(mesh, world)
	if err != nil {
		t.Error(err)
	}
	return g
}

// gatherWhole compares on one rank.
func gatherWhole(t *testing.T, rank *ranks.Rank, g *grid.Grid, rows, k int, values []float32, cfg fp8.Float8LinearConfig, precompute bool) error {
	r := nntest.New(t, rank.Device, dtype.BFloat16)
	l := nn.NewLinear(k, rows, nn.LinearOptions{})
	root, err := fp8.ConvertToFloat8Training(l, cfg, fp8.FilterFQNs())
	if err != nil {
		return err
	}
	f, err := fsdp.Shard(&root, g, fsdp.Options{Param: dtype.BFloat16, Reshard: fsdp.ReshardNever}, func(string, nn.Module) bool { return false })
	if err == nil {
		err = f.Allocate(rank.Device)
	}
	if err != nil {
		return err
	}
	p, s := l.Weight, r.Ctx.Stream
	p.Set(s, values[p.Box().Lo[0]*k:p.Box().Hi[0]*k])
	if precompute {
		f.BeforeGathers(r.Ctx, fp8.ScalesOf(root).PrecomputeFloat8DynamicScaleForFSDP)
	}
	f.Begin(r.Ctx, true)
	root.Forward(r.Ctx, nn.Input(r.As(dtype.BFloat16, make([]float32, k), 1, k)))
	var per []int
	if cfg.CastConfigWeight.ScalingGranularity == fp8.Axiswise {
		per = []int{rows, 1}
	}
	want := tensor.Operand{Tensor: r.Empty(dtype.Float8E4M3, rows, k), Scale: r.Empty(dtype.Float32, per...), Inv: r.Empty(dtype.Float32, per...)}
	s.DynamicCast(want, tensor.Operand{}, tensor.Operand{Tensor: r.Put(values, rows, k)}, cfg.RoundScalesToPowerOf2)
	got := p.Value()
	if got.Granularity() != want.Granularity() || !bytes.Equal(r.Bytes(got.Tensor), r.Bytes(want.Tensor)) || !bytes.Equal(r.Bytes(got.Inv), r.Bytes(want.Inv)) ||
		got.Scale != nil && !bytes.Equal(r.Bytes(got.Scale), r.Bytes(want.Scale)) {
		return errors.New("other bytes or another scale than the whole weight's cast")
	}
	return nil
}

// TestTheRowWireNeedsNoAgreement: beside a byte an element a word a row travels, in
// the gathers themselves; precomputing scales is nothing to do.
func TestTheRowWireNeedsNoAgreement(t *testing.T) {
	for _, precompute := range []bool{false, true} {
		calls := run(t, job{ranks: 2, args: sixteens, batch: 4, steps: 2, options: f32, float8: rowWire(), scales: precompute})[0].calls[1]
		_, size := sent(calls, comm.AllGather)
		elements, rows := 2*(4*16*16+3*16*48), 2*(4*16+2*48+16) // of two layers
		high := 4 * 2 * (32*16 + 32*16 + 16 + 2*2*16) / 2       // embedding, output and norms, forward and backward
		high -= 4 * (32*16 + 16) / 2                            // output and norm, kept for backward
		if size[dtype.Float8E4M3] != 2*elements/2 || size[dtype.Float32] != high+2*4*rows/2 || len(size) != 2 {
			t.Errorf("gathers sent %v, want %d bytes of float8 and %d of float32, of which %d are scales", size, elements, high+4*rows, 4*rows)
		}
		if n := agreements(calls); n != 0 {
			t.Errorf("%d all-reduces of scales", n)
		}
		others := 0
		for _, c := range calls {
			if c.Kind != comm.AllGather && c.Kind != comm.ReduceScatter {
				others++
			}
		}
		if others != 2 {
			t.Errorf("%d other collectives, want those of the count and the norm", others)
		}
	}
}

// TestRowsOnRanksAreRowsOfMicrobatches: under row-wise float8 a step on several ranks is
// one on a single rank with as many microbatches, whether weights travel as
// float8 or not. Only what sums over tokens, dW, knows which of them were cast together.
func TestRowsOnRanksAreRowsOfMicrobatches(t *testing.T) {
	for _, name := range []fp8.RecipeName{fp8.RecipeRowwise, fp8.RecipeRowwiseWithGWHP} {
		for _, gather := range []bool{false, true} {
			cfg, err := fp8.ConfigFromRecipe(name)
			if err != nil {
				t.Fatal(err)
			}
			if cfg.EnableFsdpFloat8AllGather = gather; gather && name != fp8.RecipeRowwise {
				continue
			}
			for _, n := range []int{2, 4} {
				j := job{ranks: n, args: sixteens, options: f32, batch: 8, steps: 10, float8: &cfg}
				spread := run(t, j)
				j.ranks, j.micro = 1, n
				near(t, fmt.Sprintf("%s, gather %v, %d", name, gather, n), spread, run(t, j), 1e-6)
			}
		}
	}
}

// TestFoldedScalesChangeAsLittle as a cast: with scales that are powers of two,
// gathering row-wise weights as float8 changes what is subnormal in one cast and not
// in the other, which losses hardly show.
func TestFoldedScalesChangeAsLittle(t *testing.T) {
	off, _ := fp8.ConfigFromRecipe(fp8.RecipeRowwise)
	j := job{ranks: 3, args: sixteens, options: f32, batch: 6, steps: 10, float8: &off}
	on := j
	on.float8 = rowWire()
	near(t, "row-wise weights gathered as float8", run(t, j), run(t, on), 1e-6)
}

// TestWhatWasGatheredAheadIsOfItsPass: a unit that was gathered ahead of a pass that did
// not come to it is gathered anew once its weights are written to, and, if that was an
// evaluation, to be trained.
func TestWhatWasGatheredAheadIsOfItsPass(t *testing.T) {
	const width = 16
	for _, ahead := range []nn.Mode{nn.Train, nn.Eval} {
		ranks.Run(t, 2, ranks.Options{}, func(rank *ranks.Rank) error {
			r := nntest.New(t, rank.Device, dtype.Float32)
			part := func() nn.Module { return nn.NewLinear(width, width, nn.LinearOptions{Init: nn.Normal(1)}) }
			model := &nn.Sequential{Names: []string{"first", "second"}, Modules: []nn.Module{part(), part()}}
			var root nn.Module = model
			second := &packs{Wire: fsdp.CastWire{To: dtype.Float32}}
			model.Modules[1].(*nn.Linear).Weight.Wire = second
			f, err := fsdp.Shard(&root, grid.Line(rank.World, fsdp.Axis), fsdp.Options{Param: dtype.Float32, Reshard: fsdp.ReshardNever}, func(path string, _ nn.Module) bool { return path != "" })
			if err == nil {
				err = f.Allocate(rank.Device)
			}
			if err != nil {
				return err
			}
			draw := func(seed uint64) {
				for _, p := range f.Params() {
					p.Draw(r.Ctx.Stream, seed)
				}
			}
			x := r.Put(r.Normal(width, 1), 1, width)
			pass := func(mode nn.Mode, m nn.Module) []float32 {
				r.Ctx.Mode = mode
				f.Begin(r.Ctx, true)
				if mode == nn.Eval {
					return r.Get(nn.Scoped(r.Ctx, m, nn.Input(x)).Value.Tensor)
				}
				y := m.Forward(r.Ctx, nn.Input(x))
				values := r.Get(y.Value.Tensor)
				dy := r.Ctx.New(1, width)
				r.Ctx.Stream.Zero(dy)
				y.SetGrad(dy)
				r.Ctx.Tape.Backward()
				f.Finish(r.Ctx)
				return values
			}
			draw(1)
			want := pass(nn.Train, root)
			draw(2)
			other := pass(nn.Train, root)
			pass(ahead, model.Modules[0]) // and the second is gathered ahead
			draw(1)
			if got := pass(nn.Train, root); !slices.Equal(got, want) {
				t.Errorf("mode %v: with the weights as at first the model gives %.4v, want %.4v; with the others %.4v", ahead, got, want, other)
			}
			pass(ahead, model.Modules[0])
			before := second.trained
			pass(nn.Train, root)
			if n, want := second.trained-before, map[nn.Mode]int{nn.Train: 0, nn.Eval: 1}[ahead]; n != want {
				t.Errorf("mode %v: the weight that was gathered ahead is packed %d times to be trained, want %d", ahead, n, want)
			}
			return f.Sync()
		})
	}
}

// packs counts what is packed to be trained.
type packs struct {
	comm.Wire
	trained int
}

func (w *packs) Pack(s device.Stream, pool *device.Pool, g comm.Comm, p *comm.Parcel, shard *tensor.Tensor) {
	if !p.Eval {
		w.trained++
	}
	w.Wire.Pack(s, pool, g, p, shard)
}
