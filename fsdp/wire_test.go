// SPDX-License-Identifier: Apache-2.0

package fsdp_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"octet/comm"
	"octet/comm/record"
	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/nn"
)

// float8Wire is tensor-wise float8 with weights that travel as float8.
func float8Wire(change func(*fp8.Float8LinearConfig)) *fp8.Float8LinearConfig {
	cfg := fp8.DefaultConfig()
	cfg.EnableFsdpFloat8AllGather = true
	if change != nil {
		change(&cfg)
	}
	return &cfg
}

// ofLosses reports whether a call gathers the ranks' losses, each with its number of tokens.
func ofLosses(c record.Call) bool {
	return c.Kind == comm.AllGather && len(c.Parts) == 2 && c.Parts[0].Elems == 1 && c.Parts[1].Type == dtype.Int32
}

// sent counts the calls of one kind in a step, but for that of the losses, and their bytes by type.
func sent(calls []record.Call, kind comm.Kind) (n int, size map[dtype.Type]int) {
	size = map[dtype.Type]int{}
	for _, c := range calls {
		if c.Kind != kind || ofLosses(c) {
			continue
		}
		n++
		for _, p := range c.Parts {
			size[p.Type] += p.Elems * p.Type.Size()
		}
	}
	return n, size
}

// TestCollectivesPerStep counts, for a model of G = 4 units, 2G-1 gathers a
// microbatch by default, 2G if all is freed and G if nothing is, and G
// reduce-scatters. What Traffic foresees is what was sent.
func TestCollectivesPerStep(t *testing.T) {
	tiedTwo := tied
	tiedTwo.Layers = 2
	for _, tt := range []struct {
		name    string
		job     job
		reshard fsdp.Reshard
		gathers int
	}{
		{"default", job{args: uneven}, fsdp.ReshardDefault, 7},
		{"always", job{args: uneven}, fsdp.ReshardAlways, 8},
		{"never", job{args: uneven}, fsdp.ReshardNever, 4},
		{"float8", job{args: sixteens, float8: float8Wire(nil), scales: true}, fsdp.ReshardDefault, 7},
		{"float8 by rows", job{args: sixteens, float8: rowWire()}, fsdp.ReshardDefault, 7},
		// Here the root is a unit, with the shared weight, and is kept too.
		{"tied", job{args: tiedTwo}, fsdp.ReshardDefault, 6},
		{"tied, always", job{args: tiedTwo}, fsdp.ReshardAlways, 8},
	} {
		for _, param := range []dtype.Type{dtype.Float32, dtype.BFloat16} {
			for _, micro := range []int{1, 2} {
				t.Run(fmt.Sprintf("%s/%v/%d microbatches", tt.name, param, micro), func(t *testing.T) {
					j := tt.job
					j.ranks, j.batch, j.steps, j.micro = 3, 6, 3, micro
					j.options = fsdp.Options{Param: param, Reshard: tt.reshard}
					for _, w := range run(t, j) {
						traffic := w.m.Traffic()
						for step, calls := range w.calls {
							gathers, size := sent(calls, comm.AllGather)
							if gathers != micro*tt.gathers || gathers != micro*traffic.Gathers {
								t.Errorf("rank %d, step %d: %d gathers, want %d microbatches of %d; Traffic has %d", w.rank, step, gathers, micro, tt.gathers, traffic.Gathers)
							}
							if len(size) != len(traffic.AllGather) {
								t.Errorf("rank %d, step %d: gathered %v, Traffic has %v", w.rank, step, size, traffic.AllGather)
							}
							for ty, n := range traffic.AllGather {
								if size[ty] != micro*n {
									t.Errorf("rank %d, step %d: gathered %d bytes of %v, Traffic has %d a microbatch", w.rank, step, size[ty], ty, n)
								}
							}
							scatters, size := sent(calls, comm.ReduceScatter)
							if scatters != micro*4 || len(size) != 1 || size[dtype.Float32] != micro*traffic.ReduceScatter {
								t.Errorf("rank %d, step %d: %d reduce-scatters of %v, want %d of %d bytes of float32", w.rank, step, scatters, size, micro*4, micro*traffic.ReduceScatter)
							}
						}
					}
				})
			}
		}
	}
}

// TestMixedPrecisionSends, for P parameters, 2P bytes of bfloat16 to each
// gather of all and 4P bytes of float32 to the reduction, and keeps the weights
// in float32.
func TestMixedPrecisionSends(t *testing.T) {
	workers := run(t, job{ranks: 4, args: sixteens, options: fsdp.Options{Param: dtype.BFloat16, Reshard: fsdp.ReshardNever}, batch: 4, steps: 1})
	params, gathered := sixteens.Params(), 0
	for _, w := range workers {
		_, size := sent(w.calls[0], comm.AllGather)
		gathered += size[dtype.BFloat16]
		if len(size) != 1 {
			t.Errorf("rank %d gathered %v, want bfloat16 only", w.rank, size)
		}
		_, size = sent(w.calls[0], comm.ReduceScatter)
		if len(size) != 1 || size[dtype.Float32] != 4*params {
			t.Errorf("rank %d reduced %v, want %d bytes of float32", w.rank, size, 4*params)
		}
		for _, p := range w.m.Params() {
			if p.Shard.Type != dtype.Float32 || p.Grad.Type != dtype.Float32 {
				t.Errorf("%s is kept as %v, its gradient as %v", p.Name, p.Shard.Type, p.Grad.Type)
			}
		}
	}
	if gathered != 2*params {
		t.Errorf("all ranks gathered %d bytes, want %d for %d parameters", gathered, 2*params, params)
	}
}

// TestFloat8WireSendsAQuarter of the bytes that float32 takes, for the weights
// that travel as float8, and with them nothing but one word a weight and step
// for the scales, all in one all-reduce.
func TestFloat8WireSendsAQuarter(t *testing.T) {
	const weights = 2 * 7 // of two layers
	step := func(j job) []record.Call {
		j.ranks, j.args, j.batch, j.steps = 2, sixteens, 4, 2
		return run(t, j)[0].calls[1]
	}
	plain := step(job{options: f32})
	float8 := step(job{options: f32, float8: float8Wire(nil), scales: true})
	_, before := sent(plain, comm.AllGather)
	_, after := sent(float8, comm.AllGather)
	saved := before[dtype.Float32] - after[dtype.Float32] // what the weights took as float32
	if got := after[dtype.Float8E4M3]; got == 0 || 4*got != saved || len(after) != 2 {
		t.Errorf("gathers sent %v, and %v without float8: want a quarter of the %d bytes saved", after, before, saved)
	}
	linear := 0
	for _, l := range []int{16 * 16 * 4, 3 * 16 * 48} {
		linear += 2 * l
	}
	if want := 2 * linear / 2; after[dtype.Float8E4M3] != want { // forward and backward, half of the rows
		t.Errorf("gathers sent %d bytes of float8, want %d", after[dtype.Float8E4M3], want)
	}
	_, reduced := sent(float8, comm.ReduceScatter)
	_, was := sent(plain, comm.ReduceScatter)
	if reduced[dtype.Float32] != was[dtype.Float32] || len(reduced) != 1 {
		t.Errorf("reduce-scatters sent %v, and %v without float8", reduced, was)
	}

	var scales []string
	others := 0
	for _, c := range float8 {
		switch {
		case c.Kind == comm.AllReduce && c.Op == comm.Max:
			scales = append(scales, c.String())
		case c.Kind != comm.AllGather && c.Kind != comm.ReduceScatter:
			others++
		}
	}
	if len(scales) != 1 || !bytes.Contains([]byte(scales[0]), fmt.Appendf(nil, "int32[%d]", weights)) {
		t.Errorf("all-reduces of scales %q, want one of %d words", scales, weights)
	}
	if others != 2 {
		t.Errorf("%d other collectives, want those of the count and the norm", others)
	}
}

// TestPrecomputedScalesChangeNoBit: the scales of one all-reduce after the
// update are those each gather would agree on by itself.
func TestPrecomputedScalesChangeNoBit(t *testing.T) {
	for _, param := range []dtype.Type{dtype.Float32, dtype.BFloat16} {
		for _, pow2 := range []bool{false, true} {
			j := job{ranks: 3, args: sixteens, options: fsdp.Options{Param: param}, batch: 6, steps: 10}
			j.float8 = float8Wire(func(c *fp8.Float8LinearConfig) { c.RoundScalesToPowerOf2 = pow2 })
			inline := run(t, j)
			j.scales = true
			precomputed := run(t, j)
			sameBits(t, fmt.Sprintf("%v, powers of two %v", param, pow2), inline, precomputed)
			for step := range j.steps {
				// One agreement a weight: backward gathers with forward's scale.
				if n := agreements(inline[0].calls[step]); n != 14 {
					t.Errorf("step %d: %d all-reduces of scales without precomputing, want one for each of 14 weights", step, n)
				}
			}
		}
	}
}

func agreements(calls []record.Call) (n int) {
	for _, c := range calls {
		if c.Kind == comm.AllReduce && c.Op == comm.Max {
			n++
		}
	}
	return n
}

// TestTheFloat8WireChangesNoBit where weights are computed with in the type they
// are kept in: gathering them as float8 is casting what was gathered.
func TestTheFloat8WireChangesNoBit(t *testing.T) {
	off := fp8.DefaultConfig()
	for _, emulate := range []bool{false, true} {
		off.Emulate = emulate
		j := job{ranks: 3, args: sixteens, options: f32, batch: 6, steps: 10, float8: &off}
		on := j
		on.float8, on.scales = float8Wire(func(c *fp8.Float8LinearConfig) { c.Emulate = emulate }), true
		sameBits(t, fmt.Sprintf("emulate %v", emulate), run(t, j), run(t, on))
	}
}

// TestRanksAreMicrobatches: a step on three ranks is a step on one with three
// microbatches, even in float8, where each casts its inputs by its own scales.
func TestRanksAreMicrobatches(t *testing.T) {
	j := job{ranks: 3, args: sixteens, options: f32, batch: 6, steps: 10, float8: float8Wire(nil), scales: true}
	ranks := run(t, j)
	j.ranks, j.micro = 1, 3
	near(t, "three microbatches", ranks, run(t, j), 1e-6)
}

// TestAStaleScaleIsNeverUsed: a weight written without precomputing gets its
// scale while it is packed, by an all-reduce of its own.
func TestAStaleScaleIsNeverUsed(t *testing.T) {
	const name = "layers.1.attention.wo.weight"
	// Growing the weight a hundredfold with the old scale would saturate it.
	grow := func(s device.Stream, params []*nn.Param) error {
		for _, p := range params {
			if p.Name != name {
				continue
			}
			rows := make([]float32, p.Local().Numel())
			draw := rand.New(rand.NewPCG(5, uint64(p.Box().Lo[0])))
			for i := range rows {
				rows[i] = float32(draw.NormFloat64() * 2)
			}
			p.Set(s, rows)
		}
		return nil
	}
	j := job{ranks: 2, args: sixteens, options: f32, batch: 4, steps: 4, float8: float8Wire(nil), scales: true}
	train := func(again bool) []*worker {
		j.before = func(w *worker, step int) {
			var err error
			if step == 2 && again {
				err = w.m.Load(grow)
			} else if step == 2 {
				err = grow(w.c.Stream, w.m.Params())
			}
			if err != nil {
				t.Error(err)
			}
		}
		return run(t, j)
	}
	stale, fresh := train(false), train(true)
	sameBits(t, "a stale scale", fresh, stale)
	for step, calls := range stale[0].calls {
		want := 1 // at the end of the step
		if step == 2 {
			want = 2
		}
		if n := agreements(calls); n != want {
			t.Errorf("step %d: %d all-reduces of scales, want %d", step, n, want)
		}
	}
}
