// SPDX-License-Identifier: Apache-2.0

package inference

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"octet/checkpoint"
	"octet/checkpoint/safetensors"
	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/models/llama"
	"octet/models/llama/hf"
	"octet/nn"
	"octet/nn/nntest"
	"octet/parallel"
	"octet/test/ranks"
)

func testdata(parts ...string) string {
	return filepath.Join(append([]string{"..", "..", "..", "testdata"}, parts...)...)
}

// transformers opens a model that transformers made.
func transformers(t *testing.T, name string) (llama.Args, checkpoint.Source) {
	t.Helper()
	c, err := hf.ReadConfig(testdata("hf", name))
	if err != nil {
		t.Fatal(err)
	}
	w, err := hf.Open(testdata("hf", name), c.Args)
	if err != nil {
		t.Fatal(err)
	}
	return c.Args, w
}

// goldenArgs are the sizes of testdata/golden's model.
func goldenArgs() llama.Args {
	return llama.Args{Dim: 64, Layers: 2, Heads: 4, KVHeads: 2, Vocab: 256, FFNHiddenDim: 192, NormEps: 1e-5, RopeTheta: 500000, MaxSeqLen: 512}
}

// golden opens testdata/golden's trained model.
func golden(t *testing.T) (llama.Args, checkpoint.Source) {
	t.Helper()
	s, err := checkpoint.OpenSource(testdata("golden", "llama_f32_final.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	return goldenArgs(), s
}

func open(t *testing.T, a llama.Args, from checkpoint.Source, o Options) *Model {
	t.Helper()
	if o.Act == 0 {
		o.Act = dtype.Float32
	}
	m, err := Open(ranks.Device(t, ranks.Options{}), a, from, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// prompt is a text of n ids.
func prompt(vocab, n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32((i*i*7 + 3*i) % vocab)
	}
	return ids
}

// logits are those of every position, by one id at a time.
func logits(t *testing.T, m *Model, ids []int32) (all []float32) {
	t.Helper()
	s := m.NewSequence(len(ids))
	for i := range ids {
		l, err := s.Add(ids[i : i+1])
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l...)
	}
	return all
}

// TestLogitsAreTransformers: of models that transformers made, in float32.
func TestLogitsAreTransformers(t *testing.T) {
	for _, name := range []string{"llama3", "tied", "half"} {
		file, err := safetensors.Open(testdata("hf", name+".safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		info, raw, err := file.Tensor("logits")
		if err != nil {
			t.Fatal(err)
		}
		want := make([]float32, len(raw)/4)
		if err := safetensors.DecodeFloat32(want, info.DType, raw); err != nil {
			t.Fatal(err)
		}
		_, raw, err = file.Tensor("ids")
		if err != nil {
			t.Fatal(err)
		}
		ids := make([]int32, len(raw)/4)
		copy(device.Int32Bytes(ids), raw)

		args, from := transformers(t, name)
		m := open(t, args, from, Options{MaxSeq: 64})
		n := info.Shape[1]
		got := append(logits(t, m, ids[:n]), logits(t, m, ids[n:])...)
		if d := nntest.Distance(got, want); !(d < 1e-5) {
			t.Errorf("%s: logits differ by %.2g of their norm", name, d)
		}
	}
}

// trained is training's own forward in Eval mode, on one rank: the loss of one sequence.
func trained(t *testing.T, a llama.Args, from checkpoint.Source, plan parallel.Plan, ids []int32) (loss float64) {
	t.Helper()
	plan.Units = []string{"tok_embeddings", "layers.*", "norm+output"}
	ranks.Run(t, 1, ranks.Options{}, func(r *ranks.Rank) error {
		var root nn.Module = llama.New(a, len(ids))
		if err := plan.Convert(&root); err != nil {
			return err
		}
		m, err := plan.Shard(root, r.World, r.Device)
		if err != nil {
			return err
		}
		w, err := checkpoint.NewWeights("test", from, m.Params(), a.Shared())
		if err != nil {
			return err
		}
		defer w.Close()
		if err := m.Load(func(s device.Stream, _ []*nn.Param) error { return w.Load(s) }); err != nil {
			return err
		}
		result, err := m.Eval(1, func(c *nn.Ctx, _ int) (int, error) {
			n := len(ids) - 1
			in, targets := c.Pool.New(dtype.Int32, 1, n), c.Pool.New(dtype.Int32, 1, n)
			c.Stream.Upload(in, device.Int32Bytes(ids[:n]))
			c.Stream.Upload(targets, device.Int32Bytes(ids[1:]))
			nn.CrossEntropy(c, m.Forward(c, nn.Input(in)), targets)
			return n, nil
		})
		loss = result.Loss
		return err
	})
	return loss
}

// TestTheLossIsTrainings, in every type that trains.
func TestTheLossIsTrainings(t *testing.T) {
	recipe := fp8.DefaultConfig()
	emulated := recipe
	emulated.Emulate = true
	ids := prompt(256, 65)
	type computing struct {
		act    dtype.Type
		float8 *parallel.Float8
		bound  float64
	}
	ways := map[string]computing{
		"float32":          {dtype.Float32, nil, 1e-6},
		"bfloat16":         {dtype.BFloat16, nil, 1e-6},
		"emulated float8":  {dtype.BFloat16, &parallel.Float8{Config: emulated, Skip: []string{"output"}}, 1e-6},
		"float8, the head": {dtype.Float32, &parallel.Float8{Config: recipe}, 1e-6},
	}
	for _, name := range fp8.RecipeNames() {
		c, err := fp8.ConfigFromRecipe(name)
		if err != nil {
			t.Fatal(err)
		}
		ways[string(name)] = computing{dtype.BFloat16, &parallel.Float8{Config: c, Skip: []string{"output"}}, 1e-6}
	}
	for name, tt := range ways {
		args, from := golden(t)
		m := open(t, args, from, Options{MaxSeq: 64, Act: tt.act, Float8: tt.float8})
		nats, err := m.Loss(ids, 64)
		if err != nil {
			t.Fatal(err)
		}
		_, from = golden(t)
		want := trained(t, args, from, parallel.Plan{Float8: tt.float8, FSDP: fsdp.Options{Param: tt.act}}, ids)
		if got := nats / 64; math.Abs(got-want) > tt.bound*want {
			t.Errorf("%s: loss %v, training has %v", name, got, want)
		}
	}
}

// TestFloat8WeightsAreKeptAsSuch, at a byte for each; but for what the embedding looks up too.
func TestFloat8WeightsAreKeptAsSuch(t *testing.T) {
	float8 := &parallel.Float8{Config: fp8.DefaultConfig(), Skip: []string{"attention.wk", "attention.wv"}} // 24 rows, in one of the models
	args, from := golden(t)
	m := open(t, args, from, Options{MaxSeq: 16, Float8: float8})
	tied, from := transformers(t, "tied")
	both := open(t, tied, from, Options{MaxSeq: 16, Float8: float8})
	for _, tt := range []struct {
		m    *Model
		name string
		want dtype.Type
	}{
		{m, "layers.1.attention.wq.weight", dtype.Float8E4M3}, {m, "output.weight", dtype.Float8E4M3}, {m, "norm.weight", dtype.Float32},
		{m, "tok_embeddings.weight", dtype.Float32}, {both, "tok_embeddings.weight", dtype.Float32}, {both, "layers.0.feed_forward.w2.weight", dtype.Float8E4M3},
	} {
		for name, p := range nn.Parameters(tt.m.model) {
			if got := p.Value().Type; name == tt.name && got != tt.want {
				t.Errorf("%s is %v, want %v", name, got, tt.want)
			}
		}
	}
	if _, err := both.Loss(prompt(tied.Vocab, 9), 8); err != nil { // the tied head computes too
		t.Error(err)
	}
}

// TestLogProbabilitiesAreTrainings: those of what was generated sum to training's loss of it.
func TestLogProbabilitiesAreTrainings(t *testing.T) {
	args, from := golden(t)
	m := open(t, args, from, Options{MaxSeq: 64})
	ids := prompt(256, 1)
	sum := 0.0
	if err := m.Generate(Request{Prompt: ids, MaxNew: 63, Sampling: Sampling{Temperature: 1, Seed: 5}}, func(tok Token) bool {
		ids = append(ids, tok.ID)
		sum += tok.LogProb
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if len(ids) != 64 {
		t.Fatalf("%d ids, want 64", len(ids))
	}
	_, from = golden(t)
	want := trained(t, args, from, parallel.Plan{FSDP: fsdp.Options{Param: dtype.Float32}}, ids)
	if got := -sum / 63; math.Abs(got-want) > 1e-5 {
		t.Errorf("mean log probability %v, training's loss is %v", -got, want)
	}
}

// generate is the ids of a request.
func generate(t *testing.T, m *Model, r Request) (ids []int32) {
	t.Helper()
	if err := m.Generate(r, func(tok Token) bool {
		ids = append(ids, tok.ID)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return ids
}

// TestGreedyIsWhatRecomputingAllGives: the cache changes no choice, also of a prompt that is computed in several pieces.
func TestGreedyIsWhatRecomputingAllGives(t *testing.T) {
	for _, n := range []int{1, 7, chunk, chunk + 2, 2*chunk + 1} {
		args, from := golden(t)
		args.MaxSeqLen = 1024
		m := open(t, args, from, Options{MaxSeq: 600})
		ids := prompt(args.Vocab, n)
		got := generate(t, m, Request{Prompt: ids, MaxNew: 12})
		for i, id := range got {
			all := slices.Concat(ids, got[:i])
			in := m.upload(all)
			out := m.model.Forward(m.ctx, nn.Input(in)) // without a cache
			want := make([]float32, len(all)*args.Vocab)
			m.ctx.Stream.Download(device.Float32Bytes(want), out.Value.Tensor)
			if err := m.ctx.Stream.Sync(); err != nil {
				t.Fatal(err)
			}
			out.Done(m.ctx)
			want = want[(len(all)-1)*args.Vocab:]
			if i == 0 {
				cached, err := m.NewSequence(len(all)).Add(all)
				if d := nntest.Distance(cached, want); err != nil || !(d < 1e-5) {
					t.Errorf("prompt of %d: logits differ by %.2g of their norm (%v)", n, d, err)
				}
			}
			best, err := Sampling{}.pick(want, 0)
			if err != nil || int(id) != best {
				t.Fatalf("prompt of %d, token %d: %d, recomputing gives %d (%v)", n, i, id, best, err)
			}
		}
	}
}

// TestASeedGivesOneText, and another seed another.
func TestASeedGivesOneText(t *testing.T) {
	args, from := golden(t)
	m := open(t, args, from, Options{MaxSeq: 64})
	text := func(seed uint64) string {
		return fmt.Sprint(generate(t, m, Request{Prompt: prompt(256, 5), MaxNew: 40, Sampling: Sampling{Temperature: 1, TopK: 50, TopP: 0.95, Seed: seed}}))
	}
	if one, again := text(1), text(1); one != again {
		t.Errorf("%s\n%s", one, again)
	}
	if text(1) == text(2) {
		t.Error("two seeds give the same text")
	}
}

// TestGenerationEnds at a stop, when yield has enough, and after MaxNew.
func TestGenerationEnds(t *testing.T) {
	args, from := golden(t)
	m := open(t, args, from, Options{MaxSeq: 64})
	r := Request{Prompt: prompt(256, 3), MaxNew: 20}
	all := generate(t, m, r)
	if len(all) != 20 {
		t.Fatalf("%d ids, want 20", len(all))
	}
	r.Stop = []int{9999, int(all[4])}
	if got := generate(t, m, r); !slices.Equal(got, all[:slices.Index(all, all[4])+1]) {
		t.Errorf("with a stop %v, without %v", got, all)
	}
	r.Stop = nil
	n := 0
	if err := m.Generate(r, func(Token) bool { n++; return n < 3 }); err != nil || n != 3 {
		t.Errorf("%d tokens (%v), want 3", n, err)
	}
}

// TestWhatCannotBeGeneratedIsRefused, with the numbers.
func TestWhatCannotBeGeneratedIsRefused(t *testing.T) {
	args, from := golden(t)
	m := open(t, args, from, Options{MaxSeq: 16})
	for want, r := range map[string]Request{
		"the prompt has no tokens":                                          {MaxNew: 1},
		"the prompt has 16 tokens, and there are 16 positions":              {Prompt: prompt(256, 16), MaxNew: 1},
		"10 new tokens after a prompt of 8 are not among the 16":            {Prompt: prompt(256, 8), MaxNew: 10},
		"token 1 of the prompt is 256; the model's vocabulary has 0 to 255": {Prompt: []int32{1, 256}, MaxNew: 1},
		"token 0 of the prompt is -1":                                       {Prompt: []int32{-1}, MaxNew: 1},
		"temperature -1":                                                    {Prompt: []int32{1}, Sampling: Sampling{Temperature: -1}},
		"temperature NaN":                                                   {Prompt: []int32{1}, Sampling: Sampling{Temperature: math.NaN()}},
		"top-k -1":                                                          {Prompt: []int32{1}, Sampling: Sampling{TopK: -1}},
		"top-p 1.5":                                                         {Prompt: []int32{1}, Sampling: Sampling{TopP: 1.5}},
	} {
		if err := m.Generate(r, func(Token) bool { return true }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	_, from = golden(t)
	wrong := args
	wrong.Vocab, wrong.MaxSeqLen = 300, 8
	dev := ranks.Device(t, ranks.Options{})
	if _, err := Open(dev, wrong, from, Options{Name: "DIR", MaxSeq: 16, Act: dtype.Float32}); err == nil || !strings.Contains(err.Error(), "seqLen = 16 is more than") {
		t.Errorf("error %v, want one about the length", err)
	}
	_, from = golden(t)
	wrong.MaxSeqLen = 16
	if _, err := Open(dev, wrong, from, Options{Name: "DIR", MaxSeq: 16, Act: dtype.Float32}); err == nil || !strings.Contains(err.Error(), "DIR: tok_embeddings.weight has shape [256 64], the model wants [300 64]") {
		t.Errorf("error %v, want one with the shapes", err)
	}
}

// TestTheLossSeesEveryIDOnce: windows of any length predict all but the first.
func TestTheLossSeesEveryIDOnce(t *testing.T) {
	args, from := golden(t)
	m := open(t, args, from, Options{MaxSeq: 64})
	ids := prompt(256, 50)
	for _, window := range []int{1, 7, 49, 64} {
		got, err := m.Loss(ids, window)
		if err != nil {
			t.Fatal(err)
		}
		want := 0.0
		for at := 0; at < 49; at += window {
			s := m.NewSequence(window)
			for i := at; i < min(at+window, 49); i++ {
				l, err := s.Add(ids[i : i+1])
				if err != nil {
					t.Fatal(err)
				}
				want -= logProb(l, int(ids[i+1]))
			}
		}
		if math.Abs(got-want) > 1e-5*want {
			t.Errorf("windows of %d: %v nats, one by one %v", window, got, want)
		}
	}
	for _, n := range []int{0, 1} {
		if nats, err := m.Loss(ids[:n], 8); nats != 0 || err != nil {
			t.Errorf("%d ids: %v nats, %v", n, nats, err)
		}
	}
}
