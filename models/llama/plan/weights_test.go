// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"octet/config"
	"octet/nn"
)

// folder is a model that transformers made.
func folder(name string) string { return filepath.Join("..", "..", "..", "testdata", "hf", name) }

// resolve resolves a command line for any number of ranks.
func resolve(t *testing.T, args ...string) (*Run, error) {
	t.Helper()
	cfg, err := config.Load(args)
	if err != nil {
		t.Fatal(err)
	}
	return Resolve(cfg, config.AnyWorld)
}

// llama3 are testdata/hf/llama3's sizes, key by key.
const llama3 = "--model.args.dim=64 --model.args.n_layers=2 --model.args.n_heads=4 --model.args.n_kv_heads=2 --model.args.head_dim=24 --model.args.vocab_size=96 " +
	"--model.args.ffn_hidden_dim=112 --model.args.norm_eps=1e-5 --model.args.rope_theta=10000 --model.args.rope_original_max_seq_len=64 --training.seq_len=64"

// TestSizesOfConfigJSON: model.flavor = hf takes them, and single ones stand on top; key by key they are the same model.
func TestSizesOfConfigJSON(t *testing.T) {
	run, err := resolve(t, "--model.flavor=hf", "--model.hf_assets_path="+folder("llama3"), "--training.seq_len=64", "--model.args.rope_factor=2")
	if err != nil {
		t.Fatal(err)
	}
	same, err := resolve(t, append(strings.Fields(llama3), "--model.args.rope_factor=2")...)
	if err != nil {
		t.Fatal(err)
	}
	if d := run.Args.Differences(same.Args); len(d) > 0 || run.Args.RopeFactor != 2 || run.Args.MaxSeqLen != 512 {
		t.Errorf("%+v differs from %+v: %v", run.Args, same.Args, d)
	}
	if _, err := resolve(t, "--model.flavor=hf", "--model.hf_assets_path="+folder("llama3"), "--training.seq_len=1024"); err == nil || !strings.Contains(err.Error(), "training.seq_len = 1024 is more than model.args.max_seq_len = 512") {
		t.Errorf("error %v, want one about the length", err)
	}
	empty := t.TempDir()
	if _, err := resolve(t, "--model.flavor=hf", "--model.hf_assets_path="+empty); err == nil || !strings.Contains(err.Error(), "model.hf_assets_path: hf: open "+empty+"/config.json: no such file") {
		t.Errorf("error %v, want one that names the file", err)
	}
}

// TestWeightsOfAnotherModelAreRefused, with all that differs; of a tokenizer's folder it is told.
func TestWeightsOfAnotherModelAreRefused(t *testing.T) {
	path := folder("llama3")
	all := strings.Fields(llama3)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{append(all, "--checkpoint.initial_load_in_hf", "--model.hf_assets_path="+path), ""},
		{append(all, "--checkpoint.initial_load_in_hf", "--checkpoint.initial_load_path="+path), ""},
		{append(all, "--checkpoint.initial_load_in_hf", "--checkpoint.initial_load_path="+path, "--model.args.norm_eps=1e-6", "--model.args.rope_high_freq_factor=5"),
			`checkpoint.initial_load_path = "` + path + `": its weights are of another model than model.flavor = "debugmodel" and model.args make: norm_eps is 1e-06 and 1e-05, rope_high_freq_factor is 5 and 4`},
		{append(all, "--checkpoint.initial_load_in_hf", "--model.hf_assets_path="+folder("tied")), `model.hf_assets_path = "` + folder("tied") + `": its weights are of another model`},
		{[]string{"--model.flavor=hf", "--model.hf_assets_path=" + path, "--checkpoint.initial_load_in_hf", "--model.args.rope_factor=4", "--training.seq_len=64"}, ""},
		{[]string{"--model.flavor=hf", "--model.hf_assets_path=" + path, "--checkpoint.initial_load_in_hf", "--checkpoint.initial_load_path=" + folder("tied"), "--training.seq_len=64"},
			"its weights are of another model than"},
		{append(all, "--checkpoint.initial_load_in_hf", "--checkpoint.initial_load_path="+t.TempDir()), "checkpoint.initial_load_path: hf: open "},
	} {
		_, err := resolve(t, tt.args...)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%q: error %v, want one with %q", tt.args, err, tt.want)
		}
	}
	for args, want := range map[string]string{
		"--model.hf_assets_path=" + path:                                         "only its tokenizer is used",
		llama3 + " --model.hf_assets_path=" + path:                               "",
		"--model.flavor=hf --training.seq_len=64 --model.hf_assets_path=" + path: "",
		"--model.hf_assets_path=" + t.TempDir():                                  "",
	} {
		run, err := resolve(t, strings.Fields(args)...)
		if err != nil {
			t.Fatal(err)
		}
		if notes := strings.Join(run.Notes, "\n"); (notes == "") != (want == "") || !strings.Contains(notes, want) {
			t.Errorf("%s: notes %q, want %q", args, notes, want)
		}
	}
}

// TestFirstWeightsOfHuggingFace are opened where the keys say, found wrong under the key's name, and have a fingerprint that is the same in any files.
func TestFirstWeightsOfHuggingFace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tied")
	if err := os.CopyFS(path, os.DirFS(folder("tied"))); err != nil {
		t.Fatal(err)
	}
	run, err := resolve(t, "--model.flavor=hf", "--model.hf_assets_path="+path, "--checkpoint.initial_load_in_hf", "--training.seq_len=64")
	if err != nil {
		t.Fatal(err)
	}
	var params []*nn.Param
	for _, p := range nn.Parameters(run.Model) {
		params = append(params, p)
	}
	w, err := run.OpenWeights(params)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil || w.What != "model.hf_assets_path = "+path || len(w.Unused) > 0 {
		t.Errorf("%q, unused %q, %v", w.What, w.Unused, err)
	}
	sum, err := run.FingerprintWeights()
	if err != nil || len(sum) != 64 {
		t.Errorf("fingerprint %q, %v", sum, err)
	}
	if err := os.Remove(filepath.Join(path, "model-00001-of-00003.safetensors")); err != nil {
		t.Fatal(err)
	}
	const want = "the shard model-00001-of-00003.safetensors is missing"
	if _, err := run.OpenWeights(params); err == nil || !strings.Contains(err.Error(), "model.hf_assets_path: hf: "+path+": "+want) {
		t.Errorf("error %v, want one about the shard", err)
	}
	if _, err := run.FingerprintWeights(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want one about the shard", err)
	}
	without, err := resolve(t)
	if err != nil {
		t.Fatal(err)
	}
	if w, err := without.OpenWeights(params); w != nil || err != nil {
		t.Errorf("%v, %v", w, err)
	}
	if sum, err := without.FingerprintWeights(); sum != "" || err != nil {
		t.Errorf("%q, %v", sum, err)
	}
}
