// SPDX-License-Identifier: Apache-2.0

package hf_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"octet/checkpoint"
	"octet/checkpoint/safetensors"
	"octet/dtensor"
	"octet/dtype"
	"octet/models/llama"
	"octet/models/llama/hf"
	"octet/models/llama/inference"
	"octet/nn/nntest"
	"octet/test/ranks"
)

// pythonVar names a Python that has transformers.
const pythonVar = "OCTET_HF_PYTHON"

// run runs a Python program and returns its output.
func run(t *testing.T, argv ...string) []byte {
	t.Helper()
	python := os.Getenv(pythonVar)
	if python == "" {
		t.Skipf("needs transformers: set %s to a Python that has it, or run `make test-hf`", pythonVar)
	}
	out, err := exec.Command(python, argv...).Output()
	if err != nil {
		said := ""
		if e, ok := errors.AsType[*exec.ExitError](err); ok {
			said = string(e.Stderr)
		}
		t.Fatalf("%q: %v\n%s", argv, err, said)
	}
	return out
}

func testdata(parts ...string) string {
	return filepath.Join(append([]string{"..", "..", "testdata"}, parts...)...)
}

// prompt is what the models go on from.
func prompt() []int32 {
	var ids []int32
	for i := range 40 {
		ids = append(ids, int32((i*i*7+3*i)%60))
	}
	return ids
}

const added = 20 // tokens, by greedy generation

// computed is what a model makes of the prompt.
type computed struct {
	Logits []float32
	Greedy []int32
}

// octets is what octet computes of weights in float32.
func octets(t *testing.T, a llama.Args, from checkpoint.Source) (c computed) {
	t.Helper()
	m, err := inference.Open(ranks.Device(t, ranks.Options{}), a, from, inference.Options{MaxSeq: 64, Act: dtype.Float32})
	if err != nil {
		t.Fatal(err)
	}
	s := m.NewSequence(64)
	for _, id := range prompt() {
		logits, err := s.Add([]int32{id})
		if err != nil {
			t.Fatal(err)
		}
		c.Logits = append(c.Logits, logits...)
	}
	if err := m.Generate(inference.Request{Prompt: prompt(), MaxNew: added}, func(tok inference.Token) bool {
		c.Greedy = append(c.Greedy, tok.ID)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return c
}

// args are the sizes of testdata/golden's models.
func args() llama.Args {
	return llama.Args{Dim: 64, Layers: 2, Heads: 4, KVHeads: 2, Vocab: 256, FFNHiddenDim: 192, NormEps: 1e-5, RopeTheta: 500000, MaxSeqLen: 128}
}

// TestTransformersComputesWhatOctetDoes, of folders that octet wrote: plain and stretched rotary positions, one weight for both ends, wide
// heads, in one file and in several, in every type.
func TestTransformersComputesWhatOctetDoes(t *testing.T) {
	golden := func(name string) (hf.Config, checkpoint.Source) {
		from, err := checkpoint.OpenSource(testdata("golden", name+".safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		return hf.Config{Args: args()}, from
	}
	transformers := func(name string) (hf.Config, checkpoint.Source) {
		c, err := hf.ReadConfig(testdata("hf", name))
		if err != nil {
			t.Fatal(err)
		}
		from, err := hf.Open(testdata("hf", name), c.Args)
		if err != nil {
			t.Fatal(err)
		}
		return c, from
	}
	stretched := func() (hf.Config, checkpoint.Source) {
		c, from := golden("llama_f32_final")
		a := &c.Args
		a.ScaledRope, a.RopeFactor, a.RopeLowFreq, a.RopeHighFreq, a.RopeOriginalMaxSeqLen = true, 8, 1, 4, 32
		return c, from
	}
	var folders []string
	var want []computed
	for i, tt := range []struct {
		open  func() (hf.Config, checkpoint.Source)
		dtype safetensors.DType
		shard int64
	}{
		{func() (hf.Config, checkpoint.Source) { return golden("llama_init") }, safetensors.F32, 0},
		{func() (hf.Config, checkpoint.Source) { return golden("llama_f32_final") }, safetensors.BF16, 40_000},
		{stretched, safetensors.F32, 100_000},
		{func() (hf.Config, checkpoint.Source) { return transformers("llama3") }, safetensors.F16, 0},
		{func() (hf.Config, checkpoint.Source) { return transformers("tied") }, safetensors.F32, 10_000},
	} {
		c, from := tt.open()
		c.DType = tt.dtype
		dir := filepath.Join(t.TempDir(), fmt.Sprint(i))
		if err := errors.Join(hf.Export(dir, c, from, hf.Options{MaxShard: tt.shard}), from.Close()); err != nil {
			t.Fatal(err)
		}
		back, err := hf.Open(dir, c.Args) // the same rounded weights
		if err != nil {
			t.Fatal(err)
		}
		folders = append(folders, dir)
		want = append(want, octets(t, c.Args, back))
	}
	words := strings.Join(strings.Fields(strings.Trim(fmt.Sprint(prompt()), "[]")), ",")
	var got []computed
	if err := json.Unmarshal(run(t, append([]string{"testdata/logits.py", words, fmt.Sprint(added)}, folders...)...), &got); err != nil {
		t.Fatal(err)
	}
	for i := range want {
		d := nntest.Distance(want[i].Logits, got[i].Logits)
		t.Logf("folder %d: logits differ by %.2g of their norm", i, d)
		if !(d < 1e-5) {
			t.Errorf("folder %d: logits differ by %.2g of their norm, want less than 1e-5", i, d)
		}
		if !slices.Equal(got[i].Greedy, want[i].Greedy) {
			t.Errorf("folder %d: transformers generates %v, octet %v", i, got[i].Greedy, want[i].Greedy)
		}
	}
}

// TestTheFolderOfTestdataIsMadeByItsScript: transformers still writes what testdata/hf has.
func TestTheFolderOfTestdataIsMadeByItsScript(t *testing.T) {
	dir := t.TempDir()
	run(t, testdata("hf", "hf.py"), dir)
	for _, name := range []string{"llama3", "tied", "half"} {
		c, err := hf.ReadConfig(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		made, err := hf.Open(filepath.Join(dir, name), c.Args)
		if err != nil {
			t.Fatal(err)
		}
		defer made.Close()
		kept, err := hf.Open(testdata("hf", name), c.Args)
		if err != nil {
			t.Fatal(err)
		}
		defer kept.Close()
		for _, tensor := range kept.Names() {
			if a, b := whole(t, kept, tensor), whole(t, made, tensor); !slices.Equal(a, b) {
				t.Errorf("%s: %s is another one", name, tensor)
			}
		}
	}
}

// whole is the bytes of a tensor.
func whole(t *testing.T, s checkpoint.Source, name string) []byte {
	t.Helper()
	kind, shape, _ := s.Lookup(name)
	box := dtensor.Whole(shape)
	raw := make([]byte, box.Numel()*kind.Size())
	if err := s.Read(name, box, raw); err != nil {
		t.Fatal(err)
	}
	return raw
}
