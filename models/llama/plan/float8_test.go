// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"sync"
	"testing"

	"octet/config"
	"octet/device"
	"octet/dtensor"
	"octet/dtype"
	"octet/nn"
	"octet/optim"
	"octet/parallel"
	"octet/tensor"
	"octet/test/ranks"
)

// spy is a Linear whose operands in forward are written down.
type spy struct {
	nn.Leaf
	nn.NoParams
	inner nn.Module
	name  string
	saw   *sawn
	rank  int
}

// sawn is what spies saw in one pass: the bytes of each whole weight, and what weights, and inputs, are divided by.
type sawn struct {
	mu             sync.Mutex
	weights        map[string][]byte
	scales, inputs map[string][]float32 // by rank
}

func (s *spy) Inner() *nn.Module { return &s.inner }

func (s *spy) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	l := nn.Base(s.inner).(*nn.Linear)
	raw := func(t *tensor.Tensor) []byte {
		b := make([]byte, t.Bytes())
		c.Stream.Download(b, t)
		if err := c.Stream.Sync(); err != nil {
			panic(err)
		}
		return b
	}
	scale := func(t *tensor.Tensor) (x [1]float32) {
		copy(device.Float32Bytes(x[:]), raw(t))
		return x
	}
	var in []float32
	if x.Value.Type == dtype.BFloat16 { // it is cast in the layer
		amax := float32(0)
		for b := raw(x.Value.Tensor); len(b) > 0; b = b[2:] {
			amax = max(amax, dtype.BF16(binary.LittleEndian.Uint16(b)&0x7fff).Float32())
		}
		in = append(in, 1/dtype.E4M3FN.Scale(amax, false))
	} else {
		first := scale(x.Value.Inv)
		in = first[:]
	}
	y := s.inner.Forward(c, x)
	weight := l.Weight.Value()
	own, inv := raw(weight.Tensor), scale(weight.Inv)
	s.saw.mu.Lock()
	defer s.saw.mu.Unlock()
	layout := l.Weight.Layout(dtensor.Mesh{})
	whole := dtensor.Whole(layout.Shape())
	if s.saw.weights[s.name] == nil {
		s.saw.weights[s.name] = make([]byte, whole.Numel())
	}
	box := layout.Box(s.rank)
	for dim, order := range [2][]string{layout.Order(0), layout.Order(1)} { // what fsdp cut is whole again
		if slices.Contains(order, "fsdp") {
			lo, n := 0, whole.Hi[dim]
			if slices.Contains(order, "tp") {
				lo, n = dtensor.Chunk(whole.Hi[dim], layout.Mesh().Size("tp"), tensorRank(layout, s.rank))
			}
			box.Lo[dim], box.Hi[dim] = lo, lo+n
		}
	}
	box.Overlap(whole, func(from, to, n int) { copy(s.saw.weights[s.name][to:to+n], own[from:from+n]) })
	s.saw.scales[s.name] = append(s.saw.scales[s.name], inv[0])
	s.saw.inputs[s.name] = append(s.saw.inputs[s.name], in...)
	return y
}

func tensorRank(l dtensor.Layout, rank int) int {
	_, _, at := l.Mesh().Group(rank, "tp")
	return at
}

// TestWeightsAndTheirScalesAreThoseOfOneRank, to the bit, in tensor-wise float8, whoever has which part; and so is the
// scale of the first activation that is gathered.
func TestWeightsAndTheirScalesAreThoseOfOneRank(t *testing.T) {
	pass := func(n int, flags string) *sawn {
		cfg, err := config.Load(strings.Fields(`--model.args.dim=64 --model.args.n_layers=1 --model.args.n_heads=4 --model.args.n_kv_heads=4 --model.args.ffn_hidden_dim=192
			--model.args.vocab_size=256 --training.local_batch_size=2 --training.seq_len=8 --model.converters=quantize.linear.float8
			--quantize.linear.float8.enable_fsdp_float8_all_gather --quantize.linear.float8.precompute_float8_dynamic_scale_for_fsdp ` + flags))
		if err != nil {
			t.Fatal(err)
		}
		run, err := Resolve(cfg, n)
		if err != nil {
			t.Fatal(err)
		}
		saw := &sawn{weights: map[string][]byte{}, scales: map[string][]float32{}, inputs: map[string][]float32{}}
		ranks.Run(t, n, ranks.Options{}, func(r *ranks.Rank) error {
			root, err := run.Build()
			if err != nil {
				return err
			}
			m, err := run.Plan.Shard(root, r.World, r.Device)
			if err != nil {
				return err
			}
			model := m.Root()
			if err := nn.Walk(&model, func(at string, m nn.Module) (nn.Module, error) {
				if l, ok := nn.Base(m).(*nn.Linear); ok && at != "output" {
					for d, ok := m.(nn.Decorator); ok; d, ok = m.(nn.Decorator) { // inside of all others
						if _, inner := (*d.Inner()).(nn.Decorator); !inner {
							*d.Inner() = &spy{inner: l, name: at, saw: saw, rank: r.Rank}
							return m, nil
						}
						m = *d.Inner()
					}
					return &spy{inner: m, name: at, saw: saw, rank: r.Rank}, nil
				}
				return m, nil
			}); err != nil {
				return err
			}
			if err := m.Init(5); err != nil {
				return err
			}
			adam, err := optim.NewAdam(r.Device, m.Ctx().Stream, m.Params(), optim.AdamOptions{})
			if err != nil {
				return err
			}
			ids := make([]int32, 16)
			for i := range ids {
				ids[i] = int32(i * 11 % 256)
			}
			in := m.Ctx().Pool.Lasting().New(dtype.Int32, 2, 8)
			m.Ctx().Stream.Upload(in, device.Int32Bytes(ids))
			_, err = m.Step(parallel.StepOptions{Optimizer: adam, Count: 16}, func(c *nn.Ctx, _ int) {
				nn.CrossEntropy(c, m.Forward(c, nn.Input(in)), in)
			}).Wait()
			return err
		})
		if t.Failed() {
			t.FailNow()
		}
		return saw
	}
	want := pass(1, "")
	if len(want.weights) != 7 {
		t.Fatalf("%d layers in float8, want 7", len(want.weights))
	}
	for _, tt := range []struct {
		name  string
		ranks int
		flags string
	}{
		{"tensor 2", 2, "--parallelism.tensor_parallel_degree=2"},
		{"tensor 2, without sequence parallelism", 2, "--parallelism.tensor_parallel_degree=2 --parallelism.no_enable_sequence_parallel"},
		{"tensor 2, without loss parallelism", 2, "--parallelism.tensor_parallel_degree=2 --parallelism.disable_loss_parallel"},
		{"tensor 4", 4, "--parallelism.tensor_parallel_degree=4"},
		{"shard 2, tensor 4", 8, "--parallelism.tensor_parallel_degree=4"},
		{"shard 2, tensor 2", 4, "--parallelism.tensor_parallel_degree=2"},
		{"shard 3, tensor 2", 6, "--parallelism.tensor_parallel_degree=2"},
		{"replicate 2, tensor 2", 4, "--parallelism.tensor_parallel_degree=2 --parallelism.data_parallel_replicate_degree=2"},
		{"shard 2, replicate 2, tensor 2", 8, "--parallelism.tensor_parallel_degree=2 --parallelism.data_parallel_replicate_degree=2"},
		{"shard 2, tensor 2, a scale a gather", 4, "--parallelism.tensor_parallel_degree=2 --quantize.linear.float8.no_precompute_float8_dynamic_scale_for_fsdp"},
		{"shard 2", 2, ""}, {"shard 3", 3, ""}, {"shard 4", 4, ""}, {"shard 8", 8, ""},
		{"replicate 2", 2, "--parallelism.data_parallel_replicate_degree=2 --parallelism.data_parallel_shard_degree=1"},
		{"replicate 2, shard 2", 4, "--parallelism.data_parallel_replicate_degree=2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := pass(tt.ranks, tt.flags)
			for name, w := range want.weights {
				if !bytes.Equal(got.weights[name], w) {
					t.Errorf("%s: other bytes of the weight", name)
				}
				for _, inv := range got.scales[name] {
					if inv != want.scales[name][0] {
						t.Errorf("%s: reciprocal %v, want %v", name, inv, want.scales[name][0])
					}
				}
				if len(got.scales[name]) != tt.ranks {
					t.Errorf("%s: seen on %d ranks", name, len(got.scales[name]))
				}
			}
			const first = "layers.0.attention.wq"
			for _, inv := range got.inputs[first] {
				if inv != want.inputs[first][0] {
					t.Errorf("%s: its input has reciprocal %v, want %v", first, inv, want.inputs[first][0])
				}
			}
		})
	}
}
