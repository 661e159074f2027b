// SPDX-License-Identifier: Apache-2.0

package hf

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"octet/checkpoint/safetensors"
	"octet/tokenizer"
)

// TestAFolderThatIsNotWholeIsRefused, with the name of what is missing, or wrong.
func TestAFolderThatIsNotWholeIsRefused(t *testing.T) {
	for _, tt := range []struct {
		what, of string
		spoil    func(dir string) error
		want     string
	}{
		{"a shard", "tied", func(dir string) error { return os.Remove(filepath.Join(dir, "model-00002-of-00003.safetensors")) },
			"the shard model-00002-of-00003.safetensors is missing, which model.safetensors.index.json gives 8 tensors"},
		{"the weights", "half", func(dir string) error { return os.Remove(filepath.Join(dir, weightsName)) },
			"there is neither model.safetensors nor model.safetensors.index.json"},
		{"a tensor of the index", "tied", func(dir string) error {
			return replace(filepath.Join(dir, indexName), "model.norm.weight", "model.norm.bias")
		},
			"model.norm.bias is not in model-00003-of-00003.safetensors, where model.safetensors.index.json has it"},
		{"a tensor where the index has it", "tied", func(dir string) error {
			return replace(filepath.Join(dir, indexName), `"model.norm.weight": "model-00003`, `"model.norm.weight": "model-00001`)
		}, "model.norm.weight is not in model-00001-of-00003.safetensors"},
		{"an index", "tied", func(dir string) error { return os.WriteFile(filepath.Join(dir, indexName), []byte("{}"), 0o666) }, "has no weight_map"},
		{"a path of the index", "tied", func(dir string) error {
			return replace(filepath.Join(dir, indexName), "model-00003-of", "../model-00003-of")
		}, "which is not in the folder"},
		{"a layer", "half", func(dir string) error {
			return replace(filepath.Join(dir, ConfigName), `"num_hidden_layers": 1`, `"num_hidden_layers": 2`)
		}, "model.layers.1.self_attn.q_proj.weight [32 32] is missing"},
		{"a size", "half", func(dir string) error {
			return replace(filepath.Join(dir, ConfigName), `"vocab_size": 64`, `"vocab_size": 65`)
		}, "lm_head.weight has shape [64 32], config.json asks for [65 32]"},
		{"a head", "tied", func(dir string) error {
			return replace(filepath.Join(dir, ConfigName), `"tie_word_embeddings": true`, `"tie_word_embeddings": false`)
		}, "lm_head.weight [80 48] is missing"},
		{"a type", "half", func(dir string) error {
			return safetensors.Write(filepath.Join(dir, weightsName), nil, []safetensors.Tensor{
				{Name: "model.norm.weight", DType: safetensors.F8E4M3, Shape: []int{32}, Data: make([]byte, 32)}})
		}, "elements of type F8_E4M3 cannot be read as float32"},
		{"a name", "half", func(dir string) error {
			return safetensors.Write(filepath.Join(dir, weightsName), nil, []safetensors.Tensor{
				{Name: "norm.weight", DType: safetensors.F32, Shape: []int{32}, Data: make([]byte, 128)}})
		}, "norm.weight is not a tensor of the model"},
	} {
		dir := filepath.Join(t.TempDir(), "model")
		if err := os.CopyFS(dir, os.DirFS(made(tt.of))); err != nil {
			t.Fatal(err)
		}
		if err := tt.spoil(dir); err != nil {
			t.Fatal(err)
		}
		c, err := ReadConfig(dir)
		if err != nil {
			t.Fatal(err)
		}
		w, err := Open(dir, c.Args)
		if err == nil {
			w.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("without %s: error %v, want one with %q and the folder", tt.what, err, tt.want)
		}
	}
}

// replace changes a file's text.
func replace(path, old, by string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(strings.ReplaceAll(string(text), old, by)), 0o666)
}

// TestOtherFilesOfAFolderAreLeftAlone: weights in another form, which the index does not name.
func TestOtherFilesOfAFolderAreLeftAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "model")
	if err := os.CopyFS(dir, os.DirFS(made("tied"))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "consolidated.safetensors"), []byte("another form"), 0o666); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

// TestAnExportThatFailsLeavesNothing, nor does it write over anything.
func TestAnExportThatFailsLeavesNothing(t *testing.T) {
	c, w := open(t, made("half"))
	parent := t.TempDir()
	taken := filepath.Join(parent, "taken")
	if err := os.MkdirAll(filepath.Join(taken, "x"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := Export(taken, c, w, Options{}); err == nil || !strings.Contains(err.Error(), taken+": it is there already") {
		t.Errorf("error %v, want one that the folder is there", err)
	}
	if err := os.Mkdir(filepath.Join(parent, "empty"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := Export(filepath.Join(parent, "empty"), c, w, Options{}); err != nil {
		t.Errorf("into an empty folder: %v", err)
	}
	for want, change := range map[string]func(*Config){
		"Config.DType is empty":                     func(c *Config) { c.DType = "" },
		"output.weight has shape [64":               func(c *Config) { c.Args.Vocab++ },
		"layers.1.attention_norm.weight is missing": func(c *Config) { c.Args.Layers++ },
	} {
		wrong := c
		change(&wrong)
		if err := Export(filepath.Join(parent, "new"), wrong, w, Options{MaxShard: 1}); err == nil || !strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), "tok_embeddings.weight has shape [64") {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	entries, err := os.ReadDir(parent)
	if err != nil || len(entries) != 2 {
		t.Errorf("%v (%v), want the two folders of before", entries, err)
	}
}

// TestFloat16HasLimits: a weight that would become infinite is an error.
func TestFloat16HasLimits(t *testing.T) {
	for v, fits := range map[float32]bool{65519: true, -65519: true, 65520: false, -1e9: false} {
		if err := checkRange([]float32{1, v}, safetensors.F16); (err == nil) != fits {
			t.Errorf("%v: error %v", v, err)
		}
		if err := checkRange([]float32{v}, safetensors.BF16); err != nil {
			t.Error(err)
		}
	}
}

// TestTokenizersFilesTravelAlong, those that there are.
func TestTokenizersFilesTravelAlong(t *testing.T) {
	c, w := open(t, made("half"))
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "out")
	for _, name := range []string{"vocab.json", "chat_template.jinja", "README.md"} {
		if err := os.WriteFile(filepath.Join(from, name), []byte(name), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := Export(to, c, w, Options{Assets: from}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"vocab.json": true, "chat_template.jinja": true, "README.md": false} {
		text, err := os.ReadFile(filepath.Join(to, name))
		if (err == nil) != want || want && string(text) != name {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

// TestIDsOfATextAreItsTokenizers, unless the configuration says others.
func TestIDsOfATextAreItsTokenizers(t *testing.T) {
	c, w := open(t, made("half"))
	assets := filepath.Join("..", "..", "..", "tokenizer", "testdata", "llama3")
	tokens, err := tokenizer.Open(assets)
	if err != nil {
		t.Fatal(err)
	}
	bos, _ := tokens.BOS()
	for _, tt := range []struct {
		eos  []int
		want []int // BOS
	}{{nil, []int{int(bos)}}, {[]int{7, 9}, nil}} {
		c.BOS, c.EOS = nil, tt.eos
		to := filepath.Join(t.TempDir(), "out")
		if err := Export(to, c, w, Options{Assets: assets}); err != nil {
			t.Fatal(err)
		}
		got, err := ReadConfig(to)
		if err != nil || !slices.Equal(got.BOS, tt.want) || tt.eos != nil && !slices.Equal(got.EOS, tt.eos) {
			t.Errorf("bos %v, eos %v (%v), want bos %v, eos %v", got.BOS, got.EOS, err, tt.want, tt.eos)
		}
	}
}
