// SPDX-License-Identifier: Apache-2.0

package hf

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"octet/checkpoint"
	"octet/checkpoint/safetensors"
	"octet/dtensor"
	"octet/models/llama"
	"octet/nn"
)

// made is a model that transformers made (testdata/hf/hf.py).
func made(name string) string { return filepath.Join("..", "..", "..", "testdata", "hf", name) }

// open opens a model of testdata.
func open(t *testing.T, folder string) (Config, *Weights) {
	t.Helper()
	c, err := ReadConfig(folder)
	if err != nil {
		t.Fatal(err)
	}
	w, err := Open(folder, c.Args)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return c, w
}

// TestConfigsOfTransformers: what each says of its model.
func TestConfigsOfTransformers(t *testing.T) {
	for name, want := range map[string]Config{
		"llama3": {DType: safetensors.F32, BOS: []int{1}, EOS: []int{2}, Args: llama.Args{
			Dim: 64, Layers: 2, Heads: 4, KVHeads: 2, HeadSize: 24, Vocab: 96, FFNHiddenDim: 112, MultipleOf: 1, NormEps: 1e-5, RopeTheta: 10000, MaxSeqLen: 512,
			ScaledRope: true, RopeFactor: 8, RopeLowFreq: 1, RopeHighFreq: 4, RopeOriginalMaxSeqLen: 64,
		}},
		"tied": {DType: safetensors.BF16, BOS: []int{1}, EOS: []int{2}, Args: llama.Args{
			Dim: 48, Layers: 2, Heads: 6, KVHeads: 3, Vocab: 80, FFNHiddenDim: 64, MultipleOf: 1, NormEps: 1e-6, RopeTheta: 10000, MaxSeqLen: 128, Tied: true,
		}},
		"half": {DType: safetensors.F16, BOS: []int{1}, EOS: []int{2}, Args: llama.Args{
			Dim: 32, Layers: 1, Heads: 2, KVHeads: 2, Vocab: 64, FFNHiddenDim: 48, MultipleOf: 1, NormEps: 1e-6, RopeTheta: 10000, MaxSeqLen: 128,
		}},
	} {
		got, err := ReadConfig(made(name))
		if err != nil {
			t.Error(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		// What octet writes of it says the same.
		dir := t.TempDir()
		if err := WriteConfig(dir, want); err != nil {
			t.Fatal(err)
		}
		if got, err = ReadConfig(dir); err != nil {
			t.Error(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s, written (-want +got):\n%s", name, d)
		}
	}
}

// TestTheConfigOfLlama31 is read to the sizes of its flavor; transformers 4 wrote it.
func TestTheConfigOfLlama31(t *testing.T) {
	c, err := parseConfig([]byte(`{"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 128000,
		"eos_token_id": [128001, 128008, 128009], "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
		"max_position_embeddings": 131072, "mlp_bias": false, "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32,
		"num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
		"original_max_position_embeddings": 8192, "rope_type": "llama3"}, "rope_theta": 500000.0, "tie_word_embeddings": false,
		"torch_dtype": "bfloat16", "transformers_version": "4.42.3", "use_cache": true, "vocab_size": 128256}`))
	if err != nil {
		t.Fatal(err)
	}
	flavor, err := llama.Flavor("8B")
	if err != nil {
		t.Fatal(err)
	}
	flavor.FFNHiddenDim, flavor.FFNDimMultiplier, flavor.MultipleOf = flavor.Hidden(), 0, 1
	if d := cmp.Diff(Config{Args: flavor, DType: safetensors.BF16, BOS: []int{128000}, EOS: []int{128001, 128008, 128009}}, c); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// TestWhatOctetIsNotIsRefusedByName.
func TestWhatOctetIsNotIsRefusedByName(t *testing.T) {
	const good = `"model_type":"llama","hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"vocab_size":100`
	if _, err := parseConfig([]byte("{" + good + "}")); err != nil {
		t.Fatal(err)
	}
	for more, want := range map[string]string{
		`"attention_bias":true`:                              "attention_bias = true: octet has false",
		`"mlp_bias":true`:                                    "mlp_bias = true: octet has false",
		`"hidden_act":"gelu"`:                                `hidden_act = "gelu": octet has silu`,
		`"pretraining_tp":2`:                                 "pretraining_tp = 2: octet has 1",
		`"attention_dropout":0.1`:                            "attention_dropout = 0.1: octet has 0",
		`"quantization_config":{"bits":4}`:                   `quantization_config = {"bits":4}: octet does not know this setting`,
		`"sliding_window":4096`:                              "sliding_window = 4096: octet does not know this setting",
		`"rope_scaling":{"type":"linear","factor":2}`:        `rope_scaling.rope_type = "linear": octet has default and llama3`,
		`"rope_scaling":{"rope_type":"llama3","factor":2}`:   "rope_scaling.low_freq_factor = nothing: want a number above 0",
		`"rope_parameters":{"partial_rotary_factor":0.5}`:    "rope_parameters.partial_rotary_factor = 0.5: octet does not know this setting of default",
		`"architectures":["LlamaForSequenceClassification"]`: `architectures = ["LlamaForSequenceClassification"]: octet has LlamaForCausalLM`,
		`"dtype":"int8"`:                                     `dtype = "int8": octet reads float32, bfloat16 and float16`,
		`"num_key_value_heads":3`:                            "Args.KVHeads = 3 does not divide Args.Heads = 4",
		`"num_key_value_heads":"many"`:                       `num_key_value_heads = "many"`,
		`"head_dim":0`:                                       "head_dim = 0: want an integer from 1",
		`"max_position_embeddings":1e30`:                     "max_position_embeddings = 1e30",
		`"eos_token_id":"</s>"`:                              `eos_token_id = "</s>": want an id or a list of ids`,
		`"rope_scaling":7`:                                   "rope_scaling: ",
	} {
		_, err := parseConfig([]byte("{" + good + "," + more + "}"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", more, err, want)
		}
	}
	for text, want := range map[string]string{
		`{"model_type":"mistral","architectures":["MistralForCausalLM"]}`: `model_type = "mistral": octet has llama`,
		`{"model_type":"llama"}`: "hidden_size is missing",
		`[]`:                     "cannot unmarshal",
		`{} {}`:                  "there is more behind the object",
	} {
		if _, err := parseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", text, err, want)
		}
	}
	if _, err := ReadConfig(t.TempDir()); err == nil || !strings.Contains(err.Error(), "config.json: no such file") {
		t.Errorf("error %v, want one that names the file", err)
	}
}

// TestTheTensorsAreTheModels: of every parameter there is one, of its shape, and of nothing else.
func TestTheTensorsAreTheModels(t *testing.T) {
	for _, tied := range []bool{false, true} {
		a := llama.Args{Dim: 64, Layers: 3, Heads: 4, KVHeads: 2, HeadSize: 24, Vocab: 96, FFNHiddenDim: 112, Tied: tied}
		want, got := map[string][]int{}, map[string][]int{}
		for name, p := range nn.Parameters(llama.New(a, 8)) {
			want[name] = p.Shape
		}
		for _, tensor := range tensors(a) {
			got[tensor.octet] = tensor.shape
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("tied %v (-want +got):\n%s", tied, d)
		}
	}
}

// TestRotaryRows: head 1 of 4 rows of 2 heads, by transformers' own formula: view(heads, d/2, 2), transpose, reshape.
func TestRotaryRows(t *testing.T) {
	const heads, d = 2, 6
	var want []int
	for h := range heads {
		for k := range 2 {
			for j := range d / 2 {
				want = append(want, h*d+2*j+k) // octet's row in each of transformers'
			}
		}
	}
	got := make([]int, heads*d)
	for i := range got {
		got[tensor{head: d}.hfRow(i)] = i
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestAModelOfTransformersGoesThroughUnchanged: what is written of what was read has the same bytes: the same files where there is one, and
// the same tensors in whatever files.
func TestAModelOfTransformersGoesThroughUnchanged(t *testing.T) {
	for _, name := range []string{"llama3", "tied", "half"} {
		c, w := open(t, made(name))
		for _, shard := range []int64{0, 20_000} {
			dir := filepath.Join(t.TempDir(), "out")
			var done, all int64
			if err := Export(dir, c, w, Options{MaxShard: shard, Progress: func(d, a int64) { done, all = d, a }}); err != nil {
				t.Fatal(err)
			}
			if done != all || int(all) != c.Args.Params()*c.DType.Size() {
				t.Errorf("%s: %d of %d bytes told", name, done, all)
			}
			if _, err := os.Stat(filepath.Join(dir, indexName)); (err == nil) != (shard > 0) {
				t.Errorf("%s: index with files of %d bytes: %v", name, shard, err)
			}
			again, err := ReadConfig(dir)
			if err != nil {
				t.Error(err)
			}
			if d := cmp.Diff(c, again); d != "" {
				t.Errorf("%s (-want +got):\n%s", name, d)
			}
			sameTensors(t, made(name), dir)
			if shard == 0 && name != "tied" { // whose files transformers has cut
				sameFile(t, filepath.Join(made(name), weightsName), filepath.Join(dir, weightsName))
			}
		}
	}
}

// TestATensorIsWrittenInPieces that change nothing: rows that change places do so within a piece.
func TestATensorIsWrittenInPieces(t *testing.T) {
	for _, piece := range []int{1, 5000, 10_000} { // a head of llama3's has 6144 bytes
		c, w := open(t, made("llama3"))
		dir := filepath.Join(t.TempDir(), "out")
		if err := (&export{config: c, from: w, piece: piece}).lead(dir); err != nil {
			t.Fatal(err)
		}
		sameFile(t, filepath.Join(made("llama3"), weightsName), filepath.Join(dir, weightsName))
	}
}

// sameTensors compares two folders' tensors, as transformers has them.
func sameTensors(t *testing.T, one, other string) {
	t.Helper()
	a, err := openSet(one)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := openSet(other)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if d := cmp.Diff(a.Names(), b.Names()); d != "" {
		t.Errorf("names (-want +got):\n%s", d)
	}
	for _, name := range a.Names() {
		x, want, errA := a.Tensor(name)
		y, got, errB := b.Tensor(name)
		if errA != nil || errB != nil || x.DType != y.DType || !slices.Equal(x.Shape, y.Shape) || !bytes.Equal(want, got) {
			t.Errorf("%s: %v %v and %v %v differ (%v, %v)", name, x.DType, x.Shape, y.DType, y.Shape, errA, errB)
		}
	}
}

func sameFile(t *testing.T, one, other string) {
	t.Helper()
	a, errA := os.ReadFile(one)
	b, errB := os.ReadFile(other)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Errorf("%s and %s differ (%v, %v)", one, other, errA, errB)
	}
}

// TestGoldenWeightsGoThroughUnchanged: octet's own names to transformers' and back.
func TestGoldenWeightsGoThroughUnchanged(t *testing.T) {
	args := llama.Args{Dim: 64, Layers: 2, Heads: 4, KVHeads: 2, Vocab: 256, FFNHiddenDim: 192, NormEps: 1e-5, RopeTheta: 10000, MaxSeqLen: 64}
	for _, name := range []string{"llama_init", "llama_f32_final"} {
		own, err := checkpoint.OpenSource(filepath.Join("..", "..", "..", "testdata", "golden", name+".safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		defer own.Close()
		dir := filepath.Join(t.TempDir(), "out")
		if err := Export(dir, Config{Args: args, DType: safetensors.F32}, own, Options{}); err != nil {
			t.Fatal(err)
		}
		_, back := open(t, dir)
		if d := cmp.Diff(own.Names(), back.Names()); d != "" {
			t.Errorf("%s: names (-want +got):\n%s", name, d)
		}
		moved := false
		for _, n := range own.Names() {
			want, got := whole(t, own, n), whole(t, back, n)
			if !bytes.Equal(want, got) {
				t.Errorf("%s: %s differs", name, n)
			}
			_, raw, err := back.set.Tensor(back.tensors[n].hf)
			if err != nil {
				t.Fatal(err)
			}
			moved = moved || !bytes.Equal(raw, got)
		}
		if !moved {
			t.Error("no row lies elsewhere in transformers' file")
		}
	}
}

// whole is the bytes of a tensor.
func whole(t *testing.T, s checkpoint.Source, name string) []byte {
	t.Helper()
	kind, shape, ok := s.Lookup(name)
	if !ok {
		t.Fatalf("there is no %s", name)
	}
	box := dtensor.Whole(shape)
	raw := make([]byte, box.Numel()*kind.Size())
	if err := s.Read(name, box, raw); err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestABoxIsAPartOfTheWhole, of tensors whose rows change places too.
func TestABoxIsAPartOfTheWhole(t *testing.T) {
	_, w := open(t, made("llama3"))
	for _, name := range []string{"layers.1.attention.wk.weight", "layers.1.attention.wv.weight"} {
		all := whole(t, w, name) // float32 [48, 64]
		for _, box := range []dtensor.Box{{Lo: []int{0, 0}, Hi: []int{0, 64}}, {Lo: []int{23, 5}, Hi: []int{41, 9}}, {Lo: []int{47, 0}, Hi: []int{48, 64}}} {
			var want []byte
			for i := box.Lo[0]; i < box.Hi[0]; i++ {
				want = append(want, all[(i*64+box.Lo[1])*4:(i*64+box.Hi[1])*4]...)
			}
			got := make([]byte, box.Numel()*4)
			if err := w.Read(name, box, got); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s %v differs", name, box)
			}
		}
	}
}
