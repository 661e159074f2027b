// SPDX-License-Identifier: Apache-2.0

package train

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// product is a model in a recipe, and a way to train it that changes no loss but for roundings.
type product struct {
	model, layout       []string
	ranks, local, batch int
	near                float64 // how far losses may be from those of one rank, relatively
}

// drawProduct draws one of all degrees, recipes and ways to keep less.
func drawProduct(random *rand.Rand) (p product) {
	pick := func(from ...string) []string { return strings.Fields(from[random.IntN(len(from))]) }
	flag := func(format string, n int) []string { return []string{fmt.Sprintf("--"+format+"=%d", n)} }
	replicas, shards, tensor := 1+random.IntN(3), 1+random.IntN(3), 1+random.IntN(4)
	if replicas*shards*tensor > 12 {
		replicas = 1
	}
	heads, odd := tensor*(1+random.IntN(2)), 0
	p.ranks, p.local = replicas*shards*tensor, 1+random.IntN(2)
	p.batch = p.local * (1 + random.IntN(3)) * replicas * shards
	recipe := random.IntN(6)
	p.near = 2e-2
	if recipe < 2 {
		odd, p.near = random.IntN(13), []float64{1e-5, 1e-2}[recipe]
	}
	p.model = join(flag("model.args.dim", 16*heads), flag("model.args.n_heads", heads), flag("model.args.n_kv_heads", tensor), flag("model.args.ffn_hidden_dim", 16*tensor*(1+random.IntN(2))+odd),
		flag("model.args.vocab_size", 256+random.IntN(20)), flag("model.args.n_layers", 1+random.IntN(3)), flag("training.seq_len", 48))
	const of, gathered = "--quantize.linear.float8.", "--quantize.linear.float8.enable_fsdp_float8_all_gather"
	switch p.model = join(p.model, [][]string{f32Args, nil, float8, join(float8, named("rowwise")), join(float8, named("rowwise_with_gw_hp")), join(float8, named("delayed"))}[recipe]); recipe {
	case 0:
		p.model = join(p.model, pick("", "--model.args.enable_weight_tying"))
	case 2:
		p.model = join(p.model, pick("", gathered, strings.Join(gather, " "), of+"emulate", of+"scaling_type_input=delayed", of+"scaling_type_grad_output=delayed"))
	case 3, 5:
		p.model = join(p.model, pick("", gathered))
	}
	p.layout = join(replicated(replicas), flag("parallelism.data_parallel_shard_degree", shards), sharedBy(tensor),
		pick("", "--activation_checkpoint.mode=full", "--activation_checkpoint.mode=selective --activation_checkpoint.selective_ac_option=op"),
		pick("", "--parallelism.fsdp_reshard_after_forward=always", "--parallelism.fsdp_reshard_after_forward=never"))
	if tensor > 1 {
		p.layout = join(p.layout, pick("--debug.detect_anomaly", "--parallelism.no_enable_sequence_parallel", "--parallelism.enable_async_tensor_parallel"), pick("", "--parallelism.disable_loss_parallel"))
	}
	return p
}

// TestAnyProductTrainsAsOneRank: of replicas, shards, parts, recipe and recomputation.
func TestAnyProductTrainsAsOneRank(t *testing.T) {
	random := rand.New(rand.NewPCG(13, 7))
	for range 40 {
		p := drawProduct(random)
		t.Run(fmt.Sprintf("%d ranks", p.ranks), func(t *testing.T) {
			t.Log(strings.Join(join(p.model, p.layout), " "))
			args := small(join(tokens, p.model, []string{"--training.steps=5", fmt.Sprint("--training.global_batch_size=", p.batch)})...)
			want := runRanks(t, 1, append(args, fmt.Sprint("--training.local_batch_size=", p.batch)))
			within(t, runRanks(t, p.ranks, join(args, p.layout, []string{fmt.Sprint("--training.local_batch_size=", p.local)})), losses(want), p.near)
		})
	}
}
