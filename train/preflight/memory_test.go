// SPDX-License-Identifier: Apache-2.0

package preflight

import (
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"

	"octet/config"
	"octet/models/llama/plan"
	"octet/nn/nntest"
	"octet/test/ranks"
	"octet/train"
)

// TestMemoryIsCounted: a run takes of its device, and sends in a step, what was said before
// it started, to the byte, in each of the ways to compute.
func TestMemoryIsCounted(t *testing.T) {
	const float8 = " --model.converters=quantize.linear.float8 --quantize.linear.float8.enable_fsdp_float8_all_gather"
	const replicated = "--parallelism.data_parallel_replicate_degree="
	type layout struct {
		args  string
		ranks int
	}
	layouts := []layout{
		{"--training.mixed_precision_param=float32", 1},
		{float8, 1},
		{"--training.global_batch_size=12 --model.args.vocab_size=4096", 1},
		{"--model.args.enable_weight_tying --parallelism.fsdp_reshard_after_forward=never", 1},
		{float8 + " --training.global_batch_size=20", 2},
		{"--parallelism.fsdp_reshard_after_forward=always --activation_checkpoint.mode=full", 3},
		{float8 + " --debug.float8_stats --debug.detect_anomaly", 1},
		{replicated + "2", 2},
		{float8 + " --training.global_batch_size=40 --model.args.vocab_size=514 " + replicated + "2", 4},
		{float8 + " --quantize.linear.float8.precompute_float8_dynamic_scale_for_fsdp " + replicated + "2", 6},
		{float8 + " --quantize.linear.float8.recipe_name=delayed --training.global_batch_size=24 " + replicated + "3", 6},
		{"--parallelism.tensor_parallel_degree=2", 2},
		{"--parallelism.tensor_parallel_degree=2 --parallelism.no_enable_sequence_parallel --parallelism.disable_loss_parallel", 2},
		{float8 + " --parallelism.tensor_parallel_degree=2 --activation_checkpoint.mode=full", 4},
		{float8 + " --parallelism.tensor_parallel_degree=2 --debug.float8_stats --debug.detect_anomaly", 2},
		{float8 + " --quantize.linear.float8.recipe_name=delayed --parallelism.tensor_parallel_degree=2 --parallelism.data_parallel_replicate_degree=2", 4},
		{"--validation.enable --validation.seq_len=256 --validation.local_batch_size=5 --validation.steps=2 --validation.dataset=tokens --validation.dataset_path=" + golden + "llama_tokens.u16", 1},
	}
	for _, mode := range []string{"none", "full", "selective", "selective --activation_checkpoint.selective_ac_option=op"} {
		for _, recipe := range []string{"", float8, float8 + " --quantize.linear.float8.recipe_name=rowwise", float8 + " --quantize.linear.float8.recipe_name=delayed"} {
			layouts = append(layouts, layout{"--activation_checkpoint.mode=" + mode + recipe, 1})
		}
	}
	for _, l := range layouts {
		t.Run(fmt.Sprintf("%s on %d", l.args, l.ranks), func(t *testing.T) {
			args := strings.Fields(`--model.args.dim=128 --model.args.n_layers=4 --model.args.n_heads=4 --model.args.n_kv_heads=2 --training.seq_len=64
				--training.local_batch_size=2 --training.steps=2 ` + l.args)
			if !strings.Contains(l.args, "vocab_size") {
				args = append(args, "--model.args.vocab_size=512")
			}
			cfg, err := config.Load(append(args, "--training.dataset=tokens", dataset+"="+golden+"llama_tokens.u16"))
			if err != nil {
				t.Fatal(err)
			}
			run, err := Check(cfg, l.ranks, l.ranks, 0)
			if err != nil {
				t.Fatal(err)
			}
			n, err := needOf(run)
			if err != nil {
				t.Fatal(err)
			}
			dry, err := run.DryRun()
			if err != nil || len(dry.Classes) != 1 {
				t.Fatal(len(dry.Classes), err)
			}
			ranks.Run(t, l.ranks, ranks.Options{}, func(r *ranks.Rank) error {
				counting := &nntest.Counting{Device: r.Device}
				tr, err := train.New(train.Job{Run: run, Device: counting, World: r.World, Log: zap.NewNop()})
				if err != nil {
					return err
				}
				for step := range 2 {
					record, err := tr.Step()
					if err != nil {
						return err
					}
					if want := plan.Total(dry.Classes[0].Sent); step == 1 && record.CommBytes != want {
						t.Errorf("rank %d sends %d bytes a step, want %d: %v", r.Rank, record.CommBytes, want, dry.Classes[0].Sent)
					}
				}
				if cfg.Validation.Enable {
					if _, err := tr.Validate(); err != nil {
						return err
					}
				}
				if activations, units := tr.Peak(); r.Rank == 0 && (counting.Bytes != n.Total || activations != n.Activations || units != n.Units) {
					t.Errorf("the run took %d bytes, %d of them for activations and %d for its units, want %+v", counting.Bytes, activations, units, n)
				}
				return tr.Close()
			})
		})
	}
}

// TestASnapshotIsCounted where a run saves beside its steps: of weights and both moments.
func TestASnapshotIsCounted(t *testing.T) {
	const enable = "--checkpoint.enable --checkpoint.async_mode="
	for args, copies := range map[string]int{
		"": 0, enable + "disabled": 0, enable + "async": 3, enable + "async_with_pinned_mem": 3, enable + "async --checkpoint.load_only": 0, "--checkpoint.async_mode=async": 0,
	} {
		cfg, err := config.Load(append(strings.Fields(args), "--job.dump_folder="+t.TempDir(), "--training.dataset=tokens", dataset+"="+golden+"llama_tokens.u16", "--model.args.vocab_size=512"))
		if err != nil {
			t.Fatal(err)
		}
		run, err := Check(cfg, 1, 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		n, err := needOf(run)
		want := copies * 4 * run.Args.Params()
		if more := n.snapshot - want; err != nil || more < 0 || more > want/100 || n.total() != n.Total+n.batches+process+n.snapshot { // more: norms and counts
			t.Errorf("%q: a snapshot of %d bytes in %+v, want %d; %v", args, n.snapshot, n, want, err)
		}
	}
}
