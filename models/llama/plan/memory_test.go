// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strings"
	"testing"

	"octet/config"
)

// memoryOf is the memory of a model of that many layers, whose tensors fill their size
// classes: 2 sequences of 128, dim 128, 4 heads of 32 over 2 of keys, feed-forward 384.
func memoryOf(t *testing.T, layers int, more string) Memory {
	t.Helper()
	cfg, err := config.Load(strings.Fields(fmt.Sprintf(`--model.args.dim=128 --model.args.n_layers=%d --model.args.n_heads=4 --model.args.n_kv_heads=2 --model.args.ffn_hidden_dim=384
		--model.args.vocab_size=512 --training.seq_len=128 --training.local_batch_size=2 %s`, layers, more)))
	if err != nil {
		t.Fatal(err)
	}
	run, err := Resolve(cfg, 1)
	if err != nil {
		t.Fatal(err)
	}
	m, err := run.Memory()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestWhatALayerKeepsForBackward compares the account, which a dry run makes, with one by
// hand, of two layers: what each operation's backward reads.
func TestWhatALayerKeepsForBackward(t *testing.T) {
	const (
		tokens, dim, kv, hidden = 256, 128, 64, 384
		least                   = 4096             // of a pool: a scale, or a norm's statistics
		lse                     = tokens * 4 * 4   // of attention
		x                       = tokens * dim * 2 // a layer's input
		cast                    = 2 * least        // of a float8 cast beside its bytes: the scale and its reciprocal
		// x and both norms' outputs, q, k, v, attention's output, the sum, three of the feed-forward's.
		bf16 = tokens*2*(6*dim+2*kv+3*hidden) + 2*least + lse
		// Without the norms' outputs and the feed-forward's last, which only casts read.
		float8 = tokens*2*(4*dim+2*kv+2*hidden) + 2*least + lse + tokens*(3*dim+hidden) + 4*cast
		// x; wq, wv, w1 and w2 of wq, wk, wv, wo, w1, w3, w2; attention.
		op = tokens*2*(dim+dim+kv+hidden+dim+dim) + lse
	)
	for _, tt := range []struct {
		mode         string
		bf16, float8 int // of two layers
	}{
		{"none", 2 * bf16, 2 * float8},
		{"full", 2 * x, 2 * x},
		{"selective", bf16 + x, float8 + x},
		{"selective --activation_checkpoint.selective_ac_option=op", 2 * op, 2 * op},
	} {
		const float8 = " --model.converters=quantize.linear.float8"
		for recipe, want := range map[string]int{
			"": tt.bf16, float8: tt.float8,
			float8 + " --quantize.linear.float8.recipe_name=rowwise":            tt.float8, // a number a row takes no more here
			float8 + " --quantize.linear.float8.recipe_name=rowwise_with_gw_hp": tt.bf16,   // grad_weight reads the inputs themselves
		} {
			args := "--activation_checkpoint.mode=" + tt.mode + recipe
			if got := memoryOf(t, 6, args).Activations - memoryOf(t, 4, args).Activations; got != want {
				t.Errorf("%s: two layers more take %d bytes, want %d", args, got, want)
			}
		}
	}
}

// TestWhatRunsBesideAGraphTakesMemoryOfItsOwn: validation, and steps that are looked at.
func TestWhatRunsBesideAGraphTakesMemoryOfItsOwn(t *testing.T) {
	const graph, validated = " --device.name=cuda --device.cuda_graph", " --validation.enable --validation.local_batch_size=2 --validation.seq_len=128"
	const watched = " --model.converters=quantize.linear.float8 --debug.float8_stats"
	total := func(args string) int { return memoryOf(t, 2, args).Total }
	if with, without := total(graph), total(""); with != without {
		t.Errorf("alone a graph takes %d bytes, want those of a step, %d", with, without)
	}
	// The logits of a batch, and as much as all activations of a step.
	if more := total(validated+graph) - total(validated); more < 256*512*2 {
		t.Errorf("a validation beside a graph takes %d bytes more", more)
	}
	if more, step := total(watched+graph)-total(watched), memoryOf(t, 2, watched).Activations; more < step {
		t.Errorf("a step beside a graph takes %d bytes more, want the %d of its activations at least", more, step)
	}
}

// TestCosts has the memory of each mode, and what a step sends.
func TestCosts(t *testing.T) {
	cfg, err := config.Load(strings.Fields("--model.args.n_layers=3 --activation_checkpoint.mode=selective --activation_checkpoint.selective_ac_option=3 --training.seq_len=64 --training.global_batch_size=96"))
	if err != nil {
		t.Fatal(err)
	}
	run, err := Resolve(cfg, 4)
	if err != nil {
		t.Fatal(err)
	}
	got, err := run.Costs()
	if err != nil {
		t.Fatal(err)
	}
	_, own, sent, err := run.dry(0)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("memory  of each rank at most: %d bytes of weights, gradients and moments, %d of what units gather and reduce, %d of activations\nmemory  activations by mode:",
		own.State, own.Units, own.Activations)
	for i, mode := range []string{"none", "selective 2", "selective op", "full"} {
		name, option, _ := strings.Cut(mode, " ")
		cfg.ActivationCheckpoint.Mode, cfg.ActivationCheckpoint.SelectiveACOption = name, option
		if option == "" {
			cfg.ActivationCheckpoint.SelectiveACOption = "2"
		}
		run, err := Resolve(cfg, 4)
		if err != nil {
			t.Fatal(err)
		}
		m, err := run.Memory()
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			want += ","
		}
		want += fmt.Sprintf(" %s %d", mode, m.Activations)
	}
	if want += " bytes\n" + listed(sent); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
