// SPDX-License-Identifier: Apache-2.0

package preflight

import (
	"strings"
	"testing"

	"go.uber.org/zap"

	"octet/config"
	"octet/nn/nntest"
	"octet/test/ranks"
	"octet/train"
)

// TestMemoryIsEstimatedFromAbove compares the estimate with all that a run takes
// from its device in two steps, in each of the ways to compute.
func TestMemoryIsEstimatedFromAbove(t *testing.T) {
	for _, more := range []string{
		"--training.mixed_precision_param=float32",
		"--training.mixed_precision_param=bfloat16",
		"--training.mixed_precision_param=bfloat16 --model.converters=quantize.linear.float8 --quantize.linear.float8.enable_fsdp_float8_all_gather",
		"--training.mixed_precision_param=bfloat16 --training.global_batch_size=8 --model.args.vocab_size=4096",
		"--training.mixed_precision_param=bfloat16 --model.args.enable_weight_tying --parallelism.fsdp_reshard_after_forward=never",
	} {
		t.Run(more, func(t *testing.T) {
			args := strings.Fields(`--model.args.dim=128 --model.args.n_layers=4 --model.args.n_heads=4 --model.args.n_kv_heads=2 --training.seq_len=128
				--training.local_batch_size=2 --training.steps=2 ` + more)
			if !strings.Contains(more, "vocab_size") {
				args = append(args, "--model.args.vocab_size=512")
			}
			cfg, err := config.Load(append(args, "--training.dataset=tokens", dataset+"="+golden+"llama_tokens.u16"))
			if err != nil {
				t.Fatal(err)
			}
			run, err := Check(cfg, 1, 1, 0)
			if err != nil {
				t.Fatal(err)
			}
			n := needOf(run)
			r := ranks.Open(t, 1, ranks.Options{})[0]
			counting := &nntest.Counting{Device: r.Device}
			tr, err := train.New(train.Job{Run: run, Device: counting, World: r.World, Log: zap.NewNop()})
			if err != nil {
				t.Fatal(err)
			}
			defer tr.Close()
			for range 2 {
				if _, err := tr.Step(); err != nil {
					t.Fatal(err)
				}
			}
			want := n.total() - process
			t.Logf("%.1f MiB of %.1f", float64(counting.Bytes)/(1<<20), float64(want)/(1<<20))
			if counting.Bytes > want || 2*counting.Bytes < want {
				t.Errorf("the run took %d bytes, the estimate is %d (%+v): want it above, and below twice as much", counting.Bytes, want, n)
			}
		})
	}
}
