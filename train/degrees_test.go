// SPDX-License-Identifier: Apache-2.0

package train

import (
	"fmt"
	"testing"

	"octet/metrics"
)

// sharing is a way to share a model among ranks, and sizes of one that it has to take.
type sharing struct {
	name  string
	ranks int
	args  []string
}

// sharings are those that have to train alike, with one global batch of 12 sequences in two microbatches or more.
func sharings() []sharing {
	degrees := func(name string, ranks, replicate, shard, local int) sharing {
		return sharing{name, ranks, []string{
			fmt.Sprint("--parallelism.data_parallel_replicate_degree=", replicate), fmt.Sprint("--parallelism.data_parallel_shard_degree=", shard),
			fmt.Sprint("--training.local_batch_size=", local),
		}}
	}
	return []sharing{
		degrees("shard 2", 2, 1, 2, 3), degrees("shard 3", 3, 1, 3, 2), degrees("shard 4", 4, 1, 4, 3),
		degrees("replicate 2", 2, 2, 1, 3), degrees("replicate 3, one microbatch", 3, 3, 1, 4),
		degrees("replicate 2, shard 2", 4, 2, 2, 1), degrees("replicate 2, shard 3", 6, 2, 3, 1), degrees("replicate 3, shard 2", 6, 3, 2, 2),
	}
}

// oddSizes are those of a model that no number of ranks divides.
var oddSizes = []string{"--model.args.vocab_size=257", "--model.args.ffn_hidden_dim=37", "--model.args.dim=18", "--model.args.n_heads=3", "--model.args.n_kv_heads=3", "--model.args.n_layers=1"}

// alike compares losses of ten steps with those of one rank, within 1e-5, relative, and gradient norms, behind the first within 1e-4.
func alike(t *testing.T, got, want []metrics.Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d steps, want %d", len(got), len(want))
	}
	for i, r := range got {
		near := 1e-5
		if i > 0 {
			near = 1e-4 // Adam takes a gradient that rounds to the other side of 0 as far as any other
		}
		if l, n := relative(r.Loss, want[i].Loss), relative(r.GradNorm, want[i].GradNorm); !(l <= 1e-5 && n <= near) || r.Tokens != want[i].Tokens {
			t.Errorf("step %d: loss %.7f, norm %.7f, %d tokens, want %.7f, %.7f, %d: off by %.2g and %.2g", i+1, r.Loss, r.GradNorm, r.Tokens, want[i].Loss, want[i].GradNorm, want[i].Tokens, l, n)
		}
	}
}

// TestEveryLayoutTrainsAsOneRank does: the data, the losses and the gradient norms are those of the global batch, whoever has which part of the model.
func TestEveryLayoutTrainsAsOneRank(t *testing.T) {
	for name, sizes := range map[string][]string{"sizes that divide": nil, "odd sizes": oddSizes} {
		args := small(join(f32Args, tokens, sizes, []string{"--training.steps=10", "--training.global_batch_size=12"})...)
		want := runRanks(t, 1, append(args, "--training.local_batch_size=12"))
		if !(want[9].Loss < 0.97*want[0].Loss) {
			t.Errorf("loss %v after %v: nothing was learned", want[9].Loss, want[0].Loss)
		}
		for _, l := range sharings() {
			t.Run(name+"/"+l.name, func(t *testing.T) { alike(t, runRanks(t, l.ranks, join(args, l.args)), want) })
		}
	}
}
