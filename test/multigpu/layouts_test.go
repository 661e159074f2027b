// SPDX-License-Identifier: Apache-2.0

package multigpu

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"octet/dtype"
	"octet/metrics"
	"octet/test/ranks"
)

// sized is a model that every layout trains whose tensor degree it has.
type sized struct {
	name    string
	args    []string
	degrees []int
}

// models are the golden one, whose two heads of keys go to two ranks at most, one with four heads, and one of odd sizes whose three heads go to three.
// Simulated GPUs would take minutes for the golden one's tokens: there two ranks share the four heads.
func models(t *testing.T, simulated bool) []sized {
	t.Helper()
	odd := sized{"odd", strings.Fields("--model.args.dim=18 --model.args.n_heads=3 --model.args.n_kv_heads=3 --model.args.ffn_hidden_dim=37 --model.args.vocab_size=257"), []int{1, 3}}
	four := []string{"--model.args.n_kv_heads=4"}
	if simulated {
		return []sized{{"four heads", four, []int{2, 4}}, odd}
	}
	weights, err := filepath.Abs("../../testdata/golden/llama_init.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	return []sized{
		{"golden", strings.Fields(`--model.args.dim=64 --model.args.ffn_hidden_dim=192 --model.args.use_scaled_rope=false --training.seq_len=64
			--checkpoint.initial_load_path=` + weights), []int{1, 2}},
		{"four heads", four, []int{4}}, odd,
	}
}

// TestEveryLayout: ten steps in float32 have the losses and gradient norms of one rank, by goroutines and, to the same bits, by processes
// (of simulated GPUs the other tests here have those).
func TestEveryLayout(t *testing.T) {
	simulated := os.Getenv(ranks.DeviceVar) == ranks.Sim
	t.Setenv(binaryVar, built(t))
	replicas, shard1 := "--parallelism.data_parallel_replicate_degree=2", "--parallelism.data_parallel_shard_degree=1"
	noSequence, noLoss := "--parallelism.no_enable_sequence_parallel", "--parallelism.disable_loss_parallel"
	layouts := []struct {
		name         string
		tensor, data int
		degrees      []string
	}{
		{"shard 2", 1, 2, nil}, {"shard 3", 1, 3, nil}, {"shard 4", 1, 4, nil}, {"replicate 2", 1, 2, []string{replicas, shard1}}, {"replicate 2, shard 2", 1, 4, []string{replicas}},
		{"tensor 2", 2, 1, nil}, {"tensor 2, without sequence parallelism", 2, 1, []string{noSequence}}, {"tensor 2, without loss parallelism", 2, 1, []string{noLoss}},
		{"tensor 2, without both", 2, 1, []string{noSequence, noLoss}}, {"shard 2, tensor 2", 2, 2, nil}, {"shard 2, replicate 2, tensor 2", 2, 4, []string{replicas}},
		{"tensor 3", 3, 1, nil}, {"tensor 3, without both", 3, 1, []string{noSequence, noLoss}}, {"shard 2, tensor 3", 3, 2, nil},
		{"tensor 4", 4, 1, nil}, {"tensor 4, without both", 4, 1, []string{noSequence, noLoss}}, {"shard 2, tensor 4", 4, 2, nil},
	}
	for _, model := range models(t, simulated) {
		t.Run(model.name, func(t *testing.T) {
			i := integration{args: model.args, weights: dtype.Float32, batch: 12, steps: 10}
			one := i.together(t, 1)
			if first, last := one[0].Loss, one[9].Loss; !(last < 0.97*first) {
				t.Errorf("the loss goes from %v to %v: nothing was learned", first, last)
			}
			for _, l := range layouts {
				if !slices.Contains(model.degrees, l.tensor) {
					continue
				}
				t.Run(l.name, func(t *testing.T) {
					i, n := i, l.data*l.tensor
					i.tensor, i.degrees = l.tensor, l.degrees
					got := i.together(t, n)
					alike(t, got, one)
					if !simulated {
						t.Run("processes", func(t *testing.T) { i.again(t, n, got) })
					}
				})
			}
		})
	}
}

// alike compares the records of ten steps with those of one rank: losses within 1e-5, relative, and norms behind the first within 1e-4.
func alike(t *testing.T, got, want []metrics.Record) {
	t.Helper()
	for s, r := range got {
		w, near := want[s], 1e-5
		if s > 0 {
			near = 1e-4 // Adam takes a gradient that rounds to the other side of 0 as far as any other
		}
		if loss, norm := math.Abs(r.Loss-w.Loss)/w.Loss, math.Abs(r.GradNorm-w.GradNorm)/w.GradNorm; !(loss <= 1e-5 && norm <= near) || r.Tokens != w.Tokens {
			t.Errorf("step %d: loss %v, norm %v, %d tokens, on one rank %v, %v, %d: off by %.2g and %.2g", s+1, r.Loss, r.GradNorm, r.Tokens, w.Loss, w.GradNorm, w.Tokens, loss, norm)
		}
	}
}
