// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"octet/checkpoint/safetensors"
	"octet/internal/rng"
	"octet/models/llama"
	"octet/models/llama/hf"
	"octet/nn"
	"octet/tokenizer"
)

// transformersModel is a model of testdata that transformers made.
func transformersModel(name string) string { return filepath.Join("..", "..", "testdata", "hf", name) }

// goldenConfig is a configuration file of testdata/golden's models, whose ids are bytes.
func goldenConfig(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "golden.toml")
	if err := os.WriteFile(path, []byte("[model.args]\ndim = 64\nn_layers = 2\nn_heads = 4\nn_kv_heads = 2\nffn_hidden_dim = 192\nvocab_size = 256\nuse_scaled_rope = false\n"+
		"[training]\ndataset = \"text\"\ndataset_path = \".\"\nseq_len = 64\nmixed_precision_param = \"float32\"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// ok runs octet and returns what it prints.
func ok(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := run(t, args...)
	if code != 0 {
		t.Fatalf("octet %q: code %d\n%s%s", args, code, stdout, stderr)
	}
	return stdout
}

// TestAModelWritesTheSameTextFromAnyFormat: safetensors with a configuration, a checkpoint of octet's, a folder of Hugging Face's, and a checkpoint
// that was made of that.
func TestAModelWritesTheSameTextFromAnyFormat(t *testing.T) {
	dir := t.TempDir()
	weights, config := golden(t, "llama_f32_final.safetensors"), goldenConfig(t)
	path := func(name string) string { return filepath.Join(dir, name) }
	ok(t, "checkpoint", "convert", "--to=octet", "--config="+config, weights, path("octet"))
	ok(t, "checkpoint", "convert", "--to=hf", path("octet"), path("hf"))
	ok(t, "checkpoint", "convert", "--to=hf", "--max-shard-gb=1e-4", path("octet"), path("shards"))
	ok(t, "checkpoint", "convert", "--to=octet", path("shards"), path("back"))

	const prompt = "5,17,200,65,66"
	want := ""
	for _, model := range [][]string{
		{"--checkpoint=" + weights, "--config=" + config},
		{"--checkpoint=" + path("octet")},
		{"--checkpoint=" + path("octet/step-0")},
		{"--checkpoint=" + path("hf")},
		{"--checkpoint=" + path("shards")},
		{"--checkpoint=" + path("back")},
	} {
		text := ok(t, append([]string{"generate", "--prompt-ids=" + prompt, "--max-new-tokens=30", "--seed=3", "--dtype=float32"}, model...)...)
		if isHF := !strings.Contains(fmt.Sprint(model), "octet") && !strings.Contains(fmt.Sprint(model), "config"); !isHF {
			ids := []string{}
			for _, b := range []byte(strings.TrimSuffix(text, "\n")) {
				ids = append(ids, strconv.Itoa(int(b)))
			}
			text = strings.Join(ids, ",") + "\n"
		}
		if want == "" {
			want = text
		}
		if n := strings.Count(text, ","); n != 34 || text != want || !strings.HasPrefix(text, prompt+",") {
			t.Errorf("%q wrote %d ids:\n%s\nwant\n%s", model, n+1, text, want)
		}
	}
	other := ok(t, "generate", "--prompt-ids="+prompt, "--max-new-tokens=30", "--seed=4", "--dtype=float32", "--checkpoint="+path("hf"))
	if other == want {
		t.Error("another seed wrote the same")
	}
}

// withTokenizer is a folder of Hugging Face's with a tokenizer and a model of its size, of random weights.
func withTokenizer(t *testing.T, kind string) string {
	t.Helper()
	assets := filepath.Join("..", "..", "tokenizer", "testdata", kind)
	tokens, err := tokenizer.Open(assets)
	if err != nil {
		t.Fatal(err)
	}
	args := llama.Args{Dim: 32, Layers: 1, Heads: 2, KVHeads: 2, Vocab: tokens.VocabSize(), FFNHiddenDim: 48, NormEps: 1e-5, RopeTheta: 1e4, MaxSeqLen: 128}
	var all []safetensors.Tensor
	for name, p := range nn.Parameters(llama.New(args, 1)) {
		values := make([]float32, p.Numel())
		rng.New(1, name).Normal(values, 0, 0, 0.3)
		raw := make([]byte, 4*len(values))
		if err := safetensors.EncodeFloat32(raw, safetensors.F32, values); err != nil {
			t.Fatal(err)
		}
		all = append(all, safetensors.Tensor{Name: name, DType: safetensors.F32, Shape: p.Shape, Data: raw})
	}
	dir := t.TempDir()
	if err := safetensors.Write(filepath.Join(dir, "w.safetensors"), nil, all); err != nil {
		t.Fatal(err)
	}
	m, err := openSaved(filepath.Join(dir, "w.safetensors"), goldenConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	defer m.from.Close()
	m.config.Args = args
	out := filepath.Join(dir, "model")
	if err := hf.Export(out, m.config, m.from, hf.Options{Assets: assets}); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestATokenizerMakesTheText of the prompt and of what comes.
func TestATokenizerMakesTheText(t *testing.T) {
	for _, kind := range []string{"gpt2", "llama2"} {
		dir := withTokenizer(t, kind)
		const prompt = "The ranks meet, and all."
		text := ok(t, "generate", "--checkpoint="+dir, "--prompt="+prompt, "--max-new-tokens=10", "--temperature=0")
		if !strings.HasPrefix(text, prompt) || len(text) < len(prompt)+3 {
			t.Errorf("%s: %q does not begin with the prompt, or ends with it", kind, text)
		}
		again := ok(t, "generate", "--checkpoint="+dir, "--prompt="+prompt, "--max-new-tokens=10", "--temperature=0")
		if again != text {
			t.Errorf("%s: %q, and again %q", kind, text, again)
		}
	}
}

// TestATextEndsAtItsModelsIDs, or its tokenizer's.
func TestATextEndsAtItsModelsIDs(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "..", "tokenizer", "testdata", "gpt2"))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), []byte(`{"eos_token": "<|endoftext|>"}`), 0o666); err != nil {
		t.Fatal(err)
	}
	tokens, err := tokenizer.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	eos, ok := tokens.EOS()
	if !ok {
		t.Fatal("the tokenizer has no end of a text")
	}
	m := &saved{config: hf.Config{EOS: []int{7, 9}}}
	for _, tt := range []struct {
		of   texts
		want []int
	}{{texts{}, []int{7, 9}}, {texts{tokens: tokens}, []int{7, 9, int(eos)}}} {
		if got := tt.of.stops(m); !slices.Equal(got, tt.want) {
			t.Errorf("ends at %v, want %v", got, tt.want)
		}
	}
}

// TestBytesAreWholeCharacters: an id is held back until its character is complete; one that is no byte is told.
func TestBytesAreWholeCharacters(t *testing.T) {
	var b byteText
	var got []string
	for _, id := range []int32{'a', 0xc3, 0xa4, 0xe2, 0x82, 300, 0xff, 'b', 0xc3} {
		got = append(got, b.next(id))
	}
	got = append(got, b.rest())
	if want := []string{"a", "", "ä", "", "", "\xe2\x82\ufffd", "\xff", "b", "", "\xc3"}; fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestEvalMeasuresALossOfText, as the perplexity and the bits that follow from it.
func TestEvalMeasuresALossOfText(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("All ranks read the same text. ", 20)), 0o666); err != nil {
		t.Fatal(err)
	}
	numbers := func(line string) (all []float64) {
		t.Helper()
		for _, word := range regexp.MustCompile(`[0-9]+(\.[0-9]+)?`).FindAllString(line, -1) {
			v, err := strconv.ParseFloat(word, 64)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, v)
		}
		return all
	}
	line := ok(t, "eval", "--checkpoint="+golden(t, "llama_f32_final.safetensors"), "--config="+goldenConfig(t), "--text="+text)
	v := numbers(line)
	if len(v) != 6 || math.Abs(v[1]-math.Exp(v[0])) > 1e-3*v[1] || math.Abs(v[2]-v[0]/math.Ln2) > 1e-4 || v[3] != 599 || v[4] != 599 || v[5] != 64 {
		t.Errorf("%s: numbers %v", line, v)
	}
	untrained := numbers(ok(t, "eval", "--checkpoint="+golden(t, "llama_init.safetensors"), "--config="+goldenConfig(t), "--text="+text, "--seq-len=32"))
	if untrained[5] != 32 {
		t.Errorf("windows of %v, want 32", untrained[5])
	}

	// The bytes of a tokenizer's text are all predicted where a token stands before them.
	dir := withTokenizer(t, "llama2")
	v = numbers(ok(t, "eval", "--checkpoint="+dir, "--text="+text))
	if v[4] != 600 || v[3] >= 600 || math.Abs(v[2]-v[0]*v[3]/600/math.Ln2) > 1e-3 {
		t.Errorf("numbers %v", v)
	}
}

// TestFloat8Generates, and computes something else.
func TestFloat8Generates(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("All ranks read the same text. ", 3)), 0o666); err != nil {
		t.Fatal(err)
	}
	args := []string{"eval", "--checkpoint=" + golden(t, "llama_f32_final.safetensors"), "--config=" + goldenConfig(t), "--text=" + text}
	seen := map[string]string{}
	for _, more := range []string{"", "--float8=tensorwise", "--float8=rowwise", "--dtype=bfloat16"} {
		line := ok(t, append(args, strings.Fields(more)...)...)
		if before, ok := seen[line]; ok {
			t.Errorf("%q and %q measure the same: %s", before, more, line)
		}
		seen[line] = more
	}
	// Of a history there is none, and forward is what these two have in common.
	for recipe, as := range map[string]string{"delayed": "tensorwise", "rowwise_with_gw_hp": "rowwise"} {
		if line := ok(t, append(args, "--float8="+recipe)...); seen[line] != "--float8="+as {
			t.Errorf("%s measures %s, want what %s does", recipe, line, as)
		}
	}
}

// TestWhatAModelCannotDoIsNamed.
func TestWhatAModelCannotDoIsNamed(t *testing.T) {
	dir := t.TempDir()
	half, tied := transformersModel("half"), transformersModel("tied")
	broken := filepath.Join(dir, "broken")
	if err := os.CopyFS(broken, os.DirFS(tied)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(broken, "model-00002-of-00003.safetensors")); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other")
	if err := os.MkdirAll(other, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(other, "config.json"), []byte(`{"model_type": "mistral"}`), 0o666); err != nil {
		t.Fatal(err)
	}
	one := filepath.Join(dir, "one")
	if err := os.WriteFile(one, []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	weights := golden(t, "llama_init.safetensors")
	for want, args := range map[string]string{
		"--checkpoint is missing":                                       "generate --prompt-ids=1",
		"want --prompt or --prompt-ids":                                 "generate --checkpoint=" + half,
		"--checkpoint " + dir + "/nosuch: there is no such":             "generate --prompt-ids=1 --checkpoint=" + dir + "/nosuch",
		"it is no checkpoint of octet's (it has no index.json)":         "generate --prompt-ids=1 --checkpoint=" + dir,
		"weights alone need --config":                                   "generate --prompt-ids=1 --checkpoint=" + weights,
		"the shard model-00002-of-00003.safetensors is missing":         "generate --prompt-ids=1 --checkpoint=" + broken,
		`model_type = "mistral": octet has llama`:                       "generate --prompt-ids=1 --checkpoint=" + other,
		`--dtype "float16": want float32 or bfloat16`:                   "generate --prompt-ids=1 --dtype=float16 --checkpoint=" + half,
		"the model comes without a tokenizer.json":                      "generate --prompt=hello --checkpoint=" + half,
		`"x" is no token id`:                                            "generate --prompt-ids=1,x --checkpoint=" + half,
		"--prompt-ids: 64 is not in the model's vocabulary, 0 to 63":    "generate --prompt-ids=64 --checkpoint=" + half,
		"--max-new-tokens is 128, together more than the 128 positions": "generate --prompt-ids=1 --max-new-tokens=128 --checkpoint=" + half,
		"--max-new-tokens 0: want 1 or more":                            "generate --prompt-ids=1 --max-new-tokens=0 --checkpoint=" + half,
		"--prompt: it has no tokens":                                    "generate --prompt= --config=" + goldenConfig(t) + " --checkpoint=" + weights,
		"temperature -1":                                                "generate --prompt-ids=1 --temperature=-1 --checkpoint=" + half,
		"the model of " + half + " only a vocabulary of 64":             "generate --prompt=x --checkpoint=" + half + " --assets=" + filepath.Join("..", "..", "tokenizer", "testdata", "gpt2"),
		`"sixwise"`:                                         "generate --prompt-ids=1 --float8=sixwise --checkpoint=" + half,
		"want --text FILE":                                  "eval --checkpoint=" + half,
		"eval: --text: open " + dir + "/nosuch":             "eval --text=" + dir + "/nosuch --checkpoint=" + half,
		"it has 1 tokens; the first is not predicted":       "eval --text=" + one + " --config=" + goldenConfig(t) + " --checkpoint=" + weights,
		"--seq-len 999: the model has 128 positions":        "eval --text=" + one + " --seq-len=999 --checkpoint=" + half,
		`--to "": want hf or octet`:                         "checkpoint convert " + half + " " + dir + "/new",
		"want FROM and TO":                                  "checkpoint convert --to=hf " + half,
		`--dtype "int8": want float32, bfloat16 or float16`: "checkpoint convert --to=hf --dtype=int8 " + half + " " + dir + "/new",
		"--dtype is for --to hf":                            "checkpoint convert --to=octet --dtype=bfloat16 " + half + " " + dir + "/new",
		"--assets: stat " + dir + "/nosuch/tokenizer.json":  "checkpoint convert --to=hf --assets=" + dir + "/nosuch " + half + " " + dir + "/new",
		"checkpoint convert: " + dir + "/nosuch: there is":  "checkpoint convert --to=hf " + dir + "/nosuch " + dir + "/new",
		"it is there already; name a new folder":            "checkpoint convert --to=hf " + half + " " + other,
		"has shape [256 64], the model wants [2048 256]":    "checkpoint convert --to=hf --config=" + filepath.Join("..", "..", "configs", "debugmodel.toml") + " " + weights + " " + dir + "/new",
	} {
		code, stdout, stderr := run(t, strings.Fields(args)...)
		if code == 0 || !strings.Contains(stderr, want) || stdout != "" {
			t.Errorf("octet %s: code %d, want %q in\n%s%s", args, code, want, stdout, stderr)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 3 {
		t.Errorf("%v (%v), want what was there before", entries, err)
	}
}
