// SPDX-License-Identifier: Apache-2.0

package train

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// sharedBy are the flags of ranks that share modules, and the rest shards.
func sharedBy(degree int, more ...string) []string {
	return append([]string{fmt.Sprint("--parallelism.tensor_parallel_degree=", degree)}, more...)
}

// TestRanksThatShareModulesTrainAsOne does: the data, the losses and the gradient norms of the global batch, with accumulation, in sizes
// that do not divide, tied or not, and run again.
func TestRanksThatShareModulesTrainAsOne(t *testing.T) {
	without := []string{"--parallelism.no_enable_sequence_parallel", "--parallelism.disable_loss_parallel"}
	for name, sizes := range map[string][]string{"sizes that divide": nil, "odd sizes": oddSizes, "tied": {"--model.args.enable_weight_tying"}} {
		args := small(join(f32Args, tokens, sizes, []string{"--training.steps=10", "--training.global_batch_size=12"})...)
		want := runRanks(t, 1, append(args, "--training.local_batch_size=12"))
		for _, l := range []sharing{
			{"tensor 2", 2, sharedBy(2, "--training.local_batch_size=6")},
			{"tensor 2 alone", 2, sharedBy(2, join(without, []string{"--training.local_batch_size=4"})...)},
			{"tensor 3", 3, sharedBy(3, "--training.local_batch_size=12")},
			{"tensor 3 alone", 3, sharedBy(3, join(without, []string{"--training.local_batch_size=6"})...)},
			{"tensor 4", 4, sharedBy(4, "--training.local_batch_size=6")},
			{"shard 2, tensor 2", 4, sharedBy(2, "--training.local_batch_size=3")},
			{"shard 2, tensor 3", 6, sharedBy(3, "--training.local_batch_size=6")},
			{"shard 2, tensor 2, run again", 4, sharedBy(2, "--training.local_batch_size=3", "--activation_checkpoint.mode=full")},
			{"shard 2, replicate 2, tensor 2", 8, sharedBy(2, "--training.local_batch_size=1", "--parallelism.data_parallel_replicate_degree=2")},
			{"shard 2, replicate 2, tensor 3", 12, sharedBy(3, "--training.local_batch_size=3", "--parallelism.data_parallel_replicate_degree=2")},
		} {
			if odd := name == "odd sizes"; odd != strings.Contains(l.name, "tensor 3") { // 3 heads, or 4
				continue
			}
			t.Run(name+"/"+l.name, func(t *testing.T) { alike(t, runRanks(t, l.ranks, join(args, l.args)), want) })
		}
	}
}

// TestGoldenWeightsOverTheTensorAxis: PyTorch's weights, each rank its part of them.
func TestGoldenWeightsOverTheTensorAxis(t *testing.T) {
	of := func(n int, batch string, more ...string) []string {
		return goldenArgs(batch, join(f32Args, more, []string{"--training.global_batch_size=8", "--training.steps=10"})...)
	}
	want := runRanks(t, 1, of(1, "8"))
	alike(t, runRanks(t, 2, of(2, "8", sharedBy(2)...)), want)
	alike(t, runRanks(t, 4, of(4, "4", sharedBy(2)...)), want)
}

// TestAValidationOverTheTensorAxis has the loss of one rank.
func TestAValidationOverTheTensorAxis(t *testing.T) {
	args := func(more ...string) []string {
		return small(join(tokens, f32Args, more, []string{"--training.steps=2", "--training.global_batch_size=4", "--training.local_batch_size=4", "--validation.enable", "--validation.dataset=tokens",
			"--validation.dataset_path=" + golden + "llama_tokens.u16", "--validation.freq=1", "--validation.local_batch_size=2", "--validation.seq_len=16", "--validation.steps=4"})...)
	}
	want := runRanks(t, 1, args())
	for name, more := range map[string][]string{"all": nil, "no sequence, no loss parallelism": {"--parallelism.no_enable_sequence_parallel", "--parallelism.disable_loss_parallel"}} {
		got := runRanks(t, 2, args(sharedBy(2, more...)...))
		for i := range want {
			if g, w := got[i].Validation, want[i].Validation; g == nil || w == nil || !(relative(g.Loss, w.Loss) <= 1e-5) {
				t.Errorf("%s: step %d: validation %v, want %v", name, i+1, g, w)
			}
		}
	}
}

// TestRecipesOverTheTensorAxis: each trains, to the same bits where rows travel beside products, with and without a float8 gather of weights, near what one rank does: sums of terms
// are rounded once more, and what is scaled by rows is scaled by the rows of a part.
func TestRecipesOverTheTensorAxis(t *testing.T) {
	sizes := []string{"--model.args.dim=64", "--model.args.n_kv_heads=2", "--model.args.n_layers=1", "--training.steps=10", "--training.global_batch_size=4"}
	recipes := map[string][]string{
		"tensorwise": join(float8, gather), "tensorwise, weights in bf16": float8, "tensorwise, powers of two": join(float8, gather, []string{"--quantize.linear.float8.round_scales_to_power_of_2"}),
		"rowwise": join(float8, named("rowwise"), gather[:1]), "rowwise, weights in bf16": join(float8, named("rowwise")),
		"rowwise_with_gw_hp": join(float8, named("rowwise_with_gw_hp")),
		"delayed":            join(float8, named("delayed"), gather[:1]), "delayed, weights in bf16": join(float8, named("delayed")),
		"emulated": join(float8, emulate), "padded": join(float8, []string{"--quantize.linear.float8.pad_inner_dim", "--training.seq_len=10"}), "output too": {float8[0], "--quantize.linear.float8.filter_fqns="},
		"rowwise, exact scales": join(float8, named("rowwise"), []string{"--quantize.linear.float8.no_round_scales_to_power_of_2"}),
		"fast products of all":  join(float8, gather, []string{"--quantize.linear.float8.fast_accum=output,grad_input,grad_weight"}),
	}
	for mix := 1; mix < 7; mix++ { // none and all are above
		name, recipe := "delayed", float8
		for i, role := range []string{"input", "weight", "grad_output"} {
			if mix>>i&1 == 1 {
				name, recipe = name+" "+role, join(recipe, []string{"--quantize.linear.float8.scaling_type_" + role + "=delayed"})
			}
		}
		recipes[name] = recipe
	}
	for name, recipe := range recipes {
		args := small(join(tokens, sizes, recipe)...)
		want := runRanks(t, 1, append(args, "--training.local_batch_size=4"))
		for _, l := range []sharing{
			{"tensor 2", 2, sharedBy(2, "--training.local_batch_size=4")},
			{"tensor 2 alone", 2, sharedBy(2, "--training.local_batch_size=2", "--parallelism.no_enable_sequence_parallel", "--parallelism.disable_loss_parallel")},
			{"shard 2, tensor 2", 4, sharedBy(2, "--training.local_batch_size=2")},
			{"shard 2, tensor 2, run again", 4, sharedBy(2, "--training.local_batch_size=1", "--activation_checkpoint.mode=selective", "--activation_checkpoint.selective_ac_option=op")},
		} {
			t.Run(name+"/"+l.name, func(t *testing.T) {
				got := runRanks(t, l.ranks, join(args, l.args))
				within(t, got, losses(want), 5e-3)
				if !slices.Contains(l.args, "--parallelism.no_enable_sequence_parallel") { // rows travel
					beside := runRanks(t, l.ranks, join(args, l.args, []string{"--parallelism.enable_async_tensor_parallel"}))
					within(t, beside, losses(got), 0)
				}
			})
		}
	}
}
